/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/named.h"
#include "cli/output.h"
#include "cli/wait.h"

#include <string.h>

/* The repository of that name or id, or the only one. */
static int
find(struct cli *cli, json_t **ret_store, struct error *err)
{
    const char *name = cli_operand(cli, 0);
    json_auto_t *items = NULL;
    size_t index;
    json_t *item;

    if (client_list(cli->client, "listImageStores", "imagestore", json_object(),
                    &items, err) < 0)
        return -1;
    if (name == NULL && json_array_size(items) != 1)
        return error_set(err, ERROR_INVALID,
                         "there are %zu repositories; say which",
                         json_array_size(items));
    json_array_foreach(items, index, item)
    {
        if (name == NULL || strcmp(output_field(item, "name"), name) == 0 ||
            strcmp(output_field(item, "id"), name) == 0) {
            *ret_store = json_incref(item);
            return 0;
        }
    }
    return error_set(err, ERROR_NOT_FOUND, "there is no repository '%s'", name);
}

int
repository_scrub(struct cli *cli, struct error *err)
{
    static const struct output_field fields[] = {
        {"files", "files", OUTPUT_NUMBER, true},
        {"bytes", "bytes", OUTPUT_BYTES, true},
        {"damaged", "findings", OUTPUT_NUMBER, true},
        {.title = NULL}};
    static const struct output_view view = {fields, "id", "name"};
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    json_auto_t *store = NULL;
    json_int_t findings;
    int ended;

    if (find(cli, &store, err) < 0)
        return -1;
    ended = wait_run(cli, "scrubImageStore",
                     json_pack("{s:s}", "id", named_id(store)), &outcome, err);
    if (ended <= 0)
        return ended;
    findings = json_integer_value(json_object_get(outcome.result, "findings"));
    if (!output_is_for_people(cli))
        output_object(cli, &view, outcome.result);
    if (findings > 0)
        return error_set(err, ERROR_CORRUPT,
                         "repository '%s': %" JSON_INTEGER_FORMAT
                         " files are damaged (varve status, varve event list "
                         "--level ERROR)",
                         output_field(store, "name"), findings);
    cli_say(cli, "repository '%s' is good: %" JSON_INTEGER_FORMAT " files read",
            output_field(store, "name"),
            json_integer_value(json_object_get(outcome.result, "files")));
    return 0;
}
