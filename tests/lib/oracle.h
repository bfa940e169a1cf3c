/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oracle.h -- a directory for a test's files, and QEMU's tools to compare
 * with.
 *
 *     static struct scratch scratch;
 *     scratch_enter(&scratch);            // made, and now the current one
 *     CHECK(oracle("qemu-img", "create", "-q", "-f", "qcow2", "a", "1M"));
 *     scratch_leave(&scratch);            // removed with all that is in it
 */
#ifndef TESTS_LIB_ORACLE_H
#define TESTS_LIB_ORACLE_H

#include "base/error.h"
#include "base/memory.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct scratch {
    char path[256]; /* absolute */
};

static inline void
scratch_enter(struct scratch *scratch)
{
    const char *base = getenv("TMPDIR");

    (void)snprintf(scratch->path, sizeof(scratch->path), "%s/varve-test-XXXXXX",
                   base != NULL && *base == '/' ? base : "/tmp");
    if (mkdtemp(scratch->path) == NULL || chdir(scratch->path) < 0) {
        perror(scratch->path);
        abort();
    }
}

static inline int
scratch_remove_one(const char *path, const struct stat *about, int type,
                   struct FTW *position)
{
    (void)about;
    (void)type;
    (void)position;
    return remove(path);
}

static inline void
scratch_leave(const struct scratch *scratch)
{
    if (chdir("/") < 0 ||
        nftw(scratch->path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
        perror(scratch->path);
}

/* The absolute name of a file in it; the caller's to free. */
static inline char *
scratch_file(const struct scratch *scratch, const char *name)
{
    return xasprintf("%s/%s", scratch->path, name);
}

#define ORACLE_ARGS_MAX 40

static inline bool
oracle_run(const char *const argv[], char **ret_output, bool quiet)
{
    struct error err = ERROR_INIT;

    /* QEMU measures how fast LUKS's key derivation is, and gives up where the
     * machine is busy with something else. */
    for (int tries = 0; tries < 20; tries++) {
        error_clear(&err);
        if (spawn_run(argv, 60000, ret_output, &err) == 0)
            return true;
        if (strstr(err.message, "accurate CPU usage") == NULL)
            break;
    }
    if (!quiet) {
        printf("#");
        for (size_t i = 0; argv[i] != NULL; i++)
            printf(" %s", argv[i]);
        printf(": %s\n", err.message);
    }
    return false;
}

static inline void
oracle_collect(const char *argv[], const char *first, va_list args)
{
    size_t count = 0;

    for (const char *arg = first; arg != NULL; arg = va_arg(args, const char *))
        if (count < ORACLE_ARGS_MAX)
            argv[count++] = arg;
    argv[count] = NULL;
}

/* True when the program ended with status 0; otherwise says why not. */
static inline bool __attribute__((sentinel)) oracle_null(const char *first, ...)
{
    const char *argv[ORACLE_ARGS_MAX + 1];
    va_list args;

    va_start(args, first);
    oracle_collect(argv, first, args);
    va_end(args);
    return oracle_run(argv, NULL, false);
}
#define oracle(...) oracle_null(__VA_ARGS__, (const char *)NULL)

/* The same, where failure is expected: says nothing. */
static inline bool __attribute__((sentinel))
oracle_quiet_null(const char *first, ...)
{
    const char *argv[ORACLE_ARGS_MAX + 1];
    va_list args;

    va_start(args, first);
    oracle_collect(argv, first, args);
    va_end(args);
    return oracle_run(argv, NULL, true);
}
#define oracle_quiet(...) oracle_quiet_null(__VA_ARGS__, (const char *)NULL)

/* What it printed; the caller's to free.  NULL when it failed. */
static inline char *__attribute__((sentinel))
oracle_output_null(const char *first, ...)
{
    const char *argv[ORACLE_ARGS_MAX + 1];
    char *output = NULL;
    va_list args;

    va_start(args, first);
    oracle_collect(argv, first, args);
    va_end(args);
    return oracle_run(argv, &output, false) ? output : NULL;
}
#define oracle_output(...) oracle_output_null(__VA_ARGS__, (const char *)NULL)

/* -- a QEMU tool that holds an image open ------------------------------- */

struct holder {
    pid_t pid;
    int input;  /* its standard input; closing it ends it */
    int output; /* its standard output */
};

/* Start qemu-io interactively; true when it has the image open. */
static inline bool
holder_start(struct holder *holder, const char *const argv[])
{
    int in[2];
    int out[2];
    char byte;
    unsigned seen = 0;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        abort();
    holder->pid = fork();
    if (holder->pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    holder->input = in[1];
    holder->output = out[0];
    /* The prompt "qemu-io> " comes when the image is open. */
    while (seen < 9 && read(holder->output, &byte, 1) == 1)
        seen = byte == "qemu-io> "[seen] ? seen + 1 : 0;
    return seen == 9;
}

static inline void
holder_stop(struct holder *holder)
{
    (void)close(holder->input);
    (void)close(holder->output);
    (void)waitpid(holder->pid, NULL, 0);
}

#endif
