/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the guest is frozen nothing is done but what must be: the snapshots
 * themselves, and one question whether it still is.  A guest that thawed by
 * itself, or was thawed by the guard, may have written between two disks: then
 * there is no snapshot, whatever the storages say.
 *
 * The machine is held from before the first look at its state, so that one
 * that is stopped stays so.
 */
#include "engine/shot.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/hold.h"
#include "engine/nvram.h"
#include "engine/operation.h"
#include "engine/shot_internal.h"
#include "engine/storages.h"
#include "engine/thaw_again.h"
#include "engine/thaw_guard.h"
#include "engine/views.h"
#include "engine/volume.h"
#include "image/imagelock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -- what is to be taken --------------------------------------------------- */

struct shot *
shot_new(const struct tree *tree, const struct hv_machine *machine)
{
    struct shot *shot = xcalloc(1, sizeof(*shot));

    shot->vm_id = tree->vm.id;
    memcpy(shot->vm_uuid, tree->vm.uuid, UUID_TEXT_SIZE - 1);
    shot->vm_name = xstrdup(tree->vm.name);
    shot->state = machine->state;
    return shot;
}

void
shot_free(struct shot *shot)
{
    if (shot == NULL)
        return;
    for (size_t i = 0; i < shot->count; i++) {
        free(shot->disks[i].target);
        free(shot->disks[i].kind);
        free(shot->disks[i].locator);
        free(shot->disks[i].snapshot);
    }
    free(shot->disks);
    free(shot->nvram);
    free(shot->nvram_copy);
    free(shot->vm_name);
    free(shot->why);
    free(shot);
}

void
shot_cleanup(struct shot **shot)
{
    shot_free(*shot);
}

int
shot_add(struct shot *shot, struct storage *storage, const char *txid,
         const struct tree_volume *volume, struct error *err)
{
    const struct state_layer *active = NULL;
    struct shot_disk *disk;
    struct uuid uuid;
    uint64_t size = 0;

    for (size_t i = 0; i < volume->layers.count; i++) {
        if (volume->layers.items[i].id == volume->row.layer_id)
            active = &volume->layers.items[i];
    }
    if (active == NULL)
        return error_set(err, ERROR_INTERNAL, "disk '%s' has no layer",
                         volume->row.target);
    if (volume_size(active, &size, err) < 0)
        return -1;
    uuid_new(&uuid);
    shot->disks =
        xrealloc(shot->disks, (shot->count + 1) * sizeof(*shot->disks));
    disk = &shot->disks[shot->count++];
    *disk = (struct shot_disk){
        .volume_id = volume->row.id,
        .target = xstrdup(volume->row.target),
        .kind = xstrdup(storage_kind(storage)),
        .locator = xstrdup(active->path),
        .snapshot = storage_name(storage, active->path, txid, volume->row.uuid),
        .size = size,
    };
    memcpy(disk->layer_uuid, uuid.text, sizeof(disk->layer_uuid));
    return 0;
}

/* -- the disks of one storage ---------------------------------------------- */

struct part {
    struct storage_disk *disks; /* owned */
    size_t count;
    struct storage_txn *txn; /* owned; NULL before it is prepared */
};

struct parts {
    struct part *items; /* owned; one for each of the engine's storages */
    size_t count;
};

static void
parts_release(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        storage_txn_free(parts->items[i].txn);
        free(parts->items[i].disks);
    }
    free(parts->items);
}

static void
parts_init(struct parts *parts, const struct engine *engine,
           const struct shot *shot)
{
    parts->count = engine->storage_count;
    parts->items = xcalloc(parts->count, sizeof(*parts->items));
    for (size_t i = 0; i < parts->count; i++) {
        struct part *part = &parts->items[i];
        const char *kind = storage_kind(engine->storages[i]);

        part->disks = xcalloc(shot->count, sizeof(*part->disks));
        for (size_t k = 0; k < shot->count; k++) {
            const struct shot_disk *disk = &shot->disks[k];

            if (strcmp(disk->kind, kind) == 0)
                part->disks[part->count++] =
                    (struct storage_disk){.target = disk->target,
                                          .locator = disk->locator,
                                          .snapshot = disk->snapshot};
        }
    }
}

static int
prepare_parts(struct engine *engine, struct parts *parts, struct error *err)
{
    for (size_t i = 0; i < parts->count; i++) {
        struct part *part = &parts->items[i];

        if (part->count > 0 &&
            storage_prepare(engine->storages[i], part->disks, part->count,
                            &part->txn, err) < 0)
            return -1;
    }
    return 0;
}

static int
commit_parts(const struct parts *parts, int64_t deadline_ms, struct error *err)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->items[i].txn != NULL &&
            storage_commit(parts->items[i].txn, deadline_ms, err) < 0)
            return -1;
    }
    return 0;
}

