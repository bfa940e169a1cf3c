/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables go through the plain stage like data, when it is empty of data: its
 * place is then known beforehand (nothing else is given a place meanwhile).
 *
 * The end of a file, in order: the last data; the last L2 tables; the L1
 * table; the refcount blocks that are not in the file yet, which count
 * themselves and the refcount table; the refcount table.  All of this is
 * synced before the header is written, so that a file with a header is whole.
 */
#include "image/qcow2_writer_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/newfile.h"
#include "image/qcow2_format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Add the bytes of one cluster; the place is only counted by the caller. */
static int
emit(struct qcow2_writer *writer, const void *bytes, uint64_t *ret_offset,
     struct error *err)
{
    struct qcow2_writer_stage *stage = &writer->stages[QCOW2_WRITER_PLAIN];
    size_t size = qcow2_writer_cluster_size(writer);

    assert(stage->place_count == 0);
    if (stage->fill + size > QCOW2_WRITER_STAGE &&
        qcow2_writer_close_stage(writer, QCOW2_WRITER_PLAIN, NULL, err) < 0)
        return -1;
    *ret_offset =
        qcow2_writer_stage_base(writer, QCOW2_WRITER_PLAIN) + stage->fill;
    memcpy(stage->bytes + stage->fill, bytes, size);
    stage->fill += size;
    return 0;
}

static int
emit_refblock(struct qcow2_writer *writer, struct qcow2_writer_refblock *block,
              struct error *err)
{
    size_t entries = qcow2_writer_cluster_size(writer) / sizeof(uint16_t);

    for (size_t i = 0; i < entries; i++)
        block->counts[i] = htobe16(block->counts[i]);
    if (emit(writer, block->counts, &block->offset, err) < 0)
        return -1;
    free(block->counts);
    block->counts = NULL;
    return 0;
}

static int
emit_l2_tables(struct qcow2_writer *writer, struct error *err)
{
    struct qcow2_writer_tables *tables = &writer->tables;
    uint64_t i = tables->l2_first;

    for (; tables->l2_count > 0; i++) {
        uint64_t offset;

        if (tables->l2[i] == NULL)
            continue;
        if (emit(writer, tables->l2[i], &offset, err) < 0)
            return -1;
        qcow2_writer_tables_count(tables, offset,
                                  qcow2_writer_cluster_size(writer));
        tables->l1[i] = htobe64(offset | QCOW2_COPIED);
        free(tables->l2[i]);
        tables->l2[i] = NULL;
        tables->l2_count--;
    }
    tables->l2_first = i;
    return 0;
}

int
qcow2_writer_spill(struct qcow2_writer *writer,
                   struct qcow2_writer_batch *batch, struct error *err)
{
    struct qcow2_writer_tables *tables = &writer->tables;
    uint32_t bits = writer->layout.cluster_bits;
    uint64_t settled;

    for (int i = 0; i < QCOW2_WRITER_STREAMS; i++)
        if (qcow2_writer_close_stage(writer, (enum qcow2_writer_stream)i, batch,
                                     err) < 0)
            return -1;
    if (fault_here("writer.tables"))
        return error_set_errno(err, errno, "write tables of '%s'",
                               writer->path);
    /* What is counted from now on lies at or above `end`. */
    settled = writer->end >> bits;
    if (emit_l2_tables(writer, err) < 0)
        return -1;
    for (size_t i = 0; (i + 1) << (bits - 1) <= settled; i++) {
        struct qcow2_writer_refblock *block = &tables->refblocks.items[i];

        if (block->counts == NULL)
            continue;
        if (emit_refblock(writer, block, err) < 0)
            return -1;
        qcow2_writer_tables_count(tables, block->offset,
                                  qcow2_writer_cluster_size(writer));
    }
    return qcow2_writer_close_stage(writer, QCOW2_WRITER_PLAIN, NULL, err);
}

static int
emit_l1(struct qcow2_writer *writer, struct error *err)
{
    struct qcow2_writer_tables *tables = &writer->tables;
    size_t size = qcow2_writer_cluster_size(writer);
    AUTO_FREE uint64_t *cluster = xcalloc(1, size);
    uint64_t per = size / sizeof(uint64_t);

    writer->layout.l1_entries = tables->l1_entries;
    writer->layout.l1_offset =
        qcow2_writer_stage_base(writer, QCOW2_WRITER_PLAIN);
    for (uint64_t i = 0; i < tables->l1_entries; i += per) {
        uint64_t part = MIN(per, tables->l1_entries - i);
        uint64_t offset;

        memset(cluster, 0, size);
        memcpy(cluster, tables->l1 + i, part * sizeof(uint64_t));
        if (emit(writer, cluster, &offset, err) < 0)
            return -1;
        qcow2_writer_tables_count(tables, offset, size);
    }
    return qcow2_writer_close_stage(writer, QCOW2_WRITER_PLAIN, NULL, err);
}

