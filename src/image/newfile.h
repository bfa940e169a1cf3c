/* SPDX-License-Identifier: Apache-2.0 */
/*
 * newfile.h -- make a file that was not there before.  Internal to src/image.
 */
#ifndef IMAGE_NEWFILE_H
#define IMAGE_NEWFILE_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What offsets, lengths and memory of direct I/O are multiples of, whatever
 * the disk's own sector.
 */
#define NEWFILE_ALIGN 4096u

/**
 * newfile_create(path, direct, mode_like, err):
 * Create `path` with O_EXCL for reading and writing.  With mode_like, owner,
 * group and mode are those of that file, else the mode is 0600; nobody else
 * can open it before they are right.  With direct, O_DIRECT is set where the
 * file system has it.
 *
 * Returns:    the descriptor, or -1 with *err set to ERROR_CONFLICT (it
 *             exists), ERROR_NO_SPACE, ERROR_IO; then nothing is left.
 */
int newfile_create(const char *path, bool direct, const char *mode_like,
                   struct error *err) MUST_CHECK NONNULL(1, 4);

/**
 * newfile_write(fd, buffer, length, offset, what, err):
 * As fd_pwrite; when the file system refuses direct I/O only now, the file
 * goes on without.  With direct I/O everything is a multiple of
 * NEWFILE_ALIGN.
 *
 * Threads:    any number at once, on ranges that do not overlap.
 */
int newfile_write(int fd, const void *buffer, size_t length, uint64_t offset,
                  const char *what, struct error *err)
    MUST_CHECK NONNULL(2, 5, 6);

/**
 * newfile_discard(path):
 * Unlink what newfile_create made, on a way out that reports another error.
 */
void newfile_discard(const char *path) NONNULL(1);

#endif
