/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a chain and telling its map.
 *
 * All files are opened first and then compared with what the headers say, by
 * device and inode of the open descriptors: a name that is changed between
 * check and use changes nothing.  A name in a header never opens a file.
 *
 * With BLOCKDEV_LIVE only the top layer may be written to by a QEMU; layers
 * below are frozen, but may carry a dirty bit, which is about refcounts and
 * says nothing against the data.  A corrupt bit is believed everywhere but on
 * the top, which is not read.
 */
#include "image/blockdev_chain.h"

#include "base/memory.h"
#include "base/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- the names in the headers ------------------------------------------- */

/* "json:…", "nbd:…", "file:…": what QEMU would not take for a path. */
static bool
has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

static bool
is_format(const char *name, enum image_format format)
{
    if (name[0] == '\0' || strcmp(name, image_format_name(format)) == 0)
        return true;
    /* Old names of what is raw to us. */
    return format == IMAGE_RAW &&
           (strcmp(name, "file") == 0 || strcmp(name, "host_device") == 0);
}

/* The backing name in refs[i]'s header leads to refs[i + 1]. */
static int
check_link(const struct chain_device *chain, const struct image_ref *refs,
           size_t i, struct error *err)
{
    const struct qcow2_info *info = &chain->layers[i].qcow2->header.info;
    AUTO_FREE char *resolved = NULL;
    struct stat about;

    if (!info->has_backing)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' has no backing file, but should rest on '%s'",
                         refs[i].path, refs[i + 1].path);
    if (has_protocol(info->backing_name))
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the backing name '%.200s' is not a path",
                         refs[i].path, info->backing_name);
    resolved = path_resolve_backing(refs[i].path, info->backing_name);
    if (stat(resolved, &about) < 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s': the backing file '%.200s' cannot be found: %s",
                         refs[i].path, info->backing_name, strerror(errno));
    if (!image_file_is(chain->layers[i + 1].file, &about))
        return error_set(err, ERROR_CORRUPT,
                         "'%s' rests on '%.200s', not on '%s'", refs[i].path,
                         info->backing_name, refs[i + 1].path);
    if (!is_format(info->backing_format, refs[i + 1].format))
        return error_set(err, ERROR_CORRUPT,
                         "'%s' says that its backing file '%s' is '%s', "
                         "not '%s'",
                         refs[i].path, refs[i + 1].path, info->backing_format,
                         image_format_name(refs[i + 1].format));
    return 0;
}

static int
check_last(const struct chain_device *chain, const struct image_ref *last,
           struct error *err)
{
    const struct chain_layer *layer = &chain->layers[chain->count - 1];

    if (layer->qcow2 == NULL || !layer->qcow2->header.info.has_backing)
        return 0;
    return error_set(err, ERROR_CORRUPT,
                     "'%s' should be the last of its chain, but rests on "
                     "'%.200s'",
                     last->path, layer->qcow2->header.info.backing_name);
}

static int
check_loops(const struct chain_device *chain, struct error *err)
{
    for (size_t i = 0; i < chain->count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (image_file_is(chain->layers[i].file,
                              &chain->layers[j].file->about))
                return error_set(
                    err, ERROR_CORRUPT, "the chain of '%s' comes back to '%s'",
                    chain->common.name, chain->layers[i].file->path);
        }
    }
    return 0;
}

static int
check_chain(const struct chain_device *chain, const struct image_ref *refs,
            struct error *err)
{
    if (check_loops(chain, err) < 0)
        return -1;
    for (size_t i = 0; i + 1 < chain->count; i++) {
        if (chain->layers[i].qcow2 == NULL)
            return error_set(err, ERROR_CORRUPT,
                             "'%s' is raw and cannot rest on '%s'",
                             refs[i].path, refs[i + 1].path);
        if (check_link(chain, refs, i, err) < 0)
            return -1;
    }
    return check_last(chain, &refs[chain->count - 1], err);
}

/* -- the map ------------------------------------------------------------ */

struct mapper {
    struct block_range range; /* length 0 at first */
    struct extents *set;      /* or NULL */
};

static int
map_segment(void *context, const struct chain_segment *segment,
            struct error *err UNUSED)
{
    struct mapper *mapper = context;
    enum block_kind kind =
        segment->kind == CHAIN_ZERO ? BLOCK_ZERO : BLOCK_DATA;

    if (mapper->range.length > 0 && kind != mapper->range.kind)
        return 1;
    mapper->range.kind = kind;
    mapper->range.length += segment->length;
    return 0;
}

/*
 * Ask for a window that doubles while nothing changes: the work is in
 * proportion to what is found, and no layer's tables are walked to their end
 * for the sake of a small answer.
 */
