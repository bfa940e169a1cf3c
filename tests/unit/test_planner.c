/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/compiler.h"
#include "check.h"
#include "engine/planner.h"

#include <stdbool.h>

#define LAYERS_MAX 24

/* A tree under test, with what every layer reads as: a set of writes, one bit
 * for each layer that was ever in its chain. */
struct model {
    struct planner_layer layers[LAYERS_MAX];
    uint64_t own[LAYERS_MAX + 1]; /* by id: the bits of the layer's file */
    size_t count;
    int64_t active;
    int64_t next;
};

static struct planner_tree
tree_of(const struct model *model)
{
    return (struct planner_tree){.layers = model->layers,
                                 .count = model->count,
                                 .active = model->active};
}

static void
add(struct model *model, int64_t parent, bool foreign, bool pinned)
{
    int64_t id = ++model->next;

    model->layers[model->count++] = (struct planner_layer){
        .id = id, .parent = parent, .is_foreign = foreign, .is_pinned = pinned};
    model->own[id] = UINT64_C(1) << id;
}

static struct planner_layer *
layer(struct model *model, int64_t id)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->layers[i].id == id)
            return &model->layers[i];
    }
    return NULL;
}

/* The same where it must be there. */
static struct planner_layer *
the(struct model *model, int64_t id)
{
    struct planner_layer *found = layer(model, id);

    if (found == NULL)
        abort();
    return found;
}

static uint64_t
reads_as(struct model *model, int64_t id)
{
    uint64_t bits = 0;

    for (struct planner_layer *l = layer(model, id); l != NULL;
         l = layer(model, l->parent))
        bits |= model->own[l->id];
    return bits;
}

static void
apply(struct model *model, const struct planner_action *action)
{
    if (action->kind == PLANNER_MERGE)
        model->own[action->child] |= model->own[action->layer];
    model->count =
        planner_apply(model->layers, model->count, &model->active, action);
}

/* Apply until nothing is left; returns how many actions it took. */
static size_t
settle(struct model *model)
{
    for (size_t actions = 0;; actions++) {
        struct planner_tree tree = tree_of(model);
        struct planner_action action = planner_next(&tree);

        if (action.kind == PLANNER_NOTHING)
            return actions;
        CHECK(actions < LAYERS_MAX);
        apply(model, &action);
    }
}

static void
random_trees_keep_what_is_pinned(void)
{
    unsigned seed = 20260301;

    for (int round = 0; round < 20000; round++) {
        struct model model = {.count = 0};
        struct model before;
        int layers = 1 + rand_r(&seed) % (LAYERS_MAX - 1);
        size_t actions;

        for (int i = 0; i < layers; i++) {
            int64_t parent = i == 0 ? 0 : 1 + rand_r(&seed) % i;
            /* Foreign layers lie below ours. */
            bool foreign = i == 0 && rand_r(&seed) % 3 == 0;

            add(&model, parent, foreign, rand_r(&seed) % 3 == 0);
        }
        model.active = model.next;
        before = model;
        actions = settle(&model);
        CHECK(actions < before.count);
        for (size_t i = 0; i < before.count; i++) {
            const struct planner_layer *was = &before.layers[i];

            if (!was->is_pinned && !was->is_foreign && was->id != before.active)
                continue;
            CHECK(layer(&model, was->id) != NULL);
            CHECK(reads_as(&model, was->id) == reads_as(&before, was->id));
        }
        for (size_t i = 0; i < model.count; i++) {
            const struct planner_layer *l = &model.layers[i];
            struct planner_tree tree = tree_of(&model);

            if (l->is_pinned || l->is_foreign || l->id == model.active)
                continue;
            CHECK(planner_children(&tree, l->id) >= 2);
        }
    }
}

static void
merges_begin_at_the_root(void)
{
    struct model model = {.count = 0};
    struct planner_tree tree;
    struct planner_action action;

    add(&model, 0, false, false);
    add(&model, 1, false, false);
    add(&model, 2, false, false);
    model.active = 3;
    tree = tree_of(&model);
    action = planner_next(&tree);
    CHECK(action.kind == PLANNER_MERGE && action.layer == 1 &&
          action.child == 2);
    CHECK(settle(&model) == 2 && model.count == 1);
    CHECK(model.layers[0].id == 3);
}

static void
a_foreign_layer_is_never_touched(void)
{
    struct model model = {.count = 0};

    add(&model, 0, true, false);
    add(&model, 1, true, false);
    add(&model, 2, false, false);
    add(&model, 3, false, false);
    model.active = 4;
    CHECK(settle(&model) == 1);
    CHECK(model.count == 3 && layer(&model, 1) != NULL &&
          layer(&model, 2) != NULL && layer(&model, 4) != NULL);
}

static void
a_layer_with_several_children_stays_until_one_is_left(void)
{
    struct model model = {.count = 0};

    add(&model, 0, false, false); /* 1: hidden */
    add(&model, 1, false, true);  /* 2 */
    add(&model, 1, false, false); /* 3: active */
    model.active = 3;
    CHECK(settle(&model) == 0);
    the(&model, 2)->is_pinned = false;
    CHECK(settle(&model) == 2); /* 2 goes, then 1 merges with 3 */
    CHECK(model.count == 1 && model.layers[0].id == 3);
}

/*
 * The deletion test of document 001: s1 s2 s3, revert s2, s4, delete s2, s3,
 * s5, revert s4, delete s4, s5, s1.  Layer ids: base 1 (s1), 2 (s2), 3 (s3),
 * 4 active after s3; ...
 */
