/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be done on machines of each kind of hypervisor.
 */
#include "api/find.h"
#include "api/listing.h"
#include "api/object.h"
#include "base/memory.h"
#include "engine/events.h"

#include <strings.h>

static json_t *
hypervisor_object(const struct state_hypervisor_capability *row)
{
    json_t *object = object_new();

    object_set_text(object, "id", row->uuid);
    object_set_text(object, "hypervisor", row->hypervisor);
    object_set_bool(object, "vmsnapshotenabled", row->vm_snapshot_enabled != 0);
    return object;
}

static bool
is_asked(const struct call *call, const struct state_hypervisor_capability *row)
{
    const char *id = call_text(call, "id");
    const char *name = call_text(call, "hypervisor");

    return (id == NULL || strcasecmp(id, row->uuid) == 0) &&
           (name == NULL || strcasecmp(name, row->hypervisor) == 0);
}

int
hypervisor_capabilities_list(struct call *call, struct listing *listing,
                             struct error *err)
{
    AUTO_STATE_LIST(hypervisor_capability) rows = {0};
    int64_t id;

    if (call_has(call, "id") &&
        find_required(call, "id", find_hypervisor_capability, &id, err) < 0)
        return -1;
    if (state_hypervisor_capability_list(call_tx(call), STATE_ALL, &rows, err) <
        0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (is_asked(call, &rows.items[i]) &&
            listing_wants(listing, rows.items[i].hypervisor, NULL))
            listing_add(listing, hypervisor_object(&rows.items[i]));
    }
    return 0;
}

static int
record(const struct call *call, struct state_tx *tx,
       const struct state_hypervisor_capability *row, struct error *err)
{
    AUTO_FREE char *text =
        xasprintf("VM snapshots on '%s' are %s now", row->hypervisor,
                  row->vm_snapshot_enabled != 0 ? "enabled" : "disabled");
    const struct events_new event = {
        .type = "HYPERVISOR.CAPABILITIES.UPDATE",
        .description = text,
        .account_id = call->caller.account_id,
        .domain_id = call->caller.domain_id,
        .user_id = call->caller.user_id,
    };

    return events_record(tx, &event, err);
}

/* The one row that the caller means. */
static int
find(struct call *call, struct state_tx *tx,
     struct state_hypervisor_capability *ret_row, struct error *err)
{
    AUTO_STATE_LIST(hypervisor_capability) rows = {0};

    if (!call_has(call, "id") && !call_has(call, "hypervisor"))
        return error_set(err, ERROR_INVALID,
                         "say which hypervisor by 'id' or 'hypervisor'");
    if (state_hypervisor_capability_list(tx, STATE_ALL, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (is_asked(call, &rows.items[i]))
            return state_hypervisor_capability_get(tx, rows.items[i].id,
                                                   ret_row, err);
    }
    return error_set(err, ERROR_NOT_FOUND, "there is no such hypervisor");
}

int
hypervisor_capabilities_update(struct call *call, json_t *body,
                               struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine_state(call->engine), err);
    AUTO_STATE(hypervisor_capability) row = {0};

    if (tx == NULL || find(call, tx, &row, err) < 0)
        return -1;
    row.vm_snapshot_enabled =
        call_flag(call, "vmsnapshotenabled", row.vm_snapshot_enabled != 0);
    if (state_hypervisor_capability_update(tx, &row, err) < 0 ||
        record(call, tx, &row, err) < 0 || state_commit(tx, err) < 0)
        return -1;
    object_set(body, "hypervisorcapabilities", hypervisor_object(&row));
    return 0;
}
