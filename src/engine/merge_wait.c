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
 *
 * A guest that writes as fast as is copied keeps an active commit from ever
 * becoming ready, and a ready one from its pivot.  Once that has gone on for
 * snapshot.merge.outrun.wait its writes on that disk are slowed to what lets
 * the rest be copied within snapshot.merge.slow.budget.  Where that cannot be,
 * or did not do, the merge is given up: the chain is right as it is.
 */
#include "engine/merge_internal.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/merge_pace.h"
#include "engine/merge_slow.h"
#include "engine/settings.h"

#include <string.h>

#define ASK_FIRST_MS 4
#define ASK_MS 500
#define SLOW_SPAN_MS 2000

struct wait {
    struct engine *engine;
    struct job *job; /* or NULL */
    const struct merge *merge;
    struct merge_slow *slow;
    struct merge_pace pace;
    bool is_outrun; /* for too long: what `look` gave up for */
    bool events;
    int64_t timeout_s; /* 0: none */
    int64_t deadline_ms;
};

/* True when something must be done about the guest's writes. */
static bool
is_outrun(struct wait *wait, const struct hv_job *state)
{
    int64_t now_ms = clock_monotonic_ms();

    if (!wait->merge->is_active || wait->slow->patience_ms == 0)
        return false;
    if (wait->slow->operation == 0)
        return merge_pace_note(&wait->pace, now_ms, state) &&
               merge_pace_is_outrun(&wait->pace);
    if (now_ms >= wait->slow->until_ms)
        return true;
    return merge_pace_note(&wait->pace, now_ms, state) &&
           !merge_pace_ends_within(&wait->pace,
                                   (wait->slow->until_ms - now_ms) / 1000);
}

/* Called with what is known; false gives up waiting. */
static bool
look(const struct hv_job *state, void *context)
{
    struct wait *wait = context;

    if (state->state == HV_JOB_RUNNING)
        wait->is_outrun = is_outrun(wait, state);
    if (wait->job != NULL) {
        job_bytes(wait->job, state->done, state->total);
        if (job_is_cancelled(wait->job)) {
            wait->is_outrun = false;
            return false;
        }
    }
    return !wait->is_outrun;
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
    merge_pace_init(&wait->pace, wait->slow->patience_ms);
    return 0;
}

static void
log_outrun(const struct merge *merge, const struct merge_pace *pace)
{
    log_warning("merge-outrun",
                "vm=%s disk=%s copied=%llu added=%llu written=%llu rest=%llu",
                merge->vm_name, merge->target, (unsigned long long)pace->copied,
                (unsigned long long)pace->added,
                (unsigned long long)pace->written,
                (unsigned long long)pace->rest);
}

/* 1 the guest is slow, or slower, from now on; 0 it may not be; -1. */
static int
slow_down(struct wait *wait, struct error *err)
{
    struct merge_slow *slow = wait->slow;
    uint64_t limit;

    if (slow->operation != 0 && clock_monotonic_ms() >= slow->until_ms)
        return 0;
    if (slow->operation != 0)
        return merge_slow_more(wait->engine, wait->merge, slow, err) < 0 ? -1
                                                                         : 1;
    log_outrun(wait->merge, &wait->pace);
    limit = merge_pace_limit(&wait->pace, slow->budget_s);
    if (limit == 0)
        return 0;
    if (wait->job != NULL)
        job_step(wait->job, "merging layers, the guest's writes are slowed");
    merge_pace_init(&wait->pace, SLOW_SPAN_MS);
    if (merge_slow_begin(wait->engine, wait->merge, limit, slow, err) == 0)
        return 1;
    if (err->code != ERROR_UNSUPPORTED)
        return -1;
    error_clear(err);
    return 0;
}

static int
timed_out(const struct wait *wait, struct error *err)
{
    return error_set(err, ERROR_TIMEOUT,
                     "machine '%s' disk '%s': the merge is not done after "
                     "snapshot.merge.timeout (%lld s); nothing is lost: it "
                     "goes on, and a settling job of this machine follows "
                     "it (varve job list); cancel that job to give it up",
                     wait->merge->vm_name, wait->merge->target,
                     (long long)wait->timeout_s);
}

int
merge_wait(struct engine *engine, struct job *job, const struct merge *merge,
           struct merge_slow *slow, struct hv_job *ret_state, struct error *err)
{
    struct wait wait = {
        .engine = engine, .job = job, .merge = merge, .slow = slow};
    int result;

