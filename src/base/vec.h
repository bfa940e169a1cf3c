/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.h -- arrays that grow, typed by a macro.
 *
 *     struct names VEC(char *);
 *     struct names names = VEC_INIT;
 *     vec_push(&names, xstrdup("a"));
 *     vec_for (char **, name, &names) ...
 *     vec_release(&names);
 *
 * The elements belong to whoever pushed them; vec_release frees the array
 * only.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stddef.h>
#include <stdlib.h>

#define VEC(type)                                                              \
    {                                                                          \
        type *items; /* owned array */                                         \
        size_t count;                                                          \
        size_t capacity;                                                       \
    }

#define VEC_INIT                                                               \
    {                                                                          \
        NULL, 0, 0                                                             \
    }

/* Room for one more element of `size` bytes; used by vec_push alone. */
void *vec_grow(void *items, size_t count, size_t *capacity, size_t size);

#define vec_push(vec, value)                                                   \
    do {                                                                       \
        (vec)->items = vec_grow((vec)->items, (vec)->count, &(vec)->capacity,  \
                                sizeof(__typeof__(*(vec)->items)));            \
        (vec)->items[(vec)->count++] = (value);                                \
    } while (0)

#define vec_for(type, item, vec)                                               \
    for (type item = (vec)->items;                                             \
         (item) != NULL && (item) < (vec)->items + (vec)->count; (item)++)

#define vec_release(vec)                                                       \
    do {                                                                       \
        free((vec)->items);                                                    \
        (vec)->items = NULL;                                                   \
        (vec)->count = (vec)->capacity = 0;                                    \
    } while (0)

#endif
