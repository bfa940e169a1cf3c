/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.h -- whole reads and writes, and files that survive a power cut.
 *
 * Offsets and lengths are bytes.  Every function retries EINTR and short
 * transfers.  Paths are never followed out of the directory that is given.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * fd_pread(fd, buffer, length, offset, what, err):
 * Read exactly `length` bytes.  `what` names the file in messages.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when the file ends
 *             before, ERROR_IO.
 */
int fd_pread(int fd, void *buffer, size_t length, uint64_t offset,
             const char *what, struct error *err) MUST_CHECK NONNULL(2, 5, 6);

/**
 * fd_pread_up_to(fd, buffer, length, offset, ret_length, what, err):
 * Read up to `length` bytes; fewer only at the end of the file.
 */
int fd_pread_up_to(int fd, void *buffer, size_t length, uint64_t offset,
                   size_t *ret_length, const char *what, struct error *err)
    MUST_CHECK NONNULL(2, 5, 6, 7);

int fd_pwrite(int fd, const void *buffer, size_t length, uint64_t offset,
              const char *what, struct error *err) MUST_CHECK NONNULL(2, 5, 6);

/* fdatasync(2), with the file's name in the error. */
int fd_sync(int fd, const char *what, struct error *err)
    MUST_CHECK NONNULL(2, 3);

int fd_size(int fd, uint64_t *ret_size, const char *what, struct error *err)
    MUST_CHECK NONNULL(2, 3, 4);

/**
 * fd_read_file(path, max, ret_text, ret_length, err):
 * Read a whole file of at most `max` bytes; a zero byte is added behind it.
 *
 * Ownership:  the caller frees *ret_text.
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND, ERROR_IO,
 *             ERROR_INVALID when it is larger than `max`.
 */
int fd_read_file(const char *path, size_t max, char **ret_text,
                 size_t *ret_length, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5);

/**
 * fd_replace_file(path, bytes, length, mode, err):
 * Give `path` this content, replacing what was there.
 *
 * Durability: on 0 the new content survives a power cut; otherwise the old
 *             content (or absence) is unchanged.
 */
int fd_replace_file(const char *path, const void *bytes, size_t length,
                    mode_t mode, struct error *err) MUST_CHECK NONNULL(1, 2, 5);

/* fsync the directory that holds `path`, so that its name is durable. */
int fd_sync_parent(const char *path, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Unlink; that it is gone already is success.  The name's removal is made
 * durable, also when another call removed it. */
int fd_unlink(const char *path, struct error *err) MUST_CHECK NONNULL(1, 2);

/* True when something of this name exists (links are not followed). */
bool fd_exists(const char *path) NONNULL(1);

/* Make a directory and its parents; existing ones are left as they are.
 * Every name is durable when it returns 0, also those that a call which failed
 * or was killed has left. */
int fd_make_directories(const char *path, mode_t mode, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Bytes that an ordinary writer may still store beside `path`. */
int fd_free_space(const char *path, uint64_t *ret_bytes, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Bytes that a file takes on its file system (holes are free). */
int fd_allocated(const char *path, uint64_t *ret_bytes, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
