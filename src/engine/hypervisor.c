/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hypervisor.h"

#include "base/memory.h"
#include "base/uuid.h"

int
hypervisor_ensure(struct state_tx *tx, const char *name, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("hypervisor", name)};
    AUTO_STATE(hypervisor_capability) row = {.vm_snapshot_enabled = 1};
    int found = state_hypervisor_capability_find(tx, where, 1, &row, err);
    struct uuid uuid;

    if (found != 0)
        return found < 0 ? -1 : 0;
    uuid_new(&uuid);
    row.vm_snapshot_enabled = 1;
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.hypervisor, name);
    return state_hypervisor_capability_insert(tx, &row, err);
}

int
hypervisor_check_vm_snapshots(struct state_tx *tx, const struct state_vm *vm,
                              struct error *err)
{
    AUTO_STATE(host) host = {0};
    AUTO_STATE(hypervisor_capability) row = {0};
    struct state_where where[] = {STATE_TEXT("hypervisor", "KVM")};
    int found;

    if (vm->host_id != 0 && state_host_get(tx, vm->host_id, &host, err) < 0)
        return -1;
    if (host.hypervisor != NULL)
        where[0].text = host.hypervisor;
    found = state_hypervisor_capability_find(tx, where, 1, &row, err);
    if (found <= 0 || row.vm_snapshot_enabled != 0)
        return found < 0 ? -1 : 0;
    return error_set(err, ERROR_UNSUPPORTED,
                     "VM snapshots are disabled for the hypervisor '%s' of "
                     "machine '%s'; updateHypervisorCapabilities with "
                     "vmsnapshotenabled=true enables them",
                     row.hypervisor, vm->name);
}
