/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
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
            const struct rig_content *content, const struct rig_content *also,
            const char *what, struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *refs = tree_refs(volume, layer_id, &count);
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(refs, count, 0, err);

    if (device == NULL)
        return error_prefix(err, "%s", what);
    if (reads_as(device, content, i, err) ||
        (also != NULL && reads_as(device, also, i, err)))
        return 0;
    return error_set(err, ERROR_CORRUPT,
                     "%s: disk %zu (%llu bytes, model %llu) reads differently",
                     what, i, (unsigned long long)blockdev_size(device),
                     (unsigned long long)content->sizes[i]);
}

static int
check_active(struct rig *rig, struct tree *tree, const struct rig_content *also,
             struct error *err)
{
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        if (volume->row.layer_id == 0)
            continue;
        if (check_layer(volume, i, volume->row.layer_id, &rig->now, also,
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
    if (point == NULL || strcmp(row->state, "Ready") != 0)
        return 0;
    if (state_vm_snapshot_volume_list(tx, STATE_QUERY(where), &members, err) <
        0)
        return -1;
    for (size_t i = 0; i < members.count; i++) {
        struct tree_volume *volume =
            tree_find_volume(tree, members.items[i].volume_id);

        if (volume == NULL ||
            check_layer(volume, (size_t)volume->row.device_id,
                        members.items[i].layer_id, &point->content, NULL,
                        row->uuid, err) < 0)
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
check_point(struct rig *rig, struct repo *repo, const char *uuid,
            const struct rig_content *content, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, RIG_VM, uuid, err);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    const struct copy_options options = {.threads = 1};

    (void)rig;
    if (point == NULL ||
        repo_verify_point(repo, point, &options, &verdict, err) < 0)
        return error_prefix(err, "backup '%s'", uuid);
    if (!verdict.good)
        return error_set(err, ERROR_CORRUPT, "backup '%s' is not its root",
                         uuid);
    for (size_t i = 0; content != NULL && i < point->volume_count; i++) {
        AUTO_BLOCKDEV struct blockdev *device =
            repo_open_volume(repo, point, &point->volumes[i], 0, err);

        if (device == NULL)
            return -1;
        if (!reads_as(device, content, point->volumes[i].device_id, err))
            return error_set(err, ERROR_CORRUPT,
                             "backup '%s' disk %zu reads differently", uuid, i);
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
        repo_list_points(repo, RIG_VM, &points, err) < 0)
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
        if (check_point(rig, repo, row->uuid,
                        point != NULL ? &point->content : NULL, err) < 0)
            return -1;
    }
    if (points.count != good || points.bad_count > 0)
        return error_set(err, ERROR_CONFLICT,
                         "%zu points in the repository, %zu on record, %zu bad",
                         points.count, good, points.bad_count);
    return 0;
}

/* Files in the pool are exactly the layers, but for what tests put there. */
static int
check_files(struct rig *rig, struct tree *tree, bool deep, struct error *err)
{
    AUTO_FREE char *pool = xasprintf("%s/work/pool", rig->directory);
    DIR *entries = opendir(pool);
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

        layers += volume->layers.count;
        for (size_t k = 0; k < volume->layers.count; k++) {
            const char *path = volume->layers.items[k].path;
            const char *const check[] = {"qemu-img", "check", "-q", "-f",
                                         "qcow2",    path,    NULL};

            if (!fd_exists(path))
                return error_set(err, ERROR_CONFLICT, "layer '%s' is missing",
                                 path);
            if (deep && spawn_run(check, 60000, NULL, err) < 0)
                return error_prefix(err, "check of '%s'", path);
        }
    }
    if (files != layers && tree->vm.managed != 0)
        return error_set(err, ERROR_CONFLICT, "%zu files for %zu layers", files,
                         layers);
    return 0;
}

static int
check_quiet(struct rig *rig, struct state_tx *tx, struct error *err)
{
    AUTO_FREE char *hold =
        xasprintf("%s/work/state/hold/%s", rig->directory, RIG_VM);
    uint64_t operations = 0;

    if (state_operation_count(tx, STATE_ALL, &operations, err) < 0)
        return -1;
    if (operations > 0)
        return error_set(err, ERROR_CONFLICT, "%llu operations are unfinished",
                         (unsigned long long)operations);
    if (fd_exists(hold))
        return error_set(err, ERROR_CONFLICT, "the machine is still held");
    return 0;
}

int
rig_check(struct rig *rig, const struct rig_content *also, bool deep,
          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, err);
    AUTO_TREE struct tree *tree = NULL;

    if (tx == NULL || tree_load(tx, 1, &tree, err) < 0)
        return -1;
    if (check_quiet(rig, tx, err) < 0 ||
        check_active(rig, tree, also, err) < 0 ||
        check_snapshots(rig, tx, tree, err) < 0 ||
        check_backups(rig, tx, tree, err) < 0 ||
        check_files(rig, tree, deep, err) < 0)
        return -1;
    return 0;
}
