/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread's part: which clusters are zero, which compress, and into what.
 * The codec's context is made once and reused for every cluster (a fresh one
 * for each costs a tenth of the time), and nothing is allocated on the way.
 *
 * A cluster that would save less than a sixty-fourth is stored plain: reading
 * it back then costs nothing, for at most 1.6 % of its size.  Whether it will
 * is not guessed beforehand; zstd itself gives up on random data at several
 * GB/s.
 */
#include "image/qcow2_writer_internal.h"

#include "base/memory.h"
#include "image/newfile.h"
#include "image/zeros.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD_LEVEL_DEFAULT 1

/*
 * For clusters of 64 KiB zstd's own parameters want tables of 32 KiB (level 1)
 * and 384 KiB (level 3), which do not stay in the first-level cache.  Other
 * ones, measured on disks of programs, databases, logs and media:
 *   level 1: 0.94 of the time, 0.996 of the size;
 *   level 3: 0.87 of the time, 1.002 to 1.0045 of the size.  It has two: long
 *            matches do with 8 KiB, it is the short ones that pay for theirs.
 */
static const struct tuning {
    int level;
    ZSTD_cParameter parameter;
    int value;
} tunings[] = {
    {1, ZSTD_c_hashLog, 12},
    {1, ZSTD_c_minMatch, 5},
    {3, ZSTD_c_hashLog, 11},
    {3, ZSTD_c_chainLog, 16},
};
#define TUNED_CLUSTER_BITS 16
#define ZLIB_LEVEL_DEFAULT 6

/* What QEMU inflates with: no layout, a window of 4 KiB. */
#define ZLIB_WINDOW_BITS (-12)
#define ZLIB_MEMORY_LEVEL 9

static int
make_zstd(struct qcow2_writer_batch *batch, int level, struct error *err)
{
    size_t result;

    if (level == 0)
        level = ZSTD_LEVEL_DEFAULT;
    batch->zstd = ZSTD_createCCtx();
    if (batch->zstd == NULL)
        return error_set(err, ERROR_INTERNAL, "no memory for zstd");
    result =
        ZSTD_CCtx_setParameter(batch->zstd, ZSTD_c_compressionLevel, level);
    if (batch->writer->layout.cluster_bits == TUNED_CLUSTER_BITS) {
        for (size_t i = 0; i < ARRAY_SIZE(tunings); i++) {
            if (tunings[i].level == level && !ZSTD_isError(result))
                result = ZSTD_CCtx_setParameter(
                    batch->zstd, tunings[i].parameter, tunings[i].value);
        }
    }
    if (ZSTD_isError(result))
        return error_set(err, ERROR_INVALID, "zstd level %d: %s", level,
                         ZSTD_getErrorName(result));
    return 0;
}

static int
make_zlib(struct qcow2_writer_batch *batch, int level, struct error *err)
{
    z_stream *zlib = xcalloc(1, sizeof(*zlib));
    int result =
        deflateInit2(zlib, level != 0 ? level : ZLIB_LEVEL_DEFAULT, Z_DEFLATED,
                     ZLIB_WINDOW_BITS, ZLIB_MEMORY_LEVEL, Z_DEFAULT_STRATEGY);

    if (result != Z_OK) {
        free(zlib);
        if (result == Z_STREAM_ERROR)
            return error_set(err, ERROR_INVALID, "zlib has no level %d", level);
        return error_set(err, ERROR_INTERNAL, "no memory for zlib");
    }
    batch->zlib = zlib;
    return 0;
}

static int
make_codec(struct qcow2_writer_batch *batch, struct error *err)
{
    const struct qcow2_writer *writer = batch->writer;

    if (!writer->compress)
        return 0;
    batch->packed = xmalloc(QCOW2_WRITER_BATCH_MAX);
    if (writer->layout.compression == QCOW2_ZSTD)
        return make_zstd(batch, writer->level, err);
    return make_zlib(batch, writer->level, err);
}

