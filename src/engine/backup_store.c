/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed since the parent is what the layers between decide: from the
 * parent's frozen layer P and this backup's frozen layer A down to their
 * common ancestor.  When the machine was not reverted P is below A and the
 * first half is empty.  Whatever is in the set is read from A as the guest
 * saw it, so the set may be too large but never too small.
 *
 * When those layers do not tell (one is gone, or holds no map) nothing is sent
 * a second time for that: the disk is read here and compared with the digest
 * index of the parent, and only what differs is stored.  The reason stands on
 * the point.
 */
#include "engine/backup.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/nvram.h"
#include "engine/pace.h"
#include "engine/settings.h"
#include "image/qcow2.h"
#include "image/qcow2_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One volume of the backup that is being stored. */
struct storing {
    struct job *job;                       /* borrowed */
    struct state_backup *backup;           /* borrowed */
    struct tree_volume *volume;            /* borrowed */
    const struct state_backup_volume *row; /* borrowed */
    int64_t parent_layer;   /* of the parent backup; 0: not known any more */
    struct extents changed; /* owned; since the parent */
    bool compare;           /* `changed` is found out by reading */
    bool compress;
    enum qcow2_compression compression;
};

/* Add what the layers from `from` down to (not including) `to` decide. */
static int
add_layers(struct tree_volume *volume, int64_t from, int64_t to,
           struct extents *changed, struct error *err)
{
    for (int64_t id = from; id != to && id != 0;) {
        const struct state_layer *layer = tree_find_layer(volume, id);
        AUTO_EXTENTS struct extents held = EXTENTS_INIT;

        if (layer == NULL || tree_format(layer) != IMAGE_QCOW2)
            return error_set(err, ERROR_INTERNAL,
                             "a layer of disk '%s' is no change record",
                             volume->row.target);
        if (qcow2_allocated(layer->path, &held, err) < 0)
            return -1;
        extents_union(changed, &held);
        id = layer->parent_id;
    }
    return 0;
}

/* Everything that may differ between the parent's point and now. */
static int
changed_since(const struct storing *s, uint64_t parent_size,
              struct extents *changed, struct error *err)
{
    const struct planner_tree plan = tree_plan(s->volume);
    uint64_t size = (uint64_t)s->row->virtual_size;
    int64_t shared = 0;

    if (planner_find(&plan, s->parent_layer) != NULL)
        shared =
            planner_common_ancestor(&plan, s->parent_layer, s->row->layer_id);
    if (shared == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "the layer of the backup before it is gone");
    if (add_layers(s->volume, s->parent_layer, shared, changed, err) < 0 ||
        add_layers(s->volume, s->row->layer_id, shared, changed, err) < 0)
        return -1;
    /* The leaf that a changed size cuts reads differently. */
    if (parent_size != size) {
        uint64_t edge = MIN(parent_size, size);

        extents_add(changed, edge - edge % DIGEST_LEAF_SIZE, DIGEST_LEAF_SIZE);
    }
    extents_align(changed, DIGEST_LEAF_SIZE, size);
    return 0;
}

static int
copy_volume(struct storing *s, const char *image, const char *index,
            const char *backing, const char *parent_index, char *ret_root,
            struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(s->volume, s->row->layer_id, &count);
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
    const struct qcow2_writer_options options = {
        .size = (uint64_t)s->row->virtual_size,
        .backing_name = backing,
        .backing_format = IMAGE_QCOW2,
        .compress = s->compress,
        .compression = s->compression,
        .direct = true,
    };
    const struct copy_options copying = pace_options(s->job, PACE_BACKUP);
    struct qcow2_writer *writer = NULL;
    struct digest_builder *builder = NULL;
    int result = -1;

    source =
        blockdev_open_chain(refs, count, BLOCKDEV_LIVE | BLOCKDEV_DIRECT, err);
    if (source == NULL)
        return -1;
    if (parent_index != NULL) {
        parent = digest_index_open(parent_index, err);
        if (parent == NULL || (s->compare && copy_diff(source, parent, &copying,
                                                       &s->changed, err) < 0))
            return -1;
    }
    writer = qcow2_writer_new(image, &options, err);
    if (writer == NULL)
        goto out;
    builder = digest_builder_new(index, s->backup->uuid, options.size,
                                 DIGEST_XXH3_128, parent, err);
    if (builder == NULL ||
        copy_to_qcow2(source, backing != NULL ? &s->changed : NULL, writer,
                      builder, &copying, err) < 0)
        goto out;
    if (qcow2_writer_finish(writer, NULL, err) < 0 ||
        digest_builder_finish(builder, ret_root, err) < 0)
        goto out;
    s->backup->bytes_changed +=
        (int64_t)(backing != NULL ? extents_bytes(&s->changed) : options.size);
    s->backup->bytes_read += (int64_t)blockdev_bytes_read(source);
    result = 0;
out:
    digest_builder_free(builder);
    qcow2_writer_free(writer);
    return result;
}

