/* SPDX-License-Identifier: Apache-2.0 */
/*
 * when.h -- times that people write, for the API.
 */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"

/**
 * when_parse(text, ret_date, err):
 * "2026-03-01", "2026-03-01 10:15" or "2026-03-01 10:15:00" in local time (a
 * "T" may stand for the space), with "Z" or "+hhmm" behind it in that zone;
 * or how long ago: "30m", "12h", "7d".
 *
 * Returns:    0, or -1 with *err set to ERROR_MALFORMED.
 */
int when_parse(const char *text, char ret_date[CLOCK_TEXT_SIZE],
               struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
