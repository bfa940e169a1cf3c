/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h -- text from outside into values, all or nothing.
 *
 * Every function takes the whole text or refuses it with ERROR_MALFORMED and
 * a message that quotes it; *ret_ is written on success only.
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Decimal digits only, no sign, no space. */
int parse_u64(const char *text, uint64_t *ret_value, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* An optional '-' and decimal digits. */
int parse_i64(const char *text, int64_t *ret_value, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* "true", "false" in any case (clients send "True"). */
int parse_bool(const char *text, bool *ret_value, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Bytes: digits with an optional K, M, G, T (powers of 1024, "iB" allowed). */
int parse_size(const char *text, uint64_t *ret_bytes, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* A finite decimal number such as "0.75". */
int parse_real(const char *text, double *ret_value, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
