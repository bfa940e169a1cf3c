/* SPDX-License-Identifier: Apache-2.0 */
/*
 * saved_memory.h -- the file that a machine's memory is saved in.
 *
 * It lies beside the layers of the machine's first disk, belongs to us, and
 * nobody else can read it: whatever the guest knows is in it.
 */
#ifndef ENGINE_SAVED_MEMORY_H
#define ENGINE_SAVED_MEMORY_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/digest.h"

#include <stdint.h>

/**
 * saved_memory_make(path, memory_bytes, err):
 * Make the empty file, mode 0600, for a machine with that much memory.
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_NO_SPACE  its file system has not that much free;
 *               ERROR_CONFLICT  the file exists.
 */
int saved_memory_make(const char *path, uint64_t memory_bytes,
                      struct error *err) MUST_CHECK NONNULL(1, 3);

struct saved_memory {
    uint64_t size;
    char digest[DIGEST_ROOT_TEXT];
};

/**
 * saved_memory_seal(path, ret_saved, err):
 * What the file holds, once it is written.
 *
 * Blocks:     reads all of it.
 * Durability: on 0 its content and name survive a power cut.
 */
int saved_memory_seal(const char *path, struct saved_memory *ret_saved,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * saved_memory_verify(path, size, digest, err):
 * Does the file hold what was sealed?
 *
 * Blocks:     reads all of it.
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when it does not,
 *             ERROR_NOT_FOUND when it is gone.
 */
int saved_memory_verify(const char *path, uint64_t size, const char *digest,
                        struct error *err) MUST_CHECK NONNULL(1, 3, 4);

#endif
