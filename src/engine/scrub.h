/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.h -- reading the whole repository again, in the background.
 *
 * A pass is a job, and a row of the table `scrub` that outlives it: where the
 * pass is, and what it found.  A pass that the daemon's end interrupted goes
 * on at the next start where it was; one that somebody cancelled does not.
 */
#ifndef ENGINE_SCRUB_H
#define ENGINE_SCRUB_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"

/* scrub.status */
#define SCRUB_RUNNING "Running"
#define SCRUB_DONE "Done"
#define SCRUB_CANCELLED "Cancelled"

job_function scrub_run;

/**
 * scrub_resume(engine, err):
 * At the start: queue the pass that was interrupted, and find out when the
 * next one is due.
 */
int scrub_resume(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Find out again when the next pass is due: one has ended, or the setting
 * changed.  When that cannot be found out, none is. */
void scrub_plan(struct engine *engine) NONNULL(1);

/* Start the pass that is due, if any: costs one comparison when none is. */
void scrub_tick(struct engine *engine) NONNULL(1);

#endif
