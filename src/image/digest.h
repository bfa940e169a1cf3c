/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h -- what a disk held, as a tree of digests with one root.
 *
 * The disk is cut into leaves of 64 KiB (the last one as if zeros followed).
 * A leaf that is all zero has the digest of zeros by definition; a node
 * stands for 128 children; a subtree of zeros only is never stored.  The root
 * covers algorithm, disk size and the top node, never where nodes lie: two
 * indexes of the same content have the same root.
 *
 * An index file holds the nodes that its parent's index does not; the others
 * are referred to by the parent's uuid, so that an incremental's index costs
 * what changed.  docs/formats/digest-index.md has the bytes.
 *
 * Durability: as said at digest_builder_finish.
 */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEAF_SIZE 65536u
#define DIGEST_BYTES 32     /* room for the longest algorithm */
#define DIGEST_ROOT_TEXT 80 /* "xxh3-128:<hex>" and a zero byte */

enum digest_algorithm { DIGEST_XXH3_128 = 1, DIGEST_SHA256 = 2 };

const char *digest_algorithm_name(enum digest_algorithm algorithm);
int digest_algorithm_parse(const char *text, enum digest_algorithm *ret,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3);

struct digest {
    uint8_t bytes[DIGEST_BYTES]; /* the rest is zero */
};

/* The digest of one leaf of DIGEST_LEAF_SIZE bytes. */
void digest_leaf(enum digest_algorithm algorithm, const void *leaf,
                 struct digest *ret_digest) NONNULL(2, 3);

/* True for a leaf's digest that stands for zeros. */
bool digest_is_zero(const struct digest *digest) NONNULL(1);

/* -- reading ------------------------------------------------------------ */

struct digest_index;

/**
 * digest_index_open(path, err):
 * Open an index and, from the same directory, those that it refers to
 * ("<uuid>.idx").  Checks checksums of headers; nodes are checked as they are
 * read.
 */
struct digest_index *digest_index_open(const char *path, struct error *err)
    MUST_CHECK NONNULL(1, 2);
void digest_index_free(struct digest_index *index);
void digest_index_cleanup(struct digest_index **index);
#define AUTO_DIGEST_INDEX CLEANUP(digest_index_cleanup)

uint64_t digest_index_size(const struct digest_index *index) NONNULL(1);
enum digest_algorithm digest_index_algorithm(const struct digest_index *index)
    NONNULL(1);

/* "xxh3-128:0123..." */
const char *digest_index_root(const struct digest_index *index) NONNULL(1);

/**
 * digest_index_leaves(index, first, count, ret_digests, err):
 * Digests of the leaves first … first + count - 1.
 */
int digest_index_leaves(struct digest_index *index, uint64_t first,
                        size_t count, struct digest *ret_digests,
                        struct error *err) MUST_CHECK NONNULL(1, 4, 5);

/**
 * digest_index_diff(a, b, ret_set, err):
 * Ranges whose leaves differ, from metadata alone; subtrees that are shared
 * are not read.
 */
int digest_index_diff(struct digest_index *a, struct digest_index *b,
                      struct extents *ret_set, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* -- building ----------------------------------------------------------- */

struct digest_builder;

/**
 * digest_builder_new(path, uuid, size, algorithm, parent, err):
 * Start an index of a disk of `size` bytes.  With `parent` (borrowed until
 * the end, same algorithm) leaves that are not given keep the parent's
 * digests; without, they are zero.  path NULL computes the root only.
 */
struct digest_builder *
digest_builder_new(const char *path, const char *uuid, uint64_t size,
                   enum digest_algorithm algorithm, struct digest_index *parent,
                   struct error *err) MUST_CHECK NONNULL(6);
void digest_builder_free(struct digest_builder *builder);

/* Leaf numbers must ascend. */
int digest_builder_add(struct digest_builder *builder, uint64_t leaf,
                       const struct digest *digest, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * digest_builder_finish(builder, ret_root, err):
 * Write what is missing and sync.  ret_root has DIGEST_ROOT_TEXT bytes.
 *
 * Durability: on 0 the file's content survives a power cut; its name is the
 *             caller's to sync.
 */
int digest_builder_finish(struct digest_builder *builder, char *ret_root,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
