/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
#include "engine/saved_memory.h"
#include "engine/snapshot.h"
#include "engine/vm_snapshot.h"
#include "hv/fake/hv_fake.h"
#include "repo/repo.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* Does the device read as that volume of `content`? */
static bool
reads_as(struct blockdev *device, const struct rig_content *content, size_t i,
         struct error *err)
{
    uint64_t size = blockdev_size(device);
    AUTO_FREE uint8_t *buffer = xmalloc(size + 1);

    if (content->disks[i] == NULL || content->sizes[i] != size)
        return false;
    return blockdev_read(device, buffer, size, 0, err) == 0 &&
           memcmp(buffer, content->disks[i], size) == 0;
}

static int
check_layer(struct tree_volume *volume, size_t i, int64_t layer_id,
            const struct rig_content *content, const char *what,
            struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *refs = tree_refs(volume, layer_id, &count);
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(refs, count, 0, err);

    if (device == NULL)
        return error_prefix(err, "%s", what);
    if (reads_as(device, content, i, err))
        return 0;
    return error_set(err, ERROR_CORRUPT,
                     "%s: disk %zu (%llu bytes, model %llu) reads differently",
                     what, i, (unsigned long long)blockdev_size(device),
                     (unsigned long long)content->sizes[i]);
}

/* What the guest has beside its disks. */
static int
check_guest(struct rig *rig, const struct rig_content *content,
            struct error *err)
{
    AUTO_FREE char *path = rig_nvram_path(rig);
    AUTO_FREE char *text = NULL;
    uint64_t memory = 0;
    uint64_t nvram = 0;
    size_t length = 0;

    if (hv_fake_memory(rig->hv, rig->vm, &memory, err) < 0)
        return -1;
    if (memory != 0 && memory != content->memory)
        return error_set(
            err, ERROR_CORRUPT, "the guest has the memory %llu, not %llu",
            (unsigned long long)memory, (unsigned long long)content->memory);
    if (content->nvram == 0)
        return 0;
    if (fd_read_file(path, 64, &text, &length, err) < 0)
        return -1;
    memcpy(&nvram, text, MIN(length, sizeof(nvram)));
    if (length != sizeof(nvram) || nvram != content->nvram)
        return error_set(err, ERROR_CORRUPT, "the variables are %llu, not %llu",
                         (unsigned long long)nvram,
                         (unsigned long long)content->nvram);
    return 0;
}

/* The next start must find the disk: the definition names its active layer. */
static int
check_definition(struct rig *rig, struct tree_volume *volume, struct error *err)
{
    const struct state_layer *active =
        tree_find_layer(volume, volume->row.layer_id);
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    if (hv_fake_view(rig->hv, rig->vm, volume->row.target, &view, err) < 0)
        return -1;
    if (view.inactive_top != NULL &&
        strcmp(view.inactive_top, active->path) == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "disk '%s' is not defined with its active layer",
                     volume->row.target);
}

static int
check_active(struct rig *rig, struct tree *tree,
             const struct rig_content *content, struct error *err)
{
    if (check_guest(rig, content, err) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        if (volume->row.layer_id == 0)
            continue;
        if (check_definition(rig, volume, err) < 0)
            return -1;
        if (check_layer(volume, i, volume->row.layer_id, content,
                        "the guest's disks", err) < 0)
            return -1;
    }
    return 0;
}

static int
check_snapshot(struct rig *rig, struct state_tx *tx, struct tree *tree,
               const struct state_vm_snapshot *row, struct error *err)
{
    const struct rig_point *point = rig_find(rig, row->uuid);
    AUTO_STATE_LIST(vm_snapshot_volume) members = {0};
    const struct state_where where[] = {STATE_INT("vm_snapshot_id", row->id)};

    if (strcmp(row->state, "Ready") != 0 && strcmp(row->state, "Hidden") != 0 &&
        strcmp(row->state, "Error") != 0)
        return error_set(err, ERROR_CONFLICT, "snapshot '%s' is stuck in %s",
                         row->uuid, row->state);
    if (strcmp(row->state, "Ready") == 0 && vm_snapshot_has_memory(row) &&
        (row->memory_path == NULL ||
         saved_memory_verify(row->memory_path, (uint64_t)row->memory_size,
                             row->memory_digest, err) < 0 ||
         hv_check_memory(rig->hv, rig->vm, row->memory_path, err) < 0))
        return error_set(err, ERROR_CORRUPT, "snapshot '%s': bad memory",
                         row->uuid);
    if (point == NULL || strcmp(row->state, "Ready") != 0)
        return 0;
    if (state_vm_snapshot_volume_list(tx, STATE_QUERY(where), &members, err) <
        0)
        return -1;
    for (size_t i = 0; i < members.count; i++) {
        struct tree_volume *volume =
            tree_find_volume(tree, members.items[i].volume_id);

        if (volume == NULL || check_layer(volume, (size_t)volume->row.device_id,
                                          members.items[i].layer_id,
                                          &point->content, row->uuid, err) < 0)
            return error_prefix(err, "snapshot");
    }
    return members.count == rig->volumes
               ? 0
               : error_set(err, ERROR_CONFLICT, "snapshot '%s' has %zu members",
                           row->uuid, members.count);
}

