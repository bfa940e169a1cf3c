/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all changes of a volume share; making and deleting one; growing one.
 */
#include "engine/volume.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/inventory.h"
#include "engine/limits.h"
#include "engine/operation.h"
#include "engine/restored_volumes.h"
#include "engine/storages.h"
#include "engine/tree.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int
volume_get(struct engine *engine, int64_t id, struct state_volume *ret_row,
           struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx == NULL ? -1 : state_volume_get(tx, id, ret_row, err);
}

int
volume_begin(struct engine *engine, struct volume_change *change,
             const char *state, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    json_t *payload;
    int result;

    if (tx == NULL || state_volume_get(tx, change->volume_id, &row, err) < 0)
        return -1;
    if (change->claims) {
        if (row.vm_id != 0)
            return error_set(err, ERROR_CONFLICT,
                             "volume '%s' is attached already", row.name);
        if (row.removed != 0)
            return error_set(err, ERROR_CONFLICT, "volume '%s' was deleted",
                             row.name);
        row.vm_id = change->vm_id;
        row.device_id = change->device_id;
        state_set_text(&row.target, change->target);
    }
    state_set_text(&row.state, state);
    if (state_volume_update(tx, &row, err) < 0)
        return -1;
    payload = json_pack("{s:s, s:I, s:I, s:s?, s:s?}", "action", change->action,
                        "volume", (json_int_t)change->volume_id, "vm",
                        (json_int_t)change->vm_id, "target", change->target,
                        "file", change->new_file);
    result =
        operation_insert(tx, OPERATION_VOLUME, change->vm_uuid,
                         OPERATION_PREPARE, payload, &change->operation, err);
    json_decref(payload);
    if (result < 0)
        return -1;
    return state_commit(tx, err);
}

int
volume_size(const struct state_layer *active, uint64_t *ret_size,
            struct error *err)
{
    AUTO_FREE struct qcow2_info *info = NULL;
    AUTO_CLOSE int fd = -1;

    if (tree_format(active) == IMAGE_QCOW2) {
        info = xcalloc(1, sizeof(*info));
        if (qcow2_read_info(active->path, info, err) < 0)
            return -1;
        *ret_size = info->size;
        return 0;
    }
    fd = open(active->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", active->path);
    if (fd_size(fd, ret_size, active->path, err) < 0)
        return -1;
    /* QEMU shows the guest whole sectors. */
    *ret_size = (*ret_size + 511) / 512 * 512;
    return 0;
}

/* -- create, delete -------------------------------------------------------- */

int
volume_run_create(struct job *job, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);
    AUTO_STATE(volume) row = {0};

