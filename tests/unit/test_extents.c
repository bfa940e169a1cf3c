/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "image/extents.h"

#include <inttypes.h>
#include <stdbool.h>

/* -- a set of a small disk, byte by byte, to compare with ---------------- */

#define MODEL_SIZE 512

struct model {
    bool has[MODEL_SIZE];
};

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
model_add(struct model *model, uint64_t offset, uint64_t length)
{
    for (uint64_t i = offset; i < offset + length; i++)
        model->has[i] = true;
}

static bool
is_sane(const struct extents *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].length == 0)
            return false;
        if (i > 0 && set->items[i - 1].offset + set->items[i - 1].length >=
                         set->items[i].offset)
            return false;
    }
    return true;
}

static bool
is_same(const struct extents *set, const struct model *model)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; i < MODEL_SIZE; i++) {
        if (extents_has(set, i) != model->has[i])
            return false;
        bytes += model->has[i];
    }
    return bytes == extents_bytes(set);
}

static void
an_empty_set_has_nothing(void)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;

    extents_add(&set, 7, 0);
    CHECK(set.count == 0);
    CHECK(extents_bytes(&set) == 0);
    CHECK(!extents_has(&set, 0));
    CHECK(!extents_has(&set, UINT64_MAX));
}

static void
touching_ranges_become_one(void)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;

    extents_add(&set, 10, 10);
    extents_add(&set, 20, 10);
    extents_add(&set, 0, 10);
    REQUIRE(set.count == 1);
    CHECK(set.items[0].offset == 0 && set.items[0].length == 30);
    extents_add(&set, 5, 5);
    CHECK(set.count == 1 && set.items[0].length == 30);
}

static void
a_range_in_the_middle_swallows_what_it_covers(void)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;

    for (uint64_t i = 0; i < 10; i++)
        extents_add(&set, i * 10, 5);
    REQUIRE(set.count == 10);
    extents_add(&set, 22, 40);
    REQUIRE(set.count == 6);
    CHECK(set.items[2].offset == 20 && set.items[2].length == 45);
    extents_add(&set, 17, 1);
    REQUIRE(set.count == 7);
    CHECK(set.items[2].offset == 17 && set.items[2].length == 1);
    CHECK(is_sane(&set));
}

static void
the_ends_of_the_number_range_are_kept(void)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;

    extents_add(&set, UINT64_MAX - 1, 1);
    CHECK(extents_has(&set, UINT64_MAX - 1));
    CHECK(!extents_has(&set, UINT64_MAX));
    extents_align(&set, 65536, UINT64_MAX);
    REQUIRE(set.count == 1);
    CHECK(set.items[0].offset == (UINT64_MAX & ~(uint64_t)65535));
    CHECK(set.items[0].length == 65535);
}

static void
random_sets_match_a_model(void)
{
    uint64_t seed = 0x9e3779b97f4a7c15u;

    for (unsigned round = 0; round < 300; round++) {
        AUTO_EXTENTS struct extents set = EXTENTS_INIT;
        AUTO_EXTENTS struct extents other = EXTENTS_INIT;
        struct model model = {.has = {false}};
        unsigned adds = (unsigned)(next_random(&seed) % 40);

        for (unsigned i = 0; i < adds; i++) {
            uint64_t offset = next_random(&seed) % MODEL_SIZE;
            uint64_t length =
                next_random(&seed) % MIN((uint64_t)20, MODEL_SIZE - offset);

            extents_add(i % 3 == 0 ? &other : &set, offset, length);
            model_add(&model, offset, length);
            CHECK(is_sane(&set) && is_sane(&other));
        }
        extents_union(&set, &other);
        CHECK(is_sane(&set));
        if (!is_same(&set, &model)) {
            printf("# round %u of seed 0x9e3779b97f4a7c15\n", round);
            CHECK(false);
            return;
        }
    }
}

static void
random_sets_are_subtracted_and_intersected_as_a_model(void)
{
    uint64_t seed = 77;

    for (unsigned round = 0; round < 300; round++) {
        AUTO_EXTENTS struct extents less = EXTENTS_INIT;
        AUTO_EXTENTS struct extents both = EXTENTS_INIT;
        AUTO_EXTENTS struct extents other = EXTENTS_INIT;
        struct model one = {.has = {false}};
        struct model two = {.has = {false}};
        struct model left = {.has = {false}};

        for (unsigned i = 0; i < 24; i++) {
            uint64_t offset = next_random(&seed) % MODEL_SIZE;
            uint64_t length =
                next_random(&seed) % MIN((uint64_t)40, MODEL_SIZE - offset);

            if (i % 2 == 0) {
                extents_add(&less, offset, length);
                model_add(&one, offset, length);
            } else {
                extents_add(&other, offset, length);
                model_add(&two, offset, length);
            }
        }
        extents_union(&both, &less);
        extents_subtract(&less, &other);
        extents_intersect(&both, &other);
        for (size_t i = 0; i < MODEL_SIZE; i++) {
            left.has[i] = one.has[i] && !two.has[i];
            one.has[i] &= two.has[i];
        }
        CHECK(is_sane(&less) && is_same(&less, &left));
        CHECK(is_sane(&both) && is_same(&both, &one));
    }
}

static void
aligning_rounds_outward_and_stops_at_the_size(void)
{
    uint64_t seed = 42;

    for (unsigned round = 0; round < 300; round++) {
        AUTO_EXTENTS struct extents set = EXTENTS_INIT;
        struct model model = {.has = {false}};
        uint64_t unit = (uint64_t)1 << next_random(&seed) % 7;
        uint64_t size = next_random(&seed) % MODEL_SIZE + 1;

        for (unsigned i = 0; i < 12; i++) {
            uint64_t offset = next_random(&seed) % MODEL_SIZE;
            uint64_t length =
                next_random(&seed) % MIN((uint64_t)9, MODEL_SIZE - offset);

            extents_add(&set, offset, length);
            for (uint64_t b = offset; b < offset + length; b++) {
                uint64_t start = b & ~(unit - 1);

                if (start < size)
                    model_add(&model, start, MIN(unit, size - start));
            }
        }
        extents_align(&set, unit, size);
        CHECK(is_sane(&set));
        CHECK(is_same(&set, &model));
    }
}

int
main(void)
{
    RUN(an_empty_set_has_nothing);
    RUN(touching_ranges_become_one);
    RUN(a_range_in_the_middle_swallows_what_it_covers);
    RUN(the_ends_of_the_number_range_are_kept);
    RUN(random_sets_match_a_model);
    RUN(random_sets_are_subtracted_and_intersected_as_a_model);
    RUN(aligning_rounds_outward_and_stops_at_the_size);
    return check_done();
}
