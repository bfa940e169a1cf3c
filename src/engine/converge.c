/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/converge.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/hold.h"
#include "engine/inventory.h"
#include "engine/machine.h"
#include "engine/merge.h"
#include "engine/merge_slow.h"
#include "engine/operation.h"
#include "engine/retop.h"
#include "engine/shot.h"
#include "engine/snapshot.h"
#include "engine/thaw_again.h"
#include "engine/tree.h"
#include "engine/views.h"
#include "engine/vm_snapshot.h"
#include "engine/volume.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* 1 when a file of the action turned out to be foreign: plan again. */
static int
guard(struct engine *engine, const struct planner_action *action,
      struct error *err)
{
    int foreign = inventory_guard(engine, action->layer, err);

    if (foreign != 0 || action->kind != PLANNER_MERGE)
        return foreign;
    return inventory_guard(engine, action->child, err);
}

/* Do one action on any volume: 1 done, 0 nothing left, -1 failed. */
static int
one_action(struct engine *engine, struct job *job, struct tree *tree,
           const struct hv_machine *machine, struct error *err)
{
    int guarded;

    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];
        const struct planner_tree plan = tree_plan(volume);
        const struct planner_action action = planner_next(&plan);

        if (action.kind == PLANNER_NOTHING)
            continue;
        guarded = guard(engine, &action, err);
        if (guarded != 0)
            return guarded;
        if (job != NULL)
            job_step(job, action.kind == PLANNER_MERGE ? "merging layers"
                                                       : "removing layers");
        if (merge_run(engine, job, tree, volume, &action, machine, err) < 0)
            return error_prefix(err, "disk '%s'", volume->row.target);
        return 1;
    }
    return 0;
}

static int
settle_operation(struct engine *engine, struct job *job,
                 const struct state_operation *row, struct error *err)
{
    int result;

    if (strcmp(row->kind, OPERATION_RETOP) == 0)
        result = retop_settle(engine, row, err);
    else if (strcmp(row->kind, OPERATION_MERGE) == 0)
        result = merge_settle(engine, job, row, err);
    else if (strcmp(row->kind, OPERATION_SLOW) == 0)
        result = merge_slow_settle(engine, row, err);
    else if (strcmp(row->kind, OPERATION_UNLINK) == 0)
        result = merge_settle_unlink(engine, row, NULL, err);
    else if (strcmp(row->kind, OPERATION_SHOT) == 0)
        result = shot_settle(engine, row, err);
    else if (strcmp(row->kind, OPERATION_THAW) == 0)
        result = thaw_again_settle(engine, row, err);
    else if (strcmp(row->kind, OPERATION_VOLUME) == 0)
        result = volume_settle(engine, row, err);
    else if (strcmp(row->kind, OPERATION_EXPUNGE) == 0)
        result = backup_settle_expunge(engine, row, err);
    else if (strcmp(row->kind, OPERATION_FOLD) == 0)
        result = backup_settle_fold(engine, row, err);
    else if (strcmp(row->kind, OPERATION_COMPUTE) == 0)
        result = machine_settle_compute(engine, row, err);
    else if (strcmp(row->kind, OPERATION_SNAPSHOT_EXPUNGE) == 0)
        result = snapshot_settle_expunge(engine, row, err);
    else
        result = error_set(err, ERROR_CORRUPT, "unknown journal entry '%s'",
                           row->kind);
    if (result == 0)
        log_info("operation-settled", "vm=%s kind=%s phase=%s", row->vm_uuid,
                 row->kind, row->phase);
    return result;
}

static int
list_operations(struct engine *engine, const char *vm_uuid,
                struct state_operation_list *ret_rows, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    const struct state_where where[] = {STATE_TEXT("vm_uuid", vm_uuid)};

    return tx == NULL
               ? -1
               : state_operation_list(tx, STATE_QUERY(where), ret_rows, err);
}

/* The guest comes first: it is slow until then, and a merge may take hours.
 * Limits that are not put back are no reason to stop, unless the hypervisor is
 * away: the entry stays, and it is tried again. */
static int
settle_slow(struct engine *engine, const char *vm_uuid, struct error *err)
{
    AUTO_STATE_LIST(operation) rows = {0};

    if (list_operations(engine, vm_uuid, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (strcmp(rows.items[i].kind, OPERATION_SLOW) != 0 ||
            settle_operation(engine, NULL, &rows.items[i], err) == 0)
            continue;
        if (err->code == ERROR_UNAVAILABLE)
            return -1;
        error_clear(err);
    }
    return 0;
}

int
converge_settle_slow(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("kind", OPERATION_SLOW)};

    if (tx == NULL ||
        state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        struct error logged = ERROR_INIT;

        (void)!settle_operation(engine, NULL, &rows.items[i], &logged);
    }
    return 0;
}

