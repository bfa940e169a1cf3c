/* SPDX-License-Identifier: Apache-2.0 */
#include "image/commit_refusal.h"

#include "base/memory.h"
#include "image/qcow2_header.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A backing name is switched safely in clusters of 4 KiB and more. */
#define ROOM_BITS 12u

static const struct {
    const char *name;
    const char *text;
    bool is_for_qemu;
} refusals[COMMIT_REFUSAL_COUNT] = {
    [COMMIT_REFUSAL_NONE] = {"none", "nothing is against it", false},
    [COMMIT_REFUSAL_SNAPSHOTS] = {"internal-snapshots",
                                  "it has internal snapshots", true},
    [COMMIT_REFUSAL_SHARED] = {"shared-clusters",
                               "clusters of it are in use more than once",
                               true},
    [COMMIT_REFUSAL_DATA_FILE] = {"data-file", "its data are in another file",
                                  true},
    [COMMIT_REFUSAL_ENCRYPTED] = {"encrypted", "it is encrypted", false},
    [COMMIT_REFUSAL_DIRTY] = {"dirty",
                              "it was not closed (qemu-img check repairs it)",
                              true},
    [COMMIT_REFUSAL_CORRUPT] = {"corrupt",
                                "it is marked as corrupt (qemu-img check may "
                                "repair it)",
                                false},
    [COMMIT_REFUSAL_BITMAP] = {"enabled-bitmap",
                               "a bitmap in it records changes", true},
    [COMMIT_REFUSAL_BITMAP_RESIZE] = {"bitmap-resize",
                                      "it has bitmaps, and its size changes",
                                      true},
    [COMMIT_REFUSAL_FEATURE] = {"unknown-feature",
                                "it needs a feature that is not known", false},
    [COMMIT_REFUSAL_TABLES] = {"table-limit",
                               "its clusters are too small for such a disk",
                               false},
    [COMMIT_REFUSAL_HEADER_ROOM] = {"header-room",
                                    "its clusters are too small for two "
                                    "backing names",
                                    false},
    [COMMIT_REFUSAL_DEVICE_SIZE] = {"device-size",
                                    "the device is smaller than the disk",
                                    false},
};

const char *
commit_refusal_name(enum commit_refusal refusal)
{
    assert(refusal < COMMIT_REFUSAL_COUNT);
    return refusals[refusal].name;
}

const char *
commit_refusal_text(enum commit_refusal refusal)
{
    assert(refusal < COMMIT_REFUSAL_COUNT);
    return refusals[refusal].text;
}

bool
commit_refusal_is_for_qemu(enum commit_refusal refusal)
{
    assert(refusal < COMMIT_REFUSAL_COUNT);
    return refusals[refusal].is_for_qemu;
}

int
commit_refusal_set(enum commit_refusal refusal, const char *path,
                   enum commit_refusal *ret_refusal, struct error *err)
{
    *ret_refusal = refusal;
    return error_set(err,
                     refusal == COMMIT_REFUSAL_CORRUPT ? ERROR_CORRUPT
                                                       : ERROR_UNSUPPORTED,
                     "'%s' cannot be changed in place: %s", path,
                     commit_refusal_text(refusal));
}

int
commit_refusal_header(const struct qcow2_header *header, const char *path,
                      enum commit_use use, enum commit_refusal *ret_refusal,
                      struct error *err)
{
    const struct qcow2_info *info = &header->info;
    enum commit_refusal refusal = COMMIT_REFUSAL_NONE;

    if (info->corrupt)
        refusal = COMMIT_REFUSAL_CORRUPT;
    else if (info->encrypted)
        refusal = COMMIT_REFUSAL_ENCRYPTED;
    else if (info->data_file)
        refusal = COMMIT_REFUSAL_DATA_FILE;
    else if (info->dirty)
        refusal = COMMIT_REFUSAL_DIRTY;
    else if (use != COMMIT_USE_READ && info->snapshots != 0)
        refusal = COMMIT_REFUSAL_SNAPSHOTS;
    else if (use == COMMIT_USE_KEEP && info->cluster_bits < ROOM_BITS)
        refusal = COMMIT_REFUSAL_HEADER_ROOM;
    if (refusal == COMMIT_REFUSAL_NONE)
        return 0;
    return commit_refusal_set(refusal, path, ret_refusal, err);
}

int
commit_refusal_bitmaps(const char *path, size_t *ret_count,
                       enum commit_refusal *ret_refusal, struct error *err)
{
    AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
    size_t count = 0;

    if (qcow2_read_bitmaps(path, &bitmaps, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (bitmaps[i].enabled && !bitmaps[i].in_use)
            return commit_refusal_set(COMMIT_REFUSAL_BITMAP, path, ret_refusal,
                                      err);
    }
    *ret_count = count;
    return 0;
}

int
commit_refusal_qcow2(const char *path, enum commit_use use,
                     struct qcow2_info *ret_info,
                     enum commit_refusal *ret_refusal, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct qcow2_header header;
    size_t bitmaps;

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (qcow2_header_read(fd, path, &header, err) < 0) {
        if (err->code == ERROR_UNSUPPORTED)
            *ret_refusal = COMMIT_REFUSAL_FEATURE;
        return -1;
    }
    if (commit_refusal_header(&header, path, use, ret_refusal, err) < 0)
        return -1;
    if (use == COMMIT_USE_CHANGE && header.info.has_bitmaps &&
        commit_refusal_bitmaps(path, &bitmaps, ret_refusal, err) < 0)
        return -1;
    *ret_info = header.info;
    return 0;
}

int
commit_refusal_raw(const char *path, uint64_t size,
                   enum commit_refusal *ret_refusal, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    int64_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (end < 0 || fstat(fd, &about) < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (S_ISBLK(about.st_mode) && (uint64_t)end < size)
        return commit_refusal_set(COMMIT_REFUSAL_DEVICE_SIZE, path, ret_refusal,
                                  err);
    return 0;
}
