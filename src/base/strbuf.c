/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strbuf.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
strbuf_init(struct strbuf *buffer, size_t max)
{
    *buffer = (struct strbuf){.max = max};
}

void
strbuf_release(struct strbuf *buffer)
{
    free(buffer->text);
    *buffer = (struct strbuf){.max = buffer->max};
}

void
strbuf_clear(struct strbuf *buffer)
{
    buffer->length = 0;
    buffer->overflowed = false;
    if (buffer->text != NULL)
        buffer->text[0] = '\0';
}

/* Make room for `more` bytes and the zero byte; false when past the max. */
static bool
reserve(struct strbuf *buffer, size_t more)
{
    size_t needed;
    size_t capacity;

    if (buffer->overflowed)
        return false;
    if (__builtin_add_overflow(buffer->length, more, &needed) ||
        needed >= buffer->max) {
        buffer->overflowed = true;
        return false;
    }
    if (needed + 1 <= buffer->capacity)
        return true;
    capacity = MAX(needed + 1, buffer->capacity * 2);
    capacity = MAX(capacity, (size_t)64);
    buffer->text = xrealloc(buffer->text, capacity);
    buffer->capacity = capacity;
    return true;
}

void
strbuf_add(struct strbuf *buffer, const void *bytes, size_t length)
{
    if (length == 0 || !reserve(buffer, length))
        return;
    memcpy(buffer->text + buffer->length, bytes, length);
    buffer->length += length;
    buffer->text[buffer->length] = '\0';
}

void
strbuf_adds(struct strbuf *buffer, const char *text)
{
    strbuf_add(buffer, text, strlen(text));
}

void
strbuf_addc(struct strbuf *buffer, char c)
{
    strbuf_add(buffer, &c, 1);
}

void
strbuf_addf(struct strbuf *buffer, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    strbuf_vaddf(buffer, fmt, args);
    va_end(args);
}

void
strbuf_vaddf(struct strbuf *buffer, const char *fmt, va_list args)
{
    va_list again;
    int length;

    va_copy(again, args);
    length = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (length <= 0 || !reserve(buffer, (size_t)length))
        return;
    (void)vsnprintf(buffer->text + buffer->length, (size_t)length + 1, fmt,
                    args);
    buffer->length += (size_t)length;
}

const char *
strbuf_text(const struct strbuf *buffer)
{
    return buffer->text != NULL ? buffer->text : "";
}

char *
strbuf_take(struct strbuf *buffer)
{
    char *text = buffer->text != NULL ? buffer->text : xstrdup("");

    *buffer = (struct strbuf){.max = buffer->max};
    return text;
}

bool
strbuf_overflowed(const struct strbuf *buffer)
{
    return buffer->overflowed;
}
