/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a volume snapshot: the frozen chain, read as the guest saw it,
 * becomes one qcow2 file without a backing file and its digest index.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/events.h"
#include "engine/pace.h"
#include "engine/pins.h"
#include "engine/retop.h"
#include "engine/snapshot.h"
#include "image/qcow2_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is copied, away from the job's own priority; all borrowed. */
struct copying {
    struct job *job;
    const struct state_snapshot *row;
    struct tree_volume *volume;
    int64_t layer_id;
    struct repo_stage *stage;
};

static int
copy(void *context, struct error *err)
{
    const struct copying *from = context;
    const struct state_snapshot *row = from->row;
    struct repo_stage *stage = from->stage;
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(from->volume, from->layer_id, &count);
    AUTO_BLOCKDEV struct blockdev *source =
        blockdev_open_chain(refs, count, BLOCKDEV_LIVE | BLOCKDEV_DIRECT, err);
    const struct qcow2_writer_options options = {
        .size = (uint64_t)row->virtual_size, .direct = true};
    const struct copy_options copying = pace_options(from->job, PACE_BACKUP);
    struct qcow2_writer *writer = NULL;
    struct digest_builder *builder = NULL;
    char root[DIGEST_ROOT_TEXT] = "";
    int result = -1;

    if (source == NULL)
        return -1;
    writer = qcow2_writer_new(repo_stage_image(stage, 0), &options, err);
    if (writer == NULL)
        return -1;
    builder = digest_builder_new(repo_stage_index(stage, 0), row->uuid,
                                 options.size, DIGEST_XXH3_128, NULL, err);
    if (builder != NULL &&
        copy_to_qcow2(source, NULL, writer, builder, &copying, err) == 0 &&
        qcow2_writer_finish(writer, NULL, err) == 0 &&
        digest_builder_finish(builder, root, err) == 0)
        result = 0;
    digest_builder_free(builder);
    qcow2_writer_free(writer);
    return result < 0 ? -1 : repo_stage_volume_done(stage, 0, root, err);
}

/* The account's folder; the point has the volume's uuid where a backup has
 * the machine's. */
static struct repo_point *
new_point(struct engine *engine, const struct state_snapshot *row,
          const struct tree_volume *volume, int64_t layer_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(account) account = {0};
    AUTO_STATE(layer) layer = {0};
    AUTO_REPO_POINT struct repo_point *point = repo_point_new();
    struct repo_volume *stored;

    if (tx == NULL ||
        state_account_get(tx, row->account_id, &account, err) < 0 ||
        state_layer_get(tx, layer_id, &layer, err) < 0)
        return NULL;
    memcpy(point->uuid.text, row->uuid, UUID_TEXT_SIZE);
    memcpy(point->vm.text, volume->row.uuid, UUID_TEXT_SIZE);
    point->vm_name = xstrdup(volume->row.name);
    point->account = steal(&account.uuid);
    point->created_ms = row->created;
    point->type = REPO_FULL;
    repo_point_add_detail(point, "kind", "snapshot");
    repo_point_add_detail(point, "name", row->name);
    stored = repo_point_add_volume(point, volume->row.uuid,
                                   (uint64_t)row->virtual_size, NULL);
    stored->device_id = (uint32_t)volume->row.device_id;
    stored->type = volume->row.device_id == 0 ? REPO_ROOT : REPO_DATADISK;
    stored->target = xstrdup(volume->row.target);
    stored->path = xstrdup(layer.path);
    stored->full_reason = xstrdup("volume snapshots are full");
    return steal(&point);
}

int
snapshot_store(struct job *job, const struct state_snapshot *row,
               struct tree_volume *volume, int64_t layer_id, struct error *err)
{
    struct repo *repo = job->engine->repo;
    AUTO_REPO_POINT struct repo_point *point =
        new_point(job->engine, row, volume, layer_id, err);
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    struct copying copying = {
        .job = job, .row = row, .volume = volume, .layer_id = layer_id};
    struct error ignored = ERROR_INIT;
    int result;

    if (point == NULL)
        return -1;
    stage = repo_stage_begin(repo, &point, err);
    if (stage == NULL)
        return -1;
    copying.stage = stage;
    result = pace_run(job->engine, copy, &copying, err);
    if (result == 0 && fault_here("snapshot.stored"))
        result = error_set_errno(err, errno, "after the copy");
    if (result == 0 && repo_stage_publish(stage, err) == 0)
        return 0;
    /* What cannot be removed now is found by its marker later. */
    if (repo_stage_discard(stage, &ignored) < 0)
        log_warning("stage-not-discarded", "error='%s'", ignored.message);
    return -1;
}

/* -- the record, from the manifest ----------------------------------------- */

