/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building goes from left to right with one open node on each level, from the
 * top down to `low`: the path to where we are.  A node is opened with what the
 * parent's tree has there (zeros without a parent), its children are replaced
 * as leaves come, and when the path moves on it is closed, lowest first:
 *
 *   - if its digest is the one that it was opened with, the node above goes
 *     on referring to the parent's;
 *   - if all children are zero, so is it, and nothing is stored;
 *   - otherwise it is written, and the node above refers to it.
 *
 * So only nodes above a changed leaf are read or written, children always
 * before their parents, and the file needs no going back but for the header.
 *
 * Positions ascend, and a node is closed only when everything to come lies
 * right of it: no node of our own is ever opened again (asserted).
 *
 * A reference k generations up from the parent is k + 1 generations up from
 * us; our table of ancestors is the parent, and then the parent's table.
 *
 * The header is written last but not synced apart: it holds the file's length
 * and the digest of the top node, from which every byte that matters follows.
 */
#include "image/digest_format.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/newfile.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* Nodes are gathered for writing. */
#define BUFFER_SIZE ((size_t)64 << 10)

struct builder_level {
    uint64_t number;
    bool changed;
    struct digest origin; /* of the node as it was opened */
    struct digest_ref origin_ref;
    struct digest_node node;
};

struct digest_builder {
    char *path; /* owned; NULL: only the root is wanted */
    struct uuid uuid;
    uint64_t size;
    enum digest_algorithm algorithm;
    struct digest_index *parent; /* borrowed, or NULL */
    uint64_t next_leaf;
    bool finished;

    struct digest top;
    struct digest_ref top_ref;
    unsigned low; /* the lowest open level; DIGEST_TOP + 1: none is open */
    struct builder_level levels[DIGEST_TOP + 1]; /* [0] is not used */

    int fd;          /* owned */
    uint64_t offset; /* of the buffer in the file */
    uint8_t *buffer; /* owned, BUFFER_SIZE */
    size_t buffer_fill;
    uint32_t ancestors;
    uint64_t ancestors_sum;
};

static const struct digest zero_digest;
static const struct digest_ref no_ref;

/* -- output ------------------------------------------------------------- */

static int
flush(struct digest_builder *builder, struct error *err)
{
    size_t length = builder->buffer_fill;

    if (builder->path == NULL || length == 0)
        return 0;
    if (fault_here("digest.write.space"))
        return error_set_errno(err, errno, "write '%s'", builder->path);
    if (fd_pwrite(builder->fd, builder->buffer, length, builder->offset,
                  builder->path, err) < 0)
        return -1;
    builder->offset += length;
    builder->buffer_fill = 0;
    return 0;
}

/* Room for `length` more bytes, at most BUFFER_SIZE; filled by the caller. */
static uint8_t *
reserve(struct digest_builder *builder, size_t length,
        struct digest_ref *ret_ref, struct error *err)
{
    if (builder->buffer_fill + length > BUFFER_SIZE && flush(builder, err) < 0)
        return NULL;
    if (builder->path == NULL) /* nothing is kept */
        builder->buffer_fill = 0;
    *ret_ref =
        (struct digest_ref){.offset = builder->offset + builder->buffer_fill};
    return builder->buffer + builder->buffer_fill;
}

/* Our ancestors: the parent, then its own. */
static int
put_ancestors(struct digest_builder *builder, struct error *err)
{
    const struct uuid *uuids = NULL;
    size_t count = 0;
    AUTO_FREE uint8_t *table = NULL;
    size_t length;

    if (builder->parent == NULL) {
        builder->ancestors_sum = digest_checksum("", 0);
        return 0;
    }
    count = digest_index_references(builder->parent, &uuids) + 1;
    if (count > DIGEST_ANCESTORS_MAX)
        return error_set(err, ERROR_INVALID,
                         "digest index with more than %u ancestors",
                         DIGEST_ANCESTORS_MAX);
    length = count * DIGEST_ANCESTOR_LENGTH;
    table = xcalloc(count, DIGEST_ANCESTOR_LENGTH);
    memcpy(table, digest_index_uuid(builder->parent), UUID_TEXT_SIZE);
    for (size_t i = 1; i < count; i++)
        memcpy(table + i * DIGEST_ANCESTOR_LENGTH, uuids[i - 1].text,
               UUID_TEXT_SIZE);
    builder->ancestors = (uint32_t)count;
    builder->ancestors_sum = digest_checksum(table, length);
    builder->offset += length;
    if (builder->path == NULL)
        return 0;
    return fd_pwrite(builder->fd, table, length, DIGEST_HEADER_LENGTH,
                     builder->path, err);
}

/* -- from beginning ----------------------------------------------------- */

static int
check_arguments(const char *path, const char *uuid, uint64_t size,
                enum digest_algorithm algorithm,
                const struct digest_index *parent, struct error *err)
{
    if (path != NULL && (uuid == NULL || !uuid_is_valid(uuid)))
        return error_set(err, ERROR_INVALID, "digest index '%s' has no uuid",
                         path);
    if (size > DIGEST_SIZE_MAX)
        return error_set(err, ERROR_INVALID,
                         "a disk of %" PRIu64
                         " bytes is too large for a digest index",
                         size);
    if (parent != NULL && digest_index_algorithm(parent) != algorithm)
        return error_set(err, ERROR_INVALID,
                         "the parent's digests are %s, not %s",
                         digest_algorithm_name(digest_index_algorithm(parent)),
                         digest_algorithm_name(algorithm));
    return 0;
}

