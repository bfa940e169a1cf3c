/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h -- primary storage never fills because of us, part two.
 *
 * reserve.h refuses a new layer where there is no room for it.  But layers
 * that are there grow with what guests write, and the one that the next
 * incremental backup needs grows for as long as that backup does not come.  So
 * the file systems that our layers are on are looked at again and again:
 *
 *   SPACE_WARNING  free space is below `primary.warning.percent`: an alert;
 *   SPACE_LOW      it is below the reserve, `primary.reserve.percent`: the
 *                  layers that only backups need are merged and their chains
 *                  end, so that the next backup is a full one.  VM snapshots
 *                  are the users' and stay; the alert says so.
 *
 * A guest is never paused for it.  A level that was reached is left only with
 * one percent more than it took to get there.
 */
#ifndef ENGINE_SPACE_H
#define ENGINE_SPACE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"
#include "engine/prober.h"

enum space_level { SPACE_OK, SPACE_WARNING, SPACE_LOW };

/**
 * space_judge(about, warning, reserve, before):
 * The level, by percentages of the size (0: never), when it was `before`.
 */
enum space_level space_judge(const struct prober_about *about, int64_t warning,
                             int64_t reserve, enum space_level before)
    MUST_CHECK NONNULL(1);

/**
 * space_watch_new(probe, patience_ms, again_ms):
 * Arguments as of prober_new(); what lasts is told again after `again_ms`, 0:
 * six hours.
 *
 * Threads:    one calls space_tick() and space_look().
 */
struct space_watch *space_watch_new(prober_probe *probe, int64_t patience_ms,
                                    int64_t again_ms) MUST_CHECK;
void space_watch_free(struct space_watch *watch);

/* space_look() when `primary.check.interval` has passed. */
void space_tick(struct engine *engine) NONNULL(1);

/* A setting has changed: the next tick looks. */
void space_plan(struct engine *engine) NONNULL(1);

/**
 * space_look(engine, err):
 * Look at every file system that has layers of ours, tell of what changed,
 * and queue jobs for the machines that can make room.
 *
 * Blocks:     for two seconds at a file system that hangs, once.
 * Returns:    0, or -1 with *err set; one that cannot be looked at is logged
 *             when that begins and ends, and does not stop the others.
 */
int space_look(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* endBackupChain: merge what only backups need of that machine, if the file
 * system is still below its reserve. */
job_function space_run_relief;

#endif