int
snapshot_record(struct engine *engine, int64_t id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(snapshot) row = {0};
    AUTO_STATE(volume) volume = {0};
    AUTO_REPO_POINT struct repo_point *point = NULL;

    if (tx == NULL || state_snapshot_get(tx, id, &row, err) < 0 ||
        state_volume_get(tx, row.volume_id, &volume, err) < 0)
        return -1;
    point = repo_read_point(engine->repo, volume.uuid, row.uuid, err);
    if (point == NULL)
        return -1;
    if (point->volume_count != 1)
        return error_set(err, ERROR_CORRUPT,
                         "snapshot '%s' is no snapshot of one volume",
                         row.uuid);
    row.virtual_size = (int64_t)point->volumes[0].size;
    row.physical_size = (int64_t)point->volumes[0].stored;
    state_set_text(&row.file, point->volumes[0].chain[0].text);
    state_set_text(&row.root, point->volumes[0].root);
    state_set_text(&row.reason, point->volumes[0].full_reason);
    state_set_text(&row.state, "BackedUp");
    if (pins_drop(tx, SNAPSHOT_PIN, id, err) < 0 ||
        state_snapshot_update(tx, &row, err) < 0 ||
        events_usage(tx, "SNAPSHOT.CREATE", row.account_id, row.uuid, row.name,
                     row.physical_size, row.virtual_size, err) < 0)
        return -1;
    if (fault_here("snapshot.record"))
        return error_set_errno(err, errno, "record of snapshot '%s'", row.uuid);
    return state_commit(tx, err);
}

static int
fail_row(struct state_tx *tx, int64_t id, const char *why, struct error *err)
{
    AUTO_STATE(snapshot) row = {0};

    if (state_snapshot_get(tx, id, &row, err) < 0 ||
        pins_drop(tx, SNAPSHOT_PIN, id, err) < 0)
        return -1;
    state_set_text(&row.state, "Error");
    state_set_text(&row.reason, why);
    return state_snapshot_update(tx, &row, err);
}

int
snapshot_fail(struct engine *engine, int64_t id, const char *why,
              struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL || fail_row(tx, id, why, err) < 0)
        return -1;
    if (fault_here("snapshot.fail"))
        return error_set_errno(err, errno, "record of a failed snapshot");
    return state_commit(tx, err);
}

/* -- what reading it again found -------------------------------------------
 */

static int
mark(struct state_tx *tx, struct state_snapshot *row, const char *status,
     const char *problem, struct error *err)
{
    state_set_text(&row->verify_status, status);
    state_set_text(&row->verify_problem, problem);
    row->verified = clock_wall_ms();
    return state_snapshot_update(tx, row, err);
}

int
snapshot_mark(struct state_tx *tx, const char *uuid, const char *problem,
              struct error *err)
{
    AUTO_STATE(snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    int found = state_snapshot_find(tx, where, 1, &row, err);

    return found <= 0 ? found : mark(tx, &row, BACKUP_DAMAGED, problem, err);
}

int
snapshot_mark_good(struct state_tx *tx, const char *uuid, int64_t started,
                   struct error *err)
{
    AUTO_STATE(snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    int found = state_snapshot_find(tx, where, 1, &row, err);

    if (found <= 0 || (row.verified >= started && row.verify_status != NULL &&
                       strcmp(row.verify_status, BACKUP_DAMAGED) == 0))
        return found < 0 ? -1 : 0;
    return mark(tx, &row, BACKUP_GOOD, NULL, err);
}

/* -- the freeze's owner ---------------------------------------------------- */

static int
finish_freeze(struct engine *engine, struct state_tx *tx,
              const struct retop *retop, const int64_t *layers,
              struct error *err)
{
    AUTO_STATE(snapshot) row = {0};

    (void)engine;
    (void)layers;
    if (state_snapshot_get(tx, retop->owner, &row, err) < 0)
        return -1;
    if (row.removed != 0)
        return 0; /* nobody would take the pin away */
    if (pins_add(tx, SNAPSHOT_PIN, retop->owner, retop->disks[0].old_layer,
                 err) < 0)
        return -1;
    row.virtual_size = (int64_t)retop->disks[0].size;
    state_set_text(&row.state, "CreatedOnPrimary");
    return state_snapshot_update(tx, &row, err);
}

static int
undo_freeze(struct engine *engine, struct state_tx *tx,
            const struct retop *retop, const struct error *why,
            struct error *err)
{
    (void)engine;
    return fail_row(tx, retop->owner, why->message, err);
}

const struct retop_owner retop_owner_snapshot = {
    .name = "snapshot", .finish = finish_freeze, .undo = undo_freeze};
