/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thaw watchdog and a real guest; run by tests/live/hv-thaw.test with the
 * environment of hv_libvirt_crash.c.  This program run again with
 * --thaw-watchdog is the watchdog.
 */
#include "check.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/parse.h"
#include "daemon/thaw_watchdog.h"
#include "engine/thaw_guard.h"
#include "hv/libvirt/hv_libvirt.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *uri;
static const char *uuid;
static struct error err;

static bool
send_signal(const char *variable, int signal_number)
{
    AUTO_FREE char *text = NULL;
    uint64_t pid = 0;

    if (fd_read_file(getenv(variable), 64, &text, NULL, &err) < 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    return parse_u64(text, &pid, &err) == 0 && pid > 1 &&
           kill((pid_t)pid, signal_number) == 0;
}

/* Milliseconds until the guest is not frozen; -1 after `most_ms`. */
static int64_t
wait_until_thawed(int64_t most_ms)
{
    AUTO_HV struct hv *hv = hv_libvirt_open(uri, &err);
    int64_t started = clock_monotonic_ms();

    while (hv_is_frozen(hv, uuid, &err) != 0) {
        if (clock_monotonic_ms() - started > most_ms)
            return -1;
        (void)poll(NULL, 0, 100);
    }
    return clock_monotonic_ms() - started;
}

static bool
freeze(void)
{
    AUTO_HV struct hv *hv = hv_libvirt_open(uri, &err);

    if (hv_freeze(hv, uuid, 5000, &err) == 0 &&
        hv_is_frozen(hv, uuid, &err) == 1)
        return true;
    printf("# %s\n", err.message);
    return false;
}

static void
a_stopped_watchdog_leaves_the_guest_as_it_is(void)
{
    AUTO_HV struct hv *hv = hv_libvirt_open(uri, &err);
    struct thaw_guard guard;
    int64_t started = clock_monotonic_ms();

    CHECK_OK(thaw_guard_start(&guard, NULL, uri, uuid, 20000, &err), &err);
    printf("# ready after %lld ms\n",
           (long long)(clock_monotonic_ms() - started));
    REQUIRE(freeze());
    started = clock_monotonic_ms();
    CHECK(!thaw_guard_stop(&guard));
    printf("# stopped after %lld ms\n",
           (long long)(clock_monotonic_ms() - started));
    CHECK(hv_is_frozen(hv, uuid, &err) == 1);
    CHECK_OK(hv_thaw(hv, uuid, &err), &err);
}

static void
a_budget_that_ends_thaws(void)
{
    struct thaw_guard guard;
    int64_t took;

    CHECK_OK(thaw_guard_start(&guard, NULL, uri, uuid, 1500, &err), &err);
    REQUIRE(freeze());
    took = wait_until_thawed(15000);
    printf("# thawed after %lld ms\n", (long long)took);
    CHECK(took > 0);
    /* It takes its second look, longer than stopping waits. */
    (void)poll(NULL, 0, 7000);
    CHECK(thaw_guard_stop(&guard));
}

/* A process that is guarded, freezes the guest and dies.  It is this program
 * again: threads of libvirt do not survive a fork. */
static int
freeze_and_die(void)
{
    struct thaw_guard guard;

    if (thaw_guard_start(&guard, NULL, uri, uuid, 600000, &err) < 0 ||
        !freeze())
        return EXIT_FAILURE;
    if (getenv("VARVE_TEST_CRASH") != NULL)
        (void)send_signal("VARVE_TEST_LIBVIRTD_PID", SIGKILL);
    return kill(getpid(), SIGKILL);
}

static bool
let_one_freeze_and_die(void)
{
    char self[] = "/proc/self/exe";
    char option[] = "--freeze-and-die";
    char *const arguments[] = {self, option, NULL};
    int status = 0;
    pid_t child = 0;

    (void)fflush(stdout);
    return posix_spawn(&child, self, NULL, NULL, arguments, environ) == 0 &&
           waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static void
a_parent_that_dies_leaves_no_frozen_guest(void)
{
    int64_t took;

    REQUIRE(let_one_freeze_and_die());
    took = wait_until_thawed(15000);
    printf("# thawed after %lld ms\n", (long long)took);
    CHECK(took >= 0);
}

static void
a_libvirtd_that_died_too_is_waited_for(void)
{
    REQUIRE(setenv("VARVE_TEST_CRASH", "1", 1) == 0);
    REQUIRE(let_one_freeze_and_die());
    (void)poll(NULL, 0, 3000);
    REQUIRE(!send_signal("VARVE_TEST_LIBVIRTD_PID", 0));
    REQUIRE(send_signal("VARVE_TEST_REAP_PID", SIGUSR1));
    CHECK(wait_until_thawed(30000) >= 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], THAW_WATCHDOG_OPTION) == 0)
        return thaw_watchdog_run(argc - 2, argv + 2);
    uri = getenv("VARVE_TEST_LIBVIRT_URI");
    uuid = getenv("VARVE_TEST_LIBVIRT_UUID");
    if (uri == NULL || uuid == NULL) {
        printf("1..0 # SKIP no libvirt to play with\n");
        return EXIT_SUCCESS;
    }
    if (argc > 1 && strcmp(argv[1], "--freeze-and-die") == 0)
        return freeze_and_die();
    /* One that acted takes a second look: it would thaw what the next freezes.
     */
    RUN(a_stopped_watchdog_leaves_the_guest_as_it_is);
    RUN(a_budget_that_ends_thaws);
    RUN(a_parent_that_dies_leaves_no_frozen_guest);
    RUN(a_libvirtd_that_died_too_is_waited_for);
    /* Let the last second look end before the lab goes. */
    (void)poll(NULL, 0, 8000);
    return check_done();
}
