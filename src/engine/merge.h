/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge.h -- carry out what the planner decides: merges and deletions of
 * layers.
 *
 * Merging child C into the layer L below it: C's content goes into L's file,
 * everything that rested on C rests on L's file, C takes over L's file and
 * place in the record, C's old file goes.  While it lasts the chain reads the
 * same: what C decides masks L.
 *
 *     phase    what is there                            settling
 *     commit   L's file is being written                look: QEMU's job, its
 *                                                       chain; go on or redo
 *     pivot    an active commit was told to switch      look: has it?
 *     pivoted  QEMU writes into L's file                go on
 *     (no row) the record says C is L's file; an `unlink` operation for C's
 *              old file stands in the same transaction
 */
#ifndef ENGINE_MERGE_H
#define ENGINE_MERGE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"
#include "engine/planner.h"
#include "engine/tree.h"

/* The job that follows a merge which a request did not wait for. */
#define MERGE_FOLLOW_COMMAND "settleVirtualMachine"

/**
 * merge_run(engine, job, tree, volume, action, machine, err):
 * One action of the planner on `volume`.  `job` (or NULL when settling) shows
 * progress.  The tree and `machine` are stale afterwards: load them again; the
 * intent to unlink the file that goes is in the journal.
 *
 * Blocks:     for as long as the copying takes, and before it begins until
 *             there is room for one more merge on this host; ERROR_TIMEOUT
 *             after snapshot.merge.timeout: QEMU's job goes on then, and a
 *             settling job must follow it.  ERROR_CANCELLED, and
 *             ERROR_CONFLICT when somebody else aborted it: given up, the
 *             chain is as it was; but one that was cancelled in its pivot goes
 *             on, as after a time-out (merge_goes_on).
 */
int merge_run(struct engine *engine, struct job *job, struct tree *tree,
              struct tree_volume *volume, const struct planner_action *action,
              const struct hv_machine *machine, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5, 6, 7);

/* Does a merge of the machine go on in QEMU, although the job that waited for
 * it ended for `why`?  Also true when that cannot be told. */
bool merge_goes_on(struct engine *engine, const char *vm_uuid,
                   const struct error *why) MUST_CHECK NONNULL(1, 2, 3);

/* Finish a merge that an earlier run left. */
int merge_settle(struct engine *engine, struct job *job,
                 const struct state_operation *row, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* Unlink the file of an `unlink` operation; ERROR_BUSY while it is used.
 * `look` is as in views_is_used(). */
int merge_settle_unlink(struct engine *engine,
                        const struct state_operation *row,
                        const struct hv_look *look, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

#endif
