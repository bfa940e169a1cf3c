/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting a small snapshot below a large one would copy the large one.  So
 * the direction is chosen (image/commit_choice.h), once, and is the phase in
 * the journal: `pull`, or `commit`.  From `pull` one may still turn to
 * `commit`, as long as C rests on L: a pull that was not finished changed
 * nothing that is read.  The phase is durable before the first step forward,
 * because that rebases what rests on C, and after it no pull may ever end.
 *
 * The file of a volume's lowest layer of ours keeps its name: it is the one
 * that the volume was adopted with, and others know it.
 */
#include "engine/merge_pull.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/operation.h"
#include "image/commit.h"
#include "image/commit_choice.h"
#include "image/commit_pull.h"

#include <errno.h>
#include <stdlib.h>

static bool
is_lowest(struct tree_volume *volume, const struct state_layer *layer)
{
    const struct state_layer *below =
        layer->parent_id != 0 ? tree_find_layer(volume, layer->parent_id)
                              : NULL;

    return below == NULL || below->is_foreign;
}

bool
merge_pull_is_better(const struct merge *merge, struct tree_volume *volume)
{
    const struct state_layer *layer = tree_find_layer(volume, merge->layer_id);
    const struct planner_tree plan = tree_plan(volume);
    struct commit_question question = {
        .parent_is_shared = planner_children(&plan, merge->layer_id) > 1,
        .parent_is_foreign = layer->is_foreign != 0,
        .parent_is_named = is_lowest(volume, layer),
    };
    struct error ignored = ERROR_INIT;
    size_t count;
    AUTO_FREE struct image_ref *chain =
        tree_refs(volume, merge->child_id, &count);

    if (question.parent_is_named)
        return false;
    /* What cannot be read now is told by the merge itself. */
    if (commit_measure(chain, count, &question, &ignored) < 0)
        return false;
    return commit_choose(&question).direction == COMMIT_BACKWARD;
}

/* From now on this merge goes forward, also after a death. */
static int
turn_forward(struct engine *engine, struct merge *merge, struct error *err)
{
    if (operation_set_phase(engine->state, merge->operation, OPERATION_COMMIT,
                            err) < 0)
        return -1;
    merge->is_backward = false;
    return 0;
}

int
merge_pull_files(struct engine *engine, struct job *job, struct merge *merge,
                 struct tree_volume *volume, bool live, struct error *err)
{
    struct copy_progress *progress = job != NULL ? &job->progress : NULL;
    enum commit_refusal refusal;
    size_t count;
    AUTO_FREE struct image_ref *chain =
        tree_refs(volume, merge->child_id, &count);

    merge->way = "pull";
    if (live) {
        int done = commit_pull_is_done(chain, count, err);

        return done != 0 ? done : turn_forward(engine, merge, err);
    }
    if (fault_here("merge.pull"))
        return error_set_errno(err, errno, "pull into '%s'", merge->child_path);
    if (commit_pull(chain, count, progress, &refusal, err) < 0) {
        if (refusal == COMMIT_REFUSAL_NONE)
            return -1;
        log_info("merge-turned", "vm=%s disk=%s top='%s' reason=%s",
                 merge->vm_name, merge->target, merge->child_path,
                 commit_refusal_name(refusal));
        error_clear(err);
        return turn_forward(engine, merge, err);
    }
    if (fault_here("merge.pulled"))
        return error_set_errno(err, errno, "after the pull into '%s'",
                               merge->child_path);
    return 1;
}
