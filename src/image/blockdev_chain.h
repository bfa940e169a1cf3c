/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blockdev_chain.h -- a chain of layers and where its bytes are; for the
 * files of the chain, of folding and of merging.
 */
#ifndef IMAGE_BLOCKDEV_CHAIN_H
#define IMAGE_BLOCKDEV_CHAIN_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev_internal.h"
#include "image/image_file.h"
#include "image/qcow2_image.h"
#include "image/scratch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libvirt stops at 200. */
#define BLOCKDEV_CHAIN_MAX 256u

struct chain_layer {
    struct qcow2_image *qcow2; /* owned; NULL for a raw layer */
    struct image_file raw;     /* owned; only of a raw layer */
    struct image_file *file;   /* whichever it is */
    uint64_t size;             /* of this layer's disk */
    bool may_change;           /* a running QEMU writes into it */
};

struct chain_device {
    struct blockdev common;
    struct scratch_pool pool;
    size_t count;
    struct chain_layer layers[]; /* top first */
};

/* A piece of the disk and where its bytes come from. */
enum chain_kind {
    CHAIN_ZERO,
    CHAIN_DATA,
    CHAIN_COMPRESSED,
    CHAIN_BELOW /* only of chain_walk_part: what lies under it decides */
};

struct chain_segment {
    uint64_t offset; /* of the disk */
    uint64_t length;
    enum chain_kind kind;
    struct chain_layer *layer; /* NULL for CHAIN_ZERO and CHAIN_BELOW */
    uint64_t host;             /* as in struct qcow2_run */
    uint64_t host_length;
};

/* Returns 0 to go on, 1 to stop, -1 with *err set. */
typedef int (*chain_visit)(void *context, const struct chain_segment *segment,
                           struct error *err);

/**
 * chain_walk(chain, offset, length, holes, visit, context, err):
 * Call `visit` for every segment of a range of the disk, in order and without
 * gaps.  With `holes`, holes of a raw layer are told as CHAIN_ZERO.
 *
 * Returns:    0, 1 when visit() stopped it, or -1.
 */
int chain_walk(struct chain_device *chain, uint64_t offset, uint64_t length,
               bool holes, chain_visit visit, void *context, struct error *err)
    MUST_CHECK NONNULL(1, 5, 7);

/**
 * chain_walk_part(chain, count, offset, length, visit, context, err):
 * The same for the topmost `count` layers alone, with holes: what they leave
 * to the layers under them is told as CHAIN_BELOW.
 */
int chain_walk_part(struct chain_device *chain, size_t count, uint64_t offset,
                    uint64_t length, chain_visit visit, void *context,
                    struct error *err) MUST_CHECK NONNULL(1, 5, 7);

/* As blockdev_ops.read. */
int chain_read(struct blockdev *device, void *buffer, size_t length,
               uint64_t offset, struct error *err) MUST_CHECK;

#endif
