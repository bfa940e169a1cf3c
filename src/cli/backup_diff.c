/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where two backups differ.  An answer has so many ranges of each volume at
 * most; the rest of a volume is asked for until there is none, and what the
 * answers tell is put together as if there had been one.
 */
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/named.h"
#include "cli/output.h"

#include <string.h>

static const struct output_field columns[] = {
    {"DISK", "disk", OUTPUT_TEXT, false},
    {"OFFSET", "offset", OUTPUT_NUMBER, false},
    {"LENGTH", "length", OUTPUT_NUMBER, false},
    {.title = NULL},
};

static const struct output_view view = {columns, "disk", "disk"};

static const struct output_field lines[] = {
    {"id", "id", OUTPUT_TEXT, true},
    {.title = NULL},
};

static const struct output_view whole = {lines, "id", "id"};

static json_int_t
number(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* How a volume is called: by its place, or else by its id. */
static const char *
name_of(json_t *volume)
{
    const char *target = output_field(volume, "target");

    return target[0] != '\0' ? target : output_field(volume, "volumeid");
}

/* -- asking -------------------------------------------------------------- */

static int
ask(struct cli *cli, json_t *since, json_t *backup, const char *volume,
    const char *offset, json_t **ret_changes, struct error *err)
{
    json_auto_t *answer = NULL;

    if (client_call(cli->client, "listBackupChanges",
                    json_pack("{s:s, s:s, s:s*, s:s*}", "id", named_id(backup),
                              "sinceid", named_id(since), "volumeid", volume,
                              "offset", offset),
                    &answer, err) < 0)
        return -1;
    *ret_changes = json_incref(json_object_get(answer, "backupchanges"));
    if (json_is_object(*ret_changes))
        return 0;
    json_decref(*ret_changes);
    return error_set(err, ERROR_MALFORMED,
                     "the daemon's answer has no 'backupchanges'");
}

/* Add what the next answer tells of the volume. */
static void
append(json_t *volume, json_t *more)
{
    json_t *ranges = json_object_get(volume, "ranges");
    json_t *next = json_object_get(more, "next");
    size_t i;
    json_t *range;

    json_array_foreach(json_object_get(more, "ranges"), i, range)
    {
        json_t *last = json_array_get(ranges, json_array_size(ranges) - 1);

        if (last != NULL && number(last, "offset") + number(last, "length") ==
                                number(range, "offset"))
            (void)json_object_set_new(
                last, "length",
                json_integer(number(last, "length") + number(range, "length")));
        else
            (void)json_array_append(ranges, range);
    }
    (void)json_object_set_new(
        volume, "bytes",
        json_integer(number(volume, "bytes") + number(more, "bytes")));
    if (next != NULL)
        (void)json_object_set(volume, "next", next);
    else
        (void)json_object_del(volume, "next");
}

static int
ask_the_rest(struct cli *cli, json_t *since, json_t *backup, json_t *volume,
             struct error *err)
{
    while (json_is_integer(json_object_get(volume, "next"))) {
        json_auto_t *changes = NULL;
        json_int_t before = number(volume, "next");
        AUTO_FREE char *offset = xasprintf("%" JSON_INTEGER_FORMAT, before);

        if (ask(cli, since, backup, output_field(volume, "volumeid"), offset,
                &changes, err) < 0)
            return -1;
        append(volume, json_array_get(json_object_get(changes, "volumes"), 0));
        if (json_object_get(volume, "next") != NULL &&
            number(volume, "next") <= before)
            return error_set(err, ERROR_MALFORMED,
                             "the daemon does not get past offset %s", offset);
    }
    return 0;
}

static int
ask_all(struct cli *cli, json_t *since, json_t *backup, json_t **ret_changes,
        struct error *err)
{
    const char *wanted = cli_option(cli, "--volume");
    json_t *volumes;
    size_t i = 0;

    if (ask(cli, since, backup, NULL, NULL, ret_changes, err) < 0)
        return -1;
    volumes = json_object_get(*ret_changes, "volumes");
    while (i < json_array_size(volumes)) {
        json_t *volume = json_array_get(volumes, i);

        if (wanted != NULL && strcmp(wanted, name_of(volume)) != 0 &&
            strcmp(wanted, output_field(volume, "volumeid")) != 0) {
            (void)json_array_remove(volumes, i);
            continue;
        }
        if (ask_the_rest(cli, since, backup, volume, err) < 0)
            return -1;
        i++;
    }
    if (i == 0 && wanted != NULL)
        return error_set(err, ERROR_NOT_FOUND,
                         "neither backup has a volume '%s'", wanted);
    return 0;
}

/* -- showing ------------------------------------------------------------- */

static void
show_ranges(struct cli *cli, json_t *volumes)
{
    json_auto_t *rows = json_array();
    size_t i;
    size_t k;
    json_t *volume;
    json_t *range;

    json_array_foreach(volumes, i, volume)
    {
        json_array_foreach(json_object_get(volume, "ranges"), k, range)
        {
            (void)json_array_append_new(
                rows, json_pack("{s:s, s:I, s:I}", "disk", name_of(volume),
                                "offset", number(range, "offset"), "length",
                                number(range, "length")));
        }
    }
    if (json_array_size(rows) == 0)
        return;
    output_table(cli, &view, rows);
    (void)fputc('\n', cli->out);
}

/* "3 ranges, 320 KiB" */
static char *
extent_of(json_t *volume)
{
    size_t count = json_array_size(json_object_get(volume, "ranges"));
    char bytes[FORMAT_SIZE];

    if (count == 0)
        return xstrdup("nothing");
    return xasprintf("%zu range%s, %s", count, count > 1 ? "s" : "",
                     format_size((uint64_t)number(volume, "bytes"), bytes));
}

static void
say_volume(struct cli *cli, json_t *volume)
{
    const char *name = name_of(volume);
    const char *presence = output_field(volume, "presence");
    AUTO_FREE char *extent = extent_of(volume);
    char before[FORMAT_SIZE];
    char after[FORMAT_SIZE];

    (void)format_size((uint64_t)number(volume, "sizesince"), before);
    (void)format_size((uint64_t)number(volume, "size"), after);
    if (strcmp(presence, "removed") == 0)
        cli_say(cli, "%s: only the first backup has this volume, of %s", name,
                before);
    else if (strcmp(presence, "added") == 0)
        cli_say(cli,
                "%s: only the second backup has this volume, of %s; not zero: "
                "%s",
                name, after, extent);
    else if (number(volume, "sizesince") != number(volume, "size"))
        cli_say(cli, "%s, of %s now and %s before; different: %s", name, after,
                before, extent);
    else
        cli_say(cli, "%s, of %s; different: %s", name, after, extent);
}

int
backup_diff(struct cli *cli, struct error *err)
{
    const char *vm = cli_option(cli, "--vm");
    json_auto_t *since = NULL;
    json_auto_t *backup = NULL;
    json_auto_t *changes = NULL;
    json_t *volumes;
    char block[FORMAT_SIZE];
    size_t i;
    json_t *volume;

    if (named_backup(cli, cli_operand(cli, 0), vm, &since, err) < 0 ||
        named_backup(cli, cli_operand(cli, 1), vm, &backup, err) < 0 ||
        ask_all(cli, since, backup, &changes, err) < 0)
        return -1;
    if (!output_is_for_people(cli)) {
        output_object(cli, &whole, changes);
        return 0;
    }
    volumes = json_object_get(changes, "volumes");
    show_ranges(cli, volumes);
    json_array_foreach(volumes, i, volume)
    {
        say_volume(cli, volume);
    }
    cli_say(cli,
            "In whole blocks of %s, in each of which something differs, by "
            "%s digests; the disks were not read.",
            format_size((uint64_t)number(changes, "blocksize"), block),
            output_field(changes, "algorithm"));
    return 0;
}
