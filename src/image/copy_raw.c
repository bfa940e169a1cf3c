/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To raw: every worker writes what it has read, at once and in place; only the
 * digests have an order.  Leaves that are zero stay holes.  With direct I/O
 * the last write is rounded up to a block and the file cut afterwards.
 */
#include "image/copy_pipeline.h"

#include "base/fault.h"
#include "base/memory.h"
#include "image/newfile.h"

#include <errno.h>
#include <unistd.h>

/* A long way of the disk at once: what the layers of a chain hold of it lies
 * together in each of them, and is read with few calls. */
#define WINDOW ((size_t)4 << 20)

struct to_raw {
    int fd;                         /* borrowed */
    const char *path;               /* borrowed */
    struct digest_builder *builder; /* borrowed, or NULL */
    _Atomic uint64_t written;
};

static int
store(struct to_raw *to, const uint8_t *bytes, uint64_t offset, uint64_t length,
      struct error *err)
{
    size_t whole =
        (size_t)((length + NEWFILE_ALIGN - 1) & ~(uint64_t)(NEWFILE_ALIGN - 1));

    if (length == 0)
        return 0;
    if (fault_here("copy.raw.space"))
        return error_set_errno(err, errno, "write '%s'", to->path);
    if (newfile_write(to->fd, bytes, whole, offset, to->path, err) < 0)
        return -1;
    atomic_fetch_add_explicit(&to->written, length, memory_order_relaxed);
    return 0;
}

/* Write one piece, but for its leaves of zeros. */
static int
store_piece(struct to_raw *to, const struct copy_window *window,
            const struct copy_piece *piece, struct error *err)
{
    const uint8_t *bytes = window->bytes + piece->at;
    size_t first = piece->at / DIGEST_LEAF_SIZE;
    uint64_t start = 0;

    for (uint64_t at = 0; at < piece->length; at += DIGEST_LEAF_SIZE) {
        if (!window->leaf_zero[first + at / DIGEST_LEAF_SIZE])
            continue;
        if (store(to, bytes + start, piece->offset + start, at - start, err) <
            0)
            return -1;
        start = at + DIGEST_LEAF_SIZE;
    }
    if (start >= piece->length)
        return 0;
    return store(to, bytes + start, piece->offset + start,
                 piece->length - start, err);
}

static int
store_window(void *context, void *worker, const struct copy_window *window,
             struct error *err)
{
    (void)worker;
    for (size_t i = 0; i < window->piece_count; i++)
        if (!window->pieces[i].zero &&
            store_piece(context, window, &window->pieces[i], err) < 0)
            return -1;
    return 0;
}

static int
digest(void *context, void *worker, const struct copy_window *window,
       struct error *err)
{
    struct to_raw *to = context;

    (void)worker;
    if (to->builder == NULL)
        return 0;
    return copy_pipeline_digest(window, to->builder, err);
}

static uint64_t
written(const void *context)
{
    const struct to_raw *to = context;

    return atomic_load_explicit(&to->written, memory_order_relaxed);
}

static const struct copy_sink sink = {
    .work = store_window,
    .commit = digest,
    .written = written,
};

static int
fill(struct blockdev *source, struct to_raw *to,
     const struct copy_options *options, struct error *err)
{
    struct copy_job job = {
        .source = source,
        .unit = DIGEST_LEAF_SIZE,
        .window = WINDOW,
        .digests = to->builder != NULL,
        .options = options,
    };

    if (to->builder != NULL)
        job.algorithm = digest_builder_algorithm(to->builder);
    if (copy_pipeline_run(&job, &sink, to, err) < 0)
        return -1;
    if (ftruncate(to->fd, (off_t)blockdev_size(source)) < 0 ||
        fault_here("copy.raw-size"))
        return error_set_errno(err, errno, "set the size of '%s'", to->path);
    if (fsync(to->fd) < 0 || fault_here("copy.raw-sync"))
        return error_set_errno(err, errno, "sync '%s'", to->path);
    return 0;
}

int
copy_to_raw(struct blockdev *source, const char *path,
            struct digest_builder *builder, const struct copy_options *options,
            struct error *err)
{
    AUTO_CLOSE int fd = newfile_create(path, true, options->mode_like, err);
    struct to_raw to = {.fd = fd, .path = path, .builder = builder};

    if (fd < 0)
        return -1;
    if (fill(source, &to, options, err) < 0) {
        newfile_discard(path);
        return -1;
    }
    return 0;
}
