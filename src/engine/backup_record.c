/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a published point is made from its manifest, so that it is
 * the same whether it is made at once or by settling after a crash.
 */
#include "base/fault.h"
#include "base/memory.h"
#include "engine/backup.h"

#include <errno.h>
#include <string.h>

static int
record_volume(struct state_tx *tx, const struct state_backup *backup,
              const struct repo_volume *volume, struct error *err)
{
    AUTO_STATE(backup_volume) row = {0};
    const struct state_where where[] = {
        STATE_INT("backup_id", backup->id),
        STATE_TEXT("volume_uuid", volume->volume.text)};
    int found = state_backup_volume_find(tx, where, 2, &row, err);

    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_CORRUPT,
                         "backup '%s' has no record of volume '%s'",
                         backup->uuid, volume->volume.text);
    row.size = (int64_t)volume->stored;
    row.virtual_size = (int64_t)volume->size;
    state_set_text(&row.root, volume->root);
    state_set_text(&row.reason, volume->full_reason);
    state_set_text(&row.file_uuid, volume->chain[0].text);
    state_set_text(&row.parent_file_uuid,
                   volume->chain_count > 1 ? volume->chain[1].text : NULL);
    return state_backup_volume_update(tx, &row, err);
}

/* The backup whose layer was on primary storage until now. */
static int
retire_current(struct state_tx *tx, const struct state_backup *backup,
               struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    const struct state_where where[] = {
        STATE_INT("vm_id", backup->vm_id),
        STATE_INT("is_current", 1),
        {.column = "id", .op = STATE_NE, .number = backup->id}};

    if (state_backup_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        rows.items[i].is_current = 0;
        if (backup_drop_pins(tx, rows.items[i].id, err) < 0 ||
            state_backup_update(tx, &rows.items[i], err) < 0)
            return -1;
    }
    return 0;
}

static int
record(struct state_tx *tx, struct state_backup *backup,
       const struct repo_point *point, struct error *err)
{
    backup->size = 0;
    backup->virtual_size = 0;
    for (size_t i = 0; i < point->volume_count; i++) {
        if (record_volume(tx, backup, &point->volumes[i], err) < 0)
            return -1;
        backup->size += (int64_t)point->volumes[i].stored;
        backup->virtual_size += (int64_t)point->volumes[i].size;
    }
    state_set_text(&backup->type, repo_point_type_name(point->type));
    state_set_text(&backup->status, "BackedUp");
    if (backup->compression_status != NULL &&
        strcmp(backup->compression_status, "Compressing") == 0)
        state_set_text(&backup->compression_status, "Compressed");
    /* An isolated backup leaves the running chain alone; the last of a chain
     * leaves no layer behind (semantics 5.5). */
    if (backup->is_isolated == 0 && retire_current(tx, backup, err) < 0)
        return -1;
    backup->is_current =
        backup->is_isolated == 0 && backup->is_end_of_chain == 0;
    if (backup->is_current == 0 && backup_drop_pins(tx, backup->id, err) < 0)
        return -1;
    return state_backup_update(tx, backup, err);
}

int
backup_record(struct engine *engine, int64_t backup_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(backup) backup = {0};
    AUTO_STATE(vm) vm = {0};
    AUTO_REPO_POINT struct repo_point *point = NULL;

    if (tx == NULL || state_backup_get(tx, backup_id, &backup, err) < 0 ||
        state_vm_get(tx, backup.vm_id, &vm, err) < 0)
        return -1;
    point = repo_read_point(engine->repo, vm.uuid, backup.uuid, err);
    if (point == NULL || record(tx, &backup, point, err) < 0)
        return -1;
    if (fault_here("backup.record"))
        return error_set_errno(err, errno, "record of backup '%s'",
                               backup.uuid);
    return state_commit(tx, err);
}
