/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a window needs is sorted by its place in the files, and neighbours are
 * read with one call: streams that were written one after the other lie back
 * to back, in whatever order of the disk.
 *
 * Where a zstd stream ends is read from the heads of its blocks, without
 * decoding.  It counts only if the frame says that it holds one cluster; other
 * streams keep what the sectors of their entry have behind them, and so do
 * those of zlib, whose end can only be found by inflating.  A reader ignores
 * it.  If another stream is known to start there, it ends the one before.
 *
 * Past the page cache a group is read in whole blocks, into memory that is
 * aligned alike.  Where that would not leave room for the rest of the window
 * (tiny clusters, scattered), the group is read through the page cache.
 *
 * The buffer has room for twice the guest bytes of a window (a stream may be
 * larger than its cluster) and once more for those that turn out to need
 * encoding.
 */
#include "image/fold_internal.h"

#include "base/fault.h"
#include "base/memory.h"
#include "image/scratch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Reading this much for nothing is cheaper than another call. */
#define GAP_MAX ((uint64_t)4 << 10)

#define BUFFER_SIZE (3 * QCOW2_WRITER_BATCH_MAX)

struct fold_reader {
    const struct fold_shape *shape; /* borrowed */
    uint8_t *buffer;                /* owned, BUFFER_SIZE */
    size_t fill;
    struct fold_item **order; /* owned; by place in the files */
    size_t count;
    size_t wanted; /* bytes of those in `order` that are not read yet */
};

struct fold_reader *
fold_reader_new(const struct fold_shape *shape)
{
    struct fold_reader *reader = xcalloc(1, sizeof(*reader));

    reader->shape = shape;
    reader->buffer = xaligned(IMAGE_FILE_ALIGNMENT, BUFFER_SIZE);
    reader->order = xcalloc((QCOW2_WRITER_BATCH_MAX >> shape->cluster_bits) + 1,
                            sizeof(struct fold_item *));
    return reader;
}

void
fold_reader_free(struct fold_reader *reader)
{
    if (reader == NULL)
        return;
    free(reader->order);
    free(reader->buffer);
    free(reader);
}

static int
compare_places(const void *a, const void *b)
{
    const struct fold_item *left = *(struct fold_item *const *)a;
    const struct fold_item *right = *(struct fold_item *const *)b;

    if (left->layer != right->layer)
        return left->layer < right->layer ? -1 : 1;
    return (left->host > right->host) - (left->host < right->host);
}

static void
put_in_order(struct fold_reader *reader, struct fold_window *window)
{
    bool is_sorted = true;

    reader->count = 0;
    reader->wanted = 0;
    for (size_t i = 0; i < window->count; i++) {
        struct fold_item *item = &window->items[i];

        if (item->kind != FOLD_MOVE && item->kind != FOLD_PLAIN)
            continue;
        reader->order[reader->count++] = item;
        reader->wanted += item->host_length;
        if (reader->count > 1)
            is_sorted = is_sorted &&
                        compare_places(&reader->order[reader->count - 2],
                                       &reader->order[reader->count - 1]) <= 0;
    }
    if (!is_sorted)
        qsort(reader->order, reader->count, sizeof(struct fold_item *),
              compare_places);
}

/* How many items from `first` on are read together, and up to where. */
static size_t
choose_group(const struct fold_reader *reader, size_t first, uint64_t *ret_end)
{
    struct fold_item *const *order = reader->order;
    uint64_t start = order[first]->host;
    uint64_t end = start + order[first]->host_length;
    size_t wanted = reader->wanted - order[first]->host_length;
    size_t i = first + 1;

    for (; i < reader->count; i++) {
        uint64_t next = order[i]->host + order[i]->host_length;

        if (order[i]->layer != order[first]->layer ||
            order[i]->host > end + GAP_MAX)
            break;
        next = MAX(next, end);
        wanted -= order[i]->host_length;
        if (next - start + wanted >
            BUFFER_SIZE - QCOW2_WRITER_BATCH_MAX - reader->fill)
            break;
        end = next;
    }
    *ret_end = end;
    return i - first;
}

/* Read from..to of a file to the buffer's end, in whole blocks and past the
 * page cache if that is wanted and leaves room for the others; *ret_bytes is
 * where the byte at `from` went. */
