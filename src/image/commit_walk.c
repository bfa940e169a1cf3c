/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cluster by cluster of the image that is changed: does the *whole chain* read
 * as zero there, or is it data to be stored?  Asking the chain rather than one
 * layer has two uses: a cluster that is decided only in part is filled with
 * what is below, and a redo after a crash sees the same and does the same.
 *
 * Most clusters lie wholly inside what one layer decides, and that layer said
 * already what is zero; those need not be looked up again.
 */
#include "image/commit_walk.h"

#include "base/memory.h"

/* 1 all of [from, to) reads as zero, 0 not, -1.  Past the end it does. */
static int
reads_as_zero(struct commit_walk *walk, uint64_t from, uint64_t to,
              struct error *err)
{
    uint64_t end = MIN(to, blockdev_size(walk->view));

    if (!walk->keeps_zeros)
        return 0;
    while (from < end) {
        if (from < walk->range.offset ||
            from - walk->range.offset >= walk->range.length) {
            if (blockdev_map(walk->view, from, &walk->range, err) < 0)
                return -1;
        }
        if (walk->range.kind != BLOCK_ZERO)
            return 0;
        from = walk->range.offset + walk->range.length;
    }
    return 1;
}

/* The part of `decided` inside [from, to): its hull, and the units in it. */
static uint32_t
touched_units(struct commit_walk *walk, uint64_t from, uint64_t to,
              struct qcow2_change *change)
{
    const struct extents *decided = walk->decided;
    uint64_t unit = walk->rw->unit_size;
    uint32_t touched = 0;

    change->start = UINT64_MAX;
    change->end = 0;
    for (size_t i = walk->next;
         i < decided->count && decided->items[i].offset < to; i++) {
        uint64_t start = MAX(decided->items[i].offset, from);
        uint64_t end =
            MIN(decided->items[i].offset + decided->items[i].length, to);

        change->start = MIN(change->start, start);
        change->end = MAX(change->end, end);
        for (uint64_t n = (start - from) / unit; n * unit < end - from; n++)
            touched |= (uint32_t)1 << n;
    }
    return touched;
}

/* The first item that ends behind `from`. */
static size_t
skip_to(const struct extents *set, size_t next, uint64_t from)
{
    while (next < set->count &&
           set->items[next].offset + set->items[next].length <= from)
        next++;
    return next;
}

static bool
covers(const struct extents *set, size_t i, uint64_t from, uint64_t to)
{
    return i < set->count && set->items[i].offset <= from &&
           set->items[i].offset + set->items[i].length >= to;
}

/* True when all of the cluster is decided, and as one kind. */
static bool
is_known(struct commit_walk *walk, uint64_t from, uint64_t to, bool *ret_zero)
{
    const struct extents *zeros = walk->zeros;

    if (zeros == NULL || !covers(walk->decided, walk->next, from, to))
        return false;
    walk->next_zero = skip_to(zeros, walk->next_zero, from);
    *ret_zero = covers(zeros, walk->next_zero, from, to);
    return *ret_zero || walk->next_zero >= zeros->count ||
           zeros->items[walk->next_zero].offset >= to;
}

/* Ask the view about each unit that is decided at least in part. */
static int
ask_units(struct commit_walk *walk, uint64_t from, struct qcow2_change *change,
          struct error *err)
{
    struct qcow2_rw *rw = walk->rw;
    uint32_t touched =
        touched_units(walk, from, from + rw->cluster_size, change);

    for (unsigned i = 0; i < rw->units; i++) {
        uint64_t start = from + i * rw->unit_size;
        int zero;

        if ((touched >> i & 1) == 0)
            continue;
        zero = reads_as_zero(walk, start, start + rw->unit_size, err);
        if (zero < 0)
            return -1;
        if (zero > 0)
            change->zero |= (uint32_t)1 << i;
        else
            change->data |= (uint32_t)1 << i;
    }
    return 0;
}

static int
walk_cluster(struct commit_walk *walk, uint64_t cluster, struct error *err)
{
    struct qcow2_rw *rw = walk->rw;
    uint64_t from = cluster << rw->cluster_bits;
    uint64_t to = from + rw->cluster_size;
    struct qcow2_change change = {.cluster = cluster, .start = from, .end = to};
    bool zero;

    walk->next = skip_to(walk->decided, walk->next, from);
    if (is_known(walk, from, to, &zero)) {
        change.zero = zero ? rw->all_units : 0;
        change.data = zero ? 0 : rw->all_units;
    } else if (ask_units(walk, from, &change, err) < 0) {
        return -1;
    }
    return qcow2_rw_change(rw, &change, err);
}

static void
count_done(struct commit_walk *walk, uint64_t bytes, uint64_t *counted)
{
    if (walk->source->progress != NULL)
        atomic_fetch_add(&walk->source->progress->done, bytes - *counted);
    *counted = bytes;
}

int
commit_walk(struct commit_walk *walk, struct error *err)
{
    AUTO_EXTENTS struct extents clusters = EXTENTS_INIT;
    struct qcow2_rw *rw = walk->rw;
    uint64_t seen = 0;
    uint64_t counted = 0;

    if (walk->source->progress != NULL)
        atomic_store(&walk->source->progress->total,
                     extents_bytes(walk->decided));
    extents_union(&clusters, walk->decided);
    extents_align(&clusters, rw->cluster_size, UINT64_MAX);
    for (size_t i = 0; i < clusters.count; i++) {
        uint64_t end = clusters.items[i].offset + clusters.items[i].length;

        for (uint64_t at = clusters.items[i].offset; at < end;
             at += rw->cluster_size) {
            if (commit_check_cancel(walk->source, err) < 0 ||
                walk_cluster(walk, at >> rw->cluster_bits, err) < 0)
                return -1;
            seen += rw->cluster_size;
            if (!qcow2_rw_is_full(rw))
                continue;
            if (qcow2_rw_flush(rw, walk->source, err) < 0)
                return -1;
            count_done(walk, seen, &counted);
        }
    }
    if (qcow2_rw_flush(rw, walk->source, err) < 0)
        return -1;
    count_done(walk, seen, &counted);
    return 0;
}
