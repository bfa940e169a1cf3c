/* SPDX-License-Identifier: Apache-2.0 */
/* What happened: the events of the API. */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"

#include <string.h>

#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)

static json_t *
event_object(struct refs *refs, const struct state_event *event)
{
    json_t *object = object_new();
    const struct state_user *user = refs_user(refs, event->user_id);

    object_set_text(object, "id", event->uuid);
    object_set_text(object, "type", event->type);
    object_set_text(object, "level", event->level);
    object_set_text(object, "state", event->state);
    object_set_text(object, "description", event->description);
    if (user != NULL)
        object_set_text(object, "username", user->username);
    users_set_owner(refs, object, event->account_id, event->domain_id);
    object_set_text(object, "resourceid", event->resource_uuid);
    object_set_text(object, "resourcetype", event->resource_type);
    object_set_date(object, "created", event->created);
    return object;
}

/* A date without a time is the whole day. */
static void
filter_dates(struct filter *filter, const struct call *call)
{
    const char *end = call_text(call, "enddate");
    int64_t last_ms = call_date(call, "enddate", 0);

    if (call_has(call, "startdate"))
        filter_add(filter, (struct state_where){
                               .column = "created",
                               .op = STATE_GE,
                               .number = call_date(call, "startdate", 0)});
    if (end == NULL)
        return;
    last_ms += strchr(end, 'T') == NULL ? DAY_MS - 1 : 999;
    filter_add(filter, (struct state_where){.column = "created",
                                            .op = STATE_LE,
                                            .number = last_ms});
}

static int
set_filter(struct filter *filter, struct call *call,
           const struct listing *listing, struct error *err)
{
    if (filter_by_id(filter, call, "id", find_event, "id", err) < 0 ||
        filter_by_owner(filter, call, err) < 0)
        return -1;
    filter_text(filter, call, "type", "type");
    filter_text(filter, call, "level", "level");
    filter_text(filter, call, "state", "state");
    filter_text(filter, call, "resourceid", "resource_uuid");
    filter_text(filter, call, "resourcetype", "resource_type");
    filter_dates(filter, call);
    if (listing->keyword != NULL)
        filter_add(filter, (struct state_where){.column = "description",
                                                .op = STATE_CONTAINS,
                                                .text = listing->keyword});
    return 0;
}

/* There may be more events than anybody wants to walk: the database pages. */
int
history_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(event) rows = {0};
    struct state_query query;

    if (set_filter(&filter, call, listing, err) < 0)
        return -1;
    query = filter_query(&filter);
    if (state_event_count(call_tx(call), &query, &listing->count, err) < 0)
        return -1;
    query.order = "-id";
    query.limit = listing->size == UINT64_MAX ? 0 : listing->size;
    query.offset = listing->skip;
    if (state_event_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        listing_add(listing, event_object(call->refs, &rows.items[i]));
    return 0;
}
