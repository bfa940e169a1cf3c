/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest is one over the digests of the file's blocks: a file of many
 * gigabytes is read through a small buffer.
 */
#include "engine/saved_memory.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define BLOCK ((size_t)1 << 20)

/* A saved memory is larger than that of the guest: its devices' state, and
 * the memory of its display. */
#define EXTRA ((uint64_t)64 << 20)

/* Of files that a machine of 16 TiB would leave. */
#define BLOCKS_MAX ((uint64_t)1 << 24)

int
saved_memory_make(const char *path, uint64_t memory_bytes, struct error *err)
{
    AUTO_FREE char *directory = path_parent(path);
    AUTO_CLOSE int fd = -1;
    uint64_t free_bytes;

    if (fault_here("memory.make"))
        return error_set_errno(err, errno, "make '%s'", path);
    if (fd_free_space(directory, &free_bytes, err) < 0)
        return -1;
    if (free_bytes < memory_bytes + EXTRA)
        return error_set(err, ERROR_NO_SPACE,
                         "saving the memory takes up to %" PRIu64
                         " MiB in '%s', where %" PRIu64
                         " MiB are free; make room, or take a snapshot of the "
                         "disks alone",
                         (memory_bytes + EXTRA) >> 20, directory,
                         free_bytes >> 20);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set_errno(err, errno, "make '%s'", path);
    return fd_sync_parent(path, err);
}

static int
digest_file(int fd, const char *path, uint64_t size,
            char ret_digest[DIGEST_ROOT_TEXT], struct error *err)
{
    uint64_t count = (size + BLOCK - 1) / BLOCK;
    AUTO_FREE uint8_t *buffer = xmalloc(BLOCK);
    AUTO_FREE struct digest *digests = NULL;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct digest whole;

    if (count > BLOCKS_MAX)
        return error_set(err, ERROR_UNSUPPORTED, "'%s' is too large", path);
    digests = xcalloc(count + 1, sizeof(*digests));
    for (uint64_t i = 0; i < count; i++) {
        size_t length = (size_t)MIN((uint64_t)BLOCK, size - i * BLOCK);

        if (fd_pread(fd, buffer, length, i * BLOCK, path, err) < 0)
            return -1;
        digest_bytes(DIGEST_XXH3_128, buffer, length, &digests[i]);
    }
    digest_bytes(DIGEST_XXH3_128, digests, count * sizeof(*digests), &whole);
    strbuf_addf(&text, "%s:", digest_algorithm_name(DIGEST_XXH3_128));
    for (size_t i = 0; i < 16; i++)
        strbuf_addf(&text, "%02x", whole.bytes[i]);
    memcpy(ret_digest, strbuf_text(&text), strlen(strbuf_text(&text)) + 1);
    return 0;
}

int
saved_memory_seal(const char *path, struct saved_memory *ret_saved,
                  struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fault_here("memory.seal"))
        return error_set_errno(err, errno, "open '%s'", path);
    if (fd_size(fd, &ret_saved->size, path, err) < 0 ||
        fd_sync(fd, path, err) < 0 || fd_sync_parent(path, err) < 0)
        return -1;
    return digest_file(fd, path, ret_saved->size, ret_saved->digest, err);
}

int
saved_memory_verify(const char *path, uint64_t size, const char *digest,
                    struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char actual[DIGEST_ROOT_TEXT];
    uint64_t actual_size;

    if (fd < 0)
        return error_set_errno(err, errno, "saved memory '%s'", path);
    if (fd_size(fd, &actual_size, path, err) < 0)
        return -1;
    if (actual_size == size && digest_file(fd, path, size, actual, err) < 0)
        return -1;
    if (actual_size != size || strcmp(actual, digest) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "saved memory '%s' is not what was saved; the "
                         "snapshot's disks can still be had: take a backup of "
                         "them, or copy its layers",
                         path);
    return 0;
}
