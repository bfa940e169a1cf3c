/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restored_volumes.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "engine/engine_internal.h"
#include "engine/events.h"
#include "engine/limits.h"
#include "engine/operation.h"
#include "engine/pace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
restored_volumes_release(struct restored_volumes *volumes)
{
    for (size_t i = 0; i < volumes->count; i++)
        free(volumes->items[i].file);
    vec_release(volumes);
}

void
restored_volumes_add(struct restored_volumes *volumes,
                     const struct repo_volume *volume)
{
    vec_push(volumes, ((struct restored_volume){.volume = volume}));
}

/* -- making one ------------------------------------------------------------ */

/* Named after the one that it stands for, if that is known. */
static int
fill_row(struct state_tx *tx, const struct repo_volume *volume,
         const struct state_vm *vm, struct state_volume *row, struct error *err)
{
    AUTO_STATE(volume) old = {0};
    AUTO_FREE char *name = NULL;
    const struct state_where where[] = {
        STATE_TEXT("uuid", volume->volume.text)};
    struct uuid uuid;

    if (state_volume_find(tx, where, 1, &old, err) < 0)
        return -1;
    uuid_new(&uuid);
    name = old.name != NULL
               ? xasprintf("%s-restored", old.name)
               : xasprintf("%s-%s-restored", vm->name,
                           volume->target != NULL ? volume->target : "disk");
    row->account_id = vm->account_id;
    row->domain_id = vm->domain_id;
    row->zone_id = vm->zone_id;
    row->size = (int64_t)volume->size;
    row->created = clock_wall_ms();
    state_set_text(&row->uuid, uuid.text);
    state_set_text(&row->name, name);
    state_set_text(&row->type, "DATADISK");
    state_set_text(&row->format, "qcow2");
    state_set_text(&row->state, "Creating"); /* nobody else may use it */
    return 0;
}

/* The row and the journal entry, before there is a file. */
static int
begin(struct engine *engine, struct restored_volume *item,
      const struct tree *tree, const char *folder, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    json_t *payload;
    int result;

    if (tx == NULL || fill_row(tx, item->volume, &tree->vm, &row, err) < 0 ||
        limits_check(tx, row.account_id, LIMIT_VOLUME, 1, err) < 0 ||
        limits_check(tx, row.account_id, LIMIT_PRIMARY_STORAGE, row.size, err) <
            0 ||
        state_volume_insert(tx, &row, err) < 0 ||
        events_usage(tx, "VOLUME.CREATE", row.account_id, row.uuid, row.name,
                     row.size, row.size, err) < 0)
        return -1;
    item->file = xasprintf("%s/%s.qcow2", folder, row.uuid);
    payload = json_pack("{s:s, s:I, s:I, s:s}", "action", "restore", "volume",
                        (json_int_t)row.id, "vm", (json_int_t)tree->vm.id,
                        "file", item->file);
    result =
        operation_insert(tx, OPERATION_VOLUME, tree->vm.uuid, OPERATION_PREPARE,
                         payload, &item->change.operation, err);
    json_decref(payload);
    if (result < 0 || state_commit(tx, err) < 0)
        return -1;
    item->change.volume_id = row.id;
    item->change.new_file = item->file;
    return 0;
}

static int
make_one(struct job *job, struct restored_volume *item, const struct tree *tree,
         const struct repo_point *point, const char *like, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_FREE char *folder = path_parent(like);
    const struct copy_options options = pace_options(job, PACE_RESTORE);

    if (begin(engine, item, tree, folder, err) < 0)
        return -1;
    if (fault_here("restore.new-volume"))
        return error_set_errno(err, errno, "make '%s'", item->file);
    if (repo_restore_volume(engine->repo, point, item->volume, item->file,
                            IMAGE_QCOW2, like, &options, err) < 0 ||
        fd_sync_parent(item->file, err) < 0)
        return error_prefix(err, "volume '%s'", item->volume->volume.text);
    if (fault_here("restore.new-volume-filled"))
        return error_set_errno(err, errno, "make '%s'", item->file);
    return volume_record_file(engine, &item->change, err);
}