struct digest_builder *
digest_builder_new(const char *path, const char *uuid, uint64_t size,
                   enum digest_algorithm algorithm, struct digest_index *parent,
                   struct error *err)
{
    AUTO_DIGEST_BUILDER struct digest_builder *builder = NULL;
    int fd = -1;

    if (check_arguments(path, uuid, size, algorithm, parent, err) < 0)
        return NULL;
    if (path != NULL && (fd = newfile_create(path, false, NULL, err)) < 0)
        return NULL;
    builder = xcalloc(1, sizeof(*builder));
    builder->path = xstrdup_null(path);
    builder->fd = fd;
    if (uuid != NULL)
        memcpy(builder->uuid.text, uuid, UUID_TEXT_SIZE);
    builder->size = size;
    builder->algorithm = algorithm;
    builder->parent = parent;
    builder->low = DIGEST_TOP + 1;
    builder->buffer = xmalloc(BUFFER_SIZE);
    builder->offset = DIGEST_HEADER_LENGTH;
    if (parent != NULL) {
        digest_index_top(parent, &builder->top, &builder->top_ref);
        if (!digest_is_zero(&builder->top))
            builder->top_ref.file++;
    }
    if (put_ancestors(builder, err) < 0)
        return NULL;
    return steal(&builder);
}

void
digest_builder_free(struct digest_builder *builder)
{
    if (builder == NULL)
        return;
    if (builder->fd >= 0)
        (void)close(builder->fd); /* finish has synced it, or it goes */
    if (builder->path != NULL && !builder->finished)
        newfile_discard(builder->path);
    free(builder->buffer);
    free(builder->path);
    free(builder);
}

void
digest_builder_cleanup(struct digest_builder **builder)
{
    digest_builder_free(*builder);
}

enum digest_algorithm
digest_builder_algorithm(const struct digest_builder *builder)
{
    return builder->algorithm;
}

uint64_t
digest_builder_parent_size(const struct digest_builder *builder)
{
    return builder->parent != NULL ? digest_index_size(builder->parent)
                                   : builder->size;
}

/* -- the path ----------------------------------------------------------- */

static void
set_child(struct digest_builder *builder, unsigned level, unsigned slot,
          const struct digest *digest, const struct digest_ref *ref)
{
    struct builder_level *open = &builder->levels[level];

    if (digest_is_same(&open->node.child[slot], digest))
        return;
    open->node.child[slot] = *digest;
    open->node.ref[slot] = *ref;
    open->changed = true;
}

/* Open the node on level low - 1 above `leaf`. */
static int
open_level(struct digest_builder *builder, uint64_t leaf, struct error *err)
{
    unsigned level = builder->low - 1;
    struct builder_level *open = &builder->levels[level];

    open->origin = builder->top;
    open->origin_ref = builder->top_ref;
    if (level < DIGEST_TOP) {
        const struct builder_level *above = &builder->levels[level + 1];
        unsigned slot = digest_node_slot(leaf, level + 1);

        open->origin = above->node.child[slot];
        open->origin_ref = above->node.ref[slot];
    }
    if (digest_is_zero(&open->origin)) {
        memset(&open->node, 0, sizeof(open->node));
    } else {
        struct digest_ref ref = open->origin_ref;

        assert(builder->parent != NULL && ref.file > 0);
        ref.file--;
        if (digest_index_node(builder->parent, &open->origin, &ref, level,
                              &open->node, err) < 0)
            return -1;
        for (unsigned i = 0; level > 1 && i < DIGEST_FANOUT; i++)
            open->node.ref[i].file++;
    }
    open->number = digest_node_number(leaf, level);
    open->changed = false;
    builder->low = level;
    return 0;
}

/* Close the lowest open node. */
static int
close_level(struct digest_builder *builder, struct error *err)
{
    unsigned level = builder->low;
    struct builder_level *open = &builder->levels[level];
    struct digest digest = open->origin;
    struct digest_ref ref = open->origin_ref;

    if (open->changed) {
        uint8_t *bytes = reserve(builder, DIGEST_NODE_MAX, &ref, err);
        size_t length;

        if (bytes == NULL)
            return -1;
        length = digest_node_encode(&open->node, level, builder->algorithm,
                                    bytes, &digest);
        if (digest_is_same(&digest, &open->origin))
            ref = open->origin_ref;
        else
            builder->buffer_fill += length;
    }
    if (level < DIGEST_TOP) {
        set_child(builder, level + 1, open->number % DIGEST_FANOUT, &digest,
                  &ref);
    } else {
        builder->top = digest;
        builder->top_ref = digest_is_zero(&digest) ? no_ref : ref;
    }
    builder->low++;
    return 0;
}

