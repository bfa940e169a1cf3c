/* SPDX-License-Identifier: Apache-2.0 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/requests.h"

#include <stdio.h>
#include <string.h>

/* Deeper chains are counted no further; none of ours gets there. */
#define CHAIN_MAX 1000

static int64_t
count_layers(struct refs *refs, int64_t layer_id)
{
    int64_t count = 0;

    while (count < CHAIN_MAX) {
        const struct state_layer *layer = refs_layer(refs, layer_id);

        if (layer == NULL)
            break;
        count++;
        layer_id = layer->parent_id;
    }
    return count;
}

/* The name of the active file in its pool; the whole path elsewhere. */
static void
set_path(struct refs *refs, json_t *object, const struct state_volume *volume,
         const struct state_storage_pool *pool)
{
    const struct state_layer *layer = refs_layer(refs, volume->layer_id);
    AUTO_FREE char *folder = NULL;

    if (layer == NULL || layer->path == NULL)
        return;
    folder = path_parent(layer->path);
    object_set_text(object, "path",
                    pool != NULL && pool->path != NULL &&
                            strcmp(folder, pool->path) == 0
                        ? path_name(layer->path)
                        : layer->path);
}

static void
set_storage(struct refs *refs, json_t *object,
            const struct state_volume *volume)
{
    const struct state_storage_pool *pool =
        refs_storage_pool(refs, volume->storage_pool_id);

    if (pool != NULL) {
        object_set_text(object, "storage", pool->name);
        object_set_text(object, "storageid", pool->uuid);
    }
    set_path(refs, object, volume, pool);
}

static void
set_vm(struct refs *refs, json_t *object, const struct state_volume *volume)
{
    const struct state_vm *vm = refs_vm(refs, volume->vm_id);

    object_set_text(object, "hypervisor",
                    zones_hypervisor(refs, vm != NULL ? vm->host_id : 0));
    if (vm == NULL)
        return;
    object_set_text(object, "virtualmachineid", vm->uuid);
    object_set_text(object, "vmname", vm->name);
    object_set_text(object, "vmdisplayname", vm->name);
    object_set_text(object, "vmstate", vms_state(vm));
}

json_t *
volumes_object(struct refs *refs, const struct state_volume *volume)
{
    json_t *object = object_new();

    object_set_text(object, "id", volume->uuid);
    object_set_text(object, "name", volume->name);
    object_set_text(object, "type", volume->type);
    if (volume->vm_id != 0)
        object_set_number(object, "deviceid", volume->device_id);
    /* Unknown until the machine is first touched. */
    if (volume->size != 0)
        object_set_number(object, "size", volume->size);
    object_set_text(object, "state", volume->state);
    users_set_owner(refs, object, volume->account_id, volume->domain_id);
    set_vm(refs, object, volume);
    object_set_text(object, "storagetype", "local");
    if (refs->caller.role == ROLE_ROOT_ADMIN)
        set_storage(refs, object, volume);
    zones_set_zone(refs, object, volume->zone_id);
    if (volume->layer_id != 0)
        object_set_number(object, "chainsize",
                          count_layers(refs, volume->layer_id));
    object_set_bool(object, "destroyed", false);
    object_set(object, "tags", object_new_array());
    object_set_date(object, "created", volume->created);
    return object;
}

static int
set_filter(struct filter *filter, struct call *call, struct error *err)
{
    if (filter_by_ids(filter, call, "id", "ids", find_volume, err) < 0 ||
        filter_by_owner(filter, call, err) < 0 ||
        filter_by_id(filter, call, "virtualmachineid", find_vm, "vm_id", err) <
            0 ||
        filter_by_id(filter, call, "zoneid", find_zone, "zone_id", err) < 0 ||
        filter_by_id(filter, call, "storageid", find_storage_pool,
                     "storage_pool_id", err) < 0)
        return -1;
    filter_living(filter);
    filter_text(filter, call, "name", "name");
    filter_text(filter, call, "type", "type");
    filter_text(filter, call, "state", "state");
    return 0;
}

/* The host that parameter hostid names, or 0. */
static int
find_asked_host(struct call *call, int64_t *ret_host_id, struct error *err)
{
    *ret_host_id = 0;
    if (!call_has(call, "hostid"))
        return 0;
    return find_required(call, "hostid", find_host, ret_host_id, err);
}

