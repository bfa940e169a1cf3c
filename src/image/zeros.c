/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data that is not zero nearly always differs in its first bytes, so that the
 * cost of the question is the cost of scanning real zeros.  Eight vectors are
 * joined before each test: out of the second-level cache that runs at the
 * speed of the loads, without code for one processor alone.
 */
#include "image/zeros.h"

#include <stdint.h>
#include <string.h>

typedef uint64_t vector __attribute__((vector_size(16)));

#define VECTORS 8
#define STEP (VECTORS * sizeof(vector))

bool
zeros_only(const void *bytes, size_t length)
{
    const unsigned char *next = bytes;
    const unsigned char *end = next + length;

    if (length > 0 && next[0] != 0)
        return false;
    for (; (size_t)(end - next) >= STEP; next += STEP) {
        vector part[VECTORS];
        vector any;

        memcpy(part, next, STEP);
        any = ((part[0] | part[1]) | (part[2] | part[3])) |
              ((part[4] | part[5]) | (part[6] | part[7]));
        if ((any[0] | any[1]) != 0)
            return false;
    }
    for (; next < end; next++)
        if (*next != 0)
            return false;
    return true;
}
