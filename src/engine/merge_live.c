/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's block job is looked for before one is started, so that a job that
 * an earlier varved began is taken over, also one that waits READY.  A job's
 * end counts only by its event and by QEMU's chain afterwards.  One that ended
 * without its work done, or that is cancelled, is given up: the chain is right
 * as it is, so the operation ends and the machine may be started again.
 */
#include "engine/merge_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/hold.h"
#include "engine/merge_slow.h"
#include "engine/operation.h"
#include "engine/views.h"
#include "image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMPARE_BYTES ((size_t)1 << 20)

/* 1 when QEMU's chain still has C, 0 when it does not (any more). */
static int
chain_has_child(struct engine *engine, const struct merge *merge,
                struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    bool has_layer = false;
    bool has_child = false;

    if (hv_view(engine->hv, merge->vm_uuid, merge->target, &view, err) < 0)
        return -1;
    for (size_t i = 0; i < view.qemu_count; i++) {
        has_layer |= views_same_file(view.qemu_chain[i], merge->layer_path);
        has_child |= views_same_file(view.qemu_chain[i], merge->child_path);
    }
    if (!has_layer)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' disk '%s': '%s' is not in QEMU's chain",
                         merge->vm_name, merge->target, merge->layer_path);
    return has_child;
}

/* QEMU's chain has no C: known, before anything else is done about it. */
static int
note_pivoted(struct engine *engine, const struct merge *merge,
             struct error *err)
{
    if (!merge->is_active)
        return 0;
    if (fault_here("merge.pivot-seen"))
        return error_set_errno(err, errno, "after pivot of '%s' was seen",
                               merge->target);
    if (operation_set_phase(engine->state, merge->operation, OPERATION_PIVOTED,
                            err) < 0)
        return -1;
    if (fault_here("merge.pivoted"))
        return error_set_errno(err, errno, "go on after pivot of '%s'",
                               merge->target);
    return 0;
}

static int
pivot(struct engine *engine, struct job *job, const struct merge *merge,
      struct merge_slow *slow, struct error *err)
{
    if (operation_set_phase(engine->state, merge->operation, OPERATION_PIVOT,
                            err) < 0)
        return -1;
    if (fault_here("merge.before-pivot"))
        return error_set_errno(err, errno, "before pivot of '%s'",
                               merge->target);
    if (merge_pivot(engine, job, merge, slow, err) < 0)
        return -1;
    if (fault_here("merge.after-pivot"))
        return error_set_errno(err, errno, "after pivot of '%s'",
                               merge->target);
    return 0;
}

/* 1 when the file above C still names C in its header; 0 when QEMU's job had
 * got as far as that before it failed. */
static int
is_named_above(struct engine *engine, const struct merge *merge,
               struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
    AUTO_FREE char *below = NULL;
    size_t i = 0;

    if (hv_view(engine->hv, merge->vm_uuid, merge->target, &view, err) < 0)
        return -1;
    while (i < view.qemu_count &&
           !views_same_file(view.qemu_chain[i], merge->child_path))
        i++;
    if (i == 0 || i == view.qemu_count)
        return 1; /* the active layer: nothing rests on it */
    if (qcow2_read_info(view.qemu_chain[i - 1], info, err) < 0)
        return -1;
    if (!info->has_backing)
        return 0;
    below = path_resolve_backing(view.qemu_chain[i - 1], info->backing_name);
    return views_same_file(below, merge->child_path);
}

/*
 * The job is to end, or has ended, without its work done.  The chain reads as
 * before, C masks what L's file holds, so nothing has to be put right: the
 * operation is over.  Only when a header was changed already does it stay, to
 * be done again.  Returns -1, or 1 when it was done after all.
 */
static int
give_up_for(struct engine *engine, const struct merge *merge, const char *why,
            const char *remedy, struct error *err)
{
    enum error_code code = err->code != ERROR_NONE ? err->code : ERROR_CONFLICT;
    struct error failed = ERROR_INIT;
    int has_child;
    int is_named = 1;

    if (hv_job_abort(engine->hv, merge->vm_uuid, merge->target, &failed) < 0 ||
        (has_child = chain_has_child(engine, merge, &failed)) < 0 ||
        (has_child > 0 &&
         (is_named = is_named_above(engine, merge, &failed)) < 0)) {
        *err = failed;
        return -1;
    }
    error_clear(err);
    if (has_child == 0)
        return 1;
    if (is_named == 0)
        return error_set(err, code,
                         "machine '%s' disk '%s': the merge %s half-way; it "
                         "is done again",
                         merge->vm_name, merge->target, why);
    if (fault_here("merge.given-up"))
        return error_set_errno(err, errno, "give up the merge of '%s'",
                               merge->target);
    if (operation_end(engine->state, merge->operation, err) < 0 ||
        hold_clear(engine->hold_dir, merge->vm_uuid, err) < 0)
        return -1;
    log_info("merge-given-up", "vm=%s disk=%s reason='%s'", merge->vm_name,
             merge->target, why);
    return error_set(err, code,
                     "machine '%s' disk '%s': the merge %s; nothing is lost, "
                     "the guest's disk is as it was; %s",
                     merge->vm_name, merge->target, why, remedy);
}

