/* SPDX-License-Identifier: Apache-2.0 */
/*
 * It is no job and stands in no queue: it only reads what is published.  A
 * backup may therefore be deleted or folded under it, which takes its index
 * away; then the rows tell why.
 */
#include "engine/backup_changes.h"

#include "base/fault.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/lookup.h"
#include "image/digest.h"
#include "repo/repo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The two backups, as they are published. */
struct pair {
    struct repo_point *before; /* owned */
    struct repo_point *after;  /* owned */
};

static void
pair_release(struct pair *pair)
{
    repo_point_free(pair->before);
    repo_point_free(pair->after);
}

void
backup_changes_release(struct backup_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        free(changes->items[i].target);
        extents_release(&changes->items[i].ranges);
    }
    free(changes->items);
    *changes = (struct backup_changes){.items = NULL};
}

/* -- the backups --------------------------------------------------------- */

static int
find_complete(struct state_tx *tx, const struct caller *caller,
              const char *uuid, struct state_backup *ret_row, struct error *err)
{
    if (lookup_backup(tx, caller, uuid, ret_row, err) < 0)
        return -1;
    if (strcmp(ret_row->status, "BackedUp") == 0 ||
        strcmp(ret_row->status, "Restoring") == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "backup '%s' is %s and cannot be compared", ret_row->name,
                     ret_row->status);
}

static int
find_rows(struct engine *engine, const struct caller *caller,
          const struct backup_changes_query *query, struct state_vm *ret_vm,
          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(backup) before = {0};
    AUTO_STATE(backup) after = {0};

    if (tx == NULL ||
        find_complete(tx, caller, query->before, &before, err) < 0 ||
        find_complete(tx, caller, query->after, &after, err) < 0)
        return -1;
    if (before.vm_id != after.vm_id)
        return error_set(err, ERROR_INVALID,
                         "backups '%s' and '%s' are of different machines",
                         before.name, after.name);
    return state_vm_get(tx, after.vm_id, ret_vm, err);
}

/* -- the volumes --------------------------------------------------------- */

static int
next_block(struct digest_index *before, struct digest_index *after,
           uint64_t *block, struct error *err)
{
    if (before == NULL)
        return digest_index_next(after, *block, block, err);
    return digest_index_next_difference(before, after, *block, block, err);
}

/* Is there no room for a range that begins with this block? */
static bool
is_full(const struct extents *ranges, uint64_t offset)
{
    const struct extent *last;

    if (ranges->count < BACKUP_CHANGES_RANGES_MAX)
        return false;
    last = &ranges->items[ranges->count - 1];
    return last->offset + last->length != offset;
}

static int
compare(struct digest_index *before, struct digest_index *after,
        uint64_t offset, struct backup_changes_volume *volume,
        struct error *err)
{
    uint64_t size = MAX(volume->size_before, volume->size_after);
    uint64_t block = offset / DIGEST_LEAF_SIZE;
    uint64_t end = digest_leaves(size);
    uint64_t told = 0;
    int found;

    while ((found = next_block(before, after, &block, err)) == 1 &&
           block < end) {
        uint64_t at = block * DIGEST_LEAF_SIZE;

        if (told == BACKUP_CHANGES_BLOCKS_MAX || is_full(&volume->ranges, at)) {
            volume->is_cut = true;
            volume->next = at;
            break;
        }
        extents_add(&volume->ranges, at, DIGEST_LEAF_SIZE);
        told++;
        block++;
    }
    if (found < 0)
        return -1;
    extents_align(&volume->ranges, DIGEST_LEAF_SIZE, size);
    volume->bytes = extents_bytes(&volume->ranges);
    return 0;
}

/* The index of one volume of a point; *ret_index stays NULL without one. */
static int
open_index(const struct repo *repo, const struct repo_point *point,
           const struct repo_volume *volume, struct digest_index **ret_index,
           struct error *err)
{
    if (volume == NULL)
        return 0;
    *ret_index = repo_open_index(repo, point, volume, err);
    if (*ret_index == NULL)
        return error_prefix(err, "backup '%s', volume '%s'", point->uuid.text,
                            volume->volume.text);
    return 0;
}

