/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getopt_long reads the command line twice over: up to the command, with the
 * options that many commands take; then the rest, with those and the
 * command's own.  An option that stands before a command which does not take
 * it is refused, too: nothing that was asked for is silently ignored.
 */
#include "cli/arguments.h"

#include "base/memory.h"
#include "base/strbuf.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What getopt_long returns for the n-th option of a list. */
#define FIRST_OPTION 0x100

struct list {
    const struct commands_option *options[ARGUMENTS_OPTIONS_MAX];
    struct option longs[ARGUMENTS_OPTIONS_MAX + 1];
    char letters[ARGUMENTS_OPTIONS_MAX + 1];
    size_t count;
};

static void
list_add(struct list *list, const struct commands_option *option, char letter)
{
    assert(list->count < ARGUMENTS_OPTIONS_MAX);
    list->options[list->count] = option;
    list->letters[list->count] = letter;
    list->longs[list->count] = (struct option){
        .name = option->name + 2,
        .has_arg = option->value != NULL ? required_argument : no_argument,
        .val = FIRST_OPTION + (int)list->count,
    };
    list->count++;
}

/* All common options; those that the command takes, once there is one. */
static void
list_common(struct list *list, const struct command *command)
{
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++) {
        if (command == NULL || commands_takes(command, c))
            list_add(list, &c->option, c->letter);
    }
}

static const struct commands_option version_option = {"--version", NULL, ""};

/* "+:o:yh": stop at the first operand ("+"), tell a missing value (":"). */
static void
list_letters(const struct list *list, const char *mode, char *ret_text)
{
    size_t length = strlen(mode);

    memcpy(ret_text, mode, length);
    for (size_t i = 0; i < list->count; i++) {
        if (list->letters[i] == '\0')
            continue;
        ret_text[length++] = list->letters[i];
        if (list->options[i]->value != NULL)
            ret_text[length++] = ':';
    }
    ret_text[length] = '\0';
}

static const struct commands_option *
list_find(const struct list *list, int found)
{
    for (size_t i = 0; i < list->count; i++) {
        if (found == FIRST_OPTION + (int)i ||
            (list->letters[i] != '\0' && found == list->letters[i]))
            return list->options[i];
    }
    return NULL;
}

/* -- one pass ------------------------------------------------------------ */

/* What getopt_long has just refused: "--name", or "-n" when optopt is one of
 * the letters. */
static char *
refused_option(char **argv)
{
    const char *word = argv[optind - 1];

    if (optopt != 0 && optopt < FIRST_OPTION)
        return xasprintf("-%c", optopt);
    return xstrndup(word, strcspn(word, "="));
}

static int
refuse_option(int found, char **argv, const struct command *command,
              struct error *err)
{
    AUTO_FREE char *option = refused_option(argv);
    const char *name = command != NULL ? command->name : "";
    const char *before = command != NULL ? " " : "";

    if (found == ':')
        return error_set(err, ERROR_INVALID,
                         "option '%s' needs a value; see 'varve help%s%s'",
                         option, before, name);
    if (optopt >= FIRST_OPTION)
        return error_set(err, ERROR_INVALID,
                         "option '%s' takes no value; see 'varve help%s%s'",
                         option, before, name);
    return error_set(err, ERROR_INVALID,
                     "no option '%s' here; see 'varve help%s%s'", option,
                     before, name);
}

static void
give(struct arguments *arguments, const struct commands_option *option,
     const char *value)
{
    assert(option != NULL);
    /* The last one of a name counts. */
    for (size_t i = 0; i < arguments->option_count; i++) {
        if (arguments->options[i].option == option) {
            arguments->options[i].value = value;
            return;
        }
    }
    assert(arguments->option_count < ARGUMENTS_OPTIONS_MAX);
    arguments->options[arguments->option_count++] =
        (struct arguments_given){option, value};
}

/* Options of argv[1] and on; `mode` is getopt's, "+" or "". */
static int
read_options(struct arguments *arguments, const struct list *list,
             const char *mode, int argc, char **argv, struct error *err)
{
    char letters[2 * ARGUMENTS_OPTIONS_MAX + 4];

    list_letters(list, mode, letters);
    opterr = 0;
    optind = 0; /* begin anew, also with what getopt keeps for itself */
    for (;;) {
        int found = getopt_long(argc, argv, letters, list->longs, NULL);
        if (found == -1)
            return 0;
        if (found == '?' || found == ':')
            return refuse_option(found, argv, arguments->command, err);
        give(arguments, list_find(list, found), optarg != NULL ? optarg : "");
    }
}

/* -- the command --------------------------------------------------------- */

static void
add_names(struct strbuf *text, const char *group)
{
    size_t length = strlen(group);
    const char *before = "";

    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strncmp(c->name, group, length) != 0 || c->name[length] != ' ')
            continue;
        strbuf_addf(text, "%s%s", before, c->name + length + 1);
        before = ", ";
    }
}

/* As many words as a command has; *ret_words says how many. */
static int
find_command(struct arguments *arguments, int argc, char **argv, int *ret_words,
             struct error *err)
{
    AUTO_STRBUF struct strbuf name = STRBUF_INIT;
    AUTO_STRBUF struct strbuf names = STRBUF_INIT;
    AUTO_FREE char *group = NULL;