static int
settle_journal(struct engine *engine, struct job *job, const char *vm_uuid,
               struct error *err)
{
    AUTO_STATE_LIST(operation) rows = {0};

    if (settle_slow(engine, vm_uuid, err) < 0 ||
        list_operations(engine, vm_uuid, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (strcmp(rows.items[i].kind, OPERATION_SLOW) != 0 &&
            settle_operation(engine, job, &rows.items[i], err) < 0) {
            /* A file that is still used, and a guest that does not say that
             * it is thawed, are no reason to stop: the entry stays, and it is
             * tried again. */
            if ((strcmp(rows.items[i].kind, OPERATION_UNLINK) == 0 &&
                 err->code == ERROR_BUSY) ||
                strcmp(rows.items[i].kind, OPERATION_THAW) == 0) {
                error_clear(err);
                continue;
            }
            return -1;
        }
    }
    /* What a revert left that was finished just now. */
    return machine_finish_compute(engine, vm_uuid, err);
}

/* Files that went out of the record: of layers that were merged or deleted,
 * and of deleted snapshots beside them. */
static int
settle_unlinks(struct engine *engine, const char *vm_uuid,
               const struct hv_look *look, struct error *err)
{
    AUTO_STATE_LIST(operation) rows = {0};

    if (list_operations(engine, vm_uuid, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (strcmp(rows.items[i].kind, OPERATION_UNLINK) != 0)
            continue;
        if (merge_settle_unlink(engine, &rows.items[i], look, err) == 0)
            continue;
        if (err->code != ERROR_BUSY)
            return -1;
        error_clear(err); /* still used: the next settling tries again */
    }
    return 0;
}

int
converge_machine(struct engine *engine, struct job *job, int64_t vm_id,
                 struct hv_look *look, struct error *err)
{
    AUTO_HV_LOOK struct hv_look now = {.machine = NULL};

    if (look != NULL) {
        now = *look;
        *look = (struct hv_look){.machine = NULL};
    }
    for (;;) {
        AUTO_TREE struct tree *tree = NULL;
        int more;

        if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
            (now.machine == NULL && views_check(engine, tree, &now, err) < 0) ||
            settle_unlinks(engine, tree->vm.uuid, &now, err) < 0)
            return -1;
        more = one_action(engine, job, tree, now.machine, err);
        if (more < 0)
            return -1;
        if (more == 0)
            return vm_snapshot_follow_layers(engine, vm_id, err);
        hv_look_release(&now);
    }
}

void
converge_tidy(struct engine *engine, struct job *job, int64_t vm_id)
{
    struct error err = ERROR_INIT;

    if (converge_machine(engine, job, vm_id, NULL, &err) < 0)
        log_warning("tidying-postponed", "code=%s error='%s'",
                    error_code_name(err.code), err.message);
}

/* Does the planner want anything of this machine? */
static bool
is_untidy(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct planner_tree plan = tree_plan(&tree->volumes[i]);

        if (planner_next(&plan).kind != PLANNER_NOTHING)
            return true;
    }
    return false;
}

