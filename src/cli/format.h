/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format.h -- numbers and times for people.
 */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "base/compiler.h"

#include <stdint.h>

#define FORMAT_SIZE 40

/* Bytes: "0 B", "1023 B", "1.0 KiB", "37.5 GiB", "512 GiB". */
const char *format_size(uint64_t bytes, char buffer[FORMAT_SIZE]) NONNULL(2);

/* "850 ms", "12 s", "3 min 05 s", "2 h 07 min", "4 d 03 h". */
const char *format_duration(int64_t ms, char buffer[FORMAT_SIZE]) NONNULL(2);

/* A wall-clock time (clock.h) in local time: "2026-03-01 11:15:00"; "" for
 * 0. */
const char *format_time(int64_t wall_ms, char buffer[FORMAT_SIZE]) NONNULL(2);

/* The same for a time as the API writes it; other text is shown as it is. */
const char *format_api_time(const char *text, char buffer[FORMAT_SIZE])
    NONNULL(1, 2);

#endif
