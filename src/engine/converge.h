/* SPDX-License-Identifier: Apache-2.0 */
/*
 * converge.h -- bring a machine's layers to the smallest tree that its pins
 * allow, and settle what an earlier run left.
 */
#ifndef ENGINE_CONVERGE_H
#define ENGINE_CONVERGE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"

/**
 * converge_machine(engine, job, vm_id, look, err):
 * Check the four views, then carry out the planner's actions one by one until
 * there are none, then let the VM snapshots' states follow (Removed, Hidden).
 * `look` is that of converge_begin() a moment ago, in place of the first
 * check, when nothing but the record was changed since; or NULL.
 *
 * Ownership:  what is in *look is handed over.
 * Blocks:     for as long as the merges take.
 */
int converge_machine(struct engine *engine, struct job *job, int64_t vm_id,
                     struct hv_look *look, struct error *err)
    MUST_CHECK NONNULL(1, 5);

/* converge_machine() after an operation that is done already: what cannot be
 * tidied now is logged, and tidied with the next operation or start. */
void converge_tidy(struct engine *engine, struct job *job, int64_t vm_id)
    NONNULL(1);

/**
 * converge_tidy_later(engine, job, vm_id):
 * As converge_tidy(), but if the machine runs and there is anything to merge or
 * to remove, by a job of its own in the machine's queue: for operations whose
 * result is durable, so that nobody waits for a merge that he did not ask for.
 * What stood in the queue before comes before it.  A stopped machine is tidied
 * at once, since it could not be started meanwhile.
 */
void converge_tidy_later(struct engine *engine, struct job *job, int64_t vm_id)
    NONNULL(1, 2);

/**
 * converge_settle(engine, job, vm_id, err):
 * Finish or undo every operation in the journal of this machine, backups that
 * were under way, and snapshots in transient states; then converge.  Called
 * at start, at reconnect, before every new operation on a machine that has
 * unfinished ones, and on demand.
 *
 * Returns:    0, or -1 with *err set; then the machine stays held and the
 *             rest is settled later.
 */
int converge_settle(struct engine *engine, struct job *job, int64_t vm_id,
                    struct error *err) MUST_CHECK NONNULL(1, 4);

/* The part of converge_settle() that no guest shall wait for: for all machines,
 * before any job runs, put the limits back of guests that an earlier run left
 * slow.  What cannot be is logged, and left to converge_settle(). */
int converge_settle_slow(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* The part of converge_settle() that needs no hypervisor: rows of snapshots
 * and backups whose job is over.  For machines that were never taken over. */
int converge_settle_rows(struct engine *engine, int64_t vm_id,
                         struct error *err) MUST_CHECK NONNULL(1, 3);

/* The same, unless the journal has something of this machine: then the whole
 * settling decides what became of them. */
int converge_settle_rows_alone(struct engine *engine, int64_t vm_id,
                               struct error *err) MUST_CHECK NONNULL(1, 3);

/* Is anything of this machine unfinished that no job will finish: in the
 * journal, held, or a row in a state of passage?  1, 0, -1. */
int converge_is_unfinished(struct engine *engine, struct state_tx *tx,
                           const struct state_vm *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * converge_begin(engine, job, vm_id, ret_look, err):
 * What every operation on a machine starts with: settle what is unfinished
 * and check the four views.  Files that could not be removed yet are tried
 * again; alone, or with a thaw that is owed, they are no reason to settle, and
 * to merge what the planner wants.
 *
 * Ownership:  *ret_look (unless that is NULL) is what the hypervisor showed,
 *             the caller's when 0 was returned.
 */
int converge_begin(struct engine *engine, struct job *job, int64_t vm_id,
                   struct hv_look *ret_look, struct error *err)
    MUST_CHECK NONNULL(1, 5);

/* What an operation on a machine's disks starts with: inventory_adopt() and
 * converge_begin() of the job's machine. */
int converge_adopt(struct job *job, struct hv_look *ret_look, struct error *err)
    MUST_CHECK NONNULL(1, 3);

#endif
