/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup_changes.h -- where two backups of a machine differ, from their digest
 * indexes alone.
 *
 * Nothing of the images is read, and of the indexes only what the two do not
 * share: backups of one chain share all that did not change between them.  It
 * does not matter which is the older one, or whether one rests on the other.
 *
 * How exact: every range is made of whole blocks of DIGEST_LEAF_SIZE, in each
 * of which at least one byte differs; nothing differs outside of them, as far
 * as the digests of `algorithm` tell contents apart.  What both indexes say of
 * the images is not proved here, but by a verification.
 */
#ifndef ENGINE_BACKUP_CHANGES_H
#define ENGINE_BACKUP_CHANGES_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many ranges of a volume, and so many blocks, are told at once. */
#define BACKUP_CHANGES_RANGES_MAX ((size_t)2048)
#define BACKUP_CHANGES_BLOCKS_MAX ((uint64_t)1 << 20)

enum backup_changes_presence {
    BACKUP_CHANGES_BOTH,
    BACKUP_CHANGES_ADDED,  /* not in the first backup: all that is not zero */
    BACKUP_CHANGES_REMOVED /* not in the second: no ranges */
};

struct backup_changes_volume {
    struct uuid volume;
    char *target; /* owned; "vda"; or NULL */
    enum backup_changes_presence presence;
    uint64_t size_before; /* of the disk; past its end it reads as zero */
    uint64_t size_after;
    struct extents ranges; /* owned; cut at the end of the larger disk */
    uint64_t bytes;        /* of the ranges */
    bool is_cut;           /* there may be more, from `next` on */
    uint64_t next;
};

struct backup_changes {
    struct backup_changes_volume *items; /* owned */
    size_t count;
    const char *algorithm; /* static; NULL without a volume */
};

struct backup_changes_query {
    const char *before; /* uuid of the first backup */
    const char *after;
    const char *volume; /* only this one; or NULL */
    uint64_t offset;    /* from there on: `next` of an answer before */
};

/**
 * backup_changes_find(engine, caller, query, ret_changes, err):
 * The volumes of both, by their place in the machine.
 *
 * Blocks:     on the repository: reads what differs of the indexes, 4 KiB for
 *             128 blocks at most.
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  no such backup, or no such volume in them;
 *               ERROR_INVALID    they are of different machines;
 *               ERROR_CONFLICT   one of them is not complete, or was deleted or
 *                                changed meanwhile;
 *               ERROR_CORRUPT    an index is damaged (named);
 *               ERROR_IO.
 */
int backup_changes_find(struct engine *engine, const struct caller *caller,
                        const struct backup_changes_query *query,
                        struct backup_changes *ret_changes, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
void backup_changes_release(struct backup_changes *changes) NONNULL(1);
#define AUTO_BACKUP_CHANGES CLEANUP(backup_changes_release)

#endif
