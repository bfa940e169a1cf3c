/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state machine of VM snapshots (vm_snapshot_states.def, drawn in
 * docs/internals/vm-snapshot-states.md), and how states follow the layers.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/tree.h"
#include "engine/vm_snapshot.h"

#include <string.h>

static const struct {
    const char *from;
    enum vm_snapshot_event event;
    const char *to;
} transitions[] = {
#define STATE(name, kind, meaning)
#define TRANSITION(from, event, to, by) {#from, VM_SNAPSHOT_##event, #to},
#include "engine/vm_snapshot_states.def"
#undef STATE
#undef TRANSITION
};

const char *
vm_snapshot_next(const char *state, enum vm_snapshot_event event)
{
    for (size_t i = 0; i < ARRAY_SIZE(transitions); i++) {
        if (transitions[i].event == event &&
            strcmp(transitions[i].from, state) == 0)
            return transitions[i].to;
    }
    return NULL;
}

int
vm_snapshot_apply(struct state_vm_snapshot *row, enum vm_snapshot_event event,
                  struct error *err)
{
    static const char *const wanted[] = {
        [VM_SNAPSHOT_CREATE_REQUESTED] = "be taken",
        [VM_SNAPSHOT_NOT_BEGUN] = "be given up",
        [VM_SNAPSHOT_OPERATION_SUCCEEDED] = "end an operation",
        [VM_SNAPSHOT_OPERATION_FAILED] = "fail an operation",
        [VM_SNAPSHOT_REVERT_REQUESTED] = "be reverted to",
        [VM_SNAPSHOT_EXPUNGE_REQUESTED] = "be deleted",
        [VM_SNAPSHOT_HIDE] = "be hidden",
    };
    const char *next = vm_snapshot_next(row->state, event);

    if (next == NULL)
        return error_set(
            err, ERROR_CONFLICT, "VM snapshot '%s' (%s) is %s and cannot %s",
            row->display_name, row->uuid, row->state, wanted[event]);
    state_set_text(&row->state, next);
    if (strcmp(next, "Removed") == 0)
        row->removed = clock_wall_ms();
    return 0;
}

/*
 * Is a layer of this snapshot still there only because several layers rest
 * on it?  A layer that somebody else pins, or that is foreign, stays for
 * their sake.
 */
static int
is_needed(struct tree *tree,
          const struct state_vm_snapshot_volume_list *members)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct state_vm_snapshot_volume *member = &members->items[i];
        struct tree_volume *volume = tree_find_volume(tree, member->volume_id);
        struct planner_tree plan;
        const struct planner_layer *layer;

        if (volume == NULL)
            continue;
        plan = tree_plan(volume);
        layer = planner_find(&plan, member->layer_id);
        if (layer != NULL && !layer->is_pinned && !layer->is_foreign &&
            layer->id != volume->row.layer_id)
            return true;
    }
    return false;
}

/* Is any layer of this snapshot pinned, by it or by others? */
static bool
is_pinned(struct tree *tree,
          const struct state_vm_snapshot_volume_list *members)
{
    for (size_t i = 0; i < members->count; i++) {
        const struct state_vm_snapshot_volume *member = &members->items[i];
        struct tree_volume *volume = tree_find_volume(tree, member->volume_id);
        const struct planner_layer *layer;
        struct planner_tree plan;

        if (volume == NULL)
            continue;
        plan = tree_plan(volume);
        layer = planner_find(&plan, member->layer_id);
        if (layer != NULL && layer->is_pinned)
            return true;
    }
    return false;
}

/* The snapshot is gone: its children and the current mark go up. */
static int
remove_from_tree(struct state_tx *tx, struct state_vm_snapshot *gone,
                 struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) children = {0};
    AUTO_STATE(vm_snapshot) parent = {0};
    const struct state_where where[] = {STATE_INT("parent_id", gone->id),
                                        STATE_LIVING};

    if (state_vm_snapshot_list(tx, STATE_QUERY(where), &children, err) < 0)
        return -1;
    for (size_t i = 0; i < children.count; i++) {
        children.items[i].parent_id = gone->parent_id;
        if (state_vm_snapshot_update(tx, &children.items[i], err) < 0)
            return -1;
    }
    if (gone->is_current != 0 && gone->parent_id != 0) {
        if (state_vm_snapshot_get(tx, gone->parent_id, &parent, err) < 0)
            return -1;
        parent.is_current = 1;
        if (state_vm_snapshot_update(tx, &parent, err) < 0)
            return -1;
    }
    gone->is_current = 0;
    if (vm_snapshot_apply(gone, VM_SNAPSHOT_OPERATION_SUCCEEDED, err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, gone, err);
}

