/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A merge walks over what the top layer decides, cluster by cluster of the
 * base, and asks how the *whole chain* reads there: as zero, or as data to be
 * stored.  Asking the chain rather than the top has two uses: a base cluster
 * that the top decides only in part is filled with what is below it, and a
 * redo after a crash sees the same and does the same.
 *
 * The chain reads the base through its own descriptor and may see tables from
 * before our changes.  That is right: what the top decides it does not look
 * up there, and what the top does not decide we either leave alone or rewrite
 * with the same bytes.
 *
 * A disk that grows: parts past the base's old size that the top does not
 * decide read as zero, even where a file below the base is longer.  Those are
 * added to what is decided, and the size in the header changes last.
 *
 * A disk that shrinks: the cluster that the new end cuts is rewritten with
 * zeros behind the end, clusters past it are given up, and the size in the
 * header changes last.  Nobody can see these parts through the top.
 */
#include "image/commit.h"

#include "base/memory.h"
#include "image/commit_open.h"
#include "image/commit_raw.h"
#include "image/qcow2.h"
#include "image/qcow2_rw.h"

#include <inttypes.h>
#include <string.h>

/* -- walking over clusters ---------------------------------------------- */

struct walk {
    struct blockdev *view;         /* what the result shall read as */
    struct qcow2_rw *rw;           /* what is changed */
    const struct extents *decided; /* where */
    size_t next;                   /* in decided: the first not passed */
    bool zeros;                    /* what reads as zero need not be stored */
    struct block_range range;      /* of the view, looked up last */
    const struct commit_source *source;
};

