/* SPDX-License-Identifier: Apache-2.0 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "base/memory.h"
#include "base/path.h"

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

static json_t *
volume_object(struct refs *refs, const struct state_volume *volume)
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
            listing_add(listing, volume_object(call->refs, volume));
    }
    return 0;
}
