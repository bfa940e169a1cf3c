/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operation.h -- the journal: what is being done to storage, written before
 * it is done.
 *
 * An operation is one row.  It has one commit point: before it everything is
 * undone, after it everything is finished forward, at it reality is asked
 * (docs/internals/journal.md).  Rows are removed in the same transaction
 * that records the result, so a row that is there is unfinished.
 *
 * Durability: every function that returned 0 survives a power cut once the
 *             transaction is committed.
 */
#ifndef ENGINE_OPERATION_H
#define ENGINE_OPERATION_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <jansson.h>

/* Kinds and phases as they stand in the database. */
#define OPERATION_RETOP "retop"   /* new top files for some disks */
#define OPERATION_MERGE "merge"   /* one layer into the one below */
#define OPERATION_UNLINK "unlink" /* a file that no record names any more */

#define OPERATION_SHOT "shot" /* snapshots of disks by their storages */

#define OPERATION_SLOW "slow" /* a disk's writes are held back for a merge */

#define OPERATION_VOLUME "volume" /* attach, detach, resize, restore */

#define OPERATION_THAW "thaw" /* a guest that may be frozen */

#define OPERATION_PREPARE "prepare" /* may be undone */
#define OPERATION_COMMIT "commit"   /* ask reality */
#define OPERATION_PULL "pull"       /* of a merge backward: ask reality */
#define OPERATION_PIVOT "pivot"     /* of a live merge: ask reality */
#define OPERATION_PIVOTED "pivoted" /* the same: QEMU has switched */
#define OPERATION_FINISH "finish"   /* must be finished */

/* Insert a row; *ret_id names it.  The payload is borrowed. */
int operation_insert(struct state_tx *tx, const char *kind, const char *vm_uuid,
                     const char *phase, const json_t *payload, int64_t *ret_id,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6, 7);

/* operation_insert() in a transaction of its own. */
int operation_begin(struct state *state, const char *kind, const char *vm_uuid,
                    const char *phase, const json_t *payload, int64_t *ret_id,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6, 7);

/* Enter the next phase; durable on 0. */
int operation_set_phase(struct state *state, int64_t id, const char *phase,
                        struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* Remove the row: the operation is over. */
int operation_end(struct state *state, int64_t id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Does the journal hold a switch of the machine's disks, so that settling
 * decides what became of it?  Also true when that cannot be told. */
bool operation_is_switching(struct state *state, const char *vm_uuid)
    MUST_CHECK NONNULL(1, 2);

/* Does the journal hold a pivot that QEMU was told to make, and that was not
 * seen yet?  Also true when that cannot be told. */
bool operation_is_pivoting(struct state *state, const char *vm_uuid)
    MUST_CHECK NONNULL(1, 2);

/* Parse a row's payload; the caller owns the reference. */
json_t *operation_payload(const struct state_operation *row, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
