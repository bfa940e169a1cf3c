/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a block job.
 *
 * With libvirt.events.enabled its end is told by an event; without, it is
 * asked for twice a second at most, and that it is gone says no more than that
 * it ended: whoever called looks at QEMU's chain in either case.
 *
 * The time-out is that of the request: a job that only follows up, or that
 * settles at the start, waits for as long as it takes.
 */
#include "engine/merge_internal.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/settings.h"

#include <string.h>

#define ASK_FIRST_MS 4
#define ASK_MS 500

struct wait {
    struct engine *engine;
    struct job *job; /* or NULL */
    const struct merge *merge;
    bool events;
    int64_t timeout_s; /* 0: none */
    int64_t deadline_ms;
};

/* Called with what is known; false gives up waiting. */
static bool
look(const struct hv_job *state, void *context)
{
    struct wait *wait = context;

    if (wait->job == NULL)
        return true;
    job_bytes(wait->job, state->done, state->total);
    return !job_is_cancelled(wait->job);
}

static void
sleep_until(int64_t deadline_ms)
{
    struct lock lock = LOCK_INIT;
    struct signal never;

    signal_init(&never);
    lock_take(&lock);
    while (clock_monotonic_ms() < deadline_ms)
        (void)signal_wait_until(&never, &lock, deadline_ms);
    lock_give(&lock);
    signal_release(&never);
    lock_release(&lock);
}

static int
ask_until_over(struct wait *wait, struct hv_job *ret_state, struct error *err)
{
    const struct merge *merge = wait->merge;
    int64_t pause_ms = ASK_FIRST_MS; /* most merges are short */

    for (;;) {
        int64_t next_ms = clock_monotonic_ms() + pause_ms;

        if (hv_job_query(wait->engine->hv, merge->vm_uuid, merge->target,
                         ret_state, err) < 0)
            return -1;
        if (ret_state->state != HV_JOB_RUNNING)
            return 0;
        if (!look(ret_state, wait))
            return error_set(err, ERROR_CANCELLED, "cancelled");
        sleep_until(next_ms);
        pause_ms = MIN(pause_ms * 2, ASK_MS);
    }
}

static int
wait_for_event(struct wait *wait, struct hv_job *ret_state, struct error *err)
{
    const struct merge *merge = wait->merge;
    int64_t left_ms = 0;

    if (wait->timeout_s > 0) {
        left_ms = wait->deadline_ms - clock_monotonic_ms();
        if (left_ms <= 0)
            return error_set(err, ERROR_TIMEOUT, "the time is up");
    }
    return hv_job_wait(wait->engine->hv, merge->vm_uuid, merge->target, left_ms,
                       look, wait, ret_state, err);
}

/* What the settings say about this merge. */
static int
prepare(struct wait *wait, struct error *err)
{
    struct state *state = wait->engine->state;

    if (settings_get_bool(state, "libvirt.events.enabled", NULL, &wait->events,
                          err) < 0 ||
        settings_get_int(state, "snapshot.merge.timeout", NULL,
                         &wait->timeout_s, err) < 0)
        return -1;
    if (!wait->events || wait->merge->is_patient)
        wait->timeout_s = 0; /* as documented: the setting needs events */
    wait->deadline_ms = clock_monotonic_ms() + wait->timeout_s * 1000;
    return 0;
}

int
merge_wait(struct engine *engine, struct job *job, const struct merge *merge,
           struct hv_job *ret_state, struct error *err)
{
    struct wait wait = {.engine = engine, .job = job, .merge = merge};
    int result;

    if (prepare(&wait, err) < 0)
        return -1;
    result = wait.events ? wait_for_event(&wait, ret_state, err)
                         : ask_until_over(&wait, ret_state, err);
    if (result < 0 && err->code == ERROR_TIMEOUT)
        return error_set(err, ERROR_TIMEOUT,
                         "machine '%s' disk '%s': the merge is not done after "
                         "snapshot.merge.timeout (%lld s); nothing is lost: it "
                         "goes on, and a settling job of this machine follows "
                         "it (varve job list); cancel that job to give it up",
                         merge->vm_name, merge->target,
                         (long long)wait.timeout_s);
    if (result < 0)
        return -1;
    log_info("merge-copied", "vm=%s disk=%s done=%llu total=%llu",
             merge->vm_name, merge->target, (unsigned long long)ret_state->done,
             (unsigned long long)ret_state->total);
    return 0;
}
