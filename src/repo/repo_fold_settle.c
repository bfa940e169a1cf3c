/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a fold, whoever comes to it: the fold itself, or those that find
 * it later.  Every step can be interrupted and done again.
 *
 * Before the decision ("<point>.folding" is there) all is undone: whatever the
 * records name and no manifest does goes, those of the points above first.
 *
 * After it ("<point>.fold"):
 *
 *   1. each new image takes the place of the old one;
 *   2. each point that rests on it, and then the point itself, keeps what it
 *      said as "<point>.folded", and its record becomes its manifest;
 *   3. what only the ".folded" say is unlinked, and they are.
 *
 * Between 1 and 2 headers and manifests disagree.  Headers are right at every
 * moment; manifests are read together with the records, by those who cannot
 * open a chain as they say (repo_fold_other_word).
 *
 * What was written before is synced at each step: records before the decision,
 * the decision before an image is replaced, images before manifests, manifests
 * before anything is unlinked.
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool
has(const struct repo *repo, const char *vm, const char *point,
    const char *suffix)
{
    AUTO_FREE char *path = repo_point_file(repo, vm, point, suffix);

    return fd_exists(path);
}

bool
repo_fold_has_traces(const struct repo *repo, const char *vm, const char *point)
{
    return has(repo, vm, point, REPO_FOLDING) ||
           has(repo, vm, point, REPO_FOLD) || has(repo, vm, point, REPO_FOLDED);
}

static bool
is_record(const struct repo_entry *entry, const char *suffix)
{
    return strcmp(entry->suffix, suffix) == 0;
}

int
repo_fold_is_open(const struct repo *repo, const char *vm, struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;

    if (repo_scan(repo, vm, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        const struct repo_entry *entry = &entries.items[i];

        /* REPO_FOLDED is only what is left to unlink. */
        if (is_record(entry, REPO_FOLDING) || is_record(entry, REPO_FOLD) ||
            is_record(entry, REPO_REFOLD))
            return 1;
    }
    return 0;
}

/* -- undoing ------------------------------------------------------------ */

static int
unlink_one(const char *path, struct error *err)
{
    if (fault_here("repo.fold-unlink"))
        return error_set_errno(err, errno, "unlink '%s'", path);
    return fd_unlink(path, err);
}

static bool
is_in(const struct repo_point *now, const char *volume_uuid, const char *index)
{
    const struct repo_volume *volume =
        now != NULL ? repo_point_volume(now, volume_uuid) : NULL;

    for (size_t i = 0; volume != NULL && i < volume->chain_count; i++) {
        if (strcmp(repo_volume_index(volume, i), index) == 0)
            return true;
    }
    return false;
}

/* Unlink what the record names and the point, as it is, does not. */
static int
undo_files(const struct repo *repo, const struct repo_point *next,
           const struct repo_point *now, struct error *err)
{
    for (size_t n = 0; n < next->volume_count; n++) {
        const struct repo_volume *volume = &next->volumes[n];
        AUTO_FREE char *image =
            repo_volume_file(repo, next->account, volume->volume.text,
                             volume->chain[0].text, REPO_IMAGE REPO_FOLD);

        if (unlink_one(image, err) < 0)
            return -1;
        for (size_t i = 0; i < volume->chain_count; i++) {
            const char *uuid = repo_volume_index(volume, i);
            AUTO_FREE char *index = repo_volume_file(
                repo, next->account, volume->volume.text, uuid, REPO_INDEX);

            if (!is_in(now, volume->volume.text, uuid) &&
                unlink_one(index, err) < 0)
                return -1;
        }
    }
    return 0;
}

static int
undo_record(const struct repo *repo, const struct repo_entry *entry,
            struct error *err)
{
    const char *vm = entry->vm.text;
    AUTO_FREE char *path =
        repo_point_file(repo, vm, entry->point.text, entry->suffix);
    struct error ignored = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *next =
        repo_read_file(path, true, &ignored);
    AUTO_REPO_POINT struct repo_point *now =
        repo_read_point(repo, vm, entry->point.text, &ignored);

    /* If either cannot be read nothing is unlinked; strays are told. */
    if (next != NULL && now != NULL && undo_files(repo, next, now, err) < 0)
        return -1;
    return unlink_one(path, err);
}

/* Records of points above first: the point's own says that there are some. */
static int
undo_all(const struct repo *repo, const struct repo_entries *entries,
         struct error *err)
{
    static const char *const order[] = {REPO_REFOLD, REPO_FOLDING};

    for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
        for (size_t i = 0; i < entries->count; i++) {
            if (is_record(&entries->items[i], order[k]) &&
                undo_record(repo, &entries->items[i], err) < 0)
                return -1;
        }
    }
    return 0;
}

/* -- finishing ---------------------------------------------------------- */

