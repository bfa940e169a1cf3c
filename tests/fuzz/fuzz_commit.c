/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_commit.c -- an image of any bytes, written in place: refcounts, tables
 * that move, clusters that lie over others.
 *
 * Beyond not crashing: what is refused is refused with a reason of the image;
 * what was written reads back.
 */
#include "base/error.h"
#include "base/memory.h"
#include "image/blockdev.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <assert.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)1 << 20)
#define FILE_MAX ((uint64_t)1 << 30)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
check_refused(const struct error *err)
{
    assert(err->code != ERROR_NONE && err->code != ERROR_INTERNAL);
    assert(err->code != ERROR_BUSY && err->code != ERROR_NOT_FOUND);
    assert(err->message[0] != '\0');
}

static void
try_write(const struct image_ref *ref, uint64_t offset)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    uint8_t bytes[512];
    uint8_t back[512];

    memset(bytes, (int)(offset >> 9) + 1, sizeof(bytes));
    if (commit_write(ref, 1, bytes, offset, sizeof(bytes), &err) < 0) {
        check_refused(&err);
        return;
    }
    device = blockdev_open_chain(ref, 1, 0, &err);
    assert(device != NULL);
    assert(blockdev_read(device, back, sizeof(back), offset, &err) == 0);
    assert(memcmp(bytes, back, sizeof(back)) == 0);
}

static void
try_resize(const struct image_ref *ref, uint64_t size)
{
    struct error err = ERROR_INIT;
    struct qcow2_info info;

    if (commit_resize(ref, 1, size, &err) < 0) {
        check_refused(&err);
        return;
    }
    assert(qcow2_read_info(ref->path, &info, &err) == 0 && info.size == size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const struct rlimit limit = {FILE_MAX, FILE_MAX};
    struct error err = ERROR_INIT;
    struct image_ref ref = {.format = IMAGE_QCOW2};
    struct qcow2_info info;
    char path[64];
    int fd;

    if (length > INPUT_MAX)
        return 0;
    /* Sparse, but not without an end. */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR ||
        setrlimit(RLIMIT_FSIZE, &limit) < 0)
        abort();
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ref.path = path;
    if (qcow2_read_info(path, &info, &err) == 0 && info.size >= 1024 &&
        info.size <= (uint64_t)1 << 30) {
        try_write(&ref, 0);
        try_write(&ref, info.size / 1024 * 512);
        try_resize(&ref, info.size / 2);
        try_resize(&ref, info.size + ((uint64_t)100 << 20));
        try_write(&ref, info.size);
    }
    (void)close(fd);
    return 0;
}
