/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening an image for change, and the order in which changes reach the disk.
 *
 * There is no journal.  What stands in for it is the order of a flush, with
 * "|" for a sync:
 *
 *     data, new L2 tables, refcount blocks
 *   | refcount table
 *   | L2 tables, L1
 *   | refcounts that shrink (with the next flush, or qcow2_rw_sync)
 *
 * so that at every moment, whatever of the writes between two syncs has
 * reached the disk,
 *
 *   1. everything that is referred to is complete;
 *   2. everything that is referred to is counted.
 *
 * A count without a reference, the only thing that a crash can leave, is a
 * leaked cluster.  A table that moves (L1, refcount table) is written whole at
 * its new place, synced, and named in the header by one write inside one
 * sector; the old place is freed after another sync.
 *
 * A step that has nothing to do syncs nothing: overwriting stored clusters,
 * the usual case when a guest rewrites its files, costs no sync but the last.
 *
 * Once a write failed the image takes no more changes (`failed`): what is in
 * memory and what is on disk have parted.
 *
 * Persistent bitmaps: QEMU would record our writes in those that are enabled.
 * We do not, so an image with such a bitmap is refused; disabled ones stay
 * right (they record nothing), unless the disk's size changes, and all do when
 * what the disk holds does not change.  Autoclear
 * bits that we do not know are cleared, as the format demands.
 */
#include "image/qcow2_rw.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/vec.h"
#include "image/imagelock.h"
#include "image/qcow2.h"
#include "image/qcow2_format.h"
#include "image/qcow2_header.h"
#include "image/qcow2_refs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- writing ------------------------------------------------------------ */

int
qcow2_rw_write(struct qcow2_rw *rw, const void *bytes, size_t length,
               uint64_t offset, const char *point, struct error *err)
{
    if (fault_here(point))
        return error_set_errno(err, errno, "write '%s'", rw->path);
    if (fd_pwrite(rw->fd, bytes, length, offset, rw->path, err) < 0)
        return -1;
    rw->file_size = MAX(rw->file_size, offset + length);
    return 0;
}

int
qcow2_rw_sync(struct qcow2_rw *rw, struct error *err)
{
    if (rw->failed)
        return error_set(err, ERROR_IO, "'%s': an earlier write failed",
                         rw->path);
    if (qcow2_tables_write(rw, &rw->refs, QCOW2_ALL, "qcow2-rw.refs", err) <
            0 ||
        fd_sync(rw->fd, rw->path, err) < 0) {
        rw->failed = true;
        return -1;
    }
    return 0;
}

/* The header names the new place of L1 or refcount table; durable. */
static int
write_place(struct qcow2_rw *rw, struct qcow2_tables *tables, struct error *err)
{
    bool is_l1 = tables == &rw->l2;
    uint8_t field[12];

    /* L1: entries, offset; refcount table: offset, clusters.  Each pair lies
     * side by side inside the first sector. */
    if (is_l1) {
        qcow2_put32(field, (uint32_t)tables->count);
        qcow2_put64(field + 4, tables->top_offset);
    } else {
        qcow2_put64(field, tables->top_offset);
        qcow2_put32(field + 8, (uint32_t)tables->top_clusters);
    }
    if (fd_sync(rw->fd, rw->path, err) < 0)
        return -1;
    return qcow2_rw_write(rw, field, sizeof(field),
                          is_l1 ? QCOW2_HEADER_L1_ENTRIES
                                : QCOW2_HEADER_REFTABLE_OFFSET,
                          "qcow2-rw.place", err);
}

static void
free_old_place(struct qcow2_rw *rw, struct qcow2_tables *tables)
{
    if (!tables->moved)
        return;
    for (uint64_t i = 0; i < tables->old_clusters; i++)
        vec_push(&rw->frees, tables->old_offset + (i << rw->cluster_bits));
    tables->moved = false;
}

/* Write a top array where it is due; syncs what must be named by then. */
static int
flush_top(struct qcow2_rw *rw, struct qcow2_tables *tables, const char *point,
          struct error *err)
{
    if (qcow2_tables_write_top(rw, tables, point, err) < 0)
        return -1;
    return tables->moved ? write_place(rw, tables, err) : 0;
}

static bool
top_is_dirty(const struct qcow2_tables *tables)
{
    return tables->moved || tables->dirty_from < tables->dirty_to;
}

static bool
has_dirty_table(const struct qcow2_tables *tables)
{
    for (size_t i = 0; i < tables->held.count; i++) {
        if (tables->held.items[i]->dirty_from < tables->held.items[i]->dirty_to)
            return true;
    }
    return false;
}

/* L1 names the tables that were new, once they are durable. */
static void
name_fresh_tables(struct qcow2_tables *l2)
{
    for (size_t i = 0; i < l2->held.count; i++) {
        struct qcow2_table *table = l2->held.items[i];

        if (!table->fresh)
            continue;
        l2->top[table->index] = table->offset | QCOW2_COPIED;
        qcow2_tables_touch_top(l2, (size_t)table->index);
        table->fresh = false;
    }
}

