/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reverting.  What the machine would go on from is looked at first; then new
 * overlays are made on the snapshot's layers and the machine is switched to
 * them in one retop, which also ends it if it runs and starts it from its
 * saved memory.
 */
#include "engine/vm_snapshot_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/inventory.h"
#include "engine/machine.h"
#include "engine/reserve.h"
#include "engine/retop.h"
#include "engine/saved_memory.h"

#include <string.h>

/* A snapshot that a storage made is never rested on: it becomes a new disk. */
static void
add_member(struct retop *retop, struct tree_volume *volume,
           const struct state_layer *layer, uint64_t size)
{
    struct retop_disk *disk;

    if (layer->storage == NULL) {
        (void)retop_add(retop, volume, layer, "qcow2", size);
        return;
    }
    disk = retop_add(retop, volume, NULL, layer->format, size);
    disk->source = xstrdup(layer->path);
    disk->storage = xstrdup(layer->storage);
}

/* For each member a new top file: an overlay on the snapshot's layer, or a
 * clone of it. */
static int
add_members(struct engine *engine, struct retop *retop, struct tree *tree,
            int64_t snapshot_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(vm_snapshot_volume) members = {0};
    const struct state_where where[] = {
        STATE_INT("vm_snapshot_id", snapshot_id)};

    if (tx == NULL || state_vm_snapshot_volume_list(tx, STATE_QUERY(where),
                                                    &members, err) < 0)
        return -1;
    for (size_t i = 0; i < members.count; i++) {
        const struct state_vm_snapshot_volume *member = &members.items[i];
        struct tree_volume *volume = tree_find_volume(tree, member->volume_id);
        struct state_layer *layer =
            volume != NULL ? tree_find_layer(volume, member->layer_id) : NULL;

        if (layer == NULL)
            return error_set(err, ERROR_CONFLICT,
                             "a volume of the VM snapshot is not attached to "
                             "machine '%s' any more",
                             tree->vm.name);
        add_member(retop, volume, layer, (uint64_t)member->virtual_size);
    }
    return 0;
}

/* A guest that goes on has exactly the disks that it had. */
static int
check_members(const struct retop *retop, const struct tree *tree,
              const struct state_vm_snapshot *row, struct error *err)
{
    if (!vm_snapshot_has_memory(row) || retop->count == tree->count)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has %zu volumes and had %zu when its memory "
                     "was saved; detach what was attached since",
                     tree->vm.name, tree->count, retop->count);
}

static int
check_power(const struct job *job, const struct state_vm_snapshot *row,
            const struct hv_machine *machine, struct error *err)
{
    bool running = machine->state != HV_STOPPED;

    if (machine->state == HV_STOPPING)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is stopping",
                         machine->name);
    if (running == vm_snapshot_has_memory(row) ||
        job_number(job, "changePower") != 0)
        return 0;
    return error_set(err, ERROR_CONFLICT, VM_SNAPSHOT_POWER_TEXT, machine->name,
                     hv_state_name(machine->state),
                     running ? "a disk-only" : "this",
                     running ? "stop" : "start");
}

/* What the machine goes on from is looked at before anything is lost. */
static int
add_guest(struct job *job, struct retop *retop,
          const struct state_vm_snapshot *row, const struct hv_machine *machine,
          struct error *err)
{
    retop->guest.must_end = machine->state != HV_STOPPED;
    if (row->nvram_path != NULL)
        retop_put_nvram(retop, machine, row->nvram_path);
    if (!vm_snapshot_has_memory(row))
        return 0;
    if (row->memory_path == NULL)
        return error_set(err, ERROR_CORRUPT,
                         "VM snapshot '%s' has lost its memory",
                         row->display_name);
    retop->guest.memory = xstrdup(row->memory_path);
    job_step(job, "checking memory");
    if (saved_memory_verify(row->memory_path, (uint64_t)row->memory_size,
                            row->memory_digest, err) < 0)
        return -1;
    return hv_check_memory(job->engine->hv, machine->uuid, row->memory_path,
                           err);
}

static int
revert(struct job *job, const struct hv_machine *machine,
       const struct state_vm_snapshot *row, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");
    AUTO_TREE struct tree *tree = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct error why = ERROR_INIT;

    if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
        check_power(job, row, machine, err) < 0)
        return -1;
    retop = retop_new(RETOP_REVERT, row->id, tree, false);
    if (add_members(engine, retop, tree, row->id, err) < 0 ||
        check_members(retop, tree, row, err) < 0 ||
        add_guest(job, retop, row, machine, err) < 0 ||
        reserve_check(engine, retop, err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    job_step(job, retop->guest.memory != NULL ? "restoring memory"
                                              : "switching disks");
    if (retop_commit(engine, retop, err) == 0) {
        /* It is done; what the definition lags behind is in the journal. */
        if (machine_finish_compute(engine, tree->vm.uuid, &why) < 0)
            log_warning("settling-postponed", "error='%s'", why.message);
        return 0;
    }
    return retop->guest.must_end && err->code != ERROR_UNAVAILABLE
               ? error_prefix(err, "the machine was ended and reads as before")
               : -1;
}

int
vm_snapshot_run_revert(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    struct error ignored = ERROR_INIT; /* the event tells it too */
    int result;

    if (converge_begin(job->engine, job, job_number(job, "vm"), &look, err) <
            0 ||
        vm_snapshot_enter(job, VM_SNAPSHOT_REVERT_REQUESTED, &row, err) < 0) {
        job_event(job, "VMSNAPSHOT.REVERTTO", "ERROR", err->message);
        return -1;
    }
    result = revert(job, look.machine, &row, err);
    (void)!inventory_refresh_machine(job->engine, job->row.queue, &ignored);
    if (result < 0) {
        vm_snapshot_fall(job, VM_SNAPSHOT_OPERATION_FAILED, err);
        job_event(job, "VMSNAPSHOT.REVERTTO", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VMSNAPSHOT.REVERTTO", "INFO", row.display_name);
    converge_tidy_later(job->engine, job, job_number(job, "vm"));
    return 0;
}

static int
finish_revert(struct engine *engine, struct state_tx *tx,
              const struct retop *retop, const int64_t *layers,
              struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};
    int64_t old_current;

    (void)engine;
    (void)layers;
    if (vm_snapshot_clear_current(tx, retop->vm_id, &old_current, err) < 0 ||
        state_vm_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    row.is_current = 1;
    if (vm_snapshot_apply(&row, VM_SNAPSHOT_OPERATION_SUCCEEDED, err) < 0)
        return -1;
    if (vm_snapshot_usage(tx, &row, "VMSNAPSHOT.REVERTTO", NULL, err) < 0 ||
        machine_recall_compute(tx, &row, err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, &row, err);
}

const struct retop_owner retop_owner_revert = {
    .name = "revert", .finish = finish_revert, .undo = vm_snapshot_undo};
