/* SPDX-License-Identifier: Apache-2.0 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/requests.h"

#include <strings.h>

const char *
vms_state(const struct state_vm *vm)
{
    if (vm->state != NULL)
        return vm->state;
    return vm->power != NULL ? vm->power : "Unknown";
}

/* What only administrators are shown. */
static void
set_place(struct refs *refs, json_t *object, const struct state_vm *vm)
{
    const struct state_host *host = refs_host(refs, vm->host_id);

    object_set_text(object, "instancename", vm->name);
    if (host == NULL)
        return;
    object_set_text(object, "hostid", host->uuid);
    object_set_text(object, "hostname", host->name);
}

static void
set_offering(struct refs *refs, json_t *object, const struct state_vm *vm)
{
    const struct state_backup_offering *offering =
        refs_backup_offering(refs, vm->backup_offering_id);

    if (offering == NULL)
        return;
    object_set_text(object, "backupofferingid", offering->uuid);
    object_set_text(object, "backupofferingname", offering->name);
}

static void
set_service_offering(struct refs *refs, json_t *object,
                     const struct state_vm *vm)
{
    const struct state_service_offering *offering =
        refs_service_offering(refs, vm->service_offering_id);

    if (offering == NULL)
        return;
    object_set_text(object, "serviceofferingid", offering->uuid);
    object_set_text(object, "serviceofferingname", offering->name);
}

json_t *
vms_object(struct refs *refs, const struct state_vm *vm)
{
    json_t *object = object_new();

    object_set_text(object, "id", vm->uuid);
    object_set_text(object, "name", vm->name);
    object_set_text(object, "displayname", vm->name);
    users_set_owner(refs, object, vm->account_id, vm->domain_id);
    object_set_text(object, "state", vms_state(vm));
    object_set_text(object, "hypervisor", zones_hypervisor(refs, vm->host_id));
    zones_set_zone(refs, object, vm->zone_id);
    if (refs->caller.role == ROLE_ROOT_ADMIN)
        set_place(refs, object, vm);
    object_set_number(object, "memory", vm->memory >> 20);
    object_set_number(object, "cpunumber", vm->vcpus);
    set_service_offering(refs, object, vm);
    set_offering(refs, object, vm);
    object_set_bool(object, "managed", vm->managed != 0);
    object_set_text(object, "problem", vm->problem);
    object_set_bool(object, "haenable", false);
    object_set_bool(object, "displayvm", true);
    object_set(object, "nic", object_new_array());
    object_set(object, "securitygroup", object_new_array());
    object_set(object, "affinitygroup", object_new_array());
    object_set(object, "tags", object_new_array());
    object_set_date(object, "created", vm->created);
    return object;
}

static int
set_filter(struct filter *filter, struct call *call, struct error *err)
{
    const char *name = call_text(call, "name");

    if (filter_by_ids(filter, call, "id", "ids", find_vm, err) < 0 ||
        filter_by_owner(filter, call, err) < 0 ||
        filter_by_id(filter, call, "zoneid", find_zone, "zone_id", err) < 0 ||
        filter_by_id(filter, call, "hostid", find_host, "host_id", err) < 0 ||
        filter_by_id(filter, call, "backupofferingid", find_offering,
                     "backup_offering_id", err) < 0)
        return -1;
    if (name != NULL)
        filter_add(filter, (struct state_where){.column = "name",
                                                .op = STATE_CONTAINS,
                                                .text = name});
    filter_living(filter);
    return 0;
}

static bool
is_asked(struct call *call, const struct state_vm *vm)
{
    const char *state = call_text(call, "state");
    const char *hypervisor = call_text(call, "hypervisor");

    return (state == NULL || strcasecmp(state, vms_state(vm)) == 0) &&
           (hypervisor == NULL ||
            strcasecmp(hypervisor, zones_hypervisor(call->refs, vm->host_id)) ==
                0);
}

int
vms_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(vm) rows = {0};
    struct state_query query;

    if (set_filter(&filter, call, err) < 0)
        return -1;
    query = filter_query(&filter);
    if (state_vm_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_vm *vm = &rows.items[i];

        if (is_asked(call, vm) &&
            listing_wants(listing, vm->name, vm->uuid, NULL))
            listing_add(listing, vms_object(call->refs, vm));
    }
    return 0;
}

/* -- what can be done with them ------------------------------------------ */

int
vms_start(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_start(call->engine, &call->caller, call_text(call, "id"),
                            ret_ticket, err);
}

int
vms_stop(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_stop(call->engine, &call->caller, call_text(call, "id"),
                           call_flag(call, "forced", false), ret_ticket, err);
}

int
vms_reboot(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_reboot(call->engine, &call->caller, call_text(call, "id"),
                             ret_ticket, err);
}

int
vms_release(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_release(call->engine, &call->caller,
                              call_text(call, "id"), ret_ticket, err);
}

int
vms_settle(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_settle(call->engine, &call->caller, call_text(call, "id"),
                             ret_ticket, err);
}

int
vms_destroy(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_destroy(
        call->engine, &call->caller, call_text(call, "id"),
        call_flag(call, "expunge", false), ret_ticket, err);
}

int
vms_recover(struct call *call, json_t *body, struct error *err)
{
    AUTO_STATE(vm) row = {0};
    int64_t id;

    if (request_vm_recover(call->engine, &call->caller, call_text(call, "id"),
                           err) < 0 ||
        call_read(call, err) < 0 ||
        find_required(call, "id", find_vm, &id, err) < 0 ||
        state_vm_get(call_tx(call), id, &row, err) < 0)
        return -1;
    object_set(body, "virtualmachine", vms_object(call->refs, &row));
    return 0;
}

int
vms_scale(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_vm_scale(call->engine, &call->caller, call_text(call, "id"),
                            call_text(call, "serviceofferingid"), ret_ticket,
                            err);
}
