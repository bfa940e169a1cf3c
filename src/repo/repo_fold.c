/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding the part of a chain into one file, all or nothing.
 *
 *   1. what the point, and each point that rests on it, will say is written
 *      as "<point>.folding" and "<point>.refold", with all new names;
 *   2. indexes are made anew under new names, the images as "….qcow2.fold";
 *   3. the decision: ".folding" becomes ".fold";
 *   4. the rest is repo_fold_settle().
 *
 * The image keeps its name, so that nothing above it has to be written: the
 * headers of its children stay right.  Indexes are named anew, since nodes of
 * the old one are referred to by place from above; all above are made over on
 * the new one, from indexes alone.  So when everybody says the new names,
 * nobody needs the files of the part.
 *
 * A point of the part that is alive keeps its files, and they stay.
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/fold.h"
#include "image/qcow2.h"
#include "repo/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One point that will say something else. */
struct member {
    const struct repo_point *now; /* borrowed from the list */
    struct repo_point *next;      /* owned */
};

struct fold {
    const struct repo *repo; /* borrowed */
    const char *vm;          /* borrowed */
    struct repo_list list;   /* owned; of the machine */
    struct member *members;  /* owned; the point itself, then those above it,
                                nearest first */
    size_t count;
    size_t *folded;      /* owned; of the point's volumes: files of the part */
    struct map *renamed; /* owned; "<volume>/<file>" to a struct uuid, owned */
};

static void
free_uuid(const char *key, void *value, void *context)
{
    (void)key;
    (void)context;
    free(value);
}

static void
fold_release(struct fold *fold)
{
    for (size_t i = 0; i < fold->count; i++)
        repo_point_free(fold->members[i].next);
    free(fold->members);
    free(fold->folded);
    map_walk(fold->renamed, free_uuid, NULL);
    map_cleanup(&fold->renamed);
    repo_list_release(&fold->list);
}
#define AUTO_FOLD CLEANUP(fold_release)

static char *
file_of(const struct fold *fold, const struct repo_volume *volume,
        const char *uuid, const char *suffix)
{
    return repo_volume_file(fold->repo, fold->members[0].now->account,
                            volume->volume.text, uuid, suffix);
}

/* -- the plan ----------------------------------------------------------- */

static long
place_in(const struct repo_volume *volume, const char *uuid)
{
    for (size_t i = 0; i < volume->chain_count; i++) {
        if (strcmp(volume->chain[i].text, uuid) == 0)
            return (long)i;
    }
    return -1;
}

/*
 * How many files of each volume are the part.  A volume whose chain does not
 * reach down to `oldest` began later: all of it belongs to the part.
 */
static int
choose_part(struct fold *fold, const struct repo_point *point,
            const char *oldest, struct error *err)
{
    bool is_known = oldest == NULL;
    bool is_any = false;

    fold->folded = xcalloc(point->volume_count + 1, sizeof(*fold->folded));
    for (size_t n = 0; n < point->volume_count; n++) {
        const struct repo_volume *volume = &point->volumes[n];
        long place = oldest != NULL ? place_in(volume, oldest) : -1;

        is_known = is_known || place >= 0;
        fold->folded[n] = place >= 0 ? (size_t)place + 1 : volume->chain_count;
        is_any = is_any || fold->folded[n] > 1;
    }
    if (!is_known)
        return error_set(err, ERROR_INVALID,
                         "'%s' is not in the chain of point '%s'", oldest,
                         point->uuid.text);
    if (!is_any)
        return error_set(err, ERROR_CONFLICT,
                         "point '%s' is one file for each volume already: "
                         "there is nothing to fold",
                         point->uuid.text);
    return 0;
}

/* The new name of the index of a file. */
static const struct uuid *
rename_index(struct fold *fold, const struct repo_volume *volume,
             const struct uuid *file)
{
    AUTO_FREE char *key = xasprintf("%s/%s", volume->volume.text, file->text);
    struct uuid *name = map_find(fold->renamed, key);

    if (name == NULL) {
        name = xcalloc(1, sizeof(*name));
        uuid_new(name);
        map_set(fold->renamed, key, name);
    }
    return name;
}

