/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new files are made with fresh names and O_EXCL, so that undoing can
 * only ever unlink what this operation made; a path that the hypervisor's own
 * view names is never unlinked, whatever the journal says.
 */
#include "engine/retop.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/hold.h"
#include "engine/operation.h"
#include "engine/retop_internal.h"
#include "engine/storages.h"
#include "engine/thaw_again.h"
#include "engine/thaw_guard.h"
#include "engine/views.h"
#include "engine/volume.h"
#include "image/imagelock.h"
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* A guest is never frozen for longer than this. */
#define FREEZE_BUDGET_MS 20000

struct retop *
retop_new(enum retop_purpose purpose, int64_t owner, const struct tree *tree,
          bool is_live)
{
    struct retop *retop = xcalloc(1, sizeof(*retop));

    retop->purpose = purpose;
    retop->owner = owner;
    retop->vm_id = tree->vm.id;
    memcpy(retop->vm_uuid, tree->vm.uuid, UUID_TEXT_SIZE - 1);
    retop->vm_name = xstrdup(tree->vm.name);
    retop->is_live = is_live;
    retop->guest.pause_ms = -1;
    return retop;
}

void
retop_free(struct retop *retop)
{
    if (retop == NULL)
        return;
    for (size_t i = 0; i < retop->count; i++) {
        free(retop->disks[i].target);
        free(retop->disks[i].old_path);
        free(retop->disks[i].backing_path);
        free(retop->disks[i].backing_format);
        free(retop->disks[i].path);
        free(retop->disks[i].source);
        free(retop->disks[i].storage);
        free(retop->disks[i].format);
    }
    free(retop->disks);
    retop_guest_release(retop);
    free(retop->vm_name);
    free(retop);
}

void
retop_cleanup(struct retop **retop)
{
    retop_free(*retop);
}

struct retop_disk *
retop_add(struct retop *retop, struct tree_volume *volume,
          const struct state_layer *parent, const char *format, uint64_t size)
{
    const struct state_layer *old =
        tree_find_layer(volume, volume->row.layer_id);
    AUTO_FREE char *directory = path_parent(old->path);
    struct retop_disk *disk;
    struct uuid uuid;

    uuid_new(&uuid);
    retop->disks =
        xrealloc(retop->disks, (retop->count + 1) * sizeof(*retop->disks));
    disk = &retop->disks[retop->count++];
    *disk = (struct retop_disk){
        .volume_id = volume->row.id,
        .target = xstrdup(volume->row.target),
        .old_layer = old->id,
        .old_path = xstrdup(old->path),
        .parent = parent != NULL ? parent->id : 0,
        .backing_path = xstrdup_null(parent != NULL ? parent->path : NULL),
        .backing_format = xstrdup_null(parent != NULL ? parent->format : NULL),
        .path = xasprintf("%s/%s.%s", directory, uuid.text, format),
        .format = xstrdup(format),
        .size = size,
    };
    memcpy(disk->layer_uuid, uuid.text, sizeof(disk->layer_uuid));
    return disk;
}

int
retop_add_overlays(struct retop *retop, struct tree *tree, struct error *err)
{
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];
        const struct state_layer *active =
            tree_find_layer(volume, volume->row.layer_id);
        uint64_t size;

        if (active == NULL)
            return error_set(err, ERROR_INTERNAL, "disk '%s' has no layer",
                             volume->row.target);
        if (volume_size(active, &size, err) < 0)
            return -1;
        (void)retop_add(retop, volume, active, "qcow2", size);
    }
    if (retop->count == 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "machine '%s' has no disk that varve can keep",
                         tree->vm.name);
    return 0;
}

int
retop_prepare(struct engine *engine, struct retop *retop, struct error *err)
{
    json_t *payload = retop_to_json(retop);
    int result =
        operation_begin(engine->state, OPERATION_RETOP, retop->vm_uuid,
                        OPERATION_PREPARE, payload, &retop->operation, err);

    json_decref(payload);
    return result;
}

