/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h -- volume snapshots: one volume of a machine, whole, as a point
 * of the repository.
 *
 * Taking one is a backup of one disk: freeze (a retop of that disk, pinned by
 * the snapshot), copy the frozen chain into the repository, publish, record,
 * converge.  It is always full and rests on nothing, so that deleting one
 * never touches another.  Its points lie under the volume's uuid, not the
 * machine's: a volume may go to another machine, and outlives none of its
 * snapshots.
 *
 *     state             what is there               settling (no job any more)
 *     Allocated         the row                     Error
 *     Creating          maybe the freeze's journal  asks the repository
 *     CreatedOnPrimary  the pin                     asks the repository
 *     BackingUp         pin, perhaps the point      asks the repository
 *     BackedUp          the point                   -
 *     Destroying        a journal entry             finishes it
 *     Error             nothing                     -
 *
 * "Asks the repository": a published point is BackedUp, else Error with
 * nothing left behind.
 *
 * Beside VM snapshots (semantics 1.1, 2.8, 3.8; the document of VM snapshots
 * in general): no operation on a volume's snapshots begins while one on a VM
 * snapshot of its machine is under way, nor the other way round.  As with
 * CloudStack, a machine has either disk-only VM snapshots or snapshots of its
 * volumes, because a volume's revert would break the tree; here layers make
 * that safe, so the setting snapshot.beside.vmsnapshots allows it.
 *
 * Rules: semantics 1.1, 1.2, 1.5, 1.6.
 */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"
#include "engine/tree.h"

/* What a snapshot pins the layer that it copies as. */
#define SNAPSHOT_PIN "snapshot"

/* A journal entry: a point of a volume that must go from the repository. */
#define OPERATION_SNAPSHOT_EXPUNGE "snapshotExpunge"

job_function snapshot_run_create;
job_function snapshot_run_delete;

/**
 * snapshot_settle(engine, vm_id, err):
 * Snapshots of the machine's volumes that an earlier run left unfinished:
 * BackedUp if their point is published, else Error.
 */
int snapshot_settle(struct engine *engine, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Is there one under way whose job is over?  1, 0, -1. */
int snapshot_is_unsettled(struct state_tx *tx, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Finish a `snapshotExpunge` operation. */
int snapshot_settle_expunge(struct engine *engine,
                            const struct state_operation *row,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Finish those of volumes that are attached to nothing: at start. */
int snapshot_settle_detached(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/**
 * snapshot_check_idle(tx, vm, err):
 * Before an operation on a VM snapshot.  ERROR_BUSY naming the operation on a
 * snapshot of one of its volumes that is under way.
 */
int snapshot_check_idle(struct state_tx *tx, const struct state_vm *vm,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * snapshot_check_none(engine, tx, vm, err):
 * Before a disk-only VM snapshot is taken.  ERROR_CONFLICT naming the
 * snapshot of one of its volumes, unless the setting allows both.
 */
int snapshot_check_none(struct engine *engine, struct state_tx *tx,
                        const struct state_vm *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * snapshot_mark(tx, uuid, problem, err):
 * Reading its file again found it damaged; that there is no such snapshot is
 * success.
 */
int snapshot_mark(struct state_tx *tx, const char *uuid, const char *problem,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* Or it was read whole, unless it was marked since `started` (wall clock, in
 * milliseconds). */
int snapshot_mark_good(struct state_tx *tx, const char *uuid, int64_t started,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 4);

/* -- for the files of snapshot_*.c ----------------------------------------- */

/* Its size, root and state from the published point's manifest; idempotent.
 * The pin goes. */
int snapshot_record(struct engine *engine, int64_t id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* It failed because of `why`: Error, and no pin. */
int snapshot_fail(struct engine *engine, int64_t id, const char *why,
                  struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/**
 * snapshot_store(job, row, volume, layer_id, err):
 * Copy the disk as of that layer of `volume` into the repository and publish
 * the point.  On failure nothing is left there.
 */
int snapshot_store(struct job *job, const struct state_snapshot *row,
                   struct tree_volume *volume, int64_t layer_id,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5);

/* The snapshots of a machine's volumes that are in one of `states`. */
int snapshot_list_of(struct state_tx *tx, int64_t vm_id,
                     const char *const *states, size_t count,
                     struct state_snapshot_list *ret_rows, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5, 6);

/* Taking one is under way in these states. */
#define SNAPSHOT_TAKING_COUNT 4
extern const char *const snapshot_taking[SNAPSHOT_TAKING_COUNT];

#endif
