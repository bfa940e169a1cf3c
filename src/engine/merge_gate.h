/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_gate.h -- how many merges run at once on this host.
 */
#ifndef ENGINE_MERGE_GATE_H
#define ENGINE_MERGE_GATE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/job.h"

struct merge_gate;

struct merge_gate *merge_gate_new(void) MUST_CHECK;
void merge_gate_free(struct merge_gate *gate);

/**
 * merge_gate_enter(engine, job, err):
 * Wait until fewer merges run than the setting
 * snapshot.merge.max.concurrent.operations.per.host allows; the setting is
 * looked at again while it waits.  merge_gate_leave() must follow a 0.
 *
 * Blocks:     without limit; `job` (or NULL when settling) can be cancelled.
 * Returns:    0, or -1 with *err set to ERROR_CANCELLED, or as the database
 *             fails.
 */
int merge_gate_enter(struct engine *engine, struct job *job, struct error *err)
    MUST_CHECK NONNULL(1, 3);
void merge_gate_leave(struct engine *engine) NONNULL(1);

#endif
