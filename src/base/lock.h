/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h -- mutex and condition with contracts that clang can check.
 *
 * Scope-exit unlocking defeats -Wthread-safety, so locks are taken and
 * given back explicitly in tiny functions; the work stands in `_locked` ones.
 * The order of all locks is docs/internals/locking.md.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct CAPABILITY("mutex") lock {
    pthread_mutex_t mutex;
};

#define LOCK_INIT                                                              \
    {                                                                          \
        .mutex = PTHREAD_MUTEX_INITIALIZER                                     \
    }

void lock_init(struct lock *lock) NONNULL(1);
void lock_release(struct lock *lock) NONNULL(1);
void lock_take(struct lock *lock) NONNULL(1) ACQUIRES(*lock);
void lock_give(struct lock *lock) NONNULL(1) RELEASES(*lock);

/* A condition on the monotonic clock. */
struct signal {
    pthread_cond_t condition;
};

void signal_init(struct signal *signal) NONNULL(1);
void signal_release(struct signal *signal) NONNULL(1);
void signal_wake_all(struct signal *signal) NONNULL(1);
void signal_wake_one(struct signal *signal) NONNULL(1);

/* Wait until woken; the lock is held before and after. */
void signal_wait(struct signal *signal, struct lock *lock) NONNULL(1, 2)
    REQUIRES(*lock);

/* As signal_wait, at most until clock_monotonic_ms() reaches `deadline_ms`.
 * Returns false when the time was up. */
bool signal_wait_until(struct signal *signal, struct lock *lock,
                       int64_t deadline_ms) NONNULL(1, 2) REQUIRES(*lock);

#endif
