/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A merge backward: what the lower of two layers decides, and the upper does
 * not, goes into the upper one, which then rests on what is below.
 *
 * The upper layer reads the same before and after each write.  What is stored
 * in a cluster that it left to its backing chain is what that chain reads
 * there, so it does not matter when the new entry becomes durable; all entries
 * are, before the backing name is switched by one write of one sector
 * (qcow2_rebase_unsafe).  After the switch nothing is left that the lower
 * layer decided: a disk that ends before the layer below does decided zeros
 * there, which are stored too.  With nothing below, what is not stored reads
 * as zero anyway.
 *
 * Doing it again finds less to do, or that the upper layer rests on the right
 * file already.  Then it is synced all the same: whoever switched it may have
 * died before that, and the lower layer will be deleted.
 */
#include "image/commit_pull.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "image/commit.h"
#include "image/commit_open.h"
#include "image/commit_walk.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The disk size of one layer alone. */
static int
layer_size(const struct image_ref *ref, uint64_t *ret_size, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *raw = NULL;
    struct qcow2_info info;

    if (ref->format == IMAGE_QCOW2) {
        if (qcow2_read_info(ref->path, &info, err) < 0)
            return -1;
        *ret_size = info.size;
        return 0;
    }
    raw = blockdev_open_raw(ref->path, 0, err);
    if (raw == NULL)
        return -1;
    *ret_size = blockdev_size(raw);
    return 0;
}

/* What a layer decides; of a raw file, which is always the last, its data. */
static int
layer_contents(const struct image_ref *ref, struct extents *set,
               struct extents *zeros, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *raw = NULL;

    if (ref->format == IMAGE_QCOW2)
        return qcow2_contents(ref->path, set, zeros, err);
    raw = blockdev_open_raw(ref->path, 0, err);
    if (raw == NULL)
        return -1;
    return blockdev_data(raw, set, err);
}

int
commit_pull_set(const struct image_ref *refs, size_t count,
                struct extents *ret_set, struct extents *ret_zeros,
                struct error *err)
{
    AUTO_EXTENTS struct extents own = EXTENTS_INIT;
    AUTO_EXTENTS struct extents disk = EXTENTS_INIT;
    uint64_t size[3] = {0, 0, 0};

    for (size_t i = 0; i < MIN(count, ARRAY_SIZE(size)); i++) {
        if (layer_size(&refs[i], &size[i], err) < 0)
            return -1;
    }
    if (layer_contents(&refs[1], ret_set, ret_zeros, err) < 0 ||
        qcow2_allocated(refs[0].path, &own, err) < 0)
        return -1;
    if (size[2] > size[1]) {
        extents_add(ret_set, size[1], size[2] - size[1]);
        extents_add(ret_zeros, size[1], size[2] - size[1]);
    }
    if (size[0] > 0)
        extents_add(&disk, 0, size[0]);
    extents_intersect(ret_set, &disk);
    extents_subtract(ret_set, &own);
    if (count == 2)
        extents_subtract(ret_set, ret_zeros);
    extents_intersect(ret_zeros, ret_set);
    return 0;
}

static int
pull(struct commit_target *target, const struct image_ref *refs, size_t count,
     struct copy_progress *progress, struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
    struct commit_source source = {.read = commit_read_view,
                                   .progress = progress};
    struct commit_walk walk = {.decided = &set,
                               .zeros = &zeros,
                               .keeps_zeros = true,
                               .source = &source};

    if (commit_target_open(target, refs, count, 0, COMMIT_USE_KEEP, err) < 0 ||
        commit_pull_set(refs, count, &set, &zeros, err) < 0)
        return -1;
    walk.view = source.context = target->chain.view;
    walk.rw = target->rw;
    if (commit_walk(&walk, err) < 0)
        return -1;
    return qcow2_rw_sync(target->rw, err);
}

/* 1 when it rests on chain[2], or on nothing, already; durable then. */
static int
is_pulled(const struct image_ref *refs, size_t count,
          const struct qcow2_info *info, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat is;
    struct stat wanted;

    if (info->has_backing != (count > 2))
        return 0;
    if (count > 2) {
        AUTO_FREE char *path =
            path_resolve_backing(refs[0].path, info->backing_name);

        if (stat(refs[2].path, &wanted) < 0)
            return error_set_errno(err, errno, "stat '%s'", refs[2].path);
        if (stat(path, &is) < 0 || is.st_dev != wanted.st_dev ||
            is.st_ino != wanted.st_ino)
            return 0;
    }
    fd = open(refs[0].path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", refs[0].path);
    return fd_sync(fd, refs[0].path, err) < 0 ? -1 : 1;
}

int
commit_pull_check(const struct image_ref *refs, size_t count,
                  enum commit_refusal *ret_refusal, struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

    *ret_refusal = COMMIT_REFUSAL_NONE;
    if (commit_check_layers(refs, count, err) < 0 ||
        commit_refusal_qcow2(refs[0].path, COMMIT_USE_KEEP, info, ret_refusal,
                             err) < 0)
        return -1;
    for (size_t i = 1; i < count; i++) {
        AUTO_FREE struct qcow2_info *other = xcalloc(1, sizeof(*other));

        if (refs[i].format == IMAGE_QCOW2 &&
            commit_refusal_qcow2(refs[i].path, COMMIT_USE_READ, other,
                                 ret_refusal, err) < 0)
            return -1;
        /* They would be lost with the file. */
        if (i == 1 && other->snapshots != 0)
            return commit_refusal_set(COMMIT_REFUSAL_SNAPSHOTS, refs[i].path,
                                      ret_refusal, err);
    }
    return 0;
}

int
commit_pull_is_done(const struct image_ref *refs, size_t count,
                    struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

    if (commit_check_layers(refs, count, err) < 0 ||
        qcow2_read_info(refs[0].path, info, err) < 0)
        return -1;
    return is_pulled(refs, count, info, err);
}

int
commit_pull(const struct image_ref *refs, size_t count,
            struct copy_progress *progress, enum commit_refusal *ret_refusal,
            struct error *err)
{
    struct commit_target target = COMMIT_TARGET_INIT;
    int result;

    *ret_refusal = COMMIT_REFUSAL_NONE;
    result = commit_pull_is_done(refs, count, err);
    if (result != 0)
        return result < 0 ? -1 : 0;
    if (commit_pull_check(refs, count, ret_refusal, err) < 0)
        return -1;
    result = pull(&target, refs, count, progress, err);
    *ret_refusal =
        result < 0 ? commit_target_refusal(&target) : COMMIT_REFUSAL_NONE;
    /* The locks go: the new name is written under one of its own. */
    commit_target_release(&target);
    if (result < 0)
        return -1;
    if (fault_here("commit-pull.rebase"))
        return error_set_errno(err, errno, "rebase '%s'", refs[0].path);
    return qcow2_rebase_unsafe(refs[0].path, count > 2 ? refs[2].path : NULL,
                               count > 2 ? refs[2].format : IMAGE_QCOW2, err);
}
