/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mac.h -- what we need of the TLS library, besides TLS.
 */
#ifndef API_MAC_H
#define API_MAC_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAC_SHA1_SIZE 20

/* HMAC-SHA1 of `text` under `secret`. */
void mac_sha1(const char *secret, const char *text,
              uint8_t ret_mac[MAC_SHA1_SIZE]) NONNULL(1, 2, 3);

/* True when `length` bytes are equal; the time does not depend on them. */
bool mac_is_equal(const void *a, const void *b, size_t length) NONNULL(1, 2);

/* Overwrite a secret, also where a compiler sees that nobody reads it. */
void mac_wipe(void *bytes, size_t length) NONNULL(1);

#endif