/* The file gets room for all new clusters, or is at least as long. */
static int
extend_file(struct qcow2_rw *rw, struct error *err)
{
    uint64_t size = rw->end << rw->cluster_bits;

    if (size <= rw->file_size)
        return 0;
    if (fault_here("qcow2-rw.extend.space"))
        return error_set_errno(err, errno, "extend '%s'", rw->path);
    /* Room that is known to be there is written faster, and past the page
     * cache; not every file system has such a call. */
    if (fallocate(rw->fd, 0, (off_t)rw->file_size,
                  (off_t)(size - rw->file_size)) < 0 &&
        (errno == ENOSPC || errno == EDQUOT ||
         ftruncate(rw->fd, (off_t)size) < 0))
        return error_set_errno(err, errno, "extend '%s'", rw->path);
    rw->file_size = size;
    return 0;
}

/* Bits that we do not know stand for things that our writes make wrong. */
static int
clear_autoclear(struct qcow2_rw *rw, struct error *err)
{
    uint64_t known = rw->autoclear & QCOW2_AUTOCLEAR_BITMAPS;
    uint8_t field[8];

    if (rw->autoclear == known)
        return 0;
    rw->autoclear = known;
    qcow2_put64(field, known);
    return qcow2_rw_write(rw, field, sizeof(field), QCOW2_HEADER_AUTOCLEAR,
                          "qcow2-rw.autoclear", err);
}

static int
flush_tables(struct qcow2_rw *rw, struct error *err)
{
    if (qcow2_tables_write(rw, &rw->l2, QCOW2_FRESH, "qcow2-rw.new-l2", err) <
            0 ||
        qcow2_tables_write(rw, &rw->refs, QCOW2_ALL, "qcow2-rw.refs", err) <
            0 ||
        fd_sync(rw->fd, rw->path, err) < 0)
        return -1;
    if (top_is_dirty(&rw->refs) &&
        (flush_top(rw, &rw->refs, "qcow2-rw.reftable", err) < 0 ||
         fd_sync(rw->fd, rw->path, err) < 0))
        return -1;
    if (qcow2_tables_write(rw, &rw->l2, QCOW2_KNOWN, "qcow2-rw.l2", err) < 0)
        return -1;
    name_fresh_tables(&rw->l2);
    if (flush_top(rw, &rw->l2, "qcow2-rw.l1", err) < 0 ||
        fd_sync(rw->fd, rw->path, err) < 0)
        return -1;
    free_old_place(rw, &rw->refs);
    free_old_place(rw, &rw->l2);
    return qcow2_refs_free(rw, err);
}

int
qcow2_rw_flush(struct qcow2_rw *rw, const struct commit_source *source,
               struct error *err)
{
    if (rw->failed)
        return error_set(err, ERROR_IO, "'%s': an earlier write failed",
                         rw->path);
    rw->failed = true;
    if (clear_autoclear(rw, err) < 0 || extend_file(rw, err) < 0 ||
        commit_copy(rw->fd, rw->path, &rw->runs, source, err) < 0)
        return -1;
    commit_runs_clear(&rw->runs);
    if ((has_dirty_table(&rw->l2) || top_is_dirty(&rw->l2) ||
         top_is_dirty(&rw->refs) || rw->frees.count > 0) &&
        flush_tables(rw, err) < 0)
        return -1;
    if (!has_dirty_table(&rw->l2))
        qcow2_tables_drop(&rw->l2);
    rw->failed = false;
    return 0;
}

int
qcow2_rw_set_size(struct qcow2_rw *rw, uint64_t size, struct error *err)
{
    uint8_t field[8];

    if (qcow2_rw_sync(rw, err) < 0)
        return -1;
    if (size == rw->size)
        return 0;
    qcow2_put64(field, size);
    if (qcow2_rw_write(rw, field, sizeof(field), QCOW2_HEADER_SIZE,
                       "qcow2-rw.size", err) < 0)
        return -1;
    rw->size = size;
    return fd_sync(rw->fd, rw->path, err);
}

/* -- opening ------------------------------------------------------------ */

static int
read_header(struct qcow2_rw *rw, struct qcow2_header *header, struct error *err)
{
    if (qcow2_header_read(rw->fd, rw->path, header, err) < 0) {
        if (err->code == ERROR_UNSUPPORTED)
            rw->refusal = COMMIT_REFUSAL_FEATURE;
        return -1;
    }
    if (commit_refusal_header(header, rw->path, rw->use, &rw->refusal, err) < 0)
        return -1;
    rw->version = header->info.version;
    rw->cluster_bits = header->info.cluster_bits;
    rw->cluster_size = (uint64_t)1 << rw->cluster_bits;
    rw->size = header->info.size;
    rw->has_backing = header->info.has_backing;
    rw->refcount_order = header->refcount_order;
    rw->autoclear = header->autoclear;
    rw->extended = header->info.extended_l2;
    rw->units = rw->extended ? QCOW2_SUBCLUSTERS : 1;
    rw->unit_size = rw->cluster_size / rw->units;
    rw->all_units = rw->extended ? UINT32_MAX : 1;
    return 0;
}

