/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of VM snapshots.  Each is: begin (settle, check views), one retop
 * or one transaction as its commit point, then converge.
 */
#include "engine/vm_snapshot_internal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/merge.h"
#include "engine/operation.h"
#include "engine/pins.h"
#include "engine/reserve.h"
#include "engine/retop.h"
#include "engine/settings.h"

#include <errno.h>
#include <string.h>

#define NOT_SAVED                                                              \
    "the memory of machine '%s' was not saved whole; take the snapshot again"

bool
vm_snapshot_has_memory(const struct state_vm_snapshot *row)
{
    return row->type != NULL && strcmp(row->type, "DiskAndMemory") == 0;
}

int
vm_snapshot_enter(struct job *job, enum vm_snapshot_event event,
                  struct state_vm_snapshot *ret, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);

    if (tx == NULL ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), ret, err) < 0 ||
        vm_snapshot_apply(ret, event, err) < 0 ||
        state_vm_snapshot_update(tx, ret, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* While the journal holds a switch of the machine, settling decides. */
static bool
is_open(struct job *job, struct state_tx *tx)
{
    struct error ignored = ERROR_INIT; /* then it is left to settling, too */
    static const char *const kinds[] = {OPERATION_RETOP, OPERATION_SHOT};
    const struct state_where where[] = {STATE_TEXT("vm_uuid", job->row.queue),
                                        {.column = "kind",
                                         .op = STATE_IN_TEXT,
                                         .texts = kinds,
                                         .count = ARRAY_SIZE(kinds)}};
    uint64_t count = 1;

    if (state_operation_count(tx, STATE_QUERY(where), &count, &ignored) < 0)
        return true;
    return count > 0;
}

void
vm_snapshot_fall(struct job *job, enum vm_snapshot_event event,
                 const struct error *why)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, &ignored);
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL || is_open(job, tx) ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), &row, &ignored) <
            0 ||
        vm_snapshot_apply(&row, event, &ignored) < 0)
        return;
    state_set_text(&row.problem, why->message);
    if (state_vm_snapshot_update(tx, &row, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        return;
}

/* Say why the snapshot is still in its state. */
static void
note_problem(struct job *job, const struct error *why)
{
    struct error ignored = ERROR_INIT; /* the job has it too */
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, &ignored);
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL || state_vm_snapshot_get(tx, job_number(job, "snapshot"),
                                            &row, &ignored) < 0)
        return;
    state_set_text(&row.problem, why->message);
    if (state_vm_snapshot_update(tx, &row, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        return;
}

/* -- create ---------------------------------------------------------------- */

static int
keep_guest(struct job *job, struct retop *retop,
           const struct hv_machine *machine, struct error *err)
{
    bool memory = job_number(job, "memory") != 0;
    int64_t seconds = 0;

    if (memory && machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' is stopped and has no memory to save; "
                         "start it, or take a snapshot of the disks alone",
                         machine->name);
    if (memory && settings_get_int(job->engine->state, "vmsnapshot.create.wait",
                                   NULL, &seconds, err) < 0)
        return -1;
    /* What is not written yet is in the memory. */
    if (memory)
        retop->quiesce = false;
    return retop_keep_guest(job->engine, retop, machine, memory, seconds * 1000,
                            err);
}

/* The disks were switched, but there is no memory to go on from. */
static int
check_memory(const struct retop *retop, struct error *err)
{
    if (retop->guest.memory == NULL || retop->guest.is_saved)
        return 0;
    return error_set(err, ERROR_IO, NOT_SAVED, retop->vm_name);
}

static int
create(struct job *job, const struct hv_machine *machine, int64_t snapshot_id,
       struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");
    AUTO_TREE struct tree *tree = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct error why;

    if (tree_read(engine->state, vm_id, &tree, err) < 0)
        return -1;
    retop = retop_new(RETOP_VM_SNAPSHOT, snapshot_id, tree,
                      machine->state != HV_STOPPED);
    retop->quiesce = job_number(job, "quiesce") != 0;
    if (retop_add_overlays(retop, tree, err) < 0 ||
        keep_guest(job, retop, machine, err) < 0 ||
        reserve_check(engine, retop, err) < 0)
        return -1;
    job_step(job, "making overlays");
    if (retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0 ||
        retop_make_guest(retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    job_step(job,
             retop->guest.memory != NULL ? "saving memory" : "switching disks");
    if (retop_commit(engine, retop, err) < 0)
        return -1;
    return check_memory(retop, err);
}

/* Its own row counts.  The setting may have changed since the request. */
static int
check_count(struct job *job, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(job->engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, job_number(job, "vm"), &vm, err) < 0)
        return -1;
    return vm_snapshot_check_count(job->engine, tx, &vm, 0, err);
}

int
vm_snapshot_run_create(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    AUTO_SHOT struct shot *shot = NULL;

    if (check_count(job, err) < 0 || converge_adopt(job, &look, err) < 0 ||
        vm_snapshot_choose_storage(job, look.machine, &shot, err) < 0) {
        vm_snapshot_fall(job, VM_SNAPSHOT_NOT_BEGUN, err);
        job_event(job, "VMSNAPSHOT.CREATE", "ERROR", err->message);
        return -1;
    }
    if (vm_snapshot_enter(job, VM_SNAPSHOT_CREATE_REQUESTED, &row, err) < 0)
        return -1;
    if ((shot != NULL ? vm_snapshot_take_storage(job, shot, row.id, err)
                      : create(job, look.machine, row.id, err)) < 0) {
        vm_snapshot_fall(job, VM_SNAPSHOT_OPERATION_FAILED, err);
        job_event(job, "VMSNAPSHOT.CREATE", "ERROR", err->message);
        converge_tidy(job->engine, job, job_number(job, "vm"));
        return -1;
    }
    job_event(job, "VMSNAPSHOT.CREATE", "INFO", row.display_name);
    return 0;
}

int
vm_snapshot_clear_current(struct state_tx *tx, int64_t vm_id,
                          int64_t *ret_current, struct error *err)
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

int
vm_snapshot_pin(struct state_tx *tx, const struct state_vm_snapshot *row,
                const struct vm_snapshot_member *member, struct error *err)
{
    AUTO_STATE(vm_snapshot_volume)
    volume = {.vm_snapshot_id = row->id,
              .volume_id = member->volume_id,
              .layer_id = member->layer_id,
              .virtual_size = (int64_t)member->size};
    struct error ignored = ERROR_INIT; /* a size for people */
    uint64_t bytes = 0;

    if (fd_allocated(member->path, &bytes, &ignored) == 0)
        volume.physical_size = (int64_t)bytes;
    if (pins_add(tx, VM_SNAPSHOT_PIN, row->id, member->layer_id, err) < 0)
        return -1;
    return state_vm_snapshot_volume_insert(tx, &volume, err);
}

int
vm_snapshot_become_ready(struct state_tx *tx, struct state_vm_snapshot *row,
                         int64_t vm_id, bool quiesced, struct error *err)
{
    AUTO_STATE(vm) vm = {0};

    if (vm_snapshot_apply(row, VM_SNAPSHOT_OPERATION_SUCCEEDED, err) < 0 ||
        state_vm_get(tx, vm_id, &vm, err) < 0 ||
        vm_snapshot_clear_current(tx, vm_id, &row->parent_id, err) < 0)
        return -1;
    row->is_current = 1;
    /* It may have been scaled since the snapshot was asked for. */
    row->service_offering_id = vm.service_offering_id;
    row->vcpus = vm.vcpus;
    row->memory = vm.memory;
    row->quiesced = quiesced;
    state_set_text(&row->problem, NULL);
    if (vm_snapshot_usage(tx, row, "VMSNAPSHOT.CREATE", "VMSNAPSHOT.ON_PRIMARY",
                          err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, row, err);
}

/* Without its memory it is none: the layers go again, and so do its files. */
static int
finish_without_memory(struct state_tx *tx, const struct retop *retop,
                      struct state_vm_snapshot *row, struct error *err)
{
    AUTO_FREE char *problem = xasprintf(NOT_SAVED, retop->vm_name);

    state_set_text(&row->problem, problem);
    state_set_text(&row->memory_path, retop->guest.memory);
    state_set_text(&row->nvram_path, retop->guest.nvram_copy);
    if (vm_snapshot_apply(row, VM_SNAPSHOT_OPERATION_FAILED, err) < 0 ||
        vm_snapshot_drop_files(tx, row, retop->vm_uuid, err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, row, err);
}

static void
set_guest(struct state_vm_snapshot *row, const struct retop_guest *guest)
{
    state_set_text(&row->nvram_path, guest->nvram_copy);
    if (guest->memory == NULL)
        return;
    state_set_text(&row->memory_path, guest->memory);
    state_set_text(&row->memory_digest, guest->saved.digest);
    row->memory_size = (int64_t)guest->saved.size;
    row->memory_pause_ms = guest->pause_ms;
}

static int
finish_create(struct engine *engine, struct state_tx *tx,
              const struct retop *retop, const int64_t *layers,
              struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    (void)engine;
    (void)layers;
    if (state_vm_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    if (retop->guest.memory != NULL && !retop->guest.is_saved)
        return finish_without_memory(tx, retop, &row, err);
    set_guest(&row, &retop->guest);
    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];
        const struct vm_snapshot_member member = {.volume_id = disk->volume_id,
                                                  .layer_id = disk->old_layer,
                                                  .path = disk->old_path,
                                                  .size = disk->size};

        if (vm_snapshot_pin(tx, &row, &member, err) < 0)
            return -1;
    }
    return vm_snapshot_become_ready(tx, &row, retop->vm_id, retop->quiesce,
                                    err);
}

int
vm_snapshot_undo(struct engine *engine, struct state_tx *tx,
                 const struct retop *retop, const struct error *why,
                 struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    (void)engine;
    if (state_vm_snapshot_get(tx, retop->owner, &row, err) < 0 ||
        vm_snapshot_apply(&row, VM_SNAPSHOT_OPERATION_FAILED, err) < 0)
        return -1;
    state_set_text(&row.problem, why->message);
    return state_vm_snapshot_update(tx, &row, err);
}

const struct retop_owner retop_owner_vm_snapshot = {
    .name = "VM snapshot", .finish = finish_create, .undo = vm_snapshot_undo};

/* -- delete ---------------------------------------------------------------- */

static int
give_up(struct state_tx *tx, const char *path, const char *vm_uuid,
        struct error *err)
{
    json_t *payload = json_pack("{s:s}", "path", path);
    int64_t operation;
    int result = operation_insert(tx, OPERATION_UNLINK, vm_uuid,
                                  OPERATION_FINISH, payload, &operation, err);

    json_decref(payload);
    return result;
}

int
vm_snapshot_drop_files(struct state_tx *tx, struct state_vm_snapshot *row,
                       const char *vm_uuid, struct error *err)
{
    if (row->memory_path != NULL &&
        give_up(tx, row->memory_path, vm_uuid, err) < 0)
        return -1;
    if (row->nvram_path != NULL &&
        give_up(tx, row->nvram_path, vm_uuid, err) < 0)
        return -1;
    state_set_text(&row->memory_path, NULL);
    state_set_text(&row->nvram_path, NULL);
    return 0;
}

int
vm_snapshot_expunge(struct state_tx *tx, struct state_vm_snapshot *row,
                    const char *vm_uuid, struct error *err)
{
    const struct state_where where[] = {
        STATE_TEXT("owner_kind", VM_SNAPSHOT_PIN),
        STATE_INT("owner_id", row->id)};
    uint64_t pins = 0;

    /* A deletion that is repeated is charged once. */
    if (vm_snapshot_apply(row, VM_SNAPSHOT_EXPUNGE_REQUESTED, err) < 0 ||
        state_pin_count(tx, STATE_QUERY(where), &pins, err) < 0 ||
        (pins > 0 && vm_snapshot_usage(tx, row, "VMSNAPSHOT.DELETE",
                                       "VMSNAPSHOT.OFF_PRIMARY", err) < 0) ||
        pins_drop(tx, VM_SNAPSHOT_PIN, row->id, err) < 0 ||
        vm_snapshot_drop_files(tx, row, vm_uuid, err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, row, err);
}

/* One transaction: from here on it can only be deleted. */
static int
enter_expunging(struct job *job, struct state_vm_snapshot *ret,
                struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);

    if (tx == NULL ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), ret, err) < 0)
        return -1;
    if (vm_snapshot_expunge(tx, ret, job->row.queue, err) < 0)
        return -1;
    if (fault_here("snapshot.unpin"))
        return error_set_errno(err, errno, "unpin a VM snapshot");
    return state_commit(tx, err);
}

static int
is_removed(struct job *job, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(job->engine->state, err);
    AUTO_STATE(vm_snapshot) row = {0};

    if (tx == NULL ||
        state_vm_snapshot_get(tx, job_number(job, "snapshot"), &row, err) < 0)
        return -1;
    return strcmp(row.state, "Removed") == 0;
}

int
vm_snapshot_run_delete(struct job *job, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    int64_t vm_id = job_number(job, "vm");
    int gone;

    /* What is refused before anything was touched changes no state. */
    if (converge_begin(job->engine, job, vm_id, &look, err) < 0 ||
        (gone = is_removed(job, err)) < 0 ||
        (gone == 0 && enter_expunging(job, &row, err) < 0)) {
        job_event(job, "VMSNAPSHOT.DELETE", "ERROR", err->message);
        return -1;
    }
    if (gone > 0)
        return 0; /* an earlier deletion of it has come to its end */
    if (fault_here("snapshot.expunged"))
        return error_set_errno(err, errno, "deletion of a VM snapshot");
    if (converge_machine(job->engine, job, vm_id, &look, err) < 0) {
        /* Where the merge goes on, so does the deletion. */
        if (merge_goes_on(job->engine, job->row.queue, err))
            note_problem(job, err);
        else
            vm_snapshot_fall(job, VM_SNAPSHOT_OPERATION_FAILED, err);
        job_event(job, "VMSNAPSHOT.DELETE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VMSNAPSHOT.DELETE", "INFO", row.display_name);
    return 0;
}
