/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new backing name in an existing header.
 *
 * The first cluster holds the header (first sector), extensions, and the
 * backing name.  Header and extensions are built anew in memory: all
 * extensions in their order, with the backing format's replaced or put in
 * front, so that it stays in the first sector.
 *
 * Disks write sectors whole, not clusters.  So that a power cut leaves the
 * old or the new name, the new name goes where the old one does not stand,
 * behind the first sector; it is synced, and then the first sector is
 * switched over by one write.  That needs extensions behind the first sector
 * to stay as they are.  Where they would move (an image without a format gets
 * one), the feature name table, which serves messages only, is left out.
 *
 * Only tiny clusters have no room for two names; they are written at once.
 */
#include "image/qcow2.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/imagelock.h"
#include "image/qcow2_format.h"
#include "image/qcow2_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

struct rebase {
    int fd;
    const char *path;
    const char *name; /* NULL for none */
    const char *format;
    struct qcow2_header header;
    size_t size;  /* of a cluster */
    uint8_t *old; /* owned; the first cluster */
    uint8_t *new; /* owned */
    size_t end;   /* of the extensions in `new` */
};

static bool
add_extension(struct rebase *rebase, uint32_t type, const void *data,
              size_t length)
{
    size_t padded = (length + 7) & ~(size_t)7;

    /* Behind it, the end mark needs 8 bytes. */
    if (rebase->size - rebase->end < 8 + padded + 8)
        return false;
    qcow2_put32(rebase->new + rebase->end, type);
    qcow2_put32(rebase->new + rebase->end + 4, (uint32_t)length);
    if (length > 0)
        memcpy(rebase->new + rebase->end + 8, data, length);
    rebase->end += 8 + padded;
    return true;
}

/* Build header and extensions; the backing fields are set later. */
static bool
build(struct rebase *rebase, bool with_names)
{
    /* Behind the end of the header and its extensions the old cluster holds
     * the old name, which must not be taken for an extension. */
    size_t limit = rebase->header.backing_offset != 0
                       ? (size_t)rebase->header.backing_offset
                       : rebase->size;
    size_t at = rebase->header.length;

    memset(rebase->new, 0, rebase->size);
    memcpy(rebase->new, rebase->old, rebase->header.length);
    rebase->end = rebase->header.length;
    if (rebase->name != NULL &&
        !add_extension(rebase, QCOW2_EXTENSION_BACKING_FORMAT, rebase->format,
                       strlen(rebase->format)))
        return false;
    while (limit - at >= 8) {
        uint32_t type = qcow2_get32(rebase->old + at);
        size_t length = qcow2_get32(rebase->old + at + 4);

        at += 8;
        if (type == QCOW2_EXTENSION_END || length > limit - at)
            break;
        if (type != QCOW2_EXTENSION_BACKING_FORMAT &&
            (type != QCOW2_EXTENSION_FEATURE_NAMES || with_names) &&
            !add_extension(rebase, type, rebase->old + at, length))
            return false;
        at = MIN(limit, at + ((length + 7) & ~(size_t)7));
    }
    rebase->end += 8; /* the end mark: zeros */
    return rebase->name == NULL ||
           rebase->size - rebase->end >= strlen(rebase->name);
}

/* True when extensions behind the first sector would not stay. */
static bool
moves_extensions(const struct rebase *rebase)
{
    return rebase->end > SECTOR &&
           memcmp(rebase->new + SECTOR, rebase->old + SECTOR,
                  rebase->end - SECTOR) != 0;
}

/*
 * Where the new name goes.  True when it can be there together with the old
 * header, which is then switched by its first sector alone.
 */
static bool
place_name(const struct rebase *rebase, size_t *ret_at)
{
    size_t length = rebase->name != NULL ? strlen(rebase->name) : 0;
    size_t old = (size_t)rebase->header.backing_offset;
    size_t old_end = old + rebase->header.backing_size;
    size_t at = MAX(rebase->end, (size_t)SECTOR);

    *ret_at = rebase->end;
    if (moves_extensions(rebase))
        return false;
    if (old < at + length && at < old_end)
        at = old_end;
    if (at + length > rebase->size)
        return false;
    *ret_at = at;
    return true;
}

