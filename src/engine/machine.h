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

int machine_run_destroy(struct job *job, struct error *err) MUST_CHECK;

/* ERROR_CONFLICT for one that was destroyed and not expunged yet. */
int machine_require_living(const struct state_vm *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
