/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_refusal.h -- why an image is not changed in place, as a value: what
 * qemu-img can do instead, and what nobody should.
 *
 * A refusal comes with ERROR_UNSUPPORTED or, for an image that is marked as
 * corrupt, ERROR_CORRUPT; nothing was changed then, or (only for
 * COMMIT_REFUSAL_SHARED, which is found on the way) the chain reads as it did.
 */
#ifndef IMAGE_COMMIT_REFUSAL_H
#define IMAGE_COMMIT_REFUSAL_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/qcow2.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qcow2_header;

/* The names are for logs and messages and never change. */
enum commit_refusal {
    COMMIT_REFUSAL_NONE = 0,      /* "none" */
    COMMIT_REFUSAL_SNAPSHOTS,     /* "internal-snapshots" */
    COMMIT_REFUSAL_SHARED,        /* "shared-clusters": counted above 1 */
    COMMIT_REFUSAL_DATA_FILE,     /* "data-file" */
    COMMIT_REFUSAL_ENCRYPTED,     /* "encrypted" */
    COMMIT_REFUSAL_DIRTY,         /* "dirty": lazy refcounts, not closed */
    COMMIT_REFUSAL_CORRUPT,       /* "corrupt": marked so by QEMU */
    COMMIT_REFUSAL_BITMAP,        /* "enabled-bitmap": would miss changes */
    COMMIT_REFUSAL_BITMAP_RESIZE, /* "bitmap-resize": would be too short */
    COMMIT_REFUSAL_FEATURE,       /* "unknown-feature": or version, codec */
    COMMIT_REFUSAL_TABLES,        /* "table-limit": clusters are too small */
    COMMIT_REFUSAL_HEADER_ROOM,   /* "header-room": for another backing name */
    COMMIT_REFUSAL_DEVICE_SIZE,   /* "device-size": it cannot grow */
    COMMIT_REFUSAL_COUNT
};

/* What a merge does with one file of the chain. */
enum commit_use {
    COMMIT_USE_READ,
    COMMIT_USE_CHANGE, /* what its disk holds changes */
    COMMIT_USE_KEEP    /* it is written, and its disk reads as before */
};

/* The stable name; never NULL. */
const char *commit_refusal_name(enum commit_refusal refusal);

/* What to tell a person, after "cannot be changed in place: ". */
const char *commit_refusal_text(enum commit_refusal refusal);

/* True when `qemu-img commit` can do it, as safely: it repairs, copies before
 * it writes, or keeps the bitmap.  False for COMMIT_REFUSAL_NONE. */
bool commit_refusal_is_for_qemu(enum commit_refusal refusal);

/* Set *ret_refusal and *err, which names `path`.  Returns -1. */
int commit_refusal_set(enum commit_refusal refusal, const char *path,
                       enum commit_refusal *ret_refusal, struct error *err)
    NONNULL(2, 3, 4);

/**
 * commit_refusal_header(header, path, use, ret_refusal, err):
 * What a header says against a merge.
 *
 * Returns:    0, or -1 with *err and *ret_refusal set.
 */
int commit_refusal_header(const struct qcow2_header *header, const char *path,
                          enum commit_use use, enum commit_refusal *ret_refusal,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * commit_refusal_qcow2(path, use, ret_info, ret_refusal, err):
 * The same for a file, and what its bitmaps say.
 *
 * Returns:    0, or -1 with *err set, and *ret_refusal if that is the reason.
 */
int commit_refusal_qcow2(const char *path, enum commit_use use,
                         struct qcow2_info *ret_info,
                         enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5);

/* The same for a raw file or device that a disk of `size` bytes goes into. */
int commit_refusal_raw(const char *path, uint64_t size,
                       enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The same for the bitmaps of an image that is to be written. */
int commit_refusal_bitmaps(const char *path, size_t *ret_count,
                           enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
