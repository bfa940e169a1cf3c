/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing.h -- the answer of a list command: a page of objects, and how many
 * there are in all (semantics 6.3).
 *
 *     for each row that the caller may see
 *         if (listing_wants(listing, row->name, row->description, NULL))
 *             listing_add(listing, make_object(row));
 *
 * A table that is too large to walk is paged by the database: its handler
 * reads rows from `skip` on, `size` of them, and sets `count` itself.
 */
#ifndef API_LISTING_H
#define API_LISTING_H

#include "api/params.h"
#include "base/compiler.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct listing {
    const char *keyword; /* borrowed; NULL for all */
    uint64_t skip;       /* objects before the page */
    uint64_t size;       /* of the page */
    uint64_t count;      /* of all objects so far */
    json_t *items;       /* owned */
};

/**
 * listing_init(listing, params, default_size, max_size, err):
 * Take keyword, page and pagesize.  Sizes are objects; 0 is no limit.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID when one of page and
 *             pagesize is missing, wrong or too large.
 */
int listing_init(struct listing *listing, const struct params *params,
                 uint64_t default_size, uint64_t max_size, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);
void listing_release(struct listing *listing) NONNULL(1);
#define AUTO_LISTING CLEANUP(listing_release)

/**
 * listing_wants(listing, text, ...):
 * Count an object whose texts (each may be NULL: use "") contain the keyword,
 * without regard to case.  The last argument is NULL.
 *
 * Returns:    true when it is on the page: then listing_add() must follow.
 */
bool listing_wants(struct listing *listing, const char *text, ...)
    __attribute__((sentinel)) NONNULL(1, 2);

/* Put an object, which is handed over, on the page. */
void listing_add(struct listing *listing, json_t *object) NONNULL(1, 2);

/* "count" and the array named `key`; nothing when there is none at all. */
void listing_answer(struct listing *listing, const char *key, json_t *body)
    NONNULL(1, 2, 3);

#endif
