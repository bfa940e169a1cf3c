/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other numbers of CPUs and bytes of memory, by a service offering (semantics
 * 3.5 and the document of VM snapshots in general).
 *
 * Scaling changes the definition of a stopped machine and then the record; a
 * death in between is settled by what the definition has.  VM snapshots with
 * memory are discarded in the transaction that records it, as the document
 * says; where the setting keeps them, they still can be reverted to, since a
 * saved memory brings its machine's numbers along.  A revert then puts the
 * offering that was recorded with the snapshot back (2.4): the definition
 * follows by a journal entry, since the machine may run again by then.
 *
 * CPUs and memory of a running guest are not changed: whether it takes them
 * depends on the guest, and what it does not take nobody could promise.
 */
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/inventory.h"
#include "engine/limits.h"
#include "engine/lookup.h"
#include "engine/machine.h"
#include "engine/operation.h"
#include "engine/requests.h"
#include "engine/settings.h"
#include "engine/snapshot.h"
#include "engine/submit.h"
#include "engine/vm_snapshot.h"

#include <errno.h>
#include <string.h>

struct compute {
    int64_t vm_id;
    int64_t offering; /* 0: none */
    int64_t vcpus;
    int64_t memory; /* bytes */
};

static int
insert(struct state_tx *tx, const struct compute *compute, const char *vm_uuid,
       const char *phase, int64_t *ret_id, struct error *err)
{
    json_t *payload = json_pack(
        "{s:I, s:I, s:I, s:I}", "vm", (json_int_t)compute->vm_id, "offering",
        (json_int_t)compute->offering, "vcpus", (json_int_t)compute->vcpus,
        "memory", (json_int_t)compute->memory);
    int result = operation_insert(tx, OPERATION_COMPUTE, vm_uuid, phase,
                                  payload, ret_id, err);

    json_decref(payload);
    return result;
}

static int
unpack(const struct state_operation *row, struct compute *compute,
       struct error *err)
{
    json_t *payload = operation_payload(row, err);
    json_int_t vm = 0;
    json_int_t offering = 0;
    json_int_t vcpus = 0;
    json_int_t memory = 0;
    int result;

    if (payload == NULL)
        return -1;
    result = json_unpack(payload, "{s:I, s:I, s:I, s:I}", "vm", &vm, "offering",
                         &offering, "vcpus", &vcpus, "memory", &memory);
    json_decref(payload);
    if (result < 0 || vcpus <= 0 || memory <= 0)
        return error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                         (long long)row->id);
    *compute = (struct compute){vm, offering, vcpus, memory};
    return 0;
}

/* -- request --------------------------------------------------------------- */

static int
check_stopped(const struct state_vm *vm, struct error *err)
{
    if (strcmp(vm->power, "Stopped") == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' is %s; stop it before it gets another "
                     "service offering",
                     vm->name, vm->power);
}

/* What it would have more than it has now. */
static int
check_limits(struct state_tx *tx, const struct state_vm *vm,
             const struct state_service_offering *offering, struct error *err)
{
    if (limits_check(tx, vm->account_id, LIMIT_CPU,
                     MAX(offering->vcpus - vm->vcpus, INT64_C(0)), err) < 0)
        return -1;
    return limits_check(tx, vm->account_id, LIMIT_MEMORY,
                        MAX((offering->memory - vm->memory) >> 20, INT64_C(0)),
                        err);
}

int
request_vm_scale(struct engine *engine, const struct caller *caller,
                 const char *vm, const char *service_offering,
                 struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) row = {0};
    AUTO_STATE(service_offering) offering = {0};
    struct submit job = {.command = "scaleVirtualMachine", .vm = &row};

    if (inventory_look(engine, vm, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || lookup_vm(tx, caller, vm, &row, err) < 0 ||
        machine_require_living(&row, err) < 0 ||
        lookup_service_offering(tx, service_offering, &offering, err) < 0 ||
        check_stopped(&row, err) < 0 ||
        snapshot_check_idle(tx, &row, err) < 0 ||
        check_limits(tx, &row, &offering, err) < 0)
        return -1;
    job.parameters = json_pack("{s:I}", "offering", (json_int_t)offering.id);
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

/* -- scaling --------------------------------------------------------------- */

static int
discard_memory_snapshots(struct engine *engine, struct state_tx *tx,
                         const struct state_vm *vm, struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm->id),
                                        STATE_LIVING,
                                        STATE_TEXT("type", "DiskAndMemory")};
    bool keep = false;

    if (settings_get_bool(engine->state, "vmsnapshot.memory.keep.on.scale",
                          NULL, &keep, err) < 0)
        return -1;
    if (keep)
        return 0;
    if (state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        /* One that is asked for and has not begun is for after this. */
        if (vm_snapshot_next(rows.items[i].state,
                             VM_SNAPSHOT_EXPUNGE_REQUESTED) == NULL)
            continue;
        log_info("memory-snapshot-discarded", "vm=%s snapshot=%s", vm->name,
                 rows.items[i].uuid);
        if (vm_snapshot_expunge(tx, &rows.items[i], vm->uuid, err) < 0)
            return -1;
    }
    return 0;
}

