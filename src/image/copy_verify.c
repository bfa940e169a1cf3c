/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and computing is parallel; the index is asked in the order of the
 * disk, so that each of its nodes is read once.  Where the source is zero by
 * its map, nothing is read there, and the index is asked for the leaves that
 * are not.
 */
#include "image/copy_pipeline.h"

#include "base/memory.h"

#include <stdlib.h>

#define WINDOW ((size_t)1 << 20)

struct verify {
    struct digest_index *index; /* borrowed */
    struct copy_mismatch *mismatch;
};

static void
note(struct copy_mismatch *mismatch, uint64_t leaf)
{
    if (!mismatch->found)
        mismatch->offset = leaf * DIGEST_LEAF_SIZE;
    mismatch->found = true;
    mismatch->leaves++;
}

static int
compare_zeros(struct verify *verify, uint64_t leaf, uint64_t count,
              struct error *err)
{
    uint64_t end = leaf + count;
    int found;

    while ((found = digest_index_next(verify->index, leaf, &leaf, err)) == 1 &&
           leaf < end)
        note(verify->mismatch, leaf++);
    return found < 0 ? -1 : 0;
}

static int
compare_data(struct verify *verify, uint64_t leaf, const struct digest *actual,
             size_t count, struct error *err)
{
    struct digest expected[COPY_LEAVES_MAX];

    if (digest_index_leaves(verify->index, leaf, count, expected, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!digest_is_same(&expected[i], &actual[i]))
            note(verify->mismatch, leaf + i);
    return 0;
}

static int
compare(void *context, void *worker, const struct copy_window *window,
        struct error *err)
{
    struct verify *verify = context;

    (void)worker;
    for (size_t i = 0; i < window->piece_count; i++) {
        const struct copy_piece *piece = &window->pieces[i];
        uint64_t leaf = piece->offset / DIGEST_LEAF_SIZE;
        uint64_t count = digest_leaves(piece->length);
        int result;

        if (piece->zero)
            result = compare_zeros(verify, leaf, count, err);
        else
            result = compare_data(
                verify, leaf, &window->digests[piece->at / DIGEST_LEAF_SIZE],
                (size_t)count, err);
        if (result < 0)
            return -1;
    }
    return 0;
}

static const struct copy_sink sink = {.commit = compare};

int
copy_verify(struct blockdev *source, struct digest_index *index,
            const struct copy_options *options,
            struct copy_mismatch *ret_mismatch, struct error *err)
{
    struct copy_mismatch mismatch = {.found = false};
    struct verify verify = {.index = index, .mismatch = &mismatch};
    struct copy_job job = {
        .source = source,
        .unit = DIGEST_LEAF_SIZE,
        .window = WINDOW,
        .digests = true,
        .algorithm = digest_index_algorithm(index),
        .options = options,
    };
    uint64_t size = blockdev_size(source);
    uint64_t expected = digest_index_size(index);

    if (copy_pipeline_run(&job, &sink, &verify, err) < 0)
        return -1;
    /* Leaves that only one of the two has, zero or not. */
    for (uint64_t leaf = MIN(digest_leaves(size), digest_leaves(expected));
         leaf < MAX(digest_leaves(size), digest_leaves(expected)); leaf++)
        note(&mismatch, leaf);
    if (size != expected && !mismatch.found)
        note(&mismatch, MIN(size, expected) / DIGEST_LEAF_SIZE);
    *ret_mismatch = mismatch;
    return 0;
}
