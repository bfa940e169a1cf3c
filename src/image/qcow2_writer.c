/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file grows in one direction.  Guest clusters are gathered in two stages
 * of 4 MiB: compressed ones packed back to back, plain ones whole.  A stage
 * gets its place in the file only when it is closed, at the file's end, and
 * only then the L2 entries of its clusters are known.  So
 *
 *   - every write is long, aligned to 4 KiB, and lies behind the one before:
 *     direct I/O works, and nothing is read back or written twice;
 *   - the file has no gaps but the rounding of a stage's end;
 *   - places follow from the order of appends alone, which the caller keeps:
 *     the same disk gives the same file with any number of threads.
 *
 * Appending is copying into a stage.  Full stages leave with the batch whose
 * append filled them, in exchange for one of its spare buffers, and its
 * thread writes them after it let the next one in.  Only where nothing is
 * compressed, clusters in aligned memory get their places at once, one behind
 * the other as in a stage, and are written from where they are.
 *
 * L2 tables and refcount blocks that are final go to the file when 4 MiB of
 * them have gathered (32 GiB of disk), the rest at the end: the writer's
 * memory does not grow with the disk.
 *
 * Invariants: offsets ascend (asserted); an L2 table whose entries are not
 * all settled is in memory; nothing is at a place below `end` but what was
 * closed.
 */
#include "image/qcow2_writer_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/newfile.h"
#include "image/qcow2_format.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t
round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

size_t
qcow2_writer_cluster_size(const struct qcow2_writer *writer)
{
    return (size_t)1 << writer->layout.cluster_bits;
}

uint64_t
qcow2_writer_size(const struct qcow2_writer *writer)
{
    return writer->layout.size;
}

bool
qcow2_writer_has_backing(const struct qcow2_writer *writer)
{
    return writer->backing_name != NULL;
}

uint64_t
qcow2_writer_written(const struct qcow2_writer *writer)
{
    return atomic_load_explicit(&writer->written, memory_order_relaxed);
}

/* -- from beginning ----------------------------------------------------- */

static void
release(struct qcow2_writer *writer)
{
    qcow2_writer_batch_free(writer->own);
    for (int i = 0; i < QCOW2_WRITER_STREAMS; i++) {
        free(writer->stages[i].bytes);
        free(writer->stages[i].places);
    }
    qcow2_writer_tables_release(&writer->tables);
    if (writer->fd >= 0)
        (void)close(writer->fd); /* finish has synced it, or it goes */
    free(writer->backing_name);
    free(writer->path);
    free(writer);
}

struct qcow2_writer *
qcow2_writer_new(const char *path, const struct qcow2_writer_options *options,
                 struct error *err)
{
    struct qcow2_writer *writer = xcalloc(1, sizeof(*writer));

    writer->fd = -1;
    writer->path = xstrdup(path);
    writer->backing_name = xstrdup_null(options->backing_name);
    writer->compress = options->compress;
    writer->level = options->level;
    writer->layout.size = options->size;
    writer->layout.cluster_bits = options->cluster_bits != 0
                                      ? options->cluster_bits
                                      : QCOW2_CLUSTER_BITS_DEFAULT;
    writer->layout.backing_name = writer->backing_name;
    writer->layout.backing_format = options->backing_format;
    writer->layout.compression =
        options->compress ? options->compression : QCOW2_ZLIB;

    if (qcow2_layout_check(&writer->layout, err) < 0 ||
        qcow2_writer_tables_init(&writer->tables, options->size,
                                 writer->layout.cluster_bits, err) < 0) {
        (void)error_prefix(err, "create '%s'", path);
        release(writer);
        return NULL;
    }
    for (int i = 0; i < QCOW2_WRITER_STREAMS; i++) {
        writer->stages[i].bytes = xaligned(NEWFILE_ALIGN, QCOW2_WRITER_STAGE);
        writer->stages[i].places =
            xcalloc(QCOW2_WRITER_PLACES, sizeof(struct qcow2_writer_place));
    }
    /* The header's place. */
    writer->end = MAX(qcow2_writer_cluster_size(writer), (size_t)NEWFILE_ALIGN);
    qcow2_writer_tables_count(&writer->tables, 0, 1);
    writer->fd = newfile_create(path, options->direct, options->mode_like, err);
    if (writer->fd < 0) {
        release(writer);
        return NULL;
    }
    return writer;
}

void
qcow2_writer_free(struct qcow2_writer *writer)
{
    if (writer == NULL)
        return;
    if (!writer->finished)
        newfile_discard(writer->path);
    release(writer);
}

void
qcow2_writer_cleanup(struct qcow2_writer **writer)
{
    qcow2_writer_free(*writer);
}

/* -- stages ------------------------------------------------------------- */

