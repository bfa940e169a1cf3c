/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/nvram.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Readings until two are the same. */
#define TRIES 50

int
nvram_read(const char *path, char **ret_bytes, size_t *ret_length,
           struct error *err)
{
    AUTO_FREE char *last = NULL;
    size_t last_length = 0;

    if (fd_read_file(path, NVRAM_MAX, &last, &last_length, err) < 0)
        return -1;
    for (unsigned i = 0; i < TRIES; i++) {
        AUTO_FREE char *bytes = NULL;
        size_t length = 0;

        if (fd_read_file(path, NVRAM_MAX, &bytes, &length, err) < 0)
            return -1;
        if (length == last_length && memcmp(bytes, last, length) == 0) {
            *ret_bytes = steal(&bytes);
            *ret_length = length;
            return 0;
        }
        free(last);
        last = steal(&bytes);
        last_length = length;
    }
    return error_set(err, ERROR_BUSY,
                     "NVRAM '%s' is being written all the time", path);
}

/* The name while it is written: always the same, so that it is found. */
static char *
part_of(const char *copy)
{
    return xasprintf("%s.part", copy);
}

int
nvram_write(const void *bytes, size_t length, const char *copy,
            struct error *err)
{
    AUTO_FREE char *part = part_of(copy);
    AUTO_CLOSE int fd =
        open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || fault_here("nvram.write"))
        return error_set_errno(err, errno, "make '%s'", part);
    if (fd_pwrite(fd, bytes, length, 0, part, err) < 0 ||
        fd_sync(fd, part, err) < 0)
        return -1;
    if (fault_here("nvram.rename") || rename(part, copy) < 0)
        return error_set_errno(err, errno, "rename '%s'", part);
    return fd_sync_parent(copy, err);
}

int
nvram_keep(const char *path, const char *copy, struct error *err)
{
    AUTO_FREE char *bytes = NULL;
    size_t length = 0;

    if (nvram_read(path, &bytes, &length, err) < 0)
        return -1;
    return nvram_write(bytes, length, copy, err);
}

int
nvram_drop(const char *copy, struct error *err)
{
    AUTO_FREE char *part = part_of(copy);

    if (fd_exists(part) && fd_unlink(part, err) < 0)
        return -1;
    return fd_unlink(copy, err);
}

int
nvram_put(const char *copy, const char *path, struct error *err)
{
    AUTO_FREE char *bytes = NULL;
    AUTO_CLOSE int fd = -1;
    size_t length = 0;

    if (fd_read_file(copy, NVRAM_MAX, &bytes, &length, err) < 0)
        return -1;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fault_here("nvram.put"))
        return error_set_errno(err, errno, "NVRAM '%s'", path);
    if (fd_pwrite(fd, bytes, length, 0, path, err) < 0)
        return -1;
    if (ftruncate(fd, (off_t)length) < 0 || fault_here("nvram.put-sync"))
        return error_set_errno(err, errno, "NVRAM '%s'", path);
    if (fd_sync(fd, path, err) < 0)
        return -1;
    return fd_sync_parent(path, err);
}