static bool
is_on_host(struct refs *refs, const struct state_volume *volume,
           int64_t host_id)
{
    const struct state_vm *vm = refs_vm(refs, volume->vm_id);

    return host_id == 0 || (vm != NULL && vm->host_id == host_id);
}

int
volumes_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(volume) rows = {0};
    struct state_query query;
    int64_t host_id;

    if (set_filter(&filter, call, err) < 0 ||
        find_asked_host(call, &host_id, err) < 0)
        return -1;
    query = filter_query(&filter);
    if (state_volume_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_volume *volume = &rows.items[i];

        if (is_on_host(call->refs, volume, host_id) &&
            listing_wants(listing, volume->name != NULL ? volume->name : "",
                          NULL))
            listing_add(listing, volumes_object(call->refs, volume));
    }
    return 0;
}

/* -- what can be done with them ------------------------------------------ */

/* The parameter "size", GiB, in bytes. */
static int
wanted_size(const struct call *call, uint64_t *ret_bytes, struct error *err)
{
    int64_t gib = call_number(call, "size", 0);

    if (gib <= 0 || gib > INT64_MAX >> 32)
        return error_set(err, ERROR_INVALID,
                         "invalid parameter 'size': %lld GiB is no size of a "
                         "volume",
                         (long long)gib);
    *ret_bytes = (uint64_t)gib << 30;
    return 0;
}

int
volumes_create(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    struct request_volume args = {.name = call_text(call, "name")};
    int64_t zone_id;

    if (call_has(call, "zoneid") &&
        (call_read(call, err) < 0 ||
         find_required(call, "zoneid", find_zone, &zone_id, err) < 0))
        return -1;
    if (args.name == NULL)
        args.name = "DATA";
    if (wanted_size(call, &args.size, err) < 0)
        return -1;
    return request_volume_create(call->engine, &call->caller, &args, ret_ticket,
                                 err);
}

int
volumes_attach(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_volume_attach(
        call->engine, &call->caller, call_text(call, "id"),
        call_text(call, "virtualmachineid"), call_number(call, "deviceid", -1),
        ret_ticket, err);
}

/* The volume at that place of the machine. */
static int
find_by_device(struct call *call, char ret_uuid[UUID_TEXT_SIZE],
               struct error *err)
{
    AUTO_STATE(volume) row = {0};
    int64_t vm_id;

    if (!call_has(call, "virtualmachineid") || !call_has(call, "deviceid"))
        return error_set(err, ERROR_INVALID,
                         "give id, or virtualmachineid and deviceid");
    if (call_read(call, err) < 0 ||
        find_required(call, "virtualmachineid", find_vm, &vm_id, err) < 0)
        return -1;
    {
        const struct state_where where[] = {
            STATE_INT("vm_id", vm_id),
            STATE_INT("device_id", call_number(call, "deviceid", 0)),
            STATE_LIVING};

        if (state_volume_find(call_tx(call), where, 3, &row, err) <= 0)
            return err->code != ERROR_NONE
                       ? -1
                       : error_set(err, ERROR_NOT_FOUND,
                                   "the machine has no volume with that "
                                   "deviceid");
    }
    (void)snprintf(ret_uuid, UUID_TEXT_SIZE, "%s", row.uuid);
    return 0;
}

int
volumes_detach(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    const char *id = call_text(call, "id");

    if (id == NULL && find_by_device(call, uuid, err) < 0)
        return -1;
    return request_volume_detach(call->engine, &call->caller,
                                 id != NULL ? id : uuid, ret_ticket, err);
}

int
volumes_resize(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    uint64_t bytes;

    if (wanted_size(call, &bytes, err) < 0)
        return -1;
    return request_volume_resize(call->engine, &call->caller,
                                 call_text(call, "id"), bytes, ret_ticket, err);
}

int
volumes_delete(struct call *call, json_t *body, struct error *err)
{
    struct ticket ticket;

    if (request_volume_delete(call->engine, &call->caller,
                              call_text(call, "id"), &ticket, err) < 0)
        return -1;
    object_set_bool(body, "success", true);
    return 0;
}
