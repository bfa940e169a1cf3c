/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_digest.c -- reading a digest index.
 *
 * Checksums of the header and the ancestors are made right first, so that the
 * input gets behind them; digests of nodes are not, so that only the header,
 * the ancestors and the references can mean something new.  Whatever they say:
 * no crash, no loop, and walking and asking agree on which leaves are zero.
 */
#include "base/error.h"
#include "base/memory.h"
#include "image/digest.h"
#include "image/digest_format.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_MAX 65536u
#define LEAVES_MAX 2000u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
make_sums_right(uint8_t *bytes, size_t length)
{
    uint64_t table;

    if (length < DIGEST_HEADER_LENGTH)
        return;
    table = (uint64_t)digest_get32(bytes + DIGEST_HEADER_ANCESTORS) *
            DIGEST_ANCESTOR_LENGTH;
    if (table <= length - DIGEST_HEADER_LENGTH)
        digest_put64(
            bytes + DIGEST_HEADER_ANCESTORS_SUM,
            digest_checksum(bytes + DIGEST_HEADER_LENGTH, (size_t)table));
    digest_put64(bytes + DIGEST_HEADER_FILE_SIZE, length);
    digest_put64(bytes + DIGEST_HEADER_SUM,
                 digest_checksum(bytes, DIGEST_HEADER_SUM));
}

static void
read_leaves(struct digest_index *index)
{
    struct error err = ERROR_INIT;
    uint64_t leaf = 0;

    for (unsigned i = 0; i < LEAVES_MAX; i++, leaf++) {
        struct digest digest;

        if (digest_index_next(index, leaf, &leaf, &err) != 1)
            break;
        if (digest_index_leaves(index, leaf, 1, &digest, &err) < 0)
            break;
        assert(!digest_is_zero(&digest));
    }
    assert(err.code == ERROR_NONE || err.code == ERROR_CORRUPT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_DIGEST_INDEX struct digest_index *index = NULL;
    AUTO_CLOSE int fd = memfd_create("index", MFD_CLOEXEC);
    AUTO_FREE uint8_t *copy = NULL;
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    struct error err = ERROR_INIT;
    const struct uuid *uuids = NULL;
    char path[64];

    if (fd < 0 || length > INPUT_MAX)
        return 0;
    copy = xmalloc(length + 1);
    memcpy(copy, bytes, length);
    make_sums_right(copy, length);
    if (write(fd, copy, length) != (ssize_t)length)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    index = digest_index_open(path, &err);
    if (index == NULL) {
        assert(err.code == ERROR_CORRUPT || err.code == ERROR_UNSUPPORTED);
        return 0;
    }
    assert(digest_index_references(index, &uuids) <= DIGEST_ANCESTORS_MAX);
    read_leaves(index);
    if (digest_index_diff(index, index, &set, &err) == 0)
        assert(set.count == 0);
    return 0;
}
