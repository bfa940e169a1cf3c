/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reap.c -- run a command so that nothing of it can be left behind.
 *
 *     reap [-k] [-o OWNER] [-p FILE] COMMAND...
 *
 * It is the subreaper of everything below: a QEMU that has made itself a
 * daemon becomes our child when libvirtd dies, is reaped at once (a process 1
 * that is slow at that makes virDomainDestroy slow), and is known by its
 * parent when the time comes to end it; no name is ever matched.
 *
 *     -o OWNER  end when that process ends, however it ends
 *     -p FILE   write the command's process id
 *     -k        keep going when the command ends (its descendants live on, as
 *               they do when libvirtd crashes); SIGUSR1 starts it again
 *
 * SIGTERM and SIGINT end the command (SIGTERM, SIGKILL after 5 s), then all
 * other descendants (SIGKILL), then us.  SIGHUP goes to the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 5000

struct reaper {
    char **command;
    const char *pid_file; /* or NULL */
    int signals;          /* signalfd */
    int owner;            /* pidfd, or -1 */
    pid_t child;          /* 0 while the command does not run */
    int status;           /* of its last end */
    bool keep;
    bool ending;
    bool wanted;         /* to be started as soon as it has ended */
    int64_t deadline_ms; /* once ending */
};

static int64_t
now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
die(const char *what)
{
    (void)fprintf(stderr, "reap: %s: %s\n", what, strerror(errno));
    exit(126);
}

static void
write_pid(const struct reaper *reaper)
{
    FILE *file;

    if (reaper->pid_file == NULL)
        return;
    file = fopen(reaper->pid_file, "we");
    if (file == NULL || fprintf(file, "%d\n", (int)reaper->child) < 0 ||
        fclose(file) != 0)
        die(reaper->pid_file);
}

static void
start(struct reaper *reaper)
{
    sigset_t none;

    reaper->child = fork();
    if (reaper->child < 0)
        die("fork");
    if (reaper->child == 0) {
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)execvp(reaper->command[0], reaper->command);
        die(reaper->command[0]);
    }
    write_pid(reaper);
}

static void
begin_end(struct reaper *reaper)
{
    if (reaper->ending)
        return;
    reaper->ending = true;
    reaper->deadline_ms = now_ms() + GRACE_MS;
    if (reaper->child > 0)
        (void)kill(reaper->child, SIGTERM);
}

static void
collect(struct reaper *reaper)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != reaper->child)
            continue;
        reaper->child = 0;
        reaper->status =
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (!reaper->keep)
            begin_end(reaper);
    }
}

/* The descendants that are our own children by now; false when none is. */
static bool
kill_children(void)
{
    char path[64];
    FILE *file;
    bool any = false;
    int pid;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children",
                   (int)getpid());
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fscanf(file, "%d", &pid) == 1) {
        any = true;
        (void)kill((pid_t)pid, SIGKILL);
    }
    (void)fclose(file);
    return any;
}

/* Ending a child may hand us its children: repeat until there are none. */
static void
end_descendants(void)
{
    while (kill_children() && waitpid(-1, NULL, 0) > 0)
        continue;
}

static void
take_signal(struct reaper *reaper)
{
    struct signalfd_siginfo info;

    if (read(reaper->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    switch (info.ssi_signo) {
    case SIGCHLD:
        collect(reaper);
        break;
    case SIGHUP:
        if (reaper->child > 0)
            (void)kill(reaper->child, SIGHUP);
        break;
    case SIGUSR1:
        /* Its death may not have been told yet: of two pending signals the
           lower number comes first, and a process that looks dead can be
           waited for only when its last thread is gone. */
        reaper->wanted = true;
        collect(reaper);
        break;
    default:
        begin_end(reaper);
        break;
    }
    if (reaper->wanted && reaper->child == 0 && !reaper->ending) {
        reaper->wanted = false;
        start(reaper);
    }
}

static void
run(struct reaper *reaper)
{
    struct pollfd fds[] = {
        {.fd = reaper->signals, .events = POLLIN},
        {.fd = reaper->owner, .events = POLLIN}, /* -1 is passed over */
    };

    while (!reaper->ending || reaper->child > 0) {
        int wait_ms = -1;

        if (reaper->ending) {
            int64_t left_ms = reaper->deadline_ms - now_ms();

            wait_ms = left_ms > 0 ? (int)left_ms : 0;
            fds[1].fd = -1;
        }
        if (poll(fds, 2, wait_ms) == 0) {
            (void)kill(reaper->child, SIGKILL);
            reaper->deadline_ms += GRACE_MS;
        }
        if (fds[0].revents != 0)
            take_signal(reaper);
        if (fds[1].fd >= 0 && fds[1].revents != 0)
            begin_end(reaper);
    }
}

static void
watch_signals(struct reaper *reaper)
{
    const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        (void)sigaddset(&set, watched[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    reaper->signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (reaper->signals < 0)
        die("signalfd");
}

static int
open_owner(const char *text)
{
    unsigned long pid = strtoul(text, NULL, 10);
    long fd = syscall(SYS_pidfd_open, (pid_t)pid, 0);

    if (fd < 0)
        die("owner");
    return (int)fd;
}

int
main(int argc, char **argv)
{
    struct reaper reaper = {.owner = -1};
    int option;

    while ((option = getopt(argc, argv, "+ko:p:")) != -1) {
        if (option == 'k')
            reaper.keep = true;
        else if (option == 'o')
            reaper.owner = open_owner(optarg);
        else if (option == 'p')
            reaper.pid_file = optarg;
        else
            return 2;
    }
    reaper.command = argv + optind;
    if (reaper.command[0] == NULL) {
        (void)fputs("usage: reap [-k] [-o OWNER] [-p FILE] COMMAND...\n",
                    stderr);
        return 2;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        die("subreaper");
    watch_signals(&reaper);
    start(&reaper);
    run(&reaper);
    end_descendants();
    return reaper.status;
}
