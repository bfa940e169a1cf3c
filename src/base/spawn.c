/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spawn.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX ((size_t)16 << 20)
#define ASK_MS 200

/* How long a program may run. */
struct limit {
    int64_t timeout_ms;     /* 0: none */
    int64_t deadline_ms;    /* by clock_monotonic_ms() */
    spawn_goes_on *goes_on; /* or NULL */
    void *context;
};

extern char **environ;

/* Nothing blocked and nothing ignored, whatever this process does or was
 * started with (nohup, a shell's &). */
static int
start_attributed(const char *const argv[],
                 const posix_spawn_file_actions_t *actions, pid_t *ret_pid)
{
    posix_spawnattr_t attributes;
    char *const *arguments;
    sigset_t none;
    sigset_t defaults;
    int failed = posix_spawnattr_init(&attributes);

    if (failed != 0)
        return failed;
    (void)sigemptyset(&none);
    (void)sigfillset(&defaults);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                                    POSIX_SPAWN_SETSIGDEF);
    /* posix_spawn(3) does not write to the arguments. */
    memcpy(&arguments, &argv, sizeof(arguments));
    failed = posix_spawnp(ret_pid, argv[0], actions, &attributes, arguments,
                          environ);
    (void)posix_spawnattr_destroy(&attributes);
    return failed;
}

static int
start(const char *const argv[], int out, int errors, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);

    if (failed != 0)
        return failed;
    failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO,
                                              "/dev/null", O_RDONLY, 0);
    if (failed == 0)
        failed = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (failed == 0)
        failed =
            posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    if (failed == 0)
        failed = start_attributed(argv, &actions, ret_pid);
    (void)posix_spawn_file_actions_destroy(&actions);
    return failed;
}

/* Read what there is; false when the other end closed. */
static bool
drain(int fd, struct strbuf *into)
{
    char buffer[4096];
    ssize_t got = read(fd, buffer, sizeof(buffer));

    if (got > 0)
        strbuf_add(into, buffer, (size_t)got);
    return got > 0 || (got < 0 && errno == EINTR);
}

/* Collect both outputs until both close; false when it may not go on. */
static bool
collect(int out, int errors, const struct limit *limit, struct strbuf *output,
        struct strbuf *messages)
{
    struct pollfd fds[2] = {{.fd = out, .events = POLLIN},
                            {.fd = errors, .events = POLLIN}};

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        int64_t left = -1;

        if (limit->timeout_ms > 0) {
            left = limit->deadline_ms - clock_monotonic_ms();
            if (left <= 0)
                return false;
        }
        if (limit->goes_on != NULL) {
            if (!limit->goes_on(limit->context))
                return false;
            left = ASK_MS;
        }
        if (poll(fds, 2, (int)MIN(left, (int64_t)60000)) < 0 && errno != EINTR)
            return false;
        if (fds[0].revents != 0 && !drain(out, output))
            fds[0].fd = -1;
        if (fds[1].revents != 0 && !drain(errors, messages))
            fds[1].fd = -1;
    }
    return true;
}

static int
wait_for(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static int
stopped(const struct limit *limit, const char *name, struct error *err)
{
    if (limit->goes_on != NULL)
        return error_set(err, ERROR_CANCELLED, "'%s' was cancelled", name);
    return error_set(err, ERROR_TIMEOUT, "'%s' ran longer than %lld ms", name,
                     (long long)limit->timeout_ms);
}

static int
run(const char *const argv[], const struct limit *limit, char **ret_output,
    struct error *err)
{
    int out[2] = {-1, -1};
    int errors[2] = {-1, -1};
    AUTO_STRBUF struct strbuf output = {.max = OUTPUT_MAX};
    AUTO_STRBUF struct strbuf messages = {.max = 65536};
    pid_t pid = -1;
    int status;
    bool in_time;

    if (pipe2(out, O_CLOEXEC) < 0)
        return error_set_errno(err, errno, "pipe for '%s'", argv[0]);
    if (pipe2(errors, O_CLOEXEC) < 0) {
        (void)close(out[0]);
        (void)close(out[1]);
        return error_set_errno(err, errno, "pipe for '%s'", argv[0]);
    }
    status = start(argv, out[1], errors[1], &pid);
    (void)close(out[1]);
    (void)close(errors[1]);
    in_time =
        status != 0 || collect(out[0], errors[0], limit, &output, &messages);
    (void)close(out[0]);
    (void)close(errors[0]);
    if (status != 0)
        return error_set_errno(err, status, "start '%s'", argv[0]);
    if (!in_time)
        (void)kill(pid, SIGKILL);
    status = wait_for(pid);
    if (!in_time)
        return stopped(limit, argv[0], err);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const char *text = strbuf_text(&messages);
        size_t length = strlen(text);

        return error_set(err, ERROR_IO, "'%s' failed with status %d: %s",
                         argv[0], WIFEXITED(status) ? WEXITSTATUS(status) : 128,
                         length > 300 ? text + length - 300 : text);
    }
    if (ret_output != NULL)
        *ret_output = strbuf_take(&output);
    return 0;
}

int
spawn_run(const char *const argv[], int64_t timeout_ms, char **ret_output,
          struct error *err)
{
    const struct limit limit = {.timeout_ms = timeout_ms,
                                .deadline_ms =
                                    clock_monotonic_ms() + timeout_ms};

    return run(argv, &limit, ret_output, err);
}

int
spawn_run_while(const char *const argv[], spawn_goes_on *goes_on, void *context,
                char **ret_output, struct error *err)
{
    const struct limit limit = {.goes_on = goes_on, .context = context};

    return run(argv, &limit, ret_output, err);
}