static int
make_clone(struct engine *engine, const struct retop_disk *disk,
           struct error *err)
{
    struct storage *storage = storages_named(engine, disk->storage, err);

    return storage == NULL
               ? -1
               : storage_clone(storage, disk->source, disk->path, err);
}

int
retop_make_overlays(struct engine *engine, const struct retop *retop,
                    struct error *err)
{
    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];
        enum image_format below = IMAGE_QCOW2;

        if (disk->backing_format != NULL &&
            image_format_parse(disk->backing_format, &below, err) < 0)
            return -1;
        if (fault_here("retop.overlay"))
            return error_set_errno(err, errno, "make overlay '%s'", disk->path);
        if (disk->source != NULL) {
            if (make_clone(engine, disk, err) < 0)
                return error_prefix(err, "disk '%s'", disk->target);
            continue;
        }
        if (qcow2_create_overlay(disk->path, disk->size, disk->backing_path,
                                 below, disk->old_path, err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
    }
    return 0;
}

/* While the guest is frozen another process watches over us.  What it thawed
 * is not known to have been frozen when the disks were switched. */
static int
snapshot(struct engine *engine, struct retop *retop,
         const struct hv_disk_change *changes, struct error *err)
{
    struct thaw_guard guard = THAW_GUARD_INIT;
    struct error ignored = ERROR_INIT; /* retop_thaw() asks again */
    int result;

    if (retop->quiesce && thaw_again_take_over(engine, retop->vm_uuid, err) < 0)
        return -1;
    if (retop->quiesce && engine->libvirt_uri != NULL &&
        thaw_guard_start(&guard, NULL, engine->libvirt_uri, retop->vm_uuid,
                         FREEZE_BUDGET_MS, err) < 0)
        return -1;
    result = hv_snapshot(engine->hv, retop->vm_uuid, changes, retop->count,
                         retop->quiesce, err);
    /* A call that failed may go on in the guest's agent: only an answer tells
     * that the guest is not frozen, or will be. */
    if (result < 0 && retop->quiesce &&
        thaw_again_try(engine, retop->vm_uuid, &ignored) < 0) {
        thaw_guard_leave(&guard);
        return result;
    }
    if (thaw_guard_stop(&guard)) {
        log_warning("thaw-guard-acted", "vm=%s", retop->vm_name);
        retop->quiesce = false;
    }
    return result;
}

static struct hv_disk_change *
changes_of(const struct retop *retop)
{
    struct hv_disk_change *changes = xcalloc(retop->count, sizeof(*changes));

    for (size_t i = 0; i < retop->count; i++)
        changes[i] = (struct hv_disk_change){.target = retop->disks[i].target,
                                             .path = retop->disks[i].path,
                                             .format = retop->disks[i].format};
    return changes;
}

static int
define_disks(struct engine *engine, const struct retop *retop,
             struct error *err)
{
    AUTO_FREE struct hv_disk_change *changes = changes_of(retop);

    return hv_define_disks(engine->hv, retop->vm_uuid, changes, retop->count,
                           err);
}

/* A size that was changed meanwhile becomes another one with these. */
static bool
goes_back(enum retop_purpose purpose)
{
    return purpose == RETOP_REVERT || purpose == RETOP_RESTORE;
}

static int
snapshot_with_memory(struct engine *engine, struct retop *retop,
                     const struct hv_disk_change *changes, struct error *err)
{
    struct hv_memory memory = {.path = retop->guest.memory,
                               .timeout_ms = retop->guest.timeout_ms};

    if (hv_snapshot_memory(engine->hv, retop->vm_uuid, changes, retop->count,
                           &memory, err) < 0)
        return -1;
    retop->guest.pause_ms = memory.pause_ms;
    return 0;
}

int
retop_switch(struct engine *engine, struct retop *retop, struct error *err)
{
    AUTO_FREE struct hv_disk_change *changes = changes_of(retop);

    if (retop->guest.memory != NULL && retop->is_live)
        return snapshot_with_memory(engine, retop, changes, err);
    if (retop->is_live)
        return snapshot(engine, retop, changes, err);
    if (retop->guest.memory != NULL)
        return hv_restore_memory(engine->hv, retop->vm_uuid,
                                 retop->guest.memory, changes, retop->count,
                                 err);
    return define_disks(engine, retop, err);
}