/* The same chain without the part, whose newest file is at `place`. */
static void
shorten(struct fold *fold, const struct repo_volume *now, size_t place,
        size_t folded, struct repo_volume *next)
{
    size_t below = place + folded; /* the first under the part */

    next->chain_count = place + 1 + (now->chain_count - below);
    free(next->indexes);
    next->indexes = xcalloc(next->chain_count, sizeof(*next->indexes));
    for (size_t i = 0; i < next->chain_count; i++) {
        size_t from = i <= place ? i : i - place - 1 + below;

        next->chain[i] = now->chain[from];
        if (i <= place)
            next->indexes[i] = *rename_index(fold, now, &now->chain[i]);
        else
            memcpy(next->indexes[i].text, repo_volume_index(now, from),
                   UUID_TEXT_SIZE);
    }
}

/* What the point will say; NULL when that is what it says.  *ret_distance is
 * how far above the folded point it is. */
static struct repo_point *
describe(struct fold *fold, const struct repo_point *leader,
         const struct repo_point *now, size_t *ret_distance, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *next = NULL;
    size_t distance = 0;
    bool is_changed = false;

    next = repo_read_point(fold->repo, fold->vm, now->uuid.text, err);
    if (next == NULL || next->volume_count != now->volume_count)
        return NULL;
    next->type = REPO_FULL;
    for (size_t n = 0; n < leader->volume_count; n++) {
        const struct repo_volume *folded = &leader->volumes[n];
        const struct repo_volume *volume =
            repo_point_volume(now, folded->volume.text);
        long place = -1;

        if (fold->folded[n] > 1 && volume != NULL)
            place = place_in(volume, folded->chain[0].text);
        if (place < 0)
            continue;
        shorten(fold, volume, (size_t)place, fold->folded[n],
                &next->volumes[volume - now->volumes]);
        distance = MAX(distance, (size_t)place);
        is_changed = true;
    }
    for (size_t n = 0; n < next->volume_count; n++) {
        if (next->volumes[n].chain_count > 1)
            next->type = REPO_INCREMENTAL;
        else if (next->volumes[n].full_reason == NULL)
            next->volumes[n].full_reason = xstrdup("folded");
    }
    *ret_distance = distance;
    return is_changed ? steal(&next) : NULL;
}

static int
plan_members(struct fold *fold, const struct repo_point *leader,
             struct error *err)
{
    AUTO_FREE size_t *distances = xcalloc(fold->list.count + 1, sizeof(size_t));

    fold->members = xcalloc(fold->list.count + 1, sizeof(*fold->members));
    for (size_t i = 0; i < fold->list.count; i++) {
        const struct repo_point *now = fold->list.points[i];
        size_t distance = 0;
        struct repo_point *next = describe(fold, leader, now, &distance, err);
        size_t at = fold->count;

        if (next == NULL) {
            if (err->code != ERROR_NONE)
                return -1;
            continue;
        }
        for (; at > 0 && distances[at - 1] > distance; at--) {
            fold->members[at] = fold->members[at - 1];
            distances[at] = distances[at - 1];
        }
        fold->members[at] = (struct member){.now = now, .next = next};
        distances[at] = distance;
        fold->count++;
    }
    return 0;
}

static bool
is_published(const struct fold *fold, const char *point)
{
    for (size_t i = 0; i < fold->list.count; i++) {
        if (strcmp(fold->list.points[i]->uuid.text, point) == 0)
            return true;
    }
    return false;
}

/* A published point's marker is left when only the tidying up failed. */
static int
check_stage(const struct fold *fold, const char *point, struct error *err)
{
    if (!is_published(fold, point))
        return error_set(err, ERROR_BUSY, "point '%s' is being made", point);
    return repo_settle_point(fold->repo, fold->vm, point, err) < 0 ? -1 : 0;
}

