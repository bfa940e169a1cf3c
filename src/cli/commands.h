/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.h -- every command of varve, its operands and options, as a table.
 *
 * What the program accepts, its help, the completion of shells and the check
 * of varve(1) all come from commands.def.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct cli;

/* What a command does; options that go with it are accepted only then. */
enum commands_trait {
    COMMANDS_SHOWS = 1,  /* objects: --json, --output */
    COMMANDS_WORKS = 2,  /* starts a job: --no-wait, --timeout, --progress */
    COMMANDS_ASKS = 4,   /* destroys something: --yes */
    COMMANDS_HIDDEN = 8, /* for completion scripts, not for people */
    COMMANDS_LOCAL = 16  /* asks no daemon: no --socket, --url, ... */
};

/*
 * What stands in place of an operand or of an option's value says what it is:
 * VM, SNAPSHOT, ... are completed by names, "a|b" by these words.
 */
struct commands_option {
    const char *name;  /* "--state" */
    const char *value; /* "STATE"; NULL: a flag */
    const char *help;
};

/**
 * A command's function: do it, and write the answer to standard output.
 *
 * Returns:    0, or -1 with *err set; cli->exit_status may say more than 0.
 */
typedef int commands_function(struct cli *cli, struct error *err);

#define COMMANDS_OPTIONS_MAX 12

struct command {
    const char *name;     /* "vm list" */
    const char *operands; /* "VM [NAME]" */
    unsigned traits;
    commands_function *run;
    const char *summary; /* one line */
    const char *detail;  /* more, for its own help; or "" */
    struct commands_option options[COMMANDS_OPTIONS_MAX];
};

/* Ends with an entry whose name is NULL. */
extern const struct command commands[];

/* Options of many commands. */
struct commands_common {
    struct commands_option option;
    char letter;     /* short form, or 0 */
    unsigned traits; /* of the commands that take it; 0: all that ask */
};
extern const struct commands_common commands_common[];

/* The command of that name ("vm list"), or NULL. */
const struct command *commands_find(const char *name) NONNULL(1);

/* True when a name begins with this word and goes on ("vm"). */
bool commands_is_group(const char *word) NONNULL(1);

/* True when `command` takes the common option. */
bool commands_takes(const struct command *command,
                    const struct commands_common *common) NONNULL(1, 2);

/* The option of that name ("--state"), the command's own or a common one, or
 * NULL. */
const struct commands_option *
commands_find_option(const struct command *command, const char *name)
    NONNULL(1, 2);

/* How many operands it takes; *ret_max is SIZE_MAX for any number. */
void commands_count_operands(const struct command *command, size_t *ret_min,
                             size_t *ret_max) NONNULL(1, 2, 3);

/* What the operand `index` (from 0) is: "VM".  Cut at `size`; "" past the
 * last. */
void commands_operand_kind(const struct command *command, size_t index,
                           char *ret_kind, size_t size) NONNULL(1, 3);

/* The functions, each in the file of its first word. */
#define COMMAND(name, operands, traits, run, summary, detail)                  \
    commands_function run;
#define OPTION(name, value, help)
#define END
#include "cli/commands.def"
#undef COMMAND
#undef OPTION
#undef END

#endif
