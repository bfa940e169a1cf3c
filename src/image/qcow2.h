/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2.h -- single qcow2 files: header facts, overlays, what a layer holds.
 *
 * The format is QEMU's docs/interop/qcow2.txt.  Reading of guest data through
 * chains is blockdev.h; writing whole new images is qcow2_writer.h; changing
 * existing ones is commit.h.
 */
#ifndef IMAGE_QCOW2_H
#define IMAGE_QCOW2_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stdint.h>

#define QCOW2_CLUSTER_BITS_DEFAULT 16
#define QCOW2_BACKING_NAME_MAX 1023

/* Bounds against absurd images. */
#define QCOW2_SIZE_MAX ((uint64_t)64 << 40) /* 64 TiB */

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

/* Facts of a header. */
struct qcow2_info {
    uint32_t version; /* 2 or 3 */
    uint32_t cluster_bits;
    uint64_t size; /* of the guest's disk */
    bool extended_l2;
    bool dirty; /* lazy refcounts were not written back */
    bool corrupt;
    bool encrypted;
    bool data_file;
    uint32_t snapshots; /* internal ones */
    enum qcow2_compression compression;
    bool has_backing;
    char backing_name[QCOW2_BACKING_NAME_MAX + 1]; /* as stored; "" if none */
    char backing_format[32]; /* as stored; "" when the header names none */
    bool has_bitmaps;
};

/**
 * qcow2_read_info(path, ret_info, err):
 * Read and check a header.  Works on an image that a running QEMU has open.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT (not qcow2, or absurd),
 *             ERROR_UNSUPPORTED (unknown incompatible features),
 *             ERROR_NOT_FOUND, ERROR_IO.
 */
int qcow2_read_info(const char *path, struct qcow2_info *ret_info,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * qcow2_create_overlay(path, size, backing_name, backing_format, mode_like,
 *                      err):
 * Make a new, empty qcow2 (v3, 64 KiB clusters) whose backing file is
 * `backing_name`, written as given (absolute or relative).  With backing_name
 * NULL it is an empty disk.  Created with O_EXCL; owner, group and mode are
 * taken from the file `mode_like` if that is not NULL, else mode 0600.
 *
 * Durability: on 0 file and name survive a power cut; otherwise nothing is
 *             left.
 * Returns:    0, or -1 with *err set to ERROR_CONFLICT (the path exists),
 *             ERROR_NO_SPACE, ERROR_IO.
 */
int qcow2_create_overlay(const char *path, uint64_t size,
                         const char *backing_name,
                         enum image_format backing_format,
                         const char *mode_like, struct error *err)
    MUST_CHECK NONNULL(1, 6);

/**
 * qcow2_allocated(path, ret_set, err):
 * The ranges of the guest's disk that this one layer decides itself: data,
 * compressed and zero clusters; everything else comes from its backing file.
 * This is the layer's change record.  A dirty bit (stale refcounts) does not
 * matter; the image must not be the active layer of a running QEMU.
 */
int qcow2_allocated(const char *path, struct extents *ret_set,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The same, and what of it reads as zero. */
int qcow2_contents(const char *path, struct extents *ret_set,
                   struct extents *ret_zeros, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * qcow2_rebase_unsafe(path, backing_name, backing_format, err):
 * Rewrite the backing name and format in a header (what `qemu-img rebase -u`
 * does); with backing_name NULL the image has no backing file any more.  The
 * image must not be open in a QEMU; its image locks are taken and a lock held
 * by another refuses.  The new name may be up to 1023 bytes; it is put beside
 * the old one, and the header is switched by one write of its first sector.
 *
 * Durability: on 0 the new name survives a power cut; otherwise the old or
 *             the new one stands, whole (with clusters below 4 KiB only if
 *             the machine itself does not die).
 * Returns:    0, or -1 with *err set to ERROR_BUSY (locked by a QEMU),
 *             ERROR_CORRUPT, ERROR_UNSUPPORTED, ERROR_IO.
 */
int qcow2_rebase_unsafe(const char *path, const char *backing_name,
                        enum image_format backing_format, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/* One persistent dirty bitmap of an image. */
struct qcow2_bitmap {
    char name[1024];
    bool in_use; /* not saved at the last close: contents are worthless */
    bool enabled;
    uint32_t granularity_bits;
};

/**
 * qcow2_read_bitmaps(path, ret_bitmaps, ret_count, err):
 * The bitmap directory.  The caller frees *ret_bitmaps.
 */
int qcow2_read_bitmaps(const char *path, struct qcow2_bitmap **ret_bitmaps,
                       size_t *ret_count, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
