/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/tree.h"
#include "cli/wait.h"

#include <string.h>

static const struct output_field columns[] = {
    {"MACHINE", "virtualmachinename", OUTPUT_TEXT, false},
    {"NAME", "displayname", OUTPUT_TEXT, false},
    {"STATE", "state", OUTPUT_STATE, false},
    {"TYPE", "type", OUTPUT_TEXT, true},
    {"TAKEN", "created", OUTPUT_TIME, false},
    {"PARENT", "parentName", OUTPUT_TEXT, true},
    {"CURRENT", "current", OUTPUT_YES, true},
    {"MEMORY", "memorysize", OUTPUT_BYTES, true},
    {"PAUSE (MS)", "pause", OUTPUT_NUMBER, true},
    {"ID", "id", OUTPUT_TEXT, false},
    {"DESCRIPTION", "description", OUTPUT_TEXT, true},
    {"PROBLEM", "problem", OUTPUT_PROBLEM, true},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "displayname"};

/* The name that a person gave, or the one that was made. */
static const char *
name_of(json_t *snapshot)
{
    const char *name = output_field(snapshot, "displayname");

    return *name != '\0' ? name : output_field(snapshot, "name");
}

static void
say_taken(struct cli *cli, json_t *snapshot, json_t *vm, const char *id)
{
    const json_t *pause = json_object_get(snapshot, "pause");

    cli_say(cli, "snapshot '%s' of machine '%s' is taken, id %s",
            name_of(snapshot), output_field(vm, "name"), id);
    if (json_is_integer(pause))
        cli_say(cli, "the guest stood still for %lld ms",
                (long long)json_integer_value(pause));
}

/* NULL: as the daemon thinks best. */
static const char *
quiesce_of(struct cli *cli)
{
    return cli_true(cli, "--no-quiesce") != NULL ? "false"
                                                 : cli_true(cli, "--quiesce");
}

int
snapshot_create(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    json_t *snapshot;
    json_t *params;
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0)
        return -1;
    params = json_pack("{s:s, s:s*, s:s*, s:s*, s:s*}", "virtualmachineid",
                       named_id(vm), "name", cli_operand(cli, 1), "description",
                       cli_option(cli, "--description"), "snapshotmemory",
                       cli_true(cli, "--memory"), "quiescevm", quiesce_of(cli));
    ended = wait_run(cli, "createVMSnapshot", params, &outcome, err);
    if (ended <= 0)
        return ended;
    snapshot = json_object_get(outcome.result, "vmsnapshot");
    if (output_is_for_people(cli))
        say_taken(cli, snapshot, vm, outcome.id);
    else
        output_object(cli, &view, snapshot);
    return 0;
}

/* Snapshots of a machine, or of all (vm NULL); `state` may be NULL. */
static int
list(struct cli *cli, json_t *vm, const char *state, json_t **ret_items,
     struct error *err)
{
    return client_list(
        cli->client, "listVMSnapshot", "vmSnapshot",
        json_pack("{s:s, s:s*, s:s*}", "listall", "true", "virtualmachineid",
                  vm != NULL ? named_id(vm) : NULL, "state", state),
        ret_items, err);
}

int
snapshot_list(struct cli *cli, struct error *err)
{
    json_auto_t *vm = NULL;
    json_auto_t *items = NULL;
    const char *name = cli_operand(cli, 0);

    if ((name != NULL && named_vm(cli, name, &vm, err) < 0) ||
        list(cli, vm, cli_option(cli, "--state"), &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

int
snapshot_tree(struct cli *cli, struct error *err)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    json_auto_t *vm = NULL;
    json_auto_t *items = NULL;
    json_auto_t *hidden = NULL;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        list(cli, vm, NULL, &items, err) < 0 ||
        list(cli, vm, "Hidden", &hidden, err) < 0)
        return -1;
    (void)json_array_extend(items, hidden);
    if (!output_is_for_people(cli)) {
        output_list(cli, &view, items);
        return 0;
    }
    tree_draw(output_field(vm, "name"), items, terminal_has_boxes(),
              terminal_has_colour(cli->out), &text);
    (void)fputs(strbuf_text(&text), cli->out);
    return 0;
}

int
snapshot_revert(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *snapshot = NULL;
    const char *vm;
    int ended;

    if (named_snapshot(cli, cli_operand(cli, 0), cli_option(cli, "--vm"),
                       &snapshot, err) < 0)
        return -1;
    vm = output_field(snapshot, "virtualmachinename");
    if (cli_confirm(cli, err,
                    "Revert machine '%s' to snapshot '%s'? What it wrote "
                    "since its last snapshot is lost.",
                    vm, name_of(snapshot)) < 0)
        return -1;
    ended =
        wait_run(cli, "revertToVMSnapshot",
                 json_pack("{s:s, s:s*}", "vmsnapshotid", named_id(snapshot),
                           "changepower", cli_true(cli, "--change-power")),
                 &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' is at snapshot '%s' again", vm,
                name_of(snapshot));
    else
        output_object(cli, &view, snapshot);
    return 0;
}

int
snapshot_delete(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *snapshot = NULL;
    const char *vm;
    int ended;

    if (named_snapshot(cli, cli_operand(cli, 0), cli_option(cli, "--vm"),
                       &snapshot, err) < 0)
        return -1;
    vm = output_field(snapshot, "virtualmachinename");
    if (cli_confirm(cli, err, "Delete snapshot '%s' of machine '%s'?",
                    name_of(snapshot), vm) < 0)
        return -1;
    ended = wait_run(cli, "deleteVMSnapshot",
                     json_pack("{s:s}", "vmsnapshotid", named_id(snapshot)),
                     &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "snapshot '%s' of machine '%s' is deleted",
                name_of(snapshot), vm);
    else
        output_object(cli, &view, snapshot);
    return 0;
}