static int
check_snapshots(struct rig *rig, struct state_tx *tx, struct tree *tree,
                struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", tree->vm.id),
                                        STATE_LIVING};
    size_t current = 0;

    if (state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        current += rows.items[i].is_current != 0;
        if (check_snapshot(rig, tx, tree, &rows.items[i], err) < 0)
            return -1;
    }
    if (current > 1)
        return error_set(err, ERROR_CONFLICT, "%zu snapshots are current",
                         current);
    return 0;
}

static int
check_point(struct repo *repo, const char *vm, const char *uuid,
            const struct rig_content *content, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, vm, uuid, err);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    const struct copy_options options = {.threads = 1};

    if (point == NULL ||
        repo_verify_point(repo, point, &options, &verdict, err) < 0)
        return error_prefix(err, "point '%s'", uuid);
    if (!verdict.good)
        return error_set(err, ERROR_CORRUPT, "point '%s' is not its root",
                         uuid);
    for (size_t i = 0; content != NULL && i < point->volume_count; i++) {
        AUTO_BLOCKDEV struct blockdev *device =
            repo_open_volume(repo, point, &point->volumes[i], 0, err);

        if (device == NULL)
            return -1;
        if (!reads_as(device, content, point->volumes[i].device_id, err))
            return error_set(err, ERROR_CORRUPT,
                             "point '%s' disk %zu reads differently", uuid, i);
    }
    return 0;
}

static int
check_backups(struct rig *rig, struct state_tx *tx, struct tree *tree,
              struct error *err)
{
    AUTO_FREE char *path = xasprintf("%s/work/repository", rig->directory);
    AUTO_REPO struct repo *repo = repo_open(path, 0, err);
    AUTO_STATE_LIST(backup) rows = {0};
    AUTO_REPO_LIST struct repo_list points = REPO_LIST_INIT;
    const struct state_where where[] = {STATE_INT("vm_id", tree->vm.id)};
    size_t good = 0;

