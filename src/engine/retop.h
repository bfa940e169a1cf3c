/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retop.h -- give disks of a machine new top files, all or none.
 *
 * A VM snapshot, the freeze of a backup or of a volume's snapshot, a revert and
 * a restore are the same move: files are prepared aside, then the machine is
 * switched to them at one moment (in QEMU when it runs, in its definition when
 * it is stopped), then the record follows.  The switch is the operation's
 * commit point.
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
#include "engine/saved_memory.h"
#include "engine/tree.h"

#include <jansson.h>

enum retop_purpose {
    RETOP_VM_SNAPSHOT,
    RETOP_REVERT,
    RETOP_BACKUP,
    RETOP_RESTORE,
    RETOP_SNAPSHOT
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
    char *path;    /* of the new file */
    char *source;  /* a snapshot that it becomes a clone of, or NULL */
    char *storage; /* of which kind of storage that is */
    char *format;
    uint64_t size; /* of the guest's disk */
};

/* What belongs to a machine beside its disks; texts are owned, or NULL. */
struct retop_guest {
    char *memory;   /* snapshot: saved there; revert: it goes on from it */
    uint64_t bytes; /* of the machine's memory */
    int64_t timeout_ms;
    char *nvram;      /* the machine's own store */
    char *nvram_copy; /* snapshot: made; revert, restore: put in its place */
    char *nvram_old;  /* revert, restore: what was there, until the end */
    bool must_end;    /* revert: the machine runs, and is ended first */
    char boot_id[UUID_TEXT_SIZE]; /* of this host, when it was begun */
    /* Results, not journalled. */
    int64_t pause_ms; /* -1: unknown */
    bool is_saved;    /* the memory is whole, and on disk */
    struct saved_memory saved;
};

struct retop {
    enum retop_purpose purpose;
    int64_t owner; /* row of vm_snapshot, backup or snapshot */
    int64_t vm_id;
    char vm_uuid[UUID_TEXT_SIZE];
    char *vm_name;
    bool is_live; /* switched in a running QEMU */
    bool quiesce;
    struct retop_guest guest;
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

/**
 * retop_hold(engine, retop, err):
 * Nobody starts the machine from here on; one whose disks are switched while
 * it is stopped still is.  retop_commit() does so by itself; an operation that
 * takes long before that does it earlier.
 *
 * Durability: the hold survives a power cut; retop_undo() and the end of
 *             retop_commit() clear it.
 * Returns:    0, or -1 with *err set: ERROR_CONFLICT when it was started,
 *             ERROR_BUSY when it is stopped and its disks are written to.
 */
int retop_hold(struct engine *engine, const struct retop *retop,
               struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Make the new files of all disks (snapshot, freeze, revert): overlays, or
 * clones. */
int retop_make_overlays(struct engine *engine, const struct retop *retop,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * retop_keep_guest(engine, retop, machine, memory, timeout_ms, err):
 * Of a snapshot, before retop_prepare(): also keep the UEFI variables, if the
 * machine has any, and its memory if `memory`.  Call after the disks were
 * added.
 *
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED when the machine
 *             has something that cannot be kept (a vTPM).
 */
int retop_keep_guest(struct engine *engine, struct retop *retop,
                     const struct hv_machine *machine, bool memory,
                     int64_t timeout_ms, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 6);

/* ERROR_UNSUPPORTED when the machine has a vTPM, which cannot be kept, and no
 * setting says that it may be left out. */
int retop_check_vtpm(struct engine *engine, const struct hv_machine *machine,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Of a revert or a restore, before retop_prepare(): put that copy of the UEFI
 * variables back; a machine without a store is left alone.  NULL: under a new
 * name, retop->guest.nvram_copy; write it before retop_commit(). */
void retop_put_nvram(struct retop *retop, const struct hv_machine *machine,
                     const char *copy) NONNULL(1, 2);

/* Make the files for what retop_keep_guest() was told to keep. */
int retop_make_guest(const struct retop *retop, struct error *err)
    MUST_CHECK NONNULL(1, 2);

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
extern const struct retop_owner retop_owner_snapshot;

#endif
