/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imagelock.h -- QEMU's image locks: who has an image open, and for what.
 *
 * QEMU (block/file-posix.c) locks bytes of an image file with OFD locks:
 * byte 100 + n while it uses permission n, byte 200 + n while it forbids
 * others permission n.  The same is done here, so that QEMU, qemu-img,
 * qemu-nbd and we refuse one another.
 *
 * A lock belongs to the open file description: it ends with the last close of
 * that descriptor (and its dups), also when the process dies; other
 * descriptors of the same file, ours too, neither hold nor drop it.
 *
 * What the locks do not show: whoever opened the image with force-share
 * ("-U") or with locking off.
 */
#ifndef IMAGE_IMAGELOCK_H
#define IMAGE_IMAGELOCK_H

#include "base/compiler.h"
#include "base/error.h"

enum imagelock_mode {
    IMAGELOCK_READ, /* read; others may read, nobody may write */
    IMAGELOCK_WRITE /* read, write and resize; nobody else may use it */
};

/**
 * imagelock_take(fd, mode, path, err):
 * Lock the image that `fd` (open for reading at least) leads to; `path` names
 * it in messages.  Taking WRITE over READ upgrades.
 *
 * Blocks:     never waits for another holder.  Two that come at the same
 *             moment may both be refused.
 * Returns:    0, or -1 with *err set to
 *               ERROR_BUSY  another holds a lock that forbids this; then `fd`
 *                           holds nothing any more;
 *               ERROR_IO    the file system has no such locks.
 */
int imagelock_take(int fd, enum imagelock_mode mode, const char *path,
                   struct error *err) MUST_CHECK NONNULL(3, 4);

/* Give all locks of `fd` back; closing it does the same. */
void imagelock_drop(int fd);

/**
 * imagelock_probe(path, mode, err):
 * Would taking `mode` be refused?  With IMAGELOCK_READ: does a writer hold
 * the image; with IMAGELOCK_WRITE: does anybody.  Takes nothing.
 *
 * Returns:    1 somebody holds it, 0 nobody does, -1 with *err set to
 *             ERROR_NOT_FOUND, ERROR_IO.
 */
int imagelock_probe(const char *path, enum imagelock_mode mode,
                    struct error *err) MUST_CHECK NONNULL(1, 3);

#endif
