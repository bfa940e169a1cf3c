/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu-img commit, made as safe as ours.
 *
 *   - It follows the names in the headers, so these are compared with our
 *     record first: no file is opened that we do not know.
 *   - `-d` keeps the upper file as it is.  Without it the tool empties the
 *     upper file afterwards; with it there is nothing to be seen of a kill
 *     but a base that is written in part, and what was written is what the
 *     upper file decides, so that the chain reads the same.
 *   - It trusts a base's reference counts.  In an image that was not closed
 *     they are stale, and a cluster in use would be given away again: that
 *     one is repaired first, as QEMU does when it opens one for writing.  An
 *     image that is unsound for another reason is refused.
 *   - It lets a base grow and never shrink: the size is set afterwards.
 *   - It does not sync: we do.
 *
 * Two QEMU tools, or one and us, exclude each other by QEMU's image locks.
 */
#include "engine/merge_tool.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int
refuse(const struct image_ref *ref, const char *why, struct error *err)
{
    return error_set(err, ERROR_UNSUPPORTED,
                     "'%s' cannot be merged: %s; the chain is as it was",
                     ref->path, why);
}

static int
allows_file(const struct image_ref *ref, bool is_top, struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

    if (ref->format != IMAGE_QCOW2)
        return 0;
    if (qcow2_read_info(ref->path, info, err) < 0)
        return -1;
    if (info->encrypted)
        return refuse(ref, "it is encrypted, and varve has no key", err);
    if (info->data_file)
        return refuse(ref, "its data are in another file", err);
    if (is_top && info->snapshots > 0)
        return error_set(err, ERROR_CONFLICT,
                         "'%s' has %u internal snapshot(s), which would be "
                         "lost with the file; delete them (virsh "
                         "snapshot-delete, qemu-img snapshot -d), then try "
                         "again",
                         ref->path, info->snapshots);
    return 0;
}

int
merge_tool_allows(const struct image_ref *chain, size_t count,
                  struct error *err)
{
    for (size_t i = 0; i < count && i < 2; i++) {
        if (allows_file(&chain[i], i == 0, err) < 0)
            return -1;
    }
    return 0;
}

/* The formats in the headers; blockdev_open_chain() has compared the names. */
static int
check_formats(const struct image_ref *chain, size_t count, struct error *err)
{
    for (size_t i = 0; i + 1 < count; i++) {
        AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

        if (qcow2_read_info(chain[i].path, info, err) < 0)
            return -1;
        if (strcmp(info->backing_format,
                   image_format_name(chain[i + 1].format)) != 0)
            return refuse(&chain[i], "it does not name its backing format",
                          err);
    }
    return 0;
}

static int
check_chain(const struct image_ref *chain, size_t count, uint64_t *ret_size,
            struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *view =
        blockdev_open_chain(chain, count, BLOCKDEV_LIVE, err);

    if (view == NULL)
        return -1;
    *ret_size = blockdev_size(view);
    for (size_t i = 2; i < count; i++) {
        if (allows_file(&chain[i], false, err) < 0)
            return -1;
    }
    return check_formats(chain, count, err);
}

static bool
goes_on(void *context)
{
    struct copy_progress *progress = context;

    return progress == NULL || !atomic_load(&progress->cancel);
}

static int
run_tool(const char *const argv[], struct copy_progress *progress,
         struct error *err)
{
    return spawn_run_while(argv, goes_on, progress, NULL, err);
}

/* Sound, or made so if only its counts are stale. */
static int
make_sound(const struct image_ref *ref, struct copy_progress *progress,
           struct error *err)
{
    const char *const check[] = {"qemu-img", "check",   "-q", "-f",
                                 "qcow2",    ref->path, NULL};
    const char *const repair[] = {"qemu-img", "check", "-q",      "-r", "all",
                                  "-f",       "qcow2", ref->path, NULL};
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

    if (ref->format != IMAGE_QCOW2)
        return 0;
    if (qcow2_read_info(ref->path, info, err) < 0)
        return -1;
    if (fault_here("merge-tool.check"))
        return error_set_errno(err, errno, "check of '%s'", ref->path);
    if (info->dirty)
        return run_tool(repair, progress, err);
    if (run_tool(check, progress, err) == 0)
        return 0;
    /* Status 3: leaked clusters, which harm nobody. */
    if (err->code == ERROR_IO && strstr(err->message, "status 3:") != NULL) {
        error_clear(err);
        return 0;
    }
    if (err->code == ERROR_IO)
        err->code = ERROR_CORRUPT;
    return error_prefix(err, "'%s' is not sound, nothing was changed",
                        ref->path);
}

static int
set_size(const struct image_ref *base, uint64_t size,
         struct copy_progress *progress, struct error *err)
{
    AUTO_FREE char *bytes = xasprintf("%" PRIu64, size);
    const char *const resize[] = {
        "qemu-img", "resize", "-q",
        "--shrink", "-f",     image_format_name(base->format),
        base->path, bytes,    NULL};
    AUTO_BLOCKDEV struct blockdev *now = NULL;

    if (base->format == IMAGE_QCOW2) {
        AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

        if (qcow2_read_info(base->path, info, err) < 0)
            return -1;
        if (info->size == size)
            return 0;
    } else {
        now = blockdev_open_raw(base->path, BLOCKDEV_LIVE, err);
        if (now == NULL)
            return -1;
        if (blockdev_size(now) == size)
            return 0;
    }
    return run_tool(resize, progress, err);
}

static int
sync_file(const char *path, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    return fd_sync(fd, path, err);
}

int
merge_tool_commit(const struct image_ref *chain, size_t count,
                  struct copy_progress *progress, struct error *err)
{
    const char *const commit[] = {"qemu-img", "commit", "-q",          "-f",
                                  "qcow2",    "-d",     chain[0].path, NULL};
    uint64_t size;

    if (count < 2 || chain[0].format != IMAGE_QCOW2)
        return error_set(err, ERROR_INVALID,
                         "'%s' is no layer over another image", chain[0].path);
    if (merge_tool_allows(chain, count, err) < 0 ||
        check_chain(chain, count, &size, err) < 0 ||
        make_sound(&chain[0], progress, err) < 0 ||
        make_sound(&chain[1], progress, err) < 0)
        return -1;
    if (fault_here("merge-tool.commit"))
        return error_set_errno(err, errno, "qemu-img commit '%s'",
                               chain[0].path);
    if (run_tool(commit, progress, err) < 0)
        return -1;
    if (fault_here("merge-tool.committed"))
        return error_set_errno(err, errno, "after qemu-img commit '%s'",
                               chain[0].path);
    if (set_size(&chain[1], size, progress, err) < 0)
        return -1;
    return sync_file(chain[1].path, err);
}