    if (prepare(&wait, err) < 0)
        return -1;
    do {
        wait.is_outrun = false;
        result = wait.events ? wait_for_event(&wait, ret_state, err)
                             : ask_until_over(&wait, ret_state, err);
        if (result < 0 && err->code == ERROR_CANCELLED && wait.is_outrun) {
            error_clear(err);
            result = slow_down(&wait, err);
            ret_state->state = HV_JOB_RUNNING;
        }
    } while (result > 0);
    if (result < 0)
        return err->code == ERROR_TIMEOUT ? timed_out(&wait, err) : -1;
    if (ret_state->state == HV_JOB_RUNNING)
        return 0;
    log_info("merge-copied", "vm=%s disk=%s done=%llu total=%llu",
             merge->vm_name, merge->target, (unsigned long long)ret_state->done,
             (unsigned long long)ret_state->total);
    return 0;
}

/* A pivot that was asked for cannot be given up: the second time that it was
 * waited for in vain the guest is slowed, as far as a guest may be. */
static int
slow_for_pivot(struct wait *wait, bool again, struct error *err)
{
    struct hv_job now;
    uint64_t limit;

    if (wait->slow->operation != 0)
        return 0;
    if (hv_job_query(wait->engine->hv, wait->merge->vm_uuid,
                     wait->merge->target, &now, err) < 0)
        return -1;
    (void)merge_pace_note(&wait->pace, clock_monotonic_ms(), &now);
    if (!again)
        return 0;
    log_outrun(wait->merge, &wait->pace);
    limit = merge_pace_limit(&wait->pace, wait->slow->budget_s);
    return merge_slow_begin(wait->engine, wait->merge,
                            MAX(limit, MERGE_PACE_SLOWEST), wait->slow, err);
}

/* A pivot that came after it had been waited for in vain: no job is left, and
 * what QEMU has is looked at next. */
static bool
has_pivoted(const struct wait *wait)
{
    struct error ignored = ERROR_INIT;
    struct hv_job now;

    return hv_job_query(wait->engine->hv, wait->merge->vm_uuid,
                        wait->merge->target, &now, &ignored) == 0 &&
           now.state == HV_JOB_NONE;
}

/* The guest has been slow for as long as it may be. */
static void
end_slowness(struct wait *wait)
{
    struct error logged = ERROR_INIT; /* the journal has it */

    if (wait->slow->operation == 0 ||
        clock_monotonic_ms() < wait->slow->until_ms)
        return;
    (void)!merge_slow_end(wait->engine, wait->merge, wait->slow, &logged);
    wait->slow->budget_s = 0;
}

static bool
is_cancelled(const struct wait *wait)
{
    return wait->job != NULL && job_is_cancelled(wait->job);
}

static bool
is_over(const struct wait *wait)
{
    return (wait->deadline_ms != 0 &&
            clock_monotonic_ms() >= wait->deadline_ms) ||
           is_cancelled(wait);
}

/* It goes on without whoever waited for it. */
static int
leave_pivot(const struct wait *wait, struct error *err)
{
    const struct merge *merge = wait->merge;

    error_clear(err);
    if (is_cancelled(wait))
        return error_set(err, ERROR_CANCELLED,
                         "machine '%s' disk '%s': cancelled, but QEMU has "
                         "copied all and cannot take its pivot back; nothing "
                         "is lost: it happens as soon as the guest writes "
                         "less, and a settling job of this machine follows it "
                         "(varve job list)",
                         merge->vm_name, merge->target);
    return error_set(err, ERROR_TIMEOUT,
                     "machine '%s' disk '%s': QEMU has copied all and does "
                     "not come to its pivot, since the guest writes as fast as "
                     "is copied; nothing is lost: it happens as soon as the "
                     "guest writes less",
                     merge->vm_name, merge->target);
}

int
merge_pivot(struct engine *engine, struct job *job, const struct merge *merge,
            struct merge_slow *slow, struct error *err)
{
    struct wait wait = {
        .engine = engine, .job = job, .merge = merge, .slow = slow};
    bool again = false;

    if (slow->patience_ms > 0)
        wait.deadline_ms =
            clock_monotonic_ms() + slow->patience_ms + slow->budget_s * 1000;
    merge_pace_init(&wait.pace, 1);
    while (hv_pivot(engine->hv, merge->vm_uuid, merge->target, err) < 0) {
        bool is_last = err->code == ERROR_TIMEOUT && is_over(&wait);

        if ((is_last || (again && err->code == ERROR_CONFLICT)) &&
            has_pivoted(&wait)) {
            error_clear(err);
            return 0;
        }
        if (err->code != ERROR_TIMEOUT)
            return -1;
        end_slowness(&wait);
        if (is_last)
            return leave_pivot(&wait, err);
        error_clear(err);
        if (slow->budget_s > 0 && slow_for_pivot(&wait, again, err) < 0) {
            if (err->code != ERROR_UNSUPPORTED)
                return -1;
            error_clear(err);
            slow->budget_s = 0; /* its limits are not ours to lower */
        }
        again = true;
    }
    return 0;
}
