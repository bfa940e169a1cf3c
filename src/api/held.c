/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of at most a few dozen entries, so that going through it is cheap.
 *
 * A job may end between a look at its row and the entry in the table.  Ends
 * are counted: an entry that was decided on by an older count is not made, and
 * its owner looks again.
 */
#include "api/held.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char job[UUID_TEXT_SIZE];
    int64_t deadline_ms;
    void *context;
};

struct held {
    struct held_calls calls;
    struct lock lock;
    struct signal changed;
    struct entry *entries; /* owned; under lock */
    size_t count;          /* under lock */
    size_t max;
    uint64_t ends;    /* under lock; jobs that have ended */
    bool is_stopping; /* under lock */
    pthread_t clock;  /* resumes those whose time is up */
    bool has_clock;
};

static void
resume_locked(struct held *held, size_t index) REQUIRES(held->lock)
{
    held->calls.resume(held->entries[index].context);
    held->entries[index] = held->entries[--held->count];
}

/* Resume those whose time is up; when to look again. */
static int64_t
look_locked(struct held *held, int64_t now_ms) REQUIRES(held->lock)
{
    int64_t next_ms = INT64_MAX;

    for (size_t i = held->count; i-- > 0;) {
        if (held->entries[i].deadline_ms <= now_ms)
            resume_locked(held, i);
        else
            next_ms = MIN(next_ms, held->entries[i].deadline_ms);
    }
    return next_ms;
}

static void *
watch_clock(void *context)
{
    struct held *held = context;

    lock_take(&held->lock);
    while (!held->is_stopping) {
        int64_t next_ms = look_locked(held, clock_monotonic_ms());

        if (next_ms == INT64_MAX)
            signal_wait(&held->changed, &held->lock);
        else
            (void)signal_wait_until(&held->changed, &held->lock, next_ms);
    }
    lock_give(&held->lock);
    return NULL;
}

struct held *
held_new(size_t max, const struct held_calls *calls, struct error *err)
{
    struct held *held = xcalloc(1, sizeof(*held));
    int failed;

    held->calls = *calls;
    held->max = max;
    held->entries = xcalloc(max, sizeof(*held->entries));
    lock_init(&held->lock);
    signal_init(&held->changed);
    failed = pthread_create(&held->clock, NULL, watch_clock, held);
    held->has_clock = failed == 0;
    if (failed != 0) {
        (void)error_set_errno(err, failed, "start a thread");
        held_free(held);
        return NULL;
    }
    return held;
}

void
held_free(struct held *held)
{
    if (held == NULL)
        return;
    held_stop(held);
    if (held->has_clock)
        (void)pthread_join(held->clock, NULL);
    signal_release(&held->changed);
    lock_release(&held->lock);
    free(held->entries);
    free(held);
}

uint64_t
held_mark(struct held *held)
{
    uint64_t ends;

    lock_take(&held->lock);
    ends = held->ends;
    lock_give(&held->lock);
    return ends;
}

static enum held_result
add_locked(struct held *held, const struct held_reply *reply, uint64_t mark)
    REQUIRES(held->lock)
{
    struct entry *entry;

    if (held->is_stopping || held->count == held->max)
        return HELD_FULL;
    if (held->ends != mark)
        return HELD_MISSED;
    entry = &held->entries[held->count++];
    memcpy(entry->job, reply->job, sizeof(entry->job));
    entry->deadline_ms = clock_monotonic_ms() + reply->hold_ms;
    entry->context = reply->context;
    held->calls.suspend(entry->context);
    signal_wake_all(&held->changed);
    return HELD_KEPT;
}

enum held_result
held_add(struct held *held, const struct held_reply *reply, uint64_t mark)
{
    enum held_result result;

    lock_take(&held->lock);
    result = add_locked(held, reply, mark);
    lock_give(&held->lock);
    return result;
}

void
held_wake(struct held *held, const char *job)
{
    lock_take(&held->lock);
    held->ends++;
    for (size_t i = held->count; i-- > 0;) {
        if (strcmp(held->entries[i].job, job) == 0)
            resume_locked(held, i);
    }
    lock_give(&held->lock);
}

void
held_stop(struct held *held)
{
    lock_take(&held->lock);
    held->is_stopping = true;
    while (held->count > 0)
        resume_locked(held, held->count - 1);
    signal_wake_all(&held->changed);
    lock_give(&held->lock);
}
