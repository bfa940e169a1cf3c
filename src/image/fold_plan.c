/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk tells segments in the order of the disk.  A cluster of the result
 * that lies in one segment is settled by it, and long segments are settled
 * whole.  One that is cut into several is put together: it is below if all
 * pieces are, zero if all are, plain if all are data that lies together in
 * one file, and otherwise it has to be encoded.
 *
 * A compressed segment is moved only if it is its whole cluster and the
 * cluster has the result's size and compression.  The end of the disk may cut
 * it: what is behind is never seen.  The end of a smaller layer in the middle
 * of the part may not: there the rest is told as zeros, so it is encoded.
 *
 * An L2 entry says where a stream starts, but of its length only the sectors;
 * what is read is up to the last one's end.
 */
#include "image/fold_internal.h"

#include <assert.h>

struct plan {
    const struct fold_shape *shape;
    struct fold_window *window; /* being filled */
    fold_submit submit;
    void *context;
    uint64_t cluster_size;
    uint64_t size; /* of the disk */

    /* The cluster that is being put together; length 0: none is. */
    struct chain_segment joined;
    bool is_mixed;
};

void
fold_choose(struct chain_device *chain, size_t folded,
            struct fold_shape *ret_shape)
{
    uint64_t largest = 0;

    *ret_shape = (struct fold_shape){.chain = chain,
                                     .folded = folded,
                                     .cluster_bits = QCOW2_CLUSTER_BITS_DEFAULT,
                                     .compression = QCOW2_ZSTD};
    for (size_t i = 0; i < folded; i++) {
        const struct chain_layer *layer = &chain->layers[i];
        uint64_t size = atomic_load(&layer->file->size);

        if (layer->qcow2 == NULL || size < largest)
            continue;
        largest = size;
        ret_shape->cluster_bits = layer->qcow2->cluster_bits;
        ret_shape->compression = layer->qcow2->header.info.compression;
    }
}

/* -- windows ------------------------------------------------------------ */

static int
submit(struct plan *plan, struct error *err)
{
    uint64_t end = plan->window->end;

    plan->window = plan->submit(plan->context, plan->window, err);
    if (plan->window == NULL)
        return -1;
    plan->window->end = end;
    return 0;
}

static int
add_zeros(struct plan *plan, uint64_t cluster, uint64_t count,
          struct error *err)
{
    struct fold_window *window = plan->window;
    struct fold_item *last =
        window->count > 0 ? &window->items[window->count - 1] : NULL;

    if (last != NULL && last->kind == FOLD_ZERO &&
        last->cluster + last->count == cluster) {
        last->count += count;
        return 0;
    }
    if (window->zeros == QCOW2_WRITER_ZEROS_MAX && submit(plan, err) < 0)
        return -1;
    window = plan->window;
    window->zeros++;
    window->items[window->count++] = (struct fold_item){
        .cluster = cluster, .count = count, .kind = FOLD_ZERO};
    return 0;
}

static int
add_item(struct plan *plan, const struct fold_item *item, struct error *err)
{
    struct fold_window *window = plan->window;

    if (window->guest + plan->cluster_size > QCOW2_WRITER_BATCH_MAX &&
        submit(plan, err) < 0)
        return -1;
    window = plan->window;
    window->items[window->count] = *item;
    window->items[window->count++].count = 1;
    window->guest += plan->cluster_size;
    window->load +=
        item->kind == FOLD_ENCODE ? plan->cluster_size : item->host_length;
    return 0;
}

/* -- clusters ----------------------------------------------------------- */

static bool
is_movable(const struct plan *plan, const struct chain_segment *segment)
{
    const struct qcow2_image *image = segment->layer->qcow2;

    return image->cluster_size == plan->cluster_size &&
           image->header.info.compression == plan->shape->compression &&
           segment->host_length <= 2 * plan->cluster_size;
}

/* Whole clusters of one kind; only the disk's end may cut the last one. */
static int
settle(struct plan *plan, const struct chain_segment *segment,
       struct error *err)
{
    uint64_t cluster = segment->offset / plan->cluster_size;
    uint64_t count =
        (segment->length + plan->cluster_size - 1) / plan->cluster_size;
    struct fold_item item = {.cluster = cluster,
                             .kind = FOLD_ENCODE,
                             .layer = segment->layer,
                             .host = segment->host};

