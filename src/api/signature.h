/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature.h -- is a request signed with this secret?
 */
#ifndef API_SIGNATURE_H
#define API_SIGNATURE_H

#include "api/params.h"
#include "base/compiler.h"
#include "base/strbuf.h"

#include <stdbool.h>

/*
 * How clients differ in what they sign (semantics 6.2, ecosystem 2): the
 * order of the names, and what their URL encoding leaves as it is.
 */
struct signature_form {
    bool sort_lower;       /* names sorted in lower case, not as sent */
    const char *unescaped; /* besides letters, digits, '.', '-' and '_' */
};

#define SIGNATURE_FORMS 8
extern const struct signature_form signature_forms[SIGNATURE_FORMS];

/* What is signed in that form: "apikey=...&command=...", in lower case. */
void signature_text(const struct params *params,
                    const struct signature_form *form, struct strbuf *ret_text)
    NONNULL(1, 2, 3);

#define SIGNATURE_TEXT_SIZE 29 /* of an HMAC-SHA1 in Base64 */

/* The Base64 text of the HMAC-SHA1 of `text` under `secret`. */
void signature_make(const char *secret, const char *text,
                    char ret_signature[SIGNATURE_TEXT_SIZE]) NONNULL(1, 2, 3);

/* True when parameter "signature" is right in any form; the time that it
 * takes says nothing about how much of it was. */
bool signature_is_valid(const struct params *params, const char *secret)
    NONNULL(1, 2);

/* Base64 of `length` bytes at `bytes`; the caller frees it. */
char *signature_base64(const void *bytes, size_t length) MUST_CHECK NONNULL(1);

#endif
