/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file has a descriptor that goes through the page cache; metadata is
 * read by it, since tables are small and come back.  With BLOCKDEV_DIRECT
 * there is a second one for guest data, unless the file system refuses.
 *
 * A direct read must be aligned in memory, file and length.  Where buffer and
 * offset are, whole blocks go straight into the caller's memory and the odd
 * tail goes through the page cache; otherwise everything is copied through
 * the bounce buffer.  A direct read that the kernel refuses all the same
 * (EINVAL: larger sectors than we know) is done by the other descriptor.
 */
#include "image/image_file.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ALIGNMENT_MASK ((uint64_t)IMAGE_FILE_ALIGNMENT - 1)

static int
read_size(int fd, const struct stat *about, const char *path,
          uint64_t *ret_size, struct error *err)
{
    if (S_ISREG(about->st_mode)) {
        *ret_size = (uint64_t)about->st_size;
        return 0;
    }
    if (!S_ISBLK(about->st_mode))
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' is neither a file nor a block device", path);
    if (ioctl(fd, BLKGETSIZE64, ret_size) < 0)
        return error_set_errno(err, errno, "ask the size of '%s'", path);
    return 0;
}

int
image_file_open(struct image_file *file, const char *path, unsigned flags,
                struct error *err)
{
    /* O_NONBLOCK: a fifo of that name must not make us wait. */
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    uint64_t size;

    if (fd < 0 || fault_here("image.open"))
        return error_set_errno(err, errno, "open '%s'", path);
    if (fstat(fd, &about) < 0)
        return error_set_errno(err, errno, "stat '%s'", path);
    if (read_size(fd, &about, path, &size, err) < 0)
        return -1;
    *file = (struct image_file){.about = about, .direct_fd = -1};
    atomic_init(&file->size, size);
    atomic_init(&file->bytes_read, 0);
    if (flags & BLOCKDEV_DIRECT)
        file->direct_fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    file->fd = steal_fd(&fd);
    file->path = xstrdup(path);
    return 0;
}

void
image_file_close(struct image_file *file)
{
    memory_cleanup_close(&file->fd);
    memory_cleanup_close(&file->direct_fd);
    free(file->path);
    file->fd = file->direct_fd = -1;
    file->path = NULL;
}

bool
image_file_is(const struct image_file *file, const struct stat *about)
{
    if (S_ISBLK(file->about.st_mode) && S_ISBLK(about->st_mode))
        return file->about.st_rdev == about->st_rdev;
    return file->about.st_dev == about->st_dev &&
           file->about.st_ino == about->st_ino;
}

bool
image_file_reaches(struct image_file *file, uint64_t end)
{
    struct stat about;
    uint64_t size;
    struct error ignored = ERROR_INIT;

    if (end <= atomic_load_explicit(&file->size, memory_order_relaxed))
        return true;
    if (fstat(file->fd, &about) < 0 ||
        read_size(file->fd, &about, file->path, &size, &ignored) < 0)
        return false;
    atomic_store_explicit(&file->size, size, memory_order_relaxed);
    return end <= size;
}

static void
count(struct image_file *file, size_t length)
{
    (void)atomic_fetch_add_explicit(&file->bytes_read, length,
                                    memory_order_relaxed);
}

int
image_file_read(struct image_file *file, void *buffer, size_t length,
                uint64_t offset, struct error *err)
{
    if (fault_here("image.read"))
        return error_set_errno(err, errno, "read '%s' at %llu", file->path,
                               (unsigned long long)offset);
    count(file, length);
    return fd_pread(file->fd, buffer, length, offset, file->path, err);
}

/* Whole blocks into aligned memory; stops early at the file's end. */
static int
read_direct(struct image_file *file, void *buffer, size_t length,
            uint64_t offset, size_t *ret_length, struct error *err)
{
    size_t done = 0;

    while (done < length) {
        ssize_t got = pread(file->direct_fd, (char *)buffer + done,
                            length - done, (int64_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL)
            return fd_pread_up_to(file->fd, buffer, length, offset, ret_length,
                                  file->path, err);
        if (got < 0)
            return error_set_errno(err, errno, "read '%s' at %llu", file->path,
                                   (unsigned long long)(offset + done));
        done += (size_t)got;
        if (got == 0 || ((uint64_t)got & ALIGNMENT_MASK) != 0)
            break;
    }
    *ret_length = done;
    return 0;
}

static int
read_bounced(struct image_file *file, void *buffer, size_t length,
             uint64_t offset, const struct image_file_bounce *bounce,
             struct error *err)
{
    size_t done = 0;

    while (done < length) {
        uint64_t start = (offset + done) & ~ALIGNMENT_MASK;
        size_t skip = (size_t)(offset + done - start);
        size_t want = MIN(length - done, bounce->capacity - skip);
        size_t whole = (skip + want + ALIGNMENT_MASK) & ~ALIGNMENT_MASK;
        size_t got;

        if (read_direct(file, bounce->bytes, whole, start, &got, err) < 0)
            return -1;
        if (got < skip + want)
            return error_set(err, ERROR_CORRUPT,
                             "'%s' ends at %llu, needed %zu bytes at %llu",
                             file->path, (unsigned long long)(start + got),
                             length, (unsigned long long)offset);
        memcpy((char *)buffer + done, (char *)bounce->bytes + skip, want);
        done += want;
    }
    return 0;
}

int
image_file_read_data(struct image_file *file, void *buffer, size_t length,
                     uint64_t offset, const struct image_file_bounce *bounce,
                     struct error *err)
{
    size_t whole = length & ~(size_t)ALIGNMENT_MASK;
    size_t got;

    if (file->direct_fd < 0)
        return image_file_read(file, buffer, length, offset, err);
    if (fault_here("image.read"))
        return error_set_errno(err, errno, "read '%s' at %llu", file->path,
                               (unsigned long long)offset);
    count(file, length);
    if ((((uintptr_t)buffer | offset) & ALIGNMENT_MASK) != 0)
        return read_bounced(file, buffer, length, offset, bounce, err);
    if (read_direct(file, buffer, whole, offset, &got, err) < 0)
        return -1;
    return got == length
               ? 0
               : fd_pread(file->fd, (char *)buffer + got, length - got,
                          offset + got, file->path, err);
}

void
image_file_map(struct image_file *file, uint64_t offset, uint64_t *ret_end,
               bool *ret_is_hole)
{
    uint64_t size = atomic_load_explicit(&file->size, memory_order_relaxed);
    int64_t data;
    int64_t hole;

    *ret_end = size;
    *ret_is_hole = false;
    if (!S_ISREG(file->about.st_mode))
        return;
    data = lseek(file->fd, (int64_t)offset, SEEK_DATA);
    if (data < 0) {
        /* ENXIO: nothing but a hole up to the end of the file. */
        *ret_is_hole = errno == ENXIO;
        return;
    }
    if ((uint64_t)data > offset) {
        *ret_is_hole = true;
        *ret_end = MIN((uint64_t)data, size);
        return;
    }
    hole = lseek(file->fd, (int64_t)offset, SEEK_HOLE);
    if (hole >= 0 && (uint64_t)hole > offset)
        *ret_end = MIN((uint64_t)hole, size);
}