/* Did the parent leave a layer of this volume on primary storage, and is it
 * not given up?  1, 0, -1. */
static int
find_parent_layer(struct state_tx *tx, const struct state_backup *backup,
                  struct storing *s, struct error *err)
{
    AUTO_STATE(backup_volume) row = {0};
    const struct state_where where[] = {
        STATE_INT("backup_id", backup->parent_id),
        STATE_TEXT("volume_uuid", s->volume->row.uuid)};
    int found = 0;

    if (backup->parent_id != 0)
        found = state_backup_volume_find(tx, where, 2, &row, err);
    if (found <= 0)
        return found;
    s->parent_layer = row.layer_id;
    return row.layer_id != 0;
}

/* What changed since the point before it, if the layers tell; else it is found
 * out by reading, and the reason is noted. */
static void
find_changes(struct storing *s, const struct repo_volume *base,
             struct repo_volume *volume)
{
    struct error why = ERROR_INIT;

    if (changed_since(s, base->size, &s->changed, &why) == 0)
        return;
    extents_release(&s->changed);
    s->changed = (struct extents)EXTENTS_INIT;
    s->compare = true;
    volume->full_reason =
        xasprintf("the record of changes was lost (%s): the disk was read and "
                  "compared, what differs was stored",
                  why.message);
}

/* The index that is built on can be opened, and is the parent's. */
static bool
has_index(const struct repo *repo, const struct repo_point *parent,
          const struct repo_volume *base)
{
    struct error ignored = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index =
        repo_open_index(repo, parent, base, &ignored);

    return index != NULL;
}

static const char *
why_full(const struct state_backup *backup, int found)
{
    if (backup->parent_id == 0)
        return backup->reason != NULL ? backup->reason : "the first of a chain";
    if (found < 0)
        return "the digest index of the backup before it is damaged";
    return found == 0 ? "no layer of the backup before it is left on primary "
                        "storage for this volume"
                      : "the backup before it does not hold this volume";
}

/* The machine's account as a folder's name. */
static int
account_of(struct state_tx *tx, int64_t account_id, char **ret_uuid,
           struct error *err)
{
    AUTO_STATE(account) account = {0};

    if (state_account_get(tx, account_id, &account, err) < 0)
        return -1;
    *ret_uuid = steal(&account.uuid);
    return 0;
}

/* The machine as it is now, for a restore without the database. */
static int
describe_machine(struct engine *engine, struct repo_point *point,
                 struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    char *nvram = NULL;

    if (hv_xml(engine->hv, point->vm.text, &point->domain_xml, err) < 0 ||
        hv_get(engine->hv, point->vm.text, &machine, err) < 0)
        return -1;
    if (machine->nvram == NULL || !fd_exists(machine->nvram))
        return 0;
    if (nvram_read(machine->nvram, &nvram, &point->nvram_length, err) < 0)
        return -1;
    point->nvram = (uint8_t *)nvram;
    return 0;
}

/* A point with everything but its roots. */
static struct repo_point *
new_point(struct engine *engine, struct state_tx *tx,
          const struct state_backup *backup, const struct tree *tree,
          struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point = repo_point_new();

    memcpy(point->uuid.text, backup->uuid, UUID_TEXT_SIZE);
    memcpy(point->vm.text, tree->vm.uuid, UUID_TEXT_SIZE);
    point->vm_name = xstrdup(tree->vm.name);
    point->created_ms = backup->created;
    point->type = backup->parent_id != 0 ? REPO_INCREMENTAL : REPO_FULL;
    if (account_of(tx, backup->account_id, &point->account, err) < 0 ||
        describe_machine(engine, point, err) < 0)
        return NULL;
    if (backup->name != NULL)
        repo_point_add_detail(point, "name", backup->name);
    repo_point_add_detail(point, "quiesced",
                          backup->quiesced != 0 ? "true" : "false");
    return steal(&point);
}

/* Everything about the volumes: what is read, on what it builds. */
struct plan {
    struct storing *items; /* owned */
    struct state_backup_volume_list rows;
    struct repo_point *parent; /* owned; NULL for a full */
};

static void
plan_release(struct plan *plan)
{
    for (size_t i = 0; plan->items != NULL && i < plan->rows.count; i++)
        extents_release(&plan->items[i].changed);
    free(plan->items);
    state_backup_volume_list_release(&plan->rows);
    repo_point_free(plan->parent);
}

static int
plan_volume(struct state_tx *tx, struct job *job, struct state_backup *backup,
            struct tree *tree, struct plan *plan, size_t i,
            struct repo_point *point, struct error *err)
{
    struct storing *s = &plan->items[i];
    const struct repo_volume *base = NULL;
    struct repo_volume *volume;
    int found;

