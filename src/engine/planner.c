/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees are small (a machine rarely has more than a few dozen layers) and a
 * merge costs seconds, so plain scans are right here: a thousand layers plan
 * in milliseconds.
 *
 * Invariants, tested over random trees:
 *   1. A foreign or pinned layer, and the active one, is never the `layer` of
 *      an action; the active one may be the `child` of a merge.
 *   2. Applying actions until there are none ends, after fewer actions than
 *      there are layers.
 *   3. What every pinned layer and the active one read as never changes.
 */
#include "engine/planner.h"

#include <assert.h>
#include <string.h>

const struct planner_layer *
planner_find(const struct planner_tree *tree, int64_t id)
{
    for (size_t i = 0; id != 0 && i < tree->count; i++) {
        if (tree->layers[i].id == id)
            return &tree->layers[i];
    }
    return NULL;
}

size_t
planner_children(const struct planner_tree *tree, int64_t id)
{
    size_t children = 0;

    for (size_t i = 0; i < tree->count; i++)
        children += tree->layers[i].parent == id;
    return children;
}

static const struct planner_layer *
only_child(const struct planner_tree *tree, int64_t id)
{
    const struct planner_layer *found = NULL;

    for (size_t i = 0; i < tree->count; i++) {
        if (tree->layers[i].parent != id)
            continue;
        if (found != NULL)
            return NULL;
        found = &tree->layers[i];
    }
    return found;
}

/* Distance from the root.  A cycle would be our own mistake. */
static size_t
depth_of(const struct planner_tree *tree, const struct planner_layer *layer)
{
    size_t depth = 0;

    while (layer != NULL && layer->parent != 0) {
        layer = planner_find(tree, layer->parent);
        depth++;
        assert(depth <= tree->count);
    }
    return depth;
}

static bool
is_free(const struct planner_tree *tree, const struct planner_layer *layer)
{
    return !layer->is_foreign && !layer->is_pinned && layer->id != tree->active;
}

struct planner_action
planner_next(const struct planner_tree *tree)
{
    struct planner_action best = {.kind = PLANNER_NOTHING};
    size_t best_depth = 0;

    for (size_t i = 0; i < tree->count; i++) {
        const struct planner_layer *layer = &tree->layers[i];
        const struct planner_layer *child;
        size_t depth;

        if (!is_free(tree, layer))
            continue;
        if (planner_children(tree, layer->id) == 0)
            return (struct planner_action){.kind = PLANNER_DELETE,
                                           .layer = layer->id};
        child = only_child(tree, layer->id);
        if (child == NULL || child->is_foreign)
            continue;
        depth = depth_of(tree, layer);
        if (best.kind == PLANNER_NOTHING || depth < best_depth) {
            best = (struct planner_action){
                .kind = PLANNER_MERGE, .layer = layer->id, .child = child->id};
            best_depth = depth;
        }
    }
    return best;
}

size_t
planner_apply(struct planner_layer *layers, size_t count, int64_t *active,
              const struct planner_action *action)
{
    int64_t below = 0;
    size_t gone = count;

    assert(action->kind != PLANNER_NOTHING);
    for (size_t i = 0; i < count; i++) {
        if (layers[i].id == action->layer) {
            gone = i;
            below = layers[i].parent;
        }
    }
    assert(gone < count && *active != action->layer);
    if (action->kind == PLANNER_MERGE) {
        for (size_t i = 0; i < count; i++) {
            if (layers[i].id == action->child)
                layers[i].parent = below;
        }
    }
    memmove(layers + gone, layers + gone + 1,
            (count - gone - 1) * sizeof(*layers));
    return count - 1;
}

bool
planner_is_ancestor(const struct planner_tree *tree, int64_t ancestor,
                    int64_t id)
{
    for (size_t steps = 0; id != 0 && steps <= tree->count; steps++) {
        const struct planner_layer *layer = planner_find(tree, id);

        if (id == ancestor)
            return true;
        id = layer != NULL ? layer->parent : 0;
    }
    return false;
}

int64_t
planner_common_ancestor(const struct planner_tree *tree, int64_t a, int64_t b)
{
    for (size_t steps = 0; a != 0 && steps <= tree->count; steps++) {
        const struct planner_layer *layer = planner_find(tree, a);

        if (planner_is_ancestor(tree, a, b))
            return a;
        a = layer != NULL ? layer->parent : 0;
    }
    return 0;
}
