/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes as fast as an active commit copies.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/clock.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/owed.h"
#include "hv/fake/hv_fake.h"
#include "image/commit.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define ANY_LIMIT ((uint64_t)1 << 50) /* does */
#define NO_LIMIT ((uint64_t)1)        /* does */

/* A running machine with a snapshot, whose guest outruns a merge of vda. */
static struct rig *
outrunning(uint64_t limit, char *ret_snapshot)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;

    rig_setting(rig, "snapshot.merge.outrun.wait", "1");
    rig_setting(rig, "snapshot.merge.slow.budget", "1");
    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, ret_snapshot, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(hv_fake_outrun(rig->hv, rig->vm, "vda", limit, &err), &err);
    return rig;
}

static uint64_t
limit_of(struct rig *rig)
{
    struct error err = ERROR_INIT;
    uint64_t limit = 0;

    CHECK_OK(hv_fake_limit(rig->hv, rig->vm, "vda", &limit, &err), &err);
    return limit;
}

static void
is_done(struct rig *rig, const char *snapshot)
{
    struct error err = ERROR_INIT;

    CHECK(limit_of(rig) == 0);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK_OK(rig_check(rig, true, &err), &err);
}

static void
a_guest_is_slow_until_its_merge_has_ended(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* How much a write adds is not known before: the first limit may be too high.
 */
static void
a_guest_is_slower_still_when_that_is_not_enough(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(256 * MIB, snapshot);

    rig_setting(rig, "snapshot.merge.slow.budget", "20");
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") >= 2);
    is_done(rig, snapshot);
    rig_free(rig);
}

static void
it_is_so_without_events(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    rig_setting(rig, "libvirt.events.enabled", "false");
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* Nothing is held, nothing is slow, the guest runs on its chain; and it can be
 * done later. */
static void
was_given_up(struct rig *rig, const char *snapshot, const struct error *failed)
{
    struct error err = ERROR_INIT;

    CHECK(failed->code == ERROR_CONFLICT);
    CHECK(strstr(failed->message, "snapshot.merge.slow.budget") != NULL);
    CHECK(strstr(failed->message, "nothing is lost") != NULL);
    CHECK(hv_fake_calls(rig->hv, "pivot") == 0);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(hv_fake_outrun(rig->hv, rig->vm, "vda", 0, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
}

static void
a_merge_that_slowness_does_not_help_is_given_up(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(NO_LIMIT, snapshot);

    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(strstr(err.message, "slowed") != NULL);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    CHECK(limit_of(rig) == 0);
    was_given_up(rig, snapshot, &err);
    rig_free(rig);
}

static void
without_a_budget_no_guest_is_slowed(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    rig_setting(rig, "snapshot.merge.slow.budget", "0");
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 0);
    was_given_up(rig, snapshot, &err);
    rig_free(rig);
}

static void
without_a_wait_nothing_is_done_about_it(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    rig_setting(rig, "snapshot.merge.outrun.wait", "0");
    rig_setting(rig, "snapshot.merge.timeout", "3");
    hv_fake_script(rig->hv, "job_wait", 2, HV_FAKE_JOB_CANCELLED);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(strstr(err.message, "snapshot.merge.timeout") != NULL);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 0);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_lower_limit_of_somebody_else_stays(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(NO_LIMIT, snapshot);

    CHECK_OK(hv_fake_set_limit(rig->hv, rig->vm, "vda", MIB, &err), &err);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(limit_of(rig) == MIB);
    CHECK_OK(hv_fake_set_limit(rig->hv, rig->vm, "vda", 0, &err), &err);
    was_given_up(rig, snapshot, &err);
    rig_free(rig);
}

static void
a_higher_limit_of_somebody_else_is_put_back(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(MIB << 20, snapshot);

    CHECK_OK(hv_fake_set_limit(rig->hv, rig->vm, "vda", MIB << 30, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    CHECK(limit_of(rig) == MIB << 30);
    CHECK_OK(hv_fake_set_limit(rig->hv, rig->vm, "vda", 0, &err), &err);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* Putting the limits back fails so many times. */
static void
delete_but_stay_slow(struct rig *rig, const char *snapshot, unsigned times,
                     enum hv_fake_behaviour how)
{
    struct error err = ERROR_INIT;

    for (unsigned i = 1; i <= times; i++)
        hv_fake_script(rig->hv, "limits_restore", i, how);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
}

/* The hypervisor is away when the limits are to be put back. */
static void
what_could_not_be_put_back_is_by_settling(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    delete_but_stay_slow(rig, snapshot, 3, HV_FAKE_LOST_BEFORE);
    hv_fake_script_clear(rig->hv);
    CHECK(limit_of(rig) > 0);
    CHECK_OK(rig_settle(rig, &err), &err);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* The limits are not put back, and everything else is done. */
static void
a_guest_that_stays_slow_holds_nothing_up(void)
{
    char snapshot[UUID_TEXT_SIZE];
    char other[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    delete_but_stay_slow(rig, snapshot, 30, HV_FAKE_FAIL_BEFORE);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, other, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, other);
    CHECK(limit_of(rig) > 0);
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_settle(rig, &err), &err);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* Whatever stands in the queues: it is done when the engine has started. */
static void
a_start_puts_back_what_was_left_before_any_job(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(ANY_LIMIT, snapshot);

    delete_but_stay_slow(rig, snapshot, 3, HV_FAKE_LOST_BEFORE);
    rig_close(rig);
    rig->workers = 1;
    CHECK_OK(rig_open(rig, &err), &err);
    CHECK(limit_of(rig) == 0);
    CHECK_OK(rig_settle(rig, &err), &err);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* The engine's own threads run. */
static struct rig *
with_threads(struct rig *rig)
{
    struct error err = ERROR_INIT;

    rig_close(rig);
    rig->workers = 1;
    CHECK_OK(rig_open(rig, &err), &err);
    return rig;
}

/* Tried in vain by the merge and by settling what it left, and then by nobody
 * but the thread. */
static void
no_guest_stays_slow_until_something_else_is_done(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct rig *rig = with_threads(outrunning(ANY_LIMIT, snapshot));
    int64_t deadline = clock_monotonic_ms() + 30000;

    delete_but_stay_slow(rig, snapshot, 4, HV_FAKE_FAIL_BEFORE);
    CHECK(limit_of(rig) > 0);
    while (limit_of(rig) > 0 && clock_monotonic_ms() < deadline)
        (void)poll(NULL, 0, 20);
    CHECK(limit_of(rig) == 0);
    CHECK(hv_fake_calls(rig->hv, "limits_restore") == 5);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* How often limits were put back before the guest had been slow for long. */
static void *
wake_while_slow(void *context)
{
    struct rig *rig = context;

    for (int i = 0; i < 3000 && hv_fake_calls(rig->hv, "limits_lower") == 0;
         i++)
        (void)poll(NULL, 0, 10);
    owed_wake(rig->engine->slows);
    (void)poll(NULL, 0, 2500);
    return (void *)(uintptr_t)hv_fake_calls(rig->hv, "limits_restore");
}

static void
a_guest_is_slow_for_as_long_as_its_merge_needs_that(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = with_threads(outrunning(NO_LIMIT, snapshot));
    void *restored = NULL;
    pthread_t watcher;

    rig_setting(rig, "snapshot.merge.slow.budget", "6");
    CHECK(pthread_create(&watcher, NULL, wake_while_slow, rig) == 0);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(pthread_join(watcher, &restored) == 0);
    CHECK((uintptr_t)restored == 0);
    CHECK(limit_of(rig) == 0);
    was_given_up(rig, snapshot, &err);
    rig_free(rig);
}

/* QEMU was told to pivot, and the guest keeps it from that. */
static void
a_guest_that_keeps_a_pivot_away_is_slowed(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(0, snapshot);

    hv_fake_script(rig->hv, "pivot", 1, HV_FAKE_TIMEOUT);
    hv_fake_script(rig->hv, "pivot", 2, HV_FAKE_TIMEOUT);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* It happened while the guest was slowed for it, or just before: no job is left
 * when it is asked for again. */
static void
a_pivot_that_came_late_is_one(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(0, snapshot);

    hv_fake_script(rig->hv, "pivot", 1, HV_FAKE_TIMEOUT);
    hv_fake_script(rig->hv, "pivot", 2, HV_FAKE_LATE);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* How many pivots had been asked for when the limits were put back. */
static void *
count_pivots_until_restored(void *context)
{
    struct rig *rig = context;

    for (int i = 0; i < 3000 && hv_fake_calls(rig->hv, "limits_restore") == 0;
         i++)
        (void)poll(NULL, 0, 10);
    return (void *)(uintptr_t)hv_fake_calls(rig->hv, "pivot");
}

/* The pivot stays away for longer than a guest may be slow. */
static void
a_guest_is_slow_for_a_pivot_no_longer_than_it_may_be(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(0, snapshot);
    void *before = NULL;
    pthread_t watcher;

    rig_setting(rig, "snapshot.merge.outrun.wait", "60");
    for (unsigned i = 1; i <= 25; i++)
        hv_fake_script(rig->hv, "pivot", i, HV_FAKE_WAITS);
    CHECK(pthread_create(&watcher, NULL, count_pivots_until_restored, rig) ==
          0);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(pthread_join(watcher, &before) == 0);
    CHECK((uintptr_t)before > 2 && (uintptr_t)before < 26);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 1);
    CHECK(hv_fake_calls(rig->hv, "limits_restore") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

static struct rig *cancelling;

/* Whoever waits for the merge cancels it while it copies. */
static int
commit_and_cancel(const struct hv_fake_layer *top,
                  const struct hv_fake_layer *base, struct error *err)
{
    const struct image_ref refs[] = {
        {.path = top->path, .format = IMAGE_QCOW2},
        {.path = base->path, .format = IMAGE_QCOW2}};
    const struct state_where where[] = {
        STATE_TEXT("command", "deleteVMSnapshot"), STATE_INT("status", 0)};
    enum commit_refusal refusal;
    AUTO_STATE(job) job = {0};
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(cancelling->state, err);

    if (tx == NULL || state_job_find(tx, where, 2, &job, err) < 0)
        return -1;
    state_end(steal(&tx));
    if (job.uuid != NULL &&
        request_job_cancel(cancelling->engine, &cancelling->caller, job.uuid,
                           err) < 0)
        return -1;
    return commit_layer(refs, 2, NULL, &refusal, err);
}

/* Of one disk, whose merge is cancelled before QEMU is told to pivot. */
static struct rig *
cancelled_before_its_pivot(char *ret_snapshot)
{
    struct error err = ERROR_INIT;

    cancelling = rig_new(1, 3, false);
    rig_power(cancelling, true);
    CHECK_OK(rig_snapshot(cancelling, false, ret_snapshot, &err), &err);
    rig_guest_write(cancelling);
    hv_fake_set_committer(cancelling->hv, commit_and_cancel);
    return cancelling;
}

/* It cannot be taken back, so it is followed. */
static void
who_cancels_in_a_pivot_is_told_that_it_goes_on(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = cancelled_before_its_pivot(snapshot);

    hv_fake_script(rig->hv, "pivot", 1, HV_FAKE_TIMEOUT);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(err.code == ERROR_CANCELLED);
    CHECK(strstr(err.message, "cannot take its pivot back") != NULL);
    CHECK(hv_fake_calls(rig->hv, "pivot") == 2);
    is_done(rig, snapshot);
    rig_free(rig);
}

static void
who_cancels_in_a_pivot_is_told_that_it_has_happened(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = cancelled_before_its_pivot(snapshot);

    hv_fake_script(rig->hv, "pivot", 1, HV_FAKE_LATE);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "pivot") == 1);
    is_done(rig, snapshot);
    rig_free(rig);
}

/* As before there was anything to be done about it. */
static void
without_a_wait_a_pivot_is_waited_for(void)
{
    char snapshot[UUID_TEXT_SIZE];
    struct error err = ERROR_INIT;
    struct rig *rig = outrunning(0, snapshot);

    rig_setting(rig, "snapshot.merge.outrun.wait", "0");
    rig_setting(rig, "snapshot.merge.slow.budget", "0");
    for (unsigned i = 1; i <= 5; i++)
        hv_fake_script(rig->hv, "pivot", i, HV_FAKE_TIMEOUT);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "limits_lower") == 0);
    is_done(rig, snapshot);
    rig_free(rig);
}

int
main(void)
{
    RUN(a_guest_is_slow_until_its_merge_has_ended);
    RUN(a_guest_is_slower_still_when_that_is_not_enough);
    RUN(it_is_so_without_events);
    RUN(a_merge_that_slowness_does_not_help_is_given_up);
    RUN(without_a_budget_no_guest_is_slowed);
    RUN(without_a_wait_nothing_is_done_about_it);
    RUN(a_lower_limit_of_somebody_else_stays);
    RUN(a_higher_limit_of_somebody_else_is_put_back);
    RUN(what_could_not_be_put_back_is_by_settling);
    RUN(a_guest_that_stays_slow_holds_nothing_up);
    RUN(a_start_puts_back_what_was_left_before_any_job);
    RUN(no_guest_stays_slow_until_something_else_is_done);
    RUN(a_guest_is_slow_for_as_long_as_its_merge_needs_that);
    RUN(a_guest_that_keeps_a_pivot_away_is_slowed);
    RUN(a_pivot_that_came_late_is_one);
    RUN(a_guest_is_slow_for_a_pivot_no_longer_than_it_may_be);
    RUN(who_cancels_in_a_pivot_is_told_that_it_goes_on);
    RUN(who_cancels_in_a_pivot_is_told_that_it_has_happened);
    RUN(without_a_wait_a_pivot_is_waited_for);
    return check_done();
}
