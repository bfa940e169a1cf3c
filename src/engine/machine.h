/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h -- jobs about a machine as a whole: power, settling, release.
 */
#ifndef ENGINE_MACHINE_H
#define ENGINE_MACHINE_H

#include "engine/job.h"

job_function machine_run_start;
job_function machine_run_stop;
job_function machine_run_reboot;
job_function machine_run_settle;

/* Merge everything, forget the machine: plain chains, an untouched domain. */
job_function machine_run_release;

/* Delete the machine's VM snapshots and end its chains of backups: what is
 * merged is up to the next convergence.  In a transaction of its own. */
int machine_drop_points(struct engine *engine, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* -- CPUs and memory (machine_scale.c) ------------------------------------ */

/*
 * A journal entry: a machine's definition gets other numbers.
 *
 *     phase    written                      settling
 *     commit   before a scaling             the definition tells: it has the
 *                                           new numbers and it is recorded, or
 *                                           it was not done
 *     finish   with a revert to a snapshot  done again
 *              whose machine had others
 */
#define OPERATION_COMPUTE "compute"

int machine_run_scale(struct job *job, struct error *err) MUST_CHECK;

int machine_settle_compute(struct engine *engine,
                           const struct state_operation *row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* In the transaction that records a revert: the machine has the offering of
 * the snapshot again, and what the definition needs for it is written down.
 * machine_finish_compute() follows the commit. */
int machine_recall_compute(struct state_tx *tx,
                           const struct state_vm_snapshot *row,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3);
int machine_finish_compute(struct engine *engine, const char *vm_uuid,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3);

int machine_run_destroy(struct job *job, struct error *err) MUST_CHECK;

/* ERROR_CONFLICT for one that was destroyed and not expunged yet. */
int machine_require_living(const struct state_vm *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