    switch (segment->kind) {
    case CHAIN_BELOW:
        return 0;
    case CHAIN_ZERO:
        return add_zeros(plan, cluster, count, err);
    case CHAIN_COMPRESSED:
        if (count == 1 && is_movable(plan, segment)) {
            item.kind = FOLD_MOVE;
            item.host_length = (size_t)segment->host_length;
        }
        break;
    case CHAIN_DATA:
        item.kind = FOLD_PLAIN;
        item.host_length = (size_t)plan->cluster_size;
        break;
    default:
        assert(segment->kind <= CHAIN_BELOW);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = i * plan->cluster_size;

        item.cluster = cluster + i;
        if (item.kind == FOLD_PLAIN) {
            item.host = segment->host + at;
            if (segment->length - at < plan->cluster_size)
                item.kind = FOLD_ENCODE;
        }
        if (add_item(plan, &item, err) < 0)
            return -1;
    }
    return 0;
}

/* One more piece of the cluster that is being put together. */
static int
join(struct plan *plan, const struct chain_segment *piece, struct error *err)
{
    struct chain_segment *joined = &plan->joined;
    uint64_t end;

    if (joined->length == 0) {
        *joined = *piece;
        plan->is_mixed = piece->kind == CHAIN_COMPRESSED;
    } else {
        if (joined->kind != piece->kind || piece->kind == CHAIN_COMPRESSED ||
            (piece->kind == CHAIN_DATA &&
             (piece->layer != joined->layer ||
              piece->host != joined->host + joined->length)))
            plan->is_mixed = true;
        joined->length += piece->length;
    }
    end = joined->offset + joined->length;
    if (end % plan->cluster_size != 0 && end != plan->size)
        return 0;
    /* Data in pieces of its cluster is not aligned in the file: no matter. */
    if (plan->is_mixed) {
        struct fold_item item = {.cluster = joined->offset / plan->cluster_size,
                                 .kind = FOLD_ENCODE};

        joined->length = 0;
        return add_item(plan, &item, err);
    }
    if (settle(plan, joined, err) < 0)
        return -1;
    joined->length = 0;
    return 0;
}

/* The same segment, from `skip` bytes on and no longer than `length`. */
static struct chain_segment
cut(const struct chain_segment *segment, uint64_t skip, uint64_t length)
{
    struct chain_segment piece = *segment;

    piece.offset += skip;
    piece.length = length;
    if (piece.kind == CHAIN_DATA)
        piece.host += skip;
    return piece;
}

static int
visit(void *context, const struct chain_segment *segment, struct error *err)
{
    struct plan *plan = context;
    uint64_t mask = plan->cluster_size - 1;
    uint64_t done = 0;

    while (done < segment->length) {
        uint64_t offset = segment->offset + done;
        uint64_t rest = segment->length - done;
        uint64_t whole = rest & ~mask;
        struct chain_segment piece;
        int result;

        if (offset + rest == plan->size)
            whole = rest;
        if ((offset & mask) == 0 && whole > 0) {
            piece = cut(segment, done, whole);
            result = settle(plan, &piece, err);
        } else {
            uint64_t part = plan->cluster_size - (offset & mask);

            piece = cut(segment, done, MIN(part, rest));
            result = join(plan, &piece, err);
        }
        if (result < 0)
            return -1;
        done += piece.length;
    }
    plan->window->end = segment->offset + segment->length;
    return 0;
}

int
fold_plan(const struct fold_shape *shape, struct fold_window *window,
          fold_submit submit_one, void *context, struct error *err)
{
    struct plan plan = {
        .shape = shape,
        .window = window,
        .submit = submit_one,
        .context = context,
        .cluster_size = (uint64_t)1 << shape->cluster_bits,
        .size = shape->chain->common.size,
    };

    if (plan.size > 0 && chain_walk_part(shape->chain, shape->folded, 0,
                                         plan.size, visit, &plan, err) < 0)
        return -1;
    assert(plan.joined.length == 0);
    plan.window->end = plan.size;
    return submit(&plan, err);
}
