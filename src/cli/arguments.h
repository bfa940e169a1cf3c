/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arguments.h -- a command line, checked against the table of commands.
 */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "base/compiler.h"
#include "base/error.h"
#include "cli/commands.h"

#include <stddef.h>

struct arguments_given {
    const struct commands_option *option;
    const char *value; /* borrowed from argv; "" for a flag */
};

#define ARGUMENTS_OPTIONS_MAX 32

struct arguments {
    const struct command *command; /* never NULL once parsed */
    struct arguments_given options[ARGUMENTS_OPTIONS_MAX];
    size_t option_count;
    char **operands; /* borrowed from argv, whose order changes */
    size_t operand_count;
};

/**
 * arguments_parse(arguments, argc, argv, err):
 * Read "varve [OPTION]... COMMAND [OPTION|OPERAND]...".  Without a command it
 * is "help", with --help it is "help COMMAND", with --version "version".
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID; the text says how to
 *             find help.
 */
int arguments_parse(struct arguments *arguments, int argc, char **argv,
                    struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* The value of an option that the command takes; NULL when it was not given,
 * "" when it is a flag. */
const char *arguments_option(const struct arguments *arguments,
                             const char *name) NONNULL(1, 2);

#endif