/* Returns what place_name says. */
static bool
set_name(struct rebase *rebase, size_t *ret_at, size_t *ret_length)
{
    bool apart = place_name(rebase, ret_at);
    size_t at = *ret_at;
    size_t length = 0;

    if (rebase->name != NULL) {
        length = strlen(rebase->name);
        memcpy(rebase->new + at, rebase->name, length);
    } else {
        at = 0;
    }
    qcow2_put64(rebase->new + QCOW2_HEADER_BACKING_OFFSET, at);
    qcow2_put32(rebase->new + QCOW2_HEADER_BACKING_SIZE, (uint32_t)length);
    if (rebase->header.info.version >= 3)
        qcow2_put64(rebase->new + QCOW2_HEADER_AUTOCLEAR,
                    rebase->header.autoclear & (QCOW2_AUTOCLEAR_BITMAPS |
                                                QCOW2_AUTOCLEAR_RAW_EXTERNAL));
    *ret_length = length;
    return apart;
}

static int
write_part(struct rebase *rebase, size_t from, size_t to, struct error *err)
{
    if (from >= to)
        return 0;
    if (fault_here("qcow2-rebase.write"))
        return error_set_errno(err, errno, "write '%s'", rebase->path);
    if (fd_pwrite(rebase->fd, rebase->new + from, to - from, from, rebase->path,
                  err) < 0)
        return -1;
    return fd_sync(rebase->fd, rebase->path, err);
}

static int
write_all(struct rebase *rebase, struct error *err)
{
    size_t at;
    size_t length;

    if (!set_name(rebase, &at, &length))
        return write_part(rebase, 0, MAX(rebase->end, at + length), err);
    if (write_part(rebase, at, at + length, err) < 0)
        return -1;
    return write_part(rebase, 0, MIN(rebase->size, (size_t)SECTOR), err);
}

static int
build_any(struct rebase *rebase, struct error *err)
{
    if (build(rebase, true) && !moves_extensions(rebase))
        return 0;
    if (build(rebase, false))
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
                     "'%s': clusters of %zu bytes have no room for the "
                     "backing name '%s'",
                     rebase->path, rebase->size, rebase->name);
}

static int
rebase_open(struct rebase *rebase, struct error *err)
{
    const char *path = rebase->path;

    if (imagelock_take(rebase->fd, IMAGELOCK_WRITE, path, err) < 0 ||
        qcow2_header_read(rebase->fd, path, &rebase->header, err) < 0)
        return -1;
    if (rebase->header.info.corrupt)
        return error_set(err, ERROR_CORRUPT, "'%s' is marked as corrupt", path);
    rebase->size = (size_t)1 << rebase->header.info.cluster_bits;
    rebase->old = xcalloc(1, rebase->size);
    rebase->new = xcalloc(1, rebase->size);
    return fd_pread(rebase->fd, rebase->old, rebase->size, 0, path, err);
}

int
qcow2_rebase_unsafe(const char *path, const char *backing_name,
                    enum image_format backing_format, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    AUTO_FREE uint8_t *old = NULL;
    AUTO_FREE uint8_t *new = NULL;
    struct rebase rebase = {
        .fd = fd,
        .path = path,
        .name = backing_name,
        .format = image_format_name(backing_format),
    };
    int result;

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s' for writing", path);
    if (backing_name != NULL && (backing_name[0] == '\0' ||
                                 strlen(backing_name) > QCOW2_BACKING_NAME_MAX))
        return error_set(err, ERROR_INVALID,
                         "'%s': a backing name has 1 to %d bytes", path,
                         QCOW2_BACKING_NAME_MAX);
    result = rebase_open(&rebase, err);
    old = rebase.old;
    new = rebase.new;
    if (result < 0)
        return -1;
    if (build_any(&rebase, err) < 0)
        return -1;
    return write_all(&rebase, err);
}
