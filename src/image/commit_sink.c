/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A merge moves much that nobody reads soon.  Through the page cache each
 * byte would be copied once more and push out what running machines need; so
 * whole blocks go past it, by a second descriptor of the same file that is
 * reached through /proc (the name may lead elsewhere by now, and a lock hangs
 * on the first descriptor alone).
 *
 * What is not aligned, and what the kernel refuses (EINVAL: larger blocks than
 * we know), goes through the page cache.  The kernel keeps both views of a
 * file together as long as nobody maps it.  There the final sync shall not
 * find everything dirty, so write-back is asked for at once
 * (sync_file_range, which promises nothing and waits for nothing).
 */
#include "image/commit_sink.h"

#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void
commit_sink_open(struct commit_sink *sink, int fd, const char *path,
                 bool direct)
{
    char name[64];

    *sink = (struct commit_sink){.fd = fd, .direct_fd = -1, .path = path};
    if (!direct)
        return;
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    sink->direct_fd = open(name, O_WRONLY | O_CLOEXEC | O_DIRECT);
}

void
commit_sink_close(struct commit_sink *sink)
{
    memory_cleanup_close(&sink->direct_fd);
    sink->direct_fd = -1;
}

/* 1 when all was written, 0 when it cannot be done so, -1. */
static int
write_direct(const struct commit_sink *sink, const void *bytes, size_t length,
             uint64_t offset, struct error *err)
{
    size_t done = 0;

    if (sink->direct_fd < 0 ||
        (((uintptr_t)bytes | length | offset) & (COMMIT_SINK_ALIGNMENT - 1)))
        return 0;
    while (done < length) {
        ssize_t put = pwrite(sink->direct_fd, (const char *)bytes + done,
                             length - done, (int64_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EINVAL)
            return 0;
        if (put < 0)
            return error_set_errno(err, errno, "write '%s' at %llu", sink->path,
                                   (unsigned long long)(offset + done));
        /* Less than a block was written: the other way tells why. */
        if (((size_t)put & (COMMIT_SINK_ALIGNMENT - 1)) != 0 || put == 0)
            return 0;
        done += (size_t)put;
    }
    return 1;
}

int
commit_sink_write(const struct commit_sink *sink, const void *bytes,
                  size_t length, uint64_t offset, struct error *err)
{
    int result = write_direct(sink, bytes, length, offset, err);

    if (result != 0)
        return result < 0 ? -1 : 0;
    if (fd_pwrite(sink->fd, bytes, length, offset, sink->path, err) < 0)
        return -1;
    (void)sync_file_range(sink->fd, (off_t)offset, (off_t)length,
                          SYNC_FILE_RANGE_WRITE); /* a hint */
    return 0;
}
