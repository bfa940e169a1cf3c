/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.h -- bytes as text (RFC 4648, with padding), all or nothing.
 */
#ifndef REPO_BASE64_H
#define REPO_BASE64_H

#include "base/compiler.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/* The caller frees the text. */
char *base64_encode(const void *bytes, size_t length) MUST_CHECK NONNULL(1);

/**
 * base64_decode(text, max, ret_bytes, ret_length, err):
 * Refuses anything that base64_encode() would not have written.
 *
 * Ownership:  the caller frees *ret_bytes.
 * Returns:    0, or -1 with *err set to ERROR_MALFORMED.
 */
int base64_decode(const char *text, size_t max, uint8_t **ret_bytes,
                  size_t *ret_length, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5);

#endif