/* The definition has the numbers. */
static int
record(struct engine *engine, const struct compute *compute, int64_t operation,
       struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, compute->vm_id, &vm, err) < 0 ||
        discard_memory_snapshots(engine, tx, &vm, err) < 0)
        return -1;
    vm.service_offering_id = compute->offering;
    vm.vcpus = compute->vcpus;
    vm.memory = compute->memory;
    if (state_vm_update(tx, &vm, err) < 0 ||
        state_operation_delete(tx, operation, err) < 0)
        return -1;
    if (fault_here("machine.scale-record"))
        return error_set_errno(err, errno, "record of machine '%s'", vm.name);
    return state_commit(tx, err);
}

/* Ask the definition: 1 it has the numbers, and that is recorded; 0 it was not
 * done. */
static int
settle_scale(struct engine *engine, const char *vm_uuid,
             const struct compute *compute, int64_t operation,
             struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hv_get(engine->hv, vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->vcpus != compute->vcpus ||
        (int64_t)machine->memory_bytes != compute->memory)
        return operation_end(engine->state, operation, err);
    return record(engine, compute, operation, err) < 0 ? -1 : 1;
}

/* The limits once more: others may have come first since the request. */
static int
begin(struct job *job, struct compute *compute, int64_t *ret_operation,
      struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);
    AUTO_STATE(service_offering) offering = {0};
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL ||
        state_service_offering_get(tx, job_number(job, "offering"), &offering,
                                   err) < 0 ||
        state_vm_get(tx, job_number(job, "vm"), &vm, err) < 0 ||
        check_limits(tx, &vm, &offering, err) < 0)
        return -1;
    *compute = (struct compute){.vm_id = job_number(job, "vm"),
                                .offering = offering.id,
                                .vcpus = offering.vcpus,
                                .memory = offering.memory};
    if (insert(tx, compute, job->row.queue, OPERATION_COMMIT, ret_operation,
               err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
scale(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    const char *uuid = job->row.queue;
    struct compute compute;
    struct error why = ERROR_INIT;
    int64_t operation = 0;
    int done;

    if (begin(job, &compute, &operation, err) < 0)
        return -1;
    if (fault_here("machine.before-scale"))
        (void)error_set_errno(&why, errno, "scale");
    else
        /* Neither answer is believed: the definition tells. */
        (void)!hv_set_compute(engine->hv, uuid, (unsigned)compute.vcpus,
                              (uint64_t)compute.memory, false, &why);
    done = settle_scale(engine, uuid, &compute, operation, err);
    if (done > 0)
        return 0;
    if (why.code != ERROR_NONE)
        *err = why;
    else if (done == 0)
        (void)error_set(err, ERROR_CONFLICT,
                        "machine '%s' was given %lld CPUs and %lld bytes of "
                        "memory, and its definition has others; look for who "
                        "else changes it (virsh dumpxml %s), then try again",
                        uuid, (long long)compute.vcpus,
                        (long long)compute.memory, uuid);
    return -1;
}

int
machine_run_scale(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");

    if (converge_adopt(job, NULL, err) < 0 || scale(job, err) < 0) {
        job_event(job, "VM.UPGRADE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VM.UPGRADE", "INFO", job->row.queue);
    converge_tidy(engine, job, vm_id);
    return 0;
}

/* -- after a revert -------------------------------------------------------- */

int
machine_recall_compute(struct state_tx *tx, const struct state_vm_snapshot *row,
                       struct error *err)
{
    const struct compute compute = {.vm_id = row->vm_id,
                                    .offering = row->service_offering_id,
                                    .vcpus = row->vcpus,
                                    .memory = row->memory};
    AUTO_STATE(vm) vm = {0};
    int64_t id;

    /* Of older snapshots nothing is known. */
    if (row->vcpus == 0 || row->memory == 0)
        return 0;
    if (state_vm_get(tx, row->vm_id, &vm, err) < 0)
        return -1;
    if (vm.service_offering_id == row->service_offering_id)
        return 0;
    vm.service_offering_id = row->service_offering_id;
    if (state_vm_update(tx, &vm, err) < 0)
        return -1;
    return insert(tx, &compute, vm.uuid, OPERATION_FINISH, &id, err);
}

static int
recall(struct engine *engine, const struct state_operation *row,
       const struct compute *compute, struct error *err)
{
    if (fault_here("machine.recall"))
        return error_set_errno(err, errno, "recall of CPUs and memory");
    if (hv_set_compute(engine->hv, row->vm_uuid, (unsigned)compute->vcpus,
                       (uint64_t)compute->memory, true, err) < 0) {
        if (err->code == ERROR_UNAVAILABLE)
            return -1;
        /* The machine reads as it must; nothing may hang on this. */
        log_error("compute-not-recalled",
                  "vm=%s vcpus=%lld bytes=%lld "
                  "error='%s'",
                  row->vm_uuid, (long long)compute->vcpus,
                  (long long)compute->memory, err->message);
        error_clear(err);
    }
    return operation_end(engine->state, row->id, err);
}

int
machine_settle_compute(struct engine *engine, const struct state_operation *row,
                       struct error *err)
{
    struct compute compute;

    if (unpack(row, &compute, err) < 0)
        return -1;
    if (strcmp(row->phase, OPERATION_FINISH) == 0)
        return recall(engine, row, &compute, err);
    return settle_scale(engine, row->vm_uuid, &compute, row->id, err) < 0 ? -1
                                                                          : 0;
}

int
machine_finish_compute(struct engine *engine, const char *vm_uuid,
                       struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("vm_uuid", vm_uuid),
                                        STATE_TEXT("kind", OPERATION_COMPUTE)};

    if (tx == NULL ||
        state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        if (machine_settle_compute(engine, &rows.items[i], err) < 0)
            return -1;
    }
    return 0;
}
