/* SPDX-License-Identifier: Apache-2.0 */
/*
 * throttle.h -- how much a second, shared by any number of workers.
 *
 * A token bucket without a thread or a timer: whoever wants to do something
 * is told when it may start, and waits itself.  What was not used is saved up
 * for THROTTLE_BURST_US at most, so that a pause is not followed by a storm.
 *
 * Units:      microseconds of a clock of the caller's choice, which never goes
 *             back; bytes and operations.
 * Threads:    any number at once.
 */
#ifndef BASE_THROTTLE_H
#define BASE_THROTTLE_H

#include "base/compiler.h"
#include "base/lock.h"

#include <stdint.h>

#define THROTTLE_BURST_US INT64_C(100000)

struct throttle {
    struct lock lock;
    uint64_t bytes;        /* under lock: a second; 0: no limit */
    uint64_t operations;   /* under lock: a second; 0: no limit */
    int64_t bytes_at;      /* under lock: when the next may start */
    int64_t operations_at; /* under lock */
    unsigned changes;      /* under lock: of the limits */
};

void throttle_init(struct throttle *throttle, uint64_t bytes,
                   uint64_t operations) NONNULL(1);
void throttle_release(struct throttle *throttle) NONNULL(1);

/* New limits, for everything that is reserved from now on; what was reserved
 * by the old ones is forgotten.  The same limits change nothing. */
void throttle_set(struct throttle *throttle, uint64_t bytes,
                  uint64_t operations) NONNULL(1);

/* How often the limits have changed: whoever waits by a reservation from
 * before reserves anew. */
unsigned throttle_changes(struct throttle *throttle) MUST_CHECK NONNULL(1);

/**
 * throttle_reserve(throttle, bytes, operations, now_us):
 * Reserve so much.
 *
 * Returns:    when it may start; not before `now_us`.
 */
int64_t throttle_reserve(struct throttle *throttle, uint64_t bytes,
                         uint64_t operations, int64_t now_us)
    MUST_CHECK NONNULL(1);

#endif
