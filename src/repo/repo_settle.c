/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing points, and finishing what was left unfinished.
 *
 * A point goes by the renaming of its manifest to "<point>.removed": from then
 * on it is not listed, and the tombstone says which files it had.  A file is
 * unlinked only if no manifest and no marker of a stage has it in a chain;
 * since every manifest lists its whole chain, that is one look into a set.
 * What stays is needed by a living point, which unlinks it when it goes
 * itself: its chain reaches down to it.  So the tombstone may go too, and
 * nothing else has to be remembered.
 *
 * A manifest that cannot be read may need any file.  As long as there is one,
 * points can be removed but no file is unlinked; removing the damaged point
 * itself sets its manifest aside as "<point>.bad", which ends that.
 *
 * Everything here can be interrupted and done again.
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "repo/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- unlinking ---------------------------------------------------------- */

/* Not durable yet: sync_volume() follows.  What is not there is no error. */
static int
unlink_file(const struct repo *repo, const char *account, const char *volume,
            const char *uuid, const char *suffix, struct error *err)
{
    AUTO_FREE char *path =
        repo_volume_file(repo, account, volume, uuid, suffix);

    if (fault_here("repo.unlink") || (unlink(path) < 0 && errno != ENOENT))
        return error_set_errno(err, errno, "unlink '%s'", path);
    return 0;
}

static int
unlink_partial(const struct repo *repo, const char *account, const char *volume,
               const char *uuid, struct error *err)
{
    if (unlink_file(repo, account, volume, uuid, REPO_IMAGE REPO_PARTIAL, err) <
        0)
        return -1;
    return unlink_file(repo, account, volume, uuid, REPO_INDEX REPO_PARTIAL,
                       err);
}

/* All unlinking in a volume's folder survives a power cut; an empty folder
 * has no meaning and goes. */
static int
sync_volume(const struct repo *repo, const char *account, const char *volume,
            struct error *err)
{
    AUTO_FREE char *path = repo_volume_directory(repo, account, volume);
    AUTO_FREE char *inside = path_join(path, "any");
    AUTO_FREE char *parent = path_parent(path);
    bool gone = rmdir(path) == 0 || errno == ENOENT;

    if (gone && !fd_exists(parent))
        return 0;
    return fd_sync_parent(gone ? path : inside, err);
}

static void
count_file(const struct repo *repo, const struct repo_point *point,
           const struct repo_volume *volume, size_t link,
           struct repo_removed *removed)
{
    AUTO_FREE char *path =
        repo_volume_file(repo, point->account, volume->volume.text,
                         volume->chain[link].text, REPO_IMAGE);
    struct stat about;

    if (stat(path, &about) < 0)
        return;
    removed->files++;
    removed->bytes += (uint64_t)about.st_blocks * 512;
}

/* Unlink what nobody needs of one volume of a removed point, top first. */
static int
unlink_chain(const struct repo *repo, const struct repo_point *point,
             const struct repo_volume *volume, const struct map *needed,
             struct repo_removed *removed, struct error *err)
{
    for (size_t i = 0; i < volume->chain_count; i++) {
        const char *uuid = volume->chain[i].text;
        const char *index = repo_volume_index(volume, i);

        if (repo_is_needed(needed, point->account, volume->volume.text, uuid,
                           REPO_IMAGE)) {
            removed->kept++;
        } else {
            count_file(repo, point, volume, i, removed);
            if (unlink_file(repo, point->account, volume->volume.text, uuid,
                            REPO_IMAGE, err) < 0)
                return -1;
        }
        if (!repo_is_needed(needed, point->account, volume->volume.text, index,
                            REPO_INDEX) &&
            unlink_file(repo, point->account, volume->volume.text, index,
                        REPO_INDEX, err) < 0)
            return -1;
    }
    return sync_volume(repo, point->account, volume->volume.text, err);
}

/* -- removals ----------------------------------------------------------- */

/* A manifest nobody can read is set aside, for people to look at. */
static int
set_aside(const struct repo *repo, const char *vm, const char *point,
          const char *from, struct error *err)
{
    AUTO_FREE char *bad = repo_point_file(repo, vm, point, REPO_BAD);

    if (fault_here("repo.set-aside") || rename(from, bad) < 0)
        return error_set_errno(err, errno, "rename '%s'", from);
    return fd_sync_parent(bad, err);
}

