/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted array.  Almost every caller adds in ascending order, which touches
 * the last item only; anything else finds its place by bisection and moves
 * the tail.  Two sets are united by one merge pass, never by repeated adds.
 *
 * Invariant (is_sane): items[i].offset + items[i].length < items[i+1].offset,
 * and no length is 0.
 */
#include "image/extents.h"

#include "base/memory.h"
#include "base/vec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
end_of(const struct extent *item)
{
    return item->offset + item->length;
}

void
extents_release(struct extents *set)
{
    vec_release(set);
}

/* Add behind everything: `offset` is not below the last item's offset. */
static void
append(struct extents *set, uint64_t offset, uint64_t length)
{
    struct extent *last = set->count > 0 ? &set->items[set->count - 1] : NULL;

    if (last != NULL && offset <= end_of(last)) {
        if (offset + length > end_of(last))
            last->length = offset + length - last->offset;
        return;
    }
    vec_push(set, ((struct extent){.offset = offset, .length = length}));
}

/* The first item that ends at or behind `offset`; count if there is none. */
static size_t
find_first_ending_at(const struct extents *set, uint64_t offset)
{
    size_t low = 0;
    size_t high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (end_of(&set->items[middle]) < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Put a range where it belongs, swallowing every item that it touches. */
static void
insert(struct extents *set, uint64_t offset, uint64_t length)
{
    size_t first = find_first_ending_at(set, offset);
    size_t last = first;
    uint64_t start = offset;
    uint64_t end = offset + length;

    while (last < set->count && set->items[last].offset <= end) {
        start = MIN(start, set->items[last].offset);
        end = MAX(end, end_of(&set->items[last]));
        last++;
    }
    if (last == first) {
        vec_push(set, ((struct extent){.offset = start, .length = 1}));
        memmove(&set->items[first + 1], &set->items[first],
                (set->count - 1 - first) * sizeof(*set->items));
    } else {
        memmove(&set->items[first + 1], &set->items[last],
                (set->count - last) * sizeof(*set->items));
        set->count -= last - first - 1;
    }
    set->items[first] = (struct extent){.offset = start, .length = end - start};
}

void
extents_add(struct extents *set, uint64_t offset, uint64_t length)
{
    assert(length <= UINT64_MAX - offset);
    if (length == 0)
        return;
    if (set->count == 0 || offset >= set->items[set->count - 1].offset)
        append(set, offset, length);
    else
        insert(set, offset, length);
}

void
extents_union(struct extents *set, const struct extents *other)
{
    struct extents merged = EXTENTS_INIT;
    size_t a = 0;
    size_t b = 0;

    if (set == other || other->count == 0)
        return;
    while (a < set->count || b < other->count) {
        const struct extent *next;

        if (b == other->count ||
            (a < set->count && set->items[a].offset <= other->items[b].offset))
            next = &set->items[a++];
        else
            next = &other->items[b++];
        append(&merged, next->offset, next->length);
    }
    extents_release(set);
    *set = merged;
}

void
extents_subtract(struct extents *set, const struct extents *other)
{
    struct extents left = EXTENTS_INIT;
    size_t b = 0;

    for (size_t a = 0; a < set->count; a++) {
        uint64_t start = set->items[a].offset;
        uint64_t end = end_of(&set->items[a]);

        while (b < other->count && end_of(&other->items[b]) <= start)
            b++;
        /* The last of them may reach into the next range too. */
        for (size_t i = b;
             i < other->count && other->items[i].offset < end && start < end;
             i++) {
            if (other->items[i].offset > start)
                append(&left, start, other->items[i].offset - start);
            start = MAX(start, end_of(&other->items[i]));
        }
        if (start < end)
            append(&left, start, end - start);
    }
    extents_release(set);
    *set = left;
}

void
extents_intersect(struct extents *set, const struct extents *other)
{
    struct extents both = EXTENTS_INIT;
    size_t a = 0;
    size_t b = 0;

    while (a < set->count && b < other->count) {
        const struct extent *one = &set->items[a];
        const struct extent *two = &other->items[b];
        uint64_t start = MAX(one->offset, two->offset);
        uint64_t end = MIN(end_of(one), end_of(two));

        if (start < end)
            append(&both, start, end - start);
        if (end_of(one) < end_of(two))
            a++;
        else
            b++;
    }
    extents_release(set);
    *set = both;
}

void
extents_align(struct extents *set, uint64_t unit, uint64_t size)
{
    size_t count = set->count;

    assert(unit > 0 && (unit & (unit - 1)) == 0);
    set->count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t start = set->items[i].offset & ~(unit - 1);
        uint64_t end = end_of(&set->items[i]);

        if (start >= size)
            break;
        if (end < size) {
            uint64_t up = (unit - (end & (unit - 1))) & (unit - 1);

            end += MIN(up, size - end);
        } else {
            end = size;
        }
        append(set, start, end - start);
    }
}

uint64_t
extents_bytes(const struct extents *set)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < set->count; i++)
        sum += set->items[i].length;
    return sum;
}

bool
extents_has(const struct extents *set, uint64_t offset)
{
    size_t found;

    if (offset == UINT64_MAX)
        return false;
    found = find_first_ending_at(set, offset + 1);
    return found < set->count && set->items[found].offset <= offset;
}
