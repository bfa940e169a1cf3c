/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That limits and priority reach what copies.  The rate itself is kept by the
 * throttle, which has tests of its own with a clock of theirs; here one limit
 * is so low that a job can only end because it was lifted.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/pace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* A job that runs beside the test. */
struct beside {
    struct rig *rig;
    int (*run)(struct rig *rig);
    int result;
    atomic_bool has_ended;
    pthread_t thread;
};

static char point[UUID_TEXT_SIZE];

static int
back_up(struct rig *rig)
{
    struct error err = ERROR_INIT;
    int result = rig_backup(rig, false, point, &err);

    CHECK_OK(result, &err);
    return result;
}

static int
restore(struct rig *rig)
{
    struct error err = ERROR_INIT;
    int result = rig_restore(rig, point, &err);

    CHECK_OK(result, &err);
    return result;
}

static void *
run_beside(void *context)
{
    struct beside *beside = context;

    beside->result = beside->run(beside->rig);
    atomic_store(&beside->has_ended, true);
    return NULL;
}

static void
pause_ms(int64_t ms)
{
    struct lock lock = LOCK_INIT;
    struct signal never;

    signal_init(&never);
    lock_take(&lock);
    (void)signal_wait_until(&never, &lock, clock_monotonic_ms() + ms);
    lock_give(&lock);
    signal_release(&never);
}

static void
set_limit(struct rig *rig, const char *name, const char *value)
{
    rig_setting(rig, name, value);
    engine_settings_changed(rig->engine);
}

/* Fills the disks with something to read. */
static void
write_much(struct rig *rig)
{
    rig_power(rig, true);
    for (unsigned i = 0; i < 40; i++)
        rig_guest_write(rig);
}

/*
 * With one read a second, of two disks with something on each, the second
 * disk waits; it goes on when the limit is lifted.
 */
static void
check_limit(struct rig *rig, const char *name, int (*run)(struct rig *rig))
{
    struct beside beside = {.rig = rig, .run = run};
    int64_t began;

    set_limit(rig, name, "1");
    began = clock_monotonic_ms();
    REQUIRE(pthread_create(&beside.thread, NULL, run_beside, &beside) == 0);
    pause_ms(500);
    CHECK(!atomic_load(&beside.has_ended));
    set_limit(rig, name, "0");
    REQUIRE(pthread_join(beside.thread, NULL) == 0);
    CHECK(beside.result == 0);
    printf("# %s: %lld ms\n", name, (long long)(clock_monotonic_ms() - began));
    /* And without a limit nothing is held back. */
    began = clock_monotonic_ms();
    CHECK(run(rig) == 0);
    printf("# without: %lld ms\n", (long long)(clock_monotonic_ms() - began));
}

static void
a_limit_holds_a_backup_back_until_it_is_lifted(void)
{
    struct rig *rig = rig_new(3, 1, false);
    struct error err = ERROR_INIT;

    write_much(rig);
    check_limit(rig, "backup.operations.limit", back_up);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_limit_holds_a_restore_back_until_it_is_lifted(void)
{
    struct rig *rig = rig_new(3, 1, false);
    struct error err = ERROR_INIT;

    write_much(rig);
    CHECK(back_up(rig) == 0);
    rig_learn(rig, RIG_BACKUP, point);
    rig_power(rig, false);
    check_limit(rig, "restore.operations.limit", restore);
    rig_go_back(rig, point);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static int
look_at_nice(void *context, struct error *err UNUSED)
{
    *(int *)context = getpriority(PRIO_PROCESS, 0);
    return 0;
}

static void
copies_give_way_unless_the_setting_says_otherwise(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    int mine = getpriority(PRIO_PROCESS, 0);
    int seen = -1;

    CHECK_OK(pace_run(rig->engine, look_at_nice, &seen, &err), &err);
    CHECK(seen == MIN(mine + BACKGROUND_NICE, BACKGROUND_NICE_MOST));
    set_limit(rig, "backup.low.priority", "false");
    CHECK_OK(pace_run(rig->engine, look_at_nice, &seen, &err), &err);
    CHECK(seen == mine);
    rig_free(rig);
}

static void
limits_that_were_set_before_count_after_a_restart(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    struct job job = {.engine = NULL};
    struct copy_options options;

    rig_setting(rig, "backup.rate.limit", "7");
    rig_setting(rig, "restore.operations.limit", "11");
    rig_close(rig);
    CHECK_OK(rig_open(rig, &err), &err);
    job.engine = rig->engine;
    options = pace_options(&job, PACE_BACKUP);
    CHECK(options.throttle->bytes == 7 << 20 &&
          options.throttle->operations == 0);
    options = pace_options(&job, PACE_RESTORE);
    CHECK(options.throttle->bytes == 0 && options.throttle->operations == 11);
    CHECK(options.progress == &job.progress);
    rig_free(rig);
}

int
main(void)
{
    RUN(a_limit_holds_a_backup_back_until_it_is_lifted);
    RUN(a_limit_holds_a_restore_back_until_it_is_lifted);
    RUN(copies_give_way_unless_the_setting_says_otherwise);
    RUN(limits_that_were_set_before_count_after_a_restart);
    return check_done();
}
