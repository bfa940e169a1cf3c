/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/inventory.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/self_test.h"
#include "image/qcow2.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *
inventory_excluded(const struct hv_disk *disk)
{
    switch (disk->device) {
    case HV_CDROM:
        return "a CD-ROM";
    case HV_FLOPPY:
        return "a floppy";
    case HV_LUN:
        return "a passed-through LUN";
    case HV_DISK:
        break;
    }
    if (disk->readonly)
        return "read-only";
    if (disk->shareable)
        return "shared with other machines";
    return NULL;
}

static const char *
power_text(enum hv_state state)
{
    switch (state) {
    case HV_STOPPED:
        return "Stopped";
    case HV_RUNNING:
        return "Running";
    case HV_PAUSED:
        return "Paused";
    case HV_STOPPING:
        return "Stopping";
    }
    return "Unknown";
}

/* The pool of a directory; made when it is new. */
static int
pool_of(struct engine *engine, struct state_tx *tx, const char *path,
        int64_t *ret_id, struct error *err)
{
    AUTO_FREE char *directory = path_parent(path);
    AUTO_STATE(storage_pool) pool = {0};
    const struct state_where where[] = {STATE_TEXT("path", directory),
                                        STATE_LIVING};
    struct uuid uuid;
    int found = state_storage_pool_find(tx, where, 2, &pool, err);

    if (found < 0)
        return -1;
    if (found == 0) {
        uuid_new(&uuid);
        pool.zone_id = engine->zone_id;
        pool.created = clock_wall_ms();
        state_set_text(&pool.uuid, uuid.text);
        state_set_text(&pool.name, directory);
        state_set_text(&pool.type, "Filesystem");
        state_set_text(&pool.path, directory);
        state_set_text(&pool.state, "Up");
        if (state_storage_pool_insert(tx, &pool, err) < 0)
            return -1;
    }
    *ret_id = pool.id;
    return 0;
}

static int
insert_volume(struct engine *engine, struct state_tx *tx,
              const struct state_vm *vm, const struct hv_disk *disk,
              int64_t device_id, struct error *err)
{
    AUTO_STATE(volume)
    row = {.vm_id = vm->id,
           .account_id = vm->account_id,
           .domain_id = vm->domain_id,
           .zone_id = engine->zone_id,
           .device_id = device_id,
           .created = clock_wall_ms()};
    AUTO_FREE char *name = xasprintf("%s-%s", vm->name, disk->target);
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, name);
    state_set_text(&row.type, device_id == 0 ? "ROOT" : "DATADISK");
    state_set_text(&row.target, disk->target);
    state_set_text(&row.format, disk->format);
    state_set_text(&row.state, "Ready");
    if (disk->source != NULL &&
        pool_of(engine, tx, disk->source, &row.storage_pool_id, err) < 0)
        return -1;
    return state_volume_insert(tx, &row, err);
}

/* Every disk that can be kept has a volume row; device ids follow the order
 * of the definition. */
static int
refresh_volumes(struct engine *engine, struct state_tx *tx,
                const struct state_vm *vm, const struct hv_machine *machine,
                bool *changed, struct error *err)
{
    AUTO_STATE_LIST(volume) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm->id),
                                        STATE_LIVING};
    int64_t device_id = 0;

    if (state_volume_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct hv_disk *disk = &machine->disks[i];
        bool known = false;

        if (inventory_excluded(disk) != NULL)
            continue;
        for (size_t k = 0; k < rows.count; k++)
            known |= strcmp(rows.items[k].target, disk->target) == 0;
        if (!known && insert_volume(engine, tx, vm, disk, device_id, err) < 0)
            return -1;
        *changed |= !known;
        device_id++;
    }
    for (size_t k = 0; k < rows.count; k++) {
        if (hv_machine_find_disk(machine, rows.items[k].target) != NULL ||
            vm->managed != 0)
            continue;
        rows.items[k].removed = clock_wall_ms();
        if (state_volume_update(tx, &rows.items[k], err) < 0)
            return -1;
        *changed = true;
    }
    return 0;
}

/* -- sizes of disks that were not taken over ------------------------------- */

/* What the guest sees, by the format that the definition tells, never by
 * probing; 0 when that cannot be told cheaply. */
static uint64_t
disk_size(const struct hv_disk *disk)
{
    AUTO_FREE struct qcow2_info *info = NULL;
    struct error ignored = ERROR_INIT; /* a size for people */
    struct stat about;

    if (disk->source == NULL || disk->block || disk->network ||
        disk->format == NULL || inventory_excluded(disk) != NULL ||
        stat(disk->source, &about) < 0 || !S_ISREG(about.st_mode))
        return 0;
    if (strcmp(disk->format, "raw") == 0)
        return ((uint64_t)about.st_size + 511) / 512 * 512;
    if (strcmp(disk->format, "qcow2") != 0)
        return 0;
    info = xcalloc(1, sizeof(*info));
    return qcow2_read_info(disk->source, info, &ignored) == 0 ? info->size : 0;
}

/* Sizes of a machine's disks, in its order: read before the transaction. */
static uint64_t *
read_sizes(const struct hv_machine *machine)
{
    uint64_t *sizes = xcalloc(machine->disk_count + 1, sizeof(*sizes));

    for (size_t i = 0; i < machine->disk_count; i++)
        sizes[i] = disk_size(&machine->disks[i]);
    return sizes;
}

