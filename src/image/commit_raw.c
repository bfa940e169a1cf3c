/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw image has no tables, so the order of writes does not matter: until
 * the merge is done the layer above decides everything that is written here.
 * Only the end needs care: the file is made longer before anything is written
 * there, and shorter after everything else is durable.
 *
 * Zeros become holes where the file system has them (a block device: where it
 * can zero by itself), else they are written.
 */
#include "image/commit_raw.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/imagelock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_BYTES ((uint64_t)256 << 20)
#define ZERO_PIECE ((uint64_t)1 << 20)

int
commit_raw_open(struct commit_raw *raw, const char *path, struct error *err)
{
    struct stat about;

    raw->path = path;
    raw->fd = open(path, O_RDWR | O_CLOEXEC);
    if (raw->fd < 0)
        return error_set_errno(err, errno, "open '%s' for writing", path);
    if (imagelock_take(raw->fd, IMAGELOCK_WRITE, path, err) < 0)
        return -1;
    /* Devices have no st_size. */
    raw->size = (uint64_t)lseek(raw->fd, 0, SEEK_END);
    if (fstat(raw->fd, &about) < 0 || raw->size > INT64_MAX)
        return error_set_errno(err, errno, "stat '%s'", path);
    raw->is_device = S_ISBLK(about.st_mode);
    return 0;
}

void
commit_raw_close(struct commit_raw *raw)
{
    if (raw->fd >= 0)
        (void)close(raw->fd); /* all that matters was synced */
    raw->fd = -1;
}

static int
resize_raw(struct commit_raw *raw, uint64_t size, struct error *err)
{
    if (size == raw->size || (raw->is_device && size < raw->size))
        return 0;
    if (raw->is_device)
        return commit_refusal_set(COMMIT_REFUSAL_DEVICE_SIZE, raw->path,
                                  &raw->refusal, err);
    if (fault_here("commit-raw.size.space") ||
        ftruncate(raw->fd, (off_t)size) < 0)
        return error_set_errno(err, errno, "resize '%s'", raw->path);
    raw->size = size;
    return 0;
}

static int
write_zeros(const struct commit_raw *raw, uint64_t from, uint64_t to,
            struct error *err)
{
    AUTO_FREE void *zeros = NULL;

    if (fault_here("commit-raw.zero.space"))
        return error_set_errno(err, errno, "write '%s'", raw->path);
    if (fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)from, (off_t)(to - from)) == 0)
        return 0;
    zeros = xcalloc(1, ZERO_PIECE);
    while (from < to) {
        uint64_t piece = MIN(to - from, ZERO_PIECE);

        if (fd_pwrite(raw->fd, zeros, piece, from, raw->path, err) < 0)
            return -1;
        from += piece;
    }
    return 0;
}

static int
flush_runs(const struct commit_raw *raw, struct commit_runs *runs,
           const struct commit_source *source, struct error *err)
{
    if (commit_copy(raw->fd, raw->path, runs, source, err) < 0)
        return -1;
    if (source->progress != NULL)
        atomic_fetch_add(&source->progress->done, runs->bytes);
    commit_runs_clear(runs);
    return 0;
}

static int
merge_range(const struct commit_raw *raw, struct blockdev *view, uint64_t from,
            uint64_t to, struct commit_runs *runs,
            const struct commit_source *source, struct error *err)
{
    while (from < to) {
        struct block_range range;
        uint64_t end;

        if (blockdev_map(view, from, &range, err) < 0)
            return -1;
        end = MIN(to, range.offset + range.length);
        if (range.kind == BLOCK_DATA) {
            commit_runs_add(runs, from, from, end - from);
        } else {
            if (write_zeros(raw, from, end, err) < 0)
                return -1;
            if (source->progress != NULL)
                atomic_fetch_add(&source->progress->done, end - from);
        }
        from = end;
        if (runs->bytes >= FLUSH_BYTES &&
            flush_runs(raw, runs, source, err) < 0)
            return -1;
    }
    return commit_check_cancel(source, err);
}

static int
merge_all(struct commit_raw *raw, struct blockdev *view,
          const struct extents *decided, struct commit_runs *runs,
          const struct commit_source *source, struct error *err)
{
    uint64_t size = blockdev_size(view);

    if (source->progress != NULL)
        atomic_store(&source->progress->total, extents_bytes(decided));
    if (size > raw->size && resize_raw(raw, size, err) < 0)
        return -1;
    for (size_t i = 0; i < decided->count; i++) {
        const struct extent *item = &decided->items[i];

        if (merge_range(raw, view, item->offset,
                        MIN(item->offset + item->length, size), runs, source,
                        err) < 0)
            return -1;
    }
    if (flush_runs(raw, runs, source, err) < 0 ||
        fd_sync(raw->fd, raw->path, err) < 0)
        return -1;
    if (size == raw->size)
        return 0;
    if (resize_raw(raw, size, err) < 0)
        return -1;
    return fd_sync(raw->fd, raw->path, err);
}

int
commit_raw_merge(struct commit_raw *raw, struct blockdev *view,
                 const struct extents *decided,
                 const struct commit_source *source, struct error *err)
{
    struct commit_runs runs = {.items = NULL};
    int result = merge_all(raw, view, decided, &runs, source, err);

    commit_runs_release(&runs);
    return result;
}

int
commit_raw_write(struct commit_raw *raw, const void *buffer, uint64_t offset,
                 size_t length, struct error *err)
{
    if (fd_pwrite(raw->fd, buffer, length, offset, raw->path, err) < 0)
        return -1;
    return fd_sync(raw->fd, raw->path, err);
}

int
commit_raw_resize(struct commit_raw *raw, uint64_t size, struct error *err)
{
    if (raw->is_device)
        return error_set(err, ERROR_UNSUPPORTED,
                         "the device '%s' cannot be resized", raw->path);
    if (resize_raw(raw, size, err) < 0)
        return -1;
    return fd_sync(raw->fd, raw->path, err);
}