static int
compare_offsets(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;

    return (*left > *right) - (*left < *right);
}

/* Note where the tables lie: guest data never leads there.  Returns bytes. */
static uint64_t
note_metadata(struct qcow2_rw *rw, const struct qcow2_tables *tables)
{
    uint64_t top = tables->top_clusters << rw->cluster_bits;
    size_t used = qcow2_tables_used(tables);
    AUTO_FREE uint64_t *offsets = xcalloc(used + 1, 8);
    size_t count = 0;

    for (size_t i = 0; i < used; i++) {
        if ((tables->top[i] & QCOW2_OFFSET_MASK) != 0)
            offsets[count++] = tables->top[i] & QCOW2_OFFSET_MASK;
    }
    qsort(offsets, count, sizeof(*offsets), compare_offsets);
    for (size_t i = 0; i < count; i++)
        extents_add(&rw->metadata, offsets[i], rw->cluster_size);
    extents_add(&rw->metadata, tables->top_offset, top);
    return top + count * rw->cluster_size;
}

static int
load_tables(struct qcow2_rw *rw, const struct qcow2_header *header,
            struct error *err)
{
    size_t refs = (size_t)header->reftable_clusters << (rw->cluster_bits - 3);
    uint64_t noted;

    if (qcow2_tables_load_top(rw, &rw->refs, header->reftable_offset, refs,
                              "refcount table", err) < 0 ||
        qcow2_tables_load_top(rw, &rw->l2, header->l1_offset,
                              header->l1_entries, "L1 table", err) < 0)
        return -1;
    extents_add(&rw->metadata, 0, rw->cluster_size);
    noted = rw->cluster_size + note_metadata(rw, &rw->refs) +
            note_metadata(rw, &rw->l2);
    if (extents_bytes(&rw->metadata) != noted)
        return error_set(err, ERROR_CORRUPT, "'%s': tables lie over each other",
                         rw->path);
    return qcow2_refs_find_end(rw, err);
}

static int
check_bitmaps(struct qcow2_rw *rw, struct error *err)
{
    size_t count = 0;

    if (rw->version >= 3 && rw->use == COMMIT_USE_CHANGE &&
        commit_refusal_bitmaps(rw->path, &count, &rw->refusal, err) < 0)
        return -1;
    rw->has_bitmaps = count > 0;
    return 0;
}

static int
open_file(struct qcow2_rw *rw, struct error *err)
{
    struct stat about;
    uint64_t end;

    rw->fd = open(rw->path, O_RDWR | O_CLOEXEC);
    if (rw->fd < 0)
        return error_set_errno(err, errno, "open '%s' for writing", rw->path);
    if (imagelock_take(rw->fd, IMAGELOCK_WRITE, rw->path, err) < 0)
        return -1;
    end = (uint64_t)lseek(rw->fd, 0, SEEK_END); /* devices have no st_size */
    if (fstat(rw->fd, &about) < 0 || end > INT64_MAX)
        return error_set_errno(err, errno, "stat '%s'", rw->path);
    rw->file_size = end;
    return S_ISBLK(about.st_mode);
}

struct qcow2_rw *
qcow2_rw_open(const char *path, enum commit_use use,
              enum commit_refusal *ret_refusal, struct error *err)
{
    AUTO_QCOW2_RW struct qcow2_rw *rw = xcalloc(1, sizeof(*rw));
    struct qcow2_header header;
    int is_device;

    rw->fd = -1;
    rw->path = xstrdup(path);
    rw->use = use;
    is_device = open_file(rw, err);
    if (is_device < 0 || read_header(rw, &header, err) < 0 ||
        check_bitmaps(rw, err) < 0) {
        if (rw->refusal != COMMIT_REFUSAL_NONE)
            *ret_refusal = rw->refusal;
        return NULL;
    }
    /* On a device, only the counts tell what is free. */
    if (!is_device)
        rw->end = (rw->file_size + rw->cluster_size - 1) >> rw->cluster_bits;
    if (load_tables(rw, &header, err) < 0)
        return NULL;
    return steal(&rw);
}

void
qcow2_rw_free(struct qcow2_rw *rw)
{
    if (rw == NULL)
        return;
    qcow2_tables_release(&rw->l2);
    qcow2_tables_release(&rw->refs);
    commit_runs_release(&rw->runs);
    vec_release(&rw->frees);
    extents_release(&rw->metadata);
    if (rw->fd >= 0)
        (void)close(rw->fd); /* all that matters was synced */
    free(rw->path);
    free(rw);
}

void
qcow2_rw_cleanup(struct qcow2_rw **rw)
{
    qcow2_rw_free(*rw);
    *rw = NULL;
}
