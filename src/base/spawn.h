/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h -- run another program, without a shell.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/**
 * spawn_run(argv, timeout_ms, ret_output, err):
 * Run argv[0] (found by PATH) with standard input from /dev/null and wait
 * for its end.  argv ends with NULL.  No signal is blocked in it, and SIGPIPE
 * ends it, whatever this process does with signals.
 *
 * Units:      timeout_ms in milliseconds, 0 for none.
 * Ownership:  if ret_output is not NULL, *ret_output is its standard output
 *             (at most 16 MiB), the caller's to free.
 * Blocks:     until the program ends; it is killed when the time is up.
 * Returns:    0 when it exited with status 0, or -1 with *err set to
 *               ERROR_IO       another status; the message holds the end of
 *                              its standard error;
 *               ERROR_TIMEOUT  the time was up.
 */
int spawn_run(const char *const argv[], int64_t timeout_ms, char **ret_output,
              struct error *err) MUST_CHECK NONNULL(1, 4);

/* Asked now and then while a program runs; false ends it. */
typedef bool spawn_goes_on(void *context);

/**
 * spawn_run_while(argv, goes_on, context, ret_output, err):
 * spawn_run() without a time-out: the program is killed as soon as `goes_on`
 * (asked every 200 ms) says so.
 *
 * Returns:    as spawn_run(), ERROR_CANCELLED when it was killed.
 */
int spawn_run_while(const char *const argv[], spawn_goes_on *goes_on,
                    void *context, char **ret_output, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

#endif