static int
check_others(const struct fold *fold, struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;

    if (fold->list.bad_count > 0)
        return error_set(err, ERROR_CONFLICT,
                         "'%s' cannot be read (%s), and may rest on the point",
                         fold->list.bad[0].path, fold->list.bad[0].reason);
    if (repo_scan(fold->repo, fold->vm, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        const struct repo_entry *entry = &entries.items[i];

        if (strcmp(entry->suffix, REPO_MARKER) == 0 &&
            check_stage(fold, entry->point.text, err) < 0)
            return -1;
        if (strcmp(entry->suffix, REPO_FOLDED) == 0)
            return error_set(err, ERROR_CONFLICT,
                             "files of an earlier fold of point '%s' cannot "
                             "be removed as long as a manifest cannot be read",
                             entry->point.text);
    }
    return 0;
}

static int
plan(struct fold *fold, const char *point, const char *oldest,
     struct error *err)
{
    const struct repo_point *leader = NULL;

    if (repo_list_points(fold->repo, fold->vm, &fold->list, err) < 0 ||
        check_others(fold, err) < 0)
        return -1;
    for (size_t i = 0; i < fold->list.count; i++) {
        if (strcmp(fold->list.points[i]->uuid.text, point) == 0)
            leader = fold->list.points[i];
    }
    if (leader == NULL)
        return error_set(err, ERROR_NOT_FOUND,
                         "the repository '%s' has no point '%s'",
                         repo_path(fold->repo), point);
    if (choose_part(fold, leader, oldest, err) < 0 ||
        plan_members(fold, leader, err) < 0)
        return -1;
    if (fold->count == 0 || fold->members[0].now != leader)
        return error_set(err, ERROR_CORRUPT,
                         "point '%s' does not hold its own files", point);
    return 0;
}

/* -- records ------------------------------------------------------------ */

static int
write_record(const struct fold *fold, const struct member *member,
             const char *suffix, struct error *err)
{
    AUTO_FREE char *path =
        repo_point_file(fold->repo, fold->vm, member->now->uuid.text, suffix);
    AUTO_FREE char *text = NULL;

    if (manifest_check(member->next, true, err) < 0)
        return -1;
    text = manifest_encode(member->next, err);
    if (text == NULL)
        return -1;
    if (fault_here("repo.fold-record"))
        return error_set_errno(err, errno, "write '%s'", path);
    return fd_replace_file(path, text, strlen(text), REPO_FILE_MODE, err);
}

static int
write_records(const struct fold *fold, struct error *err)
{
    for (size_t i = 0; i < fold->count; i++) {
        if (write_record(fold, &fold->members[i],
                         i == 0 ? REPO_FOLDING : REPO_REFOLD, err) < 0)
            return -1;
    }
    return 0;
}

/* -- indexes ------------------------------------------------------------ */

/* The index of one file anew, over the new index of the file below it. */
static int
make_index(const struct fold *fold, const struct repo_volume *volume,
           const char *old, const char *new, const char *below,
           struct error *err)
{
    AUTO_FREE char *from = file_of(fold, volume, old, REPO_INDEX);
    AUTO_FREE char *to = file_of(fold, volume, new, REPO_INDEX);
    AUTO_FREE char *base =
        below != NULL ? file_of(fold, volume, below, REPO_INDEX) : NULL;
    AUTO_DIGEST_INDEX struct digest_index *content = NULL;
    AUTO_DIGEST_INDEX struct digest_index *under = NULL;
    char root[DIGEST_ROOT_TEXT];

    if (fd_exists(to))
        return 0; /* of this fold: names are new */
    content = digest_index_open(from, err);
    if (content == NULL)
        return -1;
    if (base != NULL && (under = digest_index_open(base, err)) == NULL)
        return -1;
    if (fold_index(content, under, to, new, root, err) < 0)
        return -1;
    return fd_sync_parent(to, err);
}

/* Of every file of the volume's chain that has a new name, lowest first. */
static int
make_indexes(const struct fold *fold, const struct member *member,
             struct error *err)
{
    for (size_t n = 0; n < member->now->volume_count; n++) {
        const struct repo_volume *now = &member->now->volumes[n];
        const struct repo_volume *next = &member->next->volumes[n];

        for (size_t i = next->chain_count; i-- > 0;) {
            const char *below = i + 1 < next->chain_count
                                    ? repo_volume_index(next, i + 1)
                                    : NULL;
            size_t from = i + now->chain_count - next->chain_count;

            if (i < now->chain_count &&
                strcmp(now->chain[i].text, next->chain[i].text) == 0)
                from = i;
            if (strcmp(repo_volume_index(now, from),
                       repo_volume_index(next, i)) == 0)
                continue;
            if (make_index(fold, now, repo_volume_index(now, from),
                           repo_volume_index(next, i), below, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* The root that the manifest has must be that of the new index. */
static int
check_root(const struct fold *fold, const struct repo_volume *next,
           struct error *err)
{
    AUTO_FREE char *path =
        file_of(fold, next, repo_volume_index(next, 0), REPO_INDEX);
    AUTO_DIGEST_INDEX struct digest_index *index = digest_index_open(path, err);

    if (index == NULL)
        return -1;
    if (strcmp(digest_index_root(index), next->root) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "the index of volume '%s' has the root %s, the "
                         "manifest %s",
                         next->volume.text, digest_index_root(index),
                         next->root);
    return 0;
}

/* -- images ------------------------------------------------------------- */

/* The new image over what is under the part, read and compared. */
static int
verify(const struct fold *fold, const struct repo_volume *next,
       const char *image, const struct copy_options *options, struct error *err)
{
    AUTO_FREE char *path =
        file_of(fold, next, repo_volume_index(next, 0), REPO_INDEX);
    AUTO_DIGEST_INDEX struct digest_index *index = digest_index_open(path, err);
    AUTO_FREE struct image_ref *refs =
        xcalloc(next->chain_count, sizeof(*refs));
    char **paths = xcalloc(next->chain_count, sizeof(*paths));
    struct blockdev *device;
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
    int result = -1;

    refs[0] = (struct image_ref){image, IMAGE_QCOW2};
    for (size_t i = 1; i < next->chain_count; i++) {
        paths[i] = file_of(fold, next, next->chain[i].text, REPO_IMAGE);
        refs[i] = (struct image_ref){paths[i], IMAGE_QCOW2};
    }
    device = blockdev_open_chain(refs, next->chain_count, BLOCKDEV_DIRECT, err);
    if (index != NULL && device != NULL)
        result = copy_verify(device, NULL, index, options, &mismatch, err);
    if (result == 0 && mismatch.found)
        result =
            error_set(err, ERROR_CORRUPT,
                      "%llu leaves of volume '%s' are not what its index "
                      "says; the point was damaged before",
                      (unsigned long long)mismatch.leaves, next->volume.text);
    blockdev_free(device);
    for (size_t i = 0; i < next->chain_count; i++)
        free(paths[i]);
    free(paths);
    return result;
}

static int
fold_image(const struct fold *fold, const struct repo_volume *now,
           const struct repo_volume *next, size_t folded, const char *to,
           const struct repo_fold_options *options, struct fold_counts *counts,
           struct error *err)
{
    AUTO_FREE char *backing =
        next->chain_count > 1 ? xasprintf("%s" REPO_IMAGE, next->chain[1].text)
                              : NULL;
    AUTO_FREE struct image_ref *refs = xcalloc(now->chain_count, sizeof(*refs));
    char **paths = xcalloc(now->chain_count, sizeof(*paths));
    struct fold_options how = {.backing_name = backing,
                               .backing_format = IMAGE_QCOW2,
                               .direct = true,
                               .rate_limit = options->copy->rate_limit,
                               .progress = options->copy->progress};
    int result;

    for (size_t i = 0; i < now->chain_count; i++) {
        paths[i] = file_of(fold, now, now->chain[i].text, REPO_IMAGE);
        refs[i] = (struct image_ref){paths[i], IMAGE_QCOW2};
    }
    result = fold_layers(refs, now->chain_count, folded, to, &how, counts, err);
    for (size_t i = 0; i < now->chain_count; i++)
        free(paths[i]);
    free(paths);
    return result;
}

/* One volume of the point itself: image, proof, size. */
static int
fold_volume(const struct fold *fold, size_t n,
            const struct repo_fold_options *options, struct repo_folded *folded,
            struct error *err)
{
    const struct member *member = &fold->members[0];
    const struct repo_volume *now = &member->now->volumes[n];
    struct repo_volume *next = &member->next->volumes[n];
    AUTO_FREE char *to =
        file_of(fold, now, now->chain[0].text, REPO_IMAGE REPO_FOLD);
    struct fold_counts counts = {.moved = 0};

    if (fold->folded[n] < 2)
        return 0;
    if (check_root(fold, next, err) < 0 ||
        fold_image(fold, now, next, fold->folded[n], to, options, &counts,
                   err) < 0)
        return -1;
    if (options->verify && verify(fold, next, to, options->copy, err) < 0)
        return -1;
    folded->moved += counts.moved;
    folded->plain += counts.plain;
    folded->encoded += counts.encoded;
    next->stored = counts.file_bytes;
    return fd_sync_parent(to, err);
}

/* -- all together ------------------------------------------------------- */

static int
require_space(const struct fold *fold, struct error *err)
{
    const struct repo_point *point = fold->members[0].now;
    uint64_t sum = 0;

    for (size_t n = 0; n < point->volume_count; n++) {
        const struct repo_volume *volume = &point->volumes[n];

        for (size_t i = 0; fold->folded[n] > 1 && i < fold->folded[n]; i++) {
            AUTO_FREE char *path =
                file_of(fold, volume, volume->chain[i].text, REPO_IMAGE);
            struct stat about;

            if (stat(path, &about) < 0)
                return error_set_errno(err, errno, "stat '%s'", path);
            sum += (uint64_t)about.st_size;
        }
    }
    return repo_require_space(fold->repo, sum, err);
}

static int
prepare(struct fold *fold, const struct repo_fold_options *options,
        struct repo_folded *folded, struct error *err)
{
    if (require_space(fold, err) < 0 || write_records(fold, err) < 0)
        return -1;
    for (size_t i = 0; i < fold->count; i++) {
        if (make_indexes(fold, &fold->members[i], err) < 0)
            return -1;
    }
    for (size_t n = 0; n < fold->members[0].now->volume_count; n++) {
        if (fold_volume(fold, n, options, folded, err) < 0)
            return error_prefix(err, "volume '%s'",
                                fold->members[0].now->volumes[n].volume.text);
    }
    /* Again, with the sizes. */
    return write_record(fold, &fold->members[0], REPO_FOLDING, err);
}

static int
decide(const struct fold *fold, struct error *err)
{
    const char *point = fold->members[0].now->uuid.text;
    AUTO_FREE char *from =
        repo_point_file(fold->repo, fold->vm, point, REPO_FOLDING);
    AUTO_FREE char *to =
        repo_point_file(fold->repo, fold->vm, point, REPO_FOLD);

    if (fault_here("repo.fold-decide") || rename(from, to) < 0)
        return error_set_errno(err, errno, "rename '%s'", from);
    return fd_sync_parent(to, err);
}

/* What the result says: sizes, and which files of the part stayed. */
static void
sum_up(const struct fold *fold, struct repo_folded *folded)
{
    const struct member *member = &fold->members[0];

    folded->points = fold->count - 1;
    for (size_t n = 0; n < member->now->volume_count; n++) {
        const struct repo_volume *now = &member->now->volumes[n];

        folded->stored += member->next->volumes[n].stored;
        for (size_t i = 1; i < fold->folded[n]; i++) {
            AUTO_FREE char *path =
                file_of(fold, now, now->chain[i].text, REPO_IMAGE);

            folded->kept += fd_exists(path);
        }
    }
}

int
repo_fold(const struct repo *repo, const char *vm, const char *point,
          const char *oldest, const struct repo_fold_options *options,
          struct repo_folded *ret_folded, struct error *err)
{
    AUTO_FOLD struct fold fold = {.repo = repo, .vm = vm, .renamed = map_new()};
    struct repo_folded folded = {.moved = 0};
    struct repo_removed removed = {.files = 0};
    struct error ignored = ERROR_INIT;

    if (repo_check_names(vm, point, err) < 0 ||
        repo_fold_settle(repo, vm, &removed, err) < 0 ||
        plan(&fold, point, oldest, err) < 0)
        return -1;
    if (prepare(&fold, options, &folded, err) < 0 || decide(&fold, err) < 0) {
        /* Undone, or finished if it was decided; if not now, then later. */
        if (repo_fold_settle(repo, vm, &removed, &ignored) < 0)
            log_debug("repo", "fold-left", "point=%s error='%s'", point,
                      ignored.message);
        return -1;
    }
    if (repo_fold_settle(repo, vm, &folded.removed, err) < 0)
        return -1;
    sum_up(&fold, &folded);
    *ret_folded = folded;
    return 0;
}
