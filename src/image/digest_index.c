/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading.  A file names its ancestors in order, parent first, so that "k
 * generations up" is a place in that table, and a reference r in a file k
 * generations up is one k + r generations up from here: no file's table but
 * our own is ever needed, and there is no chain of indirections to follow.
 *
 * Nodes come one path at a time: the last one of each level is kept, and what
 * reads in ascending order reads every node once.
 *
 * Nothing in a file is trusted but the header after its checksum.  A node
 * counts only with the digest that its parent has for it; levels go down by
 * one each time, so that no file can make us loop.
 */
#include "image/digest_format.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* Enough for a chain that is read in order; more are opened and closed. */
#define OPEN_FILES_MAX 32

struct index_file {
    uint32_t generation;
    int fd; /* owned; -1 for a free place */
};

/* The node of one level that was read last. */
struct index_level {
    bool valid;
    uint64_t number;
    struct digest_node node;
};

struct digest_index {
    char *path;      /* owned */
    char *directory; /* owned */
    enum digest_algorithm algorithm;
    uint64_t size; /* of the disk */
    struct uuid uuid;
    char root[DIGEST_ROOT_TEXT];
    struct digest top;
    struct digest_ref top_ref;
    struct uuid *ancestors; /* owned; generation g is ancestors[g - 1] */
    uint32_t ancestor_count;
    struct index_file files[OPEN_FILES_MAX];
    unsigned next_file; /* the place that is reused next */
    uint8_t buffer[DIGEST_NODE_MAX];
    struct index_level levels[DIGEST_TOP + 1]; /* [0] is not used */
};

/* -- opening ------------------------------------------------------------ */

static int
corrupt(const struct digest_index *index, struct error *err, const char *why)
{
    return error_set(err, ERROR_CORRUPT, "digest index '%s': %s", index->path,
                     why);
}

/* A uuid field: 36 characters and zero bytes. */
static bool
take_uuid(const uint8_t *field, struct uuid *ret_uuid)
{
    memcpy(ret_uuid->text, field, UUID_TEXT_SIZE);
    return ret_uuid->text[UUID_TEXT_SIZE - 1] == '\0' &&
           uuid_is_valid(ret_uuid->text);
}

static int
parse_header(struct digest_index *index, const uint8_t *header,
             struct error *err)
{
    uint32_t algorithm = digest_get32(header + DIGEST_HEADER_ALGORITHM);

    if (memcmp(header, DIGEST_MAGIC, 8) != 0)
        return corrupt(index, err, "not an index, or never finished");
    if (digest_get64(header + DIGEST_HEADER_SUM) !=
        digest_checksum(header, DIGEST_HEADER_SUM))
        return corrupt(index, err, "the header's checksum is wrong");
    if (digest_get32(header + DIGEST_HEADER_VERSION) != DIGEST_VERSION ||
        (algorithm != DIGEST_XXH3_128 && algorithm != DIGEST_SHA256))
        return error_set(err, ERROR_UNSUPPORTED,
                         "digest index '%s': version %" PRIu32
                         ", algorithm %" PRIu32 " is not known",
                         index->path,
                         digest_get32(header + DIGEST_HEADER_VERSION),
                         algorithm);
    index->algorithm = (enum digest_algorithm)algorithm;
    index->size = digest_get64(header + DIGEST_HEADER_DISK_SIZE);
    memcpy(index->top.bytes, header + DIGEST_HEADER_TOP, DIGEST_BYTES);
    index->top_ref.offset = digest_get64(header + DIGEST_HEADER_TOP_OFFSET);
    index->top_ref.file = digest_get32(header + DIGEST_HEADER_TOP_FILE);
    index->ancestor_count = digest_get32(header + DIGEST_HEADER_ANCESTORS);
    if (index->size > DIGEST_SIZE_MAX ||
        index->ancestor_count > DIGEST_ANCESTORS_MAX ||
        !take_uuid(header + DIGEST_HEADER_UUID, &index->uuid))
        return corrupt(index, err, "the header makes no sense");
    return 0;
}

static int
read_ancestors(struct digest_index *index, int fd, uint64_t expected_sum,
               struct error *err)
{
    size_t length = (size_t)index->ancestor_count * DIGEST_ANCESTOR_LENGTH;
    AUTO_FREE uint8_t *table = xmalloc(length + 1);

    if (fd_pread(fd, table, length, DIGEST_HEADER_LENGTH, index->path, err) < 0)
        return -1;
    if (digest_checksum(table, length) != expected_sum)
        return corrupt(index, err, "the ancestors' checksum is wrong");
    index->ancestors =
        xcalloc(index->ancestor_count + (size_t)1, sizeof(struct uuid));
    for (uint32_t i = 0; i < index->ancestor_count; i++)
        if (!take_uuid(table + (size_t)i * DIGEST_ANCESTOR_LENGTH,
                       &index->ancestors[i]))
            return corrupt(index, err, "an ancestor's name is not a uuid");
    return 0;
}

