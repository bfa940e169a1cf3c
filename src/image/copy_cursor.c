/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source says in ranges what it has; these are cut and rounded so that
 * every piece starts at a multiple of the unit and ends at one or at the
 * disk's end.  A unit that is zero only in part is data.  A zero range of any
 * length is one piece: a sparse disk costs as many questions as its map has
 * answers.
 */
#include "image/copy_cursor.h"

#include <assert.h>

void
copy_cursor_init(struct copy_cursor *cursor, struct blockdev *source,
                 const struct extents *only, size_t unit)
{
    uint64_t size = blockdev_size(source);

    *cursor = (struct copy_cursor){.source = source, .unit = unit};
    if (only != NULL)
        extents_union(&cursor->ranges, only);
    else if (size > 0)
        extents_add(&cursor->ranges, 0, size);
    extents_align(&cursor->ranges, unit, size);
    if (cursor->ranges.count > 0)
        cursor->position = cursor->ranges.items[0].offset;
}

void
copy_cursor_release(struct copy_cursor *cursor)
{
    extents_release(&cursor->ranges);
}

uint64_t
copy_cursor_total(const struct copy_cursor *cursor)
{
    return extents_bytes(&cursor->ranges);
}

/* The end of the range that we are in, or 0 when there is none. */
static uint64_t
range_end(struct copy_cursor *cursor)
{
    const struct extent *range;

    if (cursor->range == cursor->ranges.count)
        return 0;
    range = &cursor->ranges.items[cursor->range];
    if (cursor->position < range->offset + range->length)
        return range->offset + range->length;
    if (++cursor->range == cursor->ranges.count)
        return 0;
    range = &cursor->ranges.items[cursor->range];
    cursor->position = range->offset;
    return range->offset + range->length;
}

static int
ask_map(struct copy_cursor *cursor, struct error *err)
{
    if (blockdev_map(cursor->source, cursor->position, &cursor->known, err) ==
        0)
        return 0;
    if (!cursor->tolerant ||
        (err->code != ERROR_CORRUPT && err->code != ERROR_IO))
        return -1;
    error_clear(err);
    cursor->known = (struct block_range){
        .offset = cursor->position, .length = cursor->unit, .kind = BLOCK_DATA};
    return 0;
}

/* The next piece, `end` at most; *ret_stop is its end, not cut to a size. */
static int
look(struct copy_cursor *cursor, uint64_t end, uint64_t *ret_stop,
     bool *ret_zero, struct error *err)
{
    struct block_range *known = &cursor->known;
    uint64_t mask = ~((uint64_t)cursor->unit - 1);
    uint64_t stop;

    if (cursor->position < known->offset ||
        cursor->position - known->offset >= known->length)
        if (ask_map(cursor, err) < 0)
            return -1;
    stop = known->offset + known->length;
    *ret_zero = false;
    if (known->kind == BLOCK_DATA) {
        stop = (stop + cursor->unit - 1) & mask;
    } else if (stop >= end) {
        *ret_zero = true;
    } else if ((stop & mask) > cursor->position) {
        stop &= mask;
        *ret_zero = true;
    } else {
        stop = cursor->position + cursor->unit;
    }
    *ret_stop = stop < end ? stop : end;
    return 0;
}

/* Add a piece, or let the last one grow. */
static void
add_piece(struct copy_window *window, uint64_t offset, uint64_t length,
          bool zero)
{
    struct copy_piece *last = window->piece_count > 0
                                  ? &window->pieces[window->piece_count - 1]
                                  : NULL;

    if (last != NULL && last->zero == zero &&
        last->offset + last->length == offset) {
        last->length += length;
        return;
    }
    assert(window->piece_count < COPY_PIECES_MAX);
    window->pieces[window->piece_count++] = (struct copy_piece){
        .offset = offset,
        .length = length,
        .zero = zero,
        .at = window->length,
    };
}

int
copy_cursor_next(struct copy_cursor *cursor, size_t max,
                 struct copy_window *window, struct error *err)
{
    window->piece_count = 0;
    window->length = 0;
    while (window->piece_count < COPY_PIECES_MAX) {
        uint64_t end = range_end(cursor);
        uint64_t offset = cursor->position;
        uint64_t stop;
        bool zero;

        if (end == 0)
            break;
        if (look(cursor, end, &stop, &zero, err) < 0)
            return -1;
        if (!zero) {
            uint64_t room = max - window->length;

            if (room == 0)
                break;
            stop = MIN(stop, offset + room);
        }
        add_piece(window, offset, stop - offset, zero);
        if (!zero) /* the disk's last piece is read zero-extended */
            window->length += (size_t)((stop - offset + cursor->unit - 1) &
                                       ~((uint64_t)cursor->unit - 1));
        cursor->position = stop;
    }
    return window->piece_count > 0;
}
