/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a range of a chain with few system calls.
 *
 * The walk hands over segments in the order of the disk.  Zeros are filled in
 * at once.  Data is held back while the next segment goes on where it ends,
 * on the disk and in the file, and then read with one call.
 *
 * Compressed clusters are collected, up to BATCH_MAX of them, then sorted by
 * their place in the file, and neighbours are read together into the staging
 * buffer and decompressed from there.  Sorting matters: writers that compress
 * in parallel store the clusters of one megabyte beside each other but in any
 * order.  A cluster that is wanted whole is decompressed straight into the
 * caller's memory.
 *
 * Data and compressed clusters are held back independently, as they fill
 * different parts of the caller's memory.
 */
#include "image/blockdev_chain.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 64u

/* Reading this much for nothing takes 4 us from the page cache, and less than
 * another call from a disk. */
#define GAP_MAX ((uint64_t)64 << 10)

struct compressed {
    struct chain_layer *layer;
    uint64_t host;
    uint64_t host_length;
    uint64_t disk_offset; /* for messages */
    size_t skip;          /* bytes of the cluster before the wanted ones */
    size_t length;        /* wanted bytes */
    char *to;
};

struct reader {
    struct chain_device *chain;
    char *buffer;
    uint64_t offset; /* of the disk, of buffer[0] */
    struct scratch *scratch;

    struct image_file *file; /* data held back; NULL for none */
    uint64_t host;
    size_t length;
    char *to;

    size_t batched; /* compressed clusters held back */
    struct compressed batch[BATCH_MAX];
};

static struct scratch *
get_scratch(struct reader *reader, const void *owner, uint64_t host)
{
    if (reader->scratch == NULL)
        reader->scratch = scratch_take(&reader->chain->pool, owner, host);
    return reader->scratch;
}

/* -- data --------------------------------------------------------------- */

static int
flush_data(struct reader *reader, struct error *err)
{
    struct image_file *file = reader->file;
    struct image_file_bounce bounce = {.capacity = 0};

    if (file == NULL)
        return 0;
    reader->file = NULL;
    if (file->direct_fd >= 0)
        bounce = scratch_staging(get_scratch(reader, NULL, 0));
    return image_file_read_data(file, reader->to, reader->length, reader->host,
                                &bounce, err);
}

static int
add_data(struct reader *reader, const struct chain_segment *segment, char *to,
         struct error *err)
{
    if (reader->file == segment->layer->file &&
        reader->host + reader->length == segment->host &&
        reader->to + reader->length == to) {
        reader->length += (size_t)segment->length;
        return 0;
    }
    if (flush_data(reader, err) < 0)
        return -1;
    reader->file = segment->layer->file;
    reader->host = segment->host;
    reader->length = (size_t)segment->length;
    reader->to = to;
    return 0;
}

/* -- compressed clusters ------------------------------------------------ */

static int
compare_places(const void *a, const void *b)
{
    const struct compressed *left = a;
    const struct compressed *right = b;

    if (left->layer != right->layer)
        return left->layer < right->layer ? -1 : 1;
    return (left->host > right->host) - (left->host < right->host);
}

/* Decompress one cluster whose stored bytes are at `from`. */
static int
unpack(struct reader *reader, const struct compressed *item, const void *from,
       struct error *err)
{
    struct qcow2_image *image = item->layer->qcow2;
    struct scratch *scratch = reader->scratch;
    size_t cluster = (size_t)image->cluster_size;
    bool whole = item->skip == 0 && item->length == cluster;
    char *to = whole ? item->to : scratch_cluster(scratch);

    if (!whole)
        scratch_set_held(scratch, NULL, 0);
    if (scratch_inflate(scratch, image->header.info.compression, from,
                        (size_t)item->host_length, to, cluster, err) < 0)
        return error_prefix(
            err, "'%s': the compressed cluster at %llu (disk offset %llu)",
            image->file.path, (unsigned long long)item->host,
            (unsigned long long)item->disk_offset);
    if (!whole) {
        memcpy(item->to, to + item->skip, item->length);
        if (!item->layer->may_change)
            scratch_set_held(scratch, image, item->host);
    }
    return 0;
}

