/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference counts of an image that is changed in place.
 *
 * New clusters are taken at the end of the file only: nothing that was ever
 * in use is used again, so a cluster that is freed here may still be named by
 * tables that are on their way to the disk, and no crash can make two owners.
 * QEMU fills the gaps later; we give their bytes back to the file system.
 *
 * Counts that grow may reach the disk at any time (a count without a
 * reference is a leak); counts that shrink are changed here only after
 * nothing on disk refers to the cluster any more.  So a refcount block may be
 * written whenever it is convenient, and the cache is bounded by writing.
 *
 * A new block is in memory, and in the refcount table in memory, at once; on
 * disk the block is written and synced before the table names it
 * (qcow2_rw_flush).
 */
#include "image/qcow2_refs.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/vec.h"
#include "image/qcow2_format.h"
#include "image/qcow2_rw.h"
#include "image/zeros.h"

#include <fcntl.h>
#include <inttypes.h>

/* Bytes of refcount blocks that are kept in memory. */
#define CACHE_MAX ((uint64_t)8 << 20)

/*
 * How far behind the end of a file counts may be found: a power cut can leave
 * them durable when the file's size is not.  Much more is no image of ours.
 */
#define PAST_END_MAX ((uint64_t)64 << 30)

/* log2 of the clusters that one refcount block counts. */
static unsigned
block_bits(const struct qcow2_rw *rw)
{
    return rw->cluster_bits + 3 - rw->refcount_order;
}

static uint64_t
clusters_in_block(const struct qcow2_rw *rw)
{
    return (uint64_t)1 << block_bits(rw);
}

/* The place of a cluster in its block. */
static uint64_t
entry_of(const struct qcow2_rw *rw, uint64_t cluster)
{
    return cluster & (clusters_in_block(rw) - 1);
}

static uint64_t
get_count(const struct qcow2_rw *rw, const uint8_t *block, uint64_t entry)
{
    const uint8_t *at = block + ((entry << rw->refcount_order) >> 3);

    switch (rw->refcount_order) {
    case 3:
        return *at;
    case 4:
        return qcow2_get16(at);
    case 5:
        return qcow2_get32(at);
    case 6:
        return qcow2_get64(at);
    default: { /* 1, 2 or 4 bits; the first entry has the lowest bits */
        unsigned bits = 1u << rw->refcount_order;
        unsigned shift = (unsigned)((entry << rw->refcount_order) & 7);

        return ((unsigned)*at >> shift) & ((1u << bits) - 1);
    }
    }
}

static void
put_count(const struct qcow2_rw *rw, uint8_t *block, uint64_t entry,
          uint64_t count)
{
    uint8_t *at = block + ((entry << rw->refcount_order) >> 3);

    switch (rw->refcount_order) {
    case 3:
        *at = (uint8_t)count;
        break;
    case 4:
        qcow2_put16(at, (uint16_t)count);
        break;
    case 5:
        qcow2_put32(at, (uint32_t)count);
        break;
    case 6:
        qcow2_put64(at, count);
        break;
    default: {
        unsigned bits = 1u << rw->refcount_order;
        unsigned shift = (unsigned)((entry << rw->refcount_order) & 7);
        unsigned mask = ((1u << bits) - 1) << shift;

        *at = (uint8_t)((*at & ~mask) | ((unsigned)count << shift));
        break;
    }
    }
}

/* The block that counts `cluster`; NULL with err->code 0 when there is none. */
static struct qcow2_table *
block_of(struct qcow2_rw *rw, uint64_t cluster, struct error *err)
{
    struct qcow2_tables *refs = &rw->refs;
    uint64_t index = cluster >> block_bits(rw);

    if (index < refs->count && refs->loaded[index] != NULL)
        return refs->loaded[index];
    error_clear(err);
    if (index >= refs->count || refs->top[index] == 0)
        return NULL;
    if (refs->held.count * rw->cluster_size >= CACHE_MAX) {
        if (qcow2_tables_write(rw, refs, QCOW2_ALL, "qcow2-rw.refs", err) < 0)
            return NULL;
        qcow2_tables_drop(refs);
    }
    return qcow2_tables_get(rw, refs, index, "refcount block", err);
}

