/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VM snapshots by what the disks are stored on (semantics 4.3).
 *
 * Taken so when the setting says so and every disk of the machine is a raw
 * image, alone and ours, on a storage that can snapshot it in a moment;
 * otherwise layers do it, which can keep every kind of disk.  A snapshot taken
 * so is a layer like any other: it is pinned, nothing rests on it, and
 * deleting and charging it are as ever.
 */
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/reserve.h"
#include "engine/retop.h"
#include "engine/settings.h"
#include "engine/shot.h"
#include "engine/storages.h"
#include "engine/vm_snapshot_internal.h"

#include <string.h>

#define SETTING_ENABLED "kvm.vmstoragesnapshot.enabled"
#define SETTING_BUDGET "vmsnapshot.freeze.budget"
#define NEEDED (STORAGE_LIVE | STORAGE_INSTANT | STORAGE_CLONE)

/* The file that the disk is, if it is one raw image that is ours alone. */
static const struct state_layer *
only_layer(struct tree_volume *volume)
{
    const struct state_layer *active =
        tree_find_layer(volume, volume->row.layer_id);

    if (active == NULL || active->parent_id != 0 || active->is_foreign != 0 ||
        tree_format(active) != IMAGE_RAW)
        return NULL;
    return active;
}

/* Add every disk: 1, or 0 when there is one that cannot be; *ret_atomic: all
 * at one moment even if the guest goes on. */
static int
add_disks(struct engine *engine, struct shot *shot, const char *txid,
          struct tree *tree, bool *ret_atomic, struct error *err)
{
    struct storage *first = NULL;

    *ret_atomic = true;
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];
        const struct state_layer *layer = only_layer(volume);
        struct storage *storage = NULL;
        unsigned capabilities = 0;
        int found = layer == NULL ? 0
                                  : storages_find(engine, layer->path, &storage,
                                                  &capabilities, err);

        if (found < 0)
            return error_prefix(err, "disk '%s'", volume->row.target);
        if (found == 0 || (capabilities & NEEDED) != NEEDED)
            return 0;
        if (shot_add(shot, storage, txid, volume, err) < 0)
            return -1;
        if (i > 0 &&
            (storage != first || (capabilities & STORAGE_GROUP_ATOMIC) == 0))
            *ret_atomic = false;
        first = storage;
    }
    return tree->count > 0;
}

static int
refuse_memory(const struct shot *shot, struct error *err)
{
    return error_set(err, ERROR_UNSUPPORTED,
                     "the disks of machine '%s' are snapshotted by their "
                     "storage, which cannot keep memory; leave snapshotmemory "
                     "out, or set " SETTING_ENABLED " to false",
                     shot->vm_name);
}

/* Known before it is tried. */
static int
check_agent(const struct hv_machine *machine, struct error *err)
{
    if (machine->has_agent_channel && machine->agent_connected)
        return 0;
    return error_set(
        err, ERROR_UNSUPPORTED,
        "machine '%s' %s, so its file systems cannot be frozen for a snapshot "
        "by its storage; install and start qemu-guest-agent in it, stop it, or "
        "say quiescevm=false for a snapshot that is consistent as after a "
        "power cut",
        machine->name,
        machine->has_agent_channel ? "has no guest agent that answers"
                                   : "has no channel for a guest agent");
}

/*
 * Would the disks be cloned within half of what a guest may be frozen for?
 * The other half is for the freeze itself, the thaw, and a host that is busier
 * than the one that the estimates were made on.  1, 0, -1.
 */
