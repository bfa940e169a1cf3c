/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "image/l2_cache.h"
#include "sample.h"

#include <pthread.h>

#define SLICE_BYTES 4096u
#define SLICES 10000u /* five times what fits */

static _Atomic uint64_t loads;

/* A slice holds its number in every entry. */
static int
load(void *context, uint64_t slice, uint64_t *entries, struct error *err)
{
    (void)err;
    if (context != NULL && slice == *(const uint64_t *)context)
        return error_set(err, ERROR_IO, "slice cannot be read");
    for (size_t i = 0; i < SLICE_BYTES / 8; i++)
        entries[i] = slice;
    atomic_fetch_add(&loads, 1);
    return 0;
}

static bool
is_slice(const struct l2_pin *pin, uint64_t slice)
{
    for (size_t i = 0; i < SLICE_BYTES / 8; i++) {
        if (pin->entries[i] != slice)
            return false;
    }
    return true;
}

static bool
finds(struct l2_cache *cache, uint64_t slice)
{
    struct error err = ERROR_INIT;
    struct l2_pin pin;
    bool good;

    if (l2_cache_pin(cache, slice, load, NULL, &pin, &err) < 0)
        return false;
    good = is_slice(&pin, slice);
    l2_cache_unpin(&pin);
    return good;
}

static void
what_fits_is_read_once(void)
{
    struct l2_cache cache;
    uint64_t fits = L2_CACHE_BYTES / SLICE_BYTES;

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    atomic_store(&loads, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t slice = 0; slice < fits; slice++)
            CHECK(finds(&cache, slice));
    }
    CHECK(atomic_load(&loads) == fits);
    l2_cache_release(&cache);
}

static void
memory_stays_within_the_bound(void)
{
    struct l2_cache cache;
    size_t slots = 0;

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    for (uint64_t slice = 0; slice < SLICES; slice++)
        CHECK(finds(&cache, slice));
    for (size_t i = 0; i < cache.set_count; i++) {
        for (size_t way = 0; way < L2_CACHE_WAYS; way++)
            slots += cache.sets[i].slots[way].entries != NULL;
    }
    CHECK(slots * SLICE_BYTES == L2_CACHE_BYTES);
    l2_cache_release(&cache);
}

static void
what_was_used_last_stays(void)
{
    struct l2_cache cache;
    uint64_t before;

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    for (uint64_t slice = 0; slice < SLICES; slice++)
        CHECK(finds(&cache, slice) && finds(&cache, 7));
    before = atomic_load(&loads);
    CHECK(finds(&cache, 7));
    CHECK(atomic_load(&loads) == before);
    l2_cache_release(&cache);
}

static void
a_pinned_slice_stays_and_others_still_come(void)
{
    struct l2_cache cache;
    struct l2_pin pins[2 * L2_CACHE_WAYS];
    struct error err = ERROR_INIT;

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    /* All of one set, and more than it has room for. */
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
        CHECK_OK(l2_cache_pin(&cache, i * cache.set_count, load, NULL, &pins[i],
                              &err),
                 &err);
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
        CHECK(is_slice(&pins[i], i * cache.set_count));
    for (size_t i = 0; i < ARRAY_SIZE(pins); i++)
        l2_cache_unpin(&pins[i]);
    l2_cache_release(&cache);
}

static void
a_failed_load_leaves_nothing(void)
{
    struct l2_cache cache;
    struct error err = ERROR_INIT;
    struct l2_pin pin;
    uint64_t bad = 3;

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    CHECK(l2_cache_pin(&cache, bad, load, &bad, &pin, &err) == -1);
    CHECK(err.code == ERROR_IO);
    CHECK(finds(&cache, bad));
    l2_cache_release(&cache);
}

struct racer {
    pthread_t thread;
    struct l2_cache *cache;
    struct sample sample;
    bool good;
};

static void *
race(void *context)
{
    struct racer *racer = context;

    racer->good = true;
    for (unsigned i = 0; i < 20000 && racer->good; i++) {
        uint64_t slice = sample_below(&racer->sample, 8) == 0
                             ? sample_below(&racer->sample, SLICES)
                             : sample_below(&racer->sample, 40) * 256;

        racer->good = finds(racer->cache, slice);
    }
    return NULL;
}

static void
readers_never_see_another_slice(void)
{
    struct sample sample = sample_start("slices");
    struct l2_cache cache;
    struct racer racers[6];

    l2_cache_init(&cache, SLICE_BYTES, SLICES);
    for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
        racers[i] = (struct racer){
            .cache = &cache, .sample = {.state = sample_next(&sample) | 1}};
        REQUIRE(pthread_create(&racers[i].thread, NULL, race, &racers[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
        (void)pthread_join(racers[i].thread, NULL);
        CHECK(racers[i].good);
    }
    l2_cache_release(&cache);
}

int
main(void)
{
    RUN(what_fits_is_read_once);
    RUN(memory_stays_within_the_bound);
    RUN(what_was_used_last_stays);
    RUN(a_pinned_slice_stays_and_others_still_come);
    RUN(a_failed_load_leaves_nothing);
    RUN(readers_never_see_another_slice);
    return check_done();
}
