/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that may be frozen: who asks it, for how long, and who takes over.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/clock.h"
#include "engine/engine_internal.h"
#include "engine/operation.h"
#include "engine/thaw_again.h"
#include "hv/fake/hv_fake.h"

#include <poll.h>

static struct rig *rig;
static struct error err;

static void
begin(bool raw, unsigned workers)
{
    error_clear(&err);
    rig = raw ? rig_new_raw(2, 3) : rig_new(2, 3, false);
    rig_power(rig, true);
    rig_guest_write(rig);
    if (workers == 0)
        return;
    rig_close(rig);
    rig->workers = workers;
    CHECK_OK(rig_open(rig, &err), &err);
}

static void
finish(void)
{
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

static bool
is_frozen(void)
{
    struct error ignored = ERROR_INIT;

    return hv_is_frozen(rig->hv, RIG_VM, &ignored) == 1;
}

static void
until_asked(unsigned times)
{
    int64_t deadline = clock_monotonic_ms() + 30000;

    while (hv_fake_calls(rig->hv, "thaw") < times &&
           clock_monotonic_ms() < deadline)
        (void)poll(NULL, 0, 5);
    CHECK(hv_fake_calls(rig->hv, "thaw") >= times);
}

/* How many guests are owed a thaw. */
static uint64_t
owed(void)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &ignored);
    const struct state_where where[] = {STATE_TEXT("kind", OPERATION_THAW)};
    uint64_t count = UINT64_MAX;

    if (tx == NULL ||
        state_operation_count(tx, STATE_QUERY(where), &count, &ignored) < 0)
        return UINT64_MAX;
    return count;
}

static void
until_nothing_is_owed(void)
{
    int64_t deadline = clock_monotonic_ms() + 30000;

    while (owed() > 0 && clock_monotonic_ms() < deadline)
        (void)poll(NULL, 0, 20);
    CHECK(owed() == 0);
}

/* The agent does not answer the next `count` thaws in time. */
static void
agent_is_silent(unsigned count)
{
    for (unsigned i = 1; i <= count; i++)
        hv_fake_script(rig->hv, "thaw", i, HV_FAKE_TIMEOUT);
}

/* Asked by the snapshot twice, by settling what it left, and then by nobody
 * but the thread. */
static void
a_silent_guest_is_asked_until_it_is_thawed(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(true, 1);
    agent_is_silent(4);
    CHECK(rig_snapshot(rig, false, uuid, &err) == -1);
    CHECK(is_frozen());
    CHECK(owed() == 1);
    until_nothing_is_owed();
    CHECK(!is_frozen());
    CHECK(hv_fake_calls(rig->hv, "thaw") >= 5);
    finish();
}

/* It cannot be asked, and is frozen when it goes on. */
static void
a_paused_guest_is_asked_until_it_is_thawed(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(true, 1);
    for (unsigned i = 1; i <= 4; i++)
        hv_fake_script(rig->hv, "thaw", i, HV_FAKE_PAUSED);
    CHECK(rig_snapshot(rig, false, uuid, &err) == -1);
    CHECK(is_frozen());
    CHECK(owed() == 1);
    until_nothing_is_owed();
    CHECK(!is_frozen());
    finish();
}

static void
what_is_owed_outlives_the_daemon(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(true, 0);
    agent_is_silent(3);
    CHECK(rig_snapshot(rig, false, uuid, &err) == -1);
    CHECK(is_frozen());
    CHECK(owed() == 1);
    rig_close(rig);
    CHECK_OK(rig_open(rig, &err), &err);
    CHECK(owed() == 0);
    CHECK(!is_frozen());
    finish();
}

/* The switch of a layer's snapshot is frozen by the hypervisor. */
static void
a_switch_that_failed_owes_it_too(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(false, 0);
    hv_fake_script(rig->hv, "snapshot", 1, HV_FAKE_TIMEOUT);
    agent_is_silent(3);
    CHECK(rig_snapshot(rig, true, uuid, &err) == -1);
    CHECK(owed() == 1);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK(owed() == 0);
    finish();
}

/* A guest whose agent stays away is no reason to do nothing for it. */
static void
other_work_goes_on(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(false, 0);
    hv_fake_script(rig->hv, "snapshot", 1, HV_FAKE_TIMEOUT);
    agent_is_silent(30);
    CHECK(rig_snapshot(rig, true, uuid, &err) == -1);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    CHECK(owed() == 1);
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK(owed() == 0);
    finish();
}

static void
a_guest_that_was_stopped_is_owed_nothing(void)
{
    begin(false, 0);
    agent_is_silent(1);
    CHECK_OK(thaw_again_now(rig->engine, RIG_VM, "rig", &err), &err);
    CHECK(owed() == 1);
    rig_power(rig, false);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK(owed() == 0);
    finish();
}

/* Asked after 1, 2, 4 seconds; what is newly owed in the pause of 8 does not
 * wait for its end. */
static void
a_long_pause_is_cut_short(void)
{
    int64_t begun_ms;

    begin(false, 1);
    agent_is_silent(5);
    CHECK_OK(thaw_again_now(rig->engine, RIG_VM, "rig", &err), &err);
    until_asked(4);
    (void)poll(NULL, 0, 200); /* the pause has begun */
    begun_ms = clock_monotonic_ms();
    CHECK_OK(thaw_again_now(rig->engine, RIG_VM, "rig", &err), &err);
    CHECK(owed() == 1);
    until_nothing_is_owed();
    CHECK(clock_monotonic_ms() - begun_ms < 5000);
    finish();
}

static void
who_freezes_takes_over(void)
{
    begin(false, 0);
    agent_is_silent(2);
    CHECK_OK(thaw_again_now(rig->engine, RIG_VM, "rig", &err), &err);
    CHECK_OK(thaw_again_now(rig->engine, RIG_VM, "rig", &err), &err);
    CHECK(owed() == 1);
    CHECK_OK(thaw_again_take_over(rig->engine, RIG_VM, &err), &err);
    CHECK(owed() == 0);
    finish();
}

int
main(void)
{
    RUN(a_silent_guest_is_asked_until_it_is_thawed);
    RUN(a_paused_guest_is_asked_until_it_is_thawed);
    RUN(what_is_owed_outlives_the_daemon);
    RUN(a_switch_that_failed_owes_it_too);
    RUN(other_work_goes_on);
    RUN(a_guest_that_was_stopped_is_owed_nothing);
    RUN(a_long_pause_is_cut_short);
    RUN(who_freezes_takes_over);
    return check_done();
}
