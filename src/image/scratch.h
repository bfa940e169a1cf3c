/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h -- what one reading thread needs besides the caller's buffer:
 * staging memory and decompressors, kept for the next reader; internal to
 * src/image.
 *
 * A device has one pool.  A reader takes a scratch when it first needs one in
 * a call and gives it back at the end, so that there are at most as many as
 * there are readers at once, and none is made for each cluster.
 */
#ifndef IMAGE_SCRATCH_H
#define IMAGE_SCRATCH_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/lock.h"
#include "image/image_file.h"
#include "image/qcow2.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scratch;

struct scratch_pool {
    struct lock lock;
    struct scratch *free; /* under lock; a list */
    size_t cluster_size;  /* the largest of the chain; 0 for none */
};

void scratch_pool_init(struct scratch_pool *pool, size_t cluster_size)
    NONNULL(1);
void scratch_pool_release(struct scratch_pool *pool) NONNULL(1);

/* Take a scratch, preferably one that holds the cluster (owner, host). */
struct scratch *scratch_take(struct scratch_pool *pool, const void *owner,
                             uint64_t host) MUST_CHECK NONNULL(1);
void scratch_give(struct scratch_pool *pool, struct scratch *scratch)
    NONNULL(1, 2);

/*
 * Staging memory, aligned for direct reads: at least 1 MiB, and twice the
 * largest cluster and two blocks.
 */
struct image_file_bounce scratch_staging(struct scratch *scratch) NONNULL(1);

/* One decompressed cluster, for readers that want only a part of it. */
void *scratch_cluster(struct scratch *scratch) NONNULL(1);

/* Which cluster scratch_cluster() holds; owner NULL for none. */
bool scratch_holds(const struct scratch *scratch, const void *owner,
                   uint64_t host) NONNULL(1);
void scratch_set_held(struct scratch *scratch, const void *owner, uint64_t host)
    NONNULL(1);

/**
 * scratch_inflate(scratch, compression, from, from_length, to, to_length,
 *                 err):
 * Decompress one cluster.  Bytes behind the end of the compressed data are
 * padding and ignored.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when it does not
 *             decompress to exactly `to_length` bytes.
 */
int scratch_inflate(struct scratch *scratch, enum qcow2_compression compression,
                    const void *from, size_t from_length, void *to,
                    size_t to_length, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5, 7);

#endif
