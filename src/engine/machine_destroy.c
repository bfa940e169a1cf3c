/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a machine (semantics 3.5): it is stopped, then its VM snapshots
 * are deleted, then it is Destroyed; a snapshot that cannot be deleted fails
 * the whole.  Its backups stay.
 *
 * Expunging goes on from there: the rows and, as intents, the files go in one
 * transaction, after the hypervisor has forgotten the machine.  Foreign files
 * and those that other images rest on are never touched.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/inventory.h"
#include "engine/lookup.h"
#include "engine/machine.h"
#include "engine/requests.h"
#include "engine/submit.h"
#include "engine/volume.h"

#include <errno.h>
#include <string.h>

static bool
is_destroyed(const struct state_vm *vm)
{
    return vm->state != NULL && strcmp(vm->state, "Destroyed") == 0;
}

int
machine_require_living(const struct state_vm *vm, struct error *err)
{
    if (!is_destroyed(vm))
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' is Destroyed; recover it first", vm->name);
}

int
request_vm_destroy(struct engine *engine, const struct caller *caller,
                   const char *vm, bool expunge, struct ticket *ret_ticket,
                   struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) row = {0};
    struct submit job = {.command = "destroyVirtualMachine", .vm = &row};

    if (tx == NULL || lookup_vm(tx, caller, vm, &row, err) < 0 ||
        (expunge &&
         lookup_require_root(caller, "expunging a machine", err) < 0))
        return -1;
    job.parameters = json_pack("{s:i}", "expunge", (int)expunge);
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_vm_recover(struct engine *engine, const struct caller *caller,
                   const char *vm, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) row = {0};

    if (tx == NULL || lookup_vm(tx, caller, vm, &row, err) < 0)
        return -1;
    if (!is_destroyed(&row))
        return error_set(err, ERROR_CONFLICT, "machine '%s' is not Destroyed",
                         row.name);
    state_set_text(&row.state, NULL);
    if (state_vm_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
set_destroyed(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) row = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &row, err) < 0)
        return -1;
    state_set_text(&row.state, "Destroyed");
    if (state_vm_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
stop(struct engine *engine, const char *uuid, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hv_get(engine->hv, uuid, &machine, err) < 0)
        return -1;
    if (machine->state != HV_STOPPED && hv_destroy(engine->hv, uuid, err) < 0)
        return -1;
    return inventory_refresh_machine(engine, uuid, err);
}

/* Stopped, without VM snapshots, on one layer for each disk. */
static int
destroy(struct job *job, int64_t vm_id, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;

    if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
        stop(engine, job->row.queue, err) < 0)
        return -1;
    if (tree->vm.managed != 0 &&
        (converge_begin(engine, job, vm_id, NULL, err) < 0 ||
         machine_drop_points(engine, vm_id, err) < 0 ||
         converge_machine(engine, job, vm_id, NULL, err) < 0))
        return -1;
    return set_destroyed(engine, vm_id, err);
}

/* The rows go; every file that is ours is written down to be unlinked. */
static int
forget(struct engine *engine, struct tree *tree, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) row = {0};

    if (tx == NULL || state_vm_get(tx, tree->vm.id, &row, err) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        tree->volumes[i].row.vm_id = 0;
        if (volume_drop(tx, &tree->volumes[i].row, err) < 0)
            return -1;
    }
    row.removed = clock_wall_ms();
    row.managed = 0;
    row.backup_offering_id = 0;
    state_set_text(&row.state, NULL); /* the same uuid may come back */
    state_set_text(&row.problem, NULL);
    if (state_vm_update(tx, &row, err) < 0)
        return -1;
    if (fault_here("machine.forget"))
        return error_set_errno(err, errno, "forget machine '%s'", row.name);
    return state_commit(tx, err);
}

static int
expunge(struct job *job, int64_t vm_id, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;

    if (tree_read(engine->state, vm_id, &tree, err) < 0)
        return -1;
    /* One that is gone already is what is wanted. */
    if (hv_undefine(engine->hv, job->row.queue, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    if (forget(engine, tree, err) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        if (volume_unlink_files(engine, tree->volumes[i].row.uuid, err) < 0)
            return -1;
    }
    return 0;
}

int
machine_run_destroy(struct job *job, struct error *err)
{
    int64_t vm_id = job_number(job, "vm");

    if (destroy(job, vm_id, err) < 0) {
        job_event(job, "VM.DESTROY", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VM.DESTROY", "INFO", job->row.queue);
    if (job_number(job, "expunge") == 0)
        return 0;
    if (expunge(job, vm_id, err) < 0) {
        job_event(job, "VM.EXPUNGE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VM.EXPUNGE", "INFO", job->row.queue);
    return 0;
}
