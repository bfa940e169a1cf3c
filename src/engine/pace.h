/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pace.h -- how fast the data plane may go, so that the guests come first.
 *
 * All backups and volume snapshots of this host share one limit, all restores
 * another: what they read a second, in bytes and in reads.  Ranges that are
 * known to be zero load nobody and are not counted.  Copying gives way to the
 * guests (background.h, BACKGROUND_LOW) unless `backup.low.priority` is false.
 *
 * A setting that is changed counts for what runs, too: from the next pieces
 * on that are read; the priority from the next copy on.
 *
 * Threads:    any number at once.
 */
#ifndef ENGINE_PACE_H
#define ENGINE_PACE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/job.h"
#include "image/copy.h"

struct pace;

struct pace *pace_new(void) MUST_CHECK;
void pace_free(struct pace *pace);

/* Read the settings; one that cannot be read is logged and stays as it was. */
void pace_plan(struct engine *engine) NONNULL(1);

enum pace_kind { PACE_BACKUP, PACE_RESTORE };

/* How a job of that kind copies: its progress, and what it shares. */
struct copy_options pace_options(struct job *job, enum pace_kind kind)
    NONNULL(1);

/* function(context), as that which copies: see background_run(). */
int pace_run(struct engine *engine,
             int (*function)(void *context, struct error *err), void *context,
             struct error *err) MUST_CHECK NONNULL(1, 2, 4);

#endif