int
qcow2_writer_store(struct qcow2_writer *writer, const uint8_t *bytes,
                   size_t length, uint64_t offset, struct error *err)
{
    if (fault_here("writer.data.space"))
        return error_set_errno(err, errno, "write '%s'", writer->path);
    return newfile_write(writer->fd, bytes, length, offset, writer->path, err);
}

uint64_t
qcow2_writer_stage_base(const struct qcow2_writer *writer,
                        enum qcow2_writer_stream stream)
{
    size_t unit = NEWFILE_ALIGN;

    if (stream == QCOW2_WRITER_PLAIN)
        unit = MAX(unit, qcow2_writer_cluster_size(writer));
    return round_up(writer->end, unit);
}

static uint64_t
entry_of(const struct qcow2_writer *writer, enum qcow2_writer_stream stream,
         uint64_t offset, uint32_t length)
{
    uint64_t sectors;

    if (stream == QCOW2_WRITER_PLAIN)
        return offset | QCOW2_COPIED;
    sectors = (offset + length - 1) / QCOW2_SECTOR - offset / QCOW2_SECTOR;
    return QCOW2_L2_COMPRESSED |
           sectors << qcow2_compressed_offset_bits(
               writer->layout.cluster_bits) |
           offset;
}

static void
settle_places(struct qcow2_writer *writer, enum qcow2_writer_stream stream,
              uint64_t base)
{
    struct qcow2_writer_stage *stage = &writer->stages[stream];

    for (size_t i = 0; i < stage->place_count; i++) {
        const struct qcow2_writer_place *place = &stage->places[i];
        uint64_t offset = base + place->offset;

        qcow2_writer_tables_set(
            &writer->tables, place->cluster,
            entry_of(writer, stream, offset, place->length));
        qcow2_writer_tables_count(&writer->tables, offset, place->length);
    }
    stage->place_count = 0;
}

/* QEMU's bound on refcount tables is a bound on the file: 128 GiB with
 * clusters of 512 bytes, nothing that we reach from 4 KiB on. */
static int
check_end(const struct qcow2_writer *writer, struct error *err)
{
    uint64_t blocks = QCOW2_REFTABLE_BYTES_MAX / sizeof(uint64_t);

    if (writer->end >> (2 * writer->layout.cluster_bits - 1) < blocks)
        return 0;
    return error_set(err, ERROR_INVALID,
                     "'%s' is too large for clusters of %zu bytes",
                     writer->path, qcow2_writer_cluster_size(writer));
}

int
qcow2_writer_close_stage(struct qcow2_writer *writer,
                         enum qcow2_writer_stream stream,
                         struct qcow2_writer_batch *batch, struct error *err)
{
    struct qcow2_writer_stage *stage = &writer->stages[stream];
    uint64_t base = qcow2_writer_stage_base(writer, stream);
    size_t length = round_up(stage->fill, NEWFILE_ALIGN);

    if (stage->fill == 0)
        return 0;
    memset(stage->bytes + stage->fill, 0, length - stage->fill);
    settle_places(writer, stream, base);
    writer->end = base + length;
    stage->fill = 0;
    if (check_end(writer, err) < 0)
        return -1;
    if (batch == NULL || batch->spare_count == 0)
        return qcow2_writer_store(writer, stage->bytes, length, base, err);
    batch->fulls[batch->full_count++] = (struct qcow2_writer_full){
        .bytes = stage->bytes, .length = length, .offset = base};
    stage->bytes = batch->spares[--batch->spare_count];
    return 0;
}

/* -- appending ---------------------------------------------------------- */

/* The L2 table of this cluster, in memory; others may have to leave. */
static int
need_table(struct qcow2_writer *writer, uint64_t cluster,
           struct qcow2_writer_batch *batch, struct error *err)
{
    size_t max = QCOW2_WRITER_STAGE >> writer->layout.cluster_bits;

    if (!qcow2_writer_tables_is_new(&writer->tables, cluster))
        return 0;
    if (writer->tables.l2_count >= max &&
        qcow2_writer_spill(writer, batch, err) < 0)
        return -1;
    qcow2_writer_tables_add(&writer->tables, cluster);
    return 0;
}

static int
put_zeros(struct qcow2_writer *writer, const struct qcow2_writer_item *item,
          struct qcow2_writer_batch *batch, struct error *err)
{
    if (writer->backing_name == NULL)
        return 0; /* unallocated reads as zero */
    for (uint64_t i = 0; i < item->count; i++) {
        if (need_table(writer, item->cluster + i, batch, err) < 0)
            return -1;
        qcow2_writer_tables_set(&writer->tables, item->cluster + i,
                                QCOW2_L2_ZERO);
    }
    return 0;
}

/* Whole blocks in memory that direct I/O takes. */
static bool
can_stay(const struct qcow2_writer *writer,
         const struct qcow2_writer_item *item)
{
    return !writer->compress && item->kind == QCOW2_WRITER_KIND_PLAIN &&
           item->length % NEWFILE_ALIGN == 0 &&
           (uintptr_t)item->bytes % NEWFILE_ALIGN == 0;
}

