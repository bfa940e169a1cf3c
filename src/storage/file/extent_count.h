/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extent_count.h -- in how many pieces a file lies on its file system.
 */
#ifndef STORAGE_FILE_EXTENT_COUNT_H
#define STORAGE_FILE_EXTENT_COUNT_H

#include "base/compiler.h"

#include <stdint.h>

/**
 * extent_count(fd, most, ret_count):
 * Count the extents of a file, after flushing it; no further than `most`.
 *
 * Returns:    0, also with 0 where the file system does not tell; or -1 and
 *             errno.
 */
int extent_count(int fd, uint64_t most, uint64_t *ret_count)
    MUST_CHECK NONNULL(3);

#endif