static int
read_head(struct digest_index *index, int fd, struct error *err)
{
    uint8_t header[DIGEST_HEADER_LENGTH];
    uint64_t size;
    size_t got;

    if (fd_pread_up_to(fd, header, sizeof(header), 0, &got, index->path, err) <
            0 ||
        fd_size(fd, &size, index->path, err) < 0)
        return -1;
    if (got < sizeof(header))
        return corrupt(index, err, "not an index, or never finished");
    if (parse_header(index, header, err) < 0)
        return -1;
    if (size != digest_get64(header + DIGEST_HEADER_FILE_SIZE))
        return corrupt(index, err, "cut off, or something was added");
    return read_ancestors(
        index, fd, digest_get64(header + DIGEST_HEADER_ANCESTORS_SUM), err);
}

struct digest_index *
digest_index_open(const char *path, struct error *err)
{
    AUTO_DIGEST_INDEX struct digest_index *index = xcalloc(1, sizeof(*index));
    int fd;

    index->path = xstrdup(path);
    index->directory = path_parent(path);
    for (unsigned i = 0; i < OPEN_FILES_MAX; i++)
        index->files[i].fd = -1;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)error_set_errno(err, errno, "open digest index '%s'", path);
        return NULL;
    }
    index->files[0] = (struct index_file){.generation = 0, .fd = fd};
    index->next_file = 1;
    if (read_head(index, fd, err) < 0)
        return NULL;
    digest_root_text(index->algorithm, index->size, &index->top, index->root);
    return steal(&index);
}

void
digest_index_free(struct digest_index *index)
{
    if (index == NULL)
        return;
    for (unsigned i = 0; i < OPEN_FILES_MAX; i++)
        if (index->files[i].fd >= 0)
            (void)close(index->files[i].fd); /* was only read */
    free(index->ancestors);
    free(index->directory);
    free(index->path);
    free(index);
}

void
digest_index_cleanup(struct digest_index **index)
{
    digest_index_free(*index);
}

/* -- facts -------------------------------------------------------------- */

uint64_t
digest_index_size(const struct digest_index *index)
{
    return index->size;
}

enum digest_algorithm
digest_index_algorithm(const struct digest_index *index)
{
    return index->algorithm;
}

const char *
digest_index_root(const struct digest_index *index)
{
    return index->root;
}

const char *
digest_index_uuid(const struct digest_index *index)
{
    return index->uuid.text;
}

size_t
digest_index_references(const struct digest_index *index,
                        const struct uuid **ret_uuids)
{
    *ret_uuids = index->ancestors;
    return index->ancestor_count;
}

void
digest_index_top(const struct digest_index *index, struct digest *ret_digest,
                 struct digest_ref *ret_ref)
{
    *ret_digest = index->top;
    *ret_ref = index->top_ref;
}

/* -- nodes -------------------------------------------------------------- */

static char *
file_path(const struct digest_index *index, uint32_t generation)
{
    if (generation == 0)
        return xstrdup(index->path);
    return xasprintf("%s/%s.idx", index->directory,
                     index->ancestors[generation - 1].text);
}

/* The descriptor of a file; an older one may be closed for it. */
static int
file_of(struct digest_index *index, uint32_t generation, struct error *err)
{
    AUTO_FREE char *path = NULL;
    struct index_file *place;
    int fd;

    for (unsigned i = 0; i < OPEN_FILES_MAX; i++)
        if (index->files[i].fd >= 0 && index->files[i].generation == generation)
            return index->files[i].fd;
    path = file_path(index, generation);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_CORRUPT,
                         "digest index '%s' needs '%s', which is missing",
                         index->path, path);
    if (fd < 0)
        return error_set_errno(err, errno, "open digest index '%s'", path);
    place = &index->files[index->next_file];
    index->next_file = (index->next_file + 1) % OPEN_FILES_MAX;
    if (place->fd >= 0)
        (void)close(place->fd); /* was only read */
    *place = (struct index_file){.generation = generation, .fd = fd};
    return fd;
}

int
digest_index_node(struct digest_index *index, const struct digest *digest,
                  const struct digest_ref *ref, unsigned level,
                  struct digest_node *ret_node, struct error *err)
{
    AUTO_FREE char *path = NULL;
    const char *wrong = "a reference leads to no file";
    size_t length;
    int fd;

    if (ref->file <= index->ancestor_count) {
        fd = file_of(index, ref->file, err);
        if (fd < 0)
            return -1;
        path = file_path(index, ref->file);
        if (ref->offset > INT64_MAX - DIGEST_NODE_MAX)
            length = 0;
        else if (fd_pread_up_to(fd, index->buffer, sizeof(index->buffer),
                                ref->offset, &length, path, err) < 0)
            return -1;
        wrong = digest_node_decode(index->buffer, length, level,
                                   index->algorithm, digest, ret_node);
    }
    if (wrong != NULL)
        return error_set(err, ERROR_CORRUPT,
                         "digest index '%s': %s at %" PRIu64,
                         path != NULL ? path : index->path, wrong, ref->offset);
    for (unsigned i = 0; level > 1 && i < DIGEST_FANOUT; i++)
        if (__builtin_add_overflow(ret_node->ref[i].file, ref->file,
                                   &ret_node->ref[i].file))
            return corrupt(index, err, "a reference leads to no file");
    return 0;
}