/* Give a cluster its place at once; it is written from where it is. */
static int
put_in_place(struct qcow2_writer *writer, const struct qcow2_writer_item *item,
             struct qcow2_writer_batch *batch, struct error *err)
{
    struct qcow2_writer_run *last =
        batch->run_count > 0 ? &batch->runs[batch->run_count - 1] : NULL;
    uint64_t offset;

    if (need_table(writer, item->cluster, batch, err) < 0 ||
        qcow2_writer_close_stage(writer, QCOW2_WRITER_PLAIN, batch, err) < 0)
        return -1;
    offset = qcow2_writer_stage_base(writer, QCOW2_WRITER_PLAIN);
    qcow2_writer_tables_set(
        &writer->tables, item->cluster,
        entry_of(writer, QCOW2_WRITER_PLAIN, offset, item->length));
    qcow2_writer_tables_count(&writer->tables, offset, item->length);
    writer->end = offset + item->length;
    if (last != NULL && last->bytes + last->length == item->bytes &&
        last->offset + last->length == offset)
        last->length += item->length;
    else
        batch->runs[batch->run_count++] = (struct qcow2_writer_run){
            .bytes = item->bytes, .length = item->length, .offset = offset};
    atomic_fetch_add_explicit(&writer->written, item->length,
                              memory_order_relaxed);
    return check_end(writer, err);
}

static int
put_item(struct qcow2_writer *writer, const struct qcow2_writer_item *item,
         struct qcow2_writer_batch *batch, struct error *err)
{
    enum qcow2_writer_stream stream = item->kind == QCOW2_WRITER_KIND_PLAIN
                                          ? QCOW2_WRITER_PLAIN
                                          : QCOW2_WRITER_PACKED;
    struct qcow2_writer_stage *stage = &writer->stages[stream];

    if (need_table(writer, item->cluster, batch, err) < 0)
        return -1;
    if ((stage->fill + item->length > QCOW2_WRITER_STAGE ||
         stage->place_count == QCOW2_WRITER_PLACES) &&
        qcow2_writer_close_stage(writer, stream, batch, err) < 0)
        return -1;
    memcpy(stage->bytes + stage->fill, item->bytes, item->length);
    stage->places[stage->place_count++] = (struct qcow2_writer_place){
        .cluster = item->cluster,
        .offset = (uint32_t)stage->fill,
        .length = item->length,
    };
    stage->fill += item->length;
    atomic_fetch_add_explicit(&writer->written, item->length,
                              memory_order_relaxed);
    return 0;
}

int
qcow2_writer_append(struct qcow2_writer_batch *batch, struct error *err)
{
    struct qcow2_writer *writer = batch->writer;

    assert(!writer->finished && batch->full_count == 0 &&
           batch->run_count == 0);
    for (size_t i = 0; i < batch->item_count; i++) {
        const struct qcow2_writer_item *item = &batch->items[i];
        int result;

        assert(item->cluster >= writer->next_cluster);
        writer->next_cluster = item->cluster + item->count;
        if (item->kind == QCOW2_WRITER_KIND_ZERO)
            result = put_zeros(writer, item, batch, err);
        else if (can_stay(writer, item))
            result = put_in_place(writer, item, batch, err);
        else
            result = put_item(writer, item, batch, err);
        if (result < 0)
            return -1;
    }
    batch->item_count = 0;
    batch->encoded = 0;
    batch->light = false;
    batch->packed_fill = 0;
    return 0;
}

/* The batch for those who have only one thread, made when it is needed. */
static struct qcow2_writer_batch *
own_batch(struct qcow2_writer *writer, struct error *err)
{
    if (writer->own == NULL)
        writer->own = qcow2_writer_batch_new(writer, err);
    return writer->own;
}

int
qcow2_writer_write(struct qcow2_writer *writer, const void *buffer,
                   uint64_t offset, size_t length, struct error *err)
{
    struct qcow2_writer_batch *batch = own_batch(writer, err);
    const uint8_t *bytes = buffer;

    if (batch == NULL)
        return -1;
    while (length > 0) {
        size_t part = MIN(length, QCOW2_WRITER_BATCH_MAX);

        if (qcow2_writer_encode(batch, bytes, offset, part, err) < 0 ||
            qcow2_writer_append(batch, err) < 0 ||
            qcow2_writer_flush(batch, err) < 0)
            return -1;
        bytes += part;
        offset += part;
        length -= part;
    }
    return 0;
}

int
qcow2_writer_zero(struct qcow2_writer *writer, uint64_t offset, uint64_t length,
                  struct error *err)
{
    struct qcow2_writer_batch *batch = own_batch(writer, err);

    if (batch == NULL)
        return -1;
    qcow2_writer_encode_zero(batch, offset, length);
    if (qcow2_writer_append(batch, err) < 0)
        return -1;
    return qcow2_writer_flush(batch, err);
}
