/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

void
lock_init(struct lock *lock)
{
    int failed = pthread_mutex_init(&lock->mutex, NULL);

    assert(failed == 0);
    (void)failed;
}

void
lock_release(struct lock *lock)
{
    (void)pthread_mutex_destroy(&lock->mutex);
}

void
lock_take(struct lock *lock) NO_LOCK_ANALYSIS
{
    int failed = pthread_mutex_lock(&lock->mutex);

    assert(failed == 0);
    (void)failed;
}

void
lock_give(struct lock *lock) NO_LOCK_ANALYSIS
{
    int failed = pthread_mutex_unlock(&lock->mutex);

    assert(failed == 0);
    (void)failed;
}

void
signal_init(struct signal *signal)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);

    assert(failed == 0);
    failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    assert(failed == 0);
    failed = pthread_cond_init(&signal->condition, &attributes);
    assert(failed == 0);
    (void)failed;
    (void)pthread_condattr_destroy(&attributes);
}

void
signal_release(struct signal *signal)
{
    (void)pthread_cond_destroy(&signal->condition);
}

void
signal_wake_all(struct signal *signal)
{
    (void)pthread_cond_broadcast(&signal->condition);
}

void
signal_wake_one(struct signal *signal)
{
    (void)pthread_cond_signal(&signal->condition);
}

void
signal_wait(struct signal *signal, struct lock *lock)
{
    (void)pthread_cond_wait(&signal->condition, &lock->mutex);
}

bool
signal_wait_until(struct signal *signal, struct lock *lock, int64_t deadline_ms)
{
    struct timespec until = {
        .tv_sec = (time_t)(deadline_ms / 1000),
        .tv_nsec = (long)(deadline_ms % 1000) * 1000000L,
    };

    return pthread_cond_timedwait(&signal->condition, &lock->mutex, &until) !=
           ETIMEDOUT;
}
