/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pins.h -- what keeps a layer: a row for each VM snapshot, volume snapshot or
 * backup that needs it.
 *
 * The planner merges only what nothing pins (planner.h).  The kinds of owners
 * are VM_SNAPSHOT_PIN, SNAPSHOT_PIN and BACKUP_PIN.
 *
 * Durability: none of its own; it is the transaction's.
 * Returns of all: 0, or -1 with *err set.
 */
#ifndef ENGINE_PINS_H
#define ENGINE_PINS_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

/* That owner needs the layer from now on. */
int pins_add(struct state_tx *tx, const char *owner_kind, int64_t owner_id,
             int64_t layer_id, struct error *err) MUST_CHECK NONNULL(1, 2, 5);

/* It needs none any more; that it had none is success. */
int pins_drop(struct state_tx *tx, const char *owner_kind, int64_t owner_id,
              struct error *err) MUST_CHECK NONNULL(1, 2, 4);

#endif
