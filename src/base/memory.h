/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h -- allocation, and ownership that the compiler ends.
 *
 * x...() is for small sizes that we choose ourselves: running out of memory
 * there ends the process, because recovery after a crash must work anyway.
 * A size that comes from outside (a disk, a request, a manifest) goes
 * through memory_try() with a maximum.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/compiler.h"
#include "base/error.h"

#include <stddef.h>

void *xmalloc(size_t size) MUST_CHECK __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) MUST_CHECK
    __attribute__((malloc, returns_nonnull));
void *xrealloc(void *old, size_t size) MUST_CHECK
    __attribute__((returns_nonnull));
char *xstrdup(const char *text) MUST_CHECK NONNULL(1)
    __attribute__((returns_nonnull));
char *xstrndup(const char *text, size_t length) MUST_CHECK NONNULL(1)
    __attribute__((returns_nonnull));
char *xasprintf(const char *fmt, ...) MUST_CHECK PRINTF(1, 2)
    __attribute__((returns_nonnull));

/* A copy of `text`, or NULL for NULL. */
char *xstrdup_null(const char *text) MUST_CHECK;

/**
 * memory_try(size, max, what, err):
 * Allocate `size` zeroed bytes for `what` (a noun for the message).
 *
 * Ownership:  the caller frees the result.
 * Returns:    the memory, or NULL with *err set to ERROR_INVALID when `size`
 *             is above `max`, ERROR_INTERNAL when there is no memory.
 */
void *memory_try(size_t size, size_t max, const char *what, struct error *err)
    MUST_CHECK NONNULL(3, 4);

/* Aligned memory for direct I/O; ends the process when there is none.  From
 * 2 MiB on it is of huge pages, where the system has them. */
void *xaligned(size_t alignment, size_t size) MUST_CHECK
    __attribute__((malloc, returns_nonnull));

/* `AUTO_FREE char *text = NULL;` is freed at the end of its scope. */
void memory_cleanup_free(void *pointer_to_pointer);
void memory_cleanup_close(const int *fd);
#define AUTO_FREE CLEANUP(memory_cleanup_free)
#define AUTO_CLOSE CLEANUP(memory_cleanup_close)

/* Hand over what an AUTO_ variable owns; the variable is left empty. */
#define steal(pointer)                                                         \
    ({                                                                         \
        __typeof__(*(pointer)) steal_value_ = *(pointer);                      \
        *(pointer) = NULL;                                                     \
        steal_value_;                                                          \
    })
int steal_fd(int *fd) MUST_CHECK NONNULL(1);

#endif
