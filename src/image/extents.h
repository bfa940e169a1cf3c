/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extents.h -- a set of byte ranges of one disk: what changed, what holds
 * data.
 *
 * Ranges are kept ascending, disjoint and merged where they touch.  Memory is
 * 16 bytes for each range.
 *
 * Threads:    one at a time for each set; any number may read.
 */
#ifndef IMAGE_EXTENTS_H
#define IMAGE_EXTENTS_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct extent {
    uint64_t offset;
    uint64_t length; /* never 0 */
};

struct extents {
    struct extent *items; /* owned, ascending, disjoint, not touching */
    size_t count;
    size_t capacity;
};

#define EXTENTS_INIT                                                           \
    {                                                                          \
        .items = NULL                                                          \
    }

void extents_release(struct extents *set) NONNULL(1);
#define AUTO_EXTENTS CLEANUP(extents_release)

/* Add a range; appending in ascending order costs O(1). */
void extents_add(struct extents *set, uint64_t offset, uint64_t length)
    NONNULL(1);

/* Add every range of `other`. */
void extents_union(struct extents *set, const struct extents *other)
    NONNULL(1, 2);

/* Take away what `other` has. */
void extents_subtract(struct extents *set, const struct extents *other)
    NONNULL(1, 2);

/* Keep only what `other` has too. */
void extents_intersect(struct extents *set, const struct extents *other)
    NONNULL(1, 2);

/* Round every range outward to `unit` (a power of two), cut at `size`. */
void extents_align(struct extents *set, uint64_t unit, uint64_t size)
    NONNULL(1);

/* Sum of all lengths. */
uint64_t extents_bytes(const struct extents *set) NONNULL(1);

/* True when the byte at `offset` is in the set. */
bool extents_has(const struct extents *set, uint64_t offset) NONNULL(1);

#endif
