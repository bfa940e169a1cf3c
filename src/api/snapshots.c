/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of volumes (semantics 1.4, 1.5, 6.5).
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/requests.h"

#include <string.h>
#include <strings.h>

static void
set_volume(struct refs *refs, json_t *object, int64_t volume_id)
{
    const struct state_volume *volume = refs_volume(refs, volume_id);
    const struct state_vm *vm =
        volume != NULL ? refs_vm(refs, volume->vm_id) : NULL;

    if (volume == NULL)
        return;
    object_set_text(object, "volumeid", volume->uuid);
    object_set_text(object, "volumename", volume->name);
    object_set_text(object, "volumetype", volume->type);
    object_set_text(object, "volumestate", volume->state);
    if (vm == NULL)
        return;
    object_set_text(object, "virtualmachineid", vm->uuid);
    object_set_text(object, "virtualmachinename", vm->name);
}

json_t *
snapshots_object(struct refs *refs, const struct state_snapshot *snapshot)
{
    json_t *object = object_new();

    object_set_text(object, "id", snapshot->uuid);
    object_set_text(object, "name", snapshot->name);
    object_set_text(object, "state", snapshot->state);
    object_set_text(object, "snapshottype", snapshot->type);
    object_set_text(object, "intervaltype", snapshot->type);
    object_set_text(object, "locationtype", snapshot->location);
    set_volume(refs, object, snapshot->volume_id);
    object_set_number(object, "virtualsize", snapshot->virtual_size);
    if (snapshot->root != NULL)
        object_set_number(object, "physicalsize", snapshot->physical_size);
    zones_set_zone(refs, object, snapshot->zone_id);
    users_set_owner(refs, object, snapshot->account_id, snapshot->domain_id);
    object_set_bool(object, "revertable", false);
    object_set_text(object, "contentroot", snapshot->root);
    if (snapshot->state != NULL && strcmp(snapshot->state, "Error") == 0)
        object_set_text(object, "problem", snapshot->reason);
    object_set_text(object, "verifystatus", snapshot->verify_status);
    object_set_text(object, "verifyproblem", snapshot->verify_problem);
    if (snapshot->verified != 0)
        object_set_date(object, "verified", snapshot->verified);
    object_set(object, "tags", object_new_array());
    object_set_date(object, "created", snapshot->created);
    return object;
}

/* "RECURRING" is every type but MANUAL. */
static bool
is_type(const struct state_snapshot *snapshot, const char *type)
{
    if (type == NULL)
        return true;
    if (strcasecmp(type, "RECURRING") == 0)
        return strcmp(snapshot->type, "MANUAL") != 0;
    return strcasecmp(type, snapshot->type) == 0;
}

int
snapshots_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(snapshot) rows = {0};
    struct state_query query;

    if (filter_by_ids(&filter, call, "id", "ids", find_snapshot, err) < 0 ||
        filter_by_owner(&filter, call, err) < 0 ||
        filter_by_id(&filter, call, "volumeid", find_volume, "volume_id", err) <
            0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    query = filter_query(&filter);
    if (state_snapshot_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_snapshot *row = &rows.items[i];

        if (is_type(row, call_text(call, "snapshottype")) &&
            is_type(row, call_text(call, "intervaltype")) &&
            listing_wants(listing, row->name, NULL))
            listing_add(listing, snapshots_object(call->refs, row));
    }
    return 0;
}

/* What would be another snapshot than the one that is asked for. */
static int
refuse_unsupported(struct call *call, struct error *err)
{
    static const char *const others[] = {"locationtype", "policyid", "zoneids"};

    if (call_flag(call, "quiescevm", false))
        return error_set(err, ERROR_UNSUPPORTED,
                         "quiescevm is not supported for snapshots of volumes; "
                         "take a VM snapshot with it");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (call_has(call, others[i]))
            return error_set(err, ERROR_UNSUPPORTED,
                             "parameter '%s' is not supported", others[i]);
    }
    return 0;
}

int
snapshots_create(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    const struct request_snapshot args = {
        .volume = call_text(call, "volumeid"),
        .name = call_text(call, "name"),
    };

    if (refuse_unsupported(call, err) < 0)
        return -1;
    return request_snapshot_create(call->engine, &call->caller, &args,
                                   ret_ticket, err);
}

int
snapshots_delete(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    return request_snapshot_delete(call->engine, &call->caller,
                                   call_text(call, "id"), ret_ticket, err);
}
