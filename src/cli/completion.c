/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shells are given a script of a few lines, which asks this program what can
 * follow a line (`varve complete LINE`).  So completion knows what the table
 * of commands knows, and names come from the daemon.  What the daemon does
 * not answer is no candidate: completion is silent.
 */
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

static const char bash_script[] =
    "# bash completion of varve; printed by: varve completion bash\n"
    "_varve()\n"
    "{\n"
    "    local line\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        COMPREPLY+=(\"$line\")\n"
    "    done < <(varve complete -- \"${COMP_LINE:0:COMP_POINT}\" \"$2\" \\\n"
    "        2>/dev/null)\n"
    "}\n"
    "complete -F _varve varve\n";

static const char zsh_script[] =
    "#compdef varve\n"
    "# zsh completion of varve; printed by: varve completion zsh\n"
    "_varve() {\n"
    "    local -a found\n"
    "    found=(\"${(@f)$(varve complete -- \\\n"
    "        \"${(j: :)${(@q)words[1,CURRENT-1]}} $PREFIX\" 2>/dev/null)}\")\n"
    "    compset -P '--*='\n"
    "    [[ -n ${found[1]} ]] && compadd -Q -- $found\n"
    "}\n"
    "if [[ $funcstack[1] == _varve ]]; then\n"
    "    _varve \"$@\"\n"
    "else\n"
    "    compdef _varve varve\n"
    "fi\n";

int
completion_show(struct cli *cli, struct error *err)
{
    const char *shell = cli_operand(cli, 0);

    if (strcmp(shell, "bash") == 0)
        (void)fputs(bash_script, cli->out);
    else if (strcmp(shell, "zsh") == 0)
        (void)fputs(zsh_script, cli->out);
    else
        return error_set(err, ERROR_INVALID,
                         "no completion for '%s'; there are bash and zsh",
                         shell);
    return 0;
}

/* -- the line ------------------------------------------------------------ */

struct words VEC(char *);

static void
words_release(struct words *words)
{
    vec_for (char **, word, words)
        free(*word);
    vec_release(words);
}

#define AUTO_WORDS CLEANUP(words_release)

/* Words as a shell would read them; the last one, which may be empty, is the
 * one that is being written. */
static void
split(const char *line, struct words *words)
{
    AUTO_STRBUF struct strbuf word = STRBUF_INIT;
    char quote = '\0';

    line += strspn(line, " \t");
    for (const char *c = line; *c != '\0'; c++) {
        if (*c == '\\' && quote != '\'' && c[1] != '\0') {
            strbuf_addc(&word, *++c);
        } else if (quote != '\0' ? *c == quote : *c == '\'' || *c == '"') {
            quote = quote != '\0' ? '\0' : *c;
        } else if (quote == '\0' && (*c == ' ' || *c == '\t')) {
            vec_push(words, strbuf_take(&word));
            c += strspn(c + 1, " \t");
        } else {
            strbuf_addc(&word, *c);
        }
    }
    vec_push(words, strbuf_take(&word));
}

/* -- candidates ---------------------------------------------------------- */

struct completion {
    struct cli *cli;
    const char *word; /* what they must begin with */
    size_t skip;      /* how much of them the shell has already */
};

/* As a shell wants it written. */
static void
add_quoted(struct strbuf *text, const char *value)
{
    for (; *value != '\0'; value++) {
        if (strchr(" \t\\'\"`$&|;<>()[]{}*?!#~", *value) != NULL)
            strbuf_addc(text, '\\');
        strbuf_addc(text, *value);
    }
}

static void
offer(const struct completion *completion, const char *candidate)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    size_t length = strlen(completion->word);

    if (strncmp(candidate, completion->word, length) != 0)
        return;
    add_quoted(&text, candidate + MIN(completion->skip, length));
    (void)fprintf(completion->cli->out, "%s\n", strbuf_text(&text));
}

struct source {
    const char *kind; /* of an operand or a value */
    const char *command;
    const char *key;
    const char *field;
};

static const struct source sources[] = {
    {"VM", "listVirtualMachines", "virtualmachine", "name"},
    {"VOLUME", "listVolumes", "volume", "name"},
    {"SNAPSHOT", "listVMSnapshot", "vmSnapshot", "displayname"},
    {"VOLUME-SNAPSHOT", "listSnapshots", "snapshot", "name"},
    {"BACKUP", "listBackups", "backup", "name"},
    {"SERVICE-OFFERING", "listServiceOfferings", "serviceoffering", "name"},
    {"OFFERING", "listBackupOfferings", "backupoffering", "name"},
    {"ZONE", "listZones", "zone", "name"},
    {"JOB", "listAsyncJobs", "asyncjobs", "jobid"},
    {"SETTING", "listConfigurations", "configuration", "name"},
};

static void
offer_names(const struct completion *completion, const struct source *source)
{
    struct error ignored = ERROR_INIT;
    json_auto_t *items = NULL;
    size_t index;
    json_t *item;

    if (client_list(completion->cli->client, source->command, source->key,
                    json_pack("{s:s}", "listall", "true"), &items,
                    &ignored) < 0)
        return;
    json_array_foreach(items, index, item)
    {
        offer(completion, output_field(item, source->field));
    }
}

