/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_choice.h -- in which direction to merge two layers.
 *
 * Forward (commit_layer): the upper layer's content goes into the lower one's
 * file, which stays; what rests on the upper one must be rebased.  Backward
 * (commit_pull): what only the lower one holds goes into the upper one's file,
 * which stays; nothing above notices.  Either way the two become one that
 * reads as the upper one did, and the content of the lower one is gone.
 */
#ifndef IMAGE_COMMIT_CHOICE_H
#define IMAGE_COMMIT_CHOICE_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a direction is out of the question; the names never change. */
enum commit_bar {
    COMMIT_BAR_NONE = 0, /* "none" */
    COMMIT_BAR_SHARED,   /* "parent-shared": others need its content */
    COMMIT_BAR_FOREIGN,  /* "parent-foreign": never written or removed */
    COMMIT_BAR_NAMED,    /* "file-named": others know the name that goes */
    COMMIT_BAR_REFUSED   /* "not-in-place": see its commit_refusal */
};
const char *commit_bar_name(enum commit_bar bar);

/* What there is to do in one direction, told from metadata alone. */
struct commit_work {
    enum commit_refusal refusal;
    uint64_t bytes; /* of data to be stored, whole clusters of the target */
};

/* All that the choice depends on. */
struct commit_question {
    bool parent_is_shared;  /* another layer rests on the lower one */
    bool parent_is_foreign; /* the lower file is not ours */
    bool parent_is_named;   /* somebody else knows the lower file's name */
    bool child_is_named;    /* ... the upper file's */
    struct commit_work forward;
    struct commit_work backward;
};

enum commit_direction { COMMIT_NEITHER, COMMIT_FORWARD, COMMIT_BACKWARD };

struct commit_choice {
    enum commit_direction direction;
    enum commit_bar forward; /* why not */
    enum commit_bar backward;
};

/**
 * commit_choose(question):
 * A pure function: the direction that is allowed; of both, backward if
 * it stores less than half, else forward, by which the files of a volume keep
 * the names of its oldest layers.  What only qemu-img can do forward is done
 * backward if that is allowed.
 */
struct commit_choice commit_choose(const struct commit_question *question)
    NONNULL(1);

/**
 * commit_measure(chain, count, ret_question, err):
 * Fill in both kinds of work for chain[0] over chain[1]; the four flags are
 * the caller's.  Reads metadata, takes no lock.
 *
 * Returns:    0, or -1 with *err set; what one direction refuses is no error.
 */
int commit_measure(const struct image_ref *chain, size_t count,
                   struct commit_question *ret_question, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

#endif
