/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h -- fields of the objects that we answer with.
 *
 * A field that is not set is left out, as the API wants it.
 */
#ifndef API_OBJECT_H
#define API_OBJECT_H

#include "base/compiler.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* `AUTO_JSON json_t *object = NULL;` gives its reference back at the end. */
void object_cleanup(json_t **object);
#define AUTO_JSON CLEANUP(object_cleanup)

json_t *object_new(void) MUST_CHECK __attribute__((returns_nonnull));
json_t *object_new_array(void) MUST_CHECK __attribute__((returns_nonnull));

/* Text as JSON; bytes that are not UTF-8 (names of files may hold any) are
 * shown as '?'. */
json_t *object_text(const char *text) MUST_CHECK NONNULL(1)
    __attribute__((returns_nonnull));

/* NULL is "not set". */
void object_set_text(json_t *object, const char *key, const char *text)
    NONNULL(1, 2);
void object_set_number(json_t *object, const char *key, int64_t number)
    NONNULL(1, 2);
void object_set_bool(json_t *object, const char *key, bool value) NONNULL(1, 2);
/* A wall-clock time; 0 is "not set". */
void object_set_date(json_t *object, const char *key, int64_t wall_ms)
    NONNULL(1, 2);
/* Any value, which is handed over. */
void object_set(json_t *object, const char *key, json_t *value)
    NONNULL(1, 2, 3);
/* Put a value, which is handed over, at the end of an array. */
void object_append(json_t *array, json_t *value) NONNULL(1, 2);

#endif