static int
is_quick(struct engine *engine, const struct shot *shot, struct error *err)
{
    int64_t budget_ms = 0;
    int64_t sum_ms = 0;

    if (settings_get_int(engine->state, SETTING_BUDGET, NULL, &budget_ms, err) <
        0)
        return -1;
    for (size_t i = 0; i < shot->count; i++) {
        const struct shot_disk *disk = &shot->disks[i];
        struct storage *storage = storages_named(engine, disk->kind, err);
        int64_t ms = 0;

        if (storage == NULL ||
            storage_estimate(storage, disk->locator, budget_ms, &ms, err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
        sum_ms += ms;
        if (sum_ms <= budget_ms / 2)
            continue;
        log_warning("disk-too-fragmented",
                    "vm=%s disk=%s path='%s' estimate-ms=%lld budget-ms=%lld",
                    shot->vm_name, disk->target, disk->locator,
                    (long long)sum_ms, (long long)budget_ms);
        return 0;
    }
    return 1;
}

/* What is taken in layers after all is no less consistent for it. */
static void
keep_quiesced(struct job *job, const struct shot *shot)
{
    if (shot->freeze)
        (void)json_object_set_new(job->parameters, "quiesce", json_integer(1));
}

static char *
new_nvram_name(const struct shot *shot)
{
    AUTO_FREE char *directory = path_parent(shot->disks[0].locator);
    struct uuid uuid;

    uuid_new(&uuid);
    return xasprintf("%s/%s.nvram", directory, uuid.text);
}

/* Of every disk: they may be on several file systems. */
static int
check_reserve(struct engine *engine, const struct shot *shot, struct error *err)
{
    for (size_t i = 0; i < shot->count; i++) {
        if (reserve_check_beside(engine, shot->disks[i].locator, err) < 0)
            return error_prefix(err, "disk '%s'", shot->disks[i].target);
    }
    return 0;
}

static int
choose(struct job *job, struct tree *tree, const struct hv_machine *machine,
       struct shot *shot, struct error *err)
{
    struct engine *engine = job->engine;
    bool crash = job_number(job, "crashConsistent") != 0;
    bool running = machine->state == HV_RUNNING;
    bool atomic;
    int able =
        add_disks(engine, shot, job->row.instance_uuid, tree, &atomic, err);

    if (able <= 0)
        return able;
    if (job_number(job, "memory") != 0)
        return refuse_memory(shot, err);
    /* QEMU switches all disks at one moment; these storages do not. */
    if (running && crash && !atomic)
        return 0;
    shot->freeze = running && !crash;
    if ((shot->freeze && check_agent(machine, err) < 0) ||
        retop_check_vtpm(engine, machine, err) < 0 ||
        check_reserve(engine, shot, err) < 0)
        return -1;
    /* A clone that takes long makes the guest wait, frozen or not. */
    able = running ? is_quick(engine, shot, err) : 1;
    if (able <= 0) {
        keep_quiesced(job, shot);
        return able;
    }
    if (machine->nvram != NULL && fd_exists(machine->nvram)) {
        shot->nvram = xstrdup(machine->nvram);
        shot->nvram_copy = new_nvram_name(shot);
    }
    return 1;
}

int
vm_snapshot_choose_storage(struct job *job, const struct hv_machine *machine,
                           struct shot **ret_shot, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    AUTO_SHOT struct shot *shot = NULL;
    bool enabled = false;
    int able;

    *ret_shot = NULL;
    if (settings_get_bool(engine->state, SETTING_ENABLED, NULL, &enabled, err) <
        0)
        return -1;
    if (!enabled || engine->storage_count == 0)
        return 0;
    if (tree_read(engine->state, job_number(job, "vm"), &tree, err) < 0)
        return -1;
    if (machine->state == HV_STOPPING)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is stopping",
                         machine->name);
    shot = shot_new(tree, machine);
    able = choose(job, tree, machine, shot, err);
    if (able > 0)
        *ret_shot = steal(&shot);
    return able < 0 ? -1 : 0;
}

int
vm_snapshot_take_storage(struct job *job, struct shot *shot,
                         int64_t snapshot_id, struct error *err)
{
    int64_t budget_ms = 0;

    if (settings_get_int(job->engine->state, SETTING_BUDGET, NULL, &budget_ms,
                         err) < 0)
        return -1;
    shot->owner = snapshot_id;
    job_step(job, "taking snapshots of the disks");
    return shot_take(job->engine, shot, budget_ms, err);
}

int
vm_snapshot_finish_shot(struct state_tx *tx, const struct shot *shot,
                        const int64_t *layers, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    if (state_vm_snapshot_get(tx, shot->owner, &row, err) < 0)
        return -1;
    state_set_text(&row.nvram_path, shot->nvram_copy);
    for (size_t i = 0; i < shot->count; i++) {
        const struct shot_disk *disk = &shot->disks[i];
        const struct vm_snapshot_member member = {.volume_id = disk->volume_id,
                                                  .layer_id = layers[i],
                                                  .path = disk->snapshot,
                                                  .size = disk->size};

        if (vm_snapshot_pin(tx, &row, &member, err) < 0)
            return -1;
    }
    return vm_snapshot_become_ready(tx, &row, shot->vm_id, shot->freeze, err);
}

int
vm_snapshot_undo_shot(struct state_tx *tx, const struct shot *shot,
                      const struct error *why, struct error *err)
{
    AUTO_STATE(vm_snapshot) row = {0};

    if (state_vm_snapshot_get(tx, shot->owner, &row, err) < 0 ||
        vm_snapshot_apply(&row, VM_SNAPSHOT_OPERATION_FAILED, err) < 0)
        return -1;
    state_set_text(&row.problem, why->message);
    return state_vm_snapshot_update(tx, &row, err);
}
