/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is there: directories are read each time, nothing is cached, so that
 * what another host or an operator did is seen.
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/vec.h"
#include "repo/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- directories -------------------------------------------------------- */

int
repo_walk_directory(const char *path,
                    int (*each)(const char *name, void *context,
                                struct error *err),
                    void *context, struct error *err)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    int result = 0;

    if (directory == NULL)
        return errno == ENOENT
                   ? 0
                   : error_set_errno(err, errno, "open directory '%s'", path);
    while (result == 0) {
        errno = 0;
        entry = readdir(directory);
        if (entry == NULL)
            break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = each(entry->d_name, context, err);
    }
    if (result == 0 && (errno != 0 || fault_here("repo.read-directory")))
        result = error_set_errno(err, errno, "read directory '%s'", path);
    (void)closedir(directory); /* was only read */
    return result;
}

struct scan {
    const struct repo *repo;
    struct uuid vm;
    struct repo_entries *entries;
};

static int
scan_name(const char *name, void *context, struct error *err)
{
    struct scan *scan = context;
    struct repo_entry entry = {.vm = scan->vm};
    char uuid[UUID_TEXT_SIZE] = "";

    (void)err;
    if (strlen(name) < UUID_TEXT_SIZE)
        return 0;
    memcpy(uuid, name, UUID_TEXT_SIZE - 1);
    if (!manifest_is_uuid(uuid))
        return 0;
    memcpy(entry.point.text, uuid, UUID_TEXT_SIZE);
    entry.suffix = xstrdup(name + UUID_TEXT_SIZE - 1);
    vec_push(scan->entries, entry);
    return 0;
}

static int
scan_machine(const char *vm, void *context, struct error *err)
{
    struct scan *scan = context;
    AUTO_FREE char *path = NULL;

    if (!manifest_is_uuid(vm))
        return 0;
    memcpy(scan->vm.text, vm, UUID_TEXT_SIZE);
    path = xasprintf("%s/points/%s", scan->repo->path, vm);
    return repo_walk_directory(path, scan_name, scan, err);
}

int
repo_scan(const struct repo *repo, const char *vm,
          struct repo_entries *ret_entries, struct error *err)
{
    struct scan scan = {.repo = repo, .entries = ret_entries};
    AUTO_FREE char *path = xasprintf("%s/points", repo->path);

    if (vm != NULL)
        return scan_machine(vm, &scan, err);
    return repo_walk_directory(path, scan_machine, &scan, err);
}

void
repo_entries_release(struct repo_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        free(entries->items[i].suffix);
    vec_release(entries);
}

/* -- manifests ---------------------------------------------------------- */

struct repo_point *
repo_read_file(const char *path, bool finished, struct error *err)
{
    AUTO_FREE char *text = NULL;
    struct repo_point *point;
    size_t length = 0;

    if (fd_read_file(path, REPO_MANIFEST_MAX, &text, &length, err) < 0)
        return NULL;
    point = manifest_parse(text, length, finished, err);
    if (point == NULL)
        (void)error_prefix(err, "'%s'", path);
    return point;
}

/* Its name is what it says it is. */
static struct repo_point *
read_named(const struct repo *repo, const char *vm, const char *uuid,
           const char *suffix, struct error *err)
{
    AUTO_FREE char *path = repo_point_file(repo, vm, uuid, suffix);
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_file(path, strcmp(suffix, REPO_MANIFEST) == 0, err);

    if (point == NULL)
        return NULL;
    if (strcmp(point->uuid.text, uuid) != 0 ||
        strcmp(point->vm.text, vm) != 0) {
        (void)error_set(err, ERROR_CORRUPT,
                        "'%s' is the manifest of another point", path);
        return NULL;
    }
    return steal(&point);
}

struct repo_point *
repo_read_point(const struct repo *repo, const char *vm, const char *point,
                struct error *err)
{
    struct repo_point *result;

    if (repo_check_names(vm, point, err) < 0)
        return NULL;
    result = read_named(repo, vm, point, REPO_MANIFEST, err);
    if (result == NULL && err->code == ERROR_NOT_FOUND)
        (void)error_set(err, ERROR_NOT_FOUND,
                        "the repository '%s' has no point '%s'", repo->path,
                        point);
    return result;
}

