/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_tool.h -- the fall-back of an offline merge: what our own commit
 * cannot change in place (image/commit.h), qemu-img may.
 *
 * It gives the same promise as commit_layer(): the upper file is not changed,
 * the chain reads the same throughout, and doing it again from the start
 * completes it, whatever was killed.
 */
#ifndef ENGINE_MERGE_TOOL_H
#define ENGINE_MERGE_TOOL_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/copy.h"

/**
 * merge_tool_allows(chain, count, err):
 * May a merge of chain[0] into chain[1] be done at all, by whichever path?
 * Refused is what would lose or reveal something: an upper file with internal
 * snapshots (they would go with it), encryption, data in another file.
 *
 * Returns:    0, or -1 with *err set to ERROR_CONFLICT or ERROR_UNSUPPORTED;
 *             the message names the file, the reason and the remedy.
 */
int merge_tool_allows(const struct image_ref *chain, size_t count,
                      struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * merge_tool_commit(chain, count, progress, err):
 * What commit_layer() does, by qemu-img.  The backing names in the headers
 * must lead along `chain`, since qemu-img follows them; a base that is not
 * sound is refused, one that was only not closed is repaired.
 *
 * Blocks:     until the tool has ended; progress->cancel ends it.
 * Durability: as of commit_layer().
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED, ERROR_CONFLICT,
 *             ERROR_CORRUPT (the base is not sound), ERROR_CANCELLED, ERROR_IO
 *             (the message holds what the tool said).
 */
int merge_tool_commit(const struct image_ref *chain, size_t count,
                      struct copy_progress *progress, struct error *err)
    MUST_CHECK NONNULL(1, 4);

#endif
