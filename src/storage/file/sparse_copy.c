/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/file/sparse_copy.h"

#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#define STEP ((uint64_t)1 << 20)

static int
copy_data(int from, int to, uint64_t start, uint64_t end, const char *what,
          struct error *err)
{
    AUTO_FREE void *buffer = xmalloc(STEP);

    for (uint64_t at = start; at < end;) {
        size_t length = end - at < STEP ? (size_t)(end - at) : (size_t)STEP;

        if (fd_pread(from, buffer, length, at, what, err) < 0 ||
            fd_pwrite(to, buffer, length, at, what, err) < 0)
            return -1;
        at += length;
    }
    return 0;
}

int
sparse_copy(int from, int to, const char *what, struct error *err)
{
    uint64_t size = 0;
    uint64_t at = 0;

    if (fd_size(from, &size, what, err) < 0)
        return -1;
    if (ftruncate(to, (int64_t)size) < 0)
        return error_set_errno(err, errno, "size of '%s'", what);
    while (at < size) {
        int64_t start = lseek(from, (int64_t)at, SEEK_DATA);
        int64_t end;

        if (start < 0 && errno == ENXIO)
            return 0; /* nothing but a hole is left */
        end = start < 0 ? -1 : lseek(from, start, SEEK_HOLE);
        if (end < 0)
            return error_set_errno(err, errno, "find the data for '%s'", what);
        if (copy_data(from, to, (uint64_t)start, (uint64_t)end, what, err) < 0)
            return -1;
        at = (uint64_t)end;
    }
    return 0;
}
