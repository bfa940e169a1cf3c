/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup.h -- backups of machines: jobs, states, settling.
 *
 * Taking one: freeze (a retop, pinned by the backup), store each volume's
 * change since the parent into the repository, publish, record, converge.
 * The point exists when its manifest is published; the record follows it.
 * Rules: semantics 5; chains are decided by backup_chain.h.
 */
#ifndef ENGINE_BACKUP_H
#define ENGINE_BACKUP_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/backup_chain.h"
#include "engine/engine_internal.h"
#include "engine/job.h"
#include "engine/tree.h"

/* What a backup pins the layer that it left on primary storage as. */
#define BACKUP_PIN "backup"

/* backup.verify_status: what the last reading found. */
#define BACKUP_GOOD "Good"
#define BACKUP_DAMAGED "Damaged"

/* A journal entry: points that must go from the repository. */
#define OPERATION_EXPUNGE "expunge"
/* And: a point that may have been folded. */
#define OPERATION_FOLD "fold"

job_function backup_run_create;
job_function backup_run_delete;
job_function backup_run_restore;
job_function backup_run_verify;
job_function backup_run_fold;

/**
 * backup_settle(engine, vm_id, err):
 * Backups that an earlier run left BackingUp: recorded if their manifest is
 * published, else Failed with nothing left behind.  Restoring ones return.
 */
int backup_settle(struct engine *engine, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Is there a backup under way whose job is over?  1, 0, -1. */
int backup_is_unsettled(struct state_tx *tx, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Finish or undo a `fold` operation: the repository says which. */
int backup_settle_fold(struct engine *engine, const struct state_operation *row,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* May the backup be folded with what is below it, down to `oldest` (id 0: to
 * the end)? */
int backup_check_fold(struct state_tx *tx, const struct state_backup *backup,
                      const struct state_backup *oldest, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Finish an `expunge` operation. */
int backup_settle_expunge(struct engine *engine,
                          const struct state_operation *row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Every backup that reads this damage is Damaged from now on. */
int backup_record_finding(struct state_tx *tx,
                          const struct repo_finding *finding, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
void backup_log_finding(const struct repo_finding *finding) NONNULL(1);

/* All backups of a machine for backup_chain.h, newest first; the caller frees
 * *ret_items. */
int backup_chain_load(struct state_tx *tx, int64_t vm_id,
                      struct backup_chain_item **ret_items, size_t *ret_count,
                      struct error *err) MUST_CHECK NONNULL(1, 3, 4, 5);

/* Take away what a backup pins on primary storage. */
int backup_drop_pins(struct state_tx *tx, int64_t backup_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* No backup of the machine is current any more and the next one is full. */
int backup_end_chain(struct state_tx *tx, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/**
 * backup_store(job, backup, tree, err):
 * Copy the frozen layers of `backup` (its backup_volume rows) into the
 * repository and publish the point.  On failure nothing is left there.
 */
int backup_store(struct job *job, struct state_backup *backup,
                 struct tree *tree, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * backup_record(engine, backup_id, err):
 * The point is published: make the record say so (BackedUp, sizes, roots, who
 * is current).  Idempotent.
 */
int backup_record(struct engine *engine, int64_t backup_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

#endif
