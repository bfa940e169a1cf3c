/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of semantics 2.3 and 3.3, in their order; they are repeated by the
 * job where the machine may have changed meanwhile.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/hypervisor.h"
#include "engine/inventory.h"
#include "engine/job.h"
#include "engine/lookup.h"
#include "engine/requests.h"
#include "engine/settings.h"
#include "engine/snapshot.h"
#include "engine/submit.h"
#include "engine/vm_snapshot_internal.h"

#include <string.h>

#define TEXT_MAX 255

static int
check_text(const char *what, const char *text, struct error *err)
{
    if (text != NULL && strlen(text) > TEXT_MAX)
        return error_set(err, ERROR_INVALID,
                         "the %s has more than %d characters", what, TEXT_MAX);
    return 0;
}

/* Another VM-snapshot operation of the machine, or one on a snapshot of its
 * volumes, named in the error. */
static int
check_none_active(struct state_tx *tx, const struct state_vm *vm,
                  struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) others = {0};
    const struct state_vm_snapshot *other;

    if (vm_snapshot_list_active(tx, vm->id, &others, err) < 0)
        return -1;
    if (others.count == 0)
        return snapshot_check_idle(tx, vm, err);
    other = &others.items[0];
    return error_set(err, ERROR_BUSY,
                     "machine '%s': VM snapshot '%s' (%s) is %s; wait for it, "
                     "or delete it if it stays so",
                     vm->name, other->display_name, other->uuid, other->state);
}

static int
check_power(const struct state_vm *vm, struct error *err)
{
    if (strcmp(vm->power, "Running") == 0 ||
        strcmp(vm->power, "Stopped") == 0 || strcmp(vm->power, "Paused") == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' is %s; it must be Running or Stopped",
                     vm->name, vm->power);
}

static int
check_has_memory(const struct state_vm *vm, struct error *err)
{
    if (strcmp(vm->power, "Stopped") != 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' is Stopped and has no memory to save; start "
                     "it, or leave snapshotmemory out",
                     vm->name);
}

int
vm_snapshot_check_count(struct engine *engine, struct state_tx *tx,
                        const struct state_vm *vm, uint64_t more,
                        struct error *err)
{
    const struct state_where all[] = {STATE_INT("vm_id", vm->id), STATE_LIVING};
    uint64_t count = 0;
    int64_t max = 0;

    if (settings_get_int(engine->state, "vmsnapshot.max", NULL, &max, err) <
            0 ||
        state_vm_snapshot_count(tx, STATE_QUERY(all), &count, err) < 0)
        return -1;
    if (max < 0 || count + more <= (uint64_t)max)
        return 0;
    return error_set(err, ERROR_LIMIT,
                     "machine '%s' has %llu VM snapshots, and vmsnapshot.max "
                     "is %lld; delete one first",
                     vm->name, (unsigned long long)count, (long long)max);
}

static int
check_create(struct engine *engine, struct state_tx *tx,
             const struct state_vm *vm, const struct request_vm_snapshot *args,
             struct error *err)
{
    AUTO_STATE(vm_snapshot) same = {0};
    const struct state_where names[] = {STATE_INT("vm_id", vm->id),
                                        STATE_LIVING,
                                        STATE_TEXT("display_name", args->name)};

    if (hypervisor_check_vm_snapshots(tx, vm, err) < 0 ||
        check_text("name", args->name, err) < 0 ||
        check_text("description", args->description, err) < 0)
        return -1;
    if (args->name != NULL) {
        int found = state_vm_snapshot_find(tx, names, 3, &same, err);

        if (found < 0)
            return -1;
        if (found > 0)
            return error_set(err, ERROR_INVALID,
                             "machine '%s' has a VM snapshot named '%s' "
                             "already",
                             vm->name, args->name);
    }
    if (check_power(vm, err) < 0 ||
        (args->memory && check_has_memory(vm, err) < 0) ||
        check_none_active(tx, vm, err) < 0 ||
        (!args->memory && snapshot_check_none(engine, tx, vm, err) < 0))
        return -1;
    return vm_snapshot_check_count(engine, tx, vm, 1, err);
}

static int
insert_row(struct state_tx *tx, const struct state_vm *vm,
           const struct request_vm_snapshot *args,
           struct state_vm_snapshot *row, struct error *err)
{
    char stamp[CLOCK_TEXT_SIZE];
    AUTO_FREE char *name = NULL;
    struct uuid uuid;

    uuid_new(&uuid);
    row->created = clock_wall_ms();
    row->vm_id = vm->id;
    row->account_id = vm->account_id;
    row->domain_id = vm->domain_id;
    name = xasprintf("%s_VS_%s", vm->name,
                     clock_format_compact(row->created, stamp));
    state_set_text(&row->uuid, uuid.text);
    state_set_text(&row->name, name);
    state_set_text(&row->display_name, args->name != NULL ? args->name : name);
    state_set_text(&row->description, args->description);
    state_set_text(&row->type, args->memory ? "DiskAndMemory" : "Disk");
    row->memory_pause_ms = -1;
    state_set_text(&row->state, "Allocated");
    return state_vm_snapshot_insert(tx, row, err);
}

