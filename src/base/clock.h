/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h -- time.
 *
 * Wall-clock times are milliseconds since 1970-01-01 UTC in an int64_t
 * (`_ms`), 0 for "never"; durations come from the monotonic clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdint.h>

int64_t clock_wall_ms(void);
int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);

#define CLOCK_TEXT_SIZE 32

/* "2026-03-01T10:15:00+0000", the form of the API (semantics 6.1). */
const char *clock_format(int64_t wall_ms, char buffer[CLOCK_TEXT_SIZE])
    NONNULL(2);

/* "20260301101500" in UTC, for generated names. */
const char *clock_format_compact(int64_t wall_ms, char buffer[CLOCK_TEXT_SIZE])
    NONNULL(2);

/**
 * clock_parse(text, ret_wall_ms, err):
 * Read "yyyy-MM-dd'T'HH:mm:ss" followed by "Z", "+hhmm" or "-hhmm", or
 * "yyyy-MM-dd" alone (midnight UTC).
 *
 * Returns:    0, or -1 with *err set to ERROR_MALFORMED, also for a day that
 *             its month does not have and outside the years 1970 to 9999.
 */
int clock_parse(const char *text, int64_t *ret_wall_ms, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
