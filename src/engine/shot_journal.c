/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's side of a shot: before its record is committed it is undone,
 * whatever of it is there, since nothing of the machine was changed for it.
 */
#include "base/fault.h"
#include "base/memory.h"
#include "engine/hold.h"
#include "engine/nvram.h"
#include "engine/operation.h"
#include "engine/shot_internal.h"
#include "engine/storages.h"
#include "engine/thaw_again.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- text ------------------------------------------------------------------ */

json_t *
shot_to_json(const struct shot *shot)
{
    json_t *disks = json_array();
    json_t *payload;

    for (size_t i = 0; i < shot->count; i++) {
        const struct shot_disk *disk = &shot->disks[i];

        (void)json_array_append_new(
            disks, json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I}", "volume",
                             (json_int_t)disk->volume_id, "target",
                             disk->target, "kind", disk->kind, "locator",
                             disk->locator, "snapshot", disk->snapshot, "uuid",
                             disk->layer_uuid, "size", (json_int_t)disk->size));
    }
    payload = json_pack("{s:I, s:I, s:s, s:s, s:b, s:s?, s:o}", "owner",
                        (json_int_t)shot->owner, "vm", (json_int_t)shot->vm_id,
                        "vmUuid", shot->vm_uuid, "vmName", shot->vm_name,
                        "freeze", (int)shot->freeze, "nvramCopy",
                        shot->nvram_copy, "disks", disks);
    if (payload == NULL)
        abort(); /* nothing here comes from outside; out of memory */
    return payload;
}

static int
disk_from_json(json_t *item, struct shot_disk *disk)
{
    const char *target;
    const char *kind;
    const char *locator;
    const char *snapshot;
    const char *uuid;
    json_int_t volume;
    json_int_t size;

    if (json_unpack(item, "{s:I, s:s, s:s, s:s, s:s, s:s, s:I}", "volume",
                    &volume, "target", &target, "kind", &kind, "locator",
                    &locator, "snapshot", &snapshot, "uuid", &uuid, "size",
                    &size) < 0 ||
        !uuid_is_valid(uuid))
        return -1;
    *disk = (struct shot_disk){
        .volume_id = volume,
        .target = xstrdup(target),
        .kind = xstrdup(kind),
        .locator = xstrdup(locator),
        .snapshot = xstrdup(snapshot),
        .size = (uint64_t)size,
    };
    memcpy(disk->layer_uuid, uuid, sizeof(disk->layer_uuid));
    return 0;
}

static int
unpack(json_t *payload, struct shot *shot)
{
    json_t *disks;
    const char *uuid;
    const char *name;
    json_int_t owner;
    json_int_t vm;
    int freeze;

    if (json_unpack(payload, "{s:I, s:I, s:s, s:s, s:b, s:o}", "owner", &owner,
                    "vm", &vm, "vmUuid", &uuid, "vmName", &name, "freeze",
                    &freeze, "disks", &disks) < 0 ||
        !uuid_is_valid(uuid) || !json_is_array(disks))
        return -1;
    shot->owner = owner;
    shot->vm_id = vm;
    memcpy(shot->vm_uuid, uuid, sizeof(shot->vm_uuid));
    shot->vm_name = xstrdup(name);
    shot->freeze = freeze != 0;
    shot->nvram_copy =
        xstrdup_null(json_string_value(json_object_get(payload, "nvramCopy")));
    shot->why =
        xstrdup_null(json_string_value(json_object_get(payload, "why")));
    shot->disks = xcalloc(json_array_size(disks), sizeof(*shot->disks));
    for (size_t i = 0; i < json_array_size(disks); i++) {
        if (disk_from_json(json_array_get(disks, i), &shot->disks[i]) < 0)
            return -1;
        shot->count++;
    }
    return 0;
}

struct shot *
shot_from_json(json_t *payload, int64_t operation, struct error *err)
{
    AUTO_SHOT struct shot *shot = xcalloc(1, sizeof(*shot));

    shot->operation = operation;
    if (unpack(payload, shot) == 0)
        return steal(&shot);
    (void)error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                    (long long)operation);
    return NULL;
}

void
shot_remember(struct engine *engine, const struct shot *shot,
              const struct error *why)
{
    struct error ignored = ERROR_INIT; /* then the text says less */
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine->state, &ignored);
    AUTO_STATE(operation) row = {0};
    AUTO_FREE char *text = NULL;
    json_t *payload = shot_to_json(shot);

    (void)json_object_set_new(payload, "why", json_string(why->message));
    text = json_dumps(payload, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(payload);
    if (tx == NULL || text == NULL ||
        state_operation_get(tx, shot->operation, &row, &ignored) < 0)
        return;
    state_set_text(&row.payload, text);
    if (state_operation_update(tx, &row, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        return;
}

/* -- undoing --------------------------------------------------------------- */

int
shot_thaw(struct engine *engine, const struct shot *shot, struct error *err)
{
    return shot->freeze
               ? thaw_again_now(engine, shot->vm_uuid, shot->vm_name, err)
               : 0;
}

static int
undo_disks(struct engine *engine, const struct shot *shot, struct error *err)
{
    for (size_t i = shot->count; i-- > 0;) {
        const struct shot_disk *disk = &shot->disks[i];
        const struct storage_disk gone = {.target = disk->target,
                                          .locator = disk->locator,
                                          .snapshot = disk->snapshot};
        struct storage *storage = storages_named(engine, disk->kind, err);

        if (storage == NULL || storage_undo(storage, &gone, 1, err) < 0)
            return -1;
    }
    return 0;
}

int
shot_undo(struct engine *engine, const struct shot *shot,
          const struct error *why, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;

    if (undo_disks(engine, shot, err) < 0 ||
        (shot->nvram_copy != NULL && nvram_drop(shot->nvram_copy, err) < 0))
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    if (fault_here("shot.undo"))
        return error_set_errno(err, errno, "undo on '%s'", shot->vm_name);
    if (vm_snapshot_undo_shot(tx, shot, why, err) < 0 ||
        state_operation_delete(tx, shot->operation, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    return hold_clear(engine->hold_dir, shot->vm_uuid, err);
}

int
shot_settle(struct engine *engine, const struct state_operation *row,
            struct error *err)
{
    json_t *payload = operation_payload(row, err);
    AUTO_SHOT struct shot *shot = NULL;
    struct error why = ERROR_INIT;

    if (payload == NULL)
        return -1;
    shot = shot_from_json(payload, row->id, err);
    json_decref(payload);
    if (shot == NULL || shot_thaw(engine, shot, err) < 0)
        return -1;
    if (shot->why != NULL)
        (void)error_set(&why, ERROR_INTERNAL,
                        "it was not recorded, and nothing was changed: %s",
                        shot->why);
    else
        (void)error_set(&why, ERROR_INTERNAL,
                        "varved ended, or its database failed, before it was "
                        "recorded; nothing was changed");
    return shot_undo(engine, shot, &why, err);
}