static int
keep_parts(const struct parts *parts, struct error *err)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->items[i].txn != NULL &&
            storage_keep(parts->items[i].txn, err) < 0)
            return -1;
    }
    return 0;
}

/* -- the moment ------------------------------------------------------------ */

#define REMEDY                                                                 \
    "try again, raise vmsnapshot.freeze.budget, or say quiescevm=false for a " \
    "snapshot that is consistent as after a power cut"

static int
check_frozen(struct engine *engine, const struct shot *shot, struct error *err)
{
    int frozen = hv_is_frozen(engine->hv, shot->vm_uuid, err);

    if (frozen != 0)
        return frozen < 0 ? -1 : 0;
    return error_set(err, ERROR_CONFLICT,
                     "the guest of machine '%s' thawed by itself before its "
                     "snapshot was complete; " REMEDY,
                     shot->vm_name);
}

/* Frozen; the caller thaws. */
static int
take_frozen(struct engine *engine, const struct shot *shot,
            const struct parts *parts, int64_t deadline_ms, struct error *err)
{
    if (hv_freeze(engine->hv, shot->vm_uuid,
                  MAX(deadline_ms - clock_monotonic_ms(), INT64_C(1)), err) < 0)
        return error_prefix(err,
                            "the file systems of the guest were not frozen");
    if (fault_here("shot.frozen"))
        return error_set_errno(err, errno, "after the freeze of '%s'",
                               shot->vm_name);
    if (commit_parts(parts, deadline_ms, err) < 0) {
        struct error why = *err;

        return why.code != ERROR_TIMEOUT
                   ? -1
                   : error_set(err, why.code, "%s; " REMEDY, why.message);
    }
    if (check_frozen(engine, shot, err) < 0)
        return -1;
    if (fault_here("shot.committed"))
        return error_set_errno(err, errno, "after the snapshots of '%s'",
                               shot->vm_name);
    return 0;
}

static int
too_long(const struct shot *shot, int64_t took_ms, int64_t budget_ms,
         struct error *err)
{
    return error_set(err, ERROR_TIMEOUT,
                     "the guest of machine '%s' was frozen for %lld ms, "
                     "allowed are %lld ms; " REMEDY,
                     shot->vm_name, (long long)took_ms, (long long)budget_ms);
}

static int
commit_frozen(struct engine *engine, const struct shot *shot,
              const struct parts *parts, int64_t budget_ms, struct error *err)
{
    struct thaw_guard guard = THAW_GUARD_INIT;
    struct error why = ERROR_INIT;
    int64_t start;
    int64_t took;
    bool acted;
    int result;

    if (engine->libvirt_uri != NULL &&
        thaw_guard_start(&guard, NULL, engine->libvirt_uri, shot->vm_uuid,
                         budget_ms, err) < 0)
        return -1;
    start = clock_monotonic_ms();
    result = take_frozen(engine, shot, parts, start + budget_ms, err);
    /* A freeze that failed may have happened, too. */
    if (hv_thaw(engine->hv, shot->vm_uuid, &why) < 0) {
        thaw_guard_leave(&guard); /* it tries on */
        if (result == 0)
            *err = why;
        return -1;
    }
    took = clock_monotonic_ms() - start;
    log_info("guest-was-frozen", "vm=%s ms=%lld disks=%zu", shot->vm_name,
             (long long)took, shot->count);
    acted = thaw_guard_stop(&guard);
    if (result == 0 && took > budget_ms)
        return too_long(shot, took, budget_ms, err);
    if (result == 0 && acted)
        return error_set(err, ERROR_TIMEOUT,
                         "the thaw watchdog of machine '%s' acted, or ended, "
                         "while the guest was frozen for %lld ms, allowed are "
                         "%lld ms; " REMEDY,
                         shot->vm_name, (long long)took, (long long)budget_ms);
    if (result == 0 && fault_here("shot.thawed"))
        return error_set_errno(err, errno, "after the thaw of '%s'",
                               shot->vm_name);
    return result;
}

static int
check_state(struct engine *engine, const struct shot *shot, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hv_get(engine->hv, shot->vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->state == shot->state)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' is %s and was %s when its snapshot began",
                     shot->vm_name, hv_state_name(machine->state),
                     hv_state_name(shot->state));
}

/* QEMU must have the file that is cloned, and nothing above or below it: a
 * snapshot made by other means goes on in an overlay that no clone holds. */
static int
check_chain(struct engine *engine, const struct shot *shot,
            const struct shot_disk *disk, struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    if (hv_view(engine->hv, shot->vm_uuid, disk->target, &view, err) < 0)
        return error_prefix(err, "machine '%s' disk '%s'", shot->vm_name,
                            disk->target);
    if (view.qemu_count == 1 &&
        views_same_file(view.qemu_chain[0], disk->locator))
        return 0;
    return error_set(
        err, ERROR_CONFLICT,
        "machine '%s' disk '%s': QEMU writes to '%s' (%zu files in its chain) "
        "where '%s' alone was to be snapshotted; if a snapshot was made by "
        "other means, merge it there (virsh blockcommit %s %s --active "
        "--pivot), then try again",
        shot->vm_name, disk->target,
        view.qemu_count > 0 ? view.qemu_chain[0] : "nothing", view.qemu_count,
        disk->locator, shot->vm_name, disk->target);
}

