/* SPDX-License-Identifier: Apache-2.0 */
#include "api/filter.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
filter_release(struct filter *filter)
{
    free(filter->ids);
    filter->ids = NULL;
    access_scope_release(&filter->scope);
}

void
filter_add(struct filter *filter, struct state_where where)
{
    assert(filter->count < FILTER_MAX);
    filter->where[filter->count++] = where;
}

static void
add_int(struct filter *filter, const char *column, int64_t number)
{
    filter_add(filter, (struct state_where)STATE_INT(column, number));
}

void
filter_living(struct filter *filter)
{
    add_int(filter, "removed", 0);
}

void
filter_text(struct filter *filter, const struct call *call, const char *name,
            const char *column)
{
    const char *text = call_text(call, name);

    if (text != NULL)
        filter_add(filter, (struct state_where)STATE_TEXT(column, text));
}

void
filter_flag(struct filter *filter, const struct call *call, const char *name,
            const char *column)
{
    if (call_has(call, name))
        add_int(filter, column, call_flag(call, name, false));
}

int
filter_by_id(struct filter *filter, struct call *call, const char *name,
             find_function *find, const char *column, struct error *err)
{
    const char *uuid = call_text(call, name);
    int64_t id;

    if (uuid == NULL)
        return 0;
    if (find(call, name, uuid, &id, err) < 0)
        return -1;
    filter->has_id |= strcmp(column, "id") == 0;
    add_int(filter, column, id);
    return 0;
}

int
filter_by_ids(struct filter *filter, struct call *call, const char *name,
              const char *names, find_function *find, struct error *err)
{
    AUTO_PARAMS_LIST struct params_list list = {0};

    if (!call_has(call, names))
        return filter_by_id(filter, call, name, find, "id", err);
    if (call_has(call, name))
        return error_set(err, ERROR_INVALID,
                         "parameters '%s' and '%s' exclude each other", name,
                         names);
    params_list(call->params, names, &list);
    assert(filter->ids == NULL);
    filter->ids = xcalloc(list.count + 1, sizeof(*filter->ids));
    for (size_t i = 0; i < list.count; i++) {
        if (find(call, names, list.items[i], &filter->ids[i], err) < 0)
            return -1;
    }
    filter->has_id = true;
    filter_add(filter, (struct state_where){.column = "id",
                                            .op = STATE_IN_INT,
                                            .ints = filter->ids,
                                            .count = list.count});
    return 0;
}

/* -- owners -------------------------------------------------------------- */

int
filter_scope(struct call *call, bool is_by_id, struct access_scope *ret_scope,
             struct error *err)
{
    const char *project = call_text(call, "projectid");
    const struct access_filter wanted = {
        .account = call_text(call, "account"),
        .domain = call_text(call, "domainid"),
        .list_all = call_flag(call, "listall", false),
        .is_recursive = call_flag(call, "isrecursive", false),
        .is_by_id = is_by_id,
    };

    if (project != NULL && strcmp(project, "-1") != 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "invalid parameter 'projectid': there is no project "
                         "with id '%.40s'",
                         project);
    return access_scope_init(ret_scope, call_tx(call), &call->caller, &wanted,
                             err);
}

static void
add_scope(struct filter *filter)
{
    for (size_t i = 0; i < filter->scope.count; i++)
        filter_add(filter, filter->scope.where[i]);
}

int
filter_by_owner(struct filter *filter, struct call *call, struct error *err)
{
    if (filter_scope(call, filter->has_id, &filter->scope, err) < 0)
        return -1;
    add_scope(filter);
    return 0;
}

int
filter_by_caller(struct filter *filter, struct call *call, struct error *err)
{
    const struct access_filter wanted = {.list_all = true};

    if (access_scope_init(&filter->scope, call_tx(call), &call->caller, &wanted,
                          err) < 0)
        return -1;
    add_scope(filter);
    return 0;
}

struct state_query
filter_query(const struct filter *filter)
{
    return (struct state_query){.where = filter->where,
                                .where_count = filter->count};
}
