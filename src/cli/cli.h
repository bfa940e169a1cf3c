/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h -- one run of varve: what was asked, whom we ask, how we answer.
 *
 * Threads:    one.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/compiler.h"
#include "base/error.h"
#include "cli/arguments.h"
#include "cli/client.h"

#include <stdbool.h>
#include <stdio.h>

/* Ended with something to tell, though nothing failed. */
#define CLI_EXIT_WARNING 3

struct cli {
    struct arguments arguments;
    struct client *client; /* owned; NULL for a COMMANDS_LOCAL command */
    FILE *out;             /* borrowed; standard output */
    int exit_status;       /* of a command that did not fail */
};

/* Shorthands for the arguments: NULL when it was not given. */
const char *cli_operand(const struct cli *cli, size_t index) NONNULL(1);
const char *cli_option(const struct cli *cli, const char *name) NONNULL(1, 2);
bool cli_flag(const struct cli *cli, const char *name) NONNULL(1, 2);

/* A flag as json_pack("s*") and the API want it: "true", or NULL. */
const char *cli_true(const struct cli *cli, const char *name) NONNULL(1, 2);

/* A sentence for people, on standard output; not with --json and the like. */
void cli_say(const struct cli *cli, const char *fmt, ...) NONNULL(1, 2)
    PRINTF(2, 3);

/**
 * cli_confirm(cli, err, question, ...):
 * Have a destructive command confirmed: by --yes, or at the terminal.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID without a terminal,
 *             ERROR_CANCELLED when the answer is not yes.
 */
int cli_confirm(struct cli *cli, struct error *err, const char *question, ...)
    MUST_CHECK NONNULL(1, 2, 3) PRINTF(3, 4);

/**
 * cli_main(argc, argv, out):
 * Run the program.
 *
 * Returns:    its exit status; errors were printed.
 */
int cli_main(int argc, char **argv, FILE *out) NONNULL(2, 3);

#endif
