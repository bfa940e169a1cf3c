/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shot.h -- snapshots of all disks of a machine by what they are stored on.
 *
 * The disks stay as they are, and so does what the guest writes to; the
 * snapshots lie beside them (storage.h).  A guest that runs is frozen for the
 * moment in which they are taken:
 *
 *     journal, hold, prepare     the guest runs
 *     guard, freeze, commit, thaw, at most the budget
 *     keep, record               the guest runs
 *
 * Before and after the clones QEMU must write to exactly the files that are
 * cloned; of a machine that is stopped nobody may.
 *
 * Whatever fails, the guest is thawed first; then every snapshot of it is
 * undone.  A machine whose thaw cannot be asked for stays in the journal: it
 * is thawed when the hypervisor is back, and undone after that.
 *
 *     phase     what is there                          settling
 *     prepare   some of the snapshots; perhaps frozen  thaw, undo
 *     (no row)  the record names all of them
 *
 * Rules: semantics 4.3, 4.6; docs/design/0004-storage-snapshots.md.
 */
#ifndef ENGINE_SHOT_H
#define ENGINE_SHOT_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "engine/engine_internal.h"
#include "engine/tree.h"
#include "hv/hv.h"

struct shot_disk {
    int64_t volume_id;
    char *target;   /* owned, as all texts */
    char *kind;     /* of storage */
    char *locator;  /* of the disk */
    char *snapshot; /* of its snapshot */
    char layer_uuid[UUID_TEXT_SIZE];
    uint64_t size; /* of the guest's disk */
};

struct shot {
    int64_t owner; /* row of vm_snapshot */
    int64_t vm_id;
    char vm_uuid[UUID_TEXT_SIZE];
    char *vm_name;
    enum hv_state state; /* in which it is taken, and stays */
    bool freeze;
    char *nvram;             /* the machine's UEFI variables; NULL: none */
    char *nvram_copy;        /* made of them */
    struct shot_disk *disks; /* owned */
    size_t count;
    int64_t operation; /* 0 until journalled */
    char *why; /* of one that is read back: why it is undone; NULL: we died */
};

struct shot *shot_new(const struct tree *tree, const struct hv_machine *machine)
    MUST_CHECK NONNULL(1, 2);
void shot_free(struct shot *shot);
void shot_cleanup(struct shot **shot);
#define AUTO_SHOT CLEANUP(shot_cleanup)

/* Add a disk, whose snapshot will be named after `txid`. */
int shot_add(struct shot *shot, struct storage *storage, const char *txid,
             const struct tree_volume *volume, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * shot_take(engine, shot, budget_ms, err):
 * Take the snapshots of all its disks and record them: the owner is told in
 * the same transaction.
 *
 * Units:      budget_ms: how long the guest may be frozen.
 * Durability: on 0 all snapshots survive a power cut.
 * Returns:    0; or -1 with *err set, naming the disk where it was one.  Then
 *             everything was undone and the owner was told, unless the
 *             hypervisor could not be asked to thaw, or the database failed:
 *             then the operation stays and is settled later.
 */
int shot_take(struct engine *engine, struct shot *shot, int64_t budget_ms,
              struct error *err) MUST_CHECK NONNULL(1, 2, 4);

/* Thaw and undo what an earlier run left. */
int shot_settle(struct engine *engine, const struct state_operation *row,
                struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- what the owner does in those transactions (vm_snapshot_storage.c) ----- */

/* `layers[i]` is the layer row's id of the snapshot of disks[i]. */
int vm_snapshot_finish_shot(struct state_tx *tx, const struct shot *shot,
                            const int64_t *layers, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
int vm_snapshot_undo_shot(struct state_tx *tx, const struct shot *shot,
                          const struct error *why, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