struct qcow2_writer_batch *
qcow2_writer_batch_new(struct qcow2_writer *writer, struct error *err)
{
    struct qcow2_writer_batch *batch = xcalloc(1, sizeof(*batch));
    size_t most = (QCOW2_WRITER_BATCH_MAX >> writer->layout.cluster_bits) +
                  QCOW2_WRITER_ZEROS_MAX;

    batch->writer = writer;
    batch->items = xcalloc(most, sizeof(*batch->items));
    batch->runs = xcalloc(most, sizeof(*batch->runs));
    while (batch->spare_count < QCOW2_WRITER_SPARES)
        batch->spares[batch->spare_count++] =
            xaligned(NEWFILE_ALIGN, QCOW2_WRITER_STAGE);
    if (make_codec(batch, err) < 0) {
        qcow2_writer_batch_free(batch);
        return NULL;
    }
    return batch;
}

void
qcow2_writer_batch_free(struct qcow2_writer_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->spare_count; i++)
        free(batch->spares[i]);
    for (size_t i = 0; i < batch->full_count; i++)
        free(batch->fulls[i].bytes);
    if (batch->zlib != NULL)
        (void)deflateEnd(batch->zlib); /* says that data was left: it may */
    free(batch->zlib);
    (void)ZSTD_freeCCtx(batch->zstd); /* never fails */
    free(batch->packed);
    free(batch->tail);
    free(batch->items);
    free(batch->runs);
    free(batch);
}

/* The length of the compressed cluster at `to`, or 0 if it is above `max`. */
static size_t
compress_cluster(struct qcow2_writer_batch *batch, const uint8_t *cluster,
                 size_t cluster_size, uint8_t *to, size_t max)
{
    if (batch->zstd != NULL) {
        size_t length =
            ZSTD_compress2(batch->zstd, to, max, cluster, cluster_size);

        return ZSTD_isError(length) ? 0 : length;
    }
    if (deflateReset(batch->zlib) != Z_OK)
        return 0;
    batch->zlib->next_in = cluster;
    batch->zlib->avail_in = (uInt)cluster_size;
    batch->zlib->next_out = to;
    batch->zlib->avail_out = (uInt)max;
    if (deflate(batch->zlib, Z_FINISH) != Z_STREAM_END)
        return 0;
    return max - batch->zlib->avail_out;
}

/* Zero clusters, in one item as long as they touch. */
static void
add_zeros(struct qcow2_writer_batch *batch, uint64_t cluster, uint64_t count)
{
    struct qcow2_writer_item *last =
        batch->item_count > 0 ? &batch->items[batch->item_count - 1] : NULL;

    assert(batch->items != NULL);
    if (last != NULL && last->kind == QCOW2_WRITER_KIND_ZERO &&
        last->cluster + last->count == cluster) {
        last->count += count;
        return;
    }
    batch->items[batch->item_count++] = (struct qcow2_writer_item){
        .cluster = cluster,
        .count = count,
        .kind = QCOW2_WRITER_KIND_ZERO,
    };
}

/* One more cluster of guest data; the batch stays within its bound. */
static void
add_cluster(struct qcow2_writer_batch *batch, const void *bytes, size_t length,
            uint64_t offset, enum qcow2_writer_kind kind)
{
    size_t size = qcow2_writer_cluster_size(batch->writer);

    assert(offset % size == 0 && offset < batch->writer->layout.size);
    batch->encoded += size;
    assert(batch->encoded <= QCOW2_WRITER_BATCH_MAX);
    batch->items[batch->item_count++] = (struct qcow2_writer_item){
        .cluster = offset / size,
        .count = 1,
        .bytes = bytes,
        .length = (uint32_t)length,
        .kind = kind,
    };
}

void
qcow2_writer_add_packed(struct qcow2_writer_batch *batch, const void *bytes,
                        size_t length, uint64_t offset)
{
    size_t size = qcow2_writer_cluster_size(batch->writer);

    assert(batch->writer->compress && length >= QCOW2_WRITER_PACKED_MIN(size) &&
           length <= 2 * size);
    add_cluster(batch, bytes, length, offset, QCOW2_WRITER_KIND_COMPRESSED);
}

