/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_pull.h -- a stopped merge the other way round: what only the lower
 * layer holds goes into the upper one's file, and the lower file goes.
 */
#ifndef ENGINE_MERGE_PULL_H
#define ENGINE_MERGE_PULL_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/merge_internal.h"
#include "engine/tree.h"

#include <stdbool.h>

/* Is that allowed, and clearly less to copy?  Told from metadata. */
bool merge_pull_is_better(const struct merge *merge, struct tree_volume *volume)
    NONNULL(1, 2);

/**
 * merge_pull_files(engine, job, merge, volume, live, err):
 * Do it, or see that it was done.  Where it cannot be done after all, it is
 * written down that this merge goes forward from now on.  `live`: a QEMU has
 * the files open.
 *
 * Durability: on 1 C's file needs L's no more; on 0 the journal says so.
 * Returns:    1 done, 0 merge forward, -1 with *err set.
 */
int merge_pull_files(struct engine *engine, struct job *job,
                     struct merge *merge, struct tree_volume *volume, bool live,
                     struct error *err) MUST_CHECK NONNULL(1, 3, 4, 6);

#endif