/* The next words of commands that begin with these. */
static void
offer_commands(const struct completion *completion, const char *before)
{
    size_t length = strlen(before);
    const char *previous = "";

    for (const struct command *c = commands; c->name != NULL; c++) {
        AUTO_FREE char *word = NULL;

        if ((c->traits & COMMANDS_HIDDEN) != 0 ||
            strncmp(c->name, before, length) != 0)
            continue;
        word = xstrndup(c->name + length, strcspn(c->name + length, " "));
        if (strncmp(previous, c->name, length + strlen(word)) != 0)
            offer(completion, word);
        previous = c->name;
    }
}

/* What an operand or a value is: names, or one of some words. */
static void
offer_kind(const struct completion *completion, const char *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        if (strcmp(kind, sources[i].kind) == 0)
            offer_names(completion, &sources[i]);
    }
    if (strcmp(kind, "COMMAND") == 0)
        offer_commands(completion, "");
    if (strchr(kind, '|') == NULL)
        return;
    while (*kind != '\0') {
        size_t length = strcspn(kind, "|");
        AUTO_FREE char *word = xstrndup(kind, length);

        offer(completion, word);
        kind += length + (kind[length] == '|');
    }
}

static void
offer_options(const struct completion *completion,
              const struct command *command)
{
    if (command != NULL) {
        for (const struct commands_option *o = command->options;
             o->name != NULL; o++)
            offer(completion, o->name);
    }
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++) {
        if (command == NULL ? c->traits == 0 : commands_takes(command, c))
            offer(completion, c->option.name);
    }
}

/* -- where we are -------------------------------------------------------- */

struct place {
    const struct command *command;        /* NULL: not known yet */
    char group[64];                       /* its words so far */
    const struct commands_option *option; /* whose value comes next */
    size_t operands;                      /* before the word */
};

static const struct commands_option *
find_option(const struct command *command, const char *name)
{
    if (strcmp(name, "-o") == 0)
        name = "--output";
    if (command != NULL)
        return commands_find_option(command, name);
    for (const struct commands_common *c = commands_common;
         c->option.name != NULL; c++) {
        if (strcmp(c->option.name, name) == 0)
            return &c->option;
    }
    return NULL;
}

static void
pass_word(struct place *place, const char *word)
{
    AUTO_FREE char *name = NULL;

    if (place->option != NULL) {
        place->option = NULL;
        return;
    }
    if (*word == '-') {
        place->option = find_option(place->command, word);
        if (place->option != NULL && place->option->value == NULL)
            place->option = NULL;
        return;
    }
    if (place->command != NULL) {
        place->operands++;
        return;
    }
    name = place->group[0] != '\0' ? xasprintf("%s %s", place->group, word)
                                   : xstrdup(word);
    place->command = commands_find(name);
    if (place->command == NULL)
        (void)snprintf(place->group, sizeof(place->group), "%s", name);
}

/* "--progress=al": the value alone, of which the shell has the name. */
static bool
enter_value(struct completion *completion, struct place *place)
{
    const char *value = strchr(completion->word, '=');
    AUTO_FREE char *name = NULL;

    if (place->option != NULL || value == NULL ||
        strncmp(completion->word, "--", 2) != 0)
        return false;
    name = xstrndup(completion->word, (size_t)(value - completion->word));
    place->option = find_option(place->command, name);
    completion->word = value + 1;
    return true;
}

static void
offer_at(struct completion *completion, struct place *place)
{
    char kind[40];

    if (place->option != NULL && place->option->value != NULL) {
        offer_kind(completion, place->option->value);
        return;
    }
    if (*completion->word == '-') {
        offer_options(completion, place->command);
        return;
    }
    if (place->command == NULL) {
        AUTO_FREE char *before = place->group[0] != '\0'
                                     ? xasprintf("%s ", place->group)
                                     : xstrdup("");

        offer_commands(completion, before);
        return;
    }
    commands_operand_kind(place->command, place->operands, kind, sizeof(kind));
    offer_kind(completion, kind);
}

/*
 * The second operand is what the shell takes for the word (bash splits words
 * at ':' and '='): what we take for it may have more in front.
 */
int
completion_complete(struct cli *cli, struct error *err)
{
    AUTO_WORDS struct words words = VEC_INIT;
    struct completion completion = {.cli = cli};
    struct place place = {.command = NULL};
    const char *tail = cli_operand(cli, 1);
    size_t length;

    (void)err;
    split(cli_operand(cli, 0), &words);
    for (size_t i = 1; i + 1 < words.count; i++)
        pass_word(&place, words.items[i]);
    completion.word = words.items[words.count - 1];
    (void)enter_value(&completion, &place);
    length = strlen(completion.word);
    if (tail != NULL && strlen(tail) < length &&
        strcmp(completion.word + length - strlen(tail), tail) == 0)
        completion.skip = length - strlen(tail);
    offer_at(&completion, &place);
    return 0;
}
