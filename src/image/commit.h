/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.h -- change existing images of a stopped disk: merge a layer into
 * the one below it, write, resize.
 *
 * A chain is given whole, as to blockdev_open_chain(): chain[0] is the top,
 * chain[count - 1] has no backing file.  Only one file is changed; the others
 * are read.
 *
 * Nothing here may be called for files that a QEMU has open: QEMU's own
 * image locks (imagelock.h) are taken, WRITE for the file that is changed and
 * READ for all others, so that whoever comes second is refused.
 *
 * What cannot be changed in place is refused with ERROR_UNSUPPORTED and the
 * reason, before anything is written: internal snapshots, clusters in use
 * more than once, data files, encryption, a dirty bit (QEMU died with lazy
 * refcounts), enabled persistent bitmaps (they would miss the change), any
 * bitmap when the size changes.  `qemu-img` can do some of these.
 */
#ifndef IMAGE_COMMIT_H
#define IMAGE_COMMIT_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/copy.h"

/**
 * commit_layer(chain, count, progress, err):
 * Make chain[1] read as chain[0] over chain[1] does now: every range that the
 * top decides is written (or zeroed) there, and it gets the top's disk size.
 * The top must be a qcow2; it is not changed, so that the chain reads the
 * same throughout and after a crash at any write: doing it again from the
 * start completes it.  `progress` may be NULL.
 *
 * Durability: on 0 chain[1] holds everything and survives a power cut.
 *             Otherwise the chain still reads as before, and a check of
 *             chain[1] finds leaked clusters at worst.
 * Returns:    0, or -1 with *err set to
 *               ERROR_BUSY         somebody has one of the images locked;
 *               ERROR_UNSUPPORTED  see above; or the base is a device smaller
 *                                  than the top's disk;
 *               ERROR_CORRUPT, ERROR_NO_SPACE, ERROR_IO, ERROR_CANCELLED.
 */
int commit_layer(const struct image_ref *chain, size_t count,
                 struct copy_progress *progress, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/**
 * commit_write(chain, count, buffer, offset, length, err):
 * Write guest data into chain[0] as a guest would (copy-on-write from its
 * backing chain for partial clusters).  For tests and the fake hypervisor;
 * the product writes layers only through QEMU.
 *
 * Returns:    0, or -1 with *err set as by commit_layer, ERROR_INVALID for a
 *             range outside the disk.
 */
int commit_write(const struct image_ref *chain, size_t count,
                 const void *buffer, uint64_t offset, size_t length,
                 struct error *err) MUST_CHECK NONNULL(1, 3, 6);

/**
 * commit_resize(chain, count, size, err):
 * Grow or shrink the guest's disk of chain[0] (what `qemu-img resize` does).
 * A grown part reads as zero, also over a longer backing file.
 *
 * Durability: on 0 the new size survives a power cut; otherwise the old or
 *             the new one stands.
 */
int commit_resize(const struct image_ref *chain, size_t count, uint64_t size,
                  struct error *err) MUST_CHECK NONNULL(1, 4);

#endif
