/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's side of retop: what it says, and what to make of it.
 *
 * Was the switch made?  While the machine runs, QEMU's own view answers.
 * When it is stopped, its definition answers; but a machine that was switched
 * live and then died with its libvirtd may have a definition that lags behind.
 * Then the overlays answer: one that holds any cluster was written by the
 * guest.  If all are empty, old and new tops read the same and undoing loses
 * nothing.
 */
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/operation.h"
#include "engine/retop_internal.h"
#include "engine/thaw_again.h"
#include "engine/views.h"
#include "image/qcow2.h"

#include <stdlib.h>
#include <string.h>

const struct retop_owner *
retop_owner_of(enum retop_purpose purpose)
{
    switch (purpose) {
    case RETOP_VM_SNAPSHOT:
        return &retop_owner_vm_snapshot;
    case RETOP_REVERT:
        return &retop_owner_revert;
    case RETOP_BACKUP:
        return &retop_owner_backup;
    case RETOP_RESTORE:
        return &retop_owner_restore;
    case RETOP_SNAPSHOT:
        return &retop_owner_snapshot;
    }
    abort();
}

json_t *
retop_to_json(const struct retop *retop)
{
    json_t *disks = json_array();
    json_t *payload;

    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];

        (void)json_array_append_new(
            disks,
            json_pack("{s:I, s:s, s:I, s:s, s:I, s:s?, s:s?, s:s, s:s, s:s, "
                      "s:I, s:s*, s:s*}",
                      "volume", (json_int_t)disk->volume_id, "target",
                      disk->target, "oldLayer", (json_int_t)disk->old_layer,
                      "oldPath", disk->old_path, "parent",
                      (json_int_t)disk->parent, "backingPath",
                      disk->backing_path, "backingFormat", disk->backing_format,
                      "uuid", disk->layer_uuid, "path", disk->path, "format",
                      disk->format, "size", (json_int_t)disk->size, "source",
                      disk->source, "storage", disk->storage));
    }
    payload =
        json_pack("{s:i, s:I, s:I, s:s, s:s, s:b, s:b, s:o, s:o}", "purpose",
                  (int)retop->purpose, "owner", (json_int_t)retop->owner, "vm",
                  (json_int_t)retop->vm_id, "vmUuid", retop->vm_uuid, "vmName",
                  retop->vm_name, "live", (int)retop->is_live, "quiesce",
                  (int)retop->quiesce, "disks", disks, "guest",
                  retop_guest_to_json(retop));
    if (payload == NULL)
        abort(); /* nothing here comes from outside; out of memory */
    return payload;
}

static int
disk_from_json(json_t *item, struct retop_disk *disk)
{
    const char *target;
    const char *old_path;
    json_t *backing_path;
    json_t *backing_format;
    const char *uuid;
    const char *path;
    const char *format;
    json_int_t volume;
    json_int_t old_layer;
    json_int_t parent;
    json_int_t size;

    if (json_unpack(item,
                    "{s:I, s:s, s:I, s:s, s:I, s:o, s:o, s:s, s:s, s:s, "
                    "s:I}",
                    "volume", &volume, "target", &target, "oldLayer",
                    &old_layer, "oldPath", &old_path, "parent", &parent,
                    "backingPath", &backing_path, "backingFormat",
                    &backing_format, "uuid", &uuid, "path", &path, "format",
                    &format, "size", &size) < 0 ||
        !uuid_is_valid(uuid))
        return -1;
    *disk = (struct retop_disk){
        .volume_id = volume,
        .target = xstrdup(target),
        .old_layer = old_layer,
        .old_path = xstrdup(old_path),
        .parent = parent,
        .backing_path = xstrdup_null(json_string_value(backing_path)),
        .backing_format = xstrdup_null(json_string_value(backing_format)),
        .path = xstrdup(path),
        .source =
            xstrdup_null(json_string_value(json_object_get(item, "source"))),
        .storage =
            xstrdup_null(json_string_value(json_object_get(item, "storage"))),
        .format = xstrdup(format),
        .size = (uint64_t)size,
    };
    memcpy(disk->layer_uuid, uuid, sizeof(disk->layer_uuid));
    return 0;
}

static int
unpack(json_t *payload, struct retop *retop)
{
    json_t *disks;
    const char *uuid;
    const char *name;
    json_int_t owner;
    json_int_t vm;
    int purpose;
    int live;
    int quiesce;

    if (json_unpack(payload, "{s:i, s:I, s:I, s:s, s:s, s:b, s:b, s:o}",
                    "purpose", &purpose, "owner", &owner, "vm", &vm, "vmUuid",
                    &uuid, "vmName", &name, "live", &live, "quiesce", &quiesce,
                    "disks", &disks) < 0 ||
        !uuid_is_valid(uuid) || purpose < 0 || purpose > RETOP_SNAPSHOT ||
        !json_is_array(disks))
        return -1;
    retop->purpose = (enum retop_purpose)purpose;
    retop->owner = owner;
    retop->vm_id = vm;
    memcpy(retop->vm_uuid, uuid, sizeof(retop->vm_uuid));
    retop->vm_name = xstrdup(name);
    retop->is_live = live != 0;
    retop->quiesce = quiesce != 0;
    if (retop_guest_from_json(json_object_get(payload, "guest"), retop) < 0)
        return -1;
    retop->disks = xcalloc(json_array_size(disks), sizeof(*retop->disks));
    for (size_t i = 0; i < json_array_size(disks); i++) {
        if (disk_from_json(json_array_get(disks, i), &retop->disks[i]) < 0)
            return -1;
        retop->count++;
    }
    return 0;
}

