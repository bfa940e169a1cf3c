/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

#include <string.h>

static const struct output_field columns[] = {
    {"MACHINE", "virtualmachinename", OUTPUT_TEXT, false},
    {"NAME", "name", OUTPUT_TEXT, false},
    {"TYPE", "type", OUTPUT_TEXT, false},
    {"STATUS", "status", OUTPUT_STATE, false},
    {"SIZE", "size", OUTPUT_BYTES, false},
    {"TAKEN", "created", OUTPUT_TIME, false},
    {"ID", "id", OUTPUT_TEXT, false},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "name"};

static const struct output_field lines[] = {
    {"name", "name", OUTPUT_TEXT, true},
    {"id", "id", OUTPUT_TEXT, true},
    {"machine", "virtualmachinename", OUTPUT_TEXT, true},
    {"description", "description", OUTPUT_TEXT, true},
    {"status", "status", OUTPUT_STATE, true},
    {"type", "type", OUTPUT_TEXT, true},
    {"reason", "reason", OUTPUT_TEXT, true},
    {"builds on", "parentid", OUTPUT_TEXT, true},
    {"isolated", "isolated", OUTPUT_YES, true},
    {"taken", "created", OUTPUT_TIME, true},
    {"offering", "backupofferingname", OUTPUT_TEXT, true},
    {"size", "size", OUTPUT_BYTES, true},
    {"guest sees", "virtualsize", OUTPUT_BYTES, true},
    {"uncompressed", "uncompressedsize", OUTPUT_BYTES, true},
    {"read", "bytesread", OUTPUT_BYTES, true},
    {"had changed", "byteschanged", OUTPUT_BYTES, true},
    {"compression", "compressionstatus", OUTPUT_TEXT, true},
    {"validation", "validationstatus", OUTPUT_TEXT, true},
    {"verified", "verifystatus", OUTPUT_TEXT, true},
    {"damage", "verifyproblem", OUTPUT_TEXT, true},
    {"verified at", "verified", OUTPUT_TIME, true},
    {.title = NULL},
};

static const struct output_view whole = {lines, "id", "name"};

static const struct output_field volume_columns[] = {
    {"DISK", "deviceId", OUTPUT_NUMBER, false},
    {"TYPE", "type", OUTPUT_TEXT, false},
    {"SIZE", "size", OUTPUT_BYTES, false},
    {"VOLUME", "uuid", OUTPUT_TEXT, false},
    {"CONTENT ROOT", "root", OUTPUT_TEXT, true},
    {.title = NULL},
};

static const struct output_view volume_view = {volume_columns, "uuid", "name"};

/* -- looking ------------------------------------------------------------- */

static int
find(struct cli *cli, json_t **ret_backup, struct error *err)
{
    return named_backup(cli, cli_operand(cli, 0), cli_option(cli, "--vm"),
                        ret_backup, err);
}

