/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_slow.h -- hold a guest's writes on one disk back for a bounded time,
 * so that a merge of its active layer comes to its end.
 *
 * The guest is never paused.  Its limits, as they were, are in the journal
 * before they are lowered (kind `slow`), and are put back when the merge has
 * pivoted or was given up, when the time is over, or by settling, before all
 * else, if varved died in between.  Where that fails it is owed to the guest: a
 * thread of the engine (owed.h) tries it again until it is done.
 */
#ifndef ENGINE_MERGE_SLOW_H
#define ENGINE_MERGE_SLOW_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/merge_internal.h"

/* The settings' and what came of them, for one merge. */
struct merge_slow {
    int64_t patience_ms;       /* of a merge that is outrun; 0: for ever */
    int64_t budget_s;          /* of being slow; 0: never */
    int64_t operation;         /* of the journal; 0: nothing is slow */
    int64_t until_ms;          /* of the monotonic clock */
    uint64_t bytes_per_second; /* that the guest got first, and the journal
                                  names; it may have less by now */
    uint64_t now;              /* that it has */
    char *limits;              /* owned; as they were */
    bool is_held;              /* nobody else puts limits back */
};

/* What the settings say; nothing is slow yet. */
int merge_slow_init(struct engine *engine, struct merge_slow *ret_slow,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * merge_slow_begin(engine, merge, bytes_per_second, slow, err):
 * The guest's writes on the disk of the merge have no more than this from now
 * on, for slow->budget_s seconds.
 *
 * Returns:    0, or -1 with *err set: ERROR_UNSUPPORTED when the disk's limits
 *             are not ours to lower, and then nothing has changed; else
 *             merge_slow_end() puts back whatever there is.
 */
int merge_slow_begin(struct engine *engine, const struct merge *merge,
                     uint64_t bytes_per_second, struct merge_slow *slow,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/* Slower still, down to what a guest can live with; success also when it is
 * that slow already. */
int merge_slow_more(struct engine *engine, const struct merge *merge,
                    struct merge_slow *slow, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Put the limits back; nothing to be done is success.  When that fails it is
 * owed, and the journal has it. */
int merge_slow_end(struct engine *engine, const struct merge *merge,
                   struct merge_slow *slow, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Of the thread that pays what is owed (an owed_try). */
int merge_slow_pay(struct engine *engine, const struct state_operation *row,
                   bool tell) MUST_CHECK NONNULL(1, 2);

/* Put back what an earlier run left; a failure is logged, and owed. */
int merge_slow_settle(struct engine *engine, const struct state_operation *row,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