/* One of the two may be NULL. */
static int
add_volume(const struct repo *repo, const struct pair *pair,
           const struct repo_volume *before, const struct repo_volume *after,
           uint64_t offset, struct backup_changes *changes, struct error *err)
{
    AUTO_DIGEST_INDEX struct digest_index *from = NULL;
    AUTO_DIGEST_INDEX struct digest_index *to = NULL;
    const struct repo_volume *any = after != NULL ? after : before;
    struct backup_changes_volume *volume = &changes->items[changes->count++];

    volume->volume = any->volume;
    volume->target = xstrdup_null(any->target);
    volume->size_before = before != NULL ? before->size : 0;
    volume->size_after = after != NULL ? after->size : 0;
    if (after == NULL) {
        volume->presence = BACKUP_CHANGES_REMOVED;
        return 0;
    }
    if (before == NULL)
        volume->presence = BACKUP_CHANGES_ADDED;
    if (fault_here("backup-changes.index"))
        return error_set_errno(err, errno, "indexes of volume '%s'",
                               any->volume.text);
    if (open_index(repo, pair->before, before, &from, err) < 0 ||
        open_index(repo, pair->after, after, &to, err) < 0)
        return -1;
    changes->algorithm = digest_algorithm_name(digest_index_algorithm(to));
    if (from != NULL &&
        digest_index_algorithm(from) != digest_index_algorithm(to))
        return error_set(err, ERROR_UNSUPPORTED,
                         "the indexes of volume '%s' are of different digest "
                         "algorithms; restore both and compare them",
                         any->volume.text);
    return compare(from, to, offset, volume, err);
}

static bool
is_wanted(const struct backup_changes_query *query,
          const struct repo_volume *volume)
{
    return query->volume == NULL ||
           strcmp(query->volume, volume->volume.text) == 0;
}

static int
compare_volumes(const struct repo *repo, const struct pair *pair,
                const struct backup_changes_query *query,
                struct backup_changes *changes, struct error *err)
{
    const struct repo_point *before = pair->before;
    const struct repo_point *after = pair->after;

    changes->items = xcalloc(before->volume_count + after->volume_count,
                             sizeof(*changes->items));
    for (size_t i = 0; i < after->volume_count; i++) {
        const struct repo_volume *volume = &after->volumes[i];

        if (is_wanted(query, volume) &&
            add_volume(repo, pair,
                       repo_point_volume(before, volume->volume.text), volume,
                       query->offset, changes, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < before->volume_count; i++) {
        const struct repo_volume *volume = &before->volumes[i];

        if (is_wanted(query, volume) &&
            repo_point_volume(after, volume->volume.text) == NULL &&
            add_volume(repo, pair, volume, NULL, 0, changes, err) < 0)
            return -1;
    }
    if (changes->count == 0 && query->volume != NULL)
        return error_set(err, ERROR_NOT_FOUND,
                         "neither backup has a volume '%s'", query->volume);
    return 0;
}

static int
find(struct engine *engine, const char *vm_uuid,
     const struct backup_changes_query *query,
     struct backup_changes *ret_changes, struct error *err)
{
    CLEANUP(pair_release) struct pair pair = {.before = NULL};

    pair.before = repo_read_point(engine->repo, vm_uuid, query->before, err);
    if (pair.before == NULL)
        return -1;
    pair.after = repo_read_point(engine->repo, vm_uuid, query->after, err);
    if (pair.after == NULL)
        return -1;
    return compare_volumes(engine->repo, &pair, query, ret_changes, err);
}

int
backup_changes_find(struct engine *engine, const struct caller *caller,
                    const struct backup_changes_query *query,
                    struct backup_changes *ret_changes, struct error *err)
{
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(vm) still = {0};
    struct error why = ERROR_INIT;

    *ret_changes = (struct backup_changes){.items = NULL};
    if (find_rows(engine, caller, query, &vm, err) < 0)
        return -1;
    if (find(engine, vm.uuid, query, ret_changes, err) == 0)
        return 0;
    backup_changes_release(ret_changes);
    if (find_rows(engine, caller, query, &still, &why) < 0)
        *err = why;
    return -1;
}