static void
the_documents_deletion_test_holds(void)
{
    struct model model = {.count = 0};

    add(&model, 0, false, true); /* 1: s1 */
    add(&model, 1, false, true); /* 2: s2 */
    add(&model, 2, false, true); /* 3: s3 */
    add(&model, 3, false, false);
    model.active = 4;
    add(&model, 2, false, false); /* revert to s2: 5 on 2 */
    model.active = 5;
    CHECK(settle(&model) == 1 && layer(&model, 4) == NULL);
    the(&model, 5)->is_pinned = true; /* s4 pins 5, active is 6 */
    add(&model, 5, false, false);
    model.active = 6;
    the(&model, 2)->is_pinned = false; /* delete s2: hidden */
    CHECK(settle(&model) == 0 && layer(&model, 2) != NULL);
    the(&model, 3)->is_pinned = false; /* delete s3: s2 merges with s4 */
    CHECK(settle(&model) == 2);
    CHECK(layer(&model, 2) == NULL && layer(&model, 3) == NULL);
    CHECK(the(&model, 5)->parent == 1);
    the(&model, 6)->is_pinned = true; /* s5 */
    add(&model, 6, false, false);     /* 7 */
    add(&model, 5, false, false);     /* revert to s4: 8 */
    model.active = 8;
    CHECK(settle(&model) == 1 && layer(&model, 7) == NULL);
    the(&model, 5)->is_pinned = false; /* delete s4: hidden */
    CHECK(settle(&model) == 0);
    the(&model, 6)->is_pinned = false; /* delete s5: s4 merges with active */
    CHECK(settle(&model) == 2 && layer(&model, 5) == NULL);
    the(&model, 1)->is_pinned = false; /* delete s1 */
    CHECK(settle(&model) == 1);
    CHECK(model.count == 1 && model.layers[0].id == 8);
}

static void
ancestors_are_found(void)
{
    struct model model = {.count = 0};
    struct planner_tree tree;

    add(&model, 0, false, false); /* 1 */
    add(&model, 1, false, false); /* 2 */
    add(&model, 2, false, false); /* 3 */
    add(&model, 1, false, false); /* 4 */
    add(&model, 0, false, false); /* 5 */
    tree = tree_of(&model);
    CHECK(planner_is_ancestor(&tree, 1, 3));
    CHECK(planner_is_ancestor(&tree, 3, 3));
    CHECK(!planner_is_ancestor(&tree, 4, 3));
    CHECK(planner_common_ancestor(&tree, 3, 4) == 1);
    CHECK(planner_common_ancestor(&tree, 3, 2) == 2);
    CHECK(planner_common_ancestor(&tree, 3, 5) == 0);
}

enum shape { CHAIN, STAR, COMB, RANDOM, SHAPES };

static int64_t
parent_in(enum shape shape, int64_t id, uint64_t *random)
{
    if (id == 1)
        return 0;
    switch (shape) {
    case CHAIN:
        return id - 1;
    case STAR:
        return 1;
    case COMB: /* a chain with a tooth on every layer */
        return id % 2 == 0 ? id - 1 : id == 3 ? 1 : id - 2;
    case RANDOM:
    case SHAPES:
        break;
    }
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return 1 + (int64_t)((*random >> 33) % (uint64_t)(id - 1));
}

/* The count is bounded, whatever the tree looks like; the time is only told. */
static void
a_thousand_layers_are_planned(void)
{
    static struct planner_layer layers[1000];
    uint64_t most = 0;
    uint64_t random = 1;
    int64_t began = clock_monotonic_ms();
    unsigned plans = 0;

    for (int shape = CHAIN; shape < SHAPES; shape++) {
        for (int every = 1; every <= 4; every++) {
            uint64_t looks = 0;
            struct planner_tree tree = {.layers = layers,
                                        .count = 1000,
                                        .active = 1000,
                                        .looks = &looks};

            for (int64_t i = 0; i < 1000; i++)
                layers[i] = (struct planner_layer){
                    .id = i + 1,
                    .parent = parent_in((enum shape)shape, i + 1, &random),
                    .is_pinned = every > 1 && i % every == 0};
            CHECK(planner_next(&tree).kind != PLANNER_NOTHING);
            CHECK(looks <= 1000 * 14);
            most = looks > most ? looks : most;
            plans++;
        }
    }
    printf("# 1000 layers: at most %llu looks; %u plans in %lld ms\n",
           (unsigned long long)most, plans,
           (long long)(clock_monotonic_ms() - began));
}

static void
the_lowest_merge_comes_first_in_a_long_chain(void)
{
    static struct planner_layer layers[1000];
    struct planner_tree tree = {
        .layers = layers, .count = 1000, .active = 1000};

    for (int64_t i = 0; i < 1000; i++)
        layers[i] = (struct planner_layer){
            .id = i + 1, .parent = i, .is_pinned = i % 2 == 0};
    CHECK(planner_next(&tree).kind == PLANNER_MERGE);
    CHECK(planner_next(&tree).layer == 2);
}

int
main(void)
{
    RUN(random_trees_keep_what_is_pinned);
    RUN(merges_begin_at_the_root);
    RUN(a_foreign_layer_is_never_touched);
    RUN(a_layer_with_several_children_stays_until_one_is_left);
    RUN(the_documents_deletion_test_holds);
    RUN(ancestors_are_found);
    RUN(a_thousand_layers_are_planned);
    RUN(the_lowest_merge_comes_first_in_a_long_chain);
    return check_done();
}