/* Insert the new layers and make them the volumes' active ones. */
static int
record_layers(struct state_tx *tx, const struct retop *retop, int64_t *layers,
              struct error *err)
{
    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];
        AUTO_STATE(layer)
        layer = {.volume_id = disk->volume_id,
                 .parent_id = disk->parent,
                 .size = (int64_t)disk->size,
                 .created = clock_wall_ms()};
        AUTO_STATE(volume) volume = {0};

        state_set_text(&layer.uuid, disk->layer_uuid);
        state_set_text(&layer.path, disk->path);
        state_set_text(&layer.format, disk->format);
        if (state_layer_insert(tx, &layer, err) < 0 ||
            state_volume_get(tx, disk->volume_id, &volume, err) < 0)
            return -1;
        layers[i] = layer.id;
        if (goes_back(retop->purpose) &&
            volume_note_size(tx, &volume, (int64_t)disk->size, err) < 0)
            return -1;
        volume.layer_id = layer.id;
        volume.size = (int64_t)disk->size;
        if (state_volume_update(tx, &volume, err) < 0)
            return -1;
    }
    return 0;
}

static int
record(struct engine *engine, const struct retop *retop, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_FREE int64_t *layers = xcalloc(retop->count, sizeof(*layers));

    if (tx == NULL || record_layers(tx, retop, layers, err) < 0)
        return -1;
    if (fault_here("retop.record"))
        return error_set_errno(err, errno, "record of '%s'", retop->vm_name);
    if (retop_owner_of(retop->purpose)->finish(engine, tx, retop, layers, err) <
            0 ||
        state_operation_delete(tx, retop->operation, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* Both definitions must name the new tops; a lagging one is defined again. */
static int
mend_definitions(struct engine *engine, const struct retop *retop,
                 struct error *err)
{
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};

    if (retop_look(engine, retop, &look, err) < 0)
        return -1;
    for (size_t i = 0; i < retop->count; i++) {
        const struct hv_disk_view *view =
            hv_look_find(&look, retop->disks[i].target);

        if (view != NULL && view->inactive_top != NULL &&
            !views_same_file(view->inactive_top, retop->disks[i].path))
            return define_disks(engine, retop, err);
    }
    return 0;
}

int
retop_finish(struct engine *engine, struct retop *retop, struct error *err)
{
    if (fault_here("retop.switched"))
        return error_set_errno(err, errno, "after the switch of '%s'",
                               retop->vm_name);
    if (mend_definitions(engine, retop, err) < 0 ||
        retop_guest_finish(engine, retop, err) < 0 ||
        record(engine, retop, err) < 0)
        return -1;
    return hold_clear(engine->hold_dir, retop->vm_uuid, err);
}

/* A QEMU that the hypervisor has lost sight of goes on writing. */
static int
check_is_written_by_none(const struct retop *retop, struct error *err)
{
    for (size_t i = 0; i < retop->count; i++) {
        const char *path = retop->disks[i].old_path;
        int written = imagelock_probe(path, IMAGELOCK_READ, err);

        if (written > 0)
            return error_set(err, ERROR_BUSY,
                             "machine '%s' is stopped, and another program "
                             "writes its disk '%s' ('%s'): perhaps a QEMU that "
                             "libvirt has lost; end that first",
                             retop->vm_name, retop->disks[i].target, path);
        if (written < 0 && err->code != ERROR_NOT_FOUND)
            return error_prefix(err, "disk '%s'", retop->disks[i].target);
        error_clear(err);
    }
    return 0;
}

int
retop_hold(struct engine *engine, const struct retop *retop, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hold_set(engine->hold_dir, retop->vm_uuid,
                 "varve is switching its disks to new files", err) < 0)
        return -1;
    if (retop->is_live || retop->guest.must_end)
        return 0;
    /* Whoever came before the hold runs on the old files. */
    if (hv_get(engine->hv, retop->vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->state == HV_STOPPED)
        return check_is_written_by_none(retop, err);
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' was started meanwhile (it is %s), and its "
                     "disks stay as they were; try again",
                     retop->vm_name, hv_state_name(machine->state));
}

int
retop_commit(struct engine *engine, struct retop *retop, struct error *err)
{
    struct error why;
    int happened;

    if (retop_hold(engine, retop, err) < 0 ||
        operation_set_phase(engine->state, retop->operation, OPERATION_COMMIT,
                            err) < 0 ||
        fault_here("retop.before-switch") ||
        retop_guest_begin(engine, retop, err) < 0) {
        if (err->code == ERROR_NONE)
            (void)error_set(err, ERROR_IO, "fault before the switch");
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    if (retop_switch(engine, retop, err) == 0)
        return retop_finish(engine, retop, err);
    /* An error is not an answer: ask what really is. */
    why = *err;
    happened =
        retop_thaw(engine, retop, err) < 0 ? -1 : retop_ask(engine, retop, err);
    if (happened < 0) {
        (void)error_prefix(&why,
                           "machine '%s' will be settled when the "
                           "hypervisor can be asked",
                           retop->vm_name);
        *err = why;
        return -1;
    }
    if (happened > 0) {
        log_warning("switch-reply-lost", "vm=%s error='%s'", retop->vm_name,
                    why.message);
        return retop_finish(engine, retop, err);
    }
    if (retop_undo(engine, retop, &why, err) == 0)
        *err = why;
    return -1;
}

/*
 * Unlink one new file, unless somebody really uses it.  A libvirtd that died
 * before the switch leaves the file open in QEMU, as part of no disk, until the
 * machine ends: then it is unlinked later.  1 when it is to be, 0, -1.
 */
static int
drop_file(struct engine *engine, const struct retop *retop,
          const struct retop_disk *disk, struct error *err)
{
    int used;

    if (!fd_exists(disk->path))
        return fd_unlink(disk->path, err); /* perhaps not durably gone */
    used = views_is_named(engine, retop->vm_uuid, NULL, disk->path, err);
    if (used < 0)
        return -1;
    if (used > 0)
        return error_set(err, ERROR_CONFLICT,
                         "'%s' is in use, it cannot be given up", disk->path);
    used = views_is_used(engine, retop->vm_uuid, NULL, disk->path, err);
    return used != 0 ? used : fd_unlink(disk->path, err);
}

/* In the transaction that ends the operation. */
static int
unlink_later(struct state_tx *tx, const struct retop *retop,
             const struct retop_disk *disk, struct error *err)
{
    json_auto_t *payload = json_pack("{s:s}", "path", disk->path);
    int64_t operation;

    if (operation_insert(tx, OPERATION_UNLINK, retop->vm_uuid, OPERATION_FINISH,
                         payload, &operation, err) < 0)
        return -1;
    log_warning("unlink-postponed", "vm=%s path='%s'", retop->vm_uuid,
                disk->path);
    return 0;
}

int
retop_undo(struct engine *engine, const struct retop *retop,
           const struct error *why, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_FREE int *is_left = xcalloc(retop->count + 1, sizeof(*is_left));

    if (retop_guest_undo(engine, retop, err) < 0)
        return -1;
    for (size_t i = 0; i < retop->count; i++) {
        is_left[i] = drop_file(engine, retop, &retop->disks[i], err);
        if (is_left[i] < 0)
            return -1;
    }
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    for (size_t i = 0; i < retop->count; i++) {
        if (is_left[i] > 0 &&
            unlink_later(tx, retop, &retop->disks[i], err) < 0)
            return -1;
    }
    if (fault_here("retop.undo"))
        return error_set_errno(err, errno, "undo on '%s'", retop->vm_name);
    if (retop_owner_of(retop->purpose)->undo(engine, tx, retop, why, err) < 0 ||
        state_operation_delete(tx, retop->operation, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    return hold_clear(engine->hold_dir, retop->vm_uuid, err);
}