void
qcow2_writer_add_plain(struct qcow2_writer_batch *batch, const void *bytes,
                       uint64_t offset)
{
    size_t size = qcow2_writer_cluster_size(batch->writer);

    if (zeros_only(bytes, size))
        add_zeros(batch, offset / size, 1);
    else
        add_cluster(batch, bytes, size, offset, QCOW2_WRITER_KIND_PLAIN);
}

static void
encode_cluster(struct qcow2_writer_batch *batch, const uint8_t *cluster,
               uint64_t number)
{
    size_t size = qcow2_writer_cluster_size(batch->writer);
    struct qcow2_writer_item item = {
        .cluster = number,
        .count = 1,
        .bytes = cluster,
        .length = (uint32_t)size,
        .kind = QCOW2_WRITER_KIND_PLAIN,
    };

    if (zeros_only(cluster, size)) {
        add_zeros(batch, number, 1);
        return;
    }
    if (batch->writer->compress) {
        uint8_t *to = batch->packed + batch->packed_fill;
        size_t length =
            compress_cluster(batch, cluster, size, to, size - size / 64);

        if (length > 0) {
            item.bytes = to;
            item.length = (uint32_t)length;
            item.kind = QCOW2_WRITER_KIND_COMPRESSED;
            batch->packed_fill += length;
        }
    }
    batch->items[batch->item_count++] = item;
}

int
qcow2_writer_encode(struct qcow2_writer_batch *batch, const void *buffer,
                    uint64_t offset, size_t length, struct error *err)
{
    const uint8_t *bytes = buffer;
    size_t size = qcow2_writer_cluster_size(batch->writer);
    uint64_t number = offset / size;
    uint64_t end;

    assert(offset % size == 0);
    if (__builtin_add_overflow(offset, length, &end) ||
        end > batch->writer->layout.size)
        return error_set(err, ERROR_INVALID, "'%s': data past the disk's end",
                         batch->writer->path);
    assert(length % size == 0 || end == batch->writer->layout.size);
    batch->encoded += (length + size - 1) / size * size;
    assert(batch->encoded <= QCOW2_WRITER_BATCH_MAX);

    for (; length >= size; length -= size, bytes += size)
        encode_cluster(batch, bytes, number++);
    if (length > 0) {
        if (batch->tail == NULL)
            batch->tail = xaligned(NEWFILE_ALIGN, MAX(size, NEWFILE_ALIGN));
        memcpy(batch->tail, bytes, length);
        memset(batch->tail + length, 0, size - length);
        encode_cluster(batch, batch->tail, number);
    }
    return 0;
}

void
qcow2_writer_encode_zero(struct qcow2_writer_batch *batch, uint64_t offset,
                         uint64_t length)
{
    size_t size = qcow2_writer_cluster_size(batch->writer);
    uint64_t disk = batch->writer->layout.size;

    assert(offset % size == 0 && length <= disk && offset <= disk - length);
    assert(length % size == 0 || offset + length == disk);
    if (length == 0)
        return;
    add_zeros(batch, offset / size, (length + size - 1) / size);
    assert(batch->item_count <=
           QCOW2_WRITER_BATCH_MAX / size + QCOW2_WRITER_ZEROS_MAX);
}

int
qcow2_writer_flush(struct qcow2_writer_batch *batch, struct error *err)
{
    while (batch->full_count > 0) {
        struct qcow2_writer_full *full = &batch->fulls[batch->full_count - 1];

        if (qcow2_writer_store(batch->writer, full->bytes, full->length,
                               full->offset, err) < 0)
            return -1;
        batch->spares[batch->spare_count++] = full->bytes;
        batch->full_count--;
    }
    for (size_t i = 0; i < batch->run_count; i++) {
        const struct qcow2_writer_run *run = &batch->runs[i];

        if (qcow2_writer_store(batch->writer, run->bytes, run->length,
                               run->offset, err) < 0)
            return -1;
    }
    batch->run_count = 0;
    return 0;
}
