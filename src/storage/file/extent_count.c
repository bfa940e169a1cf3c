/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FIEMAP in portions, so that a file of millions of extents is not walked to
 * its end by one call that nothing can interrupt.
 */
#include "storage/file/extent_count.h"

#include "base/memory.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define PORTION 1024

/* The extents from `start` on, at most a portion; where they end goes there,
 * UINT64_MAX when there are no more. */
static int
next_portion(int fd, struct fiemap *map, uint64_t *start)
{
    const struct fiemap_extent *last;

    memset(map, 0, sizeof(*map));
    map->fm_start = *start;
    map->fm_length = FIEMAP_MAX_OFFSET - *start;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = PORTION;
    if (ioctl(fd, FS_IOC_FIEMAP, map) < 0)
        return -1;
    *start = UINT64_MAX;
    if (map->fm_mapped_extents == 0)
        return 0;
    last = &map->fm_extents[map->fm_mapped_extents - 1];
    if ((last->fe_flags & FIEMAP_EXTENT_LAST) == 0)
        *start = last->fe_logical + last->fe_length;
    return 0;
}

int
extent_count(int fd, uint64_t most, uint64_t *ret_count)
{
    AUTO_FREE struct fiemap *map =
        xmalloc(sizeof(*map) + PORTION * sizeof(struct fiemap_extent));
    uint64_t start = 0;

    *ret_count = 0;
    while (start < FIEMAP_MAX_OFFSET && *ret_count < most) {
        if (next_portion(fd, map, &start) < 0)
            return errno == EOPNOTSUPP || errno == ENOTTY ? 0 : -1;
        *ret_count += map->fm_mapped_extents;
    }
    *ret_count = *ret_count < most ? *ret_count : most;
    return 0;
}
