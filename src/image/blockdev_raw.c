/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One raw file or block device.  Holes are asked of the file system; a block
 * device is all data.
 */
#include "base/memory.h"
#include "image/blockdev_internal.h"
#include "image/image_file.h"
#include "image/scratch.h"

#include <stdlib.h>

struct raw_device {
    struct blockdev common;
    struct image_file file; /* owned */
    struct scratch_pool pool;
};

static int
raw_read(struct blockdev *device, void *buffer, size_t length, uint64_t offset,
         struct error *err)
{
    struct raw_device *raw = (struct raw_device *)device;
    struct image_file_bounce bounce = {.capacity = 0};
    struct scratch *scratch = NULL;
    int result;

    if (raw->file.direct_fd >= 0) {
        scratch = scratch_take(&raw->pool, NULL, 0);
        bounce = scratch_staging(scratch);
    }
    result =
        image_file_read_data(&raw->file, buffer, length, offset, &bounce, err);
    if (scratch != NULL)
        scratch_give(&raw->pool, scratch);
    return result;
}

static int
raw_map(struct blockdev *device, uint64_t offset, struct block_range *ret_range,
        struct error *err UNUSED)
{
    struct raw_device *raw = (struct raw_device *)device;
    uint64_t end;
    bool is_hole;

    image_file_map(&raw->file, offset, &end, &is_hole);
    *ret_range =
        (struct block_range){.offset = offset,
                             .length = end - offset,
                             .kind = is_hole ? BLOCK_ZERO : BLOCK_DATA};
    return 0;
}

static uint64_t
raw_bytes_read(const struct blockdev *device)
{
    const struct raw_device *raw = (const struct raw_device *)device;

    return atomic_load(&raw->file.bytes_read);
}

static void
raw_free(struct blockdev *device)
{
    struct raw_device *raw = (struct raw_device *)device;

    scratch_pool_release(&raw->pool);
    image_file_close(&raw->file);
    free(raw);
}

static const struct blockdev_ops raw_ops = {
    .read = raw_read,
    .map = raw_map,
    .bytes_read = raw_bytes_read,
    .free = raw_free,
};

struct blockdev *
blockdev_open_raw(const char *path, unsigned flags, struct error *err)
{
    AUTO_FREE struct raw_device *raw = xcalloc(1, sizeof(*raw));

    if (image_file_open(&raw->file, path, flags, err) < 0)
        return NULL;
    scratch_pool_init(&raw->pool, 0);
    raw->common = (struct blockdev){.ops = &raw_ops,
                                    .size = atomic_load(&raw->file.size),
                                    .name = raw->file.path};
    return &steal(&raw)->common;
}