int
qcow2_refs_get(struct qcow2_rw *rw, uint64_t cluster, uint64_t *ret_count,
               struct error *err)
{
    struct qcow2_table *block = block_of(rw, cluster, err);

    *ret_count = 0;
    if (block == NULL)
        return err->code == ERROR_NONE ? 0 : -1;
    *ret_count = get_count(rw, block->bytes, entry_of(rw, cluster));
    return 0;
}

static int
set_count(struct qcow2_rw *rw, uint64_t cluster, uint64_t count,
          struct error *err)
{
    struct qcow2_table *block = block_of(rw, cluster, err);
    uint64_t entry = entry_of(rw, cluster);
    size_t at = (size_t)((entry << rw->refcount_order) >> 3);

    if (block == NULL)
        return err->code != ERROR_NONE
                   ? -1
                   : error_set(err, ERROR_CORRUPT,
                               "'%s': nothing counts cluster %" PRIu64,
                               rw->path, cluster);
    put_count(rw, block->bytes, entry, count);
    qcow2_table_touch(block, at, at + MAX(1u, (1u << rw->refcount_order) / 8));
    return 0;
}

static int
set_end(struct qcow2_rw *rw, uint64_t end, struct error *err)
{
    if (end > (rw->file_size + PAST_END_MAX) >> rw->cluster_bits)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': cluster %" PRIu64
                         " is counted, far behind the end of the file",
                         rw->path, end - 1);
    rw->end = MAX(rw->end, end);
    return 0;
}

/* One past the last entry of a block that counts something; 0 for none. */
static uint64_t
used_entries(const struct qcow2_rw *rw, const uint8_t *block)
{
    uint64_t sectors = rw->cluster_size / QCOW2_SECTOR;
    uint64_t words;
    uint64_t entry;

    while (sectors > 0 &&
           zeros_only(block + (sectors - 1) * QCOW2_SECTOR, QCOW2_SECTOR))
        sectors--;
    words = sectors * (QCOW2_SECTOR / 8);
    while (words > 0 && qcow2_get64(block + (words - 1) * 8) == 0)
        words--;
    entry = (words * 64) >> rw->refcount_order;
    while (entry > 0 && get_count(rw, block, entry - 1) == 0)
        entry--;
    return entry;
}

int
qcow2_refs_find_end(struct qcow2_rw *rw, struct error *err)
{
    uint64_t per_block = clusters_in_block(rw);

    for (size_t i = qcow2_tables_used(&rw->refs); i-- > 0;) {
        struct qcow2_table *block;
        uint64_t used;

        if (rw->refs.top[i] == 0)
            continue;
        block = block_of(rw, i * per_block, err);
        if (block == NULL)
            return -1;
        used = used_entries(rw, block->bytes);
        if (used > 0)
            return set_end(rw, i * per_block + used, err);
    }
    return 0;
}

/* Make the table long enough that block `index` fits, and then some. */
static int
grow_table(struct qcow2_rw *rw, uint64_t index, struct error *err)
{
    uint64_t per_cluster = rw->cluster_size / 8;
    uint64_t entries = MAX(index + 2, (uint64_t)rw->refs.count * 2);

    entries = (entries + per_cluster - 1) / per_cluster * per_cluster;
    if (entries * 8 > QCOW2_REFTABLE_BYTES_MAX)
        return commit_refusal_set(COMMIT_REFUSAL_TABLES, rw->path, &rw->refusal,
                                  err);
    return qcow2_tables_grow_top(rw, &rw->refs, (size_t)entries, err);
}

/*
 * Make the block that counts the cluster at the end of the file, in that very
 * cluster, so that it counts itself.
 */
static int
add_block(struct qcow2_rw *rw, struct error *err)
{
    uint64_t index = rw->end >> block_bits(rw);
    uint64_t cluster = rw->end++;
    struct qcow2_tables *refs = &rw->refs;

    (void)qcow2_tables_add(rw, refs, index, cluster << rw->cluster_bits);
    refs->top[index] = cluster << rw->cluster_bits;
    qcow2_tables_touch_top(refs, (size_t)index);
    return set_count(rw, cluster, 1, err);
}

/*
 * The run of clusters shall not be torn by a refcount block, so the blocks
 * for all of it are made first, one after the other; the run starts behind
 * the last one.
 */
