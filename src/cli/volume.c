/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

#include <string.h>

static const struct output_field columns[] = {
    {"NAME", "name", OUTPUT_TEXT, false},
    {"MACHINE", "vmname", OUTPUT_TEXT, false},
    {"DISK", "deviceid", OUTPUT_NUMBER, true},
    {"TYPE", "type", OUTPUT_TEXT, false},
    {"SIZE", "size", OUTPUT_BYTES, false},
    {"LAYERS", "chainsize", OUTPUT_NUMBER, true},
    {"STATE", "state", OUTPUT_STATE, false},
    {"ID", "id", OUTPUT_TEXT, false},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "name"};

int
volume_list(struct cli *cli, struct error *err)
{
    json_auto_t *vm = NULL;
    json_auto_t *items = NULL;
    const char *name = cli_operand(cli, 0);

    if ((name != NULL && named_vm(cli, name, &vm, err) < 0) ||
        client_list(cli->client, "listVolumes", "volume",
                    json_pack("{s:s, s:s*}", "listall", "true",
                              "virtualmachineid",
                              vm != NULL ? named_id(vm) : NULL),
                    &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

/* A size with a unit, or GiB; the API knows whole GiB. */
static int
read_size(const char *text, char **ret_gib, struct error *err)
{
    uint64_t bytes;

    if (parse_size(text, &bytes, err) < 0)
        return error_prefix(err, "size '%s'", text);
    if (text[strspn(text, "0123456789")] == '\0')
        bytes <<= 30;
    if (bytes == 0 || (bytes & (((uint64_t)1 << 30) - 1)) != 0)
        return error_set(err, ERROR_INVALID,
                         "size '%s' is no whole number of GiB; give 20G", text);
    *ret_gib = xasprintf("%llu", (unsigned long long)(bytes >> 30));
    return 0;
}

/* Run the command and show the volume as it is then; `done` completes
 * "volume 'data' ...". */
static int
run(struct cli *cli, const char *command, json_t *params, const char *done,
    struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_t *volume;
    int ended = wait_run(cli, command, params, &outcome, err);

    if (ended <= 0)
        return ended;
    volume = json_object_get(outcome.result, "volume");
    if (output_is_for_people(cli))
        cli_say(cli, "volume '%s' %s, id %s", output_field(volume, "name"),
                done, named_id(volume));
    else
        output_object(cli, &view, volume);
    return 0;
}

int
volume_create(struct cli *cli, struct error *err)
{
    AUTO_FREE char *gib = NULL;

    if (read_size(cli_operand(cli, 1), &gib, err) < 0)
        return -1;
    return run(
        cli, "createVolume",
        json_pack("{s:s, s:s}", "name", cli_operand(cli, 0), "size", gib),
        "is made", err);
}

int
volume_attach(struct cli *cli, struct error *err)
{
    json_auto_t *volume = NULL;
    json_auto_t *vm = NULL;

    if (named_volume(cli, cli_operand(cli, 0), NULL, &volume, err) < 0 ||
        named_vm(cli, cli_operand(cli, 1), &vm, err) < 0)
        return -1;
    return run(cli, "attachVolume",
               json_pack("{s:s, s:s, s:s*}", "id", named_id(volume),
                         "virtualmachineid", named_id(vm), "deviceid",
                         cli_option(cli, "--device")),
               "is attached", err);
}

int
volume_detach(struct cli *cli, struct error *err)
{
    json_auto_t *volume = NULL;

    if (named_volume(cli, cli_operand(cli, 0), cli_option(cli, "--vm"), &volume,
                     err) < 0)
        return -1;
    return run(cli, "detachVolume", json_pack("{s:s}", "id", named_id(volume)),
               "is detached", err);
}

int
volume_resize(struct cli *cli, struct error *err)
{
    AUTO_FREE char *gib = NULL;
    json_auto_t *volume = NULL;

    if (read_size(cli_operand(cli, 1), &gib, err) < 0 ||
        named_volume(cli, cli_operand(cli, 0), cli_option(cli, "--vm"), &volume,
                     err) < 0)
        return -1;
    return run(cli, "resizeVolume",
               json_pack("{s:s, s:s}", "id", named_id(volume), "size", gib),
               "has its new size", err);
}

int
volume_delete(struct cli *cli, struct error *err)
{
    json_auto_t *volume = NULL;
    json_auto_t *reply = NULL;

    if (named_volume(cli, cli_operand(cli, 0), NULL, &volume, err) < 0 ||
        cli_confirm(cli, err, "Delete volume '%s'? What is on it is lost.",
                    output_field(volume, "name")) < 0 ||
        client_call(cli->client, "deleteVolume",
                    json_pack("{s:s}", "id", named_id(volume)), &reply,
                    err) < 0)
        return -1;
    if (output_is_for_people(cli))
        cli_say(cli, "volume '%s' is deleted", output_field(volume, "name"));
    else
        output_object(cli, &view, volume);
    return 0;
}
