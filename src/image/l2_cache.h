/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_cache.h -- slices of L2 tables in memory, bounded; internal to src/image.
 *
 * A slice is a piece of one L2 table: 64 KiB or the whole table if that is
 * smaller.  Slices are numbered in the order of the guest's disk.
 *
 * Threads:    pinning and unpinning by any number at once; a hit takes no
 *             lock.
 */
#ifndef IMAGE_L2_CACHE_H
#define IMAGE_L2_CACHE_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define L2_CACHE_BYTES ((size_t)8 << 20)
#define L2_CACHE_SLICE_MAX ((size_t)64 << 10)
#define L2_CACHE_WAYS 8u

struct l2_slot {
    _Atomic uint64_t state; /* (slice + 1) << 16 | pins; see l2_cache.c */
    _Atomic uint32_t used;
    uint64_t *entries; /* owned */
};

struct l2_set {
    struct lock lock; /* held while a slice of this set is loaded */
    struct l2_slot slots[L2_CACHE_WAYS];
};

struct l2_cache {
    struct l2_set *sets; /* owned */
    size_t set_count;    /* a power of two */
    size_t slice_bytes;
    _Atomic uint32_t clock;
};

/* A slice that stays where it is until it is unpinned. */
struct l2_pin {
    const uint64_t *entries; /* host order */
    struct l2_slot *slot;    /* NULL: the entries are the pin's own */
    uint64_t *own;           /* owned */
};

/*
 * Fill `entries` with a slice, in host order.  Called at most once at a time
 * for each slice.
 */
typedef int (*l2_cache_load)(void *context, uint64_t slice, uint64_t *entries,
                             struct error *err);

/* A cache for an image that has `slices` slices of `slice_bytes` in all. */
void l2_cache_init(struct l2_cache *cache, size_t slice_bytes, uint64_t slices)
    NONNULL(1);
void l2_cache_release(struct l2_cache *cache) NONNULL(1);

/**
 * l2_cache_pin(cache, slice, load, context, ret_pin, err):
 * Get a slice, loading it if it is not there.  A pin is held for a short
 * time, never over reading data.
 */
int l2_cache_pin(struct l2_cache *cache, uint64_t slice, l2_cache_load load,
                 void *context, struct l2_pin *ret_pin, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5, 6);
void l2_cache_unpin(struct l2_pin *pin) NONNULL(1);

#endif
