/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's side that lives in the daemon, against a stub: this program run
 * again with --thaw-watchdog, which behaves as the "URI" says.  The real one is
 * tested by tests/live/hv-thaw.test.
 */
#include "check.h"
#include "oracle.h"

#include "base/clock.h"
#include "base/fd.h"
#include "engine/thaw_guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>

static struct scratch scratch;
static struct error err;

static int
be_stub(const char *uri, const char *uuid, const char *budget)
{
    char byte = THAW_GUARD_READY;
    bool right = strcmp(uuid, "a-uuid") == 0 && strcmp(budget, "1234") == 0;

    if (strcmp(uri, "mute") == 0)
        return 1;
    if (!right || write(STDIN_FILENO, &byte, 1) != 1)
        return 2;
    if (strcmp(uri, "fires") == 0)
        return 3;
    if (read(STDIN_FILENO, &byte, 1) == 1 && byte == THAW_GUARD_DONE)
        return THAW_GUARD_UNUSED;
    /* Its parent has died; "URI" is the file that says so. */
    return fd_replace_file(uri, "acted", 5, 0600, &err) == 0 ? 3 : 4;
}

static void
a_guard_that_is_stopped_in_time_has_not_acted(void)
{
    struct thaw_guard guard;

    CHECK_OK(thaw_guard_start(&guard, NULL, "calm", "a-uuid", 1234, &err),
             &err);
    CHECK(guard.pid > 0 && kill(guard.pid, 0) == 0);
    CHECK(!thaw_guard_stop(&guard));
    CHECK(!thaw_guard_stop(&guard));
    CHECK(waitpid(-1, NULL, WNOHANG) == -1);
}

static void
a_guard_that_acted_says_so(void)
{
    struct thaw_guard guard;

    CHECK_OK(thaw_guard_start(&guard, NULL, "fires", "a-uuid", 1234, &err),
             &err);
    CHECK(thaw_guard_stop(&guard));
}

static void
a_guard_that_was_killed_counts_as_one_that_acted(void)
{
    struct thaw_guard guard;

    CHECK_OK(thaw_guard_start(&guard, NULL, "calm", "a-uuid", 1234, &err),
             &err);
    CHECK(kill(guard.pid, SIGKILL) == 0);
    CHECK(thaw_guard_stop(&guard));
}

static void
without_a_ready_guard_there_is_none(void)
{
    struct thaw_guard guard;

    CHECK(thaw_guard_start(&guard, NULL, "mute", "a-uuid", 1234, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(thaw_guard_start(&guard, "/nonexistent", "calm", "a-uuid", 1234,
                           &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(!thaw_guard_stop(&guard));
    CHECK(waitpid(-1, NULL, WNOHANG) == -1);
}

static void
a_guard_notices_that_we_died(void)
{
    AUTO_FREE char *path = scratch_file(&scratch, "acted");
    int64_t deadline = clock_monotonic_ms() + 10000;
    pid_t child;
    int status = 0;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        struct thaw_guard guard;

        if (thaw_guard_start(&guard, NULL, path, "a-uuid", 1234, &err) < 0)
            _exit(1);
        (void)kill(getpid(), SIGKILL);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    while (!fd_exists(path) && clock_monotonic_ms() < deadline)
        (void)poll(NULL, 0, 10);
    CHECK(fd_exists(path));
}

/* The end of our side is what it waits for: then it acts and ends. */
static void
one_that_was_left_is_no_zombie_for_ever(void)
{
    AUTO_FREE char *path = scratch_file(&scratch, "left");
    struct thaw_guard guard;
    siginfo_t about = {0};
    pid_t pid;

    CHECK_OK(thaw_guard_start(&guard, NULL, path, "a-uuid", 1234, &err), &err);
    pid = guard.pid;
    thaw_guard_leave(&guard);
    CHECK(guard.pid == 0);
    thaw_guard_leave(&guard);
    CHECK(waitid(P_PID, (id_t)pid, &about, WEXITED | WNOWAIT) == 0);
    CHECK(fd_exists(path));
    CHECK_OK(thaw_guard_start(&guard, NULL, "calm", "a-uuid", 1234, &err),
             &err);
    CHECK(kill(pid, 0) == -1 && errno == ESRCH);
    CHECK(!thaw_guard_stop(&guard));
    CHECK(waitpid(-1, NULL, WNOHANG) == -1);
}

int
main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--thaw-watchdog") == 0)
        return be_stub(argv[2], argv[3], argv[4]);
    scratch_enter(&scratch);
    RUN(a_guard_that_is_stopped_in_time_has_not_acted);
    RUN(a_guard_that_acted_says_so);
    RUN(a_guard_that_was_killed_counts_as_one_that_acted);
    RUN(without_a_ready_guard_there_is_none);
    RUN(one_that_was_left_is_no_zombie_for_ever);
    RUN(a_guard_notices_that_we_died);
    scratch_leave(&scratch);
    return check_done();
}
