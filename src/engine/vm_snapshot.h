/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_snapshot.h -- disk-only VM snapshots: jobs and states.
 *
 * A VM snapshot pins, for each volume, the layer that was frozen for it.
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
 * After layers changed: Expunging and Hidden snapshots become Removed or
 * Hidden, their children and the current mark go to their parent.
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

/* Take away what a snapshot pins. */
int vm_snapshot_drop_pins(struct state_tx *tx, int64_t snapshot_id,
                          struct error *err) MUST_CHECK NONNULL(1, 3);

/* State machine of semantics 3.1: may a snapshot go from one to the other? */
bool vm_snapshot_may_go(const char *from, const char *to) NONNULL(1, 2);

#endif
