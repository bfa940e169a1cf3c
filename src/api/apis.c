/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be asked, from the table that answers it (ecosystem 4: clients
 * read every field of an entry, and fail where one is missing).
 */
#include "api/call.h"
#include "api/listing.h"
#include "api/object.h"

#include <strings.h>

static int64_t
length_of(enum params_type type)
{
    return type == PARAMS_TEXT ? PARAMS_LONG_TEXT_MAX : PARAMS_TEXT_MAX;
}

static json_t *
param_object(const struct command_param *param)
{
    json_t *object = object_new();

    object_set_text(object, "name", param->name);
    object_set_text(object, "description", param->description);
    object_set_text(object, "type", params_type_name(param->type));
    object_set_number(object, "length", length_of(param->type));
    object_set_bool(object, "required", param->required);
    if (param->related[0] != '\0')
        object_set_text(object, "related", param->related);
    return object;
}

static json_t *
field_object(const char *name, const char *description, const char *type)
{
    json_t *object = object_new();

    object_set_text(object, "name", name);
    object_set_text(object, "description", description);
    object_set_text(object, "type", type);
    return object;
}

static json_t *
make_params(const struct command *command)
{
    json_t *list = object_new_array();
    const struct command_param *shared;

    for (const struct command_param *p = command->params; p->name != NULL; p++)
        object_append(list, param_object(p));
    for (size_t i = 0; (shared = command_shared_param(command, i)) != NULL; i++)
        object_append(list, param_object(shared));
    return list;
}

static json_t *
make_response(const struct command *command)
{
    json_t *list = object_new_array();

    for (const struct command_field *f = command->object->fields;
         f->name != NULL; f++)
        object_append(list, field_object(f->name, f->description, f->type));
    if (command->async != NULL)
        object_append(list,
                      field_object("jobid", "the id of the job", "string"));
    return list;
}

static bool
is_async(const struct command *command)
{
    return command->kind == COMMAND_ASYNC || command->kind == COMMAND_CREATE;
}

static json_t *
api_object(const struct command *command)
{
    json_t *object = object_new();

    object_set_text(object, "name", command->name);
    object_set_text(object, "description", command->description);
    object_set_text(object, "since", "");
    object_set_bool(object, "isasync", is_async(command));
    object_set_text(object, "related", "");
    object_set(object, "params", make_params(command));
    object_set(object, "response", make_response(command));
    return object;
}

int
apis_list(struct call *call, struct listing *listing, struct error *err)
{
    const char *name = call_text(call, "name");

    if (name != NULL && command_find(name) == NULL)
        return error_set(
            err, ERROR_INVALID,
            "invalid parameter 'name': there is no command '%.80s'", name);
    for (const struct command *c = command_table; c->name != NULL; c++) {
        if (c->role == COMMAND_ROOT && !call_is_root(call))
            continue;
        if ((name == NULL || strcasecmp(name, c->name) == 0) &&
            listing_wants(listing, c->name, c->description, NULL))
            listing_add(listing, api_object(c));
    }
    return 0;
}
