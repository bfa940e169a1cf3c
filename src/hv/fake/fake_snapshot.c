/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switching disks to overlays in three stored steps, as libvirt does it: one
 * transaction in QEMU for all disks, then libvirt's live view, then the
 * inactive definition.  A death in between leaves the stale views that were
 * seen with the real one:
 *  - QEMU ahead of libvirt: every later snapshot or commit fails, since
 *    libvirt names a node that is busy;
 *  - the inactive definition behind: it stays behind in later snapshots, for
 *    libvirt only follows a definition that named the same file.
 *
 * QEMU does not look whether an overlay's backing name is right (REUSE_EXT);
 * the fake does, because nothing good comes from one that is not.
 */
#include "hv/fake/fake_internal.h"

#include "base/fd.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void
replace_text(char **text, const char *with)
{
    char *copy = xstrdup(with);

    free(*text);
    *text = copy;
}

static int
check_overlay(const struct fake_disk *disk, const char *path, struct error *err)
{
    AUTO_FREE char *backing = NULL;

    if (!fd_exists(path))
        return error_set(err, ERROR_IO, "disk '%s': no overlay '%s'",
                         disk->target, path);
    for (size_t i = 0; i < disk->qemu.count; i++)
        if (strcmp(disk->qemu.items[i], path) == 0)
            return error_set(err, ERROR_IO, "disk '%s': '%s' is in its chain",
                             disk->target, path);
    if (fake_image_backing(path, &backing, err) < 0)
        return -1;
    if (backing == NULL || strcmp(backing, disk->qemu.items[0]) != 0)
        return error_set(
            err, ERROR_IO, "disk '%s': overlay '%s' rests on '%s', not on '%s'",
            disk->target, path, backing != NULL ? backing : "nothing",
            disk->qemu.items[0]);
    return 0;
}

static int
check_change(struct fake_machine *machine, const struct hv_disk_change *change,
             struct error *err)
{
    struct fake_disk *disk = fake_find_disk(machine, change->target, err);

    if (disk == NULL)
        return -1;
    if (disk->job.exists)
        return error_set(err, ERROR_BUSY, "disk '%s' has a block job",
                         disk->target);
    if (disk->qemu.count == 0)
        return error_set(err, ERROR_UNSUPPORTED, "disk '%s' has no file",
                         disk->target);
    if (strcmp(disk->qemu.items[0], disk->live) != 0)
        return error_set(err, ERROR_IO, "disk '%s': node of '%s' is busy",
                         disk->target, disk->live);
    return check_overlay(disk, change->path, err);
}

static int
check_quiesce(const struct fake_machine *machine, struct error *err)
{
    if (!machine->agent_channel)
        return error_set(err, ERROR_UNSUPPORTED,
                         "machine '%s' has no guest agent channel",
                         machine->name);
    if (!machine->agent_connected || machine->state != HV_RUNNING)
        return error_set(err, ERROR_TIMEOUT,
                         "the guest agent of '%s' does not answer",
                         machine->name);
    if (machine->frozen)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is frozen already",
                         machine->name);
    return 0;
}

enum view { VIEW_QEMU, VIEW_LIVE, VIEW_INACTIVE };

static void
switch_disk(struct fake_disk *disk, const char *path, enum view view,
            const char *old_top)
{
    switch (view) {
    case VIEW_QEMU:
        vec_push(&disk->qemu, NULL);
        memmove(&disk->qemu.items[1], &disk->qemu.items[0],
                (disk->qemu.count - 1) * sizeof(char *));
        disk->qemu.items[0] = xstrdup(path);
        break;
    case VIEW_LIVE:
        replace_text(&disk->live, path);
        break;
    case VIEW_INACTIVE:
        if (disk->inactive != NULL && strcmp(disk->inactive, old_top) == 0)
            replace_text(&disk->inactive, path);
        break;
    }
}

static int
switch_all(struct fake_call *call, const struct hv_disk_change *changes,
           size_t count, enum view view, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct fake_disk *disk =
            fake_find_disk(&call->machine, changes[i].target, err);

        if (disk == NULL)
            return -1;
        switch_disk(disk, changes[i].path, view,
                    disk->qemu.count > 1 ? disk->qemu.items[1] : "");
    }
    return fake_store(call, err);
}

int
fake_check_snapshot(struct fake_call *call,
                    const struct hv_disk_change *changes, size_t count,
                    struct error *err)
{
    struct fake_machine *machine = &call->machine;

    if (machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    for (size_t i = 0; i < count; i++)
        if (check_change(machine, &changes[i], err) < 0)
            return -1;
    return 0;
}

int
fake_switch_disks(struct fake_call *call, const struct hv_disk_change *changes,
                  size_t count, struct error *err)
{
    if (switch_all(call, changes, count, VIEW_QEMU, err) < 0 ||
        fake_place("fake.snapshot.between-qemu-and-live", err) < 0 ||
        switch_all(call, changes, count, VIEW_LIVE, err) < 0 ||
        fake_place("fake.snapshot.between-live-and-inactive", err) < 0)
        return -1;
    return switch_all(call, changes, count, VIEW_INACTIVE, err);
}

static int
snapshot(struct fake_call *call, const struct hv_disk_change *changes,
         size_t count, bool quiesce, struct error *err)
{
    struct fake_machine *machine = &call->machine;

    if (fake_check_snapshot(call, changes, count, err) < 0)
        return -1;
    if (quiesce) {
        if (check_quiesce(machine, err) < 0)
            return -1;
        machine->frozen = true;
        if (fake_store(call, err) < 0 ||
            fake_place("fake.snapshot.frozen", err) < 0)
            return -1;
        machine->frozen = false; /* stored with the next step */
    }
    return fake_switch_disks(call, changes, count, err);
}

int
fake_op_snapshot(struct hv *hv, const char *uuid,
                 const struct hv_disk_change *changes, size_t count,
                 bool quiesce, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "snapshot", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, snapshot(&call, changes, count, quiesce, err), err);
}

static int
define_disks(struct fake_call *call, const struct hv_disk_change *changes,
             size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct fake_disk *disk =
            fake_find_disk(&call->machine, changes[i].target, err);

        if (disk == NULL)
            return -1;
        replace_text(&disk->inactive, changes[i].path);
        replace_text(&disk->format, changes[i].format);
    }
    if (fake_store(call, err) < 0)
        return -1;
    fake_emit(call->fake, HV_EVENT_DEFINED, call->machine.uuid,
              call->machine.state);
    return 0;
}

int
fake_op_define_disks(struct hv *hv, const char *uuid,
                     const struct hv_disk_change *changes, size_t count,
                     struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "define_disks", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, define_disks(&call, changes, count, err), err);
}
