/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/machine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/events.h"
#include "engine/hold.h"
#include "engine/inventory.h"
#include "engine/lookup.h"
#include "engine/requests.h"
#include "engine/submit.h"
#include "engine/tree.h"
#include "engine/vm_snapshot.h"

#include <string.h>

/* How long a guest may take to end when it is asked to. */
#define SHUTDOWN_MS 120000

static int
submit(struct engine *engine, const struct caller *caller, const char *command,
       const char *vm, bool forced, struct ticket *ret_ticket,
       struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) row = {0};
    struct submit job = {.command = command, .vm = &row};

    if (tx == NULL || lookup_vm(tx, caller, vm, &row, err) < 0 ||
        (strcmp(command, "startVirtualMachine") == 0 &&
         machine_require_living(&row, err) < 0))
        return -1;
    job.parameters = json_pack("{s:i}", "forced", (int)forced);
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_vm_start(struct engine *engine, const struct caller *caller,
                 const char *vm, struct ticket *ret_ticket, struct error *err)
{
    return submit(engine, caller, "startVirtualMachine", vm, false, ret_ticket,
                  err);
}

int
request_vm_stop(struct engine *engine, const struct caller *caller,
                const char *vm, bool forced, struct ticket *ret_ticket,
                struct error *err)
{
    return submit(engine, caller, "stopVirtualMachine", vm, forced, ret_ticket,
                  err);
}

int
request_vm_reboot(struct engine *engine, const struct caller *caller,
                  const char *vm, struct ticket *ret_ticket, struct error *err)
{
    return submit(engine, caller, "rebootVirtualMachine", vm, false, ret_ticket,
                  err);
}

int
request_vm_release(struct engine *engine, const struct caller *caller,
                   const char *vm, struct ticket *ret_ticket, struct error *err)
{
    return submit(engine, caller, "releaseVirtualMachine", vm, false,
                  ret_ticket, err);
}

int
request_vm_settle(struct engine *engine, const struct caller *caller,
                  const char *vm, struct ticket *ret_ticket, struct error *err)
{
    return submit(engine, caller, "settleVirtualMachine", vm, false, ret_ticket,
                  err);
}

/* After power changed: the row follows at once, not only by the event. */
static int
refresh(struct job *job, struct error *err)
{
    return inventory_refresh_machine(job->engine, job->row.queue, err);
}

int
machine_run_start(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;

    /* The hook refuses a held machine; settle it rather than refuse. */
    if (hold_is_set(engine->hold_dir, job->row.queue) &&
        converge_settle(engine, job, job_number(job, "vm"), err) < 0)
        return -1;
    if (hv_start(engine->hv, job->row.queue, err) < 0)
        return -1;
    job_event(job, "VM.START", "INFO", job->row.queue);
    return refresh(job, err);
}

int
machine_run_stop(struct job *job, struct error *err)
{
    struct hv *hv = job->engine->hv;
    int result = job_number(job, "forced") != 0
                     ? hv_destroy(hv, job->row.queue, err)
                     : hv_shutdown(hv, job->row.queue, SHUTDOWN_MS, err);

    if (result < 0)
        return -1;
    job_event(job, "VM.STOP", "INFO", job->row.queue);
    return refresh(job, err);
}

int
machine_run_reboot(struct job *job, struct error *err)
{
    if (hv_reboot(job->engine->hv, job->row.queue, err) < 0)
        return -1;
    job_event(job, "VM.REBOOT", "INFO", job->row.queue);
    return refresh(job, err);
}

int
machine_run_settle(struct job *job, struct error *err)
{
    int64_t vm_id = job_number(job, "vm");
    struct error other = ERROR_INIT;

    if (refresh(job, err) < 0)
        return -1;
    if (converge_settle(job->engine, job, vm_id, err) == 0)
        return 0;
    /* Nobody works at these deletions now; they can be asked for again. */
    if (err->code != ERROR_UNAVAILABLE &&
        vm_snapshot_fail_expunging(job->engine, vm_id, err->message, &other) <
            0)
        log_warning("settling-postponed", "error='%s'", other.message);
    return -1;
}

/* -- release ------------------------------------------------------------------
 */

int
machine_drop_points(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE_LIST(vm_snapshot) snapshots = {0};
    AUTO_STATE(vm) vm = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        STATE_LIVING};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0 ||
        backup_end_chain(tx, vm_id, err) < 0 ||
        state_vm_snapshot_list(tx, STATE_QUERY(where), &snapshots, err) < 0)
        return -1;
    for (size_t i = 0; i < snapshots.count; i++) {
        /* One that is asked for and has not begun is for after this. */
        if (vm_snapshot_next(snapshots.items[i].state,
                             VM_SNAPSHOT_EXPUNGE_REQUESTED) == NULL)
            continue;
        if (vm_snapshot_expunge(tx, &snapshots.items[i], vm.uuid, err) < 0)
            return -1;
    }
    return state_commit(tx, err);
}

static int
forget(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_TREE struct tree *tree = NULL;

    if (tx == NULL || tree_load(tx, vm_id, &tree, err) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        for (size_t k = 0; k < volume->layers.count; k++) {
            if (state_layer_delete(tx, volume->layers.items[k].id, err) < 0)
                return -1;
        }
        volume->row.layer_id = 0;
        if (state_volume_update(tx, &volume->row, err) < 0)
            return -1;
    }
    tree->vm.managed = 0;
    tree->vm.backup_offering_id = 0;
    if (state_vm_update(tx, &tree->vm, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
machine_run_release(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");

    if (converge_begin(engine, job, vm_id, NULL, err) < 0 ||
        machine_drop_points(engine, vm_id, err) < 0 ||
        converge_machine(engine, job, vm_id, NULL, err) < 0 ||
        forget(engine, vm_id, err) < 0)
        return -1;
    job_event(job, "VM.RELEASE", "INFO", job->row.queue);
    return 0;
}