    s->job = job;
    s->backup = backup;
    s->row = &plan->rows.items[i];
    s->volume = tree_find_uuid(tree, s->row->volume_uuid);
    if (s->volume == NULL)
        return error_set(err, ERROR_CONFLICT, "volume '%s' vanished",
                         s->row->volume_name);
    s->compress = backup->compression_status != NULL &&
                  strcmp(backup->compression_status, "Compressing") == 0;
    s->compression = QCOW2_ZSTD;
    found = find_parent_layer(tx, backup, s, err);
    if (found < 0)
        return -1;
    if (found > 0 && plan->parent != NULL)
        base = repo_point_volume(plan->parent, s->row->volume_uuid);
    if (base != NULL && !has_index(job->engine->repo, plan->parent, base)) {
        base = NULL;
        found = -1;
    }
    volume = repo_point_add_volume(point, s->row->volume_uuid,
                                   (uint64_t)s->row->virtual_size, base);
    volume->device_id = (uint32_t)s->row->device_id;
    volume->type = s->row->device_id == 0 ? REPO_ROOT : REPO_DATADISK;
    volume->target = xstrdup(s->row->target);
    volume->path = xstrdup(tree_find_layer(s->volume, s->row->layer_id)->path);
    if (base == NULL)
        volume->full_reason = xstrdup(why_full(backup, found));
    else
        find_changes(s, base, volume);
    if (s->compare && backup->reason == NULL)
        state_set_text(&backup->reason, volume->full_reason);
    return 0;
}

static int
make_plan(struct job *job, struct state_backup *backup, struct tree *tree,
          struct plan *plan, struct repo_point **ret_point, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(backup) parent = {0};
    AUTO_REPO_POINT struct repo_point *point = NULL;
    const struct state_where where[] = {STATE_INT("backup_id", backup->id)};
    const struct state_query query = {
        .where = where, .where_count = 1, .order = "device_id"};

    if (tx == NULL ||
        state_backup_volume_list(tx, &query, &plan->rows, err) < 0)
        return -1;
    if (backup->parent_id != 0) {
        if (state_backup_get(tx, backup->parent_id, &parent, err) < 0)
            return -1;
        plan->parent =
            repo_read_point(engine->repo, tree->vm.uuid, parent.uuid, err);
        if (plan->parent == NULL)
            return error_prefix(err, "parent backup '%s'", parent.uuid);
    }
    point = new_point(engine, tx, backup, tree, err);
    if (point == NULL)
        return -1;
    plan->items = xcalloc(plan->rows.count, sizeof(*plan->items));
    for (size_t i = 0; i < plan->rows.count; i++) {
        if (plan_volume(tx, job, backup, tree, plan, i, point, err) < 0)
            return -1;
    }
    *ret_point = steal(&point);
    return 0;
}

/* What is copied, away from the job's own priority. */
struct copying {
    struct plan *plan;        /* borrowed */
    struct repo_stage *stage; /* borrowed */
};

static int
store_volumes(void *context, struct error *err)
{
    struct plan *plan = ((struct copying *)context)->plan;
    struct repo_stage *stage = ((struct copying *)context)->stage;

    for (size_t i = 0; i < plan->rows.count; i++) {
        char root[DIGEST_ROOT_TEXT] = "";
        struct storing *s = &plan->items[i];

        if (copy_volume(s, repo_stage_image(stage, i),
                        repo_stage_index(stage, i),
                        repo_stage_backing(stage, i),
                        repo_stage_parent_index(stage, i), root, err) < 0)
            return error_prefix(err, "disk '%s'", s->row->target);
        if (repo_stage_volume_done(stage, i, root, err) < 0)
            return -1;
        if (fault_here("backup.volume-stored"))
            return error_set_errno(err, errno, "after disk '%s'",
                                   s->row->target);
    }
    return 0;
}

int
backup_store(struct job *job, struct state_backup *backup, struct tree *tree,
             struct error *err)
{
    CLEANUP(plan_release) struct plan plan = {.items = NULL};
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    struct copying copying;
    struct error ignored = ERROR_INIT;

    if (make_plan(job, backup, tree, &plan, &point, err) < 0)
        return -1;
    stage = repo_stage_begin(job->engine->repo, &point, err);
    if (stage == NULL)
        return -1;
    copying = (struct copying){.plan = &plan, .stage = stage};
    if (pace_run(job->engine, store_volumes, &copying, err) == 0 &&
        repo_stage_publish(stage, err) == 0)
        return 0;
    /* What cannot be removed now is found by its marker later. */
    if (repo_stage_discard(stage, &ignored) < 0)
        log_warning("stage-not-discarded", "error='%s'", ignored.message);
    return -1;
}
