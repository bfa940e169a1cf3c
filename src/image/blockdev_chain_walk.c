/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which layer decides.
 *
 * A range is asked of the top layer; each run that it leaves unallocated is
 * asked, as a whole, of the layer below, and so on.  So every layer is asked
 * once for each stretch that reaches it, not once for each cluster, and an
 * empty layer of a deep chain costs one lookup.
 *
 * A layer whose disk is shorter than the range reads as zero from its end on;
 * what a longer layer below holds there does not show through.
 *
 * The recursion is as deep as the chain, at most BLOCKDEV_CHAIN_MAX.
 */
#include "image/blockdev_chain.h"

struct walk {
    struct chain_device *chain;
    size_t count; /* of layers that are asked */
    bool holes;
    chain_visit visit;
    void *context;
};

/* All that the layers asked have left open. */
static int
visit_below(const struct walk *walk, uint64_t offset, uint64_t length,
            struct error *err)
{
    struct chain_segment segment = {
        .offset = offset,
        .length = length,
        .kind = walk->count < walk->chain->count ? CHAIN_BELOW : CHAIN_ZERO};

    return walk->visit(walk->context, &segment, err);
}

static int
visit_zero(const struct walk *walk, uint64_t offset, uint64_t length,
           struct error *err)
{
    struct chain_segment segment = {
        .offset = offset, .length = length, .kind = CHAIN_ZERO};

    return walk->visit(walk->context, &segment, err);
}

static int
walk_raw(const struct walk *walk, struct chain_layer *layer, uint64_t offset,
         uint64_t length, struct error *err)
{
    uint64_t limit = offset + length;

    while (offset < limit) {
        uint64_t end = limit;
        bool is_hole = false;
        struct chain_segment segment;
        int result;

        if (walk->holes)
            image_file_map(layer->file, offset, &end, &is_hole);
        segment = (struct chain_segment){.offset = offset,
                                         .length = MIN(end, limit) - offset,
                                         .kind = CHAIN_DATA,
                                         .layer = layer,
                                         .host = offset};
        if (is_hole)
            result = visit_zero(walk, offset, segment.length, err);
        else
            result = walk->visit(walk->context, &segment, err);
        if (result != 0)
            return result;
        offset += segment.length;
    }
    return 0;
}

static int
visit_run(const struct walk *walk, struct chain_layer *layer, uint64_t offset,
          const struct qcow2_run *run, struct error *err)
{
    struct chain_segment segment = {
        .offset = offset,
        .length = run->length,
        .kind = run->kind == QCOW2_DATA ? CHAIN_DATA : CHAIN_COMPRESSED,
        .layer = layer,
        .host = run->host,
        .host_length = run->host_length,
    };

    if (run->kind == QCOW2_ZERO)
        return visit_zero(walk, offset, run->length, err);
    return walk->visit(walk->context, &segment, err);
}

static int
walk_layer(const struct walk *walk, size_t index, uint64_t offset,
           uint64_t length, struct error *err)
{
    struct chain_layer *layer = &walk->chain->layers[index];
    uint64_t limit = offset + length;
    uint64_t inside;

    if (index == walk->count)
        return visit_below(walk, offset, length, err);
    if (offset >= layer->size)
        return visit_zero(walk, offset, length, err);
    inside = MIN(limit, layer->size);
    if (layer->qcow2 == NULL) {
        int result = walk_raw(walk, layer, offset, inside - offset, err);

        if (result != 0)
            return result;
        offset = inside;
    }
    while (offset < inside) {
        struct qcow2_run run;
        int result;

        if (qcow2_image_lookup(layer->qcow2, offset, inside - offset, &run,
                               err) < 0)
            return -1;
        if (run.kind == QCOW2_UNALLOCATED)
            result = walk_layer(walk, index + 1, offset, run.length, err);
        else
            result = visit_run(walk, layer, offset, &run, err);
        if (result != 0)
            return result;
        offset += run.length;
    }
    return offset < limit ? visit_zero(walk, offset, limit - offset, err) : 0;
}

int
chain_walk(struct chain_device *chain, uint64_t offset, uint64_t length,
           bool holes, chain_visit visit, void *context, struct error *err)
{
    struct walk walk = {.chain = chain,
                        .count = chain->count,
                        .holes = holes,
                        .visit = visit,
                        .context = context};

    return walk_layer(&walk, 0, offset, length, err);
}

int
chain_walk_part(struct chain_device *chain, size_t count, uint64_t offset,
                uint64_t length, chain_visit visit, void *context,
                struct error *err)
{
    struct walk walk = {.chain = chain,
                        .count = count,
                        .holes = true,
                        .visit = visit,
                        .context = context};

    return walk_layer(&walk, 0, offset, length, err);
}