static int
read_group(struct fold_reader *reader, struct image_file *file, uint64_t from,
           uint64_t to, uint8_t **ret_bytes, struct error *err)
{
    const uint64_t mask = IMAGE_FILE_ALIGNMENT - 1;
    struct image_file_bounce none = {.capacity = 0};
    size_t fill = (size_t)((reader->fill + mask) & ~mask);
    uint64_t start = from & ~mask;
    uint64_t end = (to + mask) & ~mask;

    if (file->direct_fd >= 0 && image_file_reaches(file, end) &&
        fill + (end - start) + reader->wanted <=
            BUFFER_SIZE - QCOW2_WRITER_BATCH_MAX) {
        *ret_bytes = reader->buffer + fill + (size_t)(from - start);
        reader->fill = fill + (size_t)(end - start);
        return image_file_read_data(file, reader->buffer + fill,
                                    (size_t)(end - start), start, &none, err);
    }
    *ret_bytes = reader->buffer + reader->fill;
    reader->fill += (size_t)(to - from);
    return image_file_read(file, *ret_bytes, (size_t)(to - from), from, err);
}

static int
read_groups(struct fold_reader *reader, struct error *err)
{
    for (size_t i = 0; i < reader->count;) {
        struct fold_item *const *order = reader->order + i;
        uint64_t start = order[0]->host;
        uint64_t end;
        size_t count = choose_group(reader, i, &end);
        uint8_t *bytes;

        for (size_t k = 0; k < count; k++)
            reader->wanted -= order[k]->host_length;
        if (read_group(reader, order[0]->layer->file, start, end, &bytes, err) <
            0)
            return -1;
        for (size_t k = 0; k < count; k++)
            order[k]->bytes = bytes + (size_t)(order[k]->host - start);
        i += count;
    }
    return 0;
}

/* The length of a zstd stream, or all there is if that cannot be told. */
static int
measure_zstd(const struct fold_reader *reader, struct fold_item *item,
             struct error *err)
{
    uint64_t cluster = (uint64_t)1 << reader->shape->cluster_bits;
    size_t length =
        ZSTD_findFrameCompressedSize(item->bytes, item->host_length);

    if (ZSTD_isError(length))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the compressed cluster at %" PRIu64
                         " (disk offset %" PRIu64 ") is no zstd stream: %s",
                         item->layer->file->path, item->host,
                         item->cluster * cluster, ZSTD_getErrorName(length));
    if (ZSTD_getFrameContentSize(item->bytes, item->host_length) == cluster)
        item->length = length;
    return 0;
}

static int
measure(struct fold_reader *reader, struct error *err)
{
    uint64_t cluster = (uint64_t)1 << reader->shape->cluster_bits;

    for (size_t i = 0; i < reader->count; i++) {
        struct fold_item *item = reader->order[i];
        const struct fold_item *next =
            i + 1 < reader->count ? reader->order[i + 1] : NULL;

        item->length = item->host_length;
        if (item->kind != FOLD_MOVE)
            continue;
        if (reader->shape->compression == QCOW2_ZSTD) {
            if (measure_zstd(reader, item, err) < 0)
                return -1;
        } else if (next != NULL && next->layer == item->layer &&
                   next->host - item->host >=
                       QCOW2_WRITER_PACKED_MIN(cluster)) {
            item->length = MIN(item->length, (size_t)(next->host - item->host));
        }
        if (item->length < QCOW2_WRITER_PACKED_MIN(cluster) ||
            item->length > QCOW2_WRITER_PACKED_MAX(cluster))
            item->kind = FOLD_ENCODE;
    }
    return 0;
}

static int
read_encoded(struct fold_reader *reader, struct fold_window *window,
             struct error *err)
{
    struct blockdev *device = &reader->shape->chain->common;
    size_t cluster = (size_t)1 << reader->shape->cluster_bits;

    for (size_t i = 0; i < window->count; i++) {
        struct fold_item *item = &window->items[i];
        uint8_t *to = reader->buffer + reader->fill;

        if (item->kind != FOLD_ENCODE)
            continue;
        assert(reader->fill + cluster <= BUFFER_SIZE);
        if (blockdev_read(device, to, cluster, item->cluster * cluster, err) <
            0)
            return -1;
        item->bytes = to;
        reader->fill += cluster;
    }
    return 0;
}

int
fold_read(struct fold_reader *reader, struct fold_window *window,
          struct error *err)
{
    if (fault_here("fold.read"))
        return error_set_errno(err, errno, "read '%s'",
                               reader->shape->chain->common.name);
    reader->fill = 0;
    put_in_order(reader, window);
    if (read_groups(reader, err) < 0 || measure(reader, err) < 0)
        return -1;
    return read_encoded(reader, window, err);
}
