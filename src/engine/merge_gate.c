/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A counter and a condition.  Who waits asks for the setting again every half
 * a second, so that a changed one counts at once; it is asked without the
 * lock, which is a leaf.
 */
#include "engine/merge_gate.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/settings.h"

#include <stdlib.h>

#define LOOK_MS 500

struct merge_gate {
    struct lock lock;
    struct signal left;
    int64_t inside; /* under lock */
};

struct merge_gate *
merge_gate_new(void)
{
    struct merge_gate *gate = xcalloc(1, sizeof(*gate));

    lock_init(&gate->lock);
    signal_init(&gate->left);
    return gate;
}

void
merge_gate_free(struct merge_gate *gate)
{
    if (gate == NULL)
        return;
    signal_release(&gate->left);
    lock_release(&gate->lock);
    free(gate);
}

/* True when it is in; else a while has passed, or somebody has left. */
static bool
try_enter(struct merge_gate *gate, int64_t limit)
{
    bool entered;

    lock_take(&gate->lock);
    if (limit > 0 && gate->inside >= limit)
        (void)signal_wait_until(&gate->left, &gate->lock,
                                clock_monotonic_ms() + LOOK_MS);
    entered = limit <= 0 || gate->inside < limit;
    if (entered)
        gate->inside++;
    lock_give(&gate->lock);
    return entered;
}

int
merge_gate_enter(struct engine *engine, struct job *job, struct error *err)
{
    bool told = false;

    for (;;) {
        int64_t limit = 0;

        if (settings_get_int(engine->state,
                             "snapshot.merge.max.concurrent.operations.per."
                             "host",
                             NULL, &limit, err) < 0)
            return -1;
        if (try_enter(engine->merges, limit))
            return 0;
        if (job != NULL && job_is_cancelled(job))
            return error_set(err, ERROR_CANCELLED,
                             "cancelled before the merge began");
        if (!told && job != NULL)
            job_step(job, "waiting for other merges");
        if (!told)
            log_info("merge-waits", "limit=%lld", (long long)limit);
        told = true;
    }
}

void
merge_gate_leave(struct engine *engine)
{
    struct merge_gate *gate = engine->merges;

    lock_take(&gate->lock);
    gate->inside--;
    signal_wake_all(&gate->left);
    lock_give(&gate->lock);
}
