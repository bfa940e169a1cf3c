/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retop.h -- give disks of a machine new top files, all or none.
 *
 * A VM snapshot, the freeze of a backup, a revert and a restore are the same
 * move: files are prepared aside, then the machine is switched to them at one
 * moment (in QEMU when it runs, in its definition when it is stopped), then
 * the record follows.  The switch is the operation's commit point.
 *
 *     phase     what is there                          settling
 *     prepare   some of the new files                  undo: unlink them
 *     commit    all new files, hold; switched or not   ask QEMU and libvirt
 *     (no row)  the record names the new files
 *
 * docs/internals/journal.md has the invariants.
 */
#ifndef ENGINE_RETOP_H
#define ENGINE_RETOP_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "engine/engine_internal.h"
#include "engine/tree.h"

#include <jansson.h>

enum retop_purpose {
    RETOP_VM_SNAPSHOT,
    RETOP_REVERT,
    RETOP_BACKUP,
    RETOP_RESTORE
};

struct retop_disk {
    int64_t volume_id;
    char *target;      /* owned, as all texts */
    int64_t old_layer; /* what the volume has now */
    char *old_path;
    int64_t parent;     /* layer below the new one; 0: none */
    char *backing_path; /* NULL: none */
    char *backing_format;
    char layer_uuid[UUID_TEXT_SIZE];
    char *path; /* of the new file */
    char *format;
    uint64_t size; /* of the guest's disk */
};

struct retop {
    enum retop_purpose purpose;
    int64_t owner; /* row of vm_snapshot or backup */
    int64_t vm_id;
    char vm_uuid[UUID_TEXT_SIZE];
    char *vm_name;
    bool is_live; /* switched in a running QEMU */
    bool quiesce;
    struct retop_disk *disks; /* owned */
    size_t count;
    int64_t operation; /* 0 until journalled */
};

struct retop *retop_new(enum retop_purpose purpose, int64_t owner,
                        const struct tree *tree, bool is_live)
    MUST_CHECK NONNULL(3);
void retop_free(struct retop *retop);
void retop_cleanup(struct retop **retop);
#define AUTO_RETOP CLEANUP(retop_cleanup)

/**
 * retop_add(retop, volume, parent, format, size):
 * Add a disk: its new file lies beside the old one under a fresh name and,
 * with `parent` (a layer of the volume, or NULL), rests on it.
 */
struct retop_disk *retop_add(struct retop *retop, struct tree_volume *volume,
                             const struct state_layer *parent,
                             const char *format, uint64_t size)
    NONNULL(1, 2, 4);

/**
 * retop_add_overlays(retop, tree, err):
 * retop_add() for every volume of the machine, each new layer resting on the
 * active one, of the size that the image has now.
 */
int retop_add_overlays(struct retop *retop, struct tree *tree,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * retop_prepare(engine, retop, err):
 * Write the intent down.  From here on retop_undo() or retop_commit() must
 * follow, now or when settling.
 */
int retop_prepare(struct engine *engine, struct retop *retop, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Make the overlays of all disks (snapshot, freeze, revert). */
int retop_make_overlays(struct engine *engine, const struct retop *retop,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * retop_commit(engine, retop, err):
 * Switch, and record it.  The hold is set before; it is cleared when the
 * views agree.
 *
 * Returns:    0; or -1 with *err set.  When the hypervisor could not be asked
 *             afterwards (ERROR_UNAVAILABLE) the operation and the hold stay
 *             and are settled later; otherwise everything was undone.
 */
int retop_commit(struct engine *engine, struct retop *retop, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Unlink the new files and tell the owner that it failed because of `why`. */
int retop_undo(struct engine *engine, const struct retop *retop,
               const struct error *why, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Finish or undo what an earlier run left. */
int retop_settle(struct engine *engine, const struct state_operation *row,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/*
 * What the owners do in the transaction that records a switch, or an undo.
 * `layers[i]` is the new layer row's id of disks[i].
 */
struct retop_owner {
    const char *name;
    int (*finish)(struct engine *engine, struct state_tx *tx,
                  const struct retop *retop, const int64_t *layers,
                  struct error *err);
    int (*undo)(struct engine *engine, struct state_tx *tx,
                const struct retop *retop, const struct error *why,
                struct error *err);
};

extern const struct retop_owner retop_owner_vm_snapshot;
extern const struct retop_owner retop_owner_revert;
extern const struct retop_owner retop_owner_backup;
extern const struct retop_owner retop_owner_restore;

#endif