/*
 * How many clusters the rest of the refcounts takes: `first` is where it
 * starts, `ret_table` how many of them are the table.  More clusters may need
 * more blocks, hence the loop; it ends since both only grow.
 */
static uint64_t
refcount_clusters(const struct qcow2_writer *writer, uint64_t first,
                  uint64_t in_file, uint64_t *ret_table)
{
    size_t size = qcow2_writer_cluster_size(writer);
    uint64_t per_block = size / sizeof(uint16_t);
    uint64_t per_table = size / sizeof(uint64_t);
    uint64_t total = 0;
    uint64_t table = 0;

    for (;;) {
        uint64_t blocks = (first + total + per_block - 1) / per_block;
        uint64_t next;

        table = (blocks + per_table - 1) / per_table;
        next = blocks - in_file + table;
        if (next == total)
            break;
        total = next;
    }
    *ret_table = table;
    return total;
}

static int
emit_reftable(struct qcow2_writer *writer, struct error *err)
{
    struct qcow2_writer_tables *tables = &writer->tables;
    size_t size = qcow2_writer_cluster_size(writer);
    AUTO_FREE uint64_t *cluster = xcalloc(1, size);
    size_t per = size / sizeof(uint64_t);

    for (size_t i = 0; i < tables->refblocks.count; i += per) {
        size_t part = MIN(per, tables->refblocks.count - i);
        uint64_t offset;

        memset(cluster, 0, size);
        for (size_t k = 0; k < part; k++)
            cluster[k] = htobe64(tables->refblocks.items[i + k].offset);
        if (emit(writer, cluster, &offset, err) < 0)
            return -1;
        if (i == 0)
            writer->layout.reftable_offset = offset;
    }
    return qcow2_writer_close_stage(writer, QCOW2_WRITER_PLAIN, NULL, err);
}

static int
emit_refcounts(struct qcow2_writer *writer, uint64_t *ret_end,
               struct error *err)
{
    struct qcow2_writer_tables *tables = &writer->tables;
    uint32_t bits = writer->layout.cluster_bits;
    uint64_t base = qcow2_writer_stage_base(writer, QCOW2_WRITER_PLAIN);
    uint64_t in_file = 0;
    uint64_t clusters;

    while (in_file < tables->refblocks.count &&
           tables->refblocks.items[in_file].counts == NULL)
        in_file++;
    clusters = refcount_clusters(writer, base >> bits, in_file,
                                 &writer->layout.reftable_clusters);
    qcow2_writer_tables_count(tables, base, clusters << bits);
    assert(tables->refblocks.count - in_file +
               writer->layout.reftable_clusters ==
           clusters);
    for (size_t i = in_file; i < tables->refblocks.count; i++)
        if (emit_refblock(writer, &tables->refblocks.items[i], err) < 0)
            return -1;
    *ret_end = base + (clusters << bits);
    return emit_reftable(writer, err);
}

static int
write_header(struct qcow2_writer *writer, struct error *err)
{
    AUTO_FREE uint8_t *bytes = xaligned(NEWFILE_ALIGN, NEWFILE_ALIGN);

    memset(bytes, 0, NEWFILE_ALIGN);
    qcow2_layout_header(&writer->layout, bytes);
    if (fault_here("writer.header"))
        return error_set_errno(err, errno, "write header of '%s'",
                               writer->path);
    if (newfile_write(writer->fd, bytes, NEWFILE_ALIGN, 0, writer->path, err) <
        0)
        return -1;
    if (fsync(writer->fd) < 0 || fault_here("writer.header-sync"))
        return error_set_errno(err, errno, "sync '%s'", writer->path);
    return 0;
}

int
qcow2_writer_finish(struct qcow2_writer *writer, uint64_t *ret_file_size,
                    struct error *err)
{
    uint64_t end;

    assert(!writer->finished);
    if (qcow2_writer_spill(writer, NULL, err) < 0 || emit_l1(writer, err) < 0 ||
        emit_refcounts(writer, &end, err) < 0)
        return -1;
    if (ftruncate(writer->fd, (off_t)end) < 0 || fault_here("writer.truncate"))
        return error_set_errno(err, errno, "truncate '%s'", writer->path);
    if (fsync(writer->fd) < 0 || fault_here("writer.sync"))
        return error_set_errno(err, errno, "sync '%s'", writer->path);
    if (write_header(writer, err) < 0)
        return -1;
    writer->finished = true;
    if (ret_file_size != NULL)
        *ret_file_size = end;
    return 0;
}
