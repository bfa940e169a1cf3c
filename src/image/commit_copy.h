/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_copy.h -- move ranges of a disk into places of one file, in
 * parallel; internal to src/image.
 */
#ifndef IMAGE_COMMIT_COPY_H
#define IMAGE_COMMIT_COPY_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/copy.h"

#include <stddef.h>
#include <stdint.h>

/* Where data come from: what the guest's disk holds. */
struct commit_source {
    int (*read)(void *context, void *buffer, size_t length, uint64_t offset,
                struct error *err); /* by any number of threads at once */
    void *context;                  /* borrowed */
    struct copy_progress *progress; /* borrowed; or NULL */
};

/* One range of the disk and its place in the file; in bytes. */
struct commit_run {
    uint64_t guest;
    uint64_t host;
    uint64_t length;
};

/* Runs, in order; those that continue one another become one. */
struct commit_runs {
    struct commit_run *items; /* owned */
    size_t count;
    size_t capacity;
    uint64_t bytes;
};

void commit_runs_add(struct commit_runs *runs, uint64_t guest, uint64_t host,
                     uint64_t length) NONNULL(1);
void commit_runs_clear(struct commit_runs *runs) NONNULL(1);
void commit_runs_release(struct commit_runs *runs) NONNULL(1);

/**
 * commit_copy(fd, path, runs, source, err):
 * Write every run; with two threads when it is worth it.  Not synced.
 *
 * Returns:    0, or -1 with *err set to ERROR_CANCELLED, ERROR_NO_SPACE,
 *             ERROR_IO, or what the source says.
 */
int commit_copy(int fd, const char *path, const struct commit_runs *runs,
                const struct commit_source *source, struct error *err)
    MUST_CHECK NONNULL(2, 3, 4, 5);

/* ERROR_CANCELLED when somebody asked to give up. */
int commit_check_cancel(const struct commit_source *source, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