    if (repo == NULL ||
        state_backup_list(tx, STATE_QUERY(where), &rows, err) < 0 ||
        repo_list_points(repo, rig->vm, &points, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_backup *row = &rows.items[i];
        const struct rig_point *point = rig_find(rig, row->uuid);

        if (strcmp(row->status, "BackedUp") != 0) {
            if (strcmp(row->status, "Failed") != 0 &&
                strcmp(row->status, "Removed") != 0 &&
                strcmp(row->status, "Queued") != 0 &&
                strcmp(row->status, "Expunged") != 0)
                return error_set(err, ERROR_CONFLICT,
                                 "backup '%s' is stuck in %s", row->uuid,
                                 row->status);
            continue;
        }
        good++;
        if (check_point(repo, rig->vm, row->uuid,
                        point != NULL ? &point->content : NULL, err) < 0)
            return -1;
    }
    if (points.count != good || points.bad_count > 0)
        return error_set(err, ERROR_CONFLICT,
                         "%zu points in the repository, %zu on record, %zu bad",
                         points.count, good, points.bad_count);
    return 0;
}

/* Snapshots of one volume lie under its uuid. */
static int
check_volume(struct rig *rig, struct state_tx *tx, struct repo *repo,
             const struct state_volume *volume, struct error *err)
{
    AUTO_STATE_LIST(snapshot) rows = {0};
    AUTO_REPO_LIST struct repo_list points = REPO_LIST_INIT;
    const struct state_where where[] = {STATE_INT("volume_id", volume->id),
                                        STATE_LIVING};
    size_t good = 0;

    if (state_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0 ||
        repo_list_points(repo, volume->uuid, &points, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_snapshot *row = &rows.items[i];
        const struct rig_point *point = rig_find(rig, row->uuid);

        if (strcmp(row->state, "Error") == 0)
            continue;
        if (strcmp(row->state, "BackedUp") != 0)
            return error_set(err, ERROR_CONFLICT,
                             "volume snapshot '%s' is stuck in %s", row->uuid,
                             row->state);
        good++;
        if (check_point(repo, volume->uuid, row->uuid,
                        point != NULL ? &point->content : NULL, err) < 0)
            return -1;
    }
    if (points.count != good || points.bad_count > 0)
        return error_set(err, ERROR_CONFLICT,
                         "%zu points of a volume in the repository, %zu on "
                         "record, %zu bad",
                         points.count, good, points.bad_count);
    return 0;
}

static int
check_volume_snapshots(struct rig *rig, struct state_tx *tx, struct tree *tree,
                       struct error *err)
{
    AUTO_FREE char *path = xasprintf("%s/work/repository", rig->directory);
    AUTO_REPO struct repo *repo = repo_open(path, 0, err);

    if (repo == NULL)
        return -1;
    for (size_t i = 0; i < tree->count; i++)
        if (check_volume(rig, tx, repo, &tree->volumes[i].row, err) < 0)
            return -1;
    return 0;
}

/* After a death in the middle of a merge an image may have leaked clusters
 * (qemu-img says so by status 3), and nothing else. */
static int
check_image(const struct rig *rig, const char *path, struct error *err)
{
    const char *const check[] = {"qemu-img", "check", "-q", "-f",
                                 "qcow2",    path,    NULL};

    if (spawn_run(check, 60000, NULL, err) == 0)
        return 0;
    if (!rig->may_leak || strstr(err->message, "with status 3") == NULL)
        return error_prefix(err, "check of '%s'", path);
    error_clear(err);
    return 0;
}

/* Files in the pool are exactly the layers, but for what tests put there. */
static int
check_files(struct rig *rig, struct state_tx *tx, struct tree *tree, bool deep,
            struct error *err)
{
    AUTO_FREE char *pool = xasprintf("%s/work/%s", rig->directory, rig->pool);
    DIR *entries = opendir(pool);
    AUTO_STATE_LIST(layer) rows = {0};
    AUTO_STATE_LIST(vm_snapshot) snapshots = {0};
    const struct state_where where[] = {STATE_INT("vm_id", tree->vm.id)};
    size_t files = 0;
    size_t layers = 0;

    if (entries == NULL)
        return error_set(err, ERROR_IO, "no pool");
    for (struct dirent *entry = readdir(entries); entry != NULL;
         entry = readdir(entries))
        files +=
            entry->d_type == DT_REG && strncmp(entry->d_name, "other-", 6) != 0;
    (void)closedir(entries);
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        for (size_t k = 0; k < volume->layers.count; k++) {
            const char *path = volume->layers.items[k].path;

            if (!fd_exists(path))
                return error_set(err, ERROR_CONFLICT, "layer '%s' is missing",
                                 path);
            if (deep && tree_format(&volume->layers.items[k]) != IMAGE_RAW &&
                check_image(rig, path, err) < 0)
                return -1;
        }
    }
    /* Those of detached volumes, too. */
    if (state_layer_list(tx, STATE_ALL, &rows, err) < 0 ||
        state_vm_snapshot_list(tx, STATE_QUERY(where), &snapshots, err) < 0)
        return -1;
    for (size_t i = 0; i < snapshots.count; i++)
        layers += (size_t)(snapshots.items[i].memory_path != NULL) +
                  (size_t)(snapshots.items[i].nvram_path != NULL);
    for (size_t i = 0; i < rows.count; i++)
        layers += strncmp(rows.items[i].path, pool, strlen(pool)) == 0 &&
                  rows.items[i].path[strlen(pool)] == '/';
    if (files != layers && tree->vm.managed != 0)
        return error_set(err, ERROR_CONFLICT, "%zu files for %zu layers", files,
                         layers);
    return 0;
}

static int
check_fixed(struct rig *rig, struct error *err)
{
    for (size_t i = 0; i < rig->fixed_count; i++) {
        const struct rig_fixed *fixed = &rig->fixed[i];
        AUTO_FREE char *bytes = NULL;
        size_t length = 0;

        if (fd_read_file(fixed->path, RIG_FIXED_MAX, &bytes, &length, err) < 0)
            return -1;
        if (length != fixed->length || memcmp(bytes, fixed->bytes, length) != 0)
            return error_set(err, ERROR_CORRUPT,
                             "'%s' is not ours and was changed", fixed->path);
    }
    return 0;
}

/* No disk's writes are held back any more. */
static int
check_not_slow(struct rig *rig, struct error *err)
{
    for (char disk = 'a'; disk <= 'c'; disk++) {
        const char target[] = {'v', 'd', disk, '\0'};
        struct error ignored = ERROR_INIT; /* it has not that many */
        uint64_t limit = 0;

        if (hv_fake_limit(rig->hv, rig->vm, target, &limit, &ignored) == 0 &&
            limit > 0)
            return error_set(err, ERROR_CONFLICT, "writes to '%s' are slow",
                             target);
    }
    return 0;
}

static int
check_quiet(struct rig *rig, struct state_tx *tx, struct error *err)
{
    AUTO_FREE char *hold =
        xasprintf("%s/work/state/hold/%s", rig->directory, rig->vm);
    const struct state_where where[] = {STATE_TEXT("vm_uuid", rig->vm)};
    uint64_t operations = 0;
    int frozen;

    if (state_operation_count(tx, STATE_QUERY(where), &operations, err) < 0)
        return -1;
    if (operations > 0)
        return error_set(err, ERROR_CONFLICT, "%llu operations are unfinished",
                         (unsigned long long)operations);
    if (fd_exists(hold))
        return error_set(err, ERROR_CONFLICT, "the machine is still held");
    if (check_not_slow(rig, err) < 0)
        return -1;
    frozen = hv_is_frozen(rig->hv, rig->vm, err);
    if (frozen > 0)
        return error_set(err, ERROR_CONFLICT, "the guest is still frozen");
    if (frozen == 0 || rig->workers == 0 || err->code != ERROR_UNAVAILABLE)
        return frozen;
    error_clear(err); /* away just now */
    return 0;
}

/* -- points, as the database tells of them --------------------------------- */

struct living {
    struct state_vm_snapshot_list snapshots; /* Ready ones */
    struct state_backup_list backups;        /* BackedUp ones */
    struct state_snapshot_list volumes;      /* likewise, of volumes */
};

static void
living_release(struct living *living)
{
    state_vm_snapshot_list_release(&living->snapshots);
    state_backup_list_release(&living->backups);
    state_snapshot_list_release(&living->volumes);
}

static int
read_living(struct rig *rig, struct living *ret, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, err);
    int64_t vm_id = rig_vm_id(rig);
    const struct state_where ready[] = {
        STATE_INT("vm_id", vm_id), STATE_TEXT("state", "Ready"), STATE_LIVING};
    const struct state_where good[] = {STATE_INT("vm_id", vm_id),
                                       STATE_TEXT("status", "BackedUp")};
    static const char *const whole[] = {"BackedUp"};

