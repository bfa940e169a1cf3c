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
 * For clusters of 64 KiB zstd's own parameters want tables that push the data
 * out of the first-level cache: of 32 KiB (level 1), 384 KiB (level 3).
 * Others, measured on disks of programs, databases, logs and media, relative
 * to zstd's own of that level:
 *
 *   level 1: 0.89 of the time, 1.006 of the size;
 *   level 3: 0.84 of the time, 1.0025 of the size.
 *
 * Level 3 looks for matches in two tables, which pays where there are many.
 * After a cluster that kept 7/16 of its length (machine code, mostly) one table
 * finds nearly the same in two thirds of the time; after one that kept 3/16 to
 * 4/16 (logs, rows of databases) it takes 0.92 of the instructions for 1.007 of
 * the size.  Elsewhere the second table is worth more than it costs.
 * Neighbours are alike, so the cluster before decides; the first of a batch has
 * none, so that what comes out depends on the data alone and on no thread.
 *
 * Why no search of our own, with zstd for the entropy alone
 * (ZSTD_compressSequences): handing the matches over takes an eighth of all
 * instructions, more than tables for 64 KiB save.
 */
static const struct tuning {
    int level;
    enum qcow2_writer_gear gear;
    ZSTD_cParameter parameter;
    int value;
} tunings[] = {
    {1, QCOW2_WRITER_USUAL, ZSTD_c_hashLog, 11},
    {1, QCOW2_WRITER_USUAL, ZSTD_c_minMatch, 5},
    {3, QCOW2_WRITER_USUAL, ZSTD_c_hashLog, 13},
    {3, QCOW2_WRITER_USUAL, ZSTD_c_chainLog, 14},
    {3, QCOW2_WRITER_LIGHT, ZSTD_c_strategy, ZSTD_fast},
    {3, QCOW2_WRITER_LIGHT, ZSTD_c_hashLog, 14},
    {3, QCOW2_WRITER_LIGHT, ZSTD_c_minMatch, 5},
};
#define TUNED_CLUSTER_BITS 16
#define ZLIB_LEVEL_DEFAULT 6

/* What QEMU inflates with: no layout, a window of 4 KiB. */
#define ZLIB_WINDOW_BITS (-12)
#define ZLIB_MEMORY_LEVEL 9

/* The codec of one gear; *ret_zstd stays NULL where the level has no such. */
static int
make_gear(const struct qcow2_writer *writer, int level,
          enum qcow2_writer_gear gear, ZSTD_CCtx **ret_zstd, struct error *err)
{
    bool tuned = writer->layout.cluster_bits == TUNED_CLUSTER_BITS;
    bool wanted = gear == QCOW2_WRITER_USUAL;
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    size_t result;

    if (zstd == NULL)
        return error_set(err, ERROR_INTERNAL, "no memory for zstd");
    result = ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);
    for (size_t i = 0; tuned && i < ARRAY_SIZE(tunings); i++) {
        const struct tuning *tuning = &tunings[i];

        if (tuning->level != level || tuning->gear != gear ||
            ZSTD_isError(result))
            continue;
        wanted = true;
        result = ZSTD_CCtx_setParameter(zstd, tuning->parameter, tuning->value);
    }
    if (!wanted || ZSTD_isError(result))
        (void)ZSTD_freeCCtx(zstd); /* never fails */
    if (ZSTD_isError(result))
        return error_set(err, ERROR_INVALID, "zstd level %d: %s", level,
                         ZSTD_getErrorName(result));
    if (wanted)
        *ret_zstd = zstd;
    return 0;
}

static int
make_zstd(struct qcow2_writer_batch *batch, int level, struct error *err)
{
    if (level == 0)
        level = ZSTD_LEVEL_DEFAULT;
    for (unsigned i = 0; i < QCOW2_WRITER_GEARS; i++) {
        if (make_gear(batch->writer, level, i, &batch->zstd[i], err) < 0)
            return -1;
    }
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
    for (size_t i = 0; i < QCOW2_WRITER_GEARS; i++)
        (void)ZSTD_freeCCtx(batch->zstd[i]); /* never fails */
    free(batch->packed);
    free(batch->tail);
    free(batch->items);
    free(batch->runs);
    free(batch);
}

/* Is a second table worth little after a cluster that kept this length? */
static bool
goes_light(size_t length, size_t cluster_size)
{
    size_t sixteenths = length / (cluster_size / 16);

    return sixteenths >= 7 || sixteenths == 3;
}

static size_t
compress_zstd(struct qcow2_writer_batch *batch, const uint8_t *cluster,
              size_t cluster_size, uint8_t *to, size_t max)
{
    ZSTD_CCtx *zstd = batch->zstd[QCOW2_WRITER_USUAL];
    size_t length;

    if (batch->light && batch->zstd[QCOW2_WRITER_LIGHT] != NULL)
        zstd = batch->zstd[QCOW2_WRITER_LIGHT];
    length = ZSTD_compress2(zstd, to, max, cluster, cluster_size);
    if (ZSTD_isError(length))
        length = 0;
    batch->light = length == 0 || goes_light(length, cluster_size);
    return length;
}

/* The length of the compressed cluster at `to`, or 0 if it is above `max`. */
static size_t
compress_cluster(struct qcow2_writer_batch *batch, const uint8_t *cluster,
                 size_t cluster_size, uint8_t *to, size_t max)
{
    if (batch->zlib == NULL)
        return compress_zstd(batch, cluster, cluster_size, to, max);
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
