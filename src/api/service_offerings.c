/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service offerings: CPUs and memory under a name.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/requests.h"

static json_t *
offering_object(const struct state_service_offering *offering)
{
    json_t *object = object_new();

    object_set_text(object, "id", offering->uuid);
    object_set_text(object, "name", offering->name);
    object_set_text(object, "displaytext", offering->description);
    object_set_number(object, "cpunumber", offering->vcpus);
    object_set_number(object, "memory", offering->memory >> 20);
    object_set_date(object, "created", offering->created);
    return object;
}

int
service_offerings_list(struct call *call, struct listing *listing,
                       struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(service_offering) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_service_offering, "id", err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    query = filter_query(&filter);
    if (state_service_offering_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (listing_wants(listing, rows.items[i].name, NULL))
            listing_add(listing, offering_object(&rows.items[i]));
    }
    return 0;
}

int
service_offerings_create(struct call *call, json_t *body, struct error *err)
{
    int64_t mib = call_number(call, "memory", 0);
    const struct request_service_offering args = {
        .name = call_text(call, "name"),
        .description = call_text(call, "displaytext"),
        .vcpus = call_number(call, "cpunumber", 0),
        /* What is too large is refused by the engine. */
        .memory = mib > 0 ? (uint64_t)MIN(mib, INT64_C(1) << 40) << 20 : 0,
    };
    char uuid[UUID_TEXT_SIZE];
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(service_offering) row = {0};
    int found;

    if (request_service_offering_create(call->engine, &call->caller, &args,
                                        uuid, err) < 0 ||
        call_read(call, err) < 0)
        return -1;
    found = state_service_offering_find(call_tx(call), where, 1, &row, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_INTERNAL,
                         "the new service offering '%s' is not there", uuid);
    object_set(body, "serviceoffering", offering_object(&row));
    return 0;
}

int
service_offerings_delete(struct call *call, json_t *body, struct error *err)
{
    if (request_service_offering_delete(call->engine, &call->caller,
                                        call_text(call, "id"), err) < 0)
        return -1;
    object_set_bool(body, "success", true);
    return 0;
}
