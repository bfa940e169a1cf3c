/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A merge is written down once, with all names, and then only ever goes
 * forward: each part below looks at reality first and does what is missing,
 * so that running it again after a death at any place is the same as running
 * it for the first time.
 *
 *   1. commit C into L's file (QEMU's block job when it has them open, our
 *      own otherwise, qemu-img where that refuses: merge_tool.h);
 *   2. rebase what rests on C and is not open in QEMU;
 *   3. the definition names L's file if C was the active layer;
 *   4. one transaction: the record, the end of this operation, and the intent
 *      to unlink C's old file;
 *   5. the journal's unlink, by whoever converges (converge.c).
 *
 * A merge backward (merge_pull.h) has another part 1 and no part 2: C's file
 * stays where it is, and L's goes.
 */
#include "engine/merge.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/hold.h"
#include "engine/merge_gate.h"
#include "engine/merge_internal.h"
#include "engine/merge_pull.h"
#include "engine/merge_tool.h"
#include "engine/operation.h"
#include "engine/storages.h"
#include "engine/views.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static json_t *
merge_payload(const struct merge *merge)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:s, s:s}", "vm", (json_int_t)merge->vm_id,
        "volume", (json_int_t)merge->volume_id, "layer",
        (json_int_t)merge->layer_id, "child", (json_int_t)merge->child_id,
        "layerPath", merge->layer_path, "childPath", merge->child_path);
}

/* Rebase every layer on `child` but the one that QEMU took care of. */
static int
rebase_children(const struct merge *merge, struct tree_volume *volume,
                bool qemu_did_active_chain, struct error *err)
{
    const struct planner_tree plan = tree_plan(volume);
    const struct state_layer *layer = tree_find_layer(volume, merge->layer_id);

    for (size_t i = 0; i < volume->layers.count; i++) {
        const struct state_layer *rest = &volume->layers.items[i];

        if (rest->parent_id != merge->child_id)
            continue;
        if (qemu_did_active_chain &&
            planner_is_ancestor(&plan, rest->id, volume->row.layer_id))
            continue;
        if (fault_here("merge.rebase"))
            return error_set_errno(err, errno, "rebase '%s'", rest->path);
        if (qcow2_rebase_unsafe(rest->path, merge->layer_path,
                                tree_format(layer), err) < 0)
            return -1;
    }
    return 0;
}

/*
 * The definition names L's file if C was the active layer.  If C lay below the
 * active one, or C's file stays, the definition stays, but libvirt may have
 * written the chain into it (<backingStore>) after a live snapshot, and would
 * look for the file that goes at the next start: defining the disk again drops
 * that.
 */
static int
define_top(struct engine *engine, const struct merge *merge,
           struct tree_volume *volume, struct error *err)
{
    const struct state_layer *active =
        tree_find_layer(volume, volume->row.layer_id);
    bool takes_over = merge->is_active && !merge->is_backward;
    const struct hv_disk_change change = {
        .target = merge->target,
        .path = takes_over ? merge->layer_path : active->path,
        .format = takes_over ? merge->layer_format : active->format};

    if (!merge->is_defined)
        return 0; /* a transient machine */
    if (fault_here("merge.define"))
        return error_set_errno(err, errno, "define '%s'", merge->target);
    return hv_define_disks(engine->hv, merge->vm_uuid, &change, 1, err);
}

/* By our own commit, or by qemu-img where that refuses. */
static int
commit_files(struct job *job, struct merge *merge,
             const struct image_ref *chain, size_t count, struct error *err)
{
    struct copy_progress *progress = job != NULL ? &job->progress : NULL;
    enum commit_refusal refusal;

    merge->way = "varve";
    if (commit_layer(chain, count, progress, &refusal, err) == 0)
        return 0;
    if (!commit_refusal_is_for_qemu(refusal))
        return -1;
    log_info("merge-by-qemu-img", "vm=%s disk=%s base='%s' reason=%s",
             merge->vm_name, merge->target, merge->layer_path,
             commit_refusal_name(refusal));
    error_clear(err);
    if (job != NULL)
        job_step(job, "merging layers with qemu-img");
    merge->way = "qemu-img";
    return merge_tool_commit(chain, count, progress, err);
}

