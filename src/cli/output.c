/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include "base/memory.h"
#include "cli/format.h"
#include "cli/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* -- the wanted form ----------------------------------------------------- */

static const char *
form_of(const struct cli *cli)
{
    const char *form = NULL;

    if ((cli->arguments.command->traits & COMMANDS_SHOWS) != 0) {
        if (cli_flag(cli, "--json"))
            return "json";
        form = cli_option(cli, "--output");
    }
    return form != NULL ? form : "table";
}

static bool
is_form(const struct cli *cli, const char *form)
{
    return strcmp(form_of(cli), form) == 0;
}

bool
output_is_for_people(const struct cli *cli)
{
    return is_form(cli, "table");
}

int
output_check(const struct cli *cli, struct error *err)
{
    static const char *const forms[] = {"table", "json", "id", "name"};
    const char *form = form_of(cli);

    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (strcmp(form, forms[i]) == 0)
            return 0;
    }
    return error_set(err, ERROR_INVALID,
                     "no output '%s'; there are table, json, id and name",
                     form);
}

/* -- fields -------------------------------------------------------------- */

const char *
output_field(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static char *
text_of_number(json_t *value, enum output_kind kind)
{
    char buffer[FORMAT_SIZE];
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value))
        return xstrdup("");
    if (number >= 0 && kind == OUTPUT_BYTES)
        return xstrdup(format_size((uint64_t)number, buffer));
    if (number >= 0 && number < INT64_MAX >> 20 && kind == OUTPUT_MEBIBYTES)
        return xstrdup(format_size((uint64_t)number << 20, buffer));
    return xasprintf("%" JSON_INTEGER_FORMAT, number);
}

char *
output_text(json_t *object, const char *key, enum output_kind kind)
{
    char buffer[FORMAT_SIZE];
    json_t *value = json_object_get(object, key);

    switch (kind) {
    case OUTPUT_NUMBER:
    case OUTPUT_BYTES:
    case OUTPUT_MEBIBYTES:
        return text_of_number(value, kind);
    case OUTPUT_TIME:
        return xstrdup(format_api_time(output_field(object, key), buffer));
    case OUTPUT_YES:
        return xstrdup(json_is_true(value) ? "yes" : "");
    case OUTPUT_TEXT:
    case OUTPUT_STATE:
    case OUTPUT_PROBLEM:
        break;
    }
    if (json_is_boolean(value))
        return xstrdup(json_is_true(value) ? "yes" : "no");
    if (json_is_integer(value))
        return text_of_number(value, OUTPUT_NUMBER);
    return xstrdup(output_field(object, key));
}

enum terminal_style
output_state_style(const char *state)
{
    static const char *const good[] = {"Running", "Ready", "BackedUp", "done"};
    static const char *const bad[] = {"Error",       "Failed",       "failed",
                                      "BackupError", "RestoreError", "ERROR"};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        if (strcmp(state, good[i]) == 0)
            return TERMINAL_GREEN;
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (strcmp(state, bad[i]) == 0)
            return TERMINAL_RED;
    }
    return TERMINAL_PLAIN;
}

static enum terminal_style
style_of(enum output_kind kind, const char *text)
{
    if (kind == OUTPUT_STATE)
        return output_state_style(text);
    return kind == OUTPUT_PROBLEM ? TERMINAL_RED : TERMINAL_PLAIN;
}

static bool
is_right(enum output_kind kind)
{
    return kind == OUTPUT_NUMBER || kind == OUTPUT_BYTES ||
           kind == OUTPUT_MEBIBYTES;
}

/* -- for people ---------------------------------------------------------- */

#define FIELDS_MAX 20

void
output_table(const struct cli *cli, const struct output_view *view,
             json_t *items)
{
    struct table_column columns[FIELDS_MAX];
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    AUTO_TABLE struct table *table = NULL;
    size_t count = 0;
    size_t index;
    json_t *item;

    for (const struct output_field *f = view->fields; f->title != NULL; f++) {
        assert(count < FIELDS_MAX);
        columns[count++] =
            (struct table_column){f->title, is_right(f->kind), f->is_optional};
    }
    table = table_new(columns, count);
    json_array_foreach(items, index, item)
    {
        for (size_t i = 0; i < count; i++) {
            const struct output_field *f = &view->fields[i];
            AUTO_FREE char *cell = output_text(item, f->key, f->kind);

            table_set(table, cell, style_of(f->kind, cell));
        }
    }
    table_print(table, terminal_has_colour(cli->out), &text);
    (void)fputs(strbuf_text(&text), cli->out);
}

/* "OFFERING  daily": titles in small letters, before their values. */
static void
print_lines(const struct cli *cli, const struct output_view *view,
            json_t *object)
{
    bool has_colour = terminal_has_colour(cli->out);

    for (const struct output_field *f = view->fields; f->title != NULL; f++) {
        AUTO_FREE char *value = output_text(object, f->key, f->kind);
        AUTO_STRBUF struct strbuf text = STRBUF_INIT;
        enum terminal_style style = style_of(f->kind, value);

        if (*value == '\0')
            continue;
        terminal_add(&text, value);
        (void)fprintf(cli->out, "%-14s %s%s%s\n", f->title,
                      terminal_begin(style, has_colour), strbuf_text(&text),
                      terminal_end(style, has_colour));
    }
}

/* -- for programs -------------------------------------------------------- */

static void
print_json(const struct cli *cli, json_t *items)
{
    (void)json_dumpf(items, cli->out, JSON_INDENT(2));
    (void)fputc('\n', cli->out);
}

static void
print_values(const struct cli *cli, json_t *items, const char *key)
{
    size_t index;
    json_t *item;

    json_array_foreach(items, index, item)
    {
        (void)fprintf(cli->out, "%s\n", output_field(item, key));
    }
}

void
output_list(const struct cli *cli, const struct output_view *view,
            json_t *items)
{
    if (is_form(cli, "json"))
        print_json(cli, items);
    else if (is_form(cli, "id"))
        print_values(cli, items, view->id);
    else if (is_form(cli, "name"))
        print_values(cli, items, view->name);
    else
        output_table(cli, view, items);
}

void
output_object(const struct cli *cli, const struct output_view *view,
              json_t *object)
{
    json_auto_t *items = NULL;

    if (output_is_for_people(cli)) {
        print_lines(cli, view, object);
        return;
    }
    items = json_pack("[O]", object);
    output_list(cli, view, items);
}
