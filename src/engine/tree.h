/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h -- a machine's volumes and their layers, as our record has them.
 *
 * Threads:    one at a time for each tree; it is a copy, and only the
 *             machine's job queue keeps it from becoming old.
 */
#ifndef ENGINE_TREE_H
#define ENGINE_TREE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/planner.h"
#include "image/blockdev.h"
#include "state/state.h"

struct tree_volume {
    struct state_volume row;
    struct state_layer_list layers;
    struct planner_layer *plan; /* owned; one for each of `layers` */
};

struct tree {
    struct state_vm vm;
    struct tree_volume *volumes; /* owned */
    size_t count;
};

/**
 * tree_load(tx, vm_id, ret_tree, err):
 * Read the machine, its living volumes, their layers and what pins them.
 */
int tree_load(struct state_tx *tx, int64_t vm_id, struct tree **ret_tree,
              struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* tree_load() in a transaction of its own. */
int tree_read(struct state *state, int64_t vm_id, struct tree **ret_tree,
              struct error *err) MUST_CHECK NONNULL(1, 3, 4);

void tree_free(struct tree *tree);
void tree_cleanup(struct tree **tree);
#define AUTO_TREE CLEANUP(tree_cleanup)

/* Borrowed, or NULL. */
struct tree_volume *tree_find_volume(struct tree *tree, int64_t volume_id)
    NONNULL(1);
struct tree_volume *tree_find_uuid(struct tree *tree, const char *uuid)
    NONNULL(1, 2);
struct state_layer *tree_find_layer(struct tree_volume *volume,
                                    int64_t layer_id) NONNULL(1);

/* The planner's view of one volume; borrowed from it. */
struct planner_tree tree_plan(const struct tree_volume *volume) NONNULL(1);

/**
 * tree_refs(volume, layer_id, ret_count):
 * The chain of files from that layer down, top first, foreign ones included.
 *
 * Ownership:  the caller frees the array; paths are borrowed from `volume`.
 */
struct image_ref *tree_refs(struct tree_volume *volume, int64_t layer_id,
                            size_t *ret_count) MUST_CHECK NONNULL(1, 3);

/* The format of a layer; our own record never holds anything else. */
enum image_format tree_format(const struct state_layer *layer) NONNULL(1);

#endif
