/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_raw.h -- change raw files and block devices in place; internal to
 * src/image.
 */
#ifndef IMAGE_COMMIT_RAW_H
#define IMAGE_COMMIT_RAW_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_copy.h"
#include "image/commit_refusal.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct commit_raw {
    int fd;           /* owned; holds the lock */
    const char *path; /* borrowed */
    uint64_t size;
    bool is_device;
    enum commit_refusal refusal; /* why a change failed, if it is one */
};

#define COMMIT_RAW_INIT                                                        \
    {                                                                          \
        .fd = -1                                                               \
    }

int commit_raw_open(struct commit_raw *raw, const char *path, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
void commit_raw_close(struct commit_raw *raw) NONNULL(1);
#define AUTO_COMMIT_RAW CLEANUP(commit_raw_close)

/* Make it read as `view` in all of `decided`, and as long; durable. */
int commit_raw_merge(struct commit_raw *raw, struct blockdev *view,
                     const struct extents *decided,
                     const struct commit_source *source, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

int commit_raw_write(struct commit_raw *raw, const void *buffer,
                     uint64_t offset, size_t length, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

int commit_raw_resize(struct commit_raw *raw, uint64_t size, struct error *err)
    MUST_CHECK NONNULL(1, 3);

#endif
