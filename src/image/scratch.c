/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a zlib or zstd context costs more than a small cluster takes to
 * decompress, and a staging buffer is large; so both are kept.  The list is
 * short (one element for each reader that was ever active at once) and the
 * lock is held for a walk along it only.
 *
 * The last cluster that was decompressed for a partial read is kept with the
 * scratch: whoever reads a 2 MiB cluster in 64 KiB pieces decompresses it
 * once.  Readers of a live image, where a cluster's place may be used again,
 * do not ask for it.
 *
 * What counts as right is what QEMU accepts: a raw deflate stream with a
 * window of 4 KiB, or zstd frames, giving exactly one cluster, with anything
 * behind, since the length is stored in whole sectors.  One thing less is
 * accepted: data that would go on past the cluster's end.
 */
#define ZLIB_CONST /* input is not written to */

#include "image/scratch.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define STAGING_MIN ((size_t)1 << 20)
#define WINDOW_BITS (-12) /* raw deflate, as QEMU writes it */

struct scratch {
    struct scratch *next; /* under the pool's lock while it is free */
    void *staging;        /* owned */
    size_t staging_size;
    void *cluster; /* owned; NULL until it is needed */
    size_t cluster_size;
    const void *held_owner; /* compared, never followed */
    uint64_t held_host;
    z_stream zlib;
    bool has_zlib;
    ZSTD_DCtx *zstd; /* owned; NULL until it is needed */
};

void
scratch_pool_init(struct scratch_pool *pool, size_t cluster_size)
{
    lock_init(&pool->lock);
    pool->free = NULL;
    pool->cluster_size = cluster_size;
}

static void
scratch_free(struct scratch *scratch)
{
    if (scratch->has_zlib)
        (void)inflateEnd(&scratch->zlib);
    (void)ZSTD_freeDCtx(scratch->zstd);
    free(scratch->cluster);
    free(scratch->staging);
    free(scratch);
}

void
scratch_pool_release(struct scratch_pool *pool)
{
    while (pool->free != NULL) {
        struct scratch *next = pool->free->next;

        scratch_free(pool->free);
        pool->free = next;
    }
    lock_release(&pool->lock);
}

static struct scratch *take_locked(struct scratch_pool *pool, const void *owner,
                                   uint64_t host) REQUIRES(pool->lock);

static struct scratch *
take_locked(struct scratch_pool *pool, const void *owner, uint64_t host)
{
    struct scratch **link = &pool->free;
    struct scratch *found;

    for (struct scratch **at = &pool->free; *at != NULL; at = &(*at)->next) {
        if (owner != NULL && scratch_holds(*at, owner, host)) {
            link = at;
            break;
        }
    }
    found = *link;
    if (found != NULL)
        *link = found->next;
    return found;
}

struct scratch *
scratch_take(struct scratch_pool *pool, const void *owner, uint64_t host)
{
    struct scratch *scratch;

    lock_take(&pool->lock);
    scratch = take_locked(pool, owner, host);
    lock_give(&pool->lock);
    if (scratch == NULL) {
        scratch = xcalloc(1, sizeof(*scratch));
        scratch->cluster_size = pool->cluster_size;
        scratch->staging_size = MAX(STAGING_MIN, 2 * pool->cluster_size) +
                                (size_t)2 * IMAGE_FILE_ALIGNMENT;
        scratch->staging =
            xaligned(IMAGE_FILE_ALIGNMENT, scratch->staging_size);
    }
    return scratch;
}

void
scratch_give(struct scratch_pool *pool, struct scratch *scratch)
{
    lock_take(&pool->lock);
    scratch->next = pool->free;
    pool->free = scratch;
    lock_give(&pool->lock);
}

struct image_file_bounce
scratch_staging(struct scratch *scratch)
{
    return (struct image_file_bounce){.bytes = scratch->staging,
                                      .capacity = scratch->staging_size};
}

void *
scratch_cluster(struct scratch *scratch)
{
    if (scratch->cluster == NULL)
        scratch->cluster = xmalloc(scratch->cluster_size);
    return scratch->cluster;
}

bool
scratch_holds(const struct scratch *scratch, const void *owner, uint64_t host)
{
    return scratch->held_owner == owner && scratch->held_host == host;
}

void
scratch_set_held(struct scratch *scratch, const void *owner, uint64_t host)
{
    scratch->held_owner = owner;
    scratch->held_host = host;
}

/* Nothing but the stream's end may be left once the cluster is full. */
static bool
is_zlib_complete(z_stream *zlib, int result)
{
    unsigned char more;

    if (zlib->avail_out != 0)
        return false;
    if (result == Z_STREAM_END)
        return true;
    if (result != Z_BUF_ERROR)
        return false;
    /* Old writers left the end mark out; a longer stream shows here. */
    zlib->next_out = &more;
    zlib->avail_out = 1;
    (void)inflate(zlib, Z_FINISH);
    zlib->next_out = NULL;
    return zlib->avail_out == 1;
}

static int
inflate_zlib(struct scratch *scratch, const void *from, size_t from_length,
             void *to, size_t to_length, struct error *err)
{
    z_stream *zlib = &scratch->zlib;
    int result;

    if (scratch->has_zlib) {
        result = inflateReset(zlib);
    } else {
        result = inflateInit2(zlib, WINDOW_BITS);
        scratch->has_zlib = result == Z_OK;
    }
    if (result != Z_OK)
        return error_set(err, ERROR_INTERNAL, "zlib cannot start: %d", result);
    zlib->next_in = from;
    zlib->avail_in = (uInt)from_length;
    zlib->next_out = to;
    zlib->avail_out = (uInt)to_length;
    result = inflate(zlib, Z_FINISH);
    if (!is_zlib_complete(zlib, result))
        return error_set(err, ERROR_CORRUPT,
                         "does not inflate to a cluster of %zu bytes (zlib %d)",
                         to_length, result);
    return 0;
}

static int
inflate_zstd(struct scratch *scratch, const void *from, size_t from_length,
             void *to, size_t to_length, struct error *err)
{
    size_t used = 0;
    size_t done = 0;

    if (scratch->zstd == NULL)
        scratch->zstd = ZSTD_createDCtx();
    if (scratch->zstd == NULL)
        return error_set(err, ERROR_INTERNAL, "zstd cannot start");
    while (done < to_length) {
        const char *frame = (const char *)from + used;
        size_t length = ZSTD_findFrameCompressedSize(frame, from_length - used);
        size_t got = length;

        if (!ZSTD_isError(length))
            got = ZSTD_decompressDCtx(scratch->zstd, (char *)to + done,
                                      to_length - done, frame, length);
        if (ZSTD_isError(got))
            return error_set(err, ERROR_CORRUPT,
                             "does not inflate to a cluster of %zu bytes "
                             "(zstd: %s)",
                             to_length, ZSTD_getErrorName(got));
        used += length;
        done += got;
    }
    return 0;
}

int
scratch_inflate(struct scratch *scratch, enum qcow2_compression compression,
                const void *from, size_t from_length, void *to,
                size_t to_length, struct error *err)
{
    assert(from_length <= UINT32_MAX && to_length <= UINT32_MAX);
    if (compression == QCOW2_ZSTD)
        return inflate_zstd(scratch, from, from_length, to, to_length, err);
    return inflate_zlib(scratch, from, from_length, to, to_length, err);
}