int
repo_finish_removal(const struct repo *repo, const char *vm, const char *uuid,
                    const char *suffix, struct repo_removed *removed,
                    struct error *err)
{
    AUTO_FREE char *tombstone = repo_point_file(repo, vm, uuid, suffix);
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_file(tombstone, true, err);
    AUTO_MAP struct map *needed = map_new();
    AUTO_FREE char *blocked = NULL;

    if (point == NULL) {
        if (err->code != ERROR_CORRUPT && err->code != ERROR_UNSUPPORTED)
            return -1;
        (void)snprintf(removed->blocked, sizeof(removed->blocked), "%.*s",
                       (int)sizeof(removed->blocked) - 1, err->message);
        error_clear(err);
        return set_aside(repo, vm, uuid, tombstone, err);
    }
    if (repo_collect_needed(repo, NULL, needed, &blocked, err) < 0)
        return -1;
    if (blocked != NULL) {
        (void)snprintf(removed->blocked, sizeof(removed->blocked), "%s",
                       blocked);
        return 0;
    }
    for (size_t i = 0; i < point->volume_count; i++) {
        if (unlink_chain(repo, point, &point->volumes[i], needed, removed,
                         err) < 0)
            return -1;
    }
    return fd_unlink(tombstone, err);
}

/* 1 there was a manifest, 0 there is none, -1. */
static int
bury_manifest(const struct repo *repo, const char *vm, const char *point,
              struct error *err)
{
    AUTO_FREE char *manifest = repo_point_file(repo, vm, point, REPO_MANIFEST);
    AUTO_FREE char *tombstone =
        repo_point_file(repo, vm, point, REPO_TOMBSTONE);

    if (fault_here("repo.bury"))
        return error_set_errno(err, errno, "rename '%s'", manifest);
    if (rename(manifest, tombstone) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_set_errno(err, errno, "rename '%s'", manifest);
    }
    return fd_sync_parent(tombstone, err) < 0 ? -1 : 1;
}

static bool
has(const struct repo *repo, const char *vm, const char *point,
    const char *suffix)
{
    AUTO_FREE char *path = repo_point_file(repo, vm, point, suffix);

    return fd_exists(path);
}

/* -- stages ------------------------------------------------------------- */

struct search {
    const struct repo *repo;
    const char *account;
    const char *uuid;
    const struct map *needed; /* NULL: the final files stay */
};

/* Unlink the partial files of one volume, and the final ones that nobody
 * needs. */
static int
undo_volume(const struct search *search, const char *volume, struct error *err)
{
    const struct repo *repo = search->repo;
    const char *account = search->account;
    const char *uuid = search->uuid;

    if (unlink_partial(repo, account, volume, uuid, err) < 0)
        return -1;
    if (search->needed != NULL &&
        !repo_is_needed(search->needed, account, volume, uuid, REPO_IMAGE) &&
        unlink_file(repo, account, volume, uuid, REPO_IMAGE, err) < 0)
        return -1;
    if (search->needed != NULL &&
        !repo_is_needed(search->needed, account, volume, uuid, REPO_INDEX) &&
        unlink_file(repo, account, volume, uuid, REPO_INDEX, err) < 0)
        return -1;
    return sync_volume(repo, account, volume, err);
}

static int
undo_in_volume(const char *volume, void *context, struct error *err)
{
    if (!manifest_is_uuid(volume))
        return 0;
    return undo_volume(context, volume, err);
}

static int
undo_in_account(const char *account, void *context, struct error *err)
{
    struct search *search = context;
    AUTO_FREE char *path = NULL;

    if (!manifest_is_account(account))
        return 0;
    path = xasprintf("%s/backups/%s", search->repo->path, account);
    search->account = account;
    return repo_walk_directory(path, undo_in_volume, search, err);
}

/*
 * Unlink what a stage left: partial files, and if the point never was, the
 * others too, but for those that are `needed`.  They bear its uuid; the marker
 * says where they are, and if it is damaged every folder is looked into.
 */
