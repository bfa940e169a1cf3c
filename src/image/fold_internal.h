/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fold_internal.h -- what the files of folding share.
 */
#ifndef IMAGE_FOLD_INTERNAL_H
#define IMAGE_FOLD_INTERNAL_H

#include "image/blockdev_chain.h"
#include "image/fold.h"
#include "image/qcow2_writer.h"

/* What becomes of a cluster of the result. */
enum fold_kind {
    FOLD_ZERO,
    FOLD_MOVE,  /* a compressed stream, as it is */
    FOLD_PLAIN, /* stored bytes, as they are */
    FOLD_ENCODE /* read by way of the chain */
};

struct fold_item {
    uint64_t cluster; /* of the guest, in clusters of the result */
    uint64_t count;   /* 1 unless it is zero */
    enum fold_kind kind;
    struct chain_layer *layer; /* of MOVE and PLAIN */
    uint64_t host;             /* where in the layer's file */
    size_t host_length;        /* how much to read there */
    const uint8_t *bytes;      /* borrowed from the reader, once it is read */
    size_t length;             /* of a stream */
};

/* Items in ascending order that are read and appended together. */
struct fold_window {
    struct fold_item *items; /* owned */
    size_t count;
    size_t guest;    /* bytes of guest data, at most QCOW2_WRITER_BATCH_MAX */
    size_t zeros;    /* items that are zero */
    uint64_t load;   /* bytes to read */
    uint64_t end;    /* everything up to here is looked at */
    uint64_t ticket; /* its place in the order */
    struct fold_window *next; /* in a list */
};

/* -- planning (fold_plan.c) --------------------------------------------- */

/* Hand over a full window, get an empty one: NULL with *err set to stop. */
typedef struct fold_window *(*fold_submit)(void *context,
                                           struct fold_window *window,
                                           struct error *err);

struct fold_shape {
    struct chain_device *chain; /* borrowed */
    size_t folded;              /* layers of the part */
    uint32_t cluster_bits;      /* of the result */
    enum qcow2_compression compression;
};

/* The shape that has the fewest clusters to encode. */
void fold_choose(struct chain_device *chain, size_t folded,
                 struct fold_shape *ret_shape) NONNULL(1, 3);

/**
 * fold_plan(shape, window, submit, context, err):
 * One walk over the map of the part: what becomes of each cluster.  `window`
 * is the first empty one; the last is handed over even if it is empty.
 */
int fold_plan(const struct fold_shape *shape, struct fold_window *window,
              fold_submit submit, void *context, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* -- reading (fold_read.c) ---------------------------------------------- */

struct fold_reader;

struct fold_reader *fold_reader_new(const struct fold_shape *shape)
    MUST_CHECK NONNULL(1);
void fold_reader_free(struct fold_reader *reader);

/**
 * fold_read(reader, window, err):
 * Read what the window's items need, neighbours together, and find where
 * streams end.  Items that cannot be moved become FOLD_ENCODE.  The bytes are
 * valid until the next call.
 */
int fold_read(struct fold_reader *reader, struct fold_window *window,
              struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