struct retop *
retop_from_json(json_t *payload, int64_t operation, struct error *err)
{
    AUTO_RETOP struct retop *retop = xcalloc(1, sizeof(*retop));

    retop->operation = operation;
    if (unpack(payload, retop) < 0) {
        (void)error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                        (long long)operation);
        return NULL;
    }
    return steal(&retop);
}

/*
 * 1 when the guest wrote into any of the new overlays.  They were all there
 * before the switch, and only undoing unlinks one: a missing one says that
 * undoing had begun, which is decided upon when none is written.
 */
static int
any_written(const struct retop *retop, struct error *err)
{
    const char *written = NULL;
    const char *missing = NULL;

    for (size_t i = 0; i < retop->count; i++) {
        AUTO_EXTENTS struct extents held = EXTENTS_INIT;
        const char *path = retop->disks[i].path;

        if (strcmp(retop->disks[i].format, "qcow2") != 0)
            continue;
        if (!fd_exists(path)) {
            missing = path;
            continue;
        }
        if (qcow2_allocated(path, &held, err) < 0)
            return -1;
        if (held.count > 0)
            written = path;
    }
    if (written != NULL && missing != NULL)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s': the guest wrote into '%s', but '%s' "
                         "is gone; put it back, or restore a backup",
                         retop->vm_name, written, missing);
    return written != NULL;
}

int
retop_thaw(struct engine *engine, const struct retop *retop, struct error *err)
{
    if (!retop->quiesce || !retop->is_live)
        return 0;
    return thaw_again_now(engine, retop->vm_uuid, retop->vm_name, err);
}

int
retop_look(struct engine *engine, const struct retop *retop,
           struct hv_look *ret_look, struct error *err)
{
    AUTO_FREE const char **targets = xcalloc(retop->count, sizeof(*targets));

    for (size_t i = 0; i < retop->count; i++)
        targets[i] = retop->disks[i].target;
    return hv_look(engine->hv, retop->vm_uuid, targets, retop->count, ret_look,
                   err);
}

int
retop_ask(struct engine *engine, const struct retop *retop, struct error *err)
{
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    bool stopped;

    if (retop_look(engine, retop, &look, err) < 0)
        return -1;
    stopped = look.machine->state == HV_STOPPED;
    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];
        const struct hv_disk_view *view = hv_look_find(&look, disk->target);
        const char *top;

        if (view == NULL)
            continue;
        top = stopped                ? view->inactive_top
              : view->qemu_count > 0 ? view->qemu_chain[0]
                                     : NULL;
        if (top != NULL && views_same_file(top, disk->path))
            return 1;
    }
    if (stopped && (retop->is_live || retop->guest.memory != NULL))
        return any_written(retop, err);
    return 0;
}

/*
 * The guest was ended for this switch: making it is better than leaving the
 * machine stopped on disks that nobody asked for.  1 it is made, 0 it cannot
 * be, -1 it cannot be told now.
 */
static int
go_forward(struct engine *engine, struct retop *retop, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    int happened;

    if (hv_get(engine->hv, retop->vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->state != HV_STOPPED)
        return 0; /* it was not ended yet */
    if (retop_guest_begin(engine, retop, err) == 0 &&
        retop_switch(engine, retop, err) == 0)
        return 1;
    log_warning("switch-not-made", "vm=%s error='%s'", retop->vm_name,
                err->message);
    error_clear(err);
    happened = retop_ask(engine, retop, err);
    return happened;
}

int
retop_settle(struct engine *engine, const struct state_operation *row,
             struct error *err)
{
    json_t *payload = operation_payload(row, err);
    AUTO_RETOP struct retop *retop = NULL;
    struct error why = ERROR_INIT;
    int happened = 0;

    if (payload == NULL)
        return -1;
    retop = retop_from_json(payload, row->id, err);
    json_decref(payload);
    if (retop == NULL)
        return -1;
    if (strcmp(row->phase, OPERATION_PREPARE) != 0)
        happened = retop_thaw(engine, retop, err) < 0
                       ? -1
                       : retop_ask(engine, retop, err);
    if (happened < 0)
        return -1;
    if (happened == 0 && strcmp(row->phase, OPERATION_PREPARE) != 0 &&
        retop_guest_goes_forward(retop))
        happened = go_forward(engine, retop, err);
    if (happened < 0)
        return -1;
    if (happened > 0) {
        /* The guard may have thawed the guest before its disks were switched.
         */
        retop->quiesce = false;
        return retop_finish(engine, retop, err);
    }
    (void)error_set(&why, ERROR_INTERNAL,
                    "varved ended before it was done; nothing was changed");
    return retop_undo(engine, retop, &why, err);
}
