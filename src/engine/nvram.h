/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvram.h -- the store of a machine's UEFI variables, a small file that QEMU
 * writes while the machine runs.
 */
#ifndef ENGINE_NVRAM_H
#define ENGINE_NVRAM_H

#include "base/compiler.h"
#include "base/error.h"

#include <stddef.h>

#define NVRAM_MAX ((size_t)4 << 20)

/**
 * nvram_read(path, ret_bytes, ret_length, err):
 * What the store holds, also while the machine runs: it is read until two
 * readings are the same, so that no variable is half written.
 *
 * Ownership:  the caller frees *ret_bytes.
 * Returns:    0, or -1 with *err set to ERROR_BUSY when it changes too often.
 */
int nvram_read(const char *path, char **ret_bytes, size_t *ret_length,
               struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * nvram_keep(path, copy, err):
 * A copy of the store under a new name, mode 0600.  An older copy of that name
 * is replaced.
 *
 * Durability: on 0 the copy survives a power cut; otherwise there is none, or
 *             a whole one.
 */
int nvram_keep(const char *path, const char *copy, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* nvram_keep() of bytes that come from elsewhere. */
int nvram_write(const void *bytes, size_t length, const char *copy,
                struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* Remove a copy, or what was written of it. */
int nvram_drop(const char *copy, struct error *err) MUST_CHECK NONNULL(1, 2);

/**
 * nvram_put(copy, path, err):
 * Write a copy back into the store, in place: owner, mode and labels stay as
 * libvirt gave them.  The machine must be stopped and kept so: the store is
 * in between if this process dies; putting it again mends that.
 */
int nvram_put(const char *copy, const char *path, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
