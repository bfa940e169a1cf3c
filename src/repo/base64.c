/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/base64.h"

#include "base/memory.h"

#include <string.h>

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *
base64_encode(const void *bytes, size_t length)
{
    const uint8_t *in = bytes;
    char *text = xmalloc((length + 2) / 3 * 4 + 1);
    char *out = text;

    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t group = (uint32_t)in[i] << 16;

        if (left > 1)
            group |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            group |= in[i + 2];
        *out++ = digits[group >> 18];
        *out++ = digits[group >> 12 & 63];
        *out++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[group & 63] : '=';
    }
    *out = '\0';
    return text;
}

/* 0 … 63, or -1. */
static int
value_of(char c)
{
    const char *at = c != '\0' ? strchr(digits, c) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

/* Bytes that four characters stand for, 1 … 3; 0 when they are wrong. */
static size_t
decode_group(const char *text, uint8_t *out)
{
    uint32_t group = 0;
    size_t padding = 0;

    if (text[3] == '=')
        padding = text[2] == '=' ? 2 : 1;
    for (size_t i = 0; i < 4; i++) {
        int value = i >= 4 - padding ? 0 : value_of(text[i]);

        if (value < 0)
            return 0;
        group = group << 6 | (uint32_t)value;
    }
    /* Bits that the padding cuts off are zero. */
    if ((group & ((1u << (8 * padding)) - 1)) != 0)
        return 0;
    for (size_t i = 0; i < 3 - padding; i++)
        out[i] = (uint8_t)(group >> (16 - 8 * i));
    return 3 - padding;
}

int
base64_decode(const char *text, size_t max, uint8_t **ret_bytes,
              size_t *ret_length, struct error *err)
{
    size_t length = strlen(text);
    AUTO_FREE uint8_t *bytes = NULL;
    size_t done = 0;

    if (length % 4 != 0)
        return error_set(err, ERROR_MALFORMED, "base64 text is cut off");
    if (length / 4 * 3 > max + 2)
        return error_set(err, ERROR_MALFORMED,
                         "base64 text of %zu bytes is too long", length);
    bytes = memory_try(length / 4 * 3, max + 2, "base64 text", err);
    if (bytes == NULL)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        size_t got = decode_group(text + i, bytes + done);

        if (got == 0 || (got < 3 && i + 4 < length))
            return error_set(err, ERROR_MALFORMED,
                             "base64 text is wrong at byte %zu", i);
        done += got;
    }
    *ret_length = done;
    *ret_bytes = steal(&bytes);
    return 0;
}
