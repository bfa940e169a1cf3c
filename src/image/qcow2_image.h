/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_image.h -- one qcow2 file, open for reading: where each byte of the
 * guest's disk is stored in it; internal to src/image.
 *
 * Threads:    qcow2_image_lookup by any number at once; opening and freeing
 *             by one.
 */
#ifndef IMAGE_QCOW2_IMAGE_H
#define IMAGE_QCOW2_IMAGE_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/image_file.h"
#include "image/l2_cache.h"
#include "image/qcow2_header.h"

#include <stddef.h>
#include <stdint.h>

struct qcow2_image {
    struct image_file file; /* owned */
    struct qcow2_header header;
    uint64_t cluster_size;
    unsigned cluster_bits;
    unsigned l2_bits;       /* log2 of the guest bytes that an L2 table maps */
    unsigned slice_bits;    /* log2 of the guest bytes that a slice maps */
    unsigned slice_l2_bits; /* log2 of the slices in one L2 table */
    uint64_t *l1;           /* owned; host order, as stored */
    size_t l1_count;        /* what the disk's size needs */
    struct l2_cache l2;
};

/* What the layer says about a range. */
enum qcow2_kind {
    QCOW2_UNALLOCATED, /* the backing file decides */
    QCOW2_ZERO,
    QCOW2_DATA,
    QCOW2_COMPRESSED
};

struct qcow2_run {
    enum qcow2_kind kind;
    uint64_t length; /* of guest; a compressed run stays in one cluster */
    uint64_t host;   /* DATA: of the first byte; COMPRESSED: of the stream */
    uint64_t host_length; /* COMPRESSED: bytes to read, never past the end */
};

/* Flags for qcow2_image_open. */
#define QCOW2_IMAGE_DIRECT 0x1u       /* = BLOCKDEV_DIRECT */
#define QCOW2_IMAGE_DIRTY_OK 0x100u   /* refcounts may be stale */
#define QCOW2_IMAGE_CORRUPT_OK 0x200u /* QEMU may have marked it corrupt */

/**
 * qcow2_image_open(path, flags, err):
 * Open the image and load its L1 table; the backing file is the caller's
 * business.
 *
 * Returns:    the image, or NULL with *err set to ERROR_CORRUPT,
 *             ERROR_UNSUPPORTED (encryption, data file, unknown feature),
 *             ERROR_NOT_FOUND, ERROR_IO.
 */
struct qcow2_image *qcow2_image_open(const char *path, unsigned flags,
                                     struct error *err)
    MUST_CHECK NONNULL(1, 3);
void qcow2_image_free(struct qcow2_image *image);
void qcow2_image_cleanup(struct qcow2_image **image);
#define AUTO_QCOW2_IMAGE CLEANUP(qcow2_image_cleanup)

/**
 * qcow2_image_lookup(image, offset, length, ret_run, err):
 * How the range that starts at `offset` is stored: the longest run of one
 * kind (and, for data, of adjacent host bytes), at most `length`.  The range
 * lies inside the image's disk and is not empty.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT (an entry that cannot
 *             be right), ERROR_IO.
 */
int qcow2_image_lookup(struct qcow2_image *image, uint64_t offset,
                       uint64_t length, struct qcow2_run *ret_run,
                       struct error *err) MUST_CHECK NONNULL(1, 4, 5);

/* The disk's size. */
static inline uint64_t
qcow2_image_size(const struct qcow2_image *image)
{
    return image->header.info.size;
}

#endif