static int
chain_map(struct blockdev *device, uint64_t offset,
          struct block_range *ret_range, struct error *err)
{
    struct chain_device *chain = (struct chain_device *)device;
    struct mapper mapper = {.range = {.offset = offset}};
    uint64_t window = (uint64_t)16 << 20;
    uint64_t end = offset;

    while (end < device->size) {
        uint64_t length = MIN(window, device->size - end);
        struct error found = ERROR_INIT;
        int result =
            chain_walk(chain, end, length, true, map_segment, &mapper, &found);

        /* What was told before is right; the rest will fail when asked. */
        if (result < 0 && mapper.range.length == 0) {
            *err = found;
            return -1;
        }
        end = offset + mapper.range.length;
        if (result != 0)
            break;
        window *= 2;
    }
    *ret_range = mapper.range;
    return 0;
}

static int
collect_segment(void *context, const struct chain_segment *segment,
                struct error *err UNUSED)
{
    struct extents *set = context;

    if (segment->kind != CHAIN_ZERO)
        extents_add(set, segment->offset, segment->length);
    return 0;
}

static int
chain_data(struct blockdev *device, struct extents *set, struct error *err)
{
    if (device->size == 0)
        return 0;
    return chain_walk((struct chain_device *)device, 0, device->size, true,
                      collect_segment, set, err);
}

/* -- opening and closing ------------------------------------------------ */

static uint64_t
chain_bytes_read(const struct blockdev *device)
{
    const struct chain_device *chain = (const struct chain_device *)device;
    uint64_t sum = 0;

    for (size_t i = 0; i < chain->count; i++)
        sum += atomic_load(&chain->layers[i].file->bytes_read);
    return sum;
}

static void
chain_free(struct blockdev *device)
{
    struct chain_device *chain = (struct chain_device *)device;

    for (size_t i = 0; i < chain->count; i++) {
        struct chain_layer *layer = &chain->layers[i];

        if (layer->qcow2 != NULL)
            qcow2_image_free(layer->qcow2);
        else if (layer->file != NULL)
            image_file_close(&layer->raw);
    }
    scratch_pool_release(&chain->pool);
    free(device->name);
    free(chain);
}

static const struct blockdev_ops chain_ops = {
    .read = chain_read,
    .map = chain_map,
    .data = chain_data,
    .bytes_read = chain_bytes_read,
    .free = chain_free,
};

static int
open_layer(struct chain_layer *layer, const struct image_ref *ref, bool is_top,
           unsigned flags, struct error *err)
{
    unsigned how = flags & BLOCKDEV_DIRECT;

    if (ref->format == IMAGE_RAW) {
        if (image_file_open(&layer->raw, ref->path, how, err) < 0)
            return -1;
        layer->file = &layer->raw;
        layer->size = atomic_load(&layer->raw.size);
    } else {
        if (flags & BLOCKDEV_LIVE)
            how |= QCOW2_IMAGE_DIRTY_OK;
        if ((flags & BLOCKDEV_LIVE) && is_top)
            how |= QCOW2_IMAGE_CORRUPT_OK;
        layer->qcow2 = qcow2_image_open(ref->path, how, err);
        if (layer->qcow2 == NULL)
            return -1;
        layer->file = &layer->qcow2->file;
        layer->size = qcow2_image_size(layer->qcow2);
    }
    layer->may_change = is_top && (flags & BLOCKDEV_LIVE);
    return 0;
}

struct blockdev *
blockdev_open_chain(const struct image_ref *refs, size_t count, unsigned flags,
                    struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    struct chain_device *chain;
    size_t largest = 0;

    if (count == 0 || count > BLOCKDEV_CHAIN_MAX) {
        (void)error_set(err, ERROR_UNSUPPORTED,
                        "a chain of %zu layers; there may be 1 to %u", count,
                        BLOCKDEV_CHAIN_MAX);
        return NULL;
    }
    chain = xcalloc(1, sizeof(*chain) + count * sizeof(chain->layers[0]));
    device = &chain->common;
    device->ops = &chain_ops;
    device->name = xstrdup(refs[0].path);
    chain->count = count;
    scratch_pool_init(&chain->pool, 0);
    for (size_t i = 0; i < count; i++) {
        struct chain_layer *layer = &chain->layers[i];

        if (open_layer(layer, &refs[i], i == 0, flags, err) < 0)
            return NULL;
        if (layer->qcow2 != NULL)
            largest = MAX(largest, (size_t)layer->qcow2->cluster_size);
    }
    if (check_chain(chain, refs, err) < 0)
        return NULL;
    chain->pool.cluster_size = largest;
    device->size = chain->layers[0].size;
    return steal(&device);
}