/* Read and unpack `count` sorted items that lie close together. */
static int
read_group(struct reader *reader, const struct compressed *items, size_t count,
           uint64_t end, struct error *err)
{
    struct image_file_bounce staging = scratch_staging(reader->scratch);
    struct image_file *file = items[0].layer->file;
    uint64_t start = items[0].host & ~((uint64_t)IMAGE_FILE_ALIGNMENT - 1);
    uint64_t whole = (end + IMAGE_FILE_ALIGNMENT - 1) &
                     ~((uint64_t)IMAGE_FILE_ALIGNMENT - 1);

    if (file->direct_fd >= 0 && image_file_reaches(file, whole))
        end = whole;
    assert(end - start <= staging.capacity);
    if (image_file_read_data(file, staging.bytes, (size_t)(end - start), start,
                             &staging, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const char *from =
            (const char *)staging.bytes + (size_t)(items[i].host - start);

        if (unpack(reader, &items[i], from, err) < 0)
            return -1;
    }
    return 0;
}

static int
flush_batch(struct reader *reader, struct error *err)
{
    struct compressed *batch = reader->batch;
    size_t count = reader->batched;
    size_t capacity;
    size_t first = 0;

    if (count == 0)
        return 0;
    reader->batched = 0;
    capacity = scratch_staging(reader->scratch).capacity;
    qsort(batch, count, sizeof(*batch), compare_places);
    while (first < count) {
        uint64_t end = batch[first].host + batch[first].host_length;
        size_t last = first + 1;

        while (last < count && batch[last].layer == batch[first].layer &&
               batch[last].host <= end + GAP_MAX) {
            uint64_t next =
                MAX(end, batch[last].host + batch[last].host_length);

            if (next - batch[first].host >
                capacity - (size_t)2 * IMAGE_FILE_ALIGNMENT)
                break;
            end = next;
            last++;
        }
        if (read_group(reader, batch + first, last - first, end, err) < 0)
            return -1;
        first = last;
    }
    return 0;
}

static int
add_compressed(struct reader *reader, const struct chain_segment *segment,
               char *to, struct error *err)
{
    struct qcow2_image *image = segment->layer->qcow2;
    size_t skip = (size_t)(segment->offset & (image->cluster_size - 1));
    size_t length = (size_t)segment->length;
    struct scratch *scratch = get_scratch(reader, image, segment->host);

    if (scratch_holds(scratch, image, segment->host)) {
        memcpy(to, (char *)scratch_cluster(scratch) + skip, length);
        return 0;
    }
    if (reader->batched == BATCH_MAX && flush_batch(reader, err) < 0)
        return -1;
    reader->batch[reader->batched++] =
        (struct compressed){.layer = segment->layer,
                            .host = segment->host,
                            .host_length = segment->host_length,
                            .disk_offset = segment->offset,
                            .skip = skip,
                            .length = length,
                            .to = to};
    return 0;
}

/* -- all together ------------------------------------------------------- */

static int
visit(void *context, const struct chain_segment *segment, struct error *err)
{
    struct reader *reader = context;
    char *to = reader->buffer + (size_t)(segment->offset - reader->offset);

    switch (segment->kind) {
    case CHAIN_ZERO:
        memset(to, 0, (size_t)segment->length);
        return 0;
    case CHAIN_DATA:
        return add_data(reader, segment, to, err);
    case CHAIN_COMPRESSED:
        return add_compressed(reader, segment, to, err);
    case CHAIN_BELOW:
    default:
        break;
    }
    assert(segment->kind <= CHAIN_COMPRESSED);
    return 0;
}

int
chain_read(struct blockdev *device, void *buffer, size_t length,
           uint64_t offset, struct error *err)
{
    struct chain_device *chain = (struct chain_device *)device;
    struct reader reader;
    int result;

    reader.chain = chain;
    reader.buffer = buffer;
    reader.offset = offset;
    reader.scratch = NULL;
    reader.file = NULL;
    reader.batched = 0;
    result = chain_walk(chain, offset, length, false, visit, &reader, err);
    if (result == 0 &&
        (flush_data(&reader, err) < 0 || flush_batch(&reader, err) < 0))
        result = -1;
    if (reader.scratch != NULL)
        scratch_give(&chain->pool, reader.scratch);
    return result;
}
