/* SPDX-License-Identifier: Apache-2.0 */
/*
 * L1 with its L2 tables, and the refcount table with its blocks, are the same
 * thing: an array of host offsets (the top), each leading to one cluster of
 * entries (a table).  Both are kept here: the top whole, in host byte order;
 * tables as they lie on disk, loaded when they are asked for, with the bytes
 * that are not written yet.
 *
 * Nothing here decides when something is written: qcow2_rw_flush() does.
 */
#include "image/qcow2_tables.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/vec.h"
#include "image/qcow2_format.h"
#include "image/qcow2_refs.h"
#include "image/qcow2_rw.h"
#include "image/zeros.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Both tops are at most QCOW2_L1_BYTES_MAX. */
#define TOP_ENTRIES_MAX (QCOW2_L1_BYTES_MAX / 8)

static uint64_t
clusters_of_top(const struct qcow2_rw *rw, size_t entries)
{
    return ((uint64_t)entries * 8 + rw->cluster_size - 1) >> rw->cluster_bits;
}

int
qcow2_tables_load_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                      uint64_t offset, size_t entries, const char *what,
                      struct error *err)
{
    size_t size = entries * 8;

    if (entries > TOP_ENTRIES_MAX)
        return error_set(err, ERROR_CORRUPT, "'%s': %s of %zu entries",
                         rw->path, what, entries);
    if (entries > 0 &&
        (offset == 0 || offset % rw->cluster_size != 0 ||
         offset > rw->file_size || size > rw->file_size - offset))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': %s at %" PRIu64 " is not in the file", rw->path,
                         what, offset);
    tables->top = memory_try(size, QCOW2_L1_BYTES_MAX, what, err);
    tables->loaded = memory_try(size, QCOW2_L1_BYTES_MAX, what, err);
    if (tables->top == NULL || tables->loaded == NULL)
        return -1;
    tables->count = entries;
    tables->top_offset = offset;
    tables->top_clusters = clusters_of_top(rw, entries);
    if (fd_pread(rw->fd, tables->top, size, offset, rw->path, err) < 0)
        return -1;
    for (size_t i = 0; i < entries; i++)
        tables->top[i] = qcow2_get64(&tables->top[i]);
    return 0;
}

size_t
qcow2_tables_used(const struct qcow2_tables *tables)
{
    size_t many = QCOW2_SECTOR / sizeof(*tables->top);
    size_t used = tables->count;

    while (used >= many && zeros_only(&tables->top[used - many], QCOW2_SECTOR))
        used -= many;
    while (used > 0 && tables->top[used - 1] == 0)
        used--;
    return used;
}

void
qcow2_tables_drop(struct qcow2_tables *tables)
{
    for (size_t i = 0; i < tables->held.count; i++) {
        struct qcow2_table *table = tables->held.items[i];

        tables->loaded[table->index] = NULL;
        free(table->bytes);
        free(table);
    }
    tables->held.count = 0;
}

void
qcow2_tables_release(struct qcow2_tables *tables)
{
    qcow2_tables_drop(tables);
    vec_release(&tables->held);
    free(tables->loaded);
    free(tables->top);
    *tables = (struct qcow2_tables){.top = NULL};
}

/* `bytes` is handed over. */
static struct qcow2_table *
hold_table(struct qcow2_tables *tables, uint64_t index, uint64_t offset,
           void *bytes)
{
    struct qcow2_table *table = xcalloc(1, sizeof(*table));

    table->index = index;
    table->offset = offset;
    table->bytes = bytes;
    tables->loaded[index] = table;
    vec_push(&tables->held, table);
    return table;
}

struct qcow2_table *
qcow2_tables_add(struct qcow2_rw *rw, struct qcow2_tables *tables,
                 uint64_t index, uint64_t offset)
{
    struct qcow2_table *table =
        hold_table(tables, index, offset, xcalloc(1, rw->cluster_size));

    table->fresh = true;
    table->dirty_to = rw->cluster_size;
    return table;
}

