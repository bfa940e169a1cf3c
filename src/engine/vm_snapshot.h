/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_snapshot.h -- VM snapshots: jobs and states.
 *
 * A VM snapshot pins, for each volume, the layer that was frozen for it; with
 * memory it also has a file to go on from (saved_memory.h), and on a machine
 * with UEFI a copy of its variables.
 * Deleting it takes the pins away; what then happens to layers is the
 * planner's rule, and the snapshot's state follows: Removed when none of its
 * layers is left for its sake, Hidden while one with several children is.
 * Rules: semantics 2 and 3; the requests are in requests.h.
 */
#ifndef ENGINE_VM_SNAPSHOT_H
#define ENGINE_VM_SNAPSHOT_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"

/* What a snapshot pins its layers as. */
#define VM_SNAPSHOT_PIN "vmsnapshot"

job_function vm_snapshot_run_create;
job_function vm_snapshot_run_revert;
job_function vm_snapshot_run_delete;

/**
 * vm_snapshot_follow_layers(engine, vm_id, err):
 * After layers changed: Expunging and Hidden snapshots, and those whose
 * deletion had failed, become Removed or Hidden, their children and the
 * current mark go to their parent.
 */
int vm_snapshot_follow_layers(struct engine *engine, int64_t vm_id,
                              struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * vm_snapshot_settle(engine, vm_id, err):
 * Snapshots that an earlier run left Creating or Reverting, with nothing in
 * the journal any more: Error, or Ready.
 */
int vm_snapshot_settle(struct engine *engine, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Expunging ones with no job any more become Error, with that problem: their
 * deletion may be asked for again. */
int vm_snapshot_fail_expunging(struct engine *engine, int64_t vm_id,
                               const char *problem, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The machine's snapshots in a state of passage: an operation on them is under
 * way, or did not get to its end. */
int vm_snapshot_list_active(struct state_tx *tx, int64_t vm_id,
                            struct state_vm_snapshot_list *ret_rows,
                            struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* Is there a snapshot in a state of passage whose job is over?  1, 0, -1. */
int vm_snapshot_is_unsettled(struct state_tx *tx, int64_t vm_id,
                             struct error *err) MUST_CHECK NONNULL(1, 3);

bool vm_snapshot_has_memory(const struct state_vm_snapshot *row) NONNULL(1);

/* Why a revert is refused that would change the machine's power state: its
 * name, its state, "this" or "a disk-only", what must be done. */
#define VM_SNAPSHOT_POWER_TEXT                                                 \
    "machine '%s' is %s; reverting to %s VM snapshot changes its power "       \
    "state: %s it first, or say that it may be changed (changepower=true, "    \
    "or the setting vmsnapshot.revert.power.change)"

/* The files beside its layers are named no more, and go when converging. */
int vm_snapshot_drop_files(struct state_tx *tx, struct state_vm_snapshot *row,
                           const char *vm_uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Enter Expunging: from here on it can only be deleted.  converge_machine()
 * must follow the commit. */
int vm_snapshot_expunge(struct state_tx *tx, struct state_vm_snapshot *row,
                        const char *vm_uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* -- the state machine (vm_snapshot_states.def) --------------------------- */

enum vm_snapshot_event {
    VM_SNAPSHOT_CREATE_REQUESTED,
    VM_SNAPSHOT_NOT_BEGUN, /* refused before anything was touched */
    VM_SNAPSHOT_OPERATION_SUCCEEDED,
    VM_SNAPSHOT_OPERATION_FAILED,
    VM_SNAPSHOT_REVERT_REQUESTED,
    VM_SNAPSHOT_EXPUNGE_REQUESTED,
    VM_SNAPSHOT_HIDE
};

/* The state that `state` goes to by that event; NULL when there is none. */
const char *vm_snapshot_next(const char *state, enum vm_snapshot_event event)
    NONNULL(1);

/* Let the row go to its next state (it is not stored yet); ERROR_CONFLICT when
 * its state has no such event. */
int vm_snapshot_apply(struct state_vm_snapshot *row,
                      enum vm_snapshot_event event, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* A usage record of `type` for each volume, and one of `total_type` (or NULL)
 * for all of them together. */
int vm_snapshot_usage(struct state_tx *tx, const struct state_vm_snapshot *row,
                      const char *type, const char *total_type,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5);

#endif
