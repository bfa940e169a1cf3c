/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chained buckets, doubled at a load of one.  The hash is FNV-1a with a
 * random start, so that names from outside cannot be chosen to collide.
 */
#include "base/map.h"

#include "base/memory.h"
#include "base/uuid.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *next; /* owned */
    void *value;        /* borrowed */
    char key[];
};

struct map {
    struct entry **buckets; /* owned */
    size_t size;            /* a power of two */
    size_t count;
    uint64_t seed;
};

struct map *
map_new(void)
{
    struct map *map = xcalloc(1, sizeof(*map));

    map->size = 16;
    map->buckets = xcalloc(map->size, sizeof(struct entry *));
    random_bytes(&map->seed, sizeof(map->seed));
    return map;
}

void
map_free(struct map *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->size; i++) {
        while (map->buckets[i] != NULL) {
            struct entry *entry = map->buckets[i];

            map->buckets[i] = entry->next;
            free(entry);
        }
    }
    free(map->buckets);
    free(map);
}

static size_t
bucket_of(const struct map *map, const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ map->seed;

    for (; *key != '\0'; key++)
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return (size_t)(hash ^ (hash >> 32)) & (map->size - 1);
}

static struct entry **
find_slot(const struct map *map, const char *key)
{
    struct entry **slot = &map->buckets[bucket_of(map, key)];

    while (*slot != NULL && strcmp((*slot)->key, key) != 0)
        slot = &(*slot)->next;
    return slot;
}

static void
grow(struct map *map)
{
    struct entry **old = map->buckets;
    size_t old_size = map->size;

    map->size *= 2;
    map->buckets = xcalloc(map->size, sizeof(struct entry *));
    for (size_t i = 0; i < old_size; i++) {
        while (old[i] != NULL) {
            struct entry *entry = old[i];
            struct entry **slot = &map->buckets[bucket_of(map, entry->key)];

            old[i] = entry->next;
            entry->next = *slot;
            *slot = entry;
        }
    }
    free(old);
}

void
map_set(struct map *map, const char *key, void *value)
{
    struct entry **slot = find_slot(map, key);
    size_t size = strlen(key) + 1;

    if (*slot != NULL) {
        (*slot)->value = value;
        return;
    }
    if (map->count >= map->size) {
        grow(map);
        slot = find_slot(map, key);
    }
    *slot = xmalloc(sizeof(struct entry) + size);
    (*slot)->next = NULL;
    (*slot)->value = value;
    memcpy((*slot)->key, key, size);
    map->count++;
}

void *
map_find(const struct map *map, const char *key)
{
    struct entry *const *slot = find_slot(map, key);

    return *slot != NULL ? (*slot)->value : NULL;
}

void *
map_remove(struct map *map, const char *key)
{
    struct entry **slot = find_slot(map, key);
    struct entry *entry = *slot;
    void *value;

    if (entry == NULL)
        return NULL;
    value = entry->value;
    *slot = entry->next;
    free(entry);
    map->count--;
    return value;
}

size_t
map_count(const struct map *map)
{
    return map->count;
}

void
map_walk(const struct map *map,
         void (*each)(const char *key, void *value, void *context),
         void *context)
{
    for (size_t i = 0; i < map->size; i++) {
        for (struct entry *entry = map->buckets[i]; entry != NULL;
             entry = entry->next)
            each(entry->key, entry->value, context);
    }
}

void
map_cleanup(struct map **map)
{
    map_free(*map);
}