/* Nobody may write to the disk of a machine that is stopped. */
static int
check_no_writer(const struct shot *shot, const struct shot_disk *disk,
                struct error *err)
{
    int held = imagelock_probe(disk->locator, IMAGELOCK_READ, err);

    if (held < 0)
        return error_prefix(err, "machine '%s' disk '%s'", shot->vm_name,
                            disk->target);
    if (held == 0)
        return 0;
    return error_set(err, ERROR_BUSY,
                     "machine '%s' is stopped and another program writes to "
                     "'%s' of its disk '%s'; end it, then try again",
                     shot->vm_name, disk->locator, disk->target);
}

/* Before and after the clones: who writes, and where, is what we believe. */
static int
check_writers(struct engine *engine, const struct shot *shot, struct error *err)
{
    for (size_t i = 0; i < shot->count; i++) {
        const struct shot_disk *disk = &shot->disks[i];

        if ((shot->state == HV_STOPPED
                 ? check_no_writer(shot, disk, err)
                 : check_chain(engine, shot, disk, err)) < 0)
            return -1;
    }
    return 0;
}

/* -- all of it ------------------------------------------------------------- */

static int
take(struct engine *engine, const struct shot *shot, int64_t budget_ms,
     struct error *err)
{
    CLEANUP(parts_release) struct parts parts = {NULL, 0};

    parts_init(&parts, engine, shot);
    if (hold_set(engine->hold_dir, shot->vm_uuid,
                 "varve is taking a snapshot of its disks", err) < 0 ||
        (shot->freeze &&
         thaw_again_take_over(engine, shot->vm_uuid, err) < 0) ||
        prepare_parts(engine, &parts, err) < 0 ||
        (shot->nvram != NULL &&
         nvram_keep(shot->nvram, shot->nvram_copy, err) < 0) ||
        check_state(engine, shot, err) < 0 ||
        check_writers(engine, shot, err) < 0)
        return -1;
    if (fault_here("shot.prepared"))
        return error_set_errno(err, errno, "before the snapshots of '%s'",
                               shot->vm_name);
    if ((shot->freeze ? commit_frozen(engine, shot, &parts, budget_ms, err)
                      : commit_parts(&parts, 0, err)) < 0 ||
        check_state(engine, shot, err) < 0 ||
        check_writers(engine, shot, err) < 0)
        return -1;
    return keep_parts(&parts, err);
}

static int
record(struct engine *engine, const struct shot *shot, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_FREE int64_t *layers = xcalloc(shot->count, sizeof(*layers));

    for (size_t i = 0; tx != NULL && i < shot->count; i++) {
        const struct shot_disk *disk = &shot->disks[i];
        AUTO_STATE(layer)
        layer = {.volume_id = disk->volume_id,
                 .size = (int64_t)disk->size,
                 .created = clock_wall_ms()};

        state_set_text(&layer.uuid, disk->layer_uuid);
        state_set_text(&layer.path, disk->snapshot);
        state_set_text(&layer.format, "raw");
        state_set_text(&layer.storage, disk->kind);
        if (state_layer_insert(tx, &layer, err) < 0)
            return -1;
        layers[i] = layer.id;
    }
    if (tx == NULL || vm_snapshot_finish_shot(tx, shot, layers, err) < 0)
        return -1;
    if (fault_here("shot.record"))
        return error_set_errno(err, errno, "record of '%s'", shot->vm_name);
    if (state_operation_delete(tx, shot->operation, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    return hold_clear(engine->hold_dir, shot->vm_uuid, err);
}

int
shot_take(struct engine *engine, struct shot *shot, int64_t budget_ms,
          struct error *err)
{
    json_t *payload = shot_to_json(shot);
    struct error why;
    int result =
        operation_begin(engine->state, OPERATION_SHOT, shot->vm_uuid,
                        OPERATION_PREPARE, payload, &shot->operation, err);

    json_decref(payload);
    if (result < 0)
        return -1;
    if (take(engine, shot, budget_ms, err) == 0) {
        result = record(engine, shot, err);
        if (result < 0)
            shot_remember(engine, shot, err);
        return result;
    }
    why = *err;
    if (shot_thaw(engine, shot, err) < 0) {
        shot_remember(engine, shot, &why);
        (void)error_prefix(&why,
                           "machine '%s' will be thawed when the hypervisor "
                           "can be asked",
                           shot->vm_name);
        *err = why;
        return -1;
    }
    if (shot_undo(engine, shot, &why, err) == 0)
        *err = why;
    else
        shot_remember(engine, shot, &why);
    return -1;
}