static int
give_up(struct engine *engine, const struct merge *merge, const char *why,
        struct error *err)
{
    return give_up_for(engine, merge, why,
                       "delete the snapshot again to merge it", err);
}

/* The guest outruns it. */
static int
give_up_outrun(struct engine *engine, const struct merge *merge,
               const struct merge_slow *slow, struct error *err)
{
    AUTO_FREE char *why = xasprintf(
        "does not come to an end, since the guest writes as fast as is "
        "copied%s",
        slow->operation != 0 ? ", also while it was slowed" : "");
    AUTO_FREE char *remedy = xasprintf(
        "delete the snapshot again when the guest writes less or is stopped, "
        "or raise snapshot.merge.slow.budget (%lld s)",
        (long long)slow->budget_s);

    return give_up_for(engine, merge, why, remedy, err);
}

/*
 * No job is there.  The pivot that an earlier run asked for has come, or never
 * will: then that is written down before a new job makes L's file differ.
 * 0 it will not, 1 it has come, -1.
 */
static int
take_back_pivot(struct engine *engine, const struct merge *merge,
                struct error *err)
{
    int has_child = chain_has_child(engine, merge, err);

    if (has_child <= 0)
        return has_child < 0 ? -1 : 1;
    return operation_set_phase(engine->state, merge->operation,
                               OPERATION_COMMIT, err);
}

/* 0 it runs, 1 nothing is left to be done, -1. */
static int
start_job(struct engine *engine, const struct merge *merge, struct error *err)
{
    int pivoted =
        merge->is_pivot_asked ? take_back_pivot(engine, merge, err) : 0;

    if (pivoted != 0)
        return pivoted;
    if (fault_here("merge.start"))
        return error_set_errno(err, errno, "start commit of '%s'",
                               merge->target);
    if (hv_commit_start(engine->hv, merge->vm_uuid, merge->target,
                        merge->is_active ? NULL : merge->child_path,
                        merge->layer_path, 0, err) < 0)
        return -1;
    if (fault_here("merge.started"))
        return error_set_errno(err, errno, "after start of '%s'",
                               merge->target);
    return 0;
}

/* 0 go on (to the pivot if it is ready), 1 done without it, -1. */
static int
copy(struct engine *engine, struct job *job, const struct merge *merge,
     struct merge_slow *slow, struct hv_job *state, struct error *err)
{
    int begun =
        hv_job_query(engine->hv, merge->vm_uuid, merge->target, state, err);

    if (begun == 0 && state->state == HV_JOB_NONE)
        begun = start_job(engine, merge, err);
    if (begun != 0)
        return begun;
    if (state->state != HV_JOB_READY &&
        merge_wait(engine, job, merge, slow, state, err) < 0)
        return err->code == ERROR_CANCELLED
                   ? give_up(engine, merge, "was cancelled", err)
                   : -1;
    switch (state->state) {
    case HV_JOB_FAILED:
        return give_up(engine, merge, "failed in QEMU", err);
    case HV_JOB_CANCELLED:
        return give_up(engine, merge, "was aborted by somebody else", err);
    case HV_JOB_RUNNING:
        return give_up_outrun(engine, merge, slow, err);
    case HV_JOB_NONE:
    case HV_JOB_READY:
    case HV_JOB_COMPLETED:
        break;
    }
    return 0;
}

static int
carry_out(struct engine *engine, struct job *job, const struct merge *merge,
          struct merge_slow *slow, struct error *err)
{
    struct hv_job state = {.state = HV_JOB_NONE};
    int has_child = chain_has_child(engine, merge, err);
    int done;

