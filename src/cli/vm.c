/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

#include <string.h>

static const struct output_field vm_columns[] = {
    {"NAME", "name", OUTPUT_TEXT, false},
    {"STATE", "state", OUTPUT_STATE, false},
    {"CPUS", "cpunumber", OUTPUT_NUMBER, false},
    {"MEMORY", "memory", OUTPUT_MEBIBYTES, false},
    {"OFFERING", "backupofferingname", OUTPUT_TEXT, true},
    {"ID", "id", OUTPUT_TEXT, false},
    {"PROBLEM", "problem", OUTPUT_PROBLEM, true},
    {.title = NULL},
};

static const struct output_view vm_view = {vm_columns, "id", "name"};

static const struct output_field vm_lines[] = {
    {"name", "name", OUTPUT_TEXT, true},
    {"id", "id", OUTPUT_TEXT, true},
    {"state", "state", OUTPUT_STATE, true},
    {"problem", "problem", OUTPUT_PROBLEM, true},
    {"cpus", "cpunumber", OUTPUT_NUMBER, true},
    {"memory", "memory", OUTPUT_MEBIBYTES, true},
    {"host", "hostname", OUTPUT_TEXT, true},
    {"hypervisor", "hypervisor", OUTPUT_TEXT, true},
    {"account", "account", OUTPUT_TEXT, true},
    {"offering", "backupofferingname", OUTPUT_TEXT, true},
    {"has layers", "managed", OUTPUT_TEXT, true},
    {"known since", "created", OUTPUT_TIME, true},
    {.title = NULL},
};

static const struct output_view vm_whole = {vm_lines, "id", "name"};

static const struct output_field volume_columns[] = {
    {"DISK", "deviceid", OUTPUT_NUMBER, false},
    {"TYPE", "type", OUTPUT_TEXT, false},
    {"SIZE", "size", OUTPUT_BYTES, false},
    {"LAYERS", "chainsize", OUTPUT_NUMBER, true},
    {"STATE", "state", OUTPUT_STATE, false},
    {"PROBLEM", "problem", OUTPUT_PROBLEM, true},
    {"FILE", "path", OUTPUT_TEXT, true},
    {.title = NULL},
};

static const struct output_view volume_view = {volume_columns, "id", "name"};

int
vm_list(struct cli *cli, struct error *err)
{
    const char *offering_name = cli_option(cli, "--offering");
    json_auto_t *offering = NULL;
    json_auto_t *items = NULL;
    json_t *params;

    if (offering_name != NULL &&
        named_offering(cli, offering_name, &offering, err) < 0)
        return -1;
    params = json_pack("{s:s, s:s*, s:s*}", "listall", "true", "state",
                       cli_option(cli, "--state"), "backupofferingid",
                       offering != NULL ? named_id(offering) : NULL);
    if (client_list(cli->client, "listVirtualMachines", "virtualmachine",
                    params, &items, err) < 0)
        return -1;
    output_list(cli, &vm_view, items);
    return 0;
}

int
vm_show(struct cli *cli, struct error *err)
{
    json_auto_t *vm = NULL;
    json_auto_t *volumes = NULL;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0)
        return -1;
    if (output_is_for_people(cli) &&
        client_list(cli->client, "listVolumes", "volume",
                    json_pack("{s:s, s:s}", "virtualmachineid", named_id(vm),
                              "listall", "true"),
                    &volumes, err) < 0)
        return -1;
    output_object(cli, &vm_whole, vm);
    if (volumes == NULL || json_array_size(volumes) == 0)
        return 0;
    (void)fputc('\n', cli->out);
    output_table(cli, &volume_view, volumes);
    return 0;
}

/* -- jobs ---------------------------------------------------------------- */

/* Do something to the machine `vm`; `done` completes "'web1' is ...". */
static int
run(struct cli *cli, json_t *vm, const char *command, const char *forced,
    const char *done, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_t *after;
    int ended =
        wait_run(cli, command,
                 json_pack("{s:s, s:s*}", "id", named_id(vm), "forced", forced),
                 &outcome, err);

    if (ended <= 0)
        return ended;
    after = json_object_get(outcome.result, "virtualmachine");
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' %s", output_field(vm, "name"), done);
    else
        output_object(cli, &vm_whole, after != NULL ? after : vm);
    return 0;
}

static int
run_named(struct cli *cli, const char *command, const char *forced,
          const char *done, struct error *err)
{
    json_auto_t *vm = NULL;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0)
        return -1;
    return run(cli, vm, command, forced, done, err);
}

int
vm_start(struct cli *cli, struct error *err)
{
    return run_named(cli, "startVirtualMachine", NULL, "runs", err);
}

int
vm_stop(struct cli *cli, struct error *err)
{
    return run_named(cli, "stopVirtualMachine", cli_true(cli, "--forced"),
                     "is stopped", err);
}

int
vm_reboot(struct cli *cli, struct error *err)
{
    return run_named(cli, "rebootVirtualMachine", NULL, "reboots", err);
}

int
vm_settle(struct cli *cli, struct error *err)
{
    return run_named(cli, "settleVirtualMachine", NULL, "is settled", err);
}

int
vm_release(struct cli *cli, struct error *err)
{
    json_auto_t *vm = NULL;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        cli_confirm(cli, err,
                    "Release machine '%s'? All its snapshots are deleted.",
                    output_field(vm, "name")) < 0)
        return -1;
    return run(cli, vm, "releaseVirtualMachine", NULL, "is released", err);
}

int
vm_scale(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    json_auto_t *offering = NULL;
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        named_service_offering(cli, cli_operand(cli, 1), &offering, err) < 0 ||
        cli_confirm(cli, err,
                    "Give machine '%s' the service offering '%s'? Its "
                    "snapshots with memory are deleted, unless "
                    "vmsnapshot.memory.keep.on.scale keeps them.",
                    output_field(vm, "name"),
                    output_field(offering, "name")) < 0)
        return -1;
    ended = wait_run(cli, "scaleVirtualMachine",
                     json_pack("{s:s, s:s}", "id", named_id(vm),
                               "serviceofferingid", named_id(offering)),
                     &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' has the service offering '%s'",
                output_field(vm, "name"), output_field(offering, "name"));
    else
        output_object(cli, &vm_whole, vm);
    return 0;
}

int
vm_destroy(struct cli *cli, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *vm = NULL;
    const char *expunge = cli_true(cli, "--expunge");
    int ended;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        cli_confirm(cli, err,
                    expunge != NULL
                        ? "Expunge machine '%s'? Its disks are deleted."
                        : "Destroy machine '%s'? All its snapshots are "
                          "deleted.",
                    output_field(vm, "name")) < 0)
        return -1;
    ended = wait_run(
        cli, "destroyVirtualMachine",
        json_pack("{s:s, s:s*}", "id", named_id(vm), "expunge", expunge),
        &outcome, err);
    if (ended <= 0)
        return ended;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' is %s", output_field(vm, "name"),
                expunge != NULL ? "gone" : "destroyed");
    else
        output_object(cli, &vm_whole, vm);
    return 0;
}

int
vm_recover(struct cli *cli, struct error *err)
{
    json_auto_t *vm = NULL;
    json_auto_t *reply = NULL;

    if (named_vm(cli, cli_operand(cli, 0), &vm, err) < 0 ||
        client_call(cli->client, "recoverVirtualMachine",
                    json_pack("{s:s}", "id", named_id(vm)), &reply, err) < 0)
        return -1;
    if (output_is_for_people(cli))
        cli_say(cli, "machine '%s' is back", output_field(vm, "name"));
    else
        output_object(cli, &vm_whole, vm);
    return 0;
}
