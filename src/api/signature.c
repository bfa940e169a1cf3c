/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signature of a request: HMAC-SHA1 over its parameters.
 *
 * All parameters but "signature" are sorted by name, each written as
 * name=URLEncode(value), joined by '&', the whole in lower case.  Clients do
 * not agree on the order of names in mixed case, nor on whether '~', '*', '['
 * and ']' are encoded, so we try every form that was seen.  All of them are
 * made from the same decoded parameters: nothing is accepted that the holder
 * of the secret has not signed.
 */
#include "api/signature.h"

#include "api/mac.h"
#include "base/memory.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The likely ones first. */
const struct signature_form signature_forms[SIGNATURE_FORMS] = {
    {false, "*"},    /* Java */
    {true, "*"},     /* Java, sorted in lower case */
    {false, "*~"},   /* cs, CloudMonkey */
    {true, "*~"},    /* */
    {false, "~"},    /* RFC 3986: csclient, Go */
    {true, "~"},     /* */
    {false, "*~[]"}, /* libcloud without its sorting */
    {true, "*~[]"},  /* libcloud */
};

static int
compare_sent(const void *a, const void *b)
{
    const struct params_entry *const *left = a;
    const struct params_entry *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

static int
compare_lower(const void *a, const void *b)
{
    const struct params_entry *const *left = a;
    const struct params_entry *const *right = b;
    int order = strcmp((*left)->key, (*right)->key);

    return order != 0 ? order : compare_sent(a, b);
}

static void
add_encoded(struct strbuf *text, const char *value, const char *unescaped)
{
    for (const char *c = value; *c != '\0'; c++) {
        if ((isascii(*c) && isalnum((unsigned char)*c)) ||
            strchr(".-_", *c) != NULL || strchr(unescaped, *c) != NULL)
            strbuf_addc(text, (char)tolower((unsigned char)*c));
        else
            strbuf_addf(text, "%%%02x", (unsigned)(unsigned char)*c);
    }
}

void
signature_text(const struct params *params, const struct signature_form *form,
               struct strbuf *ret_text)
{
    const struct params_entry *sorted[PARAMS_MAX];
    size_t count = 0;

    assert(params->count <= PARAMS_MAX);
    for (size_t i = 0; i < params->count; i++) {
        if (strcmp(params->items[i].key, "signature") != 0)
            sorted[count++] = &params->items[i];
    }
    qsort(sorted, count, sizeof(const void *),
          form->sort_lower ? compare_lower : compare_sent);
    strbuf_clear(ret_text);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            strbuf_addc(ret_text, '&');
        strbuf_adds(ret_text, sorted[i]->key);
        strbuf_addc(ret_text, '=');
        add_encoded(ret_text, sorted[i]->value, form->unescaped);
    }
}

char *
signature_base64(const void *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = bytes;
    char *text = xmalloc((length + 2) / 3 * 4 + 1);
    char *out = text;

    for (size_t i = 0; i < length; i += 3) {
        unsigned second = i + 1 < length ? in[i + 1] : 0;
        unsigned third = i + 2 < length ? in[i + 2] : 0;
        unsigned group = (unsigned)in[i] << 16 | second << 8 | third;

        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = '=';
        *out++ = '=';
        if (i + 1 < length)
            out[-2] = digits[group >> 6 & 63];
        if (i + 2 < length)
            out[-1] = digits[group & 63];
    }
    *out = '\0';
    return text;
}

void
signature_make(const char *secret, const char *text,
               char ret_signature[SIGNATURE_TEXT_SIZE])
{
    uint8_t mac[MAC_SHA1_SIZE];
    AUTO_FREE char *base64 = NULL;

    mac_sha1(secret, text, mac);
    base64 = signature_base64(mac, sizeof(mac));
    memcpy(ret_signature, base64, SIGNATURE_TEXT_SIZE);
}

bool
signature_is_valid(const struct params *params, const char *secret)
{
    const char *given = params_find(params, "signature");
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char right[SIGNATURE_TEXT_SIZE];
    bool valid = false;

    if (given == NULL || strlen(given) != SIGNATURE_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < SIGNATURE_FORMS; i++) {
        signature_text(params, &signature_forms[i], &text);
        signature_make(secret, strbuf_text(&text), right);
        valid |= mac_is_equal(given, right, SIGNATURE_TEXT_SIZE - 1);
    }
    return valid;
}