static int
follow_one(struct state_tx *tx, struct tree *tree,
           struct state_vm_snapshot *row, struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot_volume) members = {0};
    const struct state_where where[] = {STATE_INT("vm_snapshot_id", row->id)};

    if (state_vm_snapshot_volume_list(tx, STATE_QUERY(where), &members, err) <
        0)
        return -1;
    /* One that was never made, or whose deletion failed before it began. */
    if (strcmp(row->state, "Error") == 0 &&
        (members.count == 0 || is_pinned(tree, &members)))
        return 0;
    if (!is_needed(tree, &members))
        return remove_from_tree(tx, row, err);
    if (strcmp(row->state, "Hidden") == 0)
        return 0;
    if (vm_snapshot_apply(row, VM_SNAPSHOT_HIDE, err) < 0)
        return -1;
    return state_vm_snapshot_update(tx, row, err);
}

int
vm_snapshot_follow_layers(struct engine *engine, int64_t vm_id,
                          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_TREE struct tree *tree = NULL;
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    static const char *const states[] = {"Expunging", "Hidden", "Error"};
    const struct state_where where[] = {
        STATE_INT("vm_id", vm_id),
        STATE_LIVING,
        {.column = "state", .op = STATE_IN_TEXT, .texts = states, .count = 3}};

    if (tx == NULL || tree_load(tx, vm_id, &tree, err) < 0 ||
        state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        /* Each may change parents of the next: read it again. */
        AUTO_STATE(vm_snapshot) row = {0};

        if (state_vm_snapshot_get(tx, rows.items[i].id, &row, err) < 0 ||
            follow_one(tx, tree, &row, err) < 0)
            return -1;
    }
    return rows.count > 0 ? state_commit(tx, err) : 0;
}

int
vm_snapshot_fail_expunging(struct engine *engine, int64_t vm_id,
                           const char *problem, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id), STATE_LIVING,
                                        STATE_TEXT("state", "Expunging")};

    if (tx == NULL ||
        state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        int pending = job_is_pending(tx, rows.items[i].uuid, err);

        if (pending < 0)
            return -1;
        if (pending > 0)
            continue;
        state_set_text(&rows.items[i].problem, problem);
        if (vm_snapshot_apply(&rows.items[i], VM_SNAPSHOT_OPERATION_FAILED,
                              err) < 0 ||
            state_vm_snapshot_update(tx, &rows.items[i], err) < 0)
            return -1;
    }
    return rows.count > 0 ? state_commit(tx, err) : 0;
}

/* A row whose job is over and which it left in a state of passage. */
static int
settle_row(struct state_tx *tx, struct state_vm_snapshot *row,
           struct error *err)
{
    int pending = job_is_pending(tx, row->uuid, err);
    bool reverting = strcmp(row->state, "Reverting") == 0;

    if (pending != 0)
        return pending < 0 ? -1 : 0;
    if (vm_snapshot_apply(row, VM_SNAPSHOT_OPERATION_FAILED, err) < 0)
        return -1;
    if (!reverting)
        state_set_text(&row->problem, "varved ended before it was made");
    log_info("snapshot-settled", "snapshot=%s state=%s", row->uuid, row->state);
    return state_vm_snapshot_update(tx, row, err);
}

int
vm_snapshot_settle(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    static const char *const states[] = {"Allocated", "Creating", "Reverting"};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        STATE_LIVING,
                                        {.column = "state",
                                         .op = STATE_IN_TEXT,
                                         .texts = states,
                                         .count = ARRAY_SIZE(states)}};

    if (tx == NULL ||
        state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (settle_row(tx, &rows.items[i], err) < 0)
            return -1;
    }
    return rows.count > 0 ? state_commit(tx, err) : 0;
}

int
vm_snapshot_list_active(struct state_tx *tx, int64_t vm_id,
                        struct state_vm_snapshot_list *ret_rows,
                        struct error *err)
{
    static const char *const states[] = {"Allocated", "Creating", "Reverting",
                                         "Expunging"};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        STATE_LIVING,
                                        {.column = "state",
                                         .op = STATE_IN_TEXT,
                                         .texts = states,
                                         .count = ARRAY_SIZE(states)}};

    return state_vm_snapshot_list(tx, STATE_QUERY(where), ret_rows, err);
}

int
vm_snapshot_is_unsettled(struct state_tx *tx, int64_t vm_id, struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};

    if (vm_snapshot_list_active(tx, vm_id, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        int pending = job_is_pending(tx, rows.items[i].uuid, err);

        if (pending <= 0)
            return pending < 0 ? -1 : 1;
    }
    return 0;
}
