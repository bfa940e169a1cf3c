/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/background.h"
#include "base/log.h"
#include "base/throttle.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)

static void
without_a_limit_nobody_waits(void)
{
    struct throttle throttle;

    throttle_init(&throttle, 0, 0);
    for (int64_t now = 0; now < 5; now++)
        CHECK(throttle_reserve(&throttle, UINT64_MAX, UINT64_MAX, now) == now);
    throttle_release(&throttle);
}

static void
the_rate_is_kept_whatever_the_pieces_are(void)
{
    static const uint64_t pieces[] = {512, 4096, 65536, 999999, 1 << 21};

    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct throttle throttle;
        uint64_t bytes = 0;
        int64_t now = 7 * SECOND;

        throttle_init(&throttle, 1000000, 0);
        while (now < 17 * SECOND) {
            now = throttle_reserve(&throttle, pieces[i], 1, now);
            bytes += pieces[i];
        }
        /* Ten seconds of it, the burst, and the piece that started last. */
        CHECK(bytes >= 9000000 && bytes <= 10100000 + 2 * pieces[i]);
        throttle_release(&throttle);
    }
}

static void
operations_are_counted_beside_the_bytes(void)
{
    struct throttle throttle;
    int64_t now = 0;

    throttle_init(&throttle, 1000000, 100);
    for (unsigned i = 0; i < 200; i++)
        now = throttle_reserve(&throttle, 1, 1, now);
    /* The first at once, then 100 a second. */
    CHECK(now >= 198 * SECOND / 100 && now <= 2 * SECOND);
    throttle_release(&throttle);
}

static void
what_was_not_used_is_not_saved_up(void)
{
    struct throttle throttle;
    int64_t now = 1000 * SECOND;

    throttle_init(&throttle, 1000, 0);
    CHECK(throttle_reserve(&throttle, 1000, 1, now) == now);
    now += 3600 * SECOND;
    CHECK(throttle_reserve(&throttle, 1000, 1, now) == now);
    /* A second's worth, less the burst of 100 ms. */
    CHECK(throttle_reserve(&throttle, 1000, 1, now) ==
          now + SECOND - THROTTLE_BURST_US);
    throttle_release(&throttle);
}

static void
a_new_limit_counts_at_once(void)
{
    struct throttle throttle;
    int64_t now = 0;
    int64_t start;

    throttle_init(&throttle, 1, 0);
    CHECK(throttle_reserve(&throttle, 1, 1, now) == now);
    throttle_set(&throttle, 0, 0);
    CHECK(throttle_reserve(&throttle, 1000000, 1, now) == now);
    throttle_set(&throttle, 1000000, 0);
    start = throttle_reserve(&throttle, 1000000, 1, now);
    start = throttle_reserve(&throttle, 1000000, 1, now);
    CHECK(start > now && start <= 2 * SECOND);
    throttle_release(&throttle);
}

static void
what_waited_by_an_old_limit_is_told_to_ask_again(void)
{
    struct throttle throttle;
    int64_t now = 5 * SECOND;
    unsigned changes;

    throttle_init(&throttle, 0, 1);
    changes = throttle_changes(&throttle);
    CHECK(throttle_reserve(&throttle, 1, 100, now) == now);
    CHECK(throttle_reserve(&throttle, 1, 1, now) == now + 100 * SECOND);
    throttle_set(&throttle, 0, 1);
    CHECK(throttle_changes(&throttle) == changes);
    CHECK(throttle_reserve(&throttle, 1, 1, now) == now + 101 * SECOND);
    throttle_set(&throttle, 0, 10);
    CHECK(throttle_changes(&throttle) == changes + 1);
    CHECK(throttle_reserve(&throttle, 1, 10, now) == now);
    CHECK(throttle_reserve(&throttle, 1, 1, now) == now + SECOND);
    throttle_release(&throttle);
}

static void
absurd_sizes_do_not_overflow(void)
{
    struct throttle throttle;

    throttle_init(&throttle, 1, 1);
    for (unsigned i = 0; i < 10; i++)
        CHECK(throttle_reserve(&throttle, UINT64_MAX, UINT64_MAX,
                               INT64_MAX / 8) > 0);
    throttle_release(&throttle);
}

/* -- background ---------------------------------------------------------- */

struct look {
    int policy[2]; /* of the thread itself, and of one that it started */
    int nice[2];
    long io_class[2];
};

static void
look_at(struct look *look, size_t i)
{
    look->policy[i] = sched_getscheduler(0);
    look->nice[i] = getpriority(PRIO_PROCESS, 0);
    look->io_class[i] = syscall(SYS_ioprio_get, 1, 0) >> 13;
}

static void *
look_from_a_thread(void *context)
{
    look_at(context, 1);
    return NULL;
}

static int
look(void *context, struct error *err)
{
    pthread_t thread;

    look_at(context, 0);
    if (pthread_create(&thread, NULL, look_from_a_thread, context) == 0)
        (void)pthread_join(thread, NULL);
    return error_set(err, ERROR_BUSY, "handed on");
}

static void
background_work_is_idle_and_nobody_else_is(void)
{
    struct error err = ERROR_INIT;
    struct look seen = {.policy = {-1, -1}};
    struct look after = {.policy = {-1, -1}};

    CHECK(background_run(BACKGROUND_IDLE, look, &seen, &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    for (size_t i = 0; i < 2; i++)
        CHECK(seen.policy[i] == SCHED_IDLE && seen.io_class[i] == 3);
    look_at(&after, 0);
    CHECK(after.policy[0] != SCHED_IDLE && after.io_class[0] != 3);
}

static void
work_of_low_priority_is_nicer_but_not_idle(void)
{
    struct error err = ERROR_INIT;
    struct look before = {.policy = {-1, -1}};
    struct look seen = before;
    struct look after = before;

    look_at(&before, 0);
    CHECK(background_run(BACKGROUND_LOW, look, &seen, &err) == -1);
    for (size_t i = 0; i < 2; i++) {
        CHECK(seen.nice[i] ==
              MIN(before.nice[0] + BACKGROUND_NICE, BACKGROUND_NICE_MOST));
        CHECK(seen.policy[i] == before.policy[0] && seen.io_class[i] == 3);
    }
    look_at(&after, 0);
    CHECK(after.nice[0] == before.nice[0] && after.io_class[0] != 3);
}

static int
see_log_context(void *context, struct error *err)
{
    (void)err;
    (void)snprintf(context, 120, "%s", log_context());
    return 0;
}

static void
background_work_logs_in_the_callers_name(void)
{
    struct error err = ERROR_INIT;
    char seen[120] = "";

    log_set_context("job=17 vm=web1");
    CHECK_OK(background_run(BACKGROUND_LOW, see_log_context, seen, &err), &err);
    CHECK_TEXT(seen, "job=17 vm=web1");
    CHECK_TEXT(log_context(), "job=17 vm=web1");
    log_set_context("");
}

int
main(void)
{
    RUN(without_a_limit_nobody_waits);
    RUN(the_rate_is_kept_whatever_the_pieces_are);
    RUN(operations_are_counted_beside_the_bytes);
    RUN(what_was_not_used_is_not_saved_up);
    RUN(a_new_limit_counts_at_once);
    RUN(what_waited_by_an_old_limit_is_told_to_ask_again);
    RUN(absurd_sizes_do_not_overflow);
    RUN(background_work_is_idle_and_nobody_else_is);
    RUN(work_of_low_priority_is_nicer_but_not_idle);
    RUN(background_work_logs_in_the_callers_name);
    return check_done();
}
