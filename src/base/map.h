/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h -- text to pointer, by hashing.
 *
 * Ownership:  keys are copied; values are borrowed.
 * Threads:    one at a time for each map.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/compiler.h"

#include <stddef.h>

struct map;

struct map *map_new(void) MUST_CHECK;
void map_free(struct map *map);

/* Set or replace; `value` is not NULL. */
void map_set(struct map *map, const char *key, void *value) NONNULL(1, 2, 3);

/* The value, or NULL when there is none. */
void *map_find(const struct map *map, const char *key) NONNULL(1, 2);

/* Remove and return the value, or NULL when there was none. */
void *map_remove(struct map *map, const char *key) NONNULL(1, 2);

size_t map_count(const struct map *map) NONNULL(1);

/* Call `each` for every pair, in no order; the map must not change. */
void map_walk(const struct map *map,
              void (*each)(const char *key, void *value, void *context),
              void *context) NONNULL(1, 2);

void map_cleanup(struct map **map);
#define AUTO_MAP CLEANUP(map_cleanup)

#endif
