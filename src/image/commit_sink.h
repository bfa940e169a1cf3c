/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_sink.h -- where a merge writes guest data: a file that is open
 * already, past the page cache where that can be; internal to src/image.
 *
 * Threads:    writing by any number at once, at places that do not overlap;
 *             opening and closing by one.
 */
#ifndef IMAGE_COMMIT_SINK_H
#define IMAGE_COMMIT_SINK_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is written past the page cache is aligned to this, as is the memory. */
#define COMMIT_SINK_ALIGNMENT 4096u

struct commit_sink {
    int fd;           /* borrowed */
    int direct_fd;    /* owned; the same file, O_DIRECT, or -1 */
    const char *path; /* borrowed; for messages */
};

/* `direct`: it is worth a second descriptor.  Cannot fail. */
void commit_sink_open(struct commit_sink *sink, int fd, const char *path,
                      bool direct) NONNULL(1, 3);
void commit_sink_close(struct commit_sink *sink) NONNULL(1);
#define AUTO_COMMIT_SINK CLEANUP(commit_sink_close)

/**
 * commit_sink_write(sink, bytes, length, offset, err):
 * Not durable: whoever opened the file syncs it.
 */
int commit_sink_write(const struct commit_sink *sink, const void *bytes,
                      size_t length, uint64_t offset, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

#endif
