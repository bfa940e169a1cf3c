/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.h -- replies that are held back until a job has ended.
 *
 * Only a place in a table is held, and one thread for all of them looks at
 * the time: whoever is kept waiting costs no thread of the server's.
 *
 * Threads:    any.
 */
#ifndef API_HELD_H
#define API_HELD_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"

#include <stddef.h>
#include <stdint.h>

/* Called with `context` of a reply, each once and in this order, with a lock
 * held: they take no lock but the HTTP library's own. */
struct held_calls {
    void (*suspend)(void *context);
    void (*resume)(void *context);
};

struct held_reply {
    char job[UUID_TEXT_SIZE]; /* whose end is waited for */
    int64_t hold_ms;          /* from now, at most */
    void *context;            /* borrowed until it is resumed */
};

enum held_result {
    HELD_KEPT,   /* it is suspended, and will be resumed */
    HELD_MISSED, /* a job has ended since: look again */
    HELD_FULL    /* as many as may be are held, or none any more */
};

struct held;

/* At most `max` at once.  NULL: no thread could be started. */
struct held *held_new(size_t max, const struct held_calls *calls,
                      struct error *err) MUST_CHECK NONNULL(2, 3);

/* Ends with held_stop(). */
void held_free(struct held *held);

/* How many jobs have ended so far.  Asked before the job is looked at, so
 * that held_add() knows whether that may be out of date. */
uint64_t held_mark(struct held *held) NONNULL(1);

/* Hold the reply back, unless a job has ended since `mark`. */
enum held_result held_add(struct held *held, const struct held_reply *reply,
                          uint64_t mark) MUST_CHECK NONNULL(1, 2);

/* The job has ended: what waits for it is resumed. */
void held_wake(struct held *held, const char *job) NONNULL(1, 2);

/* Resume all, and hold none from now on. */
void held_stop(struct held *held) NONNULL(1);

#endif
