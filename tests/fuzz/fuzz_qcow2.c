/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_qcow2.c -- an image of any bytes: header, tables, compressed clusters,
 * bitmap directory.
 *
 * Beyond not crashing: what is refused is refused as corrupt or unsupported;
 * the map covers the disk; ranges that are told as zero read as zero; what
 * the map calls data the layer decides itself; and reading twice gives the
 * same.
 */
#include "base/error.h"
#include "base/memory.h"
#include "image/blockdev.h"
#include "image/qcow2.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)1 << 20)
#define READ_MAX ((size_t)256 << 10)
#define RANGES_MAX 200u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
check_refused(const struct error *err)
{
    assert(err->code == ERROR_CORRUPT || err->code == ERROR_UNSUPPORTED);
    assert(err->message[0] != '\0');
}

/* Read the start of a range twice, in different pieces. */
static void
try_read(struct blockdev *device, const struct block_range *range)
{
    size_t length = (size_t)MIN(range->length, (uint64_t)READ_MAX);
    AUTO_FREE char *once = xmalloc(length);
    AUTO_FREE char *again = xmalloc(length);
    struct error err = ERROR_INIT;

    if (blockdev_read(device, once, length, range->offset, &err) < 0) {
        assert(range->kind == BLOCK_DATA);
        check_refused(&err);
        return;
    }
    for (size_t done = 0; done < length;) {
        size_t part = MIN(length - done, (size_t)1000 + done % 40000);

        if (blockdev_read(device, again + done, part, range->offset + done,
                          &err) < 0)
            abort(); /* what was read once */
        done += part;
    }
    assert(memcmp(once, again, length) == 0);
    for (size_t i = 0; range->kind == BLOCK_ZERO && i < length; i++)
        assert(once[i] == 0);
}

static void
try_ranges(struct blockdev *device)
{
    uint64_t size = blockdev_size(device);
    struct error err = ERROR_INIT;
    struct block_range range;
    uint64_t at = 0;

    for (unsigned i = 0; i < RANGES_MAX && at < size; i++) {
        if (blockdev_map(device, at, &range, &err) < 0) {
            check_refused(&err);
            return;
        }
        assert(range.offset == at && range.length > 0);
        assert(range.length <= size - at);
        try_read(device, &range);
        at += range.length;
    }
}

/* Every byte of `part` is in `whole`. */
static void
check_inside(const struct extents *part, const struct extents *whole)
{
    AUTO_EXTENTS struct extents both = EXTENTS_INIT;

    extents_union(&both, whole);
    extents_union(&both, part);
    assert(extents_bytes(&both) == extents_bytes(whole));
}

static void
try_device(const char *path)
{
    struct image_ref ref = {.path = path, .format = IMAGE_QCOW2};
    struct error err = ERROR_INIT;
    AUTO_EXTENTS struct extents data = EXTENTS_INIT;
    AUTO_EXTENTS struct extents own = EXTENTS_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(&ref, 1, 0, &err);

    if (device == NULL) {
        check_refused(&err);
        return;
    }
    try_ranges(device);
    if (blockdev_data(device, &data, &err) < 0)
        check_refused(&err);
    else if (qcow2_allocated(path, &own, &err) == 0)
        check_inside(&data, &own);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_CLOSE int fd = -1;
    AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
    AUTO_EXTENTS struct extents own = EXTENTS_INIT;
    struct error err = ERROR_INIT;
    struct qcow2_info info;
    size_t count = 0;
    char path[64];

    if (length > INPUT_MAX)
        return 0;
    fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (qcow2_read_info(path, &info, &err) < 0) {
        check_refused(&err);
        return 0;
    }
    assert(info.size <= QCOW2_SIZE_MAX);
    assert(strlen(info.backing_name) <= QCOW2_BACKING_NAME_MAX);
    if (qcow2_read_bitmaps(path, &bitmaps, &count, &err) < 0)
        check_refused(&err);
    if (qcow2_allocated(path, &own, &err) < 0)
        check_refused(&err);
    try_device(path);
    return 0;
}
