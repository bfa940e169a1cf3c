/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h -- places where the world may fail, so that tests can make it.
 *
 *     if (fsync(fd) < 0 || fault_here("publish.sync-dir"))
 *         return error_set_errno(err, errno, "sync ...");
 *
 * A point is compiled into every build and costs one predicted branch while
 * nothing is armed.  An armed point either fails (errno is set to EIO, or
 * ENOSPC for names that end in ".space") or kills the process with SIGKILL.
 * Between any two steps that touch storage, the hypervisor or the database
 * there is a point; the fault suite walks all of them.
 *
 * Environment: VARVE_FAULT=name[:n][:kill|:stop|:count] arms the n-th pass
 * (from 1) of one point; name "*" counts the passes of all points.  With stop
 * the process stops itself there (SIGSTOP) and goes on when it is told to, so
 * that something else can be killed at that moment.  With VARVE_DEBUG=fault
 * every pass is logged.
 *
 * Threads:    fault_here() may be called by any; arming is for one thread
 *             before the others start.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum fault_action {
    FAULT_COUNT, /* count the passes and do nothing */
    FAULT_FAIL,
    FAULT_KILL,
    FAULT_STOP
};

extern bool fault_enabled;

bool fault_hit(const char *name) NONNULL(1);

static inline bool
fault_here(const char *name)
{
    return __builtin_expect(fault_enabled, 0) && fault_hit(name);
}

/**
 * fault_arm(name, nth, action):
 * From now on the `nth` pass (from 1) of point `name` fails or kills; "*"
 * stands for any point.  FAULT_COUNT only counts.  Counting restarts.
 */
void fault_arm(const char *name, uint64_t nth, enum fault_action action)
    NONNULL(1);
void fault_disarm(void);

/* How often points matching the armed name were passed since fault_arm(). */
uint64_t fault_passes(void);

/* True when the armed point was reached; and the point's name, or NULL. */
bool fault_fired(void);
const char *fault_fired_name(void);

/**
 * fault_init(err):
 * Arm what VARVE_FAULT says, if it is set.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID when it is malformed.
 */
int fault_init(struct error *err) MUST_CHECK NONNULL(1);

#endif