struct qcow2_table *
qcow2_tables_get(struct qcow2_rw *rw, struct qcow2_tables *tables,
                 uint64_t index, const char *what, struct error *err)
{
    uint64_t offset = tables->top[index] & QCOW2_OFFSET_MASK;
    uint64_t end = MAX(rw->file_size, rw->end << rw->cluster_bits);
    AUTO_FREE void *bytes = NULL;

    if (tables->loaded[index] != NULL)
        return tables->loaded[index];
    if (offset == 0 || offset % rw->cluster_size != 0 || offset > end ||
        rw->cluster_size > end - offset) {
        (void)error_set(err, ERROR_CORRUPT,
                        "'%s': %s %" PRIu64 " at %" PRIu64
                        " is not in the file",
                        rw->path, what, index, offset);
        return NULL;
    }
    bytes = xmalloc(rw->cluster_size);
    if (fd_pread(rw->fd, bytes, rw->cluster_size, offset, rw->path, err) < 0)
        return NULL;
    return hold_table(tables, index, offset, steal(&bytes));
}

void
qcow2_table_touch(struct qcow2_table *table, size_t from, size_t to)
{
    if (table->dirty_from >= table->dirty_to) {
        table->dirty_from = from;
        table->dirty_to = to;
        return;
    }
    table->dirty_from = MIN(table->dirty_from, from);
    table->dirty_to = MAX(table->dirty_to, to);
}

void
qcow2_tables_touch_top(struct qcow2_tables *tables, size_t entry)
{
    if (tables->dirty_from >= tables->dirty_to) {
        tables->dirty_from = entry;
        tables->dirty_to = entry + 1;
        return;
    }
    tables->dirty_from = MIN(tables->dirty_from, entry);
    tables->dirty_to = MAX(tables->dirty_to, entry + 1);
}

int
qcow2_tables_grow_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                      size_t entries, struct error *err)
{
    uint64_t clusters = clusters_of_top(rw, entries);
    uint64_t offset;

    if (entries > TOP_ENTRIES_MAX)
        return commit_refusal_set(COMMIT_REFUSAL_TABLES, rw->path, &rw->refusal,
                                  err);
    tables->top = xrealloc(tables->top, entries * 8);
    tables->loaded =
        xrealloc(tables->loaded, entries * sizeof(struct qcow2_table *));
    memset(tables->top + tables->count, 0, (entries - tables->count) * 8);
    memset(tables->loaded + tables->count, 0,
           (entries - tables->count) * sizeof(struct qcow2_table *));
    tables->count = entries;
    /* The longer refcount table counts for this allocation already. */
    if (qcow2_refs_allocate(rw, clusters, &offset, err) < 0)
        return -1;
    if (tables->moved) {
        for (uint64_t i = 0; i < tables->top_clusters; i++)
            vec_push(&rw->frees, tables->top_offset + (i << rw->cluster_bits));
    } else {
        tables->old_offset = tables->top_offset;
        tables->old_clusters = tables->top_clusters;
    }
    tables->moved = true;
    tables->top_offset = offset;
    tables->top_clusters = clusters;
    return 0;
}

int
qcow2_tables_write(struct qcow2_rw *rw, struct qcow2_tables *tables,
                   enum qcow2_which which, const char *point, struct error *err)
{
    for (size_t i = 0; i < tables->held.count; i++) {
        struct qcow2_table *table = tables->held.items[i];
        size_t from = table->dirty_from;
        size_t to = table->dirty_to;

        if (from >= to || (which == QCOW2_FRESH && !table->fresh) ||
            (which == QCOW2_KNOWN && table->fresh))
            continue;
        if (qcow2_rw_write(rw, table->bytes + from, to - from,
                           table->offset + from, point, err) < 0)
            return -1;
        table->dirty_from = table->dirty_to = 0;
    }
    return 0;
}

int
qcow2_tables_write_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                       const char *point, struct error *err)
{
    size_t from = tables->moved ? 0 : tables->dirty_from;
    size_t to = tables->moved ? tables->count : tables->dirty_to;
    size_t room = tables->moved ? tables->top_clusters << rw->cluster_bits
                                : (to - from) * 8;
    AUTO_FREE uint8_t *bytes = NULL;

    if (from >= to)
        return 0;
    bytes = xcalloc(1, room);
    for (size_t i = from; i < to; i++)
        qcow2_put64(bytes + (i - from) * 8, tables->top[i]);
    if (qcow2_rw_write(rw, bytes, room, tables->top_offset + from * 8, point,
                       err) < 0)
        return -1;
    tables->dirty_from = tables->dirty_to = 0;
    return 0;
}
