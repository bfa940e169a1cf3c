/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is charged for: from usage events, that something began, changed its
 * size or ended, the stretches of time in which it was there.
 *
 * A stretch ends with the object, with the next change of its size, or with
 * the time that is asked for.  What has a beginning only (a snapshot that was
 * taken) is a stretch that goes on until its end is told.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

#define DAY_MS (INT64_C(24) * 60 * 60 * 1000)
#define HOUR_MS (60.0 * 60 * 1000)

static const struct usage_kind {
    int64_t type; /* CloudStack's number */
    const char *what;
    const char *begin;
    const char *change; /* or NULL */
    const char *end;
} kinds[] = {
    {6, "volume", "VOLUME.CREATE", "VOLUME.RESIZE", "VOLUME.DELETE"},
    {9, "snapshot", "SNAPSHOT.CREATE", NULL, "SNAPSHOT.DELETE"},
    {25, "VM snapshot", "VMSNAPSHOT.CREATE", NULL, "VMSNAPSHOT.DELETE"},
    {27, "VM snapshot on primary storage", "VMSNAPSHOT.ON_PRIMARY", NULL,
     "VMSNAPSHOT.OFF_PRIMARY"},
};

static bool
is_type(const struct state_usage_event *event, const char *type)
{
    return type != NULL && event->type != NULL &&
           strcmp(event->type, type) == 0;
}

/* The kind of which this event begins a stretch, or NULL. */
static const struct usage_kind *
kind_of(const struct state_usage_event *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (is_type(event, kinds[i].begin) || is_type(event, kinds[i].change))
            return &kinds[i];
    }
    return NULL;
}

/* When the stretch that events[at] begins is over; `until` at the latest. */
static int64_t
end_of(const struct state_usage_event_list *events, size_t at,
       const struct usage_kind *kind, int64_t until)
{
    const struct state_usage_event *first = &events->items[at];

    for (size_t i = at + 1; i < events->count; i++) {
        const struct state_usage_event *event = &events->items[i];

        if (strcmp(event->resource_uuid, first->resource_uuid) == 0 &&
            (is_type(event, kind->end) || is_type(event, kind->change)))
            return MIN(event->created, until);
    }
    return until;
}

static json_t *
record_object(struct call *call, const struct state_usage_event *event,
              const struct usage_kind *kind, int64_t begin, int64_t end)
{
    json_t *object = object_new();
    const struct state_account *account =
        refs_account(call->refs, event->account_id);
    AUTO_FREE char *hours = xasprintf("%.6f", (double)(end - begin) / HOUR_MS);
    AUTO_FREE char *usage =
        xasprintf("%.2f Hrs", (double)(end - begin) / HOUR_MS);
    AUTO_FREE char *text = xasprintf("%s %s", kind->what, event->resource_name);

    users_set_owner(call->refs, object, event->account_id,
                    account != NULL ? account->domain_id : 0);
    zones_set_zone(call->refs, object, event->zone_id);
    object_set_number(object, "usagetype", kind->type);
    object_set_text(object, "description", text);
    object_set_text(object, "usage", usage);
    object_set_text(object, "rawusage", hours);
    object_set_text(object, "usageid", event->resource_uuid);
    object_set_text(object, "name", event->resource_name);
    object_set_number(object, "size", event->size);
    object_set_number(object, "virtualsize", event->virtual_size);
    object_set_date(object, "startdate", begin);
    object_set_date(object, "enddate", end);
    return object;
}

static bool
is_shown(struct call *call, const struct access_scope *scope,
         const struct state_usage_event *event)
{
    const struct state_account *account =
        refs_account(call->refs, event->account_id);

    return account != NULL &&
           access_scope_has(scope, account->id, account->domain_id);
}

int
usage_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    AUTO_STATE_LIST(usage_event) rows = {0};
    int64_t from = call_date(call, "startdate", 0);
    int64_t until = call_date(call, "enddate", 0);

    if (strchr(call_text(call, "enddate"), 'T') == NULL)
        until += DAY_MS;
    until = MIN(until, clock_wall_ms());
    if (filter_scope(call, false, &scope, err) < 0 ||
        state_usage_event_list(call_tx(call), STATE_ALL, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_usage_event *event = &rows.items[i];
        const struct usage_kind *kind = kind_of(event);
        int64_t begin = MAX(event->created, from);
        int64_t end;

        if (kind == NULL || event->resource_uuid == NULL ||
            event->created > until || !is_shown(call, &scope, event) ||
            (call_has(call, "type") &&
             call_number(call, "type", 0) != kind->type))
            continue;
        end = end_of(&rows, i, kind, until);
        if (end >= begin && listing_wants(listing, event->resource_name, NULL))
            listing_add(listing, record_object(call, event, kind, begin, end));
    }
    return 0;
}
