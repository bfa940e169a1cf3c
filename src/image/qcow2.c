/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about one file: its header, and which ranges it decides itself.
 */
#include "image/qcow2.h"

#include "base/memory.h"
#include "image/qcow2_header.h"
#include "image/qcow2_image.h"

int
qcow2_read_info(const char *path, struct qcow2_info *ret_info,
                struct error *err)
{
    struct image_file file;
    struct qcow2_header header;
    int result;

    if (image_file_open(&file, path, 0, err) < 0)
        return -1;
    result = qcow2_header_read(file.fd, path, &header, err);
    image_file_close(&file);
    if (result == 0)
        *ret_info = header.info;
    return result;
}

int
qcow2_contents(const char *path, struct extents *ret_set,
               struct extents *ret_zeros, struct error *err)
{
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
    AUTO_QCOW2_IMAGE struct qcow2_image *image =
        qcow2_image_open(path, QCOW2_IMAGE_DIRTY_OK, err);
    uint64_t size;

    if (image == NULL)
        return -1;
    size = qcow2_image_size(image);
    for (uint64_t offset = 0; offset < size;) {
        struct qcow2_run run;

        if (qcow2_image_lookup(image, offset, size - offset, &run, err) < 0)
            return -1;
        if (run.kind != QCOW2_UNALLOCATED)
            extents_add(&set, offset, run.length);
        if (run.kind == QCOW2_ZERO)
            extents_add(&zeros, offset, run.length);
        offset += run.length;
    }
    extents_union(ret_set, &set);
    extents_union(ret_zeros, &zeros);
    return 0;
}

int
qcow2_allocated(const char *path, struct extents *ret_set, struct error *err)
{
    AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;

    return qcow2_contents(path, ret_set, &zeros, err);
}
