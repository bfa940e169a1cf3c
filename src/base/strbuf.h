/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strbuf.h -- text that grows, up to a maximum.
 *
 * The text is always terminated by a zero byte; it may hold zero bytes
 * itself.  Growing past `max` is remembered: strbuf_overflowed() tells, and
 * the text stays as it was before the call that did not fit.
 *
 * Threads:    one at a time for each buffer.
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include "base/compiler.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define STRBUF_MAX_DEFAULT ((size_t)64 << 20)

struct strbuf {
    char *text; /* owned; NULL until the first byte */
    size_t length;
    size_t capacity;
    size_t max;
    bool overflowed;
};

#define STRBUF_INIT                                                            \
    {                                                                          \
        .max = STRBUF_MAX_DEFAULT                                              \
    }

void strbuf_init(struct strbuf *buffer, size_t max) NONNULL(1);
void strbuf_release(struct strbuf *buffer) NONNULL(1);
void strbuf_clear(struct strbuf *buffer) NONNULL(1);

void strbuf_add(struct strbuf *buffer, const void *bytes, size_t length)
    NONNULL(1);
void strbuf_adds(struct strbuf *buffer, const char *text) NONNULL(1, 2);
void strbuf_addc(struct strbuf *buffer, char c) NONNULL(1);
void strbuf_addf(struct strbuf *buffer, const char *fmt, ...) NONNULL(1, 2)
    PRINTF(2, 3);
void strbuf_vaddf(struct strbuf *buffer, const char *fmt, va_list args)
    NONNULL(1, 2) PRINTF(2, 0);

/* The text; "" while nothing was added.  Borrowed until the next change. */
const char *strbuf_text(const struct strbuf *buffer) NONNULL(1);

/* Hand the text over (never NULL); the buffer is left empty. */
char *strbuf_take(struct strbuf *buffer) MUST_CHECK NONNULL(1);

bool strbuf_overflowed(const struct strbuf *buffer) NONNULL(1);

#define AUTO_STRBUF CLEANUP(strbuf_release)

#endif
