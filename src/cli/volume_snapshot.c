/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

static const struct output_field columns[] = {
    {"VOLUME", "volumename", OUTPUT_TEXT, false},
    {"NAME", "name", OUTPUT_TEXT, false},
    {"STATE", "state", OUTPUT_STATE, false},
    {"TYPE", "snapshottype", OUTPUT_TEXT, true},
    {"TAKEN", "created", OUTPUT_TIME, false},
    {"SIZE", "virtualsize", OUTPUT_BYTES, false},
    {"STORED", "physicalsize", OUTPUT_BYTES, false},
    {"MACHINE", "virtualmachinename", OUTPUT_TEXT, true},
    {"ID", "id", OUTPUT_TEXT, false},
    {"ROOT", "contentroot", OUTPUT_TEXT, true},
    {"PROBLEM", "problem", OUTPUT_PROBLEM, true},
    {"VERIFIED", "verifystatus", OUTPUT_TEXT, true},
    {"DAMAGE", "verifyproblem", OUTPUT_PROBLEM, true},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "name"};

int
volume_snapshot_create(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *volume = NULL;
    json_t *snapshot;
    int ended;

    if (named_volume(cli, cli_operand(cli, 0), cli_option(cli, "--vm"), &volume,
                     err) < 0)
        return -1;
    ended = wait_run(cli, "createSnapshot",
                     json_pack("{s:s, s:s*}", "volumeid", named_id(volume),
                               "name", cli_operand(cli, 1)),
                     &outcome, err);
    if (ended <= 0)
        return ended;
    snapshot = json_object_get(outcome.result, "snapshot");
    if (output_is_for_people(cli))
        cli_say(cli, "snapshot '%s' of volume '%s' is taken, id %s",
                output_field(snapshot, "name"), output_field(volume, "name"),
                outcome.id);
    else
        output_object(cli, &view, snapshot);
    return 0;
}

int
volume_snapshot_list(struct cli *cli, struct error *err)
{
    json_auto_t *volume = NULL;
    json_auto_t *items = NULL;
    const char *name = cli_operand(cli, 0);

    if ((name != NULL &&
         named_volume(cli, name, cli_option(cli, "--vm"), &volume, err) < 0) ||
        client_list(cli->client, "listSnapshots", "snapshot",
                    json_pack("{s:s, s:s*}", "listall", "true", "volumeid",
                              volume != NULL ? named_id(volume) : NULL),
                    &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

int
volume_snapshot_delete(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *snapshot = NULL;
    const char *volume;
    int ended;

    if (named_volume_snapshot(cli, cli_operand(cli, 0), &snapshot, err) < 0)
        return -1;
    volume = output_field(snapshot, "volumename");
    if (cli_confirm(cli, err, "Delete snapshot '%s' of volume '%s'?",
                    output_field(snapshot, "name"), volume) < 0)
        return -1;
    ended =
        wait_run(cli, "deleteSnapshot",
                 json_pack("{s:s}", "id", named_id(snapshot)), &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "snapshot '%s' of volume '%s' is deleted",
                output_field(snapshot, "name"), volume);
    else
        output_object(cli, &view, snapshot);
    return 0;
}
