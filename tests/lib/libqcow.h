/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libqcow.h -- a reader of qcow2 that is neither QEMU's nor ours: libqcow,
 * loaded while the test runs, so that building needs nothing of it.
 *
 * What it does not know (its answers would be wrong, not missing): clusters
 * with a zero flag, zstd, extended L2 entries, disks of layers that differ in
 * size.  And a read that begins where a layer has nothing is answered by the
 * layer below to its end, past the next clusters of the layer above; so each
 * read stays in the smallest cluster of the chain.
 */
#ifndef TESTS_LIB_LIBQCOW_H
#define TESTS_LIB_LIBQCOW_H

#include "base/memory.h"
#include "image/blockdev.h"
#include "image/qcow2.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LIBQCOW_READ 1
#define LIBQCOW_CHAIN_MAX 16u
#define LIBQCOW_PIECE ((size_t)64 << 10)

struct libqcow {
    int (*initialize)(void **file, void **error);
    int (*open)(void *file, const char *path, int flags, void **error);
    int (*set_parent)(void *file, void *parent, void **error);
    int (*size)(void *file, uint64_t *size, void **error);
    ssize_t (*read)(void *file, void *buffer, size_t size, int64_t offset,
                    void **error);
    int (*free)(void **file, void **error);
    int (*print)(void *error, char *text, size_t size);
    void *library;
};

/* False when it is not installed. */
static inline bool
libqcow_load(struct libqcow *qcow)
{
    static const char *const names[] = {"libqcow_file_initialize",
                                        "libqcow_file_open",
                                        "libqcow_file_set_parent_file",
                                        "libqcow_file_get_media_size",
                                        "libqcow_file_read_buffer_at_offset",
                                        "libqcow_file_free",
                                        "libqcow_error_sprint"};
    void **to = (void **)qcow;

    memset(qcow, 0, sizeof(*qcow));
    qcow->library = dlopen("libqcow.so.1", RTLD_NOW | RTLD_LOCAL);
    if (qcow->library == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        to[i] = dlsym(qcow->library, names[i]);
        if (to[i] == NULL)
            return false;
    }
    return true;
}

/* True when it can read the whole chain. */
static inline bool
libqcow_knows(const struct image_ref *refs, size_t count)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count; i++) {
        AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
        AUTO_EXTENTS struct extents set = EXTENTS_INIT;
        AUTO_EXTENTS struct extents zeros = EXTENTS_INIT;
        struct error err = ERROR_INIT;

        if (refs[i].format != IMAGE_QCOW2 ||
            qcow2_read_info(refs[i].path, info, &err) < 0 ||
            qcow2_contents(refs[i].path, &set, &zeros, &err) < 0 ||
            info->extended_l2 || info->compression != QCOW2_ZLIB ||
            zeros.count > 0 || (i > 0 && info->size != size))
            return false;
        size = info->size;
    }
    return count <= LIBQCOW_CHAIN_MAX;
}

static inline bool
libqcow_says(const struct libqcow *qcow, void *error, const char *path)
{
    char text[1024] = "";

    if (error != NULL)
        (void)qcow->print(error, text, sizeof(text));
    printf("# libqcow: '%s': %s\n", path, text);
    return false;
}

static inline bool
libqcow_compare(const struct libqcow *qcow, void *file, const char *path,
                const uint8_t *expected, uint64_t size, size_t piece)
{
    AUTO_FREE uint8_t *buffer = xmalloc(piece);
    void *error = NULL;
    uint64_t is = 0;

    if (qcow->size(file, &is, &error) != 1 || is != size)
        return libqcow_says(qcow, error, path);
    for (uint64_t at = 0; at < size; at += piece) {
        size_t length = (size_t)MIN((uint64_t)piece, size - at);

        if (qcow->read(file, buffer, length, (int64_t)at, &error) !=
            (ssize_t)length)
            return libqcow_says(qcow, error, path);
        if (memcmp(buffer, expected + at, length) != 0) {
            printf("# libqcow reads '%s' differently within %zu bytes at "
                   "%llu\n",
                   path, length, (unsigned long long)at);
            return false;
        }
    }
    return true;
}

static inline size_t
libqcow_piece(const struct image_ref *refs, size_t count)
{
    size_t piece = LIBQCOW_PIECE;

    for (size_t i = 0; i < count; i++) {
        AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
        struct error err = ERROR_INIT;

        if (qcow2_read_info(refs[i].path, info, &err) == 0)
            piece = MIN(piece, (size_t)1 << info->cluster_bits);
    }
    return piece;
}

/* The chain reads as `expected`, by its word. */
static inline bool
libqcow_is_same(const struct libqcow *qcow, const struct image_ref *refs,
                size_t count, const uint8_t *expected, uint64_t size)
{
    void *files[LIBQCOW_CHAIN_MAX] = {NULL};
    void *error = NULL;
    bool good = true;

    for (size_t i = 0; good && i < count; i++) {
        if (qcow->initialize(&files[i], &error) != 1 ||
            qcow->open(files[i], refs[i].path, LIBQCOW_READ, &error) != 1 ||
            (i > 0 && qcow->set_parent(files[i - 1], files[i], &error) != 1))
            good = libqcow_says(qcow, error, refs[i].path);
    }
    good = good && libqcow_compare(qcow, files[0], refs[0].path, expected, size,
                                   libqcow_piece(refs, count));
    for (size_t i = 0; i < count; i++) {
        if (files[i] != NULL)
            (void)qcow->free(&files[i], &error);
    }
    return good;
}

#endif
