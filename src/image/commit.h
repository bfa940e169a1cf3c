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
 * What cannot be changed in place is refused with a reason
 * (commit_refusal.h), before anything is written: internal snapshots, data
 * files, encryption, a dirty bit (QEMU died with lazy refcounts), enabled
 * persistent bitmaps (they would miss the change), any bitmap when the size
 * changes, unknown features.  Clusters in use more than once are found on the
 * way.
 */
#ifndef IMAGE_COMMIT_H
#define IMAGE_COMMIT_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_refusal.h"
#include "image/copy.h"

/**
 * commit_check(chain, count, ret_refusal, err):
 * What the files' headers say against commit_layer().  Takes no lock.
 *
 * Returns:    0 nothing, *ret_refusal is COMMIT_REFUSAL_NONE; or -1 with *err
 *             set to what commit_layer would fail with, and *ret_refusal to
 *             the reason if it is one of those.
 */
int commit_check(const struct image_ref *chain, size_t count,
                 enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * commit_layer(chain, count, progress, ret_refusal, err):
 * Make chain[1] read as chain[0] over chain[1] does now: every range that the
 * top decides is written (or zeroed) there, and it gets the top's disk size.
 * The top must be a qcow2; it is not changed, so that the chain reads the
 * same throughout and after a crash at any write: doing it again from the
 * start completes it.  `progress` may be NULL.  *ret_refusal is always set:
 * whether, and why, this chain cannot be merged in place; the caller may then
 * leave it to qemu-img (commit_refusal_is_for_qemu).
 *
 * Durability: on 0 chain[1] holds everything and survives a power cut.
 *             Otherwise the chain still reads as before, and a check of
 *             chain[1] finds leaked clusters at worst.
 * Returns:    0, or -1 with *err set to
 *               ERROR_BUSY         somebody has one of the images locked;
 *               ERROR_UNSUPPORTED  with *ret_refusal; or the disk is too
 *                                  large for our reader;
 *               ERROR_CORRUPT, ERROR_NO_SPACE, ERROR_IO, ERROR_CANCELLED.
 */
int commit_layer(const struct image_ref *chain, size_t count,
                 struct copy_progress *progress,
                 enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5);

/**
 * commit_pull(chain, count, progress, ret_refusal, err):
 * The other direction: make chain[0] need chain[1] no more.  What chain[1]
 * decides and chain[0] does not is stored (or zeroed) in chain[0], which rests
 * on chain[2] then, by the path that is given, or on nothing.  Only chain[0]
 * is changed; it reads the same throughout and after a crash at any write, and
 * doing it again from the start completes it, also with the old chain when it
 * rests on chain[2] already.  Bitmaps of chain[0] stay right, as nothing
 * changes for them; internal snapshots refuse in both, as chain[1] will go.
 *
 * Clusters of chain[0] have at least 4 KiB (COMMIT_REFUSAL_HEADER_ROOM), so
 * that its backing name can be switched by one write.
 *
 * Durability: on 0 chain[0] holds everything and survives a power cut, so that
 *             chain[1] may go.  Otherwise chain[0] rests on the one or the
 *             other, reads as before, and has leaked clusters at worst.
 * Returns:    0, or -1 with *err and *ret_refusal set as by commit_layer.
 */
int commit_pull(const struct image_ref *chain, size_t count,
                struct copy_progress *progress,
                enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5);

/**
 * commit_write(chain, count, buffer, offset, length, err):
 * Write guest data into chain[0] as a guest would (copy-on-write from its
 * backing chain for partial clusters).  For the disks of the self-test's
 * guest, tests and the fake hypervisor; everything else writes layers only
 * through QEMU.
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