/* 1. The new images take the place of the old ones. */
static int
replace_images(const struct repo *repo, const struct repo_point *next,
               struct error *err)
{
    for (size_t n = 0; n < next->volume_count; n++) {
        const struct repo_volume *volume = &next->volumes[n];
        AUTO_FREE char *from =
            repo_volume_file(repo, next->account, volume->volume.text,
                             volume->chain[0].text, REPO_IMAGE REPO_FOLD);
        AUTO_FREE char *to =
            repo_volume_file(repo, next->account, volume->volume.text,
                             volume->chain[0].text, REPO_IMAGE);

        if (fault_here("repo.fold-replace"))
            return error_set_errno(err, errno, "rename '%s'", from);
        if (rename(from, to) < 0 && errno != ENOENT)
            return error_set_errno(err, errno, "rename '%s'", from);
        if (fd_sync_parent(to, err) < 0)
            return -1;
    }
    return 0;
}

/* 2. What the record says is the manifest. */
static int
switch_manifest(const struct repo *repo, const char *vm, const char *point,
                const char *suffix, struct error *err)
{
    AUTO_FREE char *record = repo_point_file(repo, vm, point, suffix);
    AUTO_FREE char *manifest = repo_point_file(repo, vm, point, REPO_MANIFEST);
    AUTO_FREE char *folded = repo_point_file(repo, vm, point, REPO_FOLDED);

    if (!fd_exists(manifest)) {
        /* Gone by other hands: what the record names is not needed. */
        if (rename(record, folded) < 0)
            return error_set_errno(err, errno, "rename '%s'", record);
        return fd_sync_parent(folded, err);
    }
    if (!fd_exists(folded)) {
        AUTO_FREE char *text = NULL;
        size_t length;

        if (fd_read_file(manifest, REPO_MANIFEST_MAX, &text, &length, err) < 0)
            return -1;
        if (fault_here("repo.fold-keep"))
            return error_set_errno(err, errno, "write '%s'", folded);
        if (fd_replace_file(folded, text, length, REPO_FILE_MODE, err) < 0)
            return -1;
    }
    if (fault_here("repo.fold-switch") || rename(record, manifest) < 0)
        return error_set_errno(err, errno, "rename '%s'", record);
    return fd_sync_parent(manifest, err);
}

static int
finish_one(const struct repo *repo, const struct repo_entries *entries,
           const struct repo_entry *leader, struct error *err)
{
    const char *vm = leader->vm.text;
    AUTO_FREE char *path =
        repo_point_file(repo, vm, leader->point.text, REPO_FOLD);
    AUTO_REPO_POINT struct repo_point *next = repo_read_file(path, true, err);

    if (next == NULL || replace_images(repo, next, err) < 0)
        return -1;
    for (size_t i = 0; i < entries->count; i++) {
        const struct repo_entry *entry = &entries->items[i];

        if (is_record(entry, REPO_REFOLD) &&
            switch_manifest(repo, vm, entry->point.text, REPO_REFOLD, err) < 0)
            return -1;
    }
    return switch_manifest(repo, vm, leader->point.text, REPO_FOLD, err);
}

/* 3. What was only of before goes. */
static int
clean(const struct repo *repo, const char *vm, struct repo_removed *removed,
      struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;

    if (repo_scan(repo, vm, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        if (is_record(&entries.items[i], REPO_FOLDED) &&
            repo_finish_removal(repo, vm, entries.items[i].point.text,
                                REPO_FOLDED, removed, err) < 0)
            return -1;
    }
    return 0;
}

int
repo_fold_settle(const struct repo *repo, const char *vm,
                 struct repo_removed *removed, struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;
    const struct repo_entry *decided = NULL;
    bool has_records = false;

    if (repo_scan(repo, vm, &entries, err) < 0)
        return -1;
    for (size_t i = 0; i < entries.count; i++) {
        if (is_record(&entries.items[i], REPO_FOLD))
            decided = &entries.items[i];
        has_records = has_records ||
                      is_record(&entries.items[i], REPO_REFOLD) ||
                      is_record(&entries.items[i], REPO_FOLDING);
    }
    if (decided != NULL) {
        if (finish_one(repo, &entries, decided, err) < 0)
            return -1;
    } else if (has_records && undo_all(repo, &entries, err) < 0) {
        return -1;
    }
    return clean(repo, vm, removed, err);
}

int
repo_settle_folds(const struct repo *repo, const char *vm, struct error *err)
{
    struct repo_removed removed = {.files = 0};

    if (repo_check_names(vm, vm, err) < 0)
        return -1;
    return repo_fold_settle(repo, vm, &removed, err);
}

/* -- reading meanwhile -------------------------------------------------- */

struct repo_point *
repo_fold_other_word(const struct repo *repo, const struct repo_point *known,
                     unsigned step)
{
    static const char *const suffixes[REPO_FOLD_WORDS] = {
        REPO_MANIFEST, REPO_REFOLD, REPO_FOLD};
    AUTO_FREE char *path =
        repo_point_file(repo, known->vm.text, known->uuid.text, suffixes[step]);
    struct error ignored = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *other =
        repo_read_file(path, true, &ignored);

    if (other == NULL || strcmp(other->uuid.text, known->uuid.text) != 0 ||
        strcmp(other->account, known->account) != 0)
        return NULL;
    return steal(&other);
}
