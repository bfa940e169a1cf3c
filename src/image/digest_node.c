/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node is a head (level, which children are not zero), their digests, and on
 * level 2 and above where they are.  Its digest covers head and digests.  The
 * references are not covered, nor need they be: what is found there must have
 * the digest that is.
 */
#include "image/digest_format.h"

static bool
has_child(const uint8_t *head, unsigned slot)
{
    return (head[8 + slot / 8] >> (slot % 8) & 1) != 0;
}

size_t
digest_node_encode(const struct digest_node *node, unsigned level,
                   enum digest_algorithm algorithm, uint8_t *buffer,
                   struct digest *ret_digest)
{
    size_t length = digest_length(algorithm);
    uint8_t *at = buffer + DIGEST_NODE_HEAD;

    memset(buffer, 0, DIGEST_NODE_HEAD);
    buffer[0] = (uint8_t)level;
    for (unsigned i = 0; i < DIGEST_FANOUT; i++) {
        if (digest_is_zero(&node->child[i]))
            continue;
        buffer[8 + i / 8] |= (uint8_t)(1u << (i % 8));
        memcpy(at, node->child[i].bytes, length);
        at += length;
    }
    if (at == buffer + DIGEST_NODE_HEAD) {
        memset(ret_digest, 0, sizeof(*ret_digest));
        return 0;
    }
    digest_bytes(algorithm, buffer, (size_t)(at - buffer), ret_digest);
    for (unsigned i = 0; level > 1 && i < DIGEST_FANOUT; i++) {
        if (!has_child(buffer, i))
            continue;
        digest_put32(at, node->ref[i].file);
        digest_put64(at + 4, node->ref[i].offset);
        at += DIGEST_REF_LENGTH;
    }
    return (size_t)(at - buffer);
}

const char *
digest_node_decode(const uint8_t *buffer, size_t length, unsigned level,
                   enum digest_algorithm algorithm,
                   const struct digest *expected, struct digest_node *ret_node)
{
    size_t one = digest_length(algorithm);
    const uint8_t *at = buffer + DIGEST_NODE_HEAD;
    unsigned children = 0;
    struct digest actual;
    size_t covered;

    if (length < DIGEST_NODE_HEAD || buffer[0] != level)
        return "there is no node";
    for (unsigned i = 0; i < DIGEST_FANOUT; i++)
        children += has_child(buffer, i);
    covered = DIGEST_NODE_HEAD + children * one;
    if (covered + (level > 1 ? children * DIGEST_REF_LENGTH : 0) > length)
        return "a node is cut off";
    digest_bytes(algorithm, buffer, covered, &actual);
    if (!digest_is_same(&actual, expected))
        return "a node has the wrong digest";

    memset(ret_node, 0, sizeof(*ret_node));
    for (unsigned i = 0; i < DIGEST_FANOUT; i++) {
        if (!has_child(buffer, i))
            continue;
        memcpy(ret_node->child[i].bytes, at, one);
        at += one;
    }
    for (unsigned i = 0; level > 1 && i < DIGEST_FANOUT; i++) {
        if (!has_child(buffer, i))
            continue;
        ret_node->ref[i].file = digest_get32(at);
        ret_node->ref[i].offset = digest_get64(at + 4);
        at += DIGEST_REF_LENGTH;
    }
    return NULL;
}
