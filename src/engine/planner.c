/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees are small (a machine rarely has more than a few dozen layers), but one
 * with a thousand hidden snapshots must not cost more than milliseconds, and
 * planner_next() is asked before every action: it sorts the layers by id once
 * and looks at each a few times.  The small questions below it scan.
 *
 * Invariants, tested over random trees:
 *   1. A foreign or pinned layer, and the active one, is never the `layer` of
 *      an action; the active one may be the `child` of a merge.
 *   2. Applying actions until there are none ends, after fewer actions than
 *      there are layers.
 *   3. What every pinned layer and the active one read as never changes.
 */
#include "engine/planner.h"

#include "base/memory.h"

#include <assert.h>
#include <stdlib.h>
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

/* -- an index of one tree ------------------------------------------------- */

#define NO_LAYER SIZE_MAX

struct plan_node {
    int64_t id;
    size_t at;       /* in tree->layers */
    size_t parent;   /* a node, or NO_LAYER */
    size_t children; /* how many */
    size_t child;    /* one of them */
    size_t depth;    /* layers from here down; 0: not known yet */
};

struct plan_index {
    struct plan_node *nodes; /* owned; by id */
    size_t count;
    uint64_t looks; /* how often a layer was looked at */
};

static int
compare_nodes(const void *a, const void *b)
{
    const struct plan_node *left = a;
    const struct plan_node *right = b;

    return (left->id > right->id) - (left->id < right->id);
}

static size_t
find_node(struct plan_index *index, int64_t id)
{
    size_t low = 0;
    size_t high = index->count;

    while (id != 0 && low < high) {
        size_t middle = low + (high - low) / 2;

        index->looks++;
        if (index->nodes[middle].id == id)
            return middle;
        if (index->nodes[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NO_LAYER;
}

static void
index_build(struct plan_index *index, const struct planner_tree *tree)
{
    index->count = tree->count;
    index->nodes = xcalloc(tree->count + 1, sizeof(*index->nodes));
    for (size_t i = 0; i < tree->count; i++)
        index->nodes[i] = (struct plan_node){.id = tree->layers[i].id, .at = i};
    qsort(index->nodes, index->count, sizeof(*index->nodes), compare_nodes);
    for (size_t i = 0; i < index->count; i++) {
        struct plan_node *node = &index->nodes[i];

        node->parent = find_node(index, tree->layers[node->at].parent);
        if (node->parent == NO_LAYER)
            continue;
        index->nodes[node->parent].children++;
        index->nodes[node->parent].child = i;
    }
}

/* Distance from the root, from 1.  Each layer is walked over once: what is
 * found out on the way down is kept.  A cycle would be our own mistake. */
static size_t
depth_of(struct plan_index *index, size_t at)
{
    size_t steps = 0;
    size_t depth = 0;

    for (size_t i = at; i != NO_LAYER; i = index->nodes[i].parent) {
        if (index->nodes[i].depth != 0) {
            depth = index->nodes[i].depth;
            break;
        }
        steps++;
        assert(steps <= index->count);
    }
    for (size_t i = at; steps > 0; i = index->nodes[i].parent) {
        index->looks++;
        index->nodes[i].depth = depth + steps--;
    }
    return index->nodes[at].depth;
}

static bool
is_free(const struct planner_tree *tree, const struct planner_layer *layer)
{
    return !layer->is_foreign && !layer->is_pinned && layer->id != tree->active;
}

/* Is the first merge better than the other?  Nearer to the root; of two
 * that are as near, the one that stands first. */
static bool
is_nearer(struct plan_index *index, size_t node, size_t than)
{
    size_t depth = depth_of(index, node);
    size_t other = depth_of(index, than);

    return depth < other ||
           (depth == other && index->nodes[node].at < index->nodes[than].at);
}

static struct planner_action
choose(const struct planner_tree *tree, struct plan_index *index)
{
    size_t delete = NO_LAYER;
    size_t merge = NO_LAYER;

    for (size_t i = 0; i < index->count; i++) {
        const struct plan_node *node = &index->nodes[i];

        index->looks++;
        if (!is_free(tree, &tree->layers[node->at]) || node->children > 1)
            continue;
        if (node->children == 0) {
            if (delete == NO_LAYER || node->at < index->nodes[delete].at)
                delete = i;
        } else if (!tree->layers[index->nodes[node->child].at].is_foreign &&
                   (merge == NO_LAYER || is_nearer(index, i, merge))) {
            merge = i;
        }
    }
    if (delete != NO_LAYER)
        return (struct planner_action){.kind = PLANNER_DELETE,
                                       .layer = index->nodes[delete].id};
    if (merge != NO_LAYER)
        return (struct planner_action){
            .kind = PLANNER_MERGE,
            .layer = index->nodes[merge].id,
            .child = index->nodes[index->nodes[merge].child].id};
    return (struct planner_action){.kind = PLANNER_NOTHING};
}

struct planner_action
planner_next(const struct planner_tree *tree)
{
    struct plan_index index = {.nodes = NULL};
    struct planner_action action;

    index_build(&index, tree);
    action = choose(tree, &index);
    if (tree->looks != NULL)
        *tree->looks += index.looks;
    free(index.nodes);
    return action;
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
