/* SPDX-License-Identifier: Apache-2.0 */
#include "api/listing.h"

#include "api/object.h"

#include <stdarg.h>
#include <string.h>

int
listing_init(struct listing *listing, const struct params *params,
             uint64_t default_size, uint64_t max_size, struct error *err)
{
    bool has_page = params_find(params, "page") != NULL;
    bool has_size = params_find(params, "pagesize") != NULL;
    int64_t page = params_number(params, "page", 1);
    int64_t size = params_number(params, "pagesize", (int64_t)default_size);
    bool unlimited = has_size ? size == -1 : size == 0;

    if (has_page && !has_size)
        return error_set(err, ERROR_INVALID,
                         "parameter 'page' needs parameter 'pagesize'");
    if (has_size && !has_page && !unlimited)
        return error_set(err, ERROR_INVALID,
                         "parameter 'pagesize' needs parameter 'page'");
    if (page < 1)
        return error_set(err, ERROR_INVALID,
                         "parameter 'page' must be 1 or more");
    if (has_size && size < 1 && size != -1)
        return error_set(err, ERROR_INVALID,
                         "parameter 'pagesize' must be -1, or 1 or more");
    if (has_size && max_size != 0 && (unlimited || (uint64_t)size > max_size))
        return error_set(err, ERROR_INVALID,
                         "parameter 'pagesize' must be %llu at most",
                         (unsigned long long)max_size);
    *listing = (struct listing){
        .keyword = params_find(params, "keyword"),
        .size = unlimited ? UINT64_MAX : (uint64_t)size,
        .items = object_new_array(),
    };
    /* Both are below 2^31. */
    listing->skip = unlimited ? 0 : (uint64_t)(page - 1) * (uint64_t)size;
    return 0;
}

void
listing_release(struct listing *listing)
{
    json_decref(listing->items);
    listing->items = NULL;
}

bool
listing_wants(struct listing *listing, const char *text, ...)
{
    bool matches = listing->keyword == NULL;
    va_list args;

    va_start(args, text);
    for (const char *next = text; next != NULL && !matches;
         next = va_arg(args, const char *))
        matches = strcasestr(next, listing->keyword) != NULL;
    va_end(args);
    if (!matches)
        return false;
    listing->count++;
    return listing->count > listing->skip &&
           listing->count - listing->skip <= listing->size;
}

void
listing_add(struct listing *listing, json_t *object)
{
    object_append(listing->items, object);
}

void
listing_answer(struct listing *listing, const char *key, json_t *body)
{
    if (listing->count == 0)
        return;
    object_set_number(body, "count", (int64_t)listing->count);
    if (json_array_size(listing->items) > 0)
        object_set(body, key, json_incref(listing->items));
}
