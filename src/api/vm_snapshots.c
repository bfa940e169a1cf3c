/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VM snapshots (semantics 3.1, 6.6).
 *
 * A Hidden snapshot was deleted by its owner; only its layers are still
 * needed.  It is listed only when asked for by its state, and never shown as
 * somebody's parent; who wants to draw the tree as it is follows "treeparent".
 * Removed ones are never listed.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/requests.h"

#include <string.h>
#include <strings.h>

/* A tree deeper than that is followed no further. */
#define DEPTH_MAX 1000

static bool
is_state(const struct state_vm_snapshot *snapshot, const char *state)
{
    return snapshot->state != NULL && strcasecmp(snapshot->state, state) == 0;
}

static bool
is_gone(const struct state_vm_snapshot *snapshot)
{
    return snapshot->removed != 0 || is_state(snapshot, "Removed") ||
           is_state(snapshot, "Hidden");
}

static const char *
shown_name(const struct state_vm_snapshot *snapshot)
{
    return snapshot->display_name != NULL ? snapshot->display_name
                                          : snapshot->name;
}

/* The nearest snapshot above that its owner still has. */
static void
set_parent(struct refs *refs, json_t *object, int64_t parent_id)
{
    const struct state_vm_snapshot *parent = refs_vm_snapshot(refs, parent_id);

    if (parent != NULL && !is_state(parent, "Removed"))
        object_set_text(object, "treeparent", parent->uuid);
    for (unsigned i = 0; parent != NULL && is_gone(parent) && i < DEPTH_MAX;
         i++)
        parent = refs_vm_snapshot(refs, parent->parent_id);
    if (parent == NULL)
        return;
    object_set_text(object, "parent", parent->uuid);
    object_set_text(object, "parentName", shown_name(parent));
}

static void
set_vm(struct refs *refs, json_t *object, int64_t vm_id)
{
    const struct state_vm *vm = refs_vm(refs, vm_id);

    object_set_text(object, "hypervisor",
                    zones_hypervisor(refs, vm != NULL ? vm->host_id : 0));
    if (vm == NULL)
        return;
    zones_set_zone(refs, object, vm->zone_id);
    object_set_text(object, "virtualmachineid", vm->uuid);
    object_set_text(object, "virtualmachinename", vm->name);
}

static void
set_memory(json_t *object, const struct state_vm_snapshot *snapshot)
{
    if (snapshot->memory_path != NULL) {
        object_set_number(object, "memorysize", snapshot->memory_size);
        if (snapshot->memory_pause_ms >= 0)
            object_set_number(object, "pause", snapshot->memory_pause_ms);
    }
    if (snapshot->nvram_path != NULL)
        object_set_bool(object, "nvram", true);
}

json_t *
vm_snapshots_object(struct refs *refs, const struct state_vm_snapshot *snapshot)
{
    json_t *object = object_new();

    object_set_text(object, "id", snapshot->uuid);
    object_set_text(object, "name", snapshot->name);
    object_set_text(object, "displayname", shown_name(snapshot));
    object_set_text(object, "description", snapshot->description);
    object_set_text(object, "state", snapshot->state);
    object_set_text(object, "type", snapshot->type);
    set_vm(refs, object, snapshot->vm_id);
    set_parent(refs, object, snapshot->parent_id);
    object_set_bool(object, "current", snapshot->is_current != 0);
    users_set_owner(refs, object, snapshot->account_id, snapshot->domain_id);
    set_memory(object, snapshot);
    object_set_text(object, "problem", snapshot->problem);
    object_set(object, "tags", object_new_array());
    object_set_date(object, "created", snapshot->created);
    return object;
}

/* -- listVMSnapshot ------------------------------------------------------ */

/* `state` is the one that is asked for, or NULL. */
static bool
is_listed(const struct state_vm_snapshot *snapshot, const char *state)
{
    if (is_state(snapshot, "Removed"))
        return false;
    return state != NULL ? is_state(snapshot, state) : !is_gone(snapshot);
}

static bool
is_named(const struct state_vm_snapshot *snapshot, const char *name)
{
    return name == NULL || strcmp(shown_name(snapshot), name) == 0 ||
           (snapshot->name != NULL && strcmp(snapshot->name, name) == 0);
}

static bool
is_on_page(struct listing *listing, const struct state_vm_snapshot *snapshot)
{
    return listing_wants(
        listing, snapshot->name != NULL ? snapshot->name : "",
        snapshot->display_name != NULL ? snapshot->display_name : "",
        snapshot->description != NULL ? snapshot->description : "", NULL);
}

static int
check_state(const char *state, struct error *err)
{
    static const char *const states[] = {"Allocated", "Creating",  "Ready",
                                         "Reverting", "Expunging", "Removed",
                                         "Error",     "Hidden"};

    for (size_t i = 0; state != NULL && i < ARRAY_SIZE(states); i++) {
        if (strcasecmp(state, states[i]) == 0)
            return 0;
    }
    if (state == NULL)
        return 0;
    return error_set(err, ERROR_INVALID,
                     "invalid value of parameter 'state': '%.80s' is not a "
                     "state of VM snapshots",
                     state);
}

int
vm_snapshots_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const char *state = call_text(call, "state");
    const char *name = call_text(call, "name");
    struct state_query query;

    if (check_state(state, err) < 0 ||
        filter_by_ids(&filter, call, "vmsnapshotid", "vmsnapshotids",
                      find_vm_snapshot, err) < 0 ||
        filter_by_owner(&filter, call, err) < 0 ||
        filter_by_id(&filter, call, "virtualmachineid", find_vm, "vm_id", err) <
            0)
        return -1;
    filter_living(&filter);
    query = filter_query(&filter);
    if (state_vm_snapshot_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_vm_snapshot *row = &rows.items[i];

        if (is_listed(row, state) && is_named(row, name) &&
            is_on_page(listing, row))
            listing_add(listing, vm_snapshots_object(call->refs, row));
    }
    return 0;
}

/* -- what can be done with them ------------------------------------------ */

int
vm_snapshots_create(struct call *call, struct ticket *ret_ticket,
                    struct error *err)
{
    const struct request_vm_snapshot args = {
        .vm = call_text(call, "virtualmachineid"),
        .name = call_text(call, "name"),
        .description = call_text(call, "description"),
        .memory = call_flag(call, "snapshotmemory", false),
        .quiesce = call_flag(call, "quiescevm", false),
        .crash_consistent = !call_flag(call, "quiescevm", true),
    };

    return request_vm_snapshot_create(call->engine, &call->caller, &args,
                                      ret_ticket, err);
}

int
vm_snapshots_revert(struct call *call, struct ticket *ret_ticket,
                    struct error *err)
{
    return request_vm_snapshot_revert(
        call->engine, &call->caller, call_text(call, "vmsnapshotid"),
        call_flag(call, "changepower", false), ret_ticket, err);
}

int
vm_snapshots_delete(struct call *call, struct ticket *ret_ticket,
                    struct error *err)
{
    return request_vm_snapshot_delete(call->engine, &call->caller,
                                      call_text(call, "vmsnapshotid"),
                                      ret_ticket, err);
}