    /* The row was made by the request; its file is by the first attaching. */
    if (tx == NULL ||
        state_volume_get(tx, job_number(job, "volume"), &row, err) < 0 ||
        events_usage(tx, "VOLUME.CREATE", row.account_id, row.uuid, row.name,
                     row.size, row.size, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    job_event(job, "VOLUME.CREATE", "INFO", row.name);
    return 0;
}

/* The files that are ours, the top first, each with its intent, so that a
 * death in between leaves none forgotten. */
static int
drop_layers(struct state_tx *tx, const struct state_volume *volume,
            struct error *err)
{
    AUTO_STATE_LIST(layer) layers = {0};
    const struct state_where where[] = {STATE_INT("volume_id", volume->id)};
    const struct state_query query = {
        .where = where, .where_count = 1, .order = "-id"};

    if (state_layer_list(tx, &query, &layers, err) < 0)
        return -1;
    for (size_t i = 0; i < layers.count; i++) {
        const struct state_layer *layer = &layers.items[i];
        json_t *payload;
        int64_t operation;
        int result = 0;

        if (layer->is_foreign == 0) {
            payload = storages_unlink_payload(layer);
            result =
                operation_insert(tx, OPERATION_UNLINK, volume->uuid,
                                 OPERATION_FINISH, payload, &operation, err);
            json_decref(payload);
        }
        if (result < 0 || state_layer_delete(tx, layer->id, err) < 0)
            return -1;
    }
    return 0;
}

int
volume_drop(struct state_tx *tx, struct state_volume *row, struct error *err)
{
    row->removed = clock_wall_ms();
    row->layer_id = 0;
    state_set_text(&row->state, "Destroy");
    if (drop_layers(tx, row, err) < 0 || state_volume_update(tx, row, err) < 0)
        return -1;
    return events_usage(tx, "VOLUME.DELETE", row->account_id, row->uuid,
                        row->name, row->size, row->size, err);
}

/* One that other images rest on stays. */
static int
unlink_file(struct engine *engine, const struct state_operation *row,
            const json_t *payload, const char *path, struct error *err)
{
    int used = 0;

    if (fd_exists(path))
        used = inventory_has_dependant(engine, path, err);
    if (used < 0)
        return -1;
    if (used > 0)
        log_warning("volume-file-kept", "path='%s' reason='%s'", path,
                    "another image rests on it");
    else if (storages_unlink(engine, payload, path, err) < 0)
        return -1;
    if (fault_here("volume.unlink"))
        return error_set_errno(err, errno, "delete volume files");
    return operation_end(engine->state, row->id, err);
}

int
volume_unlink_files(struct engine *engine, const char *volume_uuid,
                    struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("vm_uuid", volume_uuid),
                                        STATE_TEXT("kind", OPERATION_UNLINK)};
    int result = 0;

    if (tx == NULL ||
        state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count && result == 0; i++) {
        json_t *payload = operation_payload(&rows.items[i], err);
        const char *path = json_string_value(json_object_get(payload, "path"));

        if (payload == NULL)
            return -1;
        result =
            path == NULL
                ? error_set(err, ERROR_CORRUPT, "a journal entry names no file")
                : unlink_file(engine, &rows.items[i], payload, path, err);
        json_decref(payload);
    }
    return result;
}

int
volume_settle_deleted(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("kind", OPERATION_UNLINK)};

    if (tx == NULL ||
        state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        AUTO_STATE(volume) volume = {0};
        const struct state_where named[] = {
            STATE_TEXT("uuid", rows.items[i].vm_uuid)};

        /* Those of machines are settled in the machine's queue. */
        if (state_volume_find(tx, named, 1, &volume, err) > 0)
            (void)!volume_unlink_files(engine, volume.uuid, err);
        /* The others, and the daemon, do not wait for it. */
        if (err->code != ERROR_NONE)
            log_warning("detached-not-settled", "volume=%s error='%s'",
                        rows.items[i].vm_uuid, err->message);
        error_clear(err);
    }
    return 0;
}

int
volume_run_delete(struct job *job, struct error *err)
{
    if (volume_unlink_files(job->engine, job->row.queue, err) < 0)
        return -1;
    job_event(job, "VOLUME.DELETE", "INFO", job->row.queue);
    return 0;
}

/* -- resize ---------------------------------------------------------------- */

int
volume_note_size(struct state_tx *tx, const struct state_volume *volume,
                 int64_t size, struct error *err)
{
    AUTO_FREE char *text =
        xasprintf("volume %s has %lld bytes, it had %lld", volume->name,
                  (long long)size, (long long)volume->size);
    const struct events_new event = {.type = "VOLUME.RESIZE",
                                     .description = text,
                                     .account_id = volume->account_id,
                                     .domain_id = volume->domain_id,
                                     .resource_type = "Volume",
                                     .resource_uuid = volume->uuid};

    /* Of a volume that nobody had looked into yet, the size is news only. */
    if (volume->size == size || volume->size == 0)
        return 0;
    if (events_record(tx, &event, err) < 0)
        return -1;
    return events_usage(tx, "VOLUME.RESIZE", volume->account_id, volume->uuid,
                        volume->name, size, size, err);
}

