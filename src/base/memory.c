/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of x86-64, and of most others that we may run on. */
#define HUGE_PAGE ((size_t)2 << 20)

static void NORETURN
out_of_memory(void)
{
    (void)fputs("<2>out-of-memory\n", stderr);
    abort();
}

void *
xmalloc(size_t size)
{
    void *result = malloc(size > 0 ? size : 1);

    if (result == NULL)
        out_of_memory();
    return result;
}

void *
xcalloc(size_t count, size_t size)
{
    void *result = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    if (result == NULL)
        out_of_memory();
    return result;
}

void *
xrealloc(void *old, size_t size)
{
    void *result = realloc(old, size > 0 ? size : 1);

    if (result == NULL)
        out_of_memory();
    return result;
}

char *
xstrdup(const char *text)
{
    return xstrndup(text, strlen(text));
}

char *
xstrndup(const char *text, size_t length)
{
    size_t used = strnlen(text, length);
    char *result = xmalloc(used + 1);

    memcpy(result, text, used);
    result[used] = '\0';
    return result;
}

char *
xstrdup_null(const char *text)
{
    return text != NULL ? xstrdup(text) : NULL;
}

char *
xasprintf(const char *fmt, ...)
{
    char *result = NULL;
    va_list args;
    int length;

    va_start(args, fmt);
    length = vasprintf(&result, fmt, args);
    va_end(args);
    if (length < 0 || result == NULL)
        out_of_memory();
    return result;
}

void *
memory_try(size_t size, size_t max, const char *what, struct error *err)
{
    void *result;

    if (size > max) {
        (void)error_set(err, ERROR_INVALID,
                        "%s needs %zu bytes, more than the %zu allowed", what,
                        size, max);
        return NULL;
    }
    result = calloc(1, size > 0 ? size : 1);
    if (result == NULL)
        (void)error_set(err, ERROR_INTERNAL, "no memory for %s (%zu bytes)",
                        what, size);
    return result;
}

void *
xaligned(size_t alignment, size_t size)
{
    void *result = NULL;

    if (size >= HUGE_PAGE)
        alignment = MAX(alignment, HUGE_PAGE);
    if (posix_memalign(&result, alignment, size) != 0 || result == NULL)
        out_of_memory();
    if (size >= HUGE_PAGE)
        (void)madvise(result, size - size % HUGE_PAGE,
                      MADV_HUGEPAGE); /* as well without */
    return result;
}

void
memory_cleanup_free(void *pointer_to_pointer)
{
    void *pointer;

    memcpy(&pointer, pointer_to_pointer, sizeof(pointer));
    free(pointer);
}

void
memory_cleanup_close(const int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void)close(*fd); /* nothing was promised about this descriptor */
    errno = saved;
}

int
steal_fd(int *fd)
{
    int value = *fd;

    *fd = -1;
    return value;
}
