/* SPDX-License-Identifier: Apache-2.0 */
/*
 * density.h -- how much of what cannot all be tried each time is tried.
 *
 * VARVE_TEST_ALL=1 is everything.  VARVE_TEST_DENSITY=n is about n times as
 * much as usual: for builds in which everything would take days.  Each test
 * says what is usual and what is all.
 */
#ifndef TESTS_LIB_DENSITY_H
#define TESTS_LIB_DENSITY_H

#include "base/compiler.h"
#include "base/parse.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool
density_is_all(void)
{
    return getenv("VARVE_TEST_ALL") != NULL;
}

static inline uint64_t
density_factor(void)
{
    const char *text = getenv("VARVE_TEST_DENSITY");
    struct error err = ERROR_INIT;
    uint64_t factor = 1;

    if (text != NULL && (parse_u64(text, &factor, &err) < 0 || factor == 0))
        abort();
    return factor;
}

/* Every so manieth is tried: 1 for all. */
static inline uint64_t
density_step(uint64_t usual)
{
    return density_is_all() ? 1 : MAX(usual / density_factor(), UINT64_C(1));
}

/* So many are tried, at random or as the first ones. */
static inline uint64_t
density_count(uint64_t usual, uint64_t all)
{
    uint64_t factor = density_factor();

    return density_is_all() || factor >= all / usual ? all : usual * factor;
}

#endif