static int
commit_offline(struct engine *engine, struct job *job, struct merge *merge,
               struct tree_volume *volume, struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *chain =
        tree_refs(volume, merge->child_id, &count);

    if (fault_here("merge.commit"))
        return error_set_errno(err, errno, "commit '%s'", merge->child_path);
    if (!merge->is_committed && commit_files(job, merge, chain, count, err) < 0)
        return -1;
    if (fault_here("merge.committed"))
        return error_set_errno(err, errno, "after commit of '%s'",
                               merge->child_path);
    if (rebase_children(merge, volume, false, err) < 0)
        return -1;
    return merge->is_on_active_chain ? define_top(engine, merge, volume, err)
                                     : 0;
}

/* The file that no layer needs afterwards. */
static const char *
path_that_goes(const struct merge *merge)
{
    return merge->is_backward ? merge->layer_path : merge->child_path;
}

/* Part 4: the record, in one transaction with the intent to unlink. */
static int
record(struct engine *engine, const struct merge *merge, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(layer) layer = {0};
    AUTO_STATE(layer) child = {0};
    json_t *payload = json_pack("{s:s}", "path", path_that_goes(merge));
    int64_t unlink_operation = 0;
    int result = -1;

    if (tx == NULL || state_layer_get(tx, merge->layer_id, &layer, err) < 0 ||
        state_layer_get(tx, merge->child_id, &child, err) < 0)
        goto out;
    if (fault_here("merge.record")) {
        (void)error_set_errno(err, errno, "record of a merge");
        goto out;
    }
    if (!merge->is_backward) {
        state_set_text(&child.path, layer.path);
        state_set_text(&child.format, layer.format);
    }
    child.parent_id = layer.parent_id;
    if (state_layer_delete(tx, layer.id, err) < 0 ||
        state_layer_update(tx, &child, err) < 0 ||
        operation_insert(tx, OPERATION_UNLINK, merge->vm_uuid, OPERATION_FINISH,
                         payload, &unlink_operation, err) < 0 ||
        state_operation_delete(tx, merge->operation, err) < 0)
        goto out;
    result = state_commit(tx, err);
out:
    json_decref(payload);
    return result;
}

static int
unlink_file(struct engine *engine, const struct state_operation *row,
            const struct hv_look *look, json_t *payload, const char *path,
            struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("path", path)};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    uint64_t named = 0;
    int used;

    if (tx == NULL ||
        state_layer_count(tx, STATE_QUERY(where), &named, err) < 0)
        return -1;
    used = named > 0 ? 1 : views_is_used(engine, row->vm_uuid, look, path, err);
    if (used < 0)
        return -1;
    if (used > 0) {
        log_warning("unlink-postponed", "vm=%s path='%s'", row->vm_uuid, path);
        return error_set(err, ERROR_BUSY,
                         "'%s' is still in use, it will be removed later",
                         path);
    }
    if (fault_here("merge.unlink"))
        return error_set_errno(err, errno, "unlink '%s'", path);
    state_end(steal(&tx));
    if (storages_unlink(engine, payload, path, err) < 0)
        return -1;
    return operation_end(engine->state, row->id, err);
}

/* Before a layer is touched; a live merge looks at QEMU first. */
static int
check_allowed(const struct merge *merge, struct tree_volume *volume,
              struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *chain =
        tree_refs(volume, merge->child_id, &count);

    return merge->is_committed ? 0 : merge_tool_allows(chain, count, err);
}

/* Parts 1 to 3. */
static int
move_content(struct engine *engine, struct job *job, struct merge *merge,
             struct tree_volume *volume, bool live, struct error *err)
{
    if (merge->is_backward) {
        int pulled = merge_pull_files(engine, job, merge, volume, live, err);

        if (pulled < 0)
            return -1;
        if (pulled > 0)
            return merge->is_on_active_chain
                       ? define_top(engine, merge, volume, err)
                       : 0;
    }
    if (check_allowed(merge, volume, err) < 0)
        return -1;
    if (!live)
        return commit_offline(engine, job, merge, volume, err);
    merge->way = "qemu";
    if (merge_live(engine, job, merge, err) < 0 ||
        rebase_children(merge, volume, true, err) < 0)
        return -1;
    return merge->is_active ? define_top(engine, merge, volume, err) : 0;
}

