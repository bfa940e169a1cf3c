/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is one thing for people are two in the API: the native offering says
 * how backups are made, the imported one is what machines are given.
 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

#include <string.h>

static const struct output_field columns[] = {
    {"NAME", "name", OUTPUT_TEXT, false},
    {"CHAIN SIZE", "backupchainsize", OUTPUT_NUMBER, true},
    {"COMPRESSES", "compress", OUTPUT_YES, true},
    {"USERS", "allowuserdrivenbackups", OUTPUT_YES, true},
    {"MADE", "created", OUTPUT_TIME, false},
    {"ID", "id", OUTPUT_TEXT, false},
    {"NATIVE ID", "externalid", OUTPUT_TEXT, true},
    {"DESCRIPTION", "description", OUTPUT_TEXT, true},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "name"};

/* -- making -------------------------------------------------------------- */

static int
make_native(struct cli *cli, json_t **ret_native, struct error *err)
{
    json_auto_t *answer = NULL;
    json_t *params =
        json_pack("{s:s, s:s*, s:s*, s:s*}", "name", cli_operand(cli, 0),
                  "backupchainsize", cli_option(cli, "--chain-size"),
                  "compress", cli_true(cli, "--compress"), "compressionlibrary",
                  cli_option(cli, "--library"));

    if (client_call(cli->client, "createNativeBackupOffering", params, &answer,
                    err) < 0)
        return -1;
    *ret_native = json_incref(json_object_get(answer, "nativebackupoffering"));
    if (*ret_native == NULL)
        return error_set(err, ERROR_INTERNAL,
                         "the daemon did not say which offering it made");
    return 0;
}

static void
delete_native(struct cli *cli, const char *id, struct error *err)
{
    json_auto_t *answer = NULL;

    if (client_call(cli->client, "deleteNativeBackupOffering",
                    json_pack("{s:s}", "id", id), &answer, err) < 0)
        (void)error_prefix(err, "native offering %s", id);
}

/* What came of it; the native offering goes again if nothing did. */
static int
import(struct cli *cli, json_t *native, const char *zone_id,
       json_t **ret_offering, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    const char *description = cli_option(cli, "--description");
    const char *name = cli_operand(cli, 0);
    int ended = wait_run(
        cli, "importBackupOffering",
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", name, "description",
                  description != NULL ? description : name, "externalid",
                  named_id(native), "zoneid", zone_id, "allowuserdrivenbackups",
                  cli_flag(cli, "--admins-only") ? "false" : "true"),
        &outcome, err);

    if (ended > 0)
        *ret_offering =
            json_incref(json_object_get(outcome.result, "backupoffering"));
    return ended;
}

int
offering_create(struct cli *cli, struct error *err)
{
    json_auto_t *zone = NULL;
    json_auto_t *native = NULL;
    json_auto_t *offering = NULL;
    int ended;

    if (named_zone(cli, cli_option(cli, "--zone"), &zone, err) < 0 ||
        make_native(cli, &native, err) < 0)
        return -1;
    ended = import(cli, native, named_id(zone), &offering, err);
    if (ended < 0 && err->code != ERROR_CANCELLED &&
        err->code != ERROR_TIMEOUT) {
        struct error ignored = ERROR_INIT; /* the first one tells more */

        delete_native(cli, named_id(native), &ignored);
    }
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "offering '%s' is made, id %s, of native offering %s",
                cli_operand(cli, 0), named_id(offering), named_id(native));
    else
        output_object(cli, &view, offering);
    return 0;
}

/* -- looking ------------------------------------------------------------- */

/* What only the native offering knows; administrators may see it. */
static int
add_native(struct cli *cli, json_t *items, struct error *err)
{
    json_auto_t *natives = NULL;
    size_t i;
    size_t k;
    json_t *item;
    json_t *native;

    if (client_list(cli->client, "listNativeBackupOfferings",
                    "nativebackupoffering", json_object(), &natives, err) < 0) {
        if (err->code != ERROR_DENIED && err->code != ERROR_UNSUPPORTED)
            return -1;
        error_clear(err);
        return 0;
    }
    json_array_foreach(items, i, item)
    {
        json_array_foreach(natives, k, native)
        {
            if (strcmp(named_id(native), output_field(item, "externalid")) == 0)
                (void)json_object_update_missing(item, native);
        }
    }
    return 0;
}

int
offering_list(struct cli *cli, struct error *err)
{
    json_auto_t *items = NULL;

    if (client_list(cli->client, "listBackupOfferings", "backupoffering",
                    json_object(), &items, err) < 0 ||
        add_native(cli, items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

/* -- changing ------------------------------------------------------------ */

int
offering_delete(struct cli *cli, struct error *err)
{
    json_auto_t *offering = NULL;
    json_auto_t *answer = NULL;

    if (named_offering(cli, cli_operand(cli, 0), &offering, err) < 0 ||
        cli_confirm(cli, err, "Delete backup offering '%s'?",
                    output_field(offering, "name")) < 0 ||
        client_call(cli->client, "deleteBackupOffering",
                    json_pack("{s:s}", "id", named_id(offering)), &answer,
                    err) < 0)
        return -1;
    delete_native(cli, output_field(offering, "externalid"), err);
    if (err->code != ERROR_NONE)
        return error_prefix(err, "the offering is deleted, but not its");
    if (output_is_for_people(cli))
        cli_say(cli, "offering '%s' is deleted",
                output_field(offering, "name"));
    else
        output_object(cli, &view, offering);
    return 0;
}

int
offering_assign(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    json_auto_t *offering = NULL;
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        named_offering(cli, cli_operand(cli, 1), &offering, err) < 0)
        return -1;
    ended = wait_run(cli, "assignVirtualMachineToBackupOffering",
                     json_pack("{s:s, s:s}", "virtualmachineid", named_id(vm),
                               "backupofferingid", named_id(offering)),
                     &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' has the backup offering '%s'",
                output_field(vm, "name"), output_field(offering, "name"));
    else
        output_object(cli, &view, offering);
    return 0;
}

int
offering_remove(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0)
        return -1;
    ended = wait_run(cli, "removeVirtualMachineFromBackupOffering",
                     json_pack("{s:s, s:s*}", "virtualmachineid", named_id(vm),
                               "forced", cli_true(cli, "--forced")),
                     &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' has no backup offering any more",
                output_field(vm, "name"));
    else
        output_object(cli, &view, vm);
    return 0;
}
