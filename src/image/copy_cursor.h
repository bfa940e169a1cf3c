/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_cursor.h -- where a copy is on its way through the disk.  Internal to
 * src/image.
 *
 * Threads:    one at a time.
 */
#ifndef IMAGE_COPY_CURSOR_H
#define IMAGE_COPY_CURSOR_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/copy_pipeline.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copy_cursor {
    struct blockdev *source; /* borrowed */
    size_t unit;
    struct extents ranges; /* owned; what to look at, whole units */
    size_t range;          /* the one we are in */
    uint64_t position;
    struct block_range known; /* what the source said last */
    bool tolerant; /* a map that is damaged says data: reading it tells why */
};

/* Start; only == NULL is everything. */
void copy_cursor_init(struct copy_cursor *cursor, struct blockdev *source,
                      const struct extents *only, size_t unit) NONNULL(1, 2);
void copy_cursor_release(struct copy_cursor *cursor) NONNULL(1);

/* How much there is to look at. */
uint64_t copy_cursor_total(const struct copy_cursor *cursor) NONNULL(1);

/**
 * copy_cursor_next(cursor, max, window, err):
 * Fill the window's pieces with what comes next, at most `max` bytes to read.
 *
 * Returns:    1, 0 when there is nothing any more, -1 when the source failed.
 */
int copy_cursor_next(struct copy_cursor *cursor, size_t max,
                     struct copy_window *window, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

#endif
