/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/events.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/uuid.h"

int
events_record(struct state_tx *tx, const struct events_new *event,
              struct error *err)
{
    AUTO_STATE(event)
    row = {
        .account_id = event->account_id,
        .domain_id = event->domain_id,
        .user_id = event->user_id,
        .created = event->time_ms != 0 ? event->time_ms : clock_wall_ms(),
    };
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.type, event->type);
    state_set_text(&row.level, event->level != NULL ? event->level : "INFO");
    state_set_text(&row.state,
                   event->state != NULL ? event->state : "Completed");
    state_set_text(&row.description, event->description);
    state_set_text(&row.resource_type, event->resource_type);
    state_set_text(&row.resource_uuid, event->resource_uuid);
    return state_event_insert(tx, &row, err);
}

static int
record_alone(struct state *state, const struct events_new *event,
             struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, err);

    if (tx == NULL || events_record(tx, event, err) < 0)
        return -1;
    return state_commit(tx, err);
}

void
events_record_now(struct state *state, const struct events_new *event)
{
    struct error err = ERROR_INIT;

    if (record_alone(state, event, &err) < 0)
        log_warning("event-lost", "type=%s error='%s'", event->type,
                    err.message);
}

int
events_usage(struct state_tx *tx, const char *type, int64_t account_id,
             const char *uuid, const char *name, int64_t size,
             int64_t virtual_size, struct error *err)
{
    const struct state_where living[] = {STATE_LIVING};
    AUTO_STATE(zone) zone = {0};
    AUTO_STATE(usage_event)
    row = {
        .account_id = account_id,
        .size = size,
        .virtual_size = virtual_size,
        .created = clock_wall_ms(),
    };

    if (state_zone_find(tx, living, 1, &zone, err) < 0)
        return -1;
    row.zone_id = zone.id;
    state_set_text(&row.type, type);
    state_set_text(&row.resource_uuid, uuid);
    state_set_text(&row.resource_name, name);
    return state_usage_event_insert(tx, &row, err);
}
