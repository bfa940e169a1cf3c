/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding backups: several become one file, in the repository alone.  The
 * machine is not looked at and may be running, stopped or out of reach; only
 * its queue is taken, so that nothing builds on the chain meanwhile.
 *
 * The journal entry says no more than which backup it is about.  Whether it
 * was folded is asked of the repository: the record is made from the manifest,
 * at once or after a crash, and says the same both times.
 *
 * A backup whose parent was folded into it rests on what that part rested on.
 * Deleted ones of the part whose files nobody needs any more are Expunged.
 */
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/events.h"
#include "engine/operation.h"
#include "engine/pace.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#define REASON "a synthetic full, folded from the chain below it"

/* -- the record ---------------------------------------------------------- */

/* The backup that the point rests on now; 0: none. */
static int
find_parent(struct state_tx *tx, const struct repo_point *point,
            int64_t *ret_id, struct error *err)
{
    *ret_id = 0;
    for (size_t i = 0; i < point->volume_count; i++) {
        const struct repo_volume *volume = &point->volumes[i];
        AUTO_STATE(backup) row = {0};
        struct state_where where[] = {STATE_TEXT("uuid", NULL)};
        int found;

        if (volume->chain_count < 2)
            continue;
        where[0].text = volume->chain[1].text;
        found = state_backup_find(tx, where, 1, &row, err);
        if (found < 0)
            return -1;
        if (found > 0) {
            *ret_id = row.id;
            return 0;
        }
    }
    return 0;
}

/* Does another one rest on it whose files are there?  1, 0, -1. */
static int
is_needed(struct state_tx *tx, int64_t id, struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    static const char *const states[] = {"Queued", "BackingUp", "BackedUp",
                                         "Restoring", "Removed"};
    const struct state_where where[] = {STATE_INT("parent_id", id),
                                        {.column = "status",
                                         .op = STATE_IN_TEXT,
                                         .texts = states,
                                         .count = ARRAY_SIZE(states)}};

    if (state_backup_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    return rows.count > 0;
}

/* From `id` on down to `end`: deleted ones that nobody needs are gone. */
static int
expunge_part(struct state_tx *tx, int64_t id, int64_t end, struct error *err)
{
    while (id != 0 && id != end) {
        AUTO_STATE(backup) row = {0};
        int needed = is_needed(tx, id, err);

        if (needed < 0 || state_backup_get(tx, id, &row, err) < 0)
            return -1;
        if (needed > 0 || strcmp(row.status, "Removed") != 0)
            return 0;
        state_set_text(&row.status, "Expunged");
        if (state_backup_update(tx, &row, err) < 0)
            return -1;
        id = row.parent_id;
    }
    return 0;
}

static int
record_volumes(struct state_tx *tx, const struct state_backup *backup,
               const struct repo_point *point, struct error *err)
{
    AUTO_STATE_LIST(backup_volume) rows = {0};
    const struct state_where where[] = {STATE_INT("backup_id", backup->id)};

    if (state_backup_volume_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        struct state_backup_volume *row = &rows.items[i];
        const struct repo_volume *volume =
            row->volume_uuid != NULL
                ? repo_point_volume(point, row->volume_uuid)
                : NULL;

        if (volume == NULL)
            continue;
        row->size = (int64_t)volume->stored;
        state_set_text(&row->reason, volume->full_reason);
        state_set_text(&row->parent_file_uuid,
                       volume->chain_count > 1 ? volume->chain[1].text : NULL);
        if (state_backup_volume_update(tx, row, err) < 0)
            return -1;
    }
    return 0;
}

/* Make the record say what the manifest does; nothing when it says so. */
static int
record(struct state_tx *tx, struct state_backup *backup,
       const struct repo_point *point, struct error *err)
{
    int64_t before = backup->parent_id;
    int64_t now;

    if (find_parent(tx, point, &now, err) < 0)
        return -1;
    if (now == before)
        return 0;
    backup->parent_id = now;
    backup->size = 0;
    for (size_t i = 0; i < point->volume_count; i++)
        backup->size += (int64_t)point->volumes[i].stored;
    state_set_text(&backup->type, repo_point_type_name(point->type));
    if (now == 0)
        state_set_text(&backup->reason, REASON);
    if (record_volumes(tx, backup, point, err) < 0 ||
        state_backup_update(tx, backup, err) < 0)
        return -1;
    return expunge_part(tx, before, now, err);
}

int
backup_settle_fold(struct engine *engine, const struct state_operation *row,
                   struct error *err)
{
    json_t *payload = operation_payload(row, err);
    const char *uuid = json_string_value(json_object_get(payload, "backup"));
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(backup) backup = {0};
    AUTO_REPO_POINT struct repo_point *point = NULL;
    struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    int result = -1;

    if (payload == NULL ||
        repo_settle_folds(engine->repo, row->vm_uuid, err) < 0)
        goto out;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        goto out;
    if (uuid != NULL && state_backup_find(tx, where, 1, &backup, err) > 0) {
        point = repo_read_point(engine->repo, row->vm_uuid, uuid, err);
        if (point == NULL || record(tx, &backup, point, err) < 0)
            goto out;
    }
    if (state_operation_delete(tx, row->id, err) < 0)
        goto out;
    if (fault_here("backup.fold-record")) {
        (void)error_set_errno(err, errno, "record of a fold");
        goto out;
    }
    result = state_commit(tx, err);
out:
    json_decref(payload);
    return result;
}

/* -- the job ------------------------------------------------------------- */

static int
load(struct job *job, struct state_backup *ret_backup,
     struct state_backup *ret_oldest, struct state_vm *ret_vm,
     struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(job->engine->state, err);
    int64_t oldest = job_number(job, "oldest");

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), ret_backup, err) < 0 ||
        state_vm_get(tx, ret_backup->vm_id, ret_vm, err) < 0 ||
        (oldest != 0 && state_backup_get(tx, oldest, ret_oldest, err) < 0))
        return -1;
    /* What was asked before may have changed while the job waited. */
    return backup_check_fold(tx, ret_backup, ret_oldest, err);
}

