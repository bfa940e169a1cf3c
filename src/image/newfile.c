/* SPDX-License-Identifier: Apache-2.0 */
#include "image/newfile.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Owner before mode: a change of owner clears bits of the mode. */
static int
take_after(int fd, const char *path, const char *mode_like, struct error *err)
{
    struct stat like;
    struct stat own;

    if (stat(mode_like, &like) < 0)
        return error_set_errno(err, errno, "stat '%s'", mode_like);
    if (fstat(fd, &own) < 0)
        return error_set_errno(err, errno, "stat '%s'", path);
    if ((like.st_uid != own.st_uid || like.st_gid != own.st_gid) &&
        fchown(fd, like.st_uid, like.st_gid) < 0)
        return error_set_errno(err, errno, "give '%s' the owner of '%s'", path,
                               mode_like);
    if (fchmod(fd, like.st_mode & 0777) < 0 || fault_here("newfile.owner"))
        return error_set_errno(err, errno, "give '%s' the mode of '%s'", path,
                               mode_like);
    return 0;
}

/* Not every file system has O_DIRECT, and only fcntl() tells before data. */
static void
try_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_DIRECT); /* as well without */
}

int
newfile_create(const char *path, bool direct, const char *mode_like,
               struct error *err)
{
    AUTO_CLOSE int fd = -1;

    if (fault_here("newfile.create.space") ||
        (fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        return error_set_errno(err, errno, "create '%s'", path);
    if (mode_like != NULL && take_after(fd, path, mode_like, err) < 0) {
        newfile_discard(path);
        return -1;
    }
    if (direct)
        try_direct(fd);
    return steal_fd(&fd);
}

int
newfile_write(int fd, const void *buffer, size_t length, uint64_t offset,
              const char *what, struct error *err)
{
    int flags;

    if (fd_pwrite(fd, buffer, length, offset, what, err) == 0)
        return 0;
    if (err->sys != EINVAL)
        return -1;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_DIRECT) == 0 ||
        fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0)
        return -1;
    error_clear(err);
    return fd_pwrite(fd, buffer, length, offset, what, err);
}

void
newfile_discard(const char *path)
{
    (void)unlink(path); /* the first error is the one to tell */
}
