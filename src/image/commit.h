/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.h -- merge a layer of a stopped disk into the layer below it.
 *
 * Nothing here may be called for files that a QEMU has open: QEMU's own
 * image locks (byte ranges 100 + n and 200 + n of the file, see QEMU's
 * block/file-posix.c) are taken as a writer would, so that whoever comes
 * second is refused.
 */
#ifndef IMAGE_COMMIT_H
#define IMAGE_COMMIT_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/copy.h"

/**
 * commit_layer(top, base, progress, err):
 * Make `base` read as `top` over `base` does now: every range that `top`
 * decides is written (or zeroed) into `base`, and base gets top's disk size.
 * `top` must be a qcow2 whose backing name leads to `base`; it is not
 * changed, so that the chain reads the same throughout and after a crash at
 * any write: doing it again from the start completes it.
 *
 * Durability: on 0 base holds everything and survives a power cut.
 *             Otherwise top over base still reads as before.
 * Returns:    0, or -1 with *err set to
 *               ERROR_BUSY         somebody has one of the images locked;
 *               ERROR_UNSUPPORTED  base has internal snapshots, shared
 *                                  clusters, a data file, encryption, or an
 *                                  unclean dirty bit;
 *               ERROR_CORRUPT, ERROR_NO_SPACE, ERROR_IO, ERROR_CANCELLED.
 */
int commit_layer(const struct image_ref *top, const struct image_ref *base,
                 struct copy_progress *progress, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/**
 * commit_write(ref, buffer, offset, length, err):
 * Write guest data into one existing image as a guest would (copy-on-write
 * from its backing chain `below` for partial clusters).  For tests and the
 * fake hypervisor; the product writes layers only through QEMU.
 * `below` are the refs of the backing chain, top first, may be NULL.
 */
int commit_write(const struct image_ref *ref, const struct image_ref *below,
                 size_t below_count, const void *buffer, uint64_t offset,
                 size_t length, struct error *err) MUST_CHECK NONNULL(1, 4, 7);

/**
 * commit_resize(ref, size, err):
 * Grow or shrink the guest's disk size of an existing image (what
 * `qemu-img resize` does).  A grown part reads as zero, also over a longer
 * backing file.
 */
int commit_resize(const struct image_ref *ref, uint64_t size, struct error *err)
    MUST_CHECK NONNULL(1, 3);

#endif
