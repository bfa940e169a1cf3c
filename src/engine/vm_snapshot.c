/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of VM snapshots.  Each is: begin (settle, check views), one retop
 * or one transaction as its commit point, then converge.
 */
#include "engine/vm_snapshot.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/inventory.h"
#include "engine/reserve.h"
#include "engine/retop.h"

#include <errno.h>
#include <string.h>

/* Read the job's snapshot row and put it into `state`. */
static int
enter_state(struct job *job, const char *state, struct state_vm_snapshot *ret,
            struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);

    if (tx == NULL ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), ret, err) < 0)
        return -1;
    if (!vm_snapshot_may_go(ret->state, state))
        return error_set(err, ERROR_CONFLICT,
                         "VM snapshot '%s' is %s and cannot become %s",
                         ret->display_name, ret->state, state);
    state_set_text(&ret->state, state);
    if (state_vm_snapshot_update(tx, ret, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* Put the snapshot into `state` after a failure, with the reason. */
static void
fall_to(struct job *job, const char *state, const struct error *why)
{
    struct error ignored = ERROR_INIT; /* settled at the next start */
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, &ignored);
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), &row, &ignored) <
            0 ||
        !vm_snapshot_may_go(row.state, state))
        return;
    state_set_text(&row.state, state);
    state_set_text(&row.problem, why->message);
    if (strcmp(state, "Removed") == 0)
        row.removed = clock_wall_ms();
    if (state_vm_snapshot_update(tx, &row, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        return;
}

/* -- create ---------------------------------------------------------------- */

static int
create(struct job *job, int64_t snapshot_id, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct error why;

    if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    retop = retop_new(RETOP_VM_SNAPSHOT, snapshot_id, tree,
                      machine->state != HV_STOPPED);
    retop->quiesce = job_number(job, "quiesce") != 0;
    if (retop_add_overlays(retop, tree, err) < 0 ||
        reserve_check(engine, retop, err) < 0)
        return -1;
    job_step(job, "making overlays");
    if (retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    job_step(job, "switching disks");
    return retop_commit(engine, retop, err);
}

int
vm_snapshot_run_create(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    if (inventory_adopt(job->engine, job_number(job, "vm"), err) < 0 ||
        converge_begin(job->engine, job, job_number(job, "vm"), err) < 0) {
        fall_to(job, "Removed", err);
        job_event(job, "VMSNAPSHOT.CREATE", "ERROR", err->message);
        return -1;
    }
    if (enter_state(job, "Creating", &row, err) < 0)
        return -1;
    if (create(job, row.id, err) < 0) {
        /* While the journal holds it, settling decides. */
        if (err->code != ERROR_UNAVAILABLE)
            fall_to(job, "Error", err);
        job_event(job, "VMSNAPSHOT.CREATE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VMSNAPSHOT.CREATE", "INFO", row.display_name);
    return 0;
}

static int
clear_current(struct state_tx *tx, int64_t vm_id, int64_t *ret_current,
              struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const struct state_where where[] = {
        STATE_INT("vm_id", vm_id), STATE_INT("is_current", 1), STATE_LIVING};

    *ret_current = 0;
    if (state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        *ret_current = rows.items[i].id;
        rows.items[i].is_current = 0;
        if (state_vm_snapshot_update(tx, &rows.items[i], err) < 0)
            return -1;
    }
    return 0;
}

static int
pin_layer(struct state_tx *tx, const struct state_vm_snapshot *row,
          const struct retop_disk *disk, struct error *err)
{
    AUTO_STATE(pin) pin = {.layer_id = disk->old_layer, .owner_id = row->id};
    AUTO_STATE(vm_snapshot_volume)
    member = {.vm_snapshot_id = row->id,
              .volume_id = disk->volume_id,
              .layer_id = disk->old_layer,
              .virtual_size = (int64_t)disk->size};
    struct error ignored = ERROR_INIT; /* a size for people */
    uint64_t bytes = 0;

    if (fd_allocated(disk->old_path, &bytes, &ignored) == 0)
        member.physical_size = (int64_t)bytes;
    state_set_text(&pin.owner_kind, VM_SNAPSHOT_PIN);
    if (state_pin_insert(tx, &pin, err) < 0 ||
        state_vm_snapshot_volume_insert(tx, &member, err) < 0)
        return -1;
    return events_usage(tx, "VMSNAPSHOT.CREATE", row->account_id, row->uuid,
                        row->display_name, member.physical_size,
                        member.virtual_size, err);
}

static int
finish_create(struct engine *engine, struct state_tx *tx,
              const struct retop *retop, const int64_t *layers,
              struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    (void)engine;
    (void)layers;
    if (state_vm_snapshot_get(tx, retop->owner, &row, err) < 0 ||
        clear_current(tx, retop->vm_id, &row.parent_id, err) < 0)
        return -1;
    row.is_current = 1;
    row.quiesced = retop->quiesce;
    state_set_text(&row.state, "Ready");
    state_set_text(&row.problem, NULL);
    for (size_t i = 0; i < retop->count; i++) {
        if (pin_layer(tx, &row, &retop->disks[i], err) < 0)
            return -1;
    }
    return state_vm_snapshot_update(tx, &row, err);
}

static int
undo_create(struct engine *engine, struct state_tx *tx,
            const struct retop *retop, const struct error *why,
            struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    (void)engine;
    if (state_vm_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    state_set_text(&row.state, "Error");
    state_set_text(&row.problem, why->message);
    return state_vm_snapshot_update(tx, &row, err);
}

const struct retop_owner retop_owner_vm_snapshot = {
    .name = "VM snapshot", .finish = finish_create, .undo = undo_create};

/* -- revert ---------------------------------------------------------------- */

/* For each member a new overlay on the snapshot's layer. */
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
        (void)retop_add(retop, volume, layer, "qcow2",
                        (uint64_t)member->virtual_size);
    }
    return 0;
}

static int
revert(struct job *job, int64_t snapshot_id, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct error why;

    if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    if (machine->state != HV_STOPPED)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' is %s; stop it before reverting",
                         tree->vm.name, hv_state_name(machine->state));
    retop = retop_new(RETOP_REVERT, snapshot_id, tree, false);
    if (add_members(engine, retop, tree, snapshot_id, err) < 0 ||
        reserve_check(engine, retop, err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    return retop_commit(engine, retop, err);
}

int
vm_snapshot_run_revert(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    if (converge_begin(job->engine, job, job_number(job, "vm"), err) < 0 ||
        enter_state(job, "Reverting", &row, err) < 0) {
        job_event(job, "VMSNAPSHOT.REVERTTO", "ERROR", err->message);
        return -1;
    }
    if (revert(job, row.id, err) < 0) {
        if (err->code != ERROR_UNAVAILABLE)
            fall_to(job, "Ready", err);
        job_event(job, "VMSNAPSHOT.REVERTTO", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VMSNAPSHOT.REVERTTO", "INFO", row.display_name);
    converge_tidy(job->engine, job, job_number(job, "vm"));
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
    if (clear_current(tx, retop->vm_id, &old_current, err) < 0 ||
        state_vm_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    row.is_current = 1;
    state_set_text(&row.state, "Ready");
    return state_vm_snapshot_update(tx, &row, err);
}

static int
undo_revert(struct engine *engine, struct state_tx *tx,
            const struct retop *retop, const struct error *why,
            struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    (void)engine;
    if (state_vm_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    state_set_text(&row.state, "Ready");
    state_set_text(&row.problem, why->message);
    return state_vm_snapshot_update(tx, &row, err);
}

const struct retop_owner retop_owner_revert = {
    .name = "revert", .finish = finish_revert, .undo = undo_revert};

/* -- delete ---------------------------------------------------------------- */

int
vm_snapshot_drop_pins(struct state_tx *tx, int64_t snapshot_id,
                      struct error *err)
{
    AUTO_STATE_LIST(pin) pins = {0};
    const struct state_where where[] = {
        STATE_TEXT("owner_kind", VM_SNAPSHOT_PIN),
        STATE_INT("owner_id", snapshot_id)};

    if (state_pin_list(tx, STATE_QUERY(where), &pins, err) < 0)
        return -1;
    for (size_t i = 0; i < pins.count; i++) {
        if (state_pin_delete(tx, pins.items[i].id, err) < 0)
            return -1;
    }
    return 0;
}

static int
unpin(struct engine *engine, int64_t snapshot_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL || vm_snapshot_drop_pins(tx, snapshot_id, err) < 0)
        return -1;
    if (fault_here("snapshot.unpin"))
        return error_set_errno(err, errno, "unpin a VM snapshot");
    return state_commit(tx, err);
}

static int
delete_snapshot(struct job *job, int64_t snapshot_id, struct error *err)
{
    if (unpin(job->engine, snapshot_id, err) < 0)
        return -1;
    return converge_machine(job->engine, job, job_number(job, "vm"), err);
}

int
vm_snapshot_run_delete(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    /* What is refused before anything was touched changes no state. */
    if (converge_begin(job->engine, job, job_number(job, "vm"), err) < 0 ||
        enter_state(job, "Expunging", &row, err) < 0) {
        job_event(job, "VMSNAPSHOT.DELETE", "ERROR", err->message);
        return -1;
    }
    if (delete_snapshot(job, row.id, err) < 0) {
        fall_to(job, "Error", err);
        job_event(job, "VMSNAPSHOT.DELETE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VMSNAPSHOT.DELETE", "INFO", row.display_name);
    return 0;
}