    if (tx == NULL ||
        snapshot_list_of(tx, vm_id, whole, 1, &ret->volumes, err) < 0 ||
        state_vm_snapshot_list(tx, STATE_QUERY(ready), &ret->snapshots, err) <
            0 ||
        state_backup_list(tx, STATE_QUERY(good), &ret->backups, err) < 0)
        return -1;
    return 0;
}

static bool
lives(const struct living *living, const struct rig_point *point)
{
    for (size_t i = 0; i < living->snapshots.count; i++)
        if (strcmp(living->snapshots.items[i].uuid, point->uuid) == 0)
            return true;
    for (size_t i = 0; i < living->backups.count; i++)
        if (strcmp(living->backups.items[i].uuid, point->uuid) == 0)
            return true;
    for (size_t i = 0; i < living->volumes.count; i++)
        if (strcmp(living->volumes.items[i].uuid, point->uuid) == 0)
            return true;
    return false;
}

/* Nothing that was once reported good is lost. */
static int
check_none_lost(struct rig *rig, struct error *err)
{
    CLEANUP(living_release) struct living living = {0};

    if (read_living(rig, &living, err) < 0)
        return -1;
    for (size_t i = 0; i < rig->point_count; i++)
        if (rig->points[i].kind != RIG_WISH && !lives(&living, &rig->points[i]))
            return error_set(err, ERROR_CONFLICT, "%s '%s' is lost",
                             rig->points[i].kind == RIG_BACKUP ? "backup"
                                                               : "snapshot",
                             rig->points[i].uuid);
    return 0;
}