static int
undo_files(const struct repo *repo, const char *uuid, const char *marker,
           const struct map *needed, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_file(marker, false, err);
    AUTO_FREE char *backups = xasprintf("%s/backups", repo->path);
    struct search search = {.repo = repo, .uuid = uuid, .needed = needed};

    if (point == NULL) {
        if (err->code != ERROR_CORRUPT)
            return -1;
        error_clear(err);
        return repo_walk_directory(backups, undo_in_account, &search, err);
    }
    search.account = point->account;
    for (size_t i = 0; i < point->volume_count; i++) {
        if (undo_volume(&search, point->volumes[i].volume.text, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * There is a marker: finish the publishing, or undo it.  Undoing asks first
 * what the others need: a marker may also be all that is left of a point that
 * was removed, and points that rest on it live on.
 */
static int
finish_stage(const struct repo *repo, const char *vm, const char *point,
             struct error *err)
{
    AUTO_FREE char *marker = repo_point_file(repo, vm, point, REPO_MARKER);
    AUTO_FREE char *partial =
        repo_point_file(repo, vm, point, REPO_MANIFEST REPO_PARTIAL);
    AUTO_MAP struct map *needed = NULL;
    AUTO_FREE char *blocked = NULL;

    if (!has(repo, vm, point, REPO_MANIFEST)) {
        needed = map_new();
        if (repo_collect_needed(repo, point, needed, &blocked, err) < 0)
            return -1;
        if (blocked != NULL)
            return 0; /* it waits until every manifest can be read */
    }
    if (undo_files(repo, point, marker, needed, err) < 0 ||
        fd_unlink(partial, err) < 0)
        return -1;
    return fd_unlink(marker, err);
}

/* A marker that stayed when the point was published goes before the manifest:
 * without one it would call the point a stage that never came to its end. */
static int
finish_published(const struct repo *repo, const char *vm, const char *point,
                 struct error *err)
{
    if (!has(repo, vm, point, REPO_MARKER) ||
        !has(repo, vm, point, REPO_MANIFEST))
        return 0;
    return finish_stage(repo, vm, point, err);
}

int
repo_remove_point(const struct repo *repo, const char *vm, const char *point,
                  struct repo_removed *ret_removed, struct error *err)
{
    struct repo_removed folded = {.files = 0};

    *ret_removed = (struct repo_removed){.files = 0};
    if (repo_check_names(vm, point, err) < 0 ||
        repo_fold_settle(repo, vm, &folded, err) < 0 ||
        finish_published(repo, vm, point, err) < 0 ||
        bury_manifest(repo, vm, point, err) < 0)
        return -1;
    if (!has(repo, vm, point, REPO_TOMBSTONE))
        return 0;
    return repo_finish_removal(repo, vm, point, REPO_TOMBSTONE, ret_removed,
                               err);
}

int
repo_settle_point(const struct repo *repo, const char *vm, const char *point,
                  struct error *err)
{
    struct repo_removed removed = {.files = 0};

    if (repo_check_names(vm, point, err) < 0)
        return -1;
    if (repo_fold_has_traces(repo, vm, point) &&
        repo_fold_settle(repo, vm, &removed, err) < 0)
        return -1;
    if (has(repo, vm, point, REPO_MARKER) &&
        finish_stage(repo, vm, point, err) < 0)
        return -1;
    if (has(repo, vm, point, REPO_TOMBSTONE) &&
        repo_finish_removal(repo, vm, point, REPO_TOMBSTONE, &removed, err) < 0)
        return -1;
    return has(repo, vm, point, REPO_MANIFEST) ? 1 : 0;
}

/* -- everything --------------------------------------------------------- */

static bool
has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text);
    size_t tail = strlen(suffix);

    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Manifests and markers. */
static bool
is_half_written(const char *suffix)
{
    return has_suffix(suffix, ".tmp") || has_suffix(suffix, REPO_PARTIAL);
}

static bool
is_unfinished(const char *suffix)
{
    static const char *const names[] = {REPO_MARKER, REPO_TOMBSTONE,
                                        REPO_FOLDING, REPO_FOLD, REPO_FOLDED};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(suffix, names[i]) == 0)
            return true;
    }
    return is_half_written(suffix);
}

static int
settle_entry(const struct repo *repo, const struct repo_entry *entry,
             struct repo_settled *settled, struct error *err)
{
    const char *vm = entry->vm.text;
    const char *point = entry->point.text;
    AUTO_FREE char *path = NULL;
    bool is_stage = strcmp(entry->suffix, REPO_MARKER) == 0 &&
                    !has(repo, vm, point, REPO_MANIFEST);

    /* What waits for a manifest that cannot be read is not settled by it. */
    if (strcmp(entry->suffix, REPO_MARKER) == 0 ||
        strcmp(entry->suffix, REPO_TOMBSTONE) == 0) {
        if (repo_settle_point(repo, vm, point, err) < 0)
            return -1;
        settled->stages += is_stage && !has(repo, vm, point, REPO_MARKER);
        settled->removals += strcmp(entry->suffix, REPO_TOMBSTONE) == 0 &&
                             !has(repo, vm, point, REPO_TOMBSTONE);
        return 0;
    }
    /* Of those that rest on a folded point, the folded one's tells. */
    if (strcmp(entry->suffix, REPO_FOLDING) == 0 ||
        strcmp(entry->suffix, REPO_FOLD) == 0 ||
        strcmp(entry->suffix, REPO_FOLDED) == 0) {
        settled->folds += strcmp(entry->suffix, REPO_FOLDED) != 0;
        return repo_settle_point(repo, vm, point, err) < 0 ? -1 : 0;
    }
    if (!is_half_written(entry->suffix))
        return 0;
    path = repo_point_file(repo, vm, point, entry->suffix);
    return fd_unlink(path, err);
}

struct stray_search {
    const struct repo *repo;
    const struct map *needed;
    char *account;
    const char *volume;
    size_t count;
};

static int
count_stray(const char *name, void *context, struct error *err)
{
    struct stray_search *search = context;
    char uuid[UUID_TEXT_SIZE] = "";
    size_t length = MIN(strlen(name), sizeof(uuid) - 1);
    bool is_index = strncmp(name + length, REPO_INDEX, strlen(REPO_INDEX)) == 0;

    (void)err;
    memcpy(uuid, name, length);
    search->count +=
        !repo_is_needed(search->needed, search->account, search->volume, uuid,
                        is_index ? REPO_INDEX : REPO_IMAGE);
    return 0;
}

static int
count_in_volume(const char *volume, void *context, struct error *err)
{
    struct stray_search *search = context;
    AUTO_FREE char *path =
        repo_volume_directory(search->repo, search->account, volume);

    search->volume = volume;
    return repo_walk_directory(path, count_stray, search, err);
}

static int
count_in_account(const char *account, void *context, struct error *err)
{
    struct stray_search *search = context;
    AUTO_FREE char *path =
        xasprintf("%s/backups/%s", search->repo->path, account);
    AUTO_FREE char *name = xstrdup(account);
    int result;

    search->account = name;
    result = repo_walk_directory(path, count_in_volume, search, err);
    search->account = NULL;
    return result;
}

static int
count_strays(const struct repo *repo, size_t *ret_count, struct error *err)
{
    AUTO_MAP struct map *needed = map_new();
    AUTO_FREE char *blocked = NULL;
    AUTO_FREE char *backups = xasprintf("%s/backups", repo->path);
    struct stray_search search = {.repo = repo, .needed = needed};

    if (repo_collect_needed(repo, NULL, needed, &blocked, err) < 0)
        return -1;
    /* With a damaged manifest nothing can be called a stray. */
    if (blocked == NULL &&
        repo_walk_directory(backups, count_in_account, &search, err) < 0)
        return -1;
    *ret_count = search.count;
    return 0;
}

int
repo_settle(const struct repo *repo, const char *vm, repo_is_busy *is_busy,
            void *context, struct repo_settled *ret_settled, struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;

    *ret_settled = (struct repo_settled){.stages = 0};
    if (repo_scan(repo, vm, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        const struct repo_entry *entry = &entries.items[i];
        int busy =
            is_busy != NULL ? is_busy(entry->point.text, context, err) : 0;

        if (busy < 0 ||
            (busy == 0 && settle_entry(repo, entry, ret_settled, err) < 0))
            return -1;
    }
    return vm != NULL ? 0 : count_strays(repo, &ret_settled->strays, err);
}

void
repo_owners_release(struct repo_owners *owners)
{
    for (size_t i = 0; i < owners->count; i++)
        free(owners->items[i]);
    vec_release(owners);
}

int
repo_list_unsettled(const struct repo *repo, struct repo_owners *ret_owners,
                    struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;
    AUTO_MAP struct map *known = map_new();

    *ret_owners = (struct repo_owners)VEC_INIT;
    if (repo_scan(repo, NULL, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        const struct repo_entry *entry = &entries.items[i];

        if (!is_unfinished(entry->suffix) ||
            map_find(known, entry->vm.text) != NULL)
            continue;
        map_set(known, entry->vm.text, ret_owners);
        vec_push(ret_owners, xstrdup(entry->vm.text));
    }
    return 0;
}