int
volume_finish_resize(struct engine *engine, int64_t operation,
                     int64_t volume_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(layer) active = {0};
    uint64_t size;

    if (tx == NULL || state_volume_get(tx, volume_id, &row, err) < 0 ||
        state_layer_get(tx, row.layer_id, &active, err) < 0 ||
        volume_size(&active, &size, err) < 0 ||
        volume_note_size(tx, &row, (int64_t)size, err) < 0)
        return -1;
    row.size = (int64_t)size;
    active.size = (int64_t)size;
    state_set_text(&row.state, "Ready");
    if (fault_here("volume.record"))
        return error_set_errno(err, errno, "record of volume '%s'", row.name);
    if (state_volume_update(tx, &row, err) < 0 ||
        state_layer_update(tx, &active, err) < 0 ||
        (operation != 0 && state_operation_delete(tx, operation, err) < 0))
        return -1;
    return state_commit(tx, err);
}

static int
grow_stopped(struct tree_volume *volume, uint64_t size, struct error *err)
{
    AUTO_FREE struct image_ref *refs = NULL;
    size_t count;

    refs = tree_refs(volume, volume->row.layer_id, &count);
    return commit_resize(refs, count, size, err);
}

/* What is asked, compared with what is there now. */
static int
check_size(struct tree_volume *volume, uint64_t size, struct error *err)
{
    const struct state_layer *active =
        tree_find_layer(volume, volume->row.layer_id);
    uint64_t now;

    if (active == NULL)
        return error_set(err, ERROR_CONFLICT, "volume '%s' has no file yet",
                         volume->row.name);
    if (active->is_foreign != 0)
        return error_set(err, ERROR_CONFLICT,
                         "other images rest on '%s', so it is never changed; "
                         "take a VM snapshot first",
                         active->path);
    if (volume_size(active, &now, err) < 0)
        return -1;
    if (size < now)
        return error_set(err, ERROR_UNSUPPORTED,
                         "volume '%s' has %llu bytes; making it smaller would "
                         "cut off what the guest has there",
                         volume->row.name, (unsigned long long)now);
    return 0;
}

/* Once more: others may have come first since the request. */
static int
check_limit(struct engine *engine, const struct state_volume *row,
            uint64_t size, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx == NULL ? -1
                      : limits_check(tx, row->account_id, LIMIT_PRIMARY_STORAGE,
                                     (int64_t)size - row->size, err);
}

