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
 * An index file holds the nodes that its ancestors' do not; the others are
 * referred to by an ancestor's uuid, so that an incremental's index costs what
 * changed.  docs/formats/digest-index.md has the bytes.
 *
 * Memory is 32 KiB for an open index, 40 bytes for each of its ancestors, and
 * 100 KiB for a builder, whatever the disk's size.
 *
 * Threads:    one at a time for each index and each builder; digest_leaf and
 *             digest_is_zero by any.
 * Durability: as said at digest_builder_finish.
 */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_LEAF_SIZE 65536u
#define DIGEST_BYTES 32     /* room for the longest algorithm */
#define DIGEST_ROOT_TEXT 80 /* "xxh3-128:<hex>" and a zero byte */
#define DIGEST_SIZE_MAX ((uint64_t)1 << 50) /* of a disk: 1 PiB */

enum digest_algorithm { DIGEST_XXH3_128 = 1, DIGEST_SHA256 = 2 };

const char *digest_algorithm_name(enum digest_algorithm algorithm);
int digest_algorithm_parse(const char *text, enum digest_algorithm *ret,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3);

struct digest {
    uint8_t bytes[DIGEST_BYTES]; /* the rest is zero */
};

/* The digest of one leaf of DIGEST_LEAF_SIZE bytes; zeros are noticed. */
void digest_leaf(enum digest_algorithm algorithm, const void *leaf,
                 struct digest *ret_digest) NONNULL(2, 3);

/* The digest of any bytes. */
void digest_bytes(enum digest_algorithm algorithm, const void *bytes,
                  size_t length, struct digest *ret_digest) NONNULL(2, 4);

/* True for a leaf's digest that stands for zeros. */
bool digest_is_zero(const struct digest *digest) NONNULL(1);

bool digest_is_same(const struct digest *a, const struct digest *b)
    NONNULL(1, 2);

/* How many leaves a disk has. */
uint64_t digest_leaves(uint64_t size);

/* -- reading ------------------------------------------------------------ */

struct digest_index;

/**
 * digest_index_open(path, err):
 * Open an index.  Those that it refers to are opened when they are needed:
 * "<uuid>.idx" in the same directory.  Header and references are checked
 * now, every node when it is read.
 *
 * Returns:    the index, or NULL with *err set to
 *               ERROR_CORRUPT      it is damaged, or not an index;
 *               ERROR_UNSUPPORTED  a newer version or algorithm;
 *               ERROR_NOT_FOUND, ERROR_IO.
 *             Whatever reads nodes later fails with ERROR_CORRUPT when a node
 *             is not what its parent says, or an index that is referred to
 *             is missing; the message names the file.
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

/* Its own uuid. */
const char *digest_index_uuid(const struct digest_index *index) NONNULL(1);

/**
 * digest_index_references(index, ret_uuids):
 * The ancestors whose index files this one may need: its parent first, then
 * the parent's parent, and so on.  None of them may be deleted before it.
 *
 * Ownership:  *ret_uuids is borrowed until the index is freed.
 * Returns:    how many there are.
 */
size_t digest_index_references(const struct digest_index *index,
                               const struct uuid **ret_uuids) NONNULL(1, 2);

/**
 * digest_index_leaves(index, first, count, ret_digests, err):
 * Digests of the leaves first … first + count - 1; past the disk's end they
 * are zero.
 */
int digest_index_leaves(struct digest_index *index, uint64_t first,
                        size_t count, struct digest *ret_digests,
                        struct error *err) MUST_CHECK NONNULL(1, 4, 5);

/**
 * digest_index_next(index, first, ret_leaf, err):
 * The first leaf from `first` on that is not zero.  Zero subtrees cost
 * nothing.
 *
 * Returns:    1 found, 0 there is none, -1 failed.
 */
int digest_index_next(struct digest_index *index, uint64_t first,
                      uint64_t *ret_leaf, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * digest_index_diff(a, b, ret_set, err):
 * Ranges whose leaves differ, from metadata alone; subtrees that are the same
 * are not read.  Past the end of the smaller disk there are zeros.  The set is
 * cut at the end of the larger one.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID (the algorithms differ),
 *             ERROR_CORRUPT, ERROR_IO.
 */
int digest_index_diff(struct digest_index *a, struct digest_index *b,
                      struct extents *ret_set, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * digest_index_next_difference(a, b, first, ret_leaf, err):
 * The first leaf from `first` on whose digests differ, found as by
 * digest_index_diff; both are of one algorithm.
 *
 * Returns:    1 found, 0 there is none, -1 failed.
 */
int digest_index_next_difference(struct digest_index *a, struct digest_index *b,
                                 uint64_t first, uint64_t *ret_leaf,
                                 struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/* -- building ----------------------------------------------------------- */

struct digest_builder;

/**
 * digest_builder_new(path, uuid, size, algorithm, parent, err):
 * Start an index of a disk of `size` bytes in the new file `path`, which is
 * "<uuid>.idx".  With `parent` leaves that are not given keep the parent's
 * digests; without, they are zero.  path NULL computes the root only.
 *
 * If the disk is smaller than the parent's and its end cuts a leaf, the caller
 * must give that leaf: past the end it reads as zero now.  The leaves behind
 * go by themselves.
 *
 * Ownership:  parent is borrowed until the builder is freed, and not used by
 *             others meanwhile; it may be NULL.
 * Returns:    the builder, or NULL with *err set to
 *               ERROR_INVALID   another algorithm than the parent's, a size
 *                               above DIGEST_SIZE_MAX, no uuid, 65535
 *                               ancestors;
 *               ERROR_CONFLICT  the file exists;
 *               ERROR_NO_SPACE, ERROR_IO.
 */
struct digest_builder *
digest_builder_new(const char *path, const char *uuid, uint64_t size,
                   enum digest_algorithm algorithm, struct digest_index *parent,
                   struct error *err) MUST_CHECK NONNULL(6);

/* Gives up: removes the file unless it was finished. */
void digest_builder_free(struct digest_builder *builder);
void digest_builder_cleanup(struct digest_builder **builder);
#define AUTO_DIGEST_BUILDER CLEANUP(digest_builder_cleanup)

enum digest_algorithm
digest_builder_algorithm(const struct digest_builder *builder) NONNULL(1);

/* Disk size of the parent, or of the builder itself if it has none. */
uint64_t digest_builder_parent_size(const struct digest_builder *builder)
    NONNULL(1);

/* Leaf numbers must ascend, here and in digest_builder_add_zero_range. */
int digest_builder_add(struct digest_builder *builder, uint64_t leaf,
                       const struct digest *digest, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * digest_builder_add_zero_range(builder, first, count, err):
 * The leaves first … first + count - 1 are zero.  Whole subtrees cost nothing.
 */
int digest_builder_add_zero_range(struct digest_builder *builder,
                                  uint64_t first, uint64_t count,
                                  struct error *err) MUST_CHECK NONNULL(1, 4);

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
