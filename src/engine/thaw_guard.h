/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thaw_guard.h -- no guest stays frozen because we died.
 *
 * A guard is a small process of its own (varved --thaw-watchdog) that is
 * connected to the hypervisor before the guest is frozen.  When our end of
 * its socket closes, or its budget ends, it thaws the guest.
 *
 *     if (thaw_guard_start(&guard, NULL, uri, uuid, budget_ms, err) < 0) ...
 *     hv_snapshot(..., quiesce = true, ...)
 *     if (thaw_guard_stop(&guard)) the guest was thawed too early
 */
#ifndef ENGINE_THAW_GUARD_H
#define ENGINE_THAW_GUARD_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the guard and the process talk: it says READY once; we say DONE. */
#define THAW_GUARD_READY 'r'
#define THAW_GUARD_DONE 'd'
/* Its exit status when it was not needed; any other: it has acted. */
#define THAW_GUARD_UNUSED 0

struct thaw_guard {
    pid_t pid; /* 0: not started */
    int fd;
};

#define THAW_GUARD_INIT                                                        \
    {                                                                          \
        .pid = 0, .fd = -1                                                     \
    }

/**
 * thaw_guard_start(guard, program, uri, vm_uuid, budget_ms, err):
 * From now on the guest is thawed when we die, and budget_ms after now.
 * `program` is run with --thaw-watchdog; NULL: the one that is running.
 *
 * Where systemd runs us as a service, the guard gets a scope of its own, so
 * that it is not ended with us.
 *
 * Blocks:     until the guard is connected, at most 10 seconds.
 * Returns:    0, or -1 with *err set to
 *               ERROR_UNAVAILABLE  it did not get ready; nothing is left.
 */
int thaw_guard_start(struct thaw_guard *guard, const char *program,
                     const char *uri, const char *vm_uuid, int64_t budget_ms,
                     struct error *err) MUST_CHECK NONNULL(1, 3, 4, 6);

/**
 * thaw_guard_stop(guard):
 * The guest is thawed again, or never was frozen: the guard ends.  One that
 * was not started is fine.
 *
 * Blocks:     until it has ended, at most 5 seconds; then it is killed.
 * Returns:    true when it had acted, or died: the guest may have been thawed
 *             before this call.
 */
bool thaw_guard_stop(struct thaw_guard *guard) NONNULL(1);

/* The guest could not be thawed: leave it to the guard, which goes on trying
 * for two minutes; it is not waited for, but collected by a later call of
 * these functions once it has ended. */
void thaw_guard_leave(struct thaw_guard *guard) NONNULL(1);

#endif
