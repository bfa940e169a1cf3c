/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deleting a backup.  One transaction decides and writes down which points
 * must go from the repository; from then on it only goes forward.  The
 * repository keeps files that other points need, so a Removed backup's point
 * is gone at once and its files follow with the last one that needs them.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/operation.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* One backup goes: now (Expunged when its files are), or as Removed. */
static int
mark(struct state_tx *tx, int64_t id, json_t *points, struct error *err)
{
    AUTO_STATE(backup) row = {0};

    if (state_backup_get(tx, id, &row, err) < 0 ||
        backup_drop_pins(tx, id, err) < 0)
        return -1;
    row.is_current = 0;
    if (row.removed == 0)
        row.removed = clock_wall_ms();
    state_set_text(&row.status, "Removed");
    (void)json_array_append_new(points, json_string(row.uuid));
    return state_backup_update(tx, &row, err);
}

static int
end_chain_at(struct state_tx *tx, int64_t survivor, struct error *err)
{
    AUTO_STATE(backup) row = {0};

    if (survivor == 0)
        return 0;
    if (state_backup_get(tx, survivor, &row, err) < 0)
        return -1;
    row.is_end_of_chain = 1;
    return state_backup_update(tx, &row, err);
}

/* Decide and write it down; *ret_operation is what has to be finished. */
static int
decide(struct engine *engine, const struct state_backup *backup,
       const char *vm_uuid, int64_t *ret_operation, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_FREE struct backup_chain_item *items = NULL;
    AUTO_FREE int64_t *ids = NULL;
    struct backup_chain_removal removal;
    json_t *points = json_array();
    json_t *payload = NULL;
    size_t count;
    int result = -1;

    if (tx == NULL ||
        backup_chain_load(tx, backup->vm_id, &items, &count, err) < 0)
        goto out;
    ids = xcalloc(count + 1, sizeof(*ids));
    removal = backup_chain_remove(items, count, backup->id, ids);
    if (removal.is_kept)
        ids[0] = backup->id;
    for (size_t i = 0; i < (removal.is_kept ? 1 : removal.count); i++) {
        if (mark(tx, ids[i], points, err) < 0)
            goto out;
    }
    if (end_chain_at(tx, removal.survivor, err) < 0)
        goto out;
    payload = json_pack("{s:b, s:O, s:I}", "kept", (int)removal.is_kept,
                        "points", points, "vm", (json_int_t)backup->vm_id);
    if (operation_insert(tx, OPERATION_EXPUNGE, vm_uuid, OPERATION_FINISH,
                         payload, ret_operation, err) < 0)
        goto out;
    if (fault_here("backup.delete-decided")) {
        (void)error_set_errno(err, errno, "delete backup '%s'", backup->uuid);
        goto out;
    }
    result = state_commit(tx, err);
out:
    json_decref(points);
    json_decref(payload);
    return result;
}

static int
set_expunged(struct engine *engine, const json_t *points, int64_t operation,
             bool kept, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL)
        return -1;
    for (size_t i = 0; !kept && i < json_array_size(points); i++) {
        AUTO_STATE(backup) row = {0};
        const struct state_where where[] = {
            STATE_TEXT("uuid", json_string_value(json_array_get(points, i)))};
        int found = state_backup_find(tx, where, 1, &row, err);

        if (found < 0)
            return -1;
        if (found == 0)
            continue;
        state_set_text(&row.status, "Expunged");
        if (state_backup_update(tx, &row, err) < 0)
            return -1;
    }
    if (state_operation_delete(tx, operation, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
backup_settle_expunge(struct engine *engine, const struct state_operation *row,
                      struct error *err)
{
    json_t *payload = operation_payload(row, err);
    json_t *points = json_object_get(payload, "points");
    bool kept = json_is_true(json_object_get(payload, "kept"));
    int result = payload == NULL ? -1 : 0;

    for (size_t i = 0; result == 0 && i < json_array_size(points); i++) {
        const char *uuid = json_string_value(json_array_get(points, i));
        struct repo_removed removed = {0};

        if (uuid == NULL || !uuid_is_valid(uuid)) {
            result =
                error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                          (long long)row->id);
            break;
        }
        if (fault_here("backup.expunge"))
            result = error_set_errno(err, errno, "remove point '%s'", uuid);
        else
            result = repo_remove_point(engine->repo, row->vm_uuid, uuid,
                                       &removed, err);
        if (result == 0)
            log_info("point-removed", "point=%s files=%zu bytes=%llu kept=%zu",
                     uuid, removed.files, (unsigned long long)removed.bytes,
                     removed.kept);
    }
    if (result == 0)
        result = set_expunged(engine, points, row->id, kept, err);
    json_decref(payload);
    return result;
}

static int
expunge(struct engine *engine, int64_t operation, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(operation) row = {0};

    if (tx == NULL || state_operation_get(tx, operation, &row, err) < 0)
        return -1;
    state_end(steal(&tx));
    return backup_settle_expunge(engine, &row, err);
}

static int
delete_backup(struct job *job, struct state_backup *backup, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    int64_t operation = 0;

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), backup, err) < 0 ||
        state_vm_get(tx, backup->vm_id, &vm, err) < 0)
        return -1;
    state_end(steal(&tx));
    if (converge_begin(engine, job, vm.id, NULL, err) < 0 ||
        decide(engine, backup, vm.uuid, &operation, err) < 0 ||
        expunge(engine, operation, err) < 0)
        return -1;
    return converge_machine(engine, job, vm.id, NULL, err);
}

int
backup_run_delete(struct job *job, struct error *err)
{
    AUTO_STATE(backup) backup = {0};

    if (delete_backup(job, &backup, err) < 0) {
        job_event(job, "BACKUP.DELETE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "BACKUP.DELETE", "INFO", backup.name);
    return 0;
}