static int
resize(struct job *job, uint64_t size, struct error *err)
{
    struct engine *engine = job->engine;
    struct volume_change change = {.action = "resize",
                                   .volume_id = job_number(job, "volume"),
                                   .vm_id = job_number(job, "vm"),
                                   .vm_uuid = job->row.queue};
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct tree_volume *volume;
    struct error why;
    int result;

    if (tree_read(engine->state, change.vm_id, &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    volume = tree_find_volume(tree, change.volume_id);
    if (volume == NULL)
        return error_set(err, ERROR_CONFLICT, "the volume was detached");
    if (check_size(volume, size, err) < 0 ||
        check_limit(engine, &volume->row, size, err) < 0 ||
        volume_begin(engine, &change, "Resizing", err) < 0)
        return -1;
    if (fault_here("volume.before-resize"))
        result = error_set_errno(err, errno, "resize");
    else if (machine->state != HV_STOPPED)
        result =
            hv_resize(engine->hv, tree->vm.uuid, volume->row.target, size, err);
    else
        result = grow_stopped(volume, size, err);
    if (result == 0)
        return volume_finish_resize(engine, change.operation, change.volume_id,
                                    err);
    /* It may have happened all the same; the image tells. */
    why = *err;
    error_clear(err);
    if (volume_finish_resize(engine, change.operation, change.volume_id, err) ==
        0)
        *err = why;
    return -1;
}

/* The chain of a detached volume, top first; paths are borrowed. */
static struct image_ref *
detached_refs(const struct state_layer_list *layers, int64_t layer_id,
              size_t *ret_count)
{
    struct image_ref *refs = xcalloc(layers->count + 1, sizeof(*refs));

    *ret_count = 0;
    for (size_t i = 0; i < layers->count && layer_id != 0; i++) {
        const struct state_layer *layer = NULL;

        for (size_t k = 0; k < layers->count && layer == NULL; k++)
            if (layers->items[k].id == layer_id)
                layer = &layers->items[k];
        if (layer == NULL)
            break;
        refs[(*ret_count)++] =
            (struct image_ref){layer->path, tree_format(layer)};
        layer_id = layer->parent_id;
    }
    return refs;
}

/* One that is attached to nothing: the image alone, which is the old or the
 * new whatever happens.  One without a file gets another number. */
static int
resize_detached(struct job *job, uint64_t size, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    AUTO_STATE_LIST(layer) layers = {0};
    AUTO_FREE struct image_ref *refs = NULL;
    const struct state_where where[] = {
        STATE_INT("volume_id", job_number(job, "volume"))};
    size_t count;

    if (tx == NULL ||
        state_volume_get(tx, job_number(job, "volume"), &row, err) < 0 ||
        state_layer_list(tx, STATE_QUERY(where), &layers, err) < 0)
        return -1;
    if (row.vm_id != 0)
        return error_set(err, ERROR_CONFLICT, "volume '%s' was attached",
                         row.name);
    if (limits_check(tx, row.account_id, LIMIT_PRIMARY_STORAGE,
                     (int64_t)size - row.size, err) < 0)
        return -1;
    if (row.layer_id == 0) {
        if (volume_note_size(tx, &row, (int64_t)size, err) < 0)
            return -1;
        row.size = (int64_t)size;
        return state_volume_update(tx, &row, err) < 0 ? -1
                                                      : state_commit(tx, err);
    }
    state_end(steal(&tx));
    refs = detached_refs(&layers, row.layer_id, &count);
    if (commit_resize(refs, count, size, err) < 0)
        return -1;
    return volume_finish_resize(engine, 0, row.id, err);
}

int
volume_run_resize(struct job *job, struct error *err)
{
    int64_t vm_id = job_number(job, "vm");

    if (vm_id == 0)
        return resize_detached(job, (uint64_t)job_number(job, "size"), err);
    if (converge_adopt(job, NULL, err) < 0 ||
        resize(job, (uint64_t)job_number(job, "size"), err) < 0) {
        job_event(job, "VOLUME.RESIZE", "ERROR", err->message);
        return -1;
    }
    return 0;
}

/* -- settle ---------------------------------------------------------------- */

int
volume_settle(struct engine *engine, const struct state_operation *row,
              struct error *err)
{
    json_t *payload = operation_payload(row, err);
    struct volume_change change = {.vm_uuid = row->vm_uuid,
                                   .operation = row->id};
    json_int_t volume;
    json_int_t vm;
    int result;

    if (payload == NULL)
        return -1;
    if (json_unpack(payload, "{s:s, s:I, s:I}", "action", &change.action,
                    "volume", &volume, "vm", &vm) < 0) {
        json_decref(payload);
        return error_set(err, ERROR_CORRUPT,
                         "journal entry %lld of a volume is damaged",
                         (long long)row->id);
    }
    change.target = json_string_value(json_object_get(payload, "target"));
    change.new_file = json_string_value(json_object_get(payload, "file"));
    change.volume_id = volume;
    change.vm_id = vm;
    if (strcmp(change.action, "resize") == 0)
        result = volume_finish_resize(engine, row->id, volume, err);
    else if (strcmp(change.action, "restore") == 0)
        result = restored_volumes_settle(engine, &change, err);
    else
        result = volume_settle_place(engine, &change, err);
    json_decref(payload);
    return result;
}
