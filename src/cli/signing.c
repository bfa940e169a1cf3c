/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signing.h"

#include "base/memory.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SHA1_SIZE 20
#define PARAMS_MAX 40

static int
compare_names(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static void
add_encoded(struct strbuf *text, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (isascii(*c) &&
            (isalnum((unsigned char)*c) || strchr(".-*_", *c) != NULL))
            strbuf_addc(text, *c);
        else
            strbuf_addf(text, "%%%02X", (unsigned)(unsigned char)*c);
    }
}

void
signing_encode(json_t *params, struct strbuf *ret_text)
{
    const char *names[PARAMS_MAX];
    size_t count = 0;
    const char *name;
    json_t *value;

    json_object_foreach(params, name, value)
    {
        if (count < PARAMS_MAX)
            names[count++] = name;
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    strbuf_clear(ret_text);
    for (size_t i = 0; i < count; i++) {
        value = json_object_get(params, names[i]);
        strbuf_addf(ret_text, "%s%s=", i > 0 ? "&" : "", names[i]);
        add_encoded(ret_text, json_string_value(value));
    }
}

static void
write_base64(const uint8_t mac[SHA1_SIZE], char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < SHA1_SIZE; i += 3) {
        unsigned third = i + 2 < SHA1_SIZE ? mac[i + 2] : 0;
        unsigned group =
            (unsigned)mac[i] << 16 | (unsigned)mac[i + 1] << 8 | third;

        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = digits[group >> 6 & 63];
        *out++ = digits[group & 63];
    }
    out[-1] = '='; /* 20 bytes are 6 groups of three, and two */
    *out = '\0';
}

void
signing_make(const char *secret, const char *encoded,
             char ret_signature[SIGNING_TEXT_SIZE])
{
    AUTO_FREE char *lower = xstrdup(encoded);
    uint8_t mac[SHA1_SIZE];

    for (char *c = lower; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    /* Only fails for an algorithm that the library lacks. */
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA1, secret, strlen(secret), lower,
                         strlen(lower), mac) < 0)
        abort();
    write_base64(mac, ret_signature);
}