static int
settle(struct engine *engine, int64_t operation, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(operation) row = {0};

    if (tx == NULL || state_operation_get(tx, operation, &row, err) < 0)
        return -1;
    state_end(steal(&tx));
    return backup_settle_fold(engine, &row, err);
}

static void
tell(struct job *job, const struct state_backup *backup,
     const struct repo_folded *folded)
{
    log_info("backup-folded",
             "backup=%s moved=%llu plain=%llu encoded=%llu bytes=%llu "
             "points=%zu files=%zu freed=%llu kept=%zu",
             backup->uuid, (unsigned long long)folded->moved,
             (unsigned long long)folded->plain,
             (unsigned long long)folded->encoded,
             (unsigned long long)folded->stored, folded->points,
             folded->removed.files, (unsigned long long)folded->removed.bytes,
             folded->kept);
    job->result = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                            "clustersmoved", (json_int_t)folded->moved,
                            "clusterscopied", (json_int_t)folded->plain,
                            "clustersencoded", (json_int_t)folded->encoded,
                            "size", (json_int_t)folded->stored, "filesremoved",
                            (json_int_t)folded->removed.files, "bytesfreed",
                            (json_int_t)folded->removed.bytes, "fileskept",
                            (json_int_t)folded->kept);
}

/* What is folded, away from the job's own priority; all borrowed. */
struct folding {
    struct job *job;
    const char *vm;
    const char *backup;
    const char *oldest;
    struct repo_folded folded;
};

static int
fold_files(void *context, struct error *err)
{
    struct folding *folding = context;
    struct job *job = folding->job;
    const struct copy_options copying = {.progress = &job->progress};
    const struct repo_fold_options options = {
        .copy = &copying, .verify = job_number(job, "verify") != 0};

    return repo_fold(job->engine->repo, folding->vm, folding->backup,
                     folding->oldest, &options, &folding->folded, err);
}

static int
fold(struct job *job, struct state_backup *backup, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE(backup) oldest = {0};
    AUTO_STATE(vm) vm = {0};
    struct folding folding = {.job = job};
    struct error later = ERROR_INIT;
    json_t *payload;
    int64_t operation;
    int result;

    if (load(job, backup, &oldest, &vm, err) < 0)
        return -1;
    payload = json_pack("{s:s}", "backup", backup->uuid);
    result = operation_begin(engine->state, OPERATION_FOLD, vm.uuid,
                             OPERATION_COMMIT, payload, &operation, err);
    json_decref(payload);
    if (result < 0)
        return -1;
    job_step(job, "folding");
    folding.vm = vm.uuid;
    folding.backup = backup->uuid;
    folding.oldest = oldest.uuid;
    result = pace_run(engine, fold_files, &folding, err);
    if (result == 0 && fault_here("backup.folded"))
        result =
            error_set_errno(err, errno, "after folding '%s'", backup->uuid);
    if (settle(engine, operation, &later) < 0) {
        log_warning("fold-not-settled", "backup=%s error='%s'", backup->uuid,
                    later.message);
        if (result == 0)
            *err = later;
        return -1;
    }
    if (result == 0)
        tell(job, backup, &folding.folded);
    return result;
}

int
backup_run_fold(struct job *job, struct error *err)
{
    AUTO_STATE(backup) backup = {0};

    if (fold(job, &backup, err) < 0) {
        job_event(job, "BACKUP.FOLD", "ERROR", err->message);
        return -1;
    }
    job_event(job, "BACKUP.FOLD", "INFO", backup.name);
    return 0;
}
