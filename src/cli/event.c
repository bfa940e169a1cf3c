/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/when.h"

static const struct output_field columns[] = {
    {"TIME", "created", OUTPUT_TIME, false},
    {"LEVEL", "level", OUTPUT_STATE, false},
    {"TYPE", "type", OUTPUT_TEXT, false},
    {"STATE", "state", OUTPUT_TEXT, true},
    {"USER", "username", OUTPUT_TEXT, true},
    {"DESCRIPTION", "description", OUTPUT_TEXT, false},
    {.title = NULL},
};

static const struct output_view view = {columns, "id", "type"};

static int
set_limit(struct cli *cli, json_t *params, struct error *err)
{
    const char *limit = cli_option(cli, "--limit");
    uint64_t count;

    if (limit == NULL)
        limit = "50";
    if (parse_u64(limit, &count, err) < 0)
        return error_prefix(err, "'--limit'");
    if (count == 0)
        return 0;
    (void)json_object_set_new(params, "page", json_string("1"));
    (void)json_object_set_new(params, "pagesize", json_string(limit));
    return 0;
}

int
event_list(struct cli *cli, struct error *err)
{
    const char *vm_name = cli_option(cli, "--vm");
    const char *since = cli_option(cli, "--since");
    json_auto_t *vm = NULL;
    json_auto_t *items = NULL;
    json_auto_t *params = NULL;
    char date[CLOCK_TEXT_SIZE];

    if (since != NULL && when_parse(since, date, err) < 0)
        return error_prefix(err, "'--since'");
    if (vm_name != NULL && named_vm(cli, vm_name, &vm, err) < 0)
        return -1;
    params = json_pack("{s:s, s:s*, s:s*, s:s*}", "listall", "true",
                       "resourceid", vm != NULL ? named_id(vm) : NULL, "level",
                       cli_option(cli, "--level"), "startdate",
                       since != NULL ? date : NULL);
    if (params != NULL && set_limit(cli, params, err) < 0)
        return -1;
    if (client_list(cli->client, "listEvents", "event", json_incref(params),
                    &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}