/* Let the path lead to `leaf`, its lowest node on `level`. */
static int
enter(struct digest_builder *builder, uint64_t leaf, unsigned level,
      struct error *err)
{
    while (builder->low <= DIGEST_TOP &&
           (builder->low < level || builder->levels[builder->low].number !=
                                        digest_node_number(leaf, builder->low)))
        if (close_level(builder, err) < 0)
            return -1;
    while (builder->low > level)
        if (open_level(builder, leaf, err) < 0)
            return -1;
    return 0;
}

/* -- leaves ------------------------------------------------------------- */

int
digest_builder_add(struct digest_builder *builder, uint64_t leaf,
                   const struct digest *digest, struct error *err)
{
    assert(!builder->finished && leaf >= builder->next_leaf);
    assert(leaf < digest_leaves(builder->size));
    builder->next_leaf = leaf + 1;
    if (builder->parent == NULL && digest_is_zero(digest))
        return 0;
    if (enter(builder, leaf, 1, err) < 0)
        return -1;
    set_child(builder, 1, digest_node_slot(leaf, 1), digest, &no_ref);
    return 0;
}

int
digest_builder_add_zero_range(struct digest_builder *builder, uint64_t first,
                              uint64_t count, struct error *err)
{
    uint64_t end = first + count;

    assert(!builder->finished && first >= builder->next_leaf);
    assert(end >= first && end <= digest_leaves(builder->size));
    builder->next_leaf = end;
    if (builder->parent == NULL)
        return 0;
    while (first < end) {
        unsigned level = 0;
        uint64_t step = 1;

        /* The largest subtree that starts here and lies within. */
        while (level + 1 < DIGEST_TOP && first % (step * DIGEST_FANOUT) == 0 &&
               step * DIGEST_FANOUT <= end - first) {
            step *= DIGEST_FANOUT;
            level++;
        }
        if (enter(builder, first, level + 1, err) < 0)
            return -1;
        set_child(builder, level + 1, digest_node_slot(first, level + 1),
                  &zero_digest, &no_ref);
        first += step;
    }
    return 0;
}

/* -- to the end --------------------------------------------------------- */

/* Forget what the parent's larger disk had behind our end. */
static int
cut_off(struct digest_builder *builder, struct error *err)
{
    uint64_t leaves = digest_leaves(builder->size);
    uint64_t last = leaves > 0 ? leaves - 1 : 0;

    if (builder->parent == NULL ||
        digest_leaves(digest_index_size(builder->parent)) <= leaves)
        return 0;
    if (enter(builder, last, 1, err) < 0)
        return -1;
    for (unsigned level = 1; level <= DIGEST_TOP; level++) {
        unsigned first = digest_node_slot(last, level) + 1;

        if (leaves == 0)
            first = 0;
        for (unsigned slot = first; slot < DIGEST_FANOUT; slot++)
            set_child(builder, level, slot, &zero_digest, &no_ref);
    }
    return 0;
}

static int
write_header(struct digest_builder *builder, struct error *err)
{
    uint8_t header[DIGEST_HEADER_LENGTH] = DIGEST_MAGIC;

    digest_put32(header + DIGEST_HEADER_VERSION, DIGEST_VERSION);
    digest_put32(header + DIGEST_HEADER_ALGORITHM,
                 (uint32_t)builder->algorithm);
    digest_put64(header + DIGEST_HEADER_DISK_SIZE, builder->size);
    memcpy(header + DIGEST_HEADER_UUID, builder->uuid.text, UUID_TEXT_SIZE);
    memcpy(header + DIGEST_HEADER_TOP, builder->top.bytes, DIGEST_BYTES);
    digest_put64(header + DIGEST_HEADER_TOP_OFFSET, builder->top_ref.offset);
    digest_put32(header + DIGEST_HEADER_TOP_FILE, builder->top_ref.file);
    digest_put32(header + DIGEST_HEADER_ANCESTORS, builder->ancestors);
    digest_put64(header + DIGEST_HEADER_FILE_SIZE, builder->offset);
    digest_put64(header + DIGEST_HEADER_ANCESTORS_SUM, builder->ancestors_sum);
    digest_put64(header + DIGEST_HEADER_SUM,
                 digest_checksum(header, DIGEST_HEADER_SUM));
    if (fault_here("digest.header"))
        return error_set_errno(err, errno, "write '%s'", builder->path);
    return fd_pwrite(builder->fd, header, sizeof(header), 0, builder->path,
                     err);
}

int
digest_builder_finish(struct digest_builder *builder, char *ret_root,
                      struct error *err)
{
    assert(!builder->finished);
    if (cut_off(builder, err) < 0)
        return -1;
    while (builder->low <= DIGEST_TOP)
        if (close_level(builder, err) < 0)
            return -1;
    if (builder->path != NULL) {
        if (flush(builder, err) < 0 || write_header(builder, err) < 0)
            return -1;
        if (fsync(builder->fd) < 0 || fault_here("digest.sync"))
            return error_set_errno(err, errno, "sync '%s'", builder->path);
    }
    builder->finished = true;
    digest_root_text(builder->algorithm, builder->size, &builder->top,
                     ret_root);
    return 0;
}
