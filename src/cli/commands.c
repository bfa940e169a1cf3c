/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* COMMAND opens an entry and its list of options, END closes both. */
const struct command commands[] = {
#define COMMAND(name, operands, traits, run, summary, detail)                  \
    {                                                                          \
        name, operands, traits, run, summary, detail,                          \
        {
#define OPTION(name, value, help) {name, value, help},
#define END                                                                    \
    {                                                                          \
        NULL, NULL, NULL                                                       \
    }                                                                          \
    }                                                                          \
    }                                                                          \
    ,
#include "cli/commands.def"
#undef COMMAND
#undef OPTION
#undef END
    {.name = NULL},
};

const struct commands_common commands_common[] = {
    {{"--socket", "PATH",
      "the daemon's Unix socket; VARVE_SOCKET, or /run/varve/varved.sock"},
     0,
     0},
    {{"--url", "URL",
      "ask over HTTP instead, with keys; VARVE_URL, as in "
      "https://host:8443/client/api"},
     0,
     0},
    {{"--key-file", "FILE",
      "the API key and secret key, in the form of cloudstack.ini; "
      "VARVE_API_KEY_FILE"},
     0,
     0},
    {{"--ca-file", "FILE",
      "whom to trust over HTTPS, in PEM form; the system's by default"},
     0,
     0},
    {{"--json", NULL, "a JSON array of the API's objects; as --output json"},
     0,
     COMMANDS_SHOWS},
    {{"--output", "table|json|id|name", "what to print; a table by default"},
     'o',
     COMMANDS_SHOWS},
    {{"--no-wait", NULL, "start the job, print its id and end"},
     0,
     COMMANDS_WORKS},
    {{"--timeout", "SECONDS",
      "wait no longer for the job; it goes on, and the status is 124"},
     0,
     COMMANDS_WORKS},
    {{"--progress", "auto|always|never",
      "a progress bar on standard error; auto: on a terminal"},
     0,
     COMMANDS_WORKS},
    {{"--yes", NULL, "do not ask whether to destroy something"},
     'y',
     COMMANDS_ASKS},
    {{"--help", NULL, "show how to use the command"}, 'h', COMMANDS_LOCAL},
    {{.name = NULL}, 0, 0},
};

const struct command *
commands_find(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

bool
commands_is_group(const char *word)
{
    size_t length = strlen(word);

    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strncmp(c->name, word, length) == 0 && c->name[length] == ' ')
            return true;
    }
    return false;
}

bool
commands_takes(const struct command *command,
               const struct commands_common *common)
{
    bool is_local = (command->traits & COMMANDS_LOCAL) != 0;

    if (strcmp(common->option.name, "--help") == 0)
        return true;
    if (common->traits == 0)
        return !is_local;
    return (command->traits & common->traits) != 0;
}

const struct commands_option *
commands_find_option(const struct command *command, const char *name)
{
    for (const struct commands_option *o = command->options; o->name != NULL;
         o++) {
        if (strcmp(o->name, name) == 0)
            return o;
    }
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++) {
        if (strcmp(c->option.name, name) == 0 && commands_takes(command, c))
            return &c->option;
    }
    return NULL;
}

/* -- operands ------------------------------------------------------------ */

void
commands_count_operands(const struct command *command, size_t *ret_min,
                        size_t *ret_max)
{
    size_t min = 0;
    size_t max = 0;

    for (const char *c = command->operands; *c != '\0';) {
        size_t length = strcspn(c, " ");

        max++;
        min += *c != '[';
        c += length + (c[length] == ' ');
    }
    *ret_min = min;
    *ret_max = strstr(command->operands, "...") != NULL ? SIZE_MAX : max;
}

void
commands_operand_kind(const struct command *command, size_t index,
                      char *ret_kind, size_t size)
{
    const char *c = command->operands;
    size_t length;

    for (; index > 0 && *c != '\0'; index--) {
        length = strcspn(c, " ");
        if (c[length] == '\0' && strstr(c, "...") != NULL)
            break; /* the last one repeats */
        c += length + (c[length] == ' ');
    }
    if (*c == '[')
        c++;
    length = strcspn(c, " ].");
    (void)snprintf(ret_kind, size, "%.*s", (int)length, c);
}