int
backup_list(struct cli *cli, struct error *err)
{
    const char *vm_name = cli_operand(cli, 0);
    const char *offering_name = cli_option(cli, "--offering");
    json_auto_t *vm = NULL;
    json_auto_t *offering = NULL;
    json_auto_t *items = NULL;

    if ((vm_name != NULL && named_vm(cli, vm_name, &vm, err) < 0) ||
        (offering_name != NULL &&
         named_offering(cli, offering_name, &offering, err) < 0))
        return -1;
    if (client_list(cli->client, "listBackups", "backup",
                    json_pack("{s:s, s:s*, s:s*}", "listall", "true",
                              "virtualmachineid",
                              vm != NULL ? named_id(vm) : NULL,
                              "backupofferingid",
                              offering != NULL ? named_id(offering) : NULL),
                    &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

/* "volumes" is a JSON text; each gets its content root from beside it. */
static json_t *
load_volumes(json_t *backup)
{
    json_t *volumes = json_loads(output_field(backup, "volumes"), 0, NULL);
    json_t *roots = json_object_get(backup, "contentroots");
    size_t i;
    size_t k;
    json_t *volume;
    json_t *root;

    json_array_foreach(volumes, i, volume)
    {
        json_array_foreach(roots, k, root)
        {
            if (strcmp(output_field(root, "volumeid"),
                       output_field(volume, "uuid")) == 0)
                (void)json_object_set(volume, "root",
                                      json_object_get(root, "root"));
        }
    }
    return volumes;
}

int
backup_show(struct cli *cli, struct error *err)
{
    json_auto_t *backup = NULL;
    json_auto_t *volumes = NULL;

    if (find(cli, &backup, err) < 0)
        return -1;
    output_object(cli, &whole, backup);
    volumes = load_volumes(backup);
    if (!output_is_for_people(cli) || json_array_size(volumes) == 0)
        return 0;
    (void)fputc('\n', cli->out);
    output_table(cli, &volume_view, volumes);
    return 0;
}

/* -- jobs ---------------------------------------------------------------- */

/* The API answers with no more than success: look what came of it. */
static int
show_made(struct cli *cli, const char *id, struct error *err)
{
    json_auto_t *backup = NULL;
    char size[FORMAT_SIZE];
    json_int_t bytes;
    bool is_full;

    if (named_backup(cli, id, NULL, &backup, err) < 0)
        return -1;
    if (!output_is_for_people(cli)) {
        output_object(cli, &whole, backup);
        return 0;
    }
    bytes = json_integer_value(json_object_get(backup, "size"));
    is_full = strcmp(output_field(backup, "type"), "FULL") == 0;
    cli_say(cli, "backup '%s' of machine '%s' is taken: %s, %s, id %s",
            output_field(backup, "name"),
            output_field(backup, "virtualmachinename"),
            is_full ? "full" : "incremental",
            format_size((uint64_t)MAX(bytes, (json_int_t)0), size), id);
    return 0;
}

int
backup_create(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    json_t *params;
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0)
        return -1;
    params = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*}", "virtualmachineid",
                       named_id(vm), "name", cli_operand(cli, 1), "description",
                       cli_option(cli, "--description"), "quiescevm",
                       cli_true(cli, "--quiesce"), "isolated",
                       cli_true(cli, "--isolated"));
    ended = wait_run(cli, "createBackup", params, &outcome, err);
    if (ended <= 0)
        return ended;
    return show_made(cli, outcome.id, err);
}

/* Do something with the backup; `done` follows "backup 'b' of machine 'm'". */
static int
run(struct cli *cli, json_t *backup, const char *command, const char *done,
    struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    bool can_force =
        commands_find_option(cli->arguments.command, "--forced") != NULL;
    int ended =
        wait_run(cli, command,
                 json_pack("{s:s, s:s*}", "id", named_id(backup), "forced",
                           can_force ? cli_true(cli, "--forced") : NULL),
                 &outcome, err);

    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "backup '%s' of machine '%s' %s",
                output_field(backup, "name"),
                output_field(backup, "virtualmachinename"), done);
    else
        output_object(cli, &whole, backup);
    return 0;
}

int
backup_restore(struct cli *cli, struct error *err)
{
    json_auto_t *backup = NULL;

    if (find(cli, &backup, err) < 0 ||
        cli_confirm(cli, err,
                    "Restore machine '%s' from backup '%s'? What its disks "
                    "hold now is lost.",
                    output_field(backup, "virtualmachinename"),
                    output_field(backup, "name")) < 0)
        return -1;
    return run(cli, backup, "restoreBackup", "is restored", err);
}

int
backup_delete(struct cli *cli, struct error *err)
{
    json_auto_t *backup = NULL;

    if (find(cli, &backup, err) < 0 ||
        cli_confirm(cli, err, "Delete backup '%s' of machine '%s'?",
                    output_field(backup, "name"),
                    output_field(backup, "virtualmachinename")) < 0)
        return -1;
    return run(cli, backup, "deleteBackup", "is deleted", err);
}

/* -- folding ------------------------------------------------------------- */

