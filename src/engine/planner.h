/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planner.h -- which layers of a volume should be merged or deleted next.
 *
 * A pure function of the tree: no I/O, no clock, no state.  The rule
 * (docs/design/0001): a layer that nobody pins and that is not foreign
 *   - with no child is deleted,
 *   - with exactly one child is merged with that child (the child's content
 *     goes down into the layer's file),
 *   - with two or more children stays.
 * The active layer is pinned by the volume itself.  The delete, revert and
 * hidden-parent tables of VM snapshots (semantics 2.5, 2.6) and the handling
 * of what backups leave on primary storage (5.6, 5.7) follow from it.
 */
#ifndef ENGINE_PLANNER_H
#define ENGINE_PLANNER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct planner_layer {
    int64_t id;     /* not 0 */
    int64_t parent; /* id of the layer below, 0 for none */
    bool is_foreign;
    bool is_pinned; /* by a VM snapshot, a backup, a running restore ... */
    uint64_t bytes; /* allocated; only to choose among equals; 0: not known */
};

struct planner_tree {
    const struct planner_layer *layers; /* borrowed */
    size_t count;
    int64_t active;  /* id of the layer that the guest writes; 0 for none */
    uint64_t *looks; /* or NULL; planner_next() adds how often it looked at a
                        layer: n log n for n layers */
};

enum planner_kind {
    PLANNER_NOTHING,
    PLANNER_DELETE, /* unlink `layer` */
    PLANNER_MERGE   /* commit `child` into `layer`; the child takes over the
                       layer's file and place in the tree */
};

struct planner_action {
    enum planner_kind kind;
    int64_t layer;
    int64_t child; /* of PLANNER_MERGE, else 0 */
};

/**
 * planner_next(tree):
 * The next thing to do; PLANNER_NOTHING when the tree is as small as it can
 * be.  Deletions come first; of merges the one nearest to the root, so that
 * no byte is copied twice.
 */
struct planner_action planner_next(const struct planner_tree *tree) NONNULL(1);

/* How many layers have `id` as their parent. */
size_t planner_children(const struct planner_tree *tree, int64_t id) NONNULL(1);

/**
 * planner_apply(layers, count, active, action):
 * The tree after `action`: what the database does for real.  The array is
 * changed in place; returns the new count.
 */
size_t planner_apply(struct planner_layer *layers, size_t count,
                     int64_t *active, const struct planner_action *action)
    NONNULL(1, 3, 4);

/**
 * planner_is_ancestor(tree, ancestor, id):
 * True when `ancestor` is `id` itself or lies below it.
 */
bool planner_is_ancestor(const struct planner_tree *tree, int64_t ancestor,
                         int64_t id) NONNULL(1);

/**
 * planner_common_ancestor(tree, a, b):
 * The highest layer that lies below (or is) both, or 0.
 */
int64_t planner_common_ancestor(const struct planner_tree *tree, int64_t a,
                                int64_t b) NONNULL(1);

/* The layer of that id, or NULL. */
const struct planner_layer *planner_find(const struct planner_tree *tree,
                                         int64_t id) NONNULL(1);

#endif
