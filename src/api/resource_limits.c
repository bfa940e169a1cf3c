/* SPDX-License-Identifier: Apache-2.0 */
/* How much accounts and domains may have, and how much they have. */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "base/memory.h"
#include "engine/limits.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static json_t *
limit_object(struct call *call, const struct limit_type *type,
             int64_t account_id, int64_t domain_id, int64_t max)
{
    json_t *object = object_new();
    AUTO_FREE char *number = xasprintf("%d", (int)type->kind);
    int64_t count = 0;
    struct error err = ERROR_INIT;

    users_set_owner(call->refs, object, account_id, domain_id);
    object_set_text(object, "resourcetype", number);
    object_set_text(object, "resourcetypename", type->name);
    object_set_number(object, "max", max);
    if (account_id == 0)
        return object;
    if (limits_count(call_tx(call), account_id, type->kind, &count, &err) < 0)
        refs_keep(call->refs, &err);
    object_set_number(object, "count", (count + type->unit - 1) / type->unit);
    return object;
}

static bool
is_asked(struct call *call, const struct limit_type *type)
{
    const char *name = call_text(call, "resourcetypename");

    return (!call_has(call, "resourcetype") ||
            call_number(call, "resourcetype", -1) == (int64_t)type->kind) &&
           (name == NULL || strcasecmp(name, type->name) == 0);
}

/* All types of one account, or of one domain. */
static int
add_owner(struct call *call, struct listing *listing, int64_t account_id,
          int64_t domain_id, struct error *err)
{
    for (size_t i = 0; i < limit_type_count; i++) {
        const struct limit_type *type = &limit_types[i];
        int64_t max;

        if (!is_asked(call, type) || !listing_wants(listing, type->name, NULL))
            continue;
        if (limits_get(call_tx(call), account_id, domain_id, type->kind, &max,
                       err) < 0)
            return -1;
        listing_add(listing,
                    limit_object(call, type, account_id, domain_id, max));
    }
    return 0;
}

/* With a domain and no account, the domain's own limits; else those of the
 * accounts that the parameters name. */
int
resource_limits_list(struct call *call, struct listing *listing,
                     struct error *err)
{
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    AUTO_STATE_LIST(account) rows = {0};
    const struct state_where where[] = {STATE_LIVING};
    int64_t domain_id;

    if (filter_scope(call, false, &scope, err) < 0)
        return -1;
    if (call_has(call, "domainid") && !call_has(call, "account")) {
        if (find_required(call, "domainid", find_domain, &domain_id, err) < 0)
            return -1;
        return add_owner(call, listing, 0, domain_id, err);
    }
    if (state_account_list(call_tx(call), STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_account *row = &rows.items[i];

        if (access_scope_has(&scope, row->id, row->domain_id) &&
            add_owner(call, listing, row->id, row->domain_id, err) < 0)
            return -1;
    }
    return 0;
}

int
resource_limits_update(struct call *call, json_t *body, struct error *err)
{
    AUTO_STATE(resource_limit) row = {0};
    AUTO_STATE(account) account = {0};
    const struct limits_request args = {
        .account = call_text(call, "account"),
        .domain = call_text(call, "domainid"),
        .kind = call_number(call, "resourcetype", -1),
        .max = call_number(call, "max", -1)};
    int64_t domain_id;

    if (limits_set(engine_state(call->engine), &call->caller, &args, &row,
                   err) < 0 ||
        call_read(call, err) < 0)
        return -1;
    domain_id = row.domain_id;
    if (row.account_id != 0) {
        if (state_account_get(call_tx(call), row.account_id, &account, err) < 0)
            return -1;
        domain_id = account.domain_id;
    }
    object_set(body, "resourcelimit",
               limit_object(call, limits_find(row.type), row.account_id,
                            domain_id, row.max));
    return 0;
}
