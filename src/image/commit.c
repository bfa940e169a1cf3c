/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A merge goes over what the top layer decides (commit_walk.c) and makes the
 * base read there as the chain does.
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
#include "image/commit_walk.h"
#include "image/qcow2.h"
#include "image/qcow2_rw.h"

#include <inttypes.h>
#include <string.h>

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

/* All that the walk goes over becomes what its view reads, the disk `size`. */
static int
change_image(struct commit_walk *walk, uint64_t size, struct error *err)
{
    struct qcow2_rw *rw = walk->rw;

    if (qcow2_rw_reserve(rw, size, err) < 0 || commit_walk(walk, err) < 0)
        return -1;
    if (size < rw->size &&
        qcow2_rw_discard_from(rw, size, walk->source, err) < 0)
        return -1;
    return qcow2_rw_set_size(rw, size, err);
}

/* -- the three operations ----------------------------------------------- */

int
commit_check(const struct image_ref *refs, size_t count,
             enum commit_refusal *ret_refusal, struct error *err)
{
    struct qcow2_info top = {.size = 0};

    *ret_refusal = COMMIT_REFUSAL_NONE;
    if (commit_check_layers(refs, count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct qcow2_info info;

        if (refs[i].format == IMAGE_QCOW2 &&
            commit_refusal_qcow2(refs[i].path,
                                 i == 1 ? COMMIT_USE_CHANGE : COMMIT_USE_READ,
                                 &info, ret_refusal, err) < 0)
            return -1;
        if (i == 0)
            top = info;
        if (i != 1)
            continue;
        if (refs[i].format == IMAGE_RAW &&
            commit_refusal_raw(refs[i].path, top.size, ret_refusal, err) < 0)
            return -1;
        if (refs[i].format == IMAGE_QCOW2 && info.has_bitmaps &&
            info.size != top.size)
            return commit_refusal_set(COMMIT_REFUSAL_BITMAP_RESIZE,
                                      refs[i].path, ret_refusal, err);
    }
    return 0;
}

static int
merge_into(struct commit_target *target, const struct image_ref *refs,
           size_t count, struct copy_progress *progress, struct error *err)
{
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
    struct commit_source source = {.read = commit_read_view,
                                   .progress = progress};
    struct commit_walk walk = {
        .decided = &decided, .keeps_zeros = true, .source = &source};
    uint64_t below;

    if (commit_target_open(target, refs, count, 1, COMMIT_USE_CHANGE, err) < 0)
        return -1;
    walk.view = source.context = target->chain.view;
    walk.rw = target->rw;
    if (commit_chain_top(&target->chain, &decided, &zeros, err) < 0)
        return -1;
    if (target->rw == NULL)
        return commit_raw_merge(&target->raw, walk.view, &decided, &source,
                                err);
    if (commit_chain_size(&target->chain, 2, &below, err) < 0)
        return -1;
    if (target->rw->size == blockdev_size(walk.view))
        walk.zeros = &zeros;
    else
        add_resize(&decided, target->rw, blockdev_size(walk.view), below);
    return change_image(&walk, blockdev_size(walk.view), err);
}

int
commit_layer(const struct image_ref *refs, size_t count,
             struct copy_progress *progress, enum commit_refusal *ret_refusal,
             struct error *err)
{
    AUTO_COMMIT_TARGET struct commit_target target = COMMIT_TARGET_INIT;
    int result;

    if (commit_check(refs, count, ret_refusal, err) < 0)
        return -1;
    result = merge_into(&target, refs, count, progress, err);
    if (result < 0)
        *ret_refusal = commit_target_refusal(&target);
    return result;
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
    AUTO_COMMIT_TARGET struct commit_target target = COMMIT_TARGET_INIT;
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    struct overlay overlay = {
        .bytes = buffer, .offset = offset, .length = length};
    struct commit_source source = {.read = read_overlay, .context = &overlay};
    struct commit_walk walk = {.decided = &decided, .source = &source};
    uint64_t size;

    if (commit_target_open(&target, refs, count, 0, COMMIT_USE_CHANGE, err) < 0)
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
    walk.view = overlay.view;
    walk.rw = target.rw;
    return change_image(&walk, size, err);
}

int
commit_resize(const struct image_ref *refs, size_t count, uint64_t size,
              struct error *err)
{
    AUTO_COMMIT_TARGET struct commit_target target = COMMIT_TARGET_INIT;
    AUTO_EXTENTS struct extents decided = EXTENTS_INIT;
    struct commit_source source = {.read = commit_read_view};
    struct commit_walk walk = {
        .decided = &decided, .keeps_zeros = true, .source = &source};
    uint64_t below;

    if (size > QCOW2_SIZE_MAX)
        return error_set(err, ERROR_INVALID,
                         "'%s': a disk of %" PRIu64 " bytes is too large",
                         refs[0].path, size);
    if (commit_target_open(&target, refs, count, 0, COMMIT_USE_CHANGE, err) < 0)
        return -1;
    if (target.rw == NULL)
        return commit_raw_resize(&target.raw, size, err);
    walk.view = source.context = target.chain.view;
    walk.rw = target.rw;
    if (commit_chain_size(&target.chain, 1, &below, err) < 0)
        return -1;
    add_resize(&decided, target.rw, size, below);
    return change_image(&walk, size, err);
}
