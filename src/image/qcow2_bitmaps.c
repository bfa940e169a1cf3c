/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of persistent dirty bitmaps: names, flags and granularity.
 * The bitmaps' contents are not read.
 *
 * The directory is bounded by what its entries could need at most, and by the
 * file; an entry that QEMU would not take is corrupt.
 */
#include "image/qcow2.h"

#include "base/memory.h"
#include "image/image_file.h"
#include "image/qcow2_format.h"
#include "image/qcow2_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GRANULARITY_BITS_MIN 9
#define GRANULARITY_BITS_MAX 31

struct directory {
    const char *path;
    const struct qcow2_header *header;
    const uint8_t *bytes;
    uint64_t size;
};

static int
corrupt(const struct directory *directory, uint32_t index, const char *reason,
        struct error *err)
{
    return error_set(err, ERROR_CORRUPT, "'%s': bitmap %" PRIu32 " %s",
                     directory->path, index, reason);
}

static int
check_entry(const struct directory *directory, uint32_t index,
            const uint8_t *entry, struct error *err)
{
    uint64_t table = qcow2_get64(entry + QCOW2_BITMAP_TABLE_OFFSET);
    uint32_t entries = qcow2_get32(entry + QCOW2_BITMAP_TABLE_SIZE);
    uint32_t flags = qcow2_get32(entry + QCOW2_BITMAP_FLAGS);
    unsigned granularity = entry[QCOW2_BITMAP_GRANULARITY];
    unsigned cluster_bits = directory->header->info.cluster_bits;

    if (entry[QCOW2_BITMAP_TYPE] != QCOW2_BITMAP_TYPE_DIRTY)
        return corrupt(directory, index, "has an unknown type", err);
    if (flags & ~(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO |
                  QCOW2_BITMAP_EXTRA_COMPATIBLE))
        return corrupt(directory, index, "has unknown flags", err);
    if (granularity < GRANULARITY_BITS_MIN ||
        granularity > GRANULARITY_BITS_MAX)
        return corrupt(directory, index, "has an absurd granularity", err);
    if (table == 0 || table % ((uint64_t)1 << cluster_bits) != 0 ||
        entries == 0 || entries > QCOW2_BITMAP_TABLE_SIZE_MAX)
        return corrupt(directory, index, "has a wrong table", err);
    return 0;
}

/* Parse the entry at *at and move on behind it. */
static int
parse_entry(const struct directory *directory, uint32_t index, uint64_t *at,
            struct qcow2_bitmap *bitmap, struct error *err)
{
    const uint8_t *entry = directory->bytes + *at;
    uint64_t left = directory->size - *at;
    uint64_t name_size;
    uint64_t extra;
    uint64_t length;
    const char *name;

    if (left < QCOW2_BITMAP_ENTRY_SIZE)
        return corrupt(directory, index, "is past the directory's end", err);
    name_size = qcow2_get16(entry + QCOW2_BITMAP_NAME_SIZE);
    extra = qcow2_get32(entry + QCOW2_BITMAP_EXTRA_SIZE);
    length = QCOW2_BITMAP_ENTRY_SIZE + extra + name_size;
    length = (length + 7) & ~(uint64_t)7;
    if (name_size == 0 || name_size > QCOW2_BITMAP_NAME_MAX)
        return corrupt(directory, index, "has a name of wrong length", err);
    if (length > left)
        return corrupt(directory, index, "is past the directory's end", err);
    if (check_entry(directory, index, entry, err) < 0)
        return -1;
    name = (const char *)entry + QCOW2_BITMAP_ENTRY_SIZE + extra;
    if (memchr(name, '\0', name_size) != NULL)
        return corrupt(directory, index, "has a zero byte in its name", err);
    memcpy(bitmap->name, name, name_size);
    bitmap->name[name_size] = '\0';
    bitmap->in_use =
        qcow2_get32(entry + QCOW2_BITMAP_FLAGS) & QCOW2_BITMAP_IN_USE;
    bitmap->enabled =
        qcow2_get32(entry + QCOW2_BITMAP_FLAGS) & QCOW2_BITMAP_AUTO;
    bitmap->granularity_bits = entry[QCOW2_BITMAP_GRANULARITY];
    *at += length;
    return 0;
}

static int
parse_directory(const struct directory *directory,
                struct qcow2_bitmap **ret_bitmaps, size_t *ret_count,
                struct error *err)
{
    uint32_t count = directory->header->bitmaps;
    AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
    uint64_t at = 0;

    if (count > directory->size / QCOW2_BITMAP_ENTRY_SIZE)
        return corrupt(directory, count - 1, "is past the directory's end",
                       err);
    bitmaps = memory_try(count * sizeof(*bitmaps),
                         QCOW2_BITMAPS_MAX * sizeof(*bitmaps),
                         "a bitmap directory", err);
    if (bitmaps == NULL)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        if (parse_entry(directory, i, &at, &bitmaps[i], err) < 0)
            return -1;
    }
    if (at != directory->size)
        return corrupt(directory, count - 1, "does not end with the directory",
                       err);
    *ret_bitmaps = steal(&bitmaps);
    *ret_count = count;
    return 0;
}

static int
read_directory(struct image_file *file, struct qcow2_bitmap **ret_bitmaps,
               size_t *ret_count, struct error *err)
{
    struct qcow2_header header;
    struct directory directory = {.path = file->path, .header = &header};
    AUTO_FREE uint8_t *bytes = NULL;

    if (qcow2_header_read(file->fd, file->path, &header, err) < 0)
        return -1;
    *ret_bitmaps = NULL;
    *ret_count = 0;
    if (header.bitmaps == 0)
        return 0;
    directory.size = header.bitmaps_directory_size;
    /* In the file first: it bounds what is allocated. */
    if (!image_file_reaches(file,
                            header.bitmaps_directory_offset + directory.size))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the bitmap directory at %" PRIu64
                         " reaches past the end of the file",
                         file->path, header.bitmaps_directory_offset);
    bytes = memory_try((size_t)directory.size, QCOW2_BITMAPS_DIRECTORY_MAX,
                       "a bitmap directory", err);
    if (bytes == NULL ||
        image_file_read(file, bytes, (size_t)directory.size,
                        header.bitmaps_directory_offset, err) < 0)
        return -1;
    directory.bytes = bytes;
    return parse_directory(&directory, ret_bitmaps, ret_count, err);
}

int
qcow2_read_bitmaps(const char *path, struct qcow2_bitmap **ret_bitmaps,
                   size_t *ret_count, struct error *err)
{
    struct image_file file;
    int result;

    if (image_file_open(&file, path, 0, err) < 0)
        return -1;
    result = read_directory(&file, ret_bitmaps, ret_count, err);
    image_file_close(&file);
    return result;
}
