/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shot_internal.h -- shared by shot.c and shot_journal.c.
 */
#ifndef ENGINE_SHOT_INTERNAL_H
#define ENGINE_SHOT_INTERNAL_H

#include "engine/shot.h"

#include <jansson.h>

/* To and from the journal. */
json_t *shot_to_json(const struct shot *shot) MUST_CHECK NONNULL(1);
struct shot *shot_from_json(json_t *payload, int64_t operation,
                            struct error *err) MUST_CHECK NONNULL(1, 3);

/* Write into the journal why it will be undone, if that can be written; the
 * row may be gone already. */
void shot_remember(struct engine *engine, const struct shot *shot,
                   const struct error *why) NONNULL(1, 2, 3);

/* Nothing of it is left, and the owner knows why. */
int shot_undo(struct engine *engine, const struct shot *shot,
              const struct error *why, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* The guest comes first.  One whose agent cannot say is asked again and again
 * (thaw_again.h); -1 when the hypervisor cannot be asked. */
int shot_thaw(struct engine *engine, const struct shot *shot, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
