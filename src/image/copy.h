/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h -- the data path of backup, restore and verify: read, find zeros,
 * digest, compress, write, in parallel and in order.
 *
 * Memory is bounded: 13 MiB for each thread, 10 MiB for an image that is
 * written, and what the source keeps; together at most 64 MiB on two
 * processors, whatever the disk's size.
 */
#ifndef IMAGE_COPY_H
#define IMAGE_COPY_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/throttle.h"
#include "image/blockdev.h"
#include "image/digest.h"
#include "image/extents.h"
#include "image/qcow2_writer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Shared between the one who copies and those who watch; all in bytes. */
struct copy_progress {
    _Atomic uint64_t total;   /* to be looked at */
    _Atomic uint64_t done;    /* looked at */
    _Atomic uint64_t read;    /* read from storage */
    _Atomic uint64_t written; /* stored */
    _Atomic uint64_t zero;    /* found to be zero */
    atomic_bool cancel;       /* set by anyone: give up soon */
};

struct copy_options {
    unsigned threads;               /* 0: the number of processors */
    uint64_t rate_limit;            /* bytes of source a second; 0: none */
    struct throttle *throttle;      /* borrowed; shared with others; or NULL */
    struct copy_progress *progress; /* borrowed; or NULL */
    /* copy_to_raw: owner and mode are those of this file; or NULL: 0600. */
    const char *mode_like;
};

/**
 * copy_to_qcow2(source, only, writer, builder, options, err):
 * Store `source` into `writer`: all of it with only == NULL, else just the
 * ranges in `only` (aligned outward to 64 KiB, or clusters if they are
 * larger).  Digests of every leaf looked at go to `builder` (or NULL).  A
 * range in `only` that reads as zero is stored as zero clusters.  If the disk
 * is smaller than that of the builder's parent, the leaf that its end cuts is
 * looked at too.  Finishing writer and builder is the caller's.
 *
 * `source` is the whole disk (a layer with its backing files), also with
 * `only`.  The writer's size is the source's, rounded up to 512.
 *
 * Returns:    0, or -1 with *err set to the first error of any thread:
 *               ERROR_INVALID    the sizes differ;
 *               ERROR_CANCELLED, ERROR_NO_SPACE, ERROR_IO, ERROR_CORRUPT.
 *             Then writer and builder can only be freed.
 */
int copy_to_qcow2(struct blockdev *source, const struct extents *only,
                  struct qcow2_writer *writer, struct digest_builder *builder,
                  const struct copy_options *options, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5, 6);

/**
 * copy_to_raw(source, path, builder, options, err):
 * Make the new raw file `path` (O_EXCL, sparse) with the content of `source`.
 *
 * Durability: on 0 the file's content survives a power cut; its name is the
 *             caller's to sync.  Otherwise no file is left.
 * Returns:    0, or -1 with *err set to ERROR_CONFLICT (the path exists),
 *             ERROR_CANCELLED, ERROR_NO_SPACE, ERROR_IO, ERROR_CORRUPT.
 */
int copy_to_raw(struct blockdev *source, const char *path,
                struct digest_builder *builder,
                const struct copy_options *options, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/* So many wrong ranges are kept; the leaves behind are only counted. */
#define COPY_RANGES_MAX ((size_t)4096)

/* So many leaves may fail with an I/O error before the reading is given up:
 * then it is the storage that is away. */
#define COPY_IO_ERRORS_MAX 1024u

/* Where a disk is not what its index says. */
struct copy_mismatch {
    bool found;
    uint64_t offset;       /* of the first wrong leaf */
    uint64_t leaves;       /* how many are wrong */
    uint64_t unreadable;   /* of them: could not be read or decompressed */
    struct error why;      /* the first such error */
    struct extents ranges; /* owned; the wrong leaves */
    bool is_cut;           /* there are more than `ranges` has */

    uint64_t unproved;          /* leaves whose digest could not be read */
    struct error index_problem; /* the first reason */
};

#define COPY_MISMATCH_INIT                                                     \
    {                                                                          \
        .found = false                                                         \
    }
void copy_mismatch_release(struct copy_mismatch *mismatch) NONNULL(1);
#define AUTO_COPY_MISMATCH CLEANUP(copy_mismatch_release)

/**
 * copy_verify(source, only, index, options, ret_mismatch, err):
 * Read everything (or the ranges in `only`) once and compare with the index.
 * Where one of the two ends before the other, all leaves of the other are
 * wrong.  What cannot be read or decoded is a result, not a failure: its
 * leaves are wrong, or unproved when it is the index that is damaged, and the
 * rest is compared all the same.
 *
 * Returns:    0 when all was tried (ret_mismatch tells the result), or -1 with
 *             *err set to ERROR_CANCELLED, or ERROR_IO and whatever else says
 *             that the storage does not answer.
 */
int copy_verify(struct blockdev *source, const struct extents *only,
                struct digest_index *index, const struct copy_options *options,
                struct copy_mismatch *ret_mismatch, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5, 6);

/**
 * copy_diff(source, index, options, ret_changed, err):
 * Read everything once and find where it is not what the index says: what
 * changed since, when no record of changes is left.  Nothing is written.
 *
 * Ownership:  the ranges are added to ret_changed, whole leaves.
 * Returns:    0, or -1 with *err set as copy_to_qcow2(), ERROR_CORRUPT also
 *             when the index is damaged.
 */
int copy_diff(struct blockdev *source, struct digest_index *index,
              const struct copy_options *options, struct extents *ret_changed,
              struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

#endif
