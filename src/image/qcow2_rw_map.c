/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cluster's change: from its L2 entry as it is to what it shall be.
 *
 * Entries of all kinds are seen as one: a host cluster (or none), which units
 * are stored there (`alloc`) and which read as zero (`zero`); the others come
 * from the backing file.  A standard entry has one unit, so that its zero flag
 * with a host cluster (preallocated) is alloc = 0, zero = 1.
 *
 * Data go
 *   - in place, into units that are stored already: whatever the layer above
 *     decides is not read from here before the merge is done, so it does not
 *     matter when;
 *   - into the free units of a host cluster that the entry has already, and
 *     into a new cluster at the end of the file: nothing reads those until
 *     the entry says so, which is written after the data is durable.
 * Compressed clusters are never overwritten but replaced as a whole, by what
 * the whole chain says there.
 *
 * What is given up (host clusters of ranges that became zero, compressed
 * clusters) is only noted here and freed after the entry is durable.
 */
#include "image/qcow2_rw.h"

#include "base/memory.h"
#include "base/vec.h"
#include "image/qcow2_format.h"
#include "image/qcow2_refs.h"

#include <inttypes.h>
#include <string.h>

/* Bytes of L2 tables that are held before a flush is due. */
#define L2_HELD_MAX ((uint64_t)8 << 20)
/* Data of one flush: each flush waits for the disk a few times. */
#define FLUSH_BYTES ((uint64_t)256 << 20)
#define FLUSH_FREES ((size_t)1 << 20)

struct entry {
    uint64_t host;       /* 0 for none */
    uint64_t compressed; /* the descriptor, or 0 */
    uint32_t alloc;      /* units stored at host */
    uint32_t zero;       /* units that read as zero */
    bool copied;         /* nobody else uses the host cluster */
};

static unsigned
l2_bits(const struct qcow2_rw *rw)
{
    return rw->cluster_bits - (rw->extended ? 4u : 3u);
}

static size_t
entry_at(const struct qcow2_rw *rw, uint64_t cluster)
{
    uint64_t index = cluster & (((uint64_t)1 << l2_bits(rw)) - 1);

    return (size_t)index << (rw->extended ? 4 : 3);
}

/* The L2 table of `cluster`; NULL with err->code 0 when there is none. */
static struct qcow2_table *
find_table(struct qcow2_rw *rw, uint64_t cluster, struct error *err)
{
    uint64_t index = cluster >> l2_bits(rw);

    if (index < rw->l2.count && rw->l2.loaded[index] != NULL)
        return rw->l2.loaded[index];
    error_clear(err);
    if (index >= rw->l2.count)
        return NULL;
    if ((rw->l2.top[index] & QCOW2_OFFSET_MASK) == 0)
        return NULL;
    if ((rw->l2.top[index] & QCOW2_COPIED) == 0) {
        (void)commit_refusal_set(COMMIT_REFUSAL_SHARED, rw->path, &rw->refusal,
                                 err);
        return NULL;
    }
    return qcow2_tables_get(rw, &rw->l2, index, "L2 table", err);
}

static struct qcow2_table *
make_table(struct qcow2_rw *rw, uint64_t cluster, struct error *err)
{
    uint64_t index = cluster >> l2_bits(rw);
    uint64_t offset;

    if (qcow2_refs_allocate(rw, 1, &offset, err) < 0)
        return NULL;
    return qcow2_tables_add(rw, &rw->l2, index, offset);
}

static int
decode_entry(const struct qcow2_rw *rw, const uint8_t *at,
             struct entry *ret_entry, struct error *err)
{
    uint64_t word = qcow2_get64(at);
    uint64_t bitmap = rw->extended ? qcow2_get64(at + 8) : 0;

    *ret_entry = (struct entry){.copied = (word & QCOW2_COPIED) != 0};
    if ((word & QCOW2_L2_COMPRESSED) != 0) {
        ret_entry->compressed = word & ~QCOW2_COPIED;
        return 0;
    }
    ret_entry->host = word & QCOW2_OFFSET_MASK;
    if (ret_entry->host % rw->cluster_size != 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': an L2 entry leads to %" PRIu64
                         ", which is no cluster",
                         rw->path, ret_entry->host);
    if (rw->extended) {
        ret_entry->alloc = (uint32_t)bitmap;
        ret_entry->zero = (uint32_t)(bitmap >> 32);
    } else {
        ret_entry->zero = rw->version >= 3 && (word & QCOW2_L2_ZERO) != 0;
        ret_entry->alloc = ret_entry->host != 0 && ret_entry->zero == 0;
    }
    if ((ret_entry->alloc & ret_entry->zero) != 0 ||
        (ret_entry->alloc != 0 && ret_entry->host == 0))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': an L2 entry contradicts itself", rw->path);
    return 0;
}

