/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retop_internal.h -- shared by retop.c and retop_settle.c.
 */
#ifndef ENGINE_RETOP_INTERNAL_H
#define ENGINE_RETOP_INTERNAL_H

#include "engine/retop.h"

const struct retop_owner *retop_owner_of(enum retop_purpose purpose);

/* To and from the journal. */
json_t *retop_to_json(const struct retop *retop) MUST_CHECK NONNULL(1);
struct retop *retop_from_json(json_t *payload, int64_t operation,
                              struct error *err) MUST_CHECK NONNULL(1, 3);

/* The switch is known to have happened: make all views agree and record it. */
int retop_finish(struct engine *engine, const struct retop *retop,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Did the switch happen?  1 yes, 0 no, -1 cannot be told now. */
int retop_ask(struct engine *engine, const struct retop *retop,
              struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
