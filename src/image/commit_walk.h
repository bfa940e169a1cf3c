/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_walk.h -- make an image read, wherever somebody else decides, as
 * that one does; internal to src/image.
 */
#ifndef IMAGE_COMMIT_WALK_H
#define IMAGE_COMMIT_WALK_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_copy.h"
#include "image/extents.h"
#include "image/qcow2_rw.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All is borrowed. */
struct commit_walk {
    struct blockdev *view;         /* what the result shall read as */
    struct qcow2_rw *rw;           /* what is changed */
    const struct extents *decided; /* where */
    /* What of it reads as zero, when that is known of all of it; else NULL,
     * and the view is asked. */
    const struct extents *zeros;
    bool keeps_zeros; /* what reads as zero need not be stored */
    const struct commit_source *source;

    size_t next;              /* in decided: the first not passed */
    size_t next_zero;         /* in zeros */
    struct block_range range; /* of the view, looked up last */
};

/**
 * commit_walk(walk, err):
 * Plan and flush every change; the caller syncs.  Its source counts the
 * progress.
 *
 * Returns:    0, or -1 with *err set as by commit_layer.
 */
int commit_walk(struct commit_walk *walk, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
