/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attach and detach.
 *
 * The row comes to belong to the machine, with its target, before the
 * hypervisor is asked: an event of the new disk then finds it known.  Whether
 * a change has happened is told by the definition alone: a disk that is in
 * the inactive definition is attached, one that is not is detached.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/converge.h"
#include "engine/operation.h"
#include "engine/tree.h"
#include "engine/views.h"
#include "engine/volume.h"
#include "image/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A guest may need that long to let go of a disk. */
#define DETACH_MS 60000

/* 1 when the machine has that file as that disk, 0 when not. */
static int
is_defined(struct engine *engine, const struct volume_change *change,
           const char *path, struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    const char *top;

    if (hv_view(engine->hv, change->vm_uuid, change->target, &view, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    top = view.inactive_top != NULL ? view.inactive_top : view.live_top;
    return top != NULL && views_same_file(top, path);
}

/* -- the record ------------------------------------------------------------ */

/* The volume belongs to the machine, or to none (vm_id 0); the entry ends. */
static int
record(struct engine *engine, const struct volume_change *change,
       bool is_attached, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};

    if (tx == NULL || state_volume_get(tx, change->volume_id, &row, err) < 0)
        return -1;
    if (!is_attached) {
        row.vm_id = 0;
        row.device_id = 0;
        state_set_text(&row.target, NULL);
        state_set_text(&row.type, "DATADISK");
    }
    state_set_text(&row.state, row.layer_id != 0 ? "Ready" : "Allocated");
    if (fault_here("volume.record"))
        return error_set_errno(err, errno, "record of volume '%s'", row.name);
    if (state_volume_update(tx, &row, err) < 0 ||
        state_operation_delete(tx, change->operation, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* The new file is whole: it is the volume's first layer from now on. */
int
volume_record_file(struct engine *engine, const struct volume_change *change,
                   struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(layer) layer = {0};
    struct uuid uuid;

    if (tx == NULL || state_volume_get(tx, change->volume_id, &row, err) < 0)
        return -1;
    uuid_new(&uuid);
    layer.volume_id = row.id;
    layer.size = row.size;
    layer.created = clock_wall_ms();
    state_set_text(&layer.uuid, uuid.text);
    state_set_text(&layer.path, change->new_file);
    state_set_text(&layer.format, "qcow2");
    if (state_layer_insert(tx, &layer, err) < 0)
        return -1;
    row.layer_id = layer.id;
    state_set_text(&row.format, "qcow2");
    if (state_volume_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* -- attach ---------------------------------------------------------------- */

/* Where and how the machine's root disk is; what the new one is like. */
static int
find_place(const struct hv_machine *machine, const struct hv_disk **ret_root,
           struct error *err)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct hv_disk *disk = &machine->disks[i];

        if (disk->device == HV_DISK && disk->source != NULL && !disk->block) {
            *ret_root = disk;
            return 0;
        }
    }
    return error_set(err, ERROR_UNSUPPORTED,
                     "machine '%s' has no disk that is a file, beside which a "
                     "new one could lie",
                     machine->name);
}

/* `wanted`, if it is of the root disk's kind and free; else the first free
 * target of that kind: "vdb", "sdc". */
static int
free_target(const struct hv_machine *machine, const char *like,
            const char *wanted, char ret_target[8], struct error *err)
{
    if (wanted != NULL && strlen(wanted) == 3 &&
        strncmp(wanted, like, 2) == 0 &&
        hv_machine_find_disk(machine, wanted) == NULL) {
        (void)snprintf(ret_target, 8, "%s", wanted);
        return 0;
    }
    for (char letter = 'a'; letter <= 'z'; letter++) {
        (void)snprintf(ret_target, 8, "%.2s%c", like, letter);
        if (hv_machine_find_disk(machine, ret_target) == NULL)
            return 0;
    }
    return error_set(err, ERROR_LIMIT, "machine '%s' has no free target %.2s?",
                     machine->name, like);
}

static int
make_file(struct engine *engine, const struct volume_change *change,
          uint64_t size, const char *like, struct error *err)
{
    if (fault_here("volume.before-file"))
        return error_set_errno(err, errno, "make '%s'", change->new_file);
    if (qcow2_create_overlay(change->new_file, size, NULL, IMAGE_QCOW2, like,
                             err) < 0)
        return -1;
    if (fault_here("volume.file"))
        return error_set_errno(err, errno, "make '%s'", change->new_file);
    return volume_record_file(engine, change, err);
}

/* The active layer's path and format; the caller frees the row. */
static int
active_layer(struct engine *engine, int64_t volume_id,
             struct state_layer *ret_layer, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(volume) row = {0};

    if (tx == NULL || state_volume_get(tx, volume_id, &row, err) < 0)
        return -1;
    return state_layer_get(tx, row.layer_id, ret_layer, err);
}

static int
plug_in(struct engine *engine, const struct volume_change *change,
        const char *bus, const char *serial, struct error *err)
{
    AUTO_STATE(layer) layer = {0};
    struct hv_new_disk disk = {
        .target = change->target, .bus = bus, .serial = serial};

    if (active_layer(engine, change->volume_id, &layer, err) < 0 ||
        operation_set_phase(engine->state, change->operation, OPERATION_COMMIT,
                            err) < 0)
        return -1;
    disk.path = layer.path;
    disk.format = layer.format;
    if (fault_here("volume.before-attach"))
        return error_set_errno(err, errno, "attach");
    return hv_attach_disk(engine->hv, change->vm_uuid, &disk, err);
}

/* A running guest has the disk and the definition has not, or the other way
 * round: the call was cut off between the two.  It is made again. */
static int
complete(struct engine *engine, const struct volume_change *change,
         const struct state_layer *layer, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    const struct hv_disk *disk;
    struct hv_new_disk again = {
        .target = change->target, .path = layer->path, .format = layer->format};

    if (hv_get(engine->hv, change->vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->state == HV_STOPPED || !machine->persistent)
        return 0;
    if (hv_view(engine->hv, change->vm_uuid, change->target, &view, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    disk = hv_machine_find_disk(machine, change->target);
    if (strcmp(change->action, "attach") == 0 && view.live_top != NULL &&
        view.inactive_top == NULL && disk != NULL) {
        again.bus = disk->bus;
        return hv_attach_disk(engine->hv, change->vm_uuid, &again, err);
    }
    if (strcmp(change->action, "detach") == 0 && view.live_top == NULL &&
        view.inactive_top != NULL)
        return hv_detach_disk(engine->hv, change->vm_uuid, change->target,
                              DETACH_MS, err);
    return 0;
}

int
volume_settle_place(struct engine *engine, const struct volume_change *change,
                    struct error *err)
{
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(layer) layer = {0};
    int attached = 0;

    if (volume_get(engine, change->volume_id, &row, err) < 0)
        return -1;
    /* A file that is not on record: nobody has it, and it may be half made. */
    if (row.layer_id == 0 && change->new_file != NULL &&
        fd_unlink(change->new_file, err) < 0)
        return -1;
    if (row.layer_id != 0) {
        if (active_layer(engine, row.id, &layer, err) < 0 ||
            complete(engine, change, &layer, err) < 0)
            return -1;
        attached = is_defined(engine, change, layer.path, err);
    }
    if (attached < 0)
        return -1;
    return record(engine, change, attached > 0, err);
}

/* What is the volume, now that a step has failed with *err?  0 when it is
 * what was wanted all the same. */
static int
look_again(struct engine *engine, const struct volume_change *change,
           bool wanted, struct error *err)
{
    AUTO_STATE(volume) row = {0};
    struct error why = *err;

    /* Later, when it can be asked. */
    if (why.code == ERROR_UNAVAILABLE)
        return -1;
    error_clear(err);
    if (volume_settle_place(engine, change, err) == 0 &&
        volume_get(engine, change->volume_id, &row, err) == 0 &&
        (row.vm_id != 0) == wanted)
        return 0;
    *err = why;
    return -1;
}

static int
attach(struct engine *engine, struct volume_change *change,
       const struct hv_disk *root, struct error *err)
{
    AUTO_STATE(volume) row = {0};

    if (volume_begin(engine, change, "Attaching", err) < 0)
        return -1;
    if (volume_get(engine, change->volume_id, &row, err) == 0 &&
        (change->new_file == NULL ||
         make_file(engine, change, (uint64_t)row.size, root->source, err) ==
             0) &&
        plug_in(engine, change, root->bus, row.uuid, err) == 0 &&
        record(engine, change, true, err) == 0)
        return 0;
    return look_again(engine, change, true, err);
}

/* The id, unless it is taken: then one that is free. */
static int
find_device(struct engine *engine, int64_t vm_id, int64_t *device,
            struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    if (volume_choose_device(tx, &vm, *device, device, err) == 0)
        return 0;
    if (err->code != ERROR_INVALID)
        return -1;
    error_clear(err);
    return volume_choose_device(tx, &vm, -1, device, err);
}

int
volume_attach_to(struct job *job, int64_t volume_id, int64_t *device,
                 const char *wanted, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_STATE(volume) row = {0};
    AUTO_FREE char *folder = NULL;
    AUTO_FREE char *file = NULL;
    const struct hv_disk *root;
    char target[8];
    struct volume_change change = {.action = "attach",
                                   .volume_id = volume_id,
                                   .vm_id = job_number(job, "vm"),
                                   .vm_uuid = job->row.queue,
                                   .target = target,
                                   .claims = true};

    if (hv_get(engine->hv, job->row.queue, &machine, err) < 0 ||
        find_place(machine, &root, err) < 0 ||
        free_target(machine, root->target, wanted, target, err) < 0 ||
        find_device(engine, change.vm_id, device, err) < 0 ||
        volume_get(engine, change.volume_id, &row, err) < 0)
        return -1;
    change.device_id = *device;
    folder = path_parent(root->source);
    file = xasprintf("%s/%s.qcow2", folder, row.uuid);
    if (row.layer_id == 0)
        change.new_file = file;
    return attach(engine, &change, root, err);
}

static int
run_attach(struct job *job, struct error *err)
{
    int64_t device = job_number(job, "device");

    return volume_attach_to(job, job_number(job, "volume"), &device, NULL, err);
}

int
volume_run_attach(struct job *job, struct error *err)
{
    if (converge_adopt(job, NULL, err) < 0 || run_attach(job, err) < 0) {
        job_event(job, "VOLUME.ATTACH", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VOLUME.ATTACH", "INFO", job->row.queue);
    return 0;
}

/* -- detach ---------------------------------------------------------------- */

static int
detach(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE(volume) row = {0};
    struct volume_change change = {.action = "detach",
                                   .volume_id = job_number(job, "volume"),
                                   .vm_id = job_number(job, "vm"),
                                   .vm_uuid = job->row.queue};

    if (volume_get(engine, change.volume_id, &row, err) < 0)
        return -1;
    if (row.vm_id != change.vm_id)
        return error_set(err, ERROR_CONFLICT, "volume '%s' was detached",
                         row.name);
    change.target = row.target;
    if (volume_begin(engine, &change, "Detaching", err) < 0)
        return -1;
    if (fault_here("volume.before-detach"))
        (void)error_set_errno(err, errno, "detach");
    else if (hv_detach_disk(engine->hv, change.vm_uuid, row.target, DETACH_MS,
                            err) == 0 &&
             record(engine, &change, false, err) == 0)
        return 0;
    return look_again(engine, &change, false, err);
}

int
volume_run_detach(struct job *job, struct error *err)
{
    /* What was never taken over would be forgotten with the definition. */
    if (converge_adopt(job, NULL, err) < 0 || detach(job, err) < 0) {
        job_event(job, "VOLUME.DETACH", "ERROR", err->message);
        return -1;
    }
    job_event(job, "VOLUME.DETACH", "INFO", job->row.queue);
    return 0;
}