/* The node of `level` above a leaf, by way of the levels above. */
static int
node_above(struct digest_index *index, uint64_t leaf, unsigned level,
           struct digest_node **ret_node, struct error *err)
{
    const struct digest *digest = &index->top;
    const struct digest_ref *ref = &index->top_ref;

    for (unsigned at = DIGEST_TOP; at >= level; at--) {
        struct index_level *kept = &index->levels[at];
        uint64_t number = digest_node_number(leaf, at);

        if (!kept->valid || kept->number != number) {
            kept->valid = false;
            if (digest_is_zero(digest))
                memset(&kept->node, 0, sizeof(kept->node));
            else if (digest_index_node(index, digest, ref, at, &kept->node,
                                       err) < 0)
                return -1;
            kept->number = number;
            kept->valid = true;
        }
        *ret_node = &kept->node;
        digest = &kept->node.child[digest_node_slot(leaf, at)];
        ref = &kept->node.ref[digest_node_slot(leaf, at)];
    }
    return 0;
}

int
digest_index_leaves(struct digest_index *index, uint64_t first, size_t count,
                    struct digest *ret_digests, struct error *err)
{
    while (count > 0) {
        unsigned slot = digest_node_slot(first, 1);
        size_t part = MIN(count, (size_t)(DIGEST_FANOUT - slot));
        struct digest_node *node = NULL;

        if (digest_node_number(first, DIGEST_TOP) != 0) {
            memset(ret_digests, 0, count * sizeof(*ret_digests));
            return 0;
        }
        if (node_above(index, first, 1, &node, err) < 0)
            return -1;
        memcpy(ret_digests, &node->child[slot], part * sizeof(*ret_digests));
        ret_digests += part;
        first += part;
        count -= part;
    }
    return 0;
}

/* -- walking ------------------------------------------------------------ */

/*
 * The first slot from `slot` on where the nodes differ; an absent second node
 * stands for zeros.
 */
static unsigned
next_difference(const struct digest_node *a, const struct digest_node *b,
                unsigned slot)
{
    for (; slot < DIGEST_FANOUT; slot++)
        if (b == NULL ? !digest_is_zero(&a->child[slot])
                      : !digest_is_same(&a->child[slot], &b->child[slot]))
            break;
    return slot;
}

/*
 * The first leaf from *leaf on where the two trees differ; with b == NULL,
 * where `a` is not zero.  1 found, 0 none, -1 failed.
 */
static int
walk(struct digest_index *a, struct digest_index *b, uint64_t *leaf,
     struct error *err)
{
    unsigned level = DIGEST_TOP;

    while (digest_node_number(*leaf, DIGEST_TOP) == 0) {
        struct digest_node *node_a = NULL;
        struct digest_node *node_b = NULL;
        unsigned from = digest_node_slot(*leaf, level);
        unsigned slot;

        if (node_above(a, *leaf, level, &node_a, err) < 0 ||
            (b != NULL && node_above(b, *leaf, level, &node_b, err) < 0))
            return -1;
        slot = next_difference(node_a, node_b, from);
        if (slot > from) /* to the start of that child, or past this node */
            *leaf = (digest_node_number(*leaf, level) * DIGEST_FANOUT + slot)
                    << (DIGEST_FANOUT_BITS * (level - 1));
        if (slot == DIGEST_FANOUT)
            level = DIGEST_TOP;
        else if (--level == 0)
            return 1;
    }
    return 0;
}

int
digest_index_next(struct digest_index *index, uint64_t first,
                  uint64_t *ret_leaf, struct error *err)
{
    uint64_t leaf = first;
    int found = walk(index, NULL, &leaf, err);

    if (found == 1)
        *ret_leaf = leaf;
    return found;
}

int
digest_index_next_difference(struct digest_index *a, struct digest_index *b,
                             uint64_t first, uint64_t *ret_leaf,
                             struct error *err)
{
    uint64_t leaf = first;
    int found = walk(a, b, &leaf, err);

    if (found == 1)
        *ret_leaf = leaf;
    return found;
}

int
digest_index_diff(struct digest_index *a, struct digest_index *b,
                  struct extents *ret_set, struct error *err)
{
    uint64_t size = MAX(a->size, b->size);
    int found;

    if (a->algorithm != b->algorithm)
        return error_set(err, ERROR_INVALID,
                         "digest indexes '%s' and '%s' are of different "
                         "algorithms",
                         a->path, b->path);
    for (uint64_t leaf = 0; (found = walk(a, b, &leaf, err)) == 1; leaf++)
        if (leaf < digest_leaves(size))
            extents_add(ret_set, leaf * DIGEST_LEAF_SIZE, DIGEST_LEAF_SIZE);
    extents_align(ret_set, DIGEST_LEAF_SIZE, size);
    return found;
}
