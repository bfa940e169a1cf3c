/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening reads the header and the part of the L1 table that the disk's size
 * needs (at most 32 MiB; it must be in the file, so that a small file cannot
 * make us allocate much).  Every L1 entry is checked here, once; L2 entries
 * are checked when they are looked at.
 *
 * No two L1 entries may share an L2 table.  QEMU never makes such an image,
 * and it would let a few kilobytes stand for a disk of 64 TiB in which every
 * other cluster is data, whose map would not fit into memory.
 */
#include "image/qcow2_image.h"

#include "base/memory.h"
#include "image/blockdev.h"
#include "image/qcow2_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

_Static_assert(QCOW2_IMAGE_DIRECT == BLOCKDEV_DIRECT, "the same flag");

static int
check_usable(const struct qcow2_image *image, unsigned flags, struct error *err)
{
    const struct qcow2_info *info = &image->header.info;
    const char *path = image->file.path;

    if (info->encrypted)
        return error_set(err, ERROR_UNSUPPORTED, "'%s' is encrypted", path);
    if (info->data_file)
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' keeps its data in another file", path);
    if (info->corrupt && !(flags & QCOW2_IMAGE_CORRUPT_OK))
        return error_set(err, ERROR_CORRUPT,
                         "'%s' is marked corrupt; 'qemu-img check -r all' may "
                         "repair it",
                         path);
    if (info->dirty && !(flags & QCOW2_IMAGE_DIRTY_OK))
        return error_set(err, ERROR_CORRUPT,
                         "'%s' was not closed cleanly; 'qemu-img check -r all' "
                         "repairs it",
                         path);
    return 0;
}

static bool
overlap(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

/* The places of L1 and refcount table: in the file, and apart. */
static int
check_places(struct qcow2_image *image, struct error *err)
{
    const struct qcow2_header *header = &image->header;
    uint64_t reftable_bytes = header->reftable_clusters * image->cluster_size;
    uint64_t l1_bytes = image->l1_count * sizeof(uint64_t);

    if (!image_file_reaches(&image->file, header->reftable_offset + 1))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the refcount table at %" PRIu64
                         " is past the end of the file",
                         image->file.path, header->reftable_offset);
    if (l1_bytes == 0)
        return 0;
    if (!image_file_reaches(&image->file, header->l1_offset + l1_bytes))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the L1 table at %" PRIu64 " with %" PRIu64
                         " bytes reaches past the end of the file",
                         image->file.path, header->l1_offset, l1_bytes);
    if (overlap(header->l1_offset, l1_bytes, header->reftable_offset,
                reftable_bytes))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': L1 table and refcount table overlap at "
                         "%" PRIu64,
                         image->file.path, header->l1_offset);
    return 0;
}

static int
check_l1_entry(struct qcow2_image *image, size_t index, struct error *err)
{
    const struct qcow2_header *header = &image->header;
    uint64_t entry = image->l1[index];
    uint64_t offset = entry & QCOW2_OFFSET_MASK;
    const char *reason = NULL;

    if ((entry & QCOW2_L1_RESERVED) != 0)
        reason = "has reserved bits set";
    else if (offset % image->cluster_size != 0)
        reason = "is not aligned";
    else if (offset != 0 &&
             !image_file_reaches(&image->file, offset + image->cluster_size))
        reason = "is past the end of the file";
    else if (offset != 0 &&
             overlap(offset, image->cluster_size, header->l1_offset,
                     image->l1_count * sizeof(uint64_t)))
        reason = "overlaps the L1 table";
    else if (offset != 0 &&
             overlap(offset, image->cluster_size, header->reftable_offset,
                     header->reftable_clusters * image->cluster_size))
        reason = "overlaps the refcount table";
    if (reason != NULL)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the L2 table of L1 entry %zu (0x%" PRIx64
                         ") %s",
                         image->file.path, index, entry, reason);
    return 0;
}

static int
compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static int
check_shared_tables(const struct qcow2_image *image, struct error *err)
{
    AUTO_FREE uint64_t *used = NULL;
    size_t count = 0;

    used = memory_try(image->l1_count * sizeof(uint64_t), QCOW2_L1_BYTES_MAX,
                      "an L1 table", err);
    if (used == NULL)
        return -1;
    for (size_t i = 0; i < image->l1_count; i++) {
        uint64_t offset = image->l1[i] & QCOW2_OFFSET_MASK;

        if (offset != 0)
            used[count++] = offset;
    }
    qsort(used, count, sizeof(*used), compare_numbers);
    for (size_t i = 1; i < count; i++) {
        if (used[i] == used[i - 1])
            return error_set(err, ERROR_CORRUPT,
                             "'%s': two L1 entries share the L2 table at "
                             "%" PRIu64,
                             image->file.path, used[i]);
    }
    return 0;
}

static int
load_l1(struct qcow2_image *image, struct error *err)
{
    size_t bytes = image->l1_count * sizeof(uint64_t);

    image->l1 = memory_try(bytes, QCOW2_L1_BYTES_MAX, "an L1 table", err);
    if (image->l1 == NULL)
        return -1;
    if (bytes > 0 && image_file_read(&image->file, image->l1, bytes,
                                     image->header.l1_offset, err) < 0)
        return -1;
    for (size_t i = 0; i < image->l1_count; i++) {
        image->l1[i] = be64toh(image->l1[i]);
        if (check_l1_entry(image, i, err) < 0)
            return -1;
    }
    return check_shared_tables(image, err);
}

static void
set_geometry(struct qcow2_image *image)
{
    const struct qcow2_header *header = &image->header;
    unsigned entry_bits = header->info.extended_l2 ? 4 : 3;
    unsigned slice_bytes_bits =
        MIN(header->info.cluster_bits,
            (unsigned)__builtin_ctzll(L2_CACHE_SLICE_MAX));

    image->cluster_bits = header->info.cluster_bits;
    image->cluster_size = (uint64_t)1 << image->cluster_bits;
    image->l2_bits = 2 * image->cluster_bits - entry_bits;
    image->slice_bits = slice_bytes_bits - entry_bits + image->cluster_bits;
    image->slice_l2_bits = image->cluster_bits - slice_bytes_bits;
    image->l1_count = (size_t)qcow2_header_l1_needed(header);
    l2_cache_init(&image->l2, (size_t)1 << slice_bytes_bits,
                  (uint64_t)image->l1_count << image->slice_l2_bits);
}

struct qcow2_image *
qcow2_image_open(const char *path, unsigned flags, struct error *err)
{
    AUTO_QCOW2_IMAGE struct qcow2_image *image = xcalloc(1, sizeof(*image));

    image->file.fd = image->file.direct_fd = -1;
    if (image_file_open(&image->file, path, flags & QCOW2_IMAGE_DIRECT, err) <
            0 ||
        qcow2_header_read(image->file.fd, path, &image->header, err) < 0 ||
        check_usable(image, flags, err) < 0)
        return NULL;
    set_geometry(image);
    if (check_places(image, err) < 0 || load_l1(image, err) < 0)
        return NULL;
    return steal(&image);
}

void
qcow2_image_free(struct qcow2_image *image)
{
    if (image == NULL)
        return;
    l2_cache_release(&image->l2);
    image_file_close(&image->file);
    free(image->l1);
    free(image);
}

void
qcow2_image_cleanup(struct qcow2_image **image)
{
    qcow2_image_free(*image);
}
