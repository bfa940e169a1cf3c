/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To qcow2: encoding is the work, giving places is the commit, writing comes
 * after.  The unit is the larger of leaf and cluster, so that neither is ever
 * seen in part.
 */
#include "image/copy_pipeline.h"

#include "base/memory.h"

#include <inttypes.h>

#define WINDOW ((size_t)2 << 20)

/* Of an increment, which has too little for all workers in long ones. */
#define WINDOW_SOME ((size_t)1 << 20)

/* Zero pieces of a window never outnumber a batch's. */
/* NOLINTBEGIN(misc-redundant-expression) */
_Static_assert(COPY_PIECES_MAX <= QCOW2_WRITER_ZEROS_MAX, "");
_Static_assert(WINDOW <= QCOW2_WRITER_BATCH_MAX, "");
/* NOLINTEND(misc-redundant-expression) */

struct to_qcow2 {
    struct qcow2_writer *writer;    /* borrowed */
    struct digest_builder *builder; /* borrowed, or NULL */
};

static void *
batch_new(void *context, struct error *err)
{
    struct to_qcow2 *to = context;

    return qcow2_writer_batch_new(to->writer, err);
}

static void
batch_free(void *worker)
{
    qcow2_writer_batch_free(worker);
}

static int
encode(void *context, void *worker, const struct copy_window *window,
       struct error *err)
{
    const struct to_qcow2 *to = context;
    uint64_t size = qcow2_writer_size(to->writer);

    for (size_t i = 0; i < window->piece_count; i++) {
        const struct copy_piece *piece = &window->pieces[i];
        /* The image's size is whole sectors, the source's need not be. */
        uint64_t end = (piece->offset + piece->length + 511) & ~(uint64_t)511;
        uint64_t length = MIN(end, size) - piece->offset;

        if (piece->zero)
            qcow2_writer_encode_zero(worker, piece->offset, length);
        else if (qcow2_writer_encode(worker, window->bytes + piece->at,
                                     piece->offset, (size_t)length, err) < 0)
            return -1;
    }
    return 0;
}

static int
append(void *context, void *worker, const struct copy_window *window,
       struct error *err)
{
    struct to_qcow2 *to = context;

    if (to->builder != NULL &&
        copy_pipeline_digest(window, to->builder, err) < 0)
        return -1;
    return qcow2_writer_append(worker, err);
}

static int
flush(void *context, void *worker, struct error *err)
{
    (void)context;
    return qcow2_writer_flush(worker, err);
}

static uint64_t
written(const void *context)
{
    const struct to_qcow2 *to = context;

    return qcow2_writer_written(to->writer);
}

static const struct copy_sink sink = {
    .worker_new = batch_new,
    .worker_free = batch_free,
    .work = encode,
    .commit = append,
    .after = flush,
    .written = written,
};

/*
 * What to look at: `only`, and the leaf that the end of a disk cuts which is
 * smaller than its parent was, since it reads as zero from there on.
 */
static void
choose(const struct extents *only, uint64_t size,
       const struct digest_builder *builder, struct extents *ret_set)
{
    extents_union(ret_set, only);
    if (builder != NULL && size % DIGEST_LEAF_SIZE != 0 &&
        digest_builder_parent_size(builder) > size)
        extents_add(ret_set, size - size % DIGEST_LEAF_SIZE,
                    size % DIGEST_LEAF_SIZE);
}

int
copy_to_qcow2(struct blockdev *source, const struct extents *only,
              struct qcow2_writer *writer, struct digest_builder *builder,
              const struct copy_options *options, struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    struct to_qcow2 to = {.writer = writer, .builder = builder};
    size_t unit =
        MAX(qcow2_writer_cluster_size(writer), (size_t)DIGEST_LEAF_SIZE);
    struct copy_job job = {
        .source = source,
        .unit = unit,
        .window = MAX(unit, only != NULL ? WINDOW_SOME : WINDOW),
        .digests = builder != NULL,
        .options = options,
    };
    uint64_t size = blockdev_size(source);

    if ((size + 511) / 512 * 512 != qcow2_writer_size(writer))
        return error_set(
            err, ERROR_INVALID,
            "'%s' has %" PRIu64 " bytes, its copy is to have %" PRIu64,
            blockdev_name(source), size, qcow2_writer_size(writer));
    if (builder != NULL)
        job.algorithm = digest_builder_algorithm(builder);
    if (only != NULL) {
        choose(only, size, builder, &set);
        job.only = &set;
    }
    return copy_pipeline_run(&job, &sink, &to, err);
}