/* -- what an operation did ------------------------------------------------- */

/* A point of the database: in the model, or one that may be new. */
static int
learn_point(struct rig *rig, enum rig_kind kind, const char *uuid, bool may,
            size_t *made, struct error *err)
{
    if (rig_find(rig, uuid) != NULL)
        return 0;
    if (!may || *made > 0)
        return error_set(err, ERROR_CONFLICT, "point '%s' out of nowhere",
                         uuid);
    (*made)++;
    rig_learn(rig, kind, uuid);
    return 0;
}

static int
learn_points(struct rig *rig, const struct rig_outcome *outcome,
             struct error *err)
{
    CLEANUP(living_release) struct living living = {0};
    size_t made = 0;

    if (read_living(rig, &living, err) < 0)
        return -1;
    for (size_t i = 0; i < living.snapshots.count; i++)
        if (learn_point(rig, RIG_SNAPSHOT, living.snapshots.items[i].uuid,
                        outcome->makes_snapshot, &made, err) < 0)
            return -1;
    for (size_t i = 0; i < living.backups.count; i++)
        if (learn_point(rig, RIG_BACKUP, living.backups.items[i].uuid,
                        outcome->makes_backup, &made, err) < 0)
            return -1;
    for (size_t i = 0; i < living.volumes.count; i++)
        if (learn_point(rig, RIG_VOLUME_SNAPSHOT, living.volumes.items[i].uuid,
                        outcome->makes_volume_snapshot, &made, err) < 0)
            return -1;
    if (made == 0 && outcome->is_done &&
        (outcome->makes_snapshot || outcome->makes_backup ||
         outcome->makes_volume_snapshot))
        return error_set(err, ERROR_CONFLICT, "no point was made");
    if (outcome->removes != NULL) {
        const struct rig_point *point = rig_find(rig, outcome->removes);
        bool is_there = point != NULL && lives(&living, point);

        if (is_there && outcome->is_done)
            return error_set(err, ERROR_CONFLICT, "'%s' was not removed",
                             outcome->removes);
        if (!is_there)
            rig_forget(rig, outcome->removes);
    }
    return 0;
}

int
rig_learn_outcome(struct rig *rig, const struct rig_outcome *outcome,
                  struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    const struct rig_point *back;
    struct error differs = ERROR_INIT;

    if (learn_points(rig, outcome, err) < 0)
        return -1;
    if (outcome->goes_back == NULL)
        return 0;
    back = rig_find(rig, outcome->goes_back);
    if (back == NULL || tree_read(rig->state, rig_vm_id(rig), &tree, err) < 0)
        return -1;
    if (check_active(rig, tree, &back->content, &differs) == 0)
        rig_go_back(rig, back->uuid);
    else if (outcome->is_done) {
        *err = differs;
        return -1;
    }
    return 0;
}

bool
rig_needs_stop(struct rig *rig)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &ignored);
    AUTO_STATE(vm) row = {0};

    return tx != NULL &&
           state_vm_get(tx, rig_vm_id(rig), &row, &ignored) == 0 &&
           row.problem != NULL &&
           strstr(row.problem, "stop the machine and start it again") != NULL;
}

int
rig_check(struct rig *rig, bool deep, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, err);
    AUTO_TREE struct tree *tree = NULL;

    if (tx == NULL || tree_load(tx, rig_vm_id(rig), &tree, err) < 0)
        return -1;
    if (check_quiet(rig, tx, err) < 0 ||
        check_active(rig, tree, &rig->now, err) < 0 ||
        check_none_lost(rig, err) < 0 ||
        check_snapshots(rig, tx, tree, err) < 0 ||
        check_backups(rig, tx, tree, err) < 0 ||
        check_volume_snapshots(rig, tx, tree, err) < 0 ||
        check_files(rig, tx, tree, deep, err) < 0 || check_fixed(rig, err) < 0)
        return -1;
    return 0;
}
