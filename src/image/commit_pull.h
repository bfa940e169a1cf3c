/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_pull.h -- what commit_pull() (commit.h) moves, and whether it did.
 */
#ifndef IMAGE_COMMIT_PULL_H
#define IMAGE_COMMIT_PULL_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_refusal.h"
#include "image/extents.h"

#include <stddef.h>

/**
 * commit_pull_set(chain, count, ret_set, ret_zeros, err):
 * What chain[0] must decide itself before it can do without chain[1], and
 * what of that reads as zero.
 */
int commit_pull_set(const struct image_ref *chain, size_t count,
                    struct extents *ret_set, struct extents *ret_zeros,
                    struct error *err) MUST_CHECK NONNULL(1, 3, 4, 5);

/* What the files' headers say against it, as commit_check(). */
int commit_pull_check(const struct image_ref *chain, size_t count,
                      enum commit_refusal *ret_refusal, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * commit_pull_is_done(chain, count, err):
 * Does chain[0] rest on chain[2], or on nothing, already?  Works while a QEMU
 * has it open.
 *
 * Durability: on 1 that survives a power cut.
 * Returns:    1 it does, 0 it does not, -1 with *err set.
 */
int commit_pull_is_done(const struct image_ref *chain, size_t count,
                        struct error *err) MUST_CHECK NONNULL(1, 3);

#endif
