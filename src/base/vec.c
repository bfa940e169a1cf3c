/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include "base/memory.h"

void *
vec_grow(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity > 0 ? *capacity * 2 : 8;
    return xrealloc(items, *capacity * size);
}
