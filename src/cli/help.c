/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help comes from the table of commands alone.  tools/check-docs reads what
 * `varve help` prints: lines that begin with two spaces and a small letter
 * name a command.
 */
#include "base/memory.h"
#include "base/strbuf.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH 78
#define COMMAND_COLUMN 31
#define OPTION_COLUMN 32

/* Words of `text`, broken so that lines end before WIDTH; the first begins at
 * `column`, the others after `indent` spaces. */
static void
add_wrapped(struct strbuf *out, const char *text, size_t column, size_t indent)
{
    size_t at = column;
    bool is_first = true;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");

        if (is_first) {
            is_first = false;
        } else if (at + 1 + length > WIDTH) {
            strbuf_addf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else {
            strbuf_addc(out, ' ');
            at++;
        }
        strbuf_add(out, text, length);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    strbuf_addc(out, '\n');
}

/* "  left            right", both wrapped apart from each other. */
static void
add_pair(struct strbuf *out, const char *left, const char *right, size_t column)
{
    size_t used = strlen(left) + 2;

    strbuf_addf(out, "  %s", left);
    if (used + 2 > column)
        strbuf_addf(out, "\n%*s", (int)column, "");
    else
        strbuf_addf(out, "%*s", (int)(column - used), "");
    add_wrapped(out, right, column, column);
}

static void
add_option(struct strbuf *out, const struct commands_option *option,
           char letter)
{
    AUTO_STRBUF struct strbuf left = STRBUF_INIT;

    if (letter != '\0')
        strbuf_addf(&left, "-%c, ", letter);
    strbuf_adds(&left, option->name);
    if (option->value != NULL)
        strbuf_addf(&left, " %s", option->value);
    add_pair(out, strbuf_text(&left), option->help, OPTION_COLUMN);
}

/* -- everything ---------------------------------------------------------- */

/* All commands, or those of a group. */
static void
add_commands(struct strbuf *out, const char *group)
{
    size_t length = group != NULL ? strlen(group) : 0;
    const char *previous = NULL;

    for (const struct command *c = commands; c->name != NULL; c++) {
        AUTO_FREE char *left = xasprintf("%s %s", c->name, c->operands);
        const char *space = strchr(c->name, ' ');
        size_t word = space != NULL ? (size_t)(space - c->name) : 0;

        if ((c->traits & COMMANDS_HIDDEN) != 0 ||
            (group != NULL &&
             (strncmp(c->name, group, length) != 0 || c->name[length] != ' ')))
            continue;
        /* A line between groups. */
        if (previous != NULL &&
            (strncmp(previous, c->name, word) != 0 ||
             (word == 0) != (strchr(previous, ' ') == NULL)))
            strbuf_addc(out, '\n');
        previous = c->name;
        add_pair(out, left, c->summary, COMMAND_COLUMN);
    }
}

static void
add_all(struct strbuf *out)
{
    strbuf_adds(out,
                "usage: varve [OPTION]... COMMAND [OPTION|OPERAND]...\n\n");
    add_commands(out, NULL);
    strbuf_adds(out, "\nOptions of many commands; 'varve help COMMAND' shows "
                     "all of a command:\n");
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++)
        add_option(out, &c->option, c->letter);
    add_option(
        out, &(struct commands_option){"--version", NULL, "show the versions"},
        '\0');
    strbuf_adds(out,
                "\nMachines, snapshots, backups and offerings are named by "
                "name or id.\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage, 3 warnings "
                "(doctor), 4 not found,\n5 conflict or busy, 6 out of reach "
                "or not allowed, 7 verification failed,\n124 took too long, "
                "130 interrupted.  See varve(1).\n");
}

/* -- one command --------------------------------------------------------- */

static void
add_usage(struct strbuf *out, const struct command *command)
{
    strbuf_addf(out, "usage: varve %s", command->name);
    strbuf_adds(out, " [OPTION]...");
    if (*command->operands != '\0')
        strbuf_addf(out, " %s", command->operands);
    strbuf_adds(out, "\n\n");
}

static void
add_sentence(struct strbuf *out, const char *summary)
{
    AUTO_FREE char *sentence = xasprintf("%s.", summary);

    if (*sentence >= 'a' && *sentence <= 'z')
        *sentence = (char)(*sentence - 'a' + 'A');
    add_wrapped(out, sentence, 0, 0);
}

static void
add_command(struct strbuf *out, const struct command *command)
{
    add_usage(out, command);
    add_sentence(out, command->summary);
    if (*command->detail != '\0')
        add_wrapped(out, command->detail, 0, 0);
    strbuf_adds(out, "\nOptions:\n");
    for (const struct commands_option *o = command->options; o->name != NULL;
         o++)
        add_option(out, o, '\0');
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++) {
        if (commands_takes(command, c))
            add_option(out, &c->option, c->letter);
    }
}

int
help_show(struct cli *cli, struct error *err)
{
    AUTO_STRBUF struct strbuf out = STRBUF_INIT;
    AUTO_STRBUF struct strbuf name = STRBUF_INIT;
    const struct command *command = NULL;

    for (size_t i = 0; cli_operand(cli, i) != NULL; i++)
        strbuf_addf(&name, "%s%s", i > 0 ? " " : "", cli_operand(cli, i));
    command = commands_find(strbuf_text(&name));
    if (name.length == 0)
        add_all(&out);
    else if (command != NULL)
        add_command(&out, command);
    else if (commands_is_group(strbuf_text(&name)))
        add_commands(&out, strbuf_text(&name));
    else
        return error_set(err, ERROR_INVALID,
                         "no command '%s'; see 'varve help'",
                         strbuf_text(&name));
    (void)fputs(strbuf_text(&out), cli->out);
    return 0;
}