/* Parts 1 to 4, from wherever it stands. */
static int
carry_out(struct engine *engine, struct job *job, struct merge *merge,
          struct tree_volume *volume, enum hv_state state, struct error *err)
{
    bool live = state != HV_STOPPED && merge->is_on_active_chain;

    if (move_content(engine, job, merge, volume, live, err) < 0)
        return -1;
    if (record(engine, merge, err) < 0 ||
        hold_clear(engine->hold_dir, merge->vm_uuid, err) < 0)
        return -1;
    log_info("layer-merged", "vm=%s disk=%s top='%s' base='%s' live=%d by=%s",
             merge->vm_name, merge->target, merge->child_path,
             merge->layer_path, (int)live, merge->way);
    return 0;
}

/* What the record says about a merge of these two layers. */
static int
describe(struct merge *merge, struct tree *tree, struct tree_volume *volume,
         const struct hv_machine *machine, int64_t layer_id, int64_t child_id,
         struct error *err)
{
    const struct state_layer *layer = tree_find_layer(volume, layer_id);
    const struct state_layer *child = tree_find_layer(volume, child_id);
    const struct planner_tree plan = tree_plan(volume);

    if (layer == NULL || child == NULL || child->parent_id != layer_id)
        return error_set(err, ERROR_INTERNAL,
                         "machine '%s' disk '%s': no such layers to merge",
                         tree->vm.name, volume->row.target);
    *merge = (struct merge){
        .vm_id = tree->vm.id,
        .vm_uuid = tree->vm.uuid,
        .vm_name = tree->vm.name,
        .volume_id = volume->row.id,
        .target = volume->row.target,
        .way = "before",
        .layer_id = layer_id,
        .child_id = child_id,
        .layer_path = layer->path,
        .layer_format = layer->format,
        .child_path = child->path,
        .is_defined = machine->persistent,
        .is_active = volume->row.layer_id == child_id,
        .is_on_active_chain =
            planner_is_ancestor(&plan, child_id, volume->row.layer_id),
    };
    return 0;
}

static int
delete_layer(struct engine *engine, struct tree *tree,
             struct tree_volume *volume, int64_t layer_id, struct error *err)
{
    const struct state_layer *layer = tree_find_layer(volume, layer_id);
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    json_auto_t *payload = storages_unlink_payload(layer);
    int64_t operation = 0;
    int result = -1;

    if (tx != NULL && state_layer_delete(tx, layer_id, err) == 0 &&
        operation_insert(tx, OPERATION_UNLINK, tree->vm.uuid, OPERATION_FINISH,
                         payload, &operation, err) == 0)
        result = state_commit(tx, err);
    state_end(steal(&tx));
    if (result < 0)
        return -1;
    log_info("layer-deleted", "vm=%s disk=%s path='%s'", tree->vm.name,
             volume->row.target, layer->path);
    return 0;
}

/* Does nobody wait for it but the machine itself? */
static bool
is_patient(const struct job *job)
{
    return job == NULL || strcmp(job->row.command, MERGE_FOLLOW_COMMAND) == 0;
}

static int
begin_and_carry_out(struct engine *engine, struct job *job, struct merge *merge,
                    struct tree_volume *volume, enum hv_state state,
                    struct error *err)
{
    bool live = state != HV_STOPPED && merge->is_on_active_chain;
    json_t *payload = merge_payload(merge);
    int result = hold_set(engine->hold_dir, merge->vm_uuid,
                          "varve is merging layers of its disks", err);

    merge->is_backward = !live && merge_pull_is_better(merge, volume);
    if (result == 0)
        result = operation_begin(engine->state, OPERATION_MERGE, merge->vm_uuid,
                                 merge->is_backward ? OPERATION_PULL
                                                    : OPERATION_COMMIT,
                                 payload, &merge->operation, err);
    json_decref(payload);
    if (result < 0)
        return -1;
    return carry_out(engine, job, merge, volume, state, err);
}