/* 1 all of [from, to) reads as zero, 0 not, -1.  Past the end it does. */
static int
reads_as_zero(struct walk *walk, uint64_t from, uint64_t to, struct error *err)
{
    uint64_t end = MIN(to, blockdev_size(walk->view));

    if (!walk->zeros)
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
touched_units(struct walk *walk, uint64_t from, uint64_t to,
              struct qcow2_change *change)
{
    const struct extents *decided = walk->decided;
    uint64_t unit = walk->rw->unit_size;
    uint32_t touched = 0;

    while (walk->next < decided->count &&
           decided->items[walk->next].offset +
                   decided->items[walk->next].length <=
               from)
        walk->next++;
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

static int
walk_cluster(struct walk *walk, uint64_t cluster, struct error *err)
{
    struct qcow2_rw *rw = walk->rw;
    uint64_t from = cluster << rw->cluster_bits;
    struct qcow2_change change = {.cluster = cluster};
    uint32_t touched =
        touched_units(walk, from, from + rw->cluster_size, &change);

    for (unsigned i = 0; i < rw->units; i++) {
        uint64_t start = from + i * rw->unit_size;
        int zero;

        if ((touched >> i & 1) == 0)
            continue;
        zero = reads_as_zero(walk, start, start + rw->unit_size, err);
        if (zero < 0)
            return -1;
        if (zero > 0)
            change.zero |= (uint32_t)1 << i;
        else
            change.data |= (uint32_t)1 << i;
    }
    return qcow2_rw_change(rw, &change, err);
}

static void
count_done(struct walk *walk, uint64_t bytes, uint64_t *counted)
{
    if (walk->source->progress != NULL)
        atomic_fetch_add(&walk->source->progress->done, bytes - *counted);
    *counted = bytes;
}

static int
walk_all(struct walk *walk, struct error *err)
{
    AUTO_EXTENTS struct extents clusters = EXTENTS_INIT;
    struct qcow2_rw *rw = walk->rw;
    uint64_t seen = 0;
    uint64_t counted = 0;

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

/* -- sizes -------------------------------------------------------------- */

/*
 * What a new disk size decides besides: see the note on top.  `below` is the
 * disk size of what is below the image, 0 for nothing.
 */
static void
add_resize(struct extents *decided, const struct qcow2_rw *rw, uint64_t size,
           uint64_t below)
{
    uint64_t mask = rw->cluster_size - 1;
    uint64_t old_end = (rw->size + mask) & ~mask;

    if (size > rw->size) {
        extents_add(decided, rw->size, MIN(old_end, size) - rw->size);
        if (below > rw->size)
            extents_add(decided, rw->size, MIN(below, size) - rw->size);
    } else if (size < rw->size) {
        extents_add(decided, size & ~mask,
                    ((size + mask) & ~mask) - (size & ~mask));
    }
}

/* Everything in `decided` becomes what `view` reads, and the disk `size`. */
static int
change_image(struct qcow2_rw *rw, struct blockdev *view, uint64_t size,
             const struct extents *decided, bool zeros,
             const struct commit_source *source, struct error *err)
{
    struct walk walk = {
        .view = view,
        .rw = rw,
        .decided = decided,
        .zeros = zeros,
        .source = source,
    };

    if (source->progress != NULL)
        atomic_store(&source->progress->total, extents_bytes(decided));
    if (qcow2_rw_reserve(rw, size, err) < 0 || walk_all(&walk, err) < 0)
        return -1;
    if (size < rw->size && qcow2_rw_discard_from(rw, size, source, err) < 0)
        return -1;
    return qcow2_rw_set_size(rw, size, err);
}

/* -- the three operations ----------------------------------------------- */

/*
 * The file to be changed, opened and locked before the chain is opened for
 * reading, so that what is read is what stays.
 */
struct target {
    struct qcow2_rw *rw;   /* owned; NULL for a raw file */
    struct commit_raw raw; /* owned */
    struct commit_chain chain;
};

static void
target_release(struct target *target)
{
    commit_chain_release(&target->chain);
    qcow2_rw_free(target->rw);
    commit_raw_close(&target->raw);
}
#define AUTO_TARGET CLEANUP(target_release)
#define TARGET_INIT                                                            \
    {                                                                          \
        .raw = COMMIT_RAW_INIT                                                 \
    }

static int
target_open(struct target *target, const struct image_ref *refs, size_t count,
            size_t which, struct error *err)
{
    if (refs[which].format == IMAGE_RAW) {
        if (commit_raw_open(&target->raw, refs[which].path, err) < 0)
            return -1;
    } else {
        target->rw = qcow2_rw_open(refs[which].path, err);
        if (target->rw == NULL)
            return -1;
    }
    return commit_chain_open(&target->chain, refs, count, which, err);
}

static int
read_view(void *context, void *buffer, size_t length, uint64_t offset,
          struct error *err)
{
    struct blockdev *view = context;

    return blockdev_read(view, buffer, length, offset, err);
}

int
commit_layer(const struct image_ref *refs, size_t count,
             struct copy_progress *progress, struct error *err)
{
    AUTO_TARGET struct target target = TARGET_INIT;
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    struct commit_source source = {.read = read_view, .progress = progress};
    struct blockdev *view;
    uint64_t below;

    if (count < 2 || refs[0].format != IMAGE_QCOW2)
        return error_set(err, ERROR_INVALID,
                         "'%s' is no layer over another image", refs[0].path);
    if (target_open(&target, refs, count, 1, err) < 0)
        return -1;
    view = source.context = target.chain.view;
    if (qcow2_allocated(refs[0].path, &decided, err) < 0)
        return -1;
    if (target.rw == NULL)
        return commit_raw_merge(&target.raw, view, &decided, &source, err);
    if (commit_chain_size(&target.chain, 2, &below, err) < 0)
        return -1;
    add_resize(&decided, target.rw, blockdev_size(view), below);
    return change_image(target.rw, view, blockdev_size(view), &decided, true,
                        &source, err);
}

/* The view with one buffer laid over it. */
struct overlay {
    struct blockdev *view; /* borrowed, as `bytes` */
    const uint8_t *bytes;
    uint64_t offset;
    uint64_t length;
};

static int
read_overlay(void *context, void *buffer, size_t length, uint64_t offset,
             struct error *err)
{
    const struct overlay *overlay = context;
    uint64_t start = MAX(offset, overlay->offset);
    uint64_t end = MIN(offset + length, overlay->offset + overlay->length);

    if (blockdev_read(overlay->view, buffer, length, offset, err) < 0)
        return -1;
    if (start < end)
        memcpy((uint8_t *)buffer + (start - offset),
               overlay->bytes + (start - overlay->offset), end - start);
    return 0;
}

int
commit_write(const struct image_ref *refs, size_t count, const void *buffer,
             uint64_t offset, size_t length, struct error *err)
{
    AUTO_TARGET struct target target = TARGET_INIT;
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    struct overlay overlay = {
        .bytes = buffer, .offset = offset, .length = length};
    struct commit_source source = {.read = read_overlay, .context = &overlay};
    uint64_t size;

    if (target_open(&target, refs, count, 0, err) < 0)
        return -1;
    overlay.view = target.chain.view;
    size = blockdev_size(overlay.view);
    if (offset > size || length > size - offset)
        return error_set(err, ERROR_INVALID,
                         "%zu bytes at %" PRIu64 " are not in the %" PRIu64
                         " of '%s'",
                         length, offset, size, refs[0].path);
    if (target.rw == NULL)
        return commit_raw_write(&target.raw, buffer, offset, length, err);
    extents_add(&decided, offset, length);
    return change_image(target.rw, overlay.view, size, &decided, false, &source,
                        err);
}

int
commit_resize(const struct image_ref *refs, size_t count, uint64_t size,
              struct error *err)
{
    AUTO_TARGET struct target target = TARGET_INIT;
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    struct commit_source source = {.read = read_view};
    uint64_t below;

    if (size > QCOW2_SIZE_MAX)
        return error_set(err, ERROR_INVALID,
                         "'%s': a disk of %" PRIu64 " bytes is too large",
                         refs[0].path, size);
    if (target_open(&target, refs, count, 0, err) < 0)
        return -1;
    if (target.rw == NULL)
        return commit_raw_resize(&target.raw, size, err);
    source.context = target.chain.view;
    if (commit_chain_size(&target.chain, 1, &below, err) < 0)
        return -1;
    add_resize(&decided, target.rw, size, below);
    return change_image(target.rw, target.chain.view, size, &decided, true,
                        &source, err);
}
