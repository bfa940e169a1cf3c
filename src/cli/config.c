/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"

#include <string.h>

static const struct output_field columns[] = {
    {"NAME", "name", OUTPUT_TEXT, false},
    {"VALUE", "value", OUTPUT_TEXT, false},
    {"DEFAULT", "defaultvalue", OUTPUT_TEXT, false},
    {"FROM", "origin", OUTPUT_TEXT, false},
    {"SCOPE", "scope", OUTPUT_TEXT, false},
    {"MEANING", "description", OUTPUT_TEXT, false},
    {.title = NULL},
};

static const struct output_view view = {columns, "name", "name"};

/* The parameters of a setting, and of the place that options name. */
static int
make_params(struct cli *cli, const char *name, const char *value,
            json_t **ret_params, struct error *err)
{
    const char *zone_name = cli_option(cli, "--zone");
    json_auto_t *zone = NULL;

    if (zone_name != NULL && named_zone(cli, zone_name, &zone, err) < 0)
        return -1;
    *ret_params =
        json_pack("{s:s*, s:s*, s:s*, s:s*}", "name", name, "value", value,
                  "zoneid", zone != NULL ? named_id(zone) : NULL, "accountid",
                  cli_option(cli, "--account"));
    return 0;
}

int
config_list(struct cli *cli, struct error *err)
{
    json_auto_t *items = NULL;
    json_t *params = NULL;
    const char *text = cli_operand(cli, 0);

    if (make_params(cli, NULL, NULL, &params, err) < 0)
        return -1;
    if (params != NULL && text != NULL)
        (void)json_object_set_new(params, "keyword", json_string(text));
    if (client_list(cli->client, "listConfigurations", "configuration", params,
                    &items, err) < 0)
        return -1;
    output_list(cli, &view, items);
    return 0;
}

int
config_get(struct cli *cli, struct error *err)
{
    json_auto_t *items = NULL;
    json_t *params = NULL;
    const char *name = cli_operand(cli, 0);

    if (make_params(cli, name, NULL, &params, err) < 0 ||
        client_list(cli->client, "listConfigurations", "configuration", params,
                    &items, err) < 0)
        return -1;
    if (json_array_size(items) == 0)
        return error_set(err, ERROR_NOT_FOUND, "no setting '%s'", name);
    if (output_is_for_people(cli))
        (void)fprintf(cli->out, "%s\n",
                      output_field(json_array_get(items, 0), "value"));
    else
        output_list(cli, &view, items);
    return 0;
}

int
config_set(struct cli *cli, struct error *err)
{
    json_auto_t *answer = NULL;
    json_t *params = NULL;
    json_t *setting;
    const char *value = cli_operand(cli, 1);

    if ((value == NULL) != cli_flag(cli, "--default"))
        return error_set(err, ERROR_INVALID,
                         "'config set' needs one of VALUE and --default");
    if (value != NULL && *value == '\0')
        return error_set(err, ERROR_INVALID,
                         "the API knows no empty value; --default gives the "
                         "default back");
    if (make_params(cli, cli_operand(cli, 0), value, &params, err) < 0 ||
        client_call(cli->client, "updateConfiguration", params, &answer, err) <
            0)
        return -1;
    setting = json_object_get(answer, "configuration");
    if (output_is_for_people(cli))
        cli_say(cli, "%s = %s", output_field(setting, "name"),
                output_field(setting, "value"));
    else
        output_object(cli, &view, setting);
    return 0;
}
