/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all kinds of block devices share: ranges are cut at the disk's end
 * here, so that no kind sees a byte outside of its disk.
 */
#include "image/blockdev_internal.h"

#include "base/compiler.h"

#include <assert.h>
#include <string.h>

void
blockdev_free(struct blockdev *device)
{
    if (device != NULL)
        device->ops->free(device);
}

void
blockdev_cleanup(struct blockdev **device)
{
    blockdev_free(*device);
}

uint64_t
blockdev_size(const struct blockdev *device)
{
    return device->size;
}

const char *
blockdev_name(const struct blockdev *device)
{
    return device->name;
}

uint64_t
blockdev_bytes_read(const struct blockdev *device)
{
    return device->ops->bytes_read(device);
}

int
blockdev_read(struct blockdev *device, void *buffer, size_t length,
              uint64_t offset, struct error *err)
{
    uint64_t left = offset < device->size ? device->size - offset : 0;
    size_t inside = (size_t)MIN((uint64_t)length, left);

    if (inside > 0 &&
        device->ops->read(device, buffer, inside, offset, err) < 0)
        return -1;
    memset((char *)buffer + inside, 0, length - inside);
    return 0;
}

int
blockdev_map(struct blockdev *device, uint64_t offset,
             struct block_range *ret_range, struct error *err)
{
    struct block_range range;

    assert(offset < device->size);
    if (device->ops->map(device, offset, &range, err) < 0)
        return -1;
    assert(range.offset == offset && range.length > 0);
    range.length = MIN(range.length, device->size - offset);
    *ret_range = range;
    return 0;
}

int
blockdev_data(struct blockdev *device, struct extents *ret_set,
              struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    struct block_range range = {.length = 0};

    if (device->ops->data != NULL) {
        if (device->ops->data(device, &set, err) < 0)
            return -1;
    } else {
        for (uint64_t at = 0; at < device->size; at += range.length) {
            if (blockdev_map(device, at, &range, err) < 0)
                return -1;
            if (range.kind == BLOCK_DATA)
                extents_add(&set, at, range.length);
        }
    }
    extents_union(ret_set, &set);
    return 0;
}