/* `parameters` (owned) are what the job must know beside machine and row. */
static int
submit(struct engine *engine, struct state_tx *tx, const struct caller *caller,
       const char *command, const struct state_vm *vm,
       const struct state_vm_snapshot *row, json_t *parameters,
       struct ticket *ret_ticket, struct error *err)
{
    const struct submit job = {.command = command,
                               .vm = vm,
                               .type = "VmSnapshot",
                               .uuid = row->uuid,
                               .parameters = parameters};

    (void)json_object_set_new(parameters, "snapshot", json_integer(row->id));
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_vm_snapshot_create(struct engine *engine, const struct caller *caller,
                           const struct request_vm_snapshot *args,
                           struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(vm_snapshot) row = {0};

    if (inventory_look(engine, args->vm, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || lookup_vm(tx, caller, args->vm, &vm, err) < 0 ||
        check_create(engine, tx, &vm, args, err) < 0 ||
        insert_row(tx, &vm, args, &row, err) < 0)
        return -1;
    return submit(engine, tx, caller, "createVMSnapshot", &vm, &row,
                  json_pack("{s:i, s:i, s:i}", "quiesce", (int)args->quiesce,
                            "memory", (int)args->memory, "crashConsistent",
                            (int)args->crash_consistent),
                  ret_ticket, err);
}

/* Look at the machine that a snapshot is of, if there is such a snapshot. */
static int
look_at_machine(struct engine *engine, const struct caller *caller,
                const char *vm_snapshot, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL ||
        lookup_vm_snapshot(tx, caller, vm_snapshot, &row, err) < 0 ||
        state_vm_get(tx, row.vm_id, &vm, err) < 0)
        return -1;
    state_end(steal(&tx));
    return inventory_look(engine, vm.uuid, err);
}

/* Would it end in another power state than the machine has now? */
static int
check_change_of_power(struct engine *engine, const struct state_vm *vm,
                      const struct state_vm_snapshot *row, bool *change,
                      struct error *err)
{
    bool running = strcmp(vm->power, "Stopped") != 0;

    if (!*change &&
        settings_get_bool(engine->state, "vmsnapshot.revert.power.change", NULL,
                          change, err) < 0)
        return -1;
    if (*change || running == vm_snapshot_has_memory(row))
        return 0;
    return error_set(err, ERROR_CONFLICT, VM_SNAPSHOT_POWER_TEXT, vm->name,
                     vm->power, running ? "a disk-only" : "this",
                     running ? "stop" : "start");
}

int
request_vm_snapshot_revert(struct engine *engine, const struct caller *caller,
                           const char *vm_snapshot, bool change_power,
                           struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(vm_snapshot) row = {0};

    if (look_at_machine(engine, caller, vm_snapshot, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL ||
        lookup_vm_snapshot(tx, caller, vm_snapshot, &row, err) < 0 ||
        state_vm_get(tx, row.vm_id, &vm, err) < 0 || check_power(&vm, err) < 0)
        return -1;
    if (strcmp(row.state, "Ready") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "VM snapshot '%s' is %s; only a Ready one can be "
                         "reverted to",
                         row.display_name, row.state);
    if (check_change_of_power(engine, &vm, &row, &change_power, err) < 0 ||
        check_none_active(tx, &vm, err) < 0)
        return -1;
    return submit(engine, tx, caller, "revertToVMSnapshot", &vm, &row,
                  json_pack("{s:i}", "changePower", (int)change_power),
                  ret_ticket, err);
}

int
request_vm_snapshot_delete(struct engine *engine, const struct caller *caller,
                           const char *vm_snapshot, struct ticket *ret_ticket,
                           struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL ||
        lookup_vm_snapshot(tx, caller, vm_snapshot, &row, err) < 0 ||
        state_vm_get(tx, row.vm_id, &vm, err) < 0)
        return -1;
    /* The same snapshot may be deleted again if its deletion got stuck. */
    if (vm_snapshot_next(row.state, VM_SNAPSHOT_EXPUNGE_REQUESTED) == NULL)
        return error_set(err, ERROR_CONFLICT,
                         "VM snapshot '%s' is %s and cannot be deleted now",
                         row.display_name, row.state);
    if (strcmp(row.state, "Expunging") != 0 &&
        check_none_active(tx, &vm, err) < 0)
        return -1;
    return submit(engine, tx, caller, "deleteVMSnapshot", &vm, &row,
                  json_object(), ret_ticket, err);
}
