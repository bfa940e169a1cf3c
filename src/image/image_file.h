/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_file.h -- one open file of a chain, for reading; internal to
 * src/image.
 *
 * Threads:    reading by any number at once; opening and closing by one.
 */
#ifndef IMAGE_IMAGE_FILE_H
#define IMAGE_IMAGE_FILE_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* What direct reads are aligned to: fits 512-byte and 4 KiB sectors. */
#define IMAGE_FILE_ALIGNMENT 4096u

/* A staging buffer for direct reads into memory that is not aligned. */
struct image_file_bounce {
    void *bytes;     /* aligned to IMAGE_FILE_ALIGNMENT */
    size_t capacity; /* a multiple of it */
};

struct image_file {
    char *path;            /* owned */
    int fd;                /* owned; through the page cache */
    int direct_fd;         /* owned; O_DIRECT, or -1 */
    struct stat about;     /* as it was opened */
    _Atomic uint64_t size; /* grows while a QEMU writes */
    _Atomic uint64_t bytes_read;
};

/**
 * image_file_open(file, path, flags, err):
 * Open a regular file or block device; `flags` are those of blockdev.h.
 *
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND, ERROR_IO,
 *             ERROR_UNSUPPORTED (neither file nor block device).
 */
int image_file_open(struct image_file *file, const char *path, unsigned flags,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 4);
void image_file_close(struct image_file *file) NONNULL(1);

/* True when both are the same file or block device. */
bool image_file_is(const struct image_file *file, const struct stat *about)
    NONNULL(1, 2);

/*
 * True when the file has at least `end` bytes; asks again before it says no,
 * since a live image grows.
 */
bool image_file_reaches(struct image_file *file, uint64_t end) NONNULL(1);

/**
 * image_file_read(file, buffer, length, offset, err):
 * Read metadata, through the page cache.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when the file ends
 *             before, ERROR_IO.
 */
int image_file_read(struct image_file *file, void *buffer, size_t length,
                    uint64_t offset, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/**
 * image_file_read_data(file, buffer, length, offset, bounce, err):
 * Read guest data, past the page cache if the file was opened so.  `bounce`
 * serves where buffer and offset are not equally aligned.
 */
int image_file_read_data(struct image_file *file, void *buffer, size_t length,
                         uint64_t offset,
                         const struct image_file_bounce *bounce,
                         struct error *err) MUST_CHECK NONNULL(1, 2, 5, 6);

/*
 * How a raw file's bytes from `offset` (below the size) on are stored: up to
 * *ret_end it is all data or all hole.  What cannot be told is data.
 */
void image_file_map(struct image_file *file, uint64_t offset, uint64_t *ret_end,
                    bool *ret_is_hole) NONNULL(1, 3, 4);

#endif
