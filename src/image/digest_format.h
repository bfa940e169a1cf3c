/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest_format.h -- the bytes of an index file, and nodes in memory.
 * Internal to src/image; docs/formats/digest-index.md is the contract.
 *
 * Everything on disk is little-endian.
 */
#ifndef IMAGE_DIGEST_FORMAT_H
#define IMAGE_DIGEST_FORMAT_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/digest.h"

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* -- numbers ------------------------------------------------------------ */

static inline uint32_t
digest_get32(const void *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static inline uint64_t
digest_get64(const void *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return le64toh(value);
}

static inline void
digest_put32(void *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void
digest_put64(void *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof(value));
}

/* -- the header --------------------------------------------------------- */

#define DIGEST_MAGIC "varveidx" /* 8 bytes, no zero byte */
#define DIGEST_VERSION 1u

enum digest_header_offset {
    DIGEST_HEADER_MAGIC = 0,
    DIGEST_HEADER_VERSION = 8,    /* 32 bits */
    DIGEST_HEADER_ALGORITHM = 12, /* 32 bits */
    DIGEST_HEADER_DISK_SIZE = 16,
    DIGEST_HEADER_UUID = 24,       /* 36 characters, 4 zero bytes */
    DIGEST_HEADER_TOP = 64,        /* digest of the top node, 32 bytes */
    DIGEST_HEADER_TOP_OFFSET = 96, /* where it is */
    DIGEST_HEADER_TOP_FILE = 104,  /* 32 bits: in which file */
    DIGEST_HEADER_ANCESTORS = 108, /* 32 bits */
    DIGEST_HEADER_FILE_SIZE = 112,
    DIGEST_HEADER_ANCESTORS_SUM = 120, /* xxh3-64 of the ancestors' table */
    DIGEST_HEADER_SUM = 248,           /* xxh3-64 of what is before */
    DIGEST_HEADER_LENGTH = 256
};

/* One uuid as text, with zero bytes behind; the table follows the header. */
#define DIGEST_ANCESTOR_LENGTH 40u
#define DIGEST_ANCESTORS_MAX 65535u

/* -- the tree ----------------------------------------------------------- */

#define DIGEST_FANOUT 128u
#define DIGEST_FANOUT_BITS 7u

/*
 * Leaves are level 0, the top is always this level: 128^5 leaves are 2 PiB.
 * A tree of fixed height keeps its nodes when the disk grows or shrinks.
 */
#define DIGEST_TOP 5u

/*
 * Where a node is: how many generations up (0: the file that the reference
 * stands in), and where in that file.
 */
struct digest_ref {
    uint64_t offset;
    uint32_t file;
};

struct digest_node {
    struct digest child[DIGEST_FANOUT];
    struct digest_ref ref[DIGEST_FANOUT]; /* on level 2 and above */
};

#define DIGEST_NODE_HEAD 24u /* level, 7 zero bytes, 128 bits */
#define DIGEST_REF_LENGTH 12u
#define DIGEST_NODE_MAX                                                        \
    (DIGEST_NODE_HEAD + DIGEST_FANOUT * (DIGEST_BYTES + DIGEST_REF_LENGTH))

/* The number, on `level`, of the node above leaf `leaf`. */
static inline uint64_t
digest_node_number(uint64_t leaf, unsigned level)
{
    /* Here clang 14 takes a folded 64-bit number for one of 32 bits. */
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    return leaf >> (DIGEST_FANOUT_BITS * level);
}

/* Which child of a node on `level` leads to leaf `leaf`. */
static inline unsigned
digest_node_slot(uint64_t leaf, unsigned level)
{
    return (unsigned)(digest_node_number(leaf, level - 1) % DIGEST_FANOUT);
}

/* Bytes of a digest of this algorithm. */
size_t digest_length(enum digest_algorithm algorithm);

/* xxh3-64, for checksums that are not digests. */
uint64_t digest_checksum(const void *bytes, size_t length) NONNULL(1);

/* "xxh3-128:<hex>": covers algorithm, size and top node. */
void digest_root_text(enum digest_algorithm algorithm, uint64_t size,
                      const struct digest *top, char ret_text[DIGEST_ROOT_TEXT])
    NONNULL(3, 4);

/* digest_node.c: */

/**
 * digest_node_encode(node, level, algorithm, buffer, ret_digest):
 * Write a node into `buffer` of DIGEST_NODE_MAX bytes and compute its digest.
 *
 * Returns:    its length, or 0 when no child is other than zero (then the
 *             digest is zero too).
 */
size_t digest_node_encode(const struct digest_node *node, unsigned level,
                          enum digest_algorithm algorithm, uint8_t *buffer,
                          struct digest *ret_digest)
    MUST_CHECK NONNULL(1, 4, 5);

/**
 * digest_node_decode(buffer, length, level, algorithm, expected, ret_node):
 * Read a node; `length` may reach behind its end.
 *
 * Returns:    NULL, or what is wrong with it, as a text for messages.
 */
const char *digest_node_decode(const uint8_t *buffer, size_t length,
                               unsigned level, enum digest_algorithm algorithm,
                               const struct digest *expected,
                               struct digest_node *ret_node)
    MUST_CHECK NONNULL(1, 5, 6);

/* digest_index.c, for the builder: */

/**
 * digest_index_node(index, digest, ref, level, ret_node, err):
 * Read the node with this digest.  References in it are counted from `index`,
 * as `ref` is.
 */
int digest_index_node(struct digest_index *index, const struct digest *digest,
                      const struct digest_ref *ref, unsigned level,
                      struct digest_node *ret_node, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);

void digest_index_top(const struct digest_index *index,
                      struct digest *ret_digest, struct digest_ref *ret_ref)
    NONNULL(1, 2, 3);

#endif