static void
encode_entry(const struct qcow2_rw *rw, const struct entry *entry, uint8_t *at)
{
    uint64_t word = entry->host | (entry->host != 0 ? QCOW2_COPIED : 0);

    if (entry->compressed != 0)
        word = entry->compressed;
    else if (!rw->extended && entry->zero != 0)
        word |= QCOW2_L2_ZERO;
    qcow2_put64(at, word);
    if (rw->extended)
        qcow2_put64(at + 8, (uint64_t)entry->zero << 32 | entry->alloc);
}

/* The host cluster may be written, and given up. */
static int
check_host(struct qcow2_rw *rw, const struct entry *entry, struct error *err)
{
    if (!entry->copied)
        return commit_refusal_set(COMMIT_REFUSAL_SHARED, rw->path, &rw->refusal,
                                  err);
    return qcow2_refs_check(rw, entry->host, true, err);
}

static int
drop_compressed(struct qcow2_rw *rw, uint64_t descriptor, struct error *err)
{
    unsigned bits = qcow2_compressed_offset_bits(rw->cluster_bits);
    uint64_t offset = descriptor & (((uint64_t)1 << bits) - 1);
    uint64_t sectors =
        (descriptor & ~QCOW2_L2_COMPRESSED & ~QCOW2_COPIED) >> bits;
    uint64_t end =
        (offset & ~(uint64_t)(QCOW2_SECTOR - 1)) + (sectors + 1) * QCOW2_SECTOR;

    for (uint64_t at = offset & ~(rw->cluster_size - 1); at < end;
         at += rw->cluster_size) {
        if (qcow2_refs_check(rw, at, false, err) < 0)
            return -1;
        vec_push(&rw->frees, at);
    }
    return 0;
}

static int
drop_host(struct qcow2_rw *rw, struct entry *entry, struct error *err)
{
    if (check_host(rw, entry, err) < 0)
        return -1;
    vec_push(&rw->frees, entry->host);
    entry->host = 0;
    entry->alloc = 0;
    return 0;
}

/* Note the data of the units in `data`; `stored` ones are written only where
 * they change. */
static void
add_runs(struct qcow2_rw *rw, const struct qcow2_change *change, uint32_t data,
         uint32_t stored, uint64_t host)
{
    uint64_t guest = change->cluster << rw->cluster_bits;

    for (unsigned i = 0; i < rw->units; i++) {
        uint64_t from = guest + i * rw->unit_size;
        uint64_t to = from + rw->unit_size;

        if ((data >> i & 1) == 0)
            continue;
        if ((stored >> i & 1) != 0) {
            from = MAX(from, change->start);
            to = MIN(to, change->end);
        }
        if (from < to)
            commit_runs_add(&rw->runs, from, host + (from - guest), to - from);
    }
}

/* What the entry becomes; plans data and frees. */
static int
plan(struct qcow2_rw *rw, const struct qcow2_change *change,
     const struct entry *old, struct entry *entry, struct error *err)
{
    uint32_t data = change->data;
    uint32_t zero = change->zero;
    uint32_t stored = old->alloc;

    *entry = *old;
    /* Version 2 cannot say "zero" over a backing file but by data. */
    if (rw->version < 3 && rw->has_backing) {
        data |= zero;
        zero = 0;
    }
    if (old->compressed != 0) {
        if (drop_compressed(rw, old->compressed, err) < 0)
            return -1;
        data = rw->all_units & ~zero;
        *entry = (struct entry){.host = 0};
    }
    if (old->host != 0 && (data != 0 || (zero & stored) != 0) &&
        check_host(rw, old, err) < 0)
        return -1;
    if (data != 0 && entry->host == 0 &&
        qcow2_refs_allocate(rw, 1, &entry->host, err) < 0)
        return -1;
    add_runs(rw, change, data, stored, entry->host);
    entry->alloc = (entry->alloc | data) & ~zero;
    entry->zero = (entry->zero & ~data) | (rw->has_backing ? zero : 0);
    if (stored != 0 && entry->alloc == 0)
        return drop_host(rw, entry, err);
    return 0;
}

static int
plan_discard(struct qcow2_rw *rw, const struct entry *old, struct entry *entry,
             struct error *err)
{
    *entry = *old;
    if (old->compressed != 0 && drop_compressed(rw, old->compressed, err) < 0)
        return -1;
    if (old->host != 0 && drop_host(rw, entry, err) < 0)
        return -1;
    *entry = (struct entry){.host = 0};
    return 0;
}

