/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repository.h -- what was left unfinished in the repository, settled later.
 *
 * Whoever makes or removes a point settles it when it fails; but while some
 * manifest cannot be read, nothing may be unlinked, and what was begun stays.
 * So the repository is looked through a second after the start and every six
 * hours: one job finds whose points have something unfinished, and one for
 * each of those settles it, in that machine's queue, where nobody else works
 * at these points.  Points of machines and volumes that the database does not
 * know, not as removed ones either, are another installation's.
 */
#ifndef ENGINE_REPOSITORY_H
#define ENGINE_REPOSITORY_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/job.h"

/* Queue the job when it is due: costs one comparison when it is not. */
void repository_tick(struct engine *engine) NONNULL(1);

/* settleImageStore */
job_function repository_run_settle;

#endif