    for (int i = 0; i < argc; i++) {
        strbuf_addf(&name, "%s%s", i > 0 ? " " : "", argv[i]);
        arguments->command = commands_find(strbuf_text(&name));
        *ret_words = i + 1;
        if (arguments->command != NULL)
            return 0;
        if (!commands_is_group(strbuf_text(&name)))
            break;
        free(group);
        group = xstrdup(strbuf_text(&name));
    }
    if (group == NULL)
        return error_set(err, ERROR_INVALID,
                         "no command '%s'; see 'varve help'", argv[0]);
    add_names(&names, group);
    return error_set(err, ERROR_INVALID, "'%s' is followed by one of: %s",
                     group, strbuf_text(&names));
}

/* What stood before the command must be an option of the command. */
static int
check_early(const struct arguments *arguments, struct error *err)
{
    const struct command *command = arguments->command;

    for (size_t i = 0; i < arguments->option_count; i++) {
        const char *name = arguments->options[i].option->name;

        if (commands_find_option(command, name) == NULL)
            return error_set(err, ERROR_INVALID,
                             "'%s' has no option '%s'; see 'varve help %s'",
                             command->name, name, command->name);
    }
    return 0;
}

static int
check_operands(const struct arguments *arguments, struct error *err)
{
    const struct command *command = arguments->command;
    size_t count = arguments->operand_count;
    char kind[40];
    size_t min;
    size_t max;

    commands_count_operands(command, &min, &max);
    if (count >= min && count <= max)
        return 0;
    if (count < min) {
        commands_operand_kind(command, count, kind, sizeof(kind));
        return error_set(err, ERROR_INVALID,
                         "'%s' needs %s; see 'varve help %s'", command->name,
                         kind, command->name);
    }
    return error_set(err, ERROR_INVALID,
                     "'%s' is too much for '%s'; see 'varve help %s'",
                     arguments->operands[max], command->name, command->name);
}

/* The command's own options and the common ones that it takes. */
static void
list_command(struct list *list, const struct command *command)
{
    for (const struct commands_option *o = command->options; o->name != NULL;
         o++)
        list_add(list, o, '\0');
    list_common(list, command);
}

static void
turn_into(struct arguments *arguments, const char *command, char **operands,
          size_t count)
{
    arguments->command = commands_find(command);
    arguments->operands = operands;
    arguments->operand_count = count;
}

static bool
asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Do these words begin commands, and are none? */
static bool
is_group(int count, char **words)
{
    AUTO_STRBUF struct strbuf name = STRBUF_INIT;

    for (int i = 0; i < count; i++)
        strbuf_addf(&name, "%s%s", i > 0 ? " " : "", words[i]);
    return count > 0 && commands_is_group(strbuf_text(&name));
}

static int
read_command(struct arguments *arguments, int argc, char **argv,
             struct error *err)
{
    struct list list = {.count = 0};
    int words;

    if (asks_for_help(argv[argc - 1]) && is_group(argc - 1, argv)) {
        turn_into(arguments, "help", argv, (size_t)(argc - 1));
        return 0;
    }
    if (find_command(arguments, argc, argv, &words, err) < 0 ||
        check_early(arguments, err) < 0)
        return -1;
    list_command(&list, arguments->command);
    /* The command's last word stands where getopt wants the program's name. */
    if (read_options(arguments, &list, ":", argc - words + 1, argv + words - 1,
                     err) < 0)
        return -1;
    arguments->operands = argv + words - 1 + optind;
    arguments->operand_count = (size_t)(argc - words + 1 - optind);
    if (arguments_option(arguments, "--help") != NULL) {
        turn_into(arguments, "help", argv, (size_t)words);
        return 0;
    }
    return check_operands(arguments, err);
}

static bool
is_given(const struct arguments *arguments, const char *name)
{
    for (size_t i = 0; i < arguments->option_count; i++) {
        if (strcmp(arguments->options[i].option->name, name) == 0)
            return true;
    }
    return false;
}

int
arguments_parse(struct arguments *arguments, int argc, char **argv,
                struct error *err)
{
    struct list list = {.count = 0};

    *arguments = (struct arguments){.command = NULL};
    list_common(&list, NULL);
    list_add(&list, &version_option, '\0');
    if (read_options(arguments, &list, "+:", argc, argv, err) < 0)
        return -1;
    if (is_given(arguments, "--version")) {
        turn_into(arguments, "version", NULL, 0);
        return 0;
    }
    if (optind < argc && !is_given(arguments, "--help"))
        return read_command(arguments, argc - optind, argv + optind, err);
    turn_into(arguments, "help", argv + optind, (size_t)(argc - optind));
    return 0;
}

const char *
arguments_option(const struct arguments *arguments, const char *name)
{
    /* Asking for what the command does not have is our own mistake. */
    assert(commands_find_option(arguments->command, name) != NULL);
    for (size_t i = 0; i < arguments->option_count; i++) {
        if (strcmp(arguments->options[i].option->name, name) == 0)
            return arguments->options[i].value;
    }
    return NULL;
}