static int
request_tidying(struct engine *engine, struct job *job, int64_t vm_id,
                struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_STATE_TX struct state_tx *tx = NULL;

    if (tree_read(engine->state, vm_id, &tree, err) < 0)
        return -1;
    if (!is_untidy(tree))
        return vm_snapshot_follow_layers(engine, vm_id, err);
    if (hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    /* A merge holds a stopped machine: whoever is told that its job is done
     * may start it. */
    if (machine->state == HV_STOPPED) {
        job_step(job, "tidying primary storage");
        return converge_machine(engine, job, vm_id, NULL, err);
    }
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    if (fault_here("converge.tidy-later"))
        return error_set_errno(err, errno, "tidy '%s'", tree->vm.name);
    if (engine_queue_settle(tx, &tree->vm, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

void
converge_tidy_later(struct engine *engine, struct job *job, int64_t vm_id)
{
    struct error err = ERROR_INIT;

    if (request_tidying(engine, job, vm_id, &err) < 0)
        log_warning("tidying-postponed", "code=%s error='%s'",
                    error_code_name(err.code), err.message);
}

static int
get_vm(struct engine *engine, int64_t vm_id, struct state_vm *ret_vm,
       struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx == NULL ? -1 : state_vm_get(tx, vm_id, ret_vm, err);
}

static void
record_problem(struct engine *engine, int64_t vm_id, const char *problem)
{
    struct error ignored = ERROR_INIT; /* the log has it too */
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine->state, &ignored);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, &ignored) < 0)
        return;
    if ((vm.problem == NULL) == (problem == NULL) &&
        (problem == NULL || strcmp(vm.problem, problem) == 0))
        return;
    state_set_text(&vm.problem, problem);
    if (state_vm_update(tx, &vm, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        return;
}

int
converge_settle_rows(struct engine *engine, int64_t vm_id, struct error *err)
{
    if (backup_settle(engine, vm_id, err) < 0 ||
        snapshot_settle(engine, vm_id, err) < 0)
        return -1;
    return vm_snapshot_settle(engine, vm_id, err);
}

static int
settle(struct engine *engine, struct job *job, int64_t vm_id, struct error *err)
{
    AUTO_STATE(vm) vm = {0};

    if (get_vm(engine, vm_id, &vm, err) < 0)
        return -1;
    if (settle_journal(engine, job, vm.uuid, err) < 0 ||
        converge_settle_rows(engine, vm_id, err) < 0 ||
        converge_machine(engine, job, vm_id, NULL, err) < 0)
        return error_prefix(err, "settling machine '%s'", vm.name);
    /* The four views agree and nothing is unfinished. */
    return hold_clear(engine->hold_dir, vm.uuid, err);
}

int
converge_settle(struct engine *engine, struct job *job, int64_t vm_id,
                struct error *err)
{
    int result = settle(engine, job, vm_id, err);

    record_problem(engine, vm_id, result == 0 ? NULL : err->message);
    return result;
}

/* Operations of this machine in the journal: their count, or -1.  Without
 * `all`, not those that settling itself goes past. */
static int
count_operations(struct state_tx *tx, const char *vm_uuid, bool all,
                 struct error *err)
{
    const struct state_where where[] = {
        STATE_TEXT("vm_uuid", vm_uuid),
        {.column = "kind", .op = STATE_NE, .text = OPERATION_UNLINK},
        {.column = "kind", .op = STATE_NE, .text = OPERATION_THAW}};
    const struct state_query query = {
        .where = where, .where_count = all ? 1 : ARRAY_SIZE(where)};
    uint64_t count = 0;

    if (state_operation_count(tx, &query, &count, err) < 0)
        return -1;
    return (int)MIN(count, (uint64_t)INT_MAX);
}

static int
find_unfinished(struct engine *engine, struct state_tx *tx,
                const struct state_vm *vm, bool all, struct error *err)
{
    int found = count_operations(tx, vm->uuid, all, err);

    if (found == 0)
        found = hold_is_set(engine->hold_dir, vm->uuid);
    if (found == 0)
        found = vm_snapshot_is_unsettled(tx, vm->id, err);
    if (found == 0)
        found = backup_is_unsettled(tx, vm->id, err);
    if (found == 0)
        found = snapshot_is_unsettled(tx, vm->id, err);
    return found > 0 ? 1 : found;
}

int
converge_is_unfinished(struct engine *engine, struct state_tx *tx,
                       const struct state_vm *vm, struct error *err)
{
    return find_unfinished(engine, tx, vm, true, err);
}

int
converge_settle_rows_alone(struct engine *engine, int64_t vm_id,
                           struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    int open;

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    open = count_operations(tx, vm.uuid, true, err);
    state_end(steal(&tx));
    if (open != 0)
        return open < 0 ? -1 : 0;
    return converge_settle_rows(engine, vm_id, err);
}

/* As a job on the machine's queue sees it: a file that QEMU keeps open, perhaps
 * for weeks, and a thaw that is owed have no part in what the job does. */
static int
is_unfinished(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    return find_unfinished(engine, tx, &vm, false, err);
}

int
converge_begin(struct engine *engine, struct job *job, int64_t vm_id,
               struct hv_look *ret_look, struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    int unfinished = is_unfinished(engine, vm_id, err);

    if (unfinished < 0 ||
        (unfinished > 0 && converge_settle(engine, job, vm_id, err) < 0))
        return -1;
    if (unfinished > 0 && ret_look == NULL)
        return 0;
    if (tree_read(engine->state, vm_id, &tree, err) < 0 ||
        views_check(engine, tree, &look, err) < 0 ||
        settle_unlinks(engine, tree->vm.uuid, &look, err) < 0)
        return -1;
    if (tree->vm.problem != NULL)
        record_problem(engine, vm_id, NULL);
    if (ret_look == NULL)
        return 0;
    *ret_look = look;
    look = (struct hv_look){.machine = NULL};
    return 0;
}

int
converge_adopt(struct job *job, struct hv_look *ret_look, struct error *err)
{
    int64_t vm_id = job_number(job, "vm");

    if (inventory_adopt(job->engine, vm_id, err) < 0)
        return -1;
    return converge_begin(job->engine, job, vm_id, ret_look, err);
}
