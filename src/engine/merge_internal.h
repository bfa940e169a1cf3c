/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_internal.h -- shared by merge.c and merge_live.c.
 */
#ifndef ENGINE_MERGE_INTERNAL_H
#define ENGINE_MERGE_INTERNAL_H

#include "engine/merge.h"

/* One merge; texts are borrowed from the tree. */
struct merge {
    int64_t vm_id;
    const char *vm_uuid;
    const char *vm_name;
    int64_t volume_id;
    const char *target;
    int64_t layer_id; /* L, the lower one, whose file stays */
    int64_t child_id; /* C, whose content stays */
    const char *layer_path;
    const char *layer_format;
    const char *child_path;
    bool is_active;          /* C is what the guest writes */
    bool is_on_active_chain; /* a running QEMU has both open */
    bool is_committed;       /* known: L's file holds C's content already */
    int64_t operation;
};

/**
 * merge_live(engine, job, merge, err):
 * Part 1 inside a running QEMU: start, or go on with, its block job; wait;
 * pivot if C is the active layer; see that QEMU's chain is what it must be.
 */
int merge_live(struct engine *engine, struct job *job,
               const struct merge *merge, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * merge_pivot_happened(engine, merge, err):
 * For a stopped machine whose pivot was asked for and never answered: did the
 * guest go on in L's file?  The definition says so, or both files read the
 * same (then it does not matter), or the one that was written last.
 *
 * Returns:    1 yes, 0 no, -1 with *err set.
 */
int merge_pivot_happened(struct engine *engine, const struct merge *merge,
                         struct tree_volume *volume, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