static int
refresh_sizes(struct state_tx *tx, int64_t vm_id,
              const struct hv_machine *machine, const uint64_t *sizes,
              bool *changed, struct error *err)
{
    AUTO_STATE_LIST(volume) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        STATE_INT("layer_id", 0), STATE_LIVING};

    if (state_volume_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t k = 0; k < rows.count; k++) {
        struct state_volume *row = &rows.items[k];

        for (size_t i = 0; i < machine->disk_count; i++) {
            if (sizes[i] == 0 || row->size == (int64_t)sizes[i] ||
                strcmp(machine->disks[i].target, row->target) != 0)
                continue;
            row->size = (int64_t)sizes[i];
            if (state_volume_update(tx, row, err) < 0)
                return -1;
            *changed = true;
        }
    }
    return 0;
}

/* Does the row say what the hypervisor does? */
static bool
is_fresh(const struct state_vm *row, const struct hv_machine *machine)
{
    return row->removed == 0 && row->memory == (int64_t)machine->memory_bytes &&
           row->vcpus == machine->vcpus && row->name != NULL &&
           strcmp(row->name, machine->name) == 0 && row->power != NULL &&
           strcmp(row->power, power_text(machine->state)) == 0;
}

/* *changed becomes true when anything was written. */
static int
refresh_one(struct engine *engine, struct state_tx *tx,
            const struct hv_machine *machine, const uint64_t *sizes,
            bool *changed, struct error *err)
{
    AUTO_STATE(vm) row = {0};
    AUTO_STATE(account) admin = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", machine->uuid)};
    const struct state_where admins[] = {STATE_INT("type", 1)};
    int found = state_vm_find(tx, where, 1, &row, err);

    if (found < 0)
        return -1;
    if (found == 0) {
        if (state_account_find(tx, admins, 1, &admin, err) < 0)
            return -1;
        row.account_id = admin.id;
        row.domain_id = admin.domain_id;
        row.host_id = engine->host_id;
        row.zone_id = engine->zone_id;
        row.created = clock_wall_ms();
        state_set_text(&row.uuid, machine->uuid);
    }
    if (found == 0 || !is_fresh(&row, machine)) {
        row.removed = 0;
        row.memory = (int64_t)machine->memory_bytes;
        row.vcpus = machine->vcpus;
        state_set_text(&row.name, machine->name);
        state_set_text(&row.power, power_text(machine->state));
        if (found == 0 ? state_vm_insert(tx, &row, err) < 0
                       : state_vm_update(tx, &row, err) < 0)
            return -1;
        *changed = true;
    }
    if (refresh_volumes(engine, tx, &row, machine, changed, err) < 0)
        return -1;
    return refresh_sizes(tx, row.id, machine, sizes, changed, err);
}

/* A self-test's guest is the business of that test's own engine alone. */
static bool
is_wanted(const struct engine *engine, const struct hv_machine *machine)
{
    return engine->only != NULL ? strcmp(engine->only, machine->uuid) == 0
                                : !self_test_is_guest(machine);
}

/* Machines that libvirt does not know any more. */
static int
mark_vanished(struct state_tx *tx, const struct hv_machine_list *machines,
              struct error *err)
{
    AUTO_STATE_LIST(vm) rows = {0};
    const struct state_where where[] = {STATE_LIVING};

    if (state_vm_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        struct state_vm *row = &rows.items[i];
        bool there = false;

        for (size_t k = 0; k < machines->count; k++)
            there |= strcmp(machines->items[k]->uuid, row->uuid) == 0;
        if (there)
            continue;
        state_set_text(&row->power, "Unknown");
        /* What is ours stays on record: the domain may come back. */
        if (row->managed == 0 && row->backup_offering_id == 0)
            row->removed = clock_wall_ms();
        else
            state_set_text(&row->problem,
                           "the hypervisor does not know this machine any "
                           "more; its points are kept");
        if (state_vm_update(tx, row, err) < 0)
            return -1;
    }
    return 0;
}

static int
refresh_all(struct engine *engine, const struct hv_machine_list *machines,
            uint64_t *const *sizes, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    bool changed = false;

    if (tx == NULL)
        return -1;
    for (size_t i = 0; i < machines->count; i++) {
        if (!is_wanted(engine, machines->items[i]))
            continue;
        if (refresh_one(engine, tx, machines->items[i], sizes[i], &changed,
                        err) < 0)
            return error_prefix(err, "machine '%s'", machines->items[i]->name);
    }
    if (mark_vanished(tx, machines, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
inventory_refresh(struct engine *engine, struct error *err)
{
    AUTO_HV_MACHINE_LIST struct hv_machine_list machines = {0};
    AUTO_FREE uint64_t **sizes = NULL;
    int result;

    if (hv_list(engine->hv, &machines, err) < 0)
        return -1;
    sizes = xcalloc(machines.count + 1, sizeof(*sizes));
    for (size_t i = 0; i < machines.count; i++)
        sizes[i] = read_sizes(machines.items[i]);
    result = refresh_all(engine, &machines, sizes, err);
    for (size_t i = 0; i < machines.count; i++)
        free(sizes[i]);
    return result;
}

int
inventory_refresh_machine(struct engine *engine, const char *vm_uuid,
                          struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE uint64_t *sizes = NULL;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    bool changed = false;

    if (hv_get(engine->hv, vm_uuid, &machine, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return inventory_refresh(engine, err);
    }
    if (!is_wanted(engine, machine))
        return 0;
    sizes = read_sizes(machine);
    tx = state_begin_write(engine->state, err);
    if (tx == NULL ||
        refresh_one(engine, tx, machine, sizes, &changed, err) < 0)
        return -1;
    return changed ? state_commit(tx, err) : 0;
}

int
inventory_look(struct engine *engine, const char *vm_uuid, struct error *err)
{
    if (vm_uuid == NULL || !uuid_is_valid(vm_uuid) ||
        inventory_refresh_machine(engine, vm_uuid, err) == 0)
        return 0; /* a malformed id is refused by the look-up */
    if (err->code != ERROR_UNAVAILABLE)
        return -1;
    error_clear(err);
    return 0;
}
