/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tree.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static int
load_pins(struct state_tx *tx, struct tree_volume *volume, struct error *err)
{
    volume->plan = xcalloc(volume->layers.count, sizeof(*volume->plan));
    for (size_t i = 0; i < volume->layers.count; i++) {
        const struct state_layer *layer = &volume->layers.items[i];
        const struct state_where where[] = {STATE_INT("layer_id", layer->id)};
        uint64_t pins = 0;

        if (state_pin_count(tx, STATE_QUERY(where), &pins, err) < 0)
            return -1;
        volume->plan[i] = (struct planner_layer){
            .id = layer->id,
            .parent = layer->parent_id,
            .is_foreign = layer->is_foreign != 0,
            .is_pinned = pins > 0,
        };
    }
    return 0;
}

static int
load_volume(struct state_tx *tx, const struct state_volume *row,
            struct tree_volume *ret_volume, struct error *err)
{
    const struct state_where where[] = {STATE_INT("volume_id", row->id)};

    state_volume_copy(&ret_volume->row, row);
    if (state_layer_list(tx, STATE_QUERY(where), &ret_volume->layers, err) < 0)
        return -1;
    return load_pins(tx, ret_volume, err);
}

int
tree_load(struct state_tx *tx, int64_t vm_id, struct tree **ret_tree,
          struct error *err)
{
    AUTO_TREE struct tree *tree = xcalloc(1, sizeof(*tree));
    AUTO_STATE_LIST(volume) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        STATE_LIVING};
    const struct state_query query = {
        .where = where, .where_count = 2, .order = "device_id"};

    if (state_vm_get(tx, vm_id, &tree->vm, err) < 0 ||
        state_volume_list(tx, &query, &rows, err) < 0)
        return -1;
    tree->volumes = xcalloc(rows.count, sizeof(*tree->volumes));
    for (size_t i = 0; i < rows.count; i++) {
        tree->count++;
        if (load_volume(tx, &rows.items[i], &tree->volumes[i], err) < 0)
            return -1;
    }
    *ret_tree = steal(&tree);
    return 0;
}

int
tree_read(struct state *state, int64_t vm_id, struct tree **ret_tree,
          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, err);

    return tx != NULL ? tree_load(tx, vm_id, ret_tree, err) : -1;
}

void
tree_free(struct tree *tree)
{
    if (tree == NULL)
        return;
    for (size_t i = 0; i < tree->count; i++) {
        state_volume_release(&tree->volumes[i].row);
        state_layer_list_release(&tree->volumes[i].layers);
        free(tree->volumes[i].plan);
    }
    state_vm_release(&tree->vm);
    free(tree->volumes);
    free(tree);
}

void
tree_cleanup(struct tree **tree)
{
    tree_free(*tree);
}

struct tree_volume *
tree_find_volume(struct tree *tree, int64_t volume_id)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->volumes[i].row.id == volume_id)
            return &tree->volumes[i];
    }
    return NULL;
}

struct tree_volume *
tree_find_uuid(struct tree *tree, const char *uuid)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (strcmp(tree->volumes[i].row.uuid, uuid) == 0)
            return &tree->volumes[i];
    }
    return NULL;
}

struct state_layer *
tree_find_layer(struct tree_volume *volume, int64_t layer_id)
{
    for (size_t i = 0; layer_id != 0 && i < volume->layers.count; i++) {
        if (volume->layers.items[i].id == layer_id)
            return &volume->layers.items[i];
    }
    return NULL;
}

struct planner_tree
tree_plan(const struct tree_volume *volume)
{
    return (struct planner_tree){.layers = volume->plan,
                                 .count = volume->layers.count,
                                 .active = volume->row.layer_id};
}

struct image_ref *
tree_refs(struct tree_volume *volume, int64_t layer_id, size_t *ret_count)
{
    struct image_ref *refs = xcalloc(volume->layers.count, sizeof(*refs));
    const struct state_layer *layer = tree_find_layer(volume, layer_id);

    *ret_count = 0;
    while (layer != NULL && *ret_count < volume->layers.count) {
        refs[(*ret_count)++] = (struct image_ref){.path = layer->path,
                                                  .format = tree_format(layer)};
        layer = tree_find_layer(volume, layer->parent_id);
    }
    return refs;
}

enum image_format
tree_format(const struct state_layer *layer)
{
    return layer->format != NULL && strcmp(layer->format, "raw") == 0
               ? IMAGE_RAW
               : IMAGE_QCOW2;
}