    if (has_child <= 0)
        return has_child < 0 ? -1 : note_pivoted(engine, merge, err);
    done = copy(engine, job, merge, slow, &state, err);
    if (done < 0)
        return -1;
    if (done == 0 && state.state == HV_JOB_READY &&
        pivot(engine, job, merge, slow, err) < 0)
        return -1;
    /* However it ended, with an event or none: QEMU's chain is the proof. */
    has_child = chain_has_child(engine, merge, err);
    if (has_child <= 0)
        return has_child < 0 ? -1 : note_pivoted(engine, merge, err);
    /* It ended and nobody was told how: as if it was aborted. */
    return state.state == HV_JOB_NONE
               ? give_up(engine, merge, "ended without its work done", err)
               : error_set(err, ERROR_CONFLICT,
                           "machine '%s' disk '%s': QEMU still uses '%s' after "
                           "the merge",
                           merge->vm_name, merge->target, merge->child_path);
}

int
merge_live(struct engine *engine, struct job *job, const struct merge *merge,
           struct error *err)
{
    struct error failed = ERROR_INIT;
    struct merge_slow slow;
    int result;

    if (merge_slow_init(engine, &slow, err) < 0)
        return -1;
    result = carry_out(engine, job, merge, &slow, err);
    if (merge_slow_end(engine, merge, &slow, &failed) < 0 && result == 0) {
        *err = failed;
        result = -1;
    }
    return result;
}

/* 1 when both read the same in all of these ranges, 0 when not. */
static int
read_the_same(struct blockdev *one, struct blockdev *other,
              const struct extents *set, struct error *err)
{
    AUTO_FREE char *left = xmalloc(COMPARE_BYTES);
    AUTO_FREE char *right = xmalloc(COMPARE_BYTES);

    for (size_t i = 0; i < set->count; i++) {
        struct extent rest = set->items[i];

        while (rest.length > 0) {
            size_t part = (size_t)MIN(rest.length, (uint64_t)COMPARE_BYTES);

            if (blockdev_read(one, left, part, rest.offset, err) < 0 ||
                blockdev_read(other, right, part, rest.offset, err) < 0)
                return -1;
            if (memcmp(left, right, part) != 0)
                return 0;
            rest.offset += part;
            rest.length -= part;
        }
    }
    return 1;
}

/* What C decides of and L's file does not, although QEMU has flushed all of it
 * to there when it pivots.  Nothing where L's file would not show that: a raw
 * one, and one of version 2, which forgets what the guest discards. */
static int
never_copied(const struct merge *merge, const struct extents *held,
             struct extents *ret_missing, struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
    AUTO_EXTENTS struct extents below = EXTENTS_INIT;

    if (strcmp(merge->layer_format, "qcow2") != 0)
        return 0;
    if (qcow2_read_info(merge->layer_path, info, err) < 0)
        return -1;
    if (info->version < 3)
        return 0;
    if (qcow2_allocated(merge->layer_path, &below, err) < 0)
        return -1;
    extents_union(ret_missing, held);
    extents_subtract(ret_missing, &below);
    return 0;
}

/* The files alone: 1 pivoted, or it does not matter; 0 not; -1. */
static int
files_tell(const struct merge *merge, struct tree_volume *volume,
           struct error *err)
{
    AUTO_EXTENTS struct extents held = EXTENTS_INIT;
    AUTO_EXTENTS struct extents missing = EXTENTS_INIT;
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(volume, merge->child_id, &count);
    AUTO_BLOCKDEV struct blockdev *child =
        blockdev_open_chain(refs, count, BLOCKDEV_LIVE, err);
    AUTO_BLOCKDEV struct blockdev *layer =
        child == NULL
            ? NULL
            : blockdev_open_chain(refs + 1, count - 1, BLOCKDEV_LIVE, err);
    int same;

    if (layer == NULL || qcow2_allocated(merge->child_path, &held, err) < 0 ||
        never_copied(merge, &held, &missing, err) < 0)
        return -1;
    same = read_the_same(child, layer, &missing, err);
    if (same <= 0)
        return same;
    same = read_the_same(child, layer, &held, err);
    if (same != 0)
        return same;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' disk '%s': it ended while QEMU went over "
                     "from '%s' to '%s', and nothing proves in which of them "
                     "the guest wrote last: 'qemu-img commit -d' the first if "
                     "that is right, or let the machine's definition name the "
                     "second; then settle it",
                     merge->vm_name, merge->target, merge->child_path,
                     merge->layer_path);
}

int
merge_pivot_happened(struct engine *engine, const struct merge *merge,
                     struct tree_volume *volume, struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    if (hv_view(engine->hv, merge->vm_uuid, merge->target, &view, err) < 0)
        return -1;
    if (view.inactive_top != NULL &&
        views_same_file(view.inactive_top, merge->layer_path))
        return 1;
    return files_tell(merge, volume, err);
}
