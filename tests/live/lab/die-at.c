/* SPDX-License-Identifier: Apache-2.0 */
/*
 * die-at.c -- loaded into libvirtd (LD_PRELOAD): it dies at one of its steps.
 *
 * A step is an instant right before, or right after, something of libvirtd that
 * outlives it: a command to QEMU's monitor that changes something, or a file
 * of a machine (its definition, its status) put in place by rename(2).
 *
 *     $LAB_STEPS/armed   while it is there steps are counted from 1, anew after
 *                        every change; at the step whose number it holds
 *                        libvirtd kills itself (0: never)
 *     $LAB_STEPS/log     "NUMBER before|after WHAT" of every step
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_flag busy = ATOMIC_FLAG_INIT;
static struct timespec armed_at; /* what `count` counts from; while busy */
static unsigned long count;

static ssize_t
real_write(int fd, const void *bytes, size_t length)
{
    static ssize_t (*next)(int, const void *, size_t);

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "write");
    return next(fd, bytes, length);
}

/* The number to die at; -1 when nothing is armed. */
static long
wanted(const char *steps)
{
    char path[512];
    char text[32] = "";
    struct stat about;
    ssize_t length;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/armed", steps);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &about) < 0 ||
        (length = read(fd, text, sizeof(text) - 1)) <= 0) {
        (void)close(fd);
        return -1;
    }
    (void)close(fd);
    if (about.st_mtim.tv_sec != armed_at.tv_sec ||
        about.st_mtim.tv_nsec != armed_at.tv_nsec) {
        armed_at = about.st_mtim;
        count = 0;
    }
    return (long)strtoul(text, NULL, 10);
}

static void
step(const char *when, const char *what)
{
    const char *steps = getenv("LAB_STEPS");
    char path[512];
    char line[256];
    long at;
    int fd;

    while (atomic_flag_test_and_set(&busy))
        (void)sched_yield();
    at = steps != NULL ? wanted(steps) : -1;
    if (at >= 0) {
        count++;
        (void)snprintf(path, sizeof(path), "%s/log", steps);
        (void)snprintf(line, sizeof(line), "%lu %s %s\n", count, when, what);
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0) {
            (void)!real_write(fd, line, strlen(line));
            (void)close(fd);
        }
        if ((long)count == at)
            (void)kill(getpid(), SIGKILL);
    }
    atomic_flag_clear(&busy);
}

/* The command's name in `ret_what`, if this is one that changes something. */
static int
is_command(const void *bytes, size_t length, char *ret_what, size_t size)
{
    static const char begin[] = "{\"execute\":\"";
    const char *text = bytes;
    size_t n = 0;

    if (length <= sizeof(begin) || memcmp(text, begin, sizeof(begin) - 1) != 0)
        return 0;
    text += sizeof(begin) - 1;
    length -= sizeof(begin) - 1;
    while (n < length && n < size - 1 && text[n] != '"')
        n++;
    memcpy(ret_what, text, n);
    ret_what[n] = '\0';
    return strncmp(ret_what, "query-", 6) != 0;
}

static int
is_libvirtd(void)
{
    return strcmp(program_invocation_short_name, "libvirtd") == 0;
}

ssize_t
write(int fd, const void *bytes, size_t length)
{
    char what[64];
    ssize_t result;

    if (!is_libvirtd() || !is_command(bytes, length, what, sizeof(what)))
        return real_write(fd, bytes, length);
    step("before", what);
    result = real_write(fd, bytes, length);
    step("after", what);
    return result;
}

int
rename(const char *from, const char *to)
{
    static int (*next)(const char *, const char *);
    int is_machine = strstr(to, "/libvirt/qemu/") != NULL &&
                     strcmp(to + strlen(to) - 4, ".xml") == 0;
    const char *what = strncmp(to, "/etc/", 5) == 0 ? "definition" : "status";
    int result;

    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "rename");
    if (!is_libvirtd() || !is_machine)
        return next(from, to);
    step("before", what);
    result = next(from, to);
    step("after", what);
    return result;
}