static int
make_room(struct qcow2_rw *rw, uint64_t count, struct error *err)
{
    unsigned bits = block_bits(rw);
    struct qcow2_tables *refs = &rw->refs;

    for (;;) {
        uint64_t last = (rw->end + count - 1) >> bits;
        uint64_t missing = rw->end >> bits;

        while (missing <= last && missing < refs->count &&
               refs->top[missing] != 0)
            missing++;
        if (missing > last)
            return 0;
        if (missing >= refs->count) {
            if (grow_table(rw, missing, err) < 0)
                return -1;
            continue;
        }
        /* Only the block of the end can count itself: go there. */
        if (missing > rw->end >> bits)
            rw->end = missing << bits;
        if (add_block(rw, err) < 0)
            return -1;
    }
}

int
qcow2_refs_allocate(struct qcow2_rw *rw, uint64_t count, uint64_t *ret_offset,
                    struct error *err)
{
    uint64_t first;

    if (make_room(rw, count, err) < 0)
        return -1;
    first = rw->end;
    for (uint64_t i = 0; i < count; i++) {
        if (set_count(rw, first + i, 1, err) < 0)
            return -1;
    }
    rw->end = first + count;
    *ret_offset = first << rw->cluster_bits;
    return 0;
}

/*
 * True when a table lay there as the image was opened.  Neighbours are asked
 * one after the other, so the space between two tables is remembered.
 */
static bool
is_metadata(struct qcow2_rw *rw, uint64_t offset)
{
    const struct extents *set = &rw->metadata;
    size_t low = 0;
    size_t high = set->count;

    if (offset >= rw->clear_from && offset < rw->clear_to)
        return false;
    while (low < high) { /* the first item behind offset */
        size_t middle = low + (high - low) / 2;

        if (set->items[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    rw->clear_from =
        low == 0 ? 0 : set->items[low - 1].offset + set->items[low - 1].length;
    rw->clear_to = low == set->count ? UINT64_MAX : set->items[low].offset;
    return offset < rw->clear_from;
}

int
qcow2_refs_check(struct qcow2_rw *rw, uint64_t offset, bool only,
                 struct error *err)
{
    uint64_t cluster = offset >> rw->cluster_bits;
    uint64_t count;

    if (cluster >= rw->end || is_metadata(rw, offset))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': guest data at %" PRIu64 " %s", rw->path, offset,
                         cluster >= rw->end ? "lie past the end of the file"
                                            : "lie over the image's tables");
    if (qcow2_refs_get(rw, cluster, &count, err) < 0)
        return -1;
    if (count == 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the cluster at %" PRIu64
                         " is in use and counted as free; check and repair "
                         "the image first",
                         rw->path, offset);
    if (only && count != 1)
        return commit_refusal_set(COMMIT_REFUSAL_SHARED, rw->path, &rw->refusal,
                                  err);
    return 0;
}

/* Saves space where the file system can; nothing depends on it. */
static void
punch(struct qcow2_rw *rw, uint64_t first, uint64_t count)
{
    if (count > 0 && !fault_here("qcow2-rw.punch"))
        (void)fallocate(rw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        (off_t)(first << rw->cluster_bits),
                        (off_t)(count << rw->cluster_bits));
}

static int
free_one(struct qcow2_rw *rw, uint64_t cluster, bool *ret_unused,
         struct error *err)
{
    uint64_t count;

    if (qcow2_refs_get(rw, cluster, &count, err) < 0)
        return -1;
    if (count == 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': cluster %" PRIu64
                         " is given up more often than it was in use",
                         rw->path, cluster);
    *ret_unused = count == 1;
    return set_count(rw, cluster, count - 1, err);
}

int
qcow2_refs_free(struct qcow2_rw *rw, struct error *err)
{
    uint64_t first = 0;
    uint64_t count = 0;

    for (size_t i = 0; i < rw->frees.count; i++) {
        uint64_t cluster = rw->frees.items[i] >> rw->cluster_bits;
        bool unused;

        if (free_one(rw, cluster, &unused, err) < 0)
            return -1;
        if (!unused)
            continue;
        if (cluster != first + count) {
            punch(rw, first, count);
            first = cluster;
            count = 0;
        }
        count++;
    }
    punch(rw, first, count);
    rw->frees.count = 0;
    return 0;
}
