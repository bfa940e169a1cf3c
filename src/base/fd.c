/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/uuid.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int
fd_pread_up_to(int fd, void *buffer, size_t length, uint64_t offset,
               size_t *ret_length, const char *what, struct error *err)
{
    char *next = buffer;
    size_t done = 0;

    while (done < length) {
        ssize_t got =
            pread(fd, next + done, length - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, errno, "read '%s' at %" PRIu64, what,
                                   offset + done);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_length = done;
    return 0;
}

int
fd_pread(int fd, void *buffer, size_t length, uint64_t offset, const char *what,
         struct error *err)
{
    size_t got;

    if (fd_pread_up_to(fd, buffer, length, offset, &got, what, err) < 0)
        return -1;
    if (got < length)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' ends at %" PRIu64
                         ", needed %zu bytes at %" PRIu64,
                         what, offset + got, length, offset);
    return 0;
}

int
fd_pwrite(int fd, const void *buffer, size_t length, uint64_t offset,
          const char *what, struct error *err)
{
    const char *next = buffer;
    size_t done = 0;

    while (done < length) {
        ssize_t put =
            pwrite(fd, next + done, length - done, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return error_set_errno(err, put < 0 ? errno : EIO,
                                   "write '%s' at %" PRIu64, what,
                                   offset + done);
        done += (size_t)put;
    }
    return 0;
}

int
fd_sync(int fd, const char *what, struct error *err)
{
    if (fdatasync(fd) < 0 || fault_here("fd.sync"))
        return error_set_errno(err, errno, "sync '%s'", what);
    return 0;
}

int
fd_size(int fd, uint64_t *ret_size, const char *what, struct error *err)
{
    struct stat about;

    if (fstat(fd, &about) < 0)
        return error_set_errno(err, errno, "stat '%s'", what);
    *ret_size = (uint64_t)about.st_size;
    return 0;
}

int
fd_read_file(const char *path, size_t max, char **ret_text, size_t *ret_length,
             struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FREE char *text = NULL;
    uint64_t size;
    size_t got;

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (fd_size(fd, &size, path, err) < 0)
        return -1;
    /* Files of /proc say 0; read up to the maximum there. */
    if (size == 0)
        size = MIN(max, (size_t)65536);
    if (size > max)
        return error_set(err, ERROR_INVALID,
                         "'%s' has %llu bytes, more than the %zu allowed", path,
                         (unsigned long long)size, max);
    text = memory_try((size_t)size + 1, max + 1, path, err);
    if (text == NULL)
        return -1;
    if (fd_pread_up_to(fd, text, (size_t)size, 0, &got, path, err) < 0)
        return -1;
    text[got] = '\0';
    if (ret_length != NULL)
        *ret_length = got;
    *ret_text = steal(&text);
    return 0;
}

int
fd_sync_parent(const char *path, struct error *err)
{
    AUTO_FREE char *parent = path_parent(path);
    AUTO_CLOSE int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "open directory '%s'", parent);
    if (fsync(fd) < 0 || fault_here("fd.sync-parent"))
        return error_set_errno(err, errno, "sync directory '%s'", parent);
    return 0;
}

static int
write_temporary(const char *path, const void *bytes, size_t length, mode_t mode,
                struct error *err)
{
    AUTO_CLOSE int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return error_set_errno(err, errno, "create '%s'", path);
    if (fd_pwrite(fd, bytes, length, 0, path, err) < 0)
        return -1;
    if (fsync(fd) < 0 || fault_here("fd.replace-sync"))
        return error_set_errno(err, errno, "sync '%s'", path);
    return 0;
}

int
fd_replace_file(const char *path, const void *bytes, size_t length, mode_t mode,
                struct error *err)
{
    struct uuid unique;
    AUTO_FREE char *temporary = NULL;

    uuid_new(&unique);
    temporary = xasprintf("%s.%.8s.tmp", path, unique.text);
    if (write_temporary(temporary, bytes, length, mode, err) < 0) {
        (void)unlink(temporary); /* the first error is the one to tell */
        return -1;
    }
    if (fault_here("fd.replace-rename") || rename(temporary, path) < 0) {
        int sys = errno;

        (void)unlink(temporary); /* the first error is the one to tell */
        return error_set_errno(err, sys, "rename '%s' to '%s'", temporary,
                               path);
    }
    return fd_sync_parent(path, err);
}

int
fd_unlink(const char *path, struct error *err)
{
    if (fault_here("fd.unlink"))
        return error_set_errno(err, errno, "unlink '%s'", path);
    /* Gone already: who removed it may have died before it was durable. */
    if (unlink(path) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "unlink '%s'", path);
    if (fd_sync_parent(path, err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err); /* with its directory: nothing is left to sync */
    return 0;
}

bool
fd_exists(const char *path)
{
    struct stat about;

    return lstat(path, &about) == 0;
}

/* The name of a directory that was there: whoever made it may have died
 * before it was durable.  Where we may not look nobody of us made it. */
static int
sync_existing(const char *path, struct error *err)
{
    if (fd_sync_parent(path, err) == 0)
        return 0;
    if (err->sys != EACCES)
        return -1;
    error_clear(err);
    return 0;
}

int
fd_make_directories(const char *path, mode_t mode, struct error *err)
{
    AUTO_FREE char *partial = xstrdup(path);
    AUTO_FREE char *existing = NULL;

    for (char *end = partial; *end != '\0';) {
        char kept;

        end += strspn(end, "/");
        end += strcspn(end, "/");
        kept = *end;
        *end = '\0';
        if (mkdir(partial, mode) == 0) {
            if (fd_sync_parent(partial, err) < 0)
                return -1;
        } else if (errno != EEXIST) {
            return error_set_errno(err, errno, "make directory '%s'", partial);
        } else {
            free(existing);
            existing = xstrdup(partial);
        }
        *end = kept;
    }
    /* One that died in here died at the deepest: above it all is durable. */
    return existing != NULL ? sync_existing(existing, err) : 0;
}

int
fd_free_space(const char *path, uint64_t *ret_bytes, struct error *err)
{
    struct statvfs about;

    if (statvfs(path, &about) < 0)
        return error_set_errno(err, errno, "free space of '%s'", path);
    *ret_bytes = (uint64_t)about.f_bavail * about.f_frsize;
    return 0;
}

int
fd_allocated(const char *path, uint64_t *ret_bytes, struct error *err)
{
    struct stat about;

    if (stat(path, &about) < 0)
        return error_set_errno(err, errno, "stat '%s'", path);
    *ret_bytes = (uint64_t)about.st_blocks * 512;
    return 0;
}