void
repo_list_release(struct repo_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        repo_point_free(list->points[i]);
    for (size_t i = 0; i < list->bad_count; i++) {
        free(list->bad[i].path);
        free(list->bad[i].reason);
    }
    free(list->points);
    free(list->bad);
    *list = (struct repo_list)REPO_LIST_INIT;
}

static int
compare_points(const void *a, const void *b)
{
    const struct repo_point *left = *(struct repo_point *const *)a;
    const struct repo_point *right = *(struct repo_point *const *)b;

    if (left->created_ms != right->created_ms)
        return left->created_ms < right->created_ms ? -1 : 1;
    return strcmp(left->uuid.text, right->uuid.text);
}

static void
add_bad(struct repo_list *list, char *path, const char *reason)
{
    list->bad = xrealloc(list->bad, (list->bad_count + 1) * sizeof(*list->bad));
    list->bad[list->bad_count++] =
        (struct repo_bad){.path = path, .reason = xstrdup(reason)};
}

/* Every manifest and, if asked for, every marker but that of `unmarked`. */
static int
list_entries(const struct repo *repo, const char *vm, bool markers,
             const char *unmarked, struct repo_list *list, struct error *err)
{
    AUTO_REPO_ENTRIES struct repo_entries entries = REPO_ENTRIES_INIT;

    if (repo_scan(repo, vm, &entries, err) < 0)
        return -1;
    list->points = xcalloc(entries.count + 1, sizeof(struct repo_point *));
    for (size_t i = 0; i < entries.count; i++) {
        const struct repo_entry *entry = &entries.items[i];
        struct error why = ERROR_INIT;
        struct repo_point *point;

        if (strcmp(entry->suffix, REPO_MANIFEST) != 0 &&
            (!markers || strcmp(entry->suffix, REPO_MARKER) != 0 ||
             (unmarked != NULL && strcmp(entry->point.text, unmarked) == 0)))
            continue;
        point = read_named(repo, entry->vm.text, entry->point.text,
                           entry->suffix, &why);
        if (point != NULL)
            list->points[list->count++] = point;
        else if (why.code != ERROR_NOT_FOUND) /* it may go meanwhile */
            add_bad(list,
                    repo_point_file(repo, entry->vm.text, entry->point.text,
                                    entry->suffix),
                    why.message);
    }
    qsort(list->points, list->count, sizeof(struct repo_point *),
          compare_points);
    return 0;
}

int
repo_list_points(const struct repo *repo, const char *vm,
                 struct repo_list *ret_list, struct error *err)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;

    if (vm != NULL && !manifest_is_uuid(vm))
        return error_set(err, ERROR_INVALID, "machine '%.64s': not a uuid", vm);
    if (list_entries(repo, vm, false, NULL, &list, err) < 0)
        return -1;
    *ret_list = list;
    list = (struct repo_list)REPO_LIST_INIT;
    return 0;
}

/* -- who needs what ----------------------------------------------------- */

static char *
needed_key(const char *account, const char *volume, const char *uuid,
           const char *suffix)
{
    return xasprintf("%s/%s/%s%s", account, volume, uuid, suffix);
}

static void
need_files(struct map *needed, const struct repo_point *point)
{
    for (size_t n = 0; n < point->volume_count; n++) {
        const struct repo_volume *volume = &point->volumes[n];

        for (size_t k = 0; k < volume->chain_count; k++) {
            AUTO_FREE char *image =
                needed_key(point->account, volume->volume.text,
                           volume->chain[k].text, REPO_IMAGE);
            AUTO_FREE char *index =
                needed_key(point->account, volume->volume.text,
                           repo_volume_index(volume, k), REPO_INDEX);

            map_set(needed, image, needed);
            map_set(needed, index, needed);
        }
    }
}

int
repo_collect_needed(const struct repo *repo, const char *unmarked,
                    struct map *needed, char **ret_blocked, struct error *err)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;

    if (list_entries(repo, NULL, true, unmarked, &list, err) < 0)
        return -1;
    *ret_blocked = list.bad_count > 0 ? xstrdup(list.bad[0].reason) : NULL;
    for (size_t i = 0; i < list.count; i++)
        need_files(needed, list.points[i]);
    return 0;
}

bool
repo_is_needed(const struct map *needed, const char *account,
               const char *volume, const char *uuid, const char *suffix)
{
    AUTO_FREE char *key = needed_key(account, volume, uuid, suffix);

    return map_find(needed, key) != NULL;
}
