/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/background.h"
#include "base/throttle.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
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

static bool
is_idle(void)
{
    return sched_getscheduler(0) == SCHED_IDLE &&
           (syscall(SYS_ioprio_get, 1, 0) >> 13) == 3;
}

static void *
look_from_a_thread(void *answer)
{
    *(bool *)answer = is_idle();
    return NULL;
}

static int
look(void *context, struct error *err)
{
    bool *idle = context;
    pthread_t thread;

    idle[0] = is_idle();
    if (pthread_create(&thread, NULL, look_from_a_thread, &idle[1]) == 0)
        (void)pthread_join(thread, NULL);
    return error_set(err, ERROR_BUSY, "handed on");
}

static void
background_work_is_idle_and_nobody_else_is(void)
{
    struct error err = ERROR_INIT;
    bool idle[2] = {false, false};

    CHECK(background_run(look, idle, &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK(idle[0] && idle[1]);
    CHECK(!is_idle());
}

int
main(void)
{
    RUN(without_a_limit_nobody_waits);
    RUN(the_rate_is_kept_whatever_the_pieces_are);
    RUN(operations_are_counted_beside_the_bytes);
    RUN(what_was_not_used_is_not_saved_up);
    RUN(a_new_limit_counts_at_once);
    RUN(absurd_sizes_do_not_overflow);
    RUN(background_work_is_idle_and_nobody_else_is);
    return check_done();
}
