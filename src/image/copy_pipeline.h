/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_pipeline.h -- read a disk in parallel, hand on what was read in order.
 * Internal to src/image.
 */
#ifndef IMAGE_COPY_PIPELINE_H
#define IMAGE_COPY_PIPELINE_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/copy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_WINDOW_MAX ((size_t)4 << 20)
#define COPY_LEAVES_MAX (COPY_WINDOW_MAX / DIGEST_LEAF_SIZE)
#define COPY_PIECES_MAX 32

/* A range of the disk that reads as zero, or that was read. */
struct copy_piece {
    uint64_t offset;
    uint64_t length; /* behind the disk's end nothing */
    bool zero;
    size_t at; /* of its bytes in the window's; whole units, zero-extended */
};

/* What one worker has in hand: pieces in ascending order. */
struct copy_window {
    struct copy_piece pieces[COPY_PIECES_MAX];
    size_t piece_count;
    uint8_t *bytes; /* owned by the worker */
    size_t length;  /* of what was read */
    bool leaf_zero[COPY_LEAVES_MAX];
    struct digest digests[COPY_LEAVES_MAX]; /* of the leaves in `bytes` */
    bool leaf_bad[COPY_LEAVES_MAX];         /* could not be read */
    size_t bad_count;
    struct error why; /* the first leaf's */
};

/*
 * What is done with it.  `context` is the one given to copy_pipeline_run;
 * `worker` what worker_new returned.  Any of the functions may be NULL.
 */
struct copy_sink {
    void *(*worker_new)(void *context, struct error *err);
    void (*worker_free)(void *worker);
    /* By any number of workers at once, in no order. */
    int (*work)(void *context, void *worker, const struct copy_window *window,
                struct error *err);
    /* By one at a time, in the order of the disk. */
    int (*commit)(void *context, void *worker, const struct copy_window *window,
                  struct error *err);
    /* By any number at once, after the commit. */
    int (*after)(void *context, void *worker, struct error *err);
    /* How much was stored so far. */
    uint64_t (*written)(const void *context);
};

struct copy_job {
    struct blockdev *source;    /* borrowed */
    const struct extents *only; /* borrowed; NULL: everything */
    size_t unit;                /* pieces are multiples of it */
    size_t window;              /* most that a worker reads at once */
    bool digests;               /* are they wanted */
    bool tolerant;              /* what is damaged is handed on as bad */
    enum digest_algorithm algorithm;
    const struct copy_options *options; /* borrowed */
};

/**
 * copy_pipeline_run(job, sink, context, err):
 * Let the sink have all of it.
 *
 * Returns:    0, or -1 with *err set to the first error of anybody;
 *             ERROR_CANCELLED when the progress says so.  All threads have
 *             ended.
 */
int copy_pipeline_run(const struct copy_job *job, const struct copy_sink *sink,
                      void *context, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/* For commits: give everything in the window to a builder. */
int copy_pipeline_digest(const struct copy_window *window,
                         struct digest_builder *builder, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
