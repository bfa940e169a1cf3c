/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.h -- names of files, as text; nothing here touches a file system.
 *
 * Ownership:  every `char *` result is the caller's to free.
 */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include "base/compiler.h"

#include <stdbool.h>

/* "/a/b" + "c" = "/a/b/c"; `name` must not start with a slash. */
char *path_join(const char *directory, const char *name)
    MUST_CHECK NONNULL(1, 2);

/* The directory part: "/a/b" -> "/a", "b" -> ".", "/b" -> "/". */
char *path_parent(const char *path) MUST_CHECK NONNULL(1);

/* The last part, borrowed from `path`. */
const char *path_name(const char *path) NONNULL(1);

/*
 * True when `name` can be the name of one file in one directory: 1 to 255
 * bytes, no slash, no control character, not "." or "..".
 */
bool path_is_plain_name(const char *name) NONNULL(1);

/* True for an absolute path without "." or ".." parts, below 4096 bytes. */
bool path_is_clean_absolute(const char *path) NONNULL(1);

/*
 * Where a backing file's name leads: `name` itself when absolute, otherwise
 * relative to the directory of `image_path`.  Purely textual.
 */
char *path_resolve_backing(const char *image_path, const char *name)
    MUST_CHECK NONNULL(1, 2);

#endif