int
restored_volumes_make(struct job *job, struct restored_volumes *volumes,
                      const struct tree *tree, const struct repo_point *point,
                      struct error *err)
{
    const struct state_layer *first = NULL;

    for (size_t i = 0; i < tree->count && first == NULL; i++)
        first =
            tree_find_layer(&tree->volumes[i], tree->volumes[i].row.layer_id);
    for (size_t i = 0; i < volumes->count; i++) {
        if (first == NULL)
            return error_set(err, ERROR_UNSUPPORTED,
                             "machine '%s' has no disk beside which a new one "
                             "could lie",
                             tree->vm.name);
        if (make_one(job, &volumes->items[i], tree, point, first->path, err) <
            0)
            return -1;
    }
    return 0;
}

/* -- undoing --------------------------------------------------------------- */

/* Somebody has it, or has removed it: it is not ours to remove any more. */
static bool
is_ours(const struct state_volume *row)
{
    return row->removed == 0 && row->vm_id == 0 && row->state != NULL &&
           strcmp(row->state, "Creating") == 0;
}

int
restored_volumes_settle(struct engine *engine,
                        const struct volume_change *change, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(volume) row = {0};
    char uuid[UUID_TEXT_SIZE] = "";

    if (volume_get(engine, change->volume_id, &row, err) < 0)
        return -1;
    if (!is_ours(&row))
        return operation_end(engine->state, change->operation, err);
    /* A file that is not on record may be half made. */
    if (row.layer_id == 0 && change->new_file != NULL &&
        fd_unlink(change->new_file, err) < 0)
        return -1;
    memcpy(uuid, row.uuid, sizeof(uuid) - 1);
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || volume_drop(tx, &row, err) < 0 ||
        state_operation_delete(tx, change->operation, err) < 0)
        return -1;
    if (fault_here("restore.new-volume-dropped"))
        return error_set_errno(err, errno, "remove volume '%s'", uuid);
    if (state_commit(tx, err) < 0)
        return -1;
    state_end(steal(&tx));
    return volume_unlink_files(engine, uuid, err);
}

int
restored_volumes_drop(struct engine *engine,
                      const struct restored_volumes *volumes, struct error *err)
{
    for (size_t i = volumes->count; i-- > 0;) {
        const struct volume_change *change = &volumes->items[i].change;

        if (change->volume_id != 0 &&
            restored_volumes_settle(engine, change, err) < 0)
            return -1;
    }
    return 0;
}

/* -- attaching ------------------------------------------------------------- */

/* From here on it is a volume like any other. */
static int
release(struct engine *engine, const struct volume_change *change,
        struct state_volume *ret_row, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL || state_volume_get(tx, change->volume_id, ret_row, err) < 0)
        return -1;
    state_set_text(&ret_row->state, "Ready");
    if (state_volume_update(tx, ret_row, err) < 0 ||
        state_operation_delete(tx, change->operation, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
attach_one(struct job *job, const struct restored_volume *item,
           struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE(volume) row = {0};
    int64_t device = item->volume->device_id;

    if (release(engine, &item->change, &row, err) < 0)
        return -1;
    if (volume_attach_to(job, item->change.volume_id, &device,
                         item->volume->target, err) < 0)
        return error_prefix(
            err,
            "the machine is restored, and what was volume '%s' is the new "
            "volume '%s' (%s), which could not be attached; attach it by hand",
            item->volume->volume.text, row.name, row.uuid);
    log_info("volume-restored-anew", "vm=%s volume=%s new=%s device=%lld",
             job->row.queue, item->volume->volume.text, row.uuid,
             (long long)device);
    job_event(job, "VOLUME.CREATE", "INFO", row.name);
    return 0;
}

int
restored_volumes_attach(struct job *job, const struct restored_volumes *volumes,
                        struct error *err)
{
    for (size_t i = 0; i < volumes->count; i++) {
        if (fault_here("restore.before-attach"))
            return error_set_errno(err, errno, "attach a restored volume");
        if (attach_one(job, &volumes->items[i], err) < 0)
            return -1;
    }
    return 0;
}