int
merge_run(struct engine *engine, struct job *job, struct tree *tree,
          struct tree_volume *volume, const struct planner_action *action,
          const struct hv_machine *machine, struct error *err)
{
    struct merge merge;
    int result;

    if (action->kind == PLANNER_DELETE)
        return delete_layer(engine, tree, volume, action->layer, err);
    if (describe(&merge, tree, volume, machine, action->layer, action->child,
                 err) < 0)
        return -1;
    merge.is_patient = is_patient(job);
    if (merge_gate_enter(engine, job, err) < 0)
        return -1;
    result =
        begin_and_carry_out(engine, job, &merge, volume, machine->state, err);
    merge_gate_leave(engine);
    return result;
}

bool
merge_goes_on(struct engine *engine, const char *vm_uuid,
              const struct error *why)
{
    return why->code == ERROR_TIMEOUT ||
           (why->code == ERROR_CANCELLED &&
            operation_is_pivoting(engine->state, vm_uuid));
}

/*
 * The pivot that an earlier run asked for, or saw.  What is found out about it
 * is written down before anything is done: the next step changes the files
 * that told it.
 */
static int
settle_pivot(struct engine *engine, struct merge *merge,
             struct tree_volume *volume, const char *phase, bool is_stopped,
             struct error *err)
{
    int pivoted = strcmp(phase, OPERATION_PIVOTED) == 0;

    merge->is_pivot_asked = strcmp(phase, OPERATION_PIVOT) == 0;
    if (merge->is_pivot_asked && is_stopped) {
        pivoted = merge_pivot_happened(engine, merge, volume, err);
        if (pivoted < 0)
            return -1;
        if (fault_here("merge.pivot-decided"))
            return error_set_errno(err, errno, "decide on the pivot of '%s'",
                                   merge->target);
        if (operation_set_phase(
                engine->state, merge->operation,
                pivoted > 0 ? OPERATION_PIVOTED : OPERATION_COMMIT, err) < 0)
            return -1;
    }
    merge->is_committed = pivoted > 0;
    return 0;
}

int
merge_settle(struct engine *engine, struct job *job,
             const struct state_operation *row, struct error *err)
{
    json_t *payload = operation_payload(row, err);
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct tree_volume *volume;
    struct merge merge;
    json_int_t vm;
    json_int_t volume_id;
    json_int_t layer;
    json_int_t child;
    int bad;

    if (payload == NULL)
        return -1;
    bad = json_unpack(payload, "{s:I, s:I, s:I, s:I}", "vm", &vm, "volume",
                      &volume_id, "layer", &layer, "child", &child);
    json_decref(payload);
    if (bad < 0)
        return error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                         (long long)row->id);
    if (tree_read(engine->state, vm, &tree, err) < 0 ||
        hv_get(engine->hv, row->vm_uuid, &machine, err) < 0)
        return -1;
    volume = tree_find_volume(tree, volume_id);
    if (volume == NULL)
        return error_set(err, ERROR_CORRUPT,
                         "journal entry %lld names an unknown volume",
                         (long long)row->id);
    if (describe(&merge, tree, volume, machine, layer, child, err) < 0)
        return -1;
    merge.operation = row->id;
    merge.is_backward = strcmp(row->phase, OPERATION_PULL) == 0;
    merge.is_patient = is_patient(job);
    if (settle_pivot(engine, &merge, volume, row->phase,
                     machine->state == HV_STOPPED, err) < 0 ||
        merge_gate_enter(engine, job, err) < 0)
        return -1;
    bad = carry_out(engine, job, &merge, volume, machine->state, err);
    merge_gate_leave(engine);
    return bad;
}

int
merge_settle_unlink(struct engine *engine, const struct state_operation *row,
                    const struct hv_look *look, struct error *err)
{
    json_t *payload = operation_payload(row, err);
    const char *path = NULL;
    int result;

    if (payload == NULL)
        return -1;
    if (json_unpack(payload, "{s:s}", "path", &path) < 0)
        result =
            error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                      (long long)row->id);
    else
        result = unlink_file(engine, row, look, payload, path, err);
    json_decref(payload);
    return result;
}
