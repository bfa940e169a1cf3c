/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set-associative cache.  A slot's `state` is one word: which slice it
 * holds (number + 1, 0 for none) above, how many readers have it pinned
 * below.  A reader that finds the slice adds 1 to the word by
 * compare-and-swap, which fails if the slot was given to another slice in
 * between; so a hit needs neither the lock nor a second look.
 *
 *   state        changed to                by
 *   (s, n)       (s, n + 1)                try_pin, any reader
 *   (s, n + 1)   (s, n)                    l2_cache_unpin, any reader
 *   (s, 0)       (none, 0)                 claim_locked, under the set's lock
 *   (none, 0)    (s, 1)                    load_locked, under the set's lock
 *
 * Invariants: entries are written only in state (none, 0) by the holder of
 * the set's lock; a slice is in at most one slot; the slot's memory, once
 * allocated, stays until the end, so that the bound holds.  When every slot
 * of a set is pinned the slice is read into memory of the pin's own: rare,
 * and it keeps readers from waiting for each other.
 */
#include "image/l2_cache.h"

#include "base/memory.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#define PIN_BITS 16
#define PIN_MASK (((uint64_t)1 << PIN_BITS) - 1)

static struct l2_slot *claim_locked(struct l2_set *set) REQUIRES(set->lock);
static int load_locked(struct l2_cache *cache, struct l2_set *set,
                       uint64_t slice, l2_cache_load load, void *context,
                       struct l2_pin *ret_pin, struct error *err)
    REQUIRES(set->lock);

void
l2_cache_init(struct l2_cache *cache, size_t slice_bytes, uint64_t slices)
{
    uint64_t slots = MIN(slices, (uint64_t)(L2_CACHE_BYTES / slice_bytes));

    assert(slice_bytes > 0 && slice_bytes <= L2_CACHE_SLICE_MAX);
    cache->slice_bytes = slice_bytes;
    cache->set_count = 1;
    while (cache->set_count * L2_CACHE_WAYS < slots)
        cache->set_count *= 2;
    cache->sets = xcalloc(cache->set_count, sizeof(*cache->sets));
    for (size_t i = 0; i < cache->set_count; i++)
        lock_init(&cache->sets[i].lock);
    atomic_init(&cache->clock, 0);
}

void
l2_cache_release(struct l2_cache *cache)
{
    for (size_t i = 0; cache->sets != NULL && i < cache->set_count; i++) {
        struct l2_set *set = &cache->sets[i];

        for (size_t way = 0; way < L2_CACHE_WAYS; way++) {
            assert((atomic_load(&set->slots[way].state) & PIN_MASK) == 0);
            free(set->slots[way].entries);
        }
        lock_release(&set->lock);
    }
    free(cache->sets);
    cache->sets = NULL;
}

/* Pin `slice` if this slot holds it. */
static bool
try_pin(struct l2_slot *slot, uint64_t slice)
{
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

    while (state >> PIN_BITS == slice + 1) {
        assert((state & PIN_MASK) != PIN_MASK);
        if (atomic_compare_exchange_weak_explicit(
                &slot->state, &state, state + 1, memory_order_acquire,
                memory_order_relaxed))
            return true;
    }
    return false;
}

/* Only a store that changes something: the line is shared by all readers. */
static void
touch(struct l2_cache *cache, struct l2_slot *slot)
{
    uint32_t now = atomic_load_explicit(&cache->clock, memory_order_relaxed);

    if (atomic_load_explicit(&slot->used, memory_order_relaxed) != now)
        atomic_store_explicit(&slot->used, now, memory_order_relaxed);
}

static bool
find(struct l2_cache *cache, struct l2_set *set, uint64_t slice,
     struct l2_pin *ret_pin)
{
    for (size_t way = 0; way < L2_CACHE_WAYS; way++) {
        struct l2_slot *slot = &set->slots[way];

        if (try_pin(slot, slice)) {
            touch(cache, slot);
            *ret_pin = (struct l2_pin){.entries = slot->entries, .slot = slot};
            return true;
        }
    }
    return false;
}

/* Empty the slot that was not used for the longest time; NULL: all pinned. */
static struct l2_slot *
claim_locked(struct l2_set *set)
{
    for (unsigned attempt = 0; attempt < L2_CACHE_WAYS; attempt++) {
        struct l2_slot *oldest = NULL;
        uint64_t oldest_state = 0;

        for (size_t way = 0; way < L2_CACHE_WAYS; way++) {
            struct l2_slot *slot = &set->slots[way];
            uint64_t state = atomic_load(&slot->state);

            if (state == 0)
                return slot;
            if ((state & PIN_MASK) == 0 &&
                (oldest == NULL ||
                 atomic_load(&slot->used) - atomic_load(&oldest->used) >
                     UINT32_MAX / 2)) {
                oldest = slot;
                oldest_state = state;
            }
        }
        if (oldest == NULL)
            return NULL;
        /* Somebody may have pinned it just now; then look again. */
        if (atomic_compare_exchange_strong_explicit(
                &oldest->state, &oldest_state, 0, memory_order_acquire,
                memory_order_relaxed))
            return oldest;
    }
    return NULL;
}

static int
load_locked(struct l2_cache *cache, struct l2_set *set, uint64_t slice,
            l2_cache_load load, void *context, struct l2_pin *ret_pin,
            struct error *err)
{
    struct l2_slot *slot;

    if (find(cache, set, slice, ret_pin))
        return 0;
    slot = claim_locked(set);
    if (slot == NULL) {
        AUTO_FREE uint64_t *own = xmalloc(cache->slice_bytes);

        if (load(context, slice, own, err) < 0)
            return -1;
        *ret_pin = (struct l2_pin){.entries = own, .own = own};
        own = NULL;
        return 0;
    }
    if (slot->entries == NULL)
        slot->entries = xmalloc(cache->slice_bytes);
    if (load(context, slice, slot->entries, err) < 0)
        return -1;
    (void)atomic_fetch_add_explicit(&cache->clock, 1, memory_order_relaxed);
    touch(cache, slot);
    atomic_store_explicit(&slot->state, ((slice + 1) << PIN_BITS) | 1,
                          memory_order_release);
    *ret_pin = (struct l2_pin){.entries = slot->entries, .slot = slot};
    return 0;
}

int
l2_cache_pin(struct l2_cache *cache, uint64_t slice, l2_cache_load load,
             void *context, struct l2_pin *ret_pin, struct error *err)
{
    struct l2_set *set = &cache->sets[slice & (cache->set_count - 1)];
    int result;

    if (find(cache, set, slice, ret_pin))
        return 0;
    lock_take(&set->lock);
    result = load_locked(cache, set, slice, load, context, ret_pin, err);
    lock_give(&set->lock);
    return result;
}

void
l2_cache_unpin(struct l2_pin *pin)
{
    if (pin->slot != NULL)
        (void)atomic_fetch_sub_explicit(&pin->slot->state, 1,
                                        memory_order_release);
    else
        free(pin->own);
    *pin = (struct l2_pin){.slot = NULL};
}
