/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blockdev_internal.h -- what a kind of block device is made of.
 *
 * A kind embeds `struct blockdev` as its first member, fills it in and hands
 * it out; blockdev.c checks ranges and calls the kind's functions.  A new
 * kind needs a file blockdev_<kind>.c and a constructor in blockdev.h.
 *
 * Threads:    read, map and data are called by any number at once.
 */
#ifndef IMAGE_BLOCKDEV_INTERNAL_H
#define IMAGE_BLOCKDEV_INTERNAL_H

#include "base/error.h"
#include "image/blockdev.h"

#include <stddef.h>
#include <stdint.h>

struct blockdev_ops {
    /* The range is inside the disk and not empty. */
    int (*read)(struct blockdev *device, void *buffer, size_t length,
                uint64_t offset, struct error *err);
    /* `offset` is below the size; the result may reach past the size. */
    int (*map)(struct blockdev *device, uint64_t offset,
               struct block_range *ret_range, struct error *err);
    /* NULL: put together from map. */
    int (*data)(struct blockdev *device, struct extents *set,
                struct error *err);
    uint64_t (*bytes_read)(const struct blockdev *device);
    void (*free)(struct blockdev *device); /* and everything in it */
};

struct blockdev {
    const struct blockdev_ops *ops;
    uint64_t size; /* of the guest's disk */
    char *name;    /* owned by the kind */
};

#endif
