/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard's process talks over a socket pair that is its standard input: it
 * writes READY when it is connected, we write DONE when it may go, and the end
 * of our side means that we died.  Our side is close-on-exec, as every
 * descriptor here, so no other child keeps it open.
 *
 * A unit's processes are killed when its main process is; so where systemd
 * runs us (it sets INVOCATION_ID), the guard is started through systemd-run,
 * which registers itself as a scope and then becomes the guard: same process,
 * same descriptors.  If that does not work out, it is started directly.
 *
 * The program is named by our own /proc entry, not by its path, which an
 * upgrade may have replaced.
 */
#include "engine/thaw_guard.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/vec.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 10000
#define END_MS 5000

extern char **environ;

/* -- those that were left alone ---------------------------------------------
 */

/* Our children; each is collected once it has ended. */
static struct lock lock = LOCK_INIT; /* a leaf of docs/internals/locking.md */
/* Under lock; one for each guest that did not thaw, for two minutes each. */
static struct VEC(pid_t) left = VEC_INIT;

static void reap_locked(void) REQUIRES(lock);

static void
reap_locked(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < left.count; i++) {
        /* -1: somebody else has collected it. */
        if (waitpid(left.items[i], NULL, WNOHANG) == 0)
            left.items[kept++] = left.items[i];
    }
    left.count = kept;
}

static void
reap(void)
{
    lock_take(&lock);
    reap_locked();
    lock_give(&lock);
}

/* -- a process ------------------------------------------------------------- */

/* Start argv with `fd` as its standard input and signals as at login. */
static int
spawn(const char *const argv[], int fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t defaults;
    char *const *arguments;
    int failed = posix_spawn_file_actions_init(&actions);

    if (failed != 0)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (failed != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return failed;
    }
    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSID);
    failed = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    if (failed == 0) {
        /* posix_spawn(3) does not write to the arguments. */
        memcpy(&arguments, &argv, sizeof(arguments));
        failed = posix_spawnp(ret_pid, argv[0], &actions, &attributes,
                              arguments, environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static bool
wait_for_ready(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char byte = 0;

    return poll(&poll_fd, 1, READY_MS) == 1 && read(fd, &byte, 1) == 1 &&
           byte == THAW_GUARD_READY;
}

/* True when it ended in time. */
static bool
wait_for_end(pid_t pid)
{
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd poll_fd = {.fd = pid_fd, .events = POLLIN};
    bool ended;

    if (pid_fd < 0)
        return false;
    ended = poll(&poll_fd, 1, END_MS) == 1;
    (void)close(pid_fd);
    return ended;
}

/* Wait for it, kill it when it takes too long; its status. */
static int
collect(pid_t pid)
{
    int status = -1;

    if (!wait_for_end(pid))
        (void)kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static int
start(struct thaw_guard *guard, const char *const argv[], struct error *err)
{
    int fds[2];
    int failed;
    pid_t pid = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return error_set_errno(err, errno, "socket of the thaw watchdog");
    failed = spawn(argv, fds[1], &pid);
    (void)close(fds[1]);
    if (failed != 0) {
        (void)close(fds[0]);
        return error_set(err, ERROR_UNAVAILABLE, "thaw watchdog '%s': %s",
                         argv[0], strerror(failed));
    }
    if (!wait_for_ready(fds[0]) || fault_here("thaw.guard-ready")) {
        (void)close(fds[0]);
        (void)kill(pid, SIGKILL);
        (void)collect(pid);
        return error_set(err, ERROR_UNAVAILABLE,
                         "the thaw watchdog does not get ready");
    }
    *guard = (struct thaw_guard){.pid = pid, .fd = fds[0]};
    return 0;
}

int
thaw_guard_start(struct thaw_guard *guard, const char *program, const char *uri,
                 const char *vm_uuid, int64_t budget_ms, struct error *err)
{
    AUTO_FREE char *self = xasprintf("/proc/%ld/exe", (long)getpid());
    AUTO_FREE char *budget = xasprintf("%lld", (long long)budget_ms);
    const char *const argv[] = {"systemd-run",
                                "--scope",
                                "--quiet",
                                "--collect",
                                "--",
                                program != NULL ? program : self,
                                "--thaw-watchdog",
                                uri,
                                vm_uuid,
                                budget,
                                NULL};
    struct error ignored = ERROR_INIT;

    *guard = (struct thaw_guard)THAW_GUARD_INIT;
    reap();
    if (getenv("INVOCATION_ID") != NULL &&
        access("/run/systemd/system", F_OK) == 0 &&
        start(guard, argv, &ignored) == 0)
        return 0;
    return start(guard, argv + 5, err);
}

bool
thaw_guard_stop(struct thaw_guard *guard)
{
    const char byte = THAW_GUARD_DONE;
    int status;

    if (guard->pid == 0)
        return false;
    /* If it is gone already, its status tells. */
    (void)!send(guard->fd, &byte, 1, MSG_NOSIGNAL);
    status = collect(guard->pid);
    (void)close(guard->fd);
    *guard = (struct thaw_guard)THAW_GUARD_INIT;
    reap();
    return !WIFEXITED(status) || WEXITSTATUS(status) != THAW_GUARD_UNUSED;
}

void
thaw_guard_leave(struct thaw_guard *guard)
{
    if (guard->pid == 0)
        return;
    (void)close(guard->fd);
    lock_take(&lock);
    reap_locked();
    vec_push(&left, guard->pid);
    lock_give(&lock);
    *guard = (struct thaw_guard)THAW_GUARD_INIT;
}
