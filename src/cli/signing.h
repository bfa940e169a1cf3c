/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signing.h -- requests as urlencoded text, and their signature.
 *
 * The API's signature (docs/guide/api.md): HMAC-SHA1 over all parameters,
 * sorted by name, urlencoded, in lower case.
 */
#ifndef CLI_SIGNING_H
#define CLI_SIGNING_H

#include "base/compiler.h"
#include "base/strbuf.h"

#include <jansson.h>

/* "command=listX&id=...", sorted by name; `params` is an object of texts. */
void signing_encode(json_t *params, struct strbuf *ret_text) NONNULL(1, 2);

#define SIGNING_TEXT_SIZE 29 /* of an HMAC-SHA1 in Base64 */

/* The signature of what signing_encode() wrote. */
void signing_make(const char *secret, const char *encoded,
                  char ret_signature[SIGNING_TEXT_SIZE]) NONNULL(1, 2, 3);

#endif