static bool
is_same(const struct entry *a, const struct entry *b)
{
    return a->host == b->host && a->compressed == b->compressed &&
           a->alloc == b->alloc && a->zero == b->zero;
}

/*
 * The usual cases in few steps: all of a cluster is overwritten where it lies,
 * or stored where nothing was.  Returns 1 when that was it, 0 when it is
 * something else, -1.
 */
static int
store_whole(struct qcow2_rw *rw, const struct qcow2_change *change,
            struct qcow2_table *table, size_t at, struct error *err)
{
    uint64_t guest = change->cluster << rw->cluster_bits;
    uint64_t word = qcow2_get64(table->bytes + at);
    uint64_t host = word & ~QCOW2_COPIED;

    if (rw->extended || change->data == 0 || change->start > guest ||
        change->end < guest + rw->cluster_size)
        return 0;
    if (word == 0) {
        if (qcow2_refs_allocate(rw, 1, &host, err) < 0)
            return -1;
        qcow2_put64(table->bytes + at, host | QCOW2_COPIED);
        qcow2_table_touch(table, at, at + 8);
    } else if (host == word || host == 0 ||
               (host & (rw->cluster_size - 1)) != 0 ||
               (host & ~QCOW2_OFFSET_MASK) != 0) {
        return 0;
    } else if (qcow2_refs_check(rw, host, true, err) < 0) {
        return -1;
    }
    commit_runs_add(&rw->runs, guest, host, rw->cluster_size);
    return 1;
}

int
qcow2_rw_change(struct qcow2_rw *rw, const struct qcow2_change *change,
                struct error *err)
{
    struct qcow2_table *table = find_table(rw, change->cluster, err);
    size_t at = entry_at(rw, change->cluster);
    struct entry old = {.host = 0};
    struct entry entry;

    if (table == NULL && err->code != ERROR_NONE)
        return -1;
    if (table != NULL) {
        int done = store_whole(rw, change, table, at, err);

        if (done != 0)
            return done < 0 ? -1 : 0;
    }
    if (table != NULL && decode_entry(rw, table->bytes + at, &old, err) < 0)
        return -1;
    if ((change->discard ? plan_discard(rw, &old, &entry, err)
                         : plan(rw, change, &old, &entry, err)) < 0)
        return -1;
    if (is_same(&old, &entry))
        return 0;
    if (table == NULL) {
        table = make_table(rw, change->cluster, err);
        if (table == NULL)
            return -1;
    }
    encode_entry(rw, &entry, table->bytes + at);
    qcow2_table_touch(table, at, at + (rw->extended ? 16 : 8));
    return 0;
}

bool
qcow2_rw_is_full(const struct qcow2_rw *rw)
{
    return rw->runs.bytes >= FLUSH_BYTES || rw->frees.count >= FLUSH_FREES ||
           rw->l2.held.count * rw->cluster_size >= L2_HELD_MAX;
}

int
qcow2_rw_discard_from(struct qcow2_rw *rw, uint64_t size,
                      const struct commit_source *source, struct error *err)
{
    uint64_t first = (size + rw->cluster_size - 1) >> rw->cluster_bits;
    uint64_t per_table = (uint64_t)1 << l2_bits(rw);

    for (uint64_t index = first / per_table; index < rw->l2.count; index++) {
        uint64_t cluster = MAX(first, index * per_table);

        if (rw->l2.top[index] == 0)
            continue;
        for (; cluster < (index + 1) * per_table; cluster++) {
            struct qcow2_change change = {.cluster = cluster, .discard = true};

            if (qcow2_rw_change(rw, &change, err) < 0)
                return -1;
        }
        if (qcow2_rw_is_full(rw) && qcow2_rw_flush(rw, source, err) < 0)
            return -1;
    }
    return qcow2_rw_flush(rw, source, err);
}

uint64_t
qcow2_rw_l1_entries(const struct qcow2_rw *rw, uint64_t size)
{
    uint64_t per_table = rw->cluster_size << l2_bits(rw);

    return (size + per_table - 1) / per_table;
}

int
qcow2_rw_reserve(struct qcow2_rw *rw, uint64_t size, struct error *err)
{
    uint64_t entries = qcow2_rw_l1_entries(rw, size);

    if (size != rw->size && rw->has_bitmaps)
        return commit_refusal_set(COMMIT_REFUSAL_BITMAP_RESIZE, rw->path,
                                  &rw->refusal, err);
    if (entries <= rw->l2.count)
        return 0;
    return qcow2_tables_grow_top(rw, &rw->l2, (size_t)entries, err);
}
