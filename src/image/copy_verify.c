/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and computing is parallel; the index is asked in the order of the
 * disk, so that each of its nodes is read once.  Where the source is zero by
 * its map, nothing is read there, and the index is asked for the leaves that
 * are not.
 *
 * Nothing that is damaged ends it, since whoever asks wants to know how much
 * is lost and not only that something is.  A leaf that cannot be read is
 * wrong; a leaf whose digest cannot be read is unproved.  A damaged node
 * stands for all the leaves below it: they are counted and stepped over.
 *
 * I/O errors are the exception: a bad sector is damage, but a server that went
 * away must not be reported as the loss of everything.
 */
#include "image/copy_pipeline.h"

#include "base/memory.h"
#include "image/digest_format.h"

#include <stdlib.h>

#define WINDOW ((size_t)4 << 20)

struct verify {
    struct digest_index *index; /* borrowed */
    struct copy_mismatch *mismatch;
    uint64_t io_errors;
    bool strict; /* damage ends it, and every range is kept */
};

void
copy_mismatch_release(struct copy_mismatch *mismatch)
{
    extents_release(&mismatch->ranges);
}

static void
note(struct copy_mismatch *mismatch, uint64_t leaf, uint64_t count,
     size_t ranges_max)
{
    uint64_t offset = leaf * DIGEST_LEAF_SIZE;
    const struct extents *ranges = &mismatch->ranges;
    bool grows;

    if (count == 0)
        return;
    if (!mismatch->found)
        mismatch->offset = offset;
    mismatch->found = true;
    mismatch->leaves += count;
    grows =
        ranges->count > 0 && ranges->items[ranges->count - 1].offset +
                                     ranges->items[ranges->count - 1].length ==
                                 offset;
    if (grows || ranges->count < ranges_max)
        extents_add(&mismatch->ranges, offset, count * DIGEST_LEAF_SIZE);
    else
        mismatch->is_cut = true;
}

static void
note_wrong(struct verify *verify, uint64_t leaf)
{
    note(verify->mismatch, leaf, 1,
         verify->strict ? SIZE_MAX : COPY_RANGES_MAX);
}

/* Is this damage, of which there is a result all the same? */
static int
bear(struct verify *verify, const struct error *why, struct error *err)
{
    if (why->code == ERROR_CORRUPT && !verify->strict)
        return 0;
    if (why->code == ERROR_IO && !verify->strict &&
        ++verify->io_errors <= COPY_IO_ERRORS_MAX)
        return 0;
    *err = *why;
    return why->code == ERROR_IO && !verify->strict
               ? error_prefix(err, "given up after %u I/O errors",
                              COPY_IO_ERRORS_MAX)
               : -1;
}

/* The index is damaged here: `count` leaves stay unproved. */
static int
note_unproved(struct verify *verify, uint64_t count, struct error *err)
{
    struct copy_mismatch *mismatch = verify->mismatch;
    struct error why = *err;

    error_clear(err);
    if (bear(verify, &why, err) < 0)
        return -1;
    if (mismatch->unproved == 0)
        mismatch->index_problem = why;
    mismatch->unproved += count;
    return 0;
}

static int
note_unreadable(struct verify *verify, const struct copy_window *window,
                uint64_t leaf, struct error *err)
{
    struct copy_mismatch *mismatch = verify->mismatch;

    if (mismatch->unreadable++ == 0)
        mismatch->why = window->why;
    note_wrong(verify, leaf);
    return bear(verify, &window->why, err);
}

static int
compare_zeros(struct verify *verify, uint64_t leaf, uint64_t count,
              struct error *err)
{
    uint64_t end = leaf + count;

    while (leaf < end) {
        uint64_t next = leaf;
        int found = digest_index_next(verify->index, leaf, &next, err);

        if (found < 0) { /* what is below the lowest node is stepped over */
            next = MIN(end, (leaf | (DIGEST_FANOUT - 1)) + 1);
            if (note_unproved(verify, next - leaf, err) < 0)
                return -1;
            leaf = next;
        } else if (found == 0 || next >= end) {
            return 0;
        } else {
            note_wrong(verify, next);
            leaf = next + 1;
        }
    }
    return 0;
}

static int
compare_leaf(struct verify *verify, const struct copy_window *window, size_t at,
             uint64_t leaf, const struct digest *expected, struct error *err)
{
    if (window->leaf_bad[at])
        return note_unreadable(verify, window, leaf, err);
    if (expected != NULL && !digest_is_same(expected, &window->digests[at]))
        note_wrong(verify, leaf);
    return 0;
}

static int
compare_data(struct verify *verify, const struct copy_window *window, size_t at,
             uint64_t leaf, size_t count, struct error *err)
{
    struct digest expected[COPY_LEAVES_MAX];
    bool known =
        digest_index_leaves(verify->index, leaf, count, expected, err) == 0;

    if (!known && note_unproved(verify, count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (compare_leaf(verify, window, at + i, leaf + i,
                         known ? &expected[i] : NULL, err) < 0)
            return -1;
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
            result = compare_data(verify, window, piece->at / DIGEST_LEAF_SIZE,
                                  leaf, (size_t)count, err);
        if (result < 0)
            return -1;
    }
    return 0;
}

static const struct copy_sink sink = {.commit = compare};

/* Leaves that only one of the two has, zero or not. */
static void
compare_sizes(struct copy_mismatch *mismatch, uint64_t size, uint64_t expected)
{
    uint64_t first = MIN(digest_leaves(size), digest_leaves(expected));
    uint64_t end = MAX(digest_leaves(size), digest_leaves(expected));

    note(mismatch, first, end - first, COPY_RANGES_MAX);
    if (size != expected && !mismatch->found)
        note(mismatch, MIN(size, expected) / DIGEST_LEAF_SIZE, 1,
             COPY_RANGES_MAX);
    extents_align(&mismatch->ranges, DIGEST_LEAF_SIZE, MAX(size, expected));
}

static int
run(struct verify *verify, struct blockdev *source, const struct extents *only,
    const struct copy_options *options, struct error *err)
{
    struct copy_job job = {
        .source = source,
        .only = only,
        .unit = DIGEST_LEAF_SIZE,
        .window = WINDOW,
        .digests = true,
        .tolerant = !verify->strict,
        .algorithm = digest_index_algorithm(verify->index),
        .options = options,
    };

    return copy_pipeline_run(&job, &sink, verify, err);
}

int
copy_verify(struct blockdev *source, const struct extents *only,
            struct digest_index *index, const struct copy_options *options,
            struct copy_mismatch *ret_mismatch, struct error *err)
{
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
    struct verify verify = {.index = index, .mismatch = &mismatch};

    if (run(&verify, source, only, options, err) < 0)
        return -1;
    compare_sizes(&mismatch, blockdev_size(source), digest_index_size(index));
    *ret_mismatch = mismatch;
    mismatch = (struct copy_mismatch)COPY_MISMATCH_INIT;
    return 0;
}

int
copy_diff(struct blockdev *source, struct digest_index *index,
          const struct copy_options *options, struct extents *ret_changed,
          struct error *err)
{
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
    struct verify verify = {
        .index = index, .mismatch = &mismatch, .strict = true};

    if (run(&verify, source, NULL, options, err) < 0)
        return -1;
    extents_align(&mismatch.ranges, DIGEST_LEAF_SIZE, blockdev_size(source));
    extents_union(ret_changed, &mismatch.ranges);
    return 0;
}
