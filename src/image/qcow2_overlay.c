/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An empty layer is four things: layout, refcount table, one refcount block,
 * L1 table; each starts its own cluster, and the L1 is all zero.  Only the
 * bytes that are not zero are written, so that the cost is two syncs: this
 * runs just before a guest is paused, and qemu-img would take 20 ms.
 *
 * A crash in between leaves a name that nobody refers to yet; the header is
 * written after the rest, but both rest on the same sync.
 */
#include "image/qcow2.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/newfile.h"
#include "image/qcow2_format.h"
#include "image/qcow2_layout.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLUSTER ((size_t)1 << QCOW2_CLUSTER_BITS_DEFAULT)

enum cluster_use { HEADER, REFTABLE, REFBLOCK, L1 };

static int
write_cluster(int fd, const void *bytes, size_t length, enum cluster_use use,
              const char *path, struct error *err)
{
    if (fault_here("overlay.write.space"))
        return error_set_errno(err, errno, "write '%s'", path);
    return fd_pwrite(fd, bytes, length, use * CLUSTER, path, err);
}

static int
write_image(int fd, const char *path, const struct qcow2_layout *layout,
            uint64_t clusters, struct error *err)
{
    AUTO_FREE uint8_t *bytes = xcalloc(1, CLUSTER);
    uint8_t pointer[sizeof(uint64_t)];

    if (ftruncate(fd, (off_t)(clusters * CLUSTER)) < 0)
        return error_set_errno(err, errno, "grow '%s'", path);
    for (uint64_t i = 0; i < clusters; i++)
        qcow2_put16(bytes + i * sizeof(uint16_t), 1);
    if (write_cluster(fd, bytes, clusters * sizeof(uint16_t), REFBLOCK, path,
                      err) < 0)
        return -1;
    qcow2_put64(pointer, REFBLOCK * CLUSTER);
    if (write_cluster(fd, pointer, sizeof(pointer), REFTABLE, path, err) < 0)
        return -1;
    memset(bytes, 0, CLUSTER);
    qcow2_layout_header(layout, bytes);
    return write_cluster(fd, bytes, NEWFILE_ALIGN, HEADER, path, err);
}

static int
write_and_sync(int fd, const char *path, const struct qcow2_layout *layout,
               uint64_t clusters, struct error *err)
{
    if (write_image(fd, path, layout, clusters, err) < 0)
        return -1;
    if (fsync(fd) < 0 || fault_here("overlay.sync"))
        return error_set_errno(err, errno, "sync '%s'", path);
    return fd_sync_parent(path, err);
}

int
qcow2_create_overlay(const char *path, uint64_t size, const char *backing_name,
                     enum image_format backing_format, const char *mode_like,
                     struct error *err)
{
    uint64_t entries =
        qcow2_layout_l1_entries(size, QCOW2_CLUSTER_BITS_DEFAULT);
    uint64_t l1_clusters = (entries * sizeof(uint64_t) + CLUSTER - 1) / CLUSTER;
    struct qcow2_layout layout = {
        .size = size,
        .cluster_bits = QCOW2_CLUSTER_BITS_DEFAULT,
        .backing_name = backing_name,
        .backing_format = backing_format,
        .compression = QCOW2_ZLIB,
        .l1_offset = L1 * CLUSTER,
        .l1_entries = entries,
        .reftable_offset = REFTABLE * CLUSTER,
        .reftable_clusters = 1,
    };
    AUTO_CLOSE int fd = -1;

    if (qcow2_layout_check(&layout, err) < 0)
        return error_prefix(err, "create '%s'", path);
    fd = newfile_create(path, false, mode_like, err);
    if (fd < 0)
        return -1;
    if (write_and_sync(fd, path, &layout, L1 + l1_clusters, err) < 0) {
        newfile_discard(path);
        return -1;
    }
    return 0;
}