static json_int_t
number(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void
say_folded(struct cli *cli, json_t *backup, json_t *result)
{
    char size[FORMAT_SIZE];
    char freed[FORMAT_SIZE];
    json_int_t kept = number(result, "fileskept");

    cli_say(cli, "backup '%s' of machine '%s' is folded: %s, %s freed",
            output_field(backup, "name"),
            output_field(backup, "virtualmachinename"),
            format_size((uint64_t)number(result, "size"), size),
            format_size((uint64_t)number(result, "bytesfreed"), freed));
    if (kept > 0)
        cli_say(cli,
                "%" JSON_INTEGER_FORMAT
                " files of the chain stay: other backups need them",
                kept);
}

int
backup_fold(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    const char *from_name = cli_option(cli, "--from");
    json_auto_t *backup = NULL;
    json_auto_t *from = NULL;
    int ended;

    if (find(cli, &backup, err) < 0 ||
        (from_name != NULL &&
         named_backup(cli, from_name, cli_option(cli, "--vm"), &from, err) < 0))
        return -1;
    ended =
        wait_run(cli, "foldBackup",
                 json_pack("{s:s, s:s*, s:s*}", "id", named_id(backup),
                           "frombackupid", from != NULL ? named_id(from) : NULL,
                           "verify", cli_true(cli, "--verify")),
                 &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli)) {
        say_folded(cli, backup, outcome.result);
        return 0;
    }
    return show_made(cli, named_id(backup), err);
}

/* -- verifying ----------------------------------------------------------- */

/* Backups that rest on the damaged file: those that are lost, or those that
 * are good all the same. */
static void
say_backups(struct cli *cli, const char *title, json_t *backups, bool damaged)
{
    size_t index;
    json_t *item;

    json_array_foreach(backups, index, item)
    {
        if (json_is_true(json_object_get(item, "damaged")) != damaged)
            continue;
        cli_say(cli, "  %s backup '%s' of machine '%s', id %s", title,
                output_field(item, "name"),
                output_field(item, "virtualmachinename"),
                output_field(item, "id"));
    }
}

static void
say_mismatch(struct cli *cli, json_t *item)
{
    json_t *backups = json_object_get(item, "backups");
    const char *text = output_field(item, "text");
    bool is_index = json_is_true(json_object_get(item, "index"));

    cli_say(cli, "volume %s: '%s' is damaged", output_field(item, "volumeid"),
            output_field(item, "file"));
    if (is_index)
        cli_say(cli,
                "  %" JSON_INTEGER_FORMAT
                " blocks of 64 KiB cannot be proved; they may be good",
                number(item, "blocks"));
    else
        cli_say(cli,
                "  %" JSON_INTEGER_FORMAT
                " blocks of 64 KiB are lost, the first at offset "
                "%" JSON_INTEGER_FORMAT " of the disk",
                number(item, "blocks"), number(item, "offset"));
    if (text[0] != '\0')
        cli_say(cli, "  %s", text);
    say_backups(cli, is_index ? "unproved:" : "damaged:", backups, true);
    say_backups(cli, "still good:", backups, false);
}

static void
say_mismatches(struct cli *cli, json_t *result)
{
    size_t index;
    json_t *item;

    json_array_foreach(json_object_get(result, "mismatches"), index, item)
    {
        say_mismatch(cli, item);
    }
    cli_say(cli, "Everything else was read and is good. Restore from a backup "
                 "that is good, and take a new one: it will be full.");
}

int
backup_verify(struct cli *cli, struct error *err)
{
    static const struct output_field fields[] = {
        {"valid", "valid", OUTPUT_TEXT, true}, {.title = NULL}};
    static const struct output_view result_view = {fields, "id", "name"};
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *backup = NULL;
    const char *name;
    int ended;

    if (find(cli, &backup, err) < 0)
        return -1;
    name = output_field(backup, "name");
    ended = wait_run(cli, "verifyBackup",
                     json_pack("{s:s}", "id", named_id(backup)), &outcome, err);
    if (ended <= 0)
        return ended;
    if (!output_is_for_people(cli)) {
        (void)json_object_set(outcome.result, "id",
                              json_object_get(backup, "id"));
        (void)json_object_set(outcome.result, "name",
                              json_object_get(backup, "name"));
        output_object(cli, &result_view, outcome.result);
    }
    if (json_is_false(json_object_get(outcome.result, "valid"))) {
        say_mismatches(cli, outcome.result);
        return error_set(err, ERROR_CORRUPT, "backup '%s' is damaged", name);
    }
    cli_say(cli, "backup '%s' is what was backed up", name);
    return 0;
}
