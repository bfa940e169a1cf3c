/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory is one number, which changes with every boot and every write of
 * the guest.  Its file is written in two parts, and marked as whole before
 * the disks are switched, as libvirt does it: a death in between leaves a
 * file that must be refused.
 */
#include "hv/fake/fake_internal.h"

#include "base/fd.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_PARTIAL "fake-memory-part"
#define MARK_WHOLE "fake-memory-full"
#define FILE_MAX ((size_t)4096)
#define PAUSE_MS 7

static int
write_file(const char *path, const char *mark, const char *rest,
           struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    AUTO_FREE char *text = xasprintf("%s %s", mark, rest);

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    return fd_pwrite(fd, text, strlen(text), 0, path, err);
}

static int
save(struct fake_call *call, const char *path, struct error *err)
{
    AUTO_FREE char *whole =
        xasprintf("%s %" PRIu64 "\n", call->machine.uuid, call->machine.memory);

    if (write_file(path, MARK_PARTIAL, "", err) < 0 ||
        fake_place("fake.memory.partial", err) < 0 ||
        write_file(path, MARK_WHOLE, whole, err) < 0)
        return -1;
    return fake_place("fake.memory.complete", err);
}

static int
snapshot(struct fake_call *call, const struct hv_disk_change *changes,
         size_t count, struct hv_memory *memory, struct error *err)
{
    if (fake_check_snapshot(call, changes, count, err) < 0 ||
        save(call, memory->path, err) < 0 ||
        fake_switch_disks(call, changes, count, err) < 0)
        return -1;
    memory->pause_ms = PAUSE_MS;
    return 0;
}

int
fake_op_snapshot_memory(struct hv *hv, const char *uuid,
                        const struct hv_disk_change *changes, size_t count,
                        struct hv_memory *memory, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "snapshot_memory", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, snapshot(&call, changes, count, memory, err), err);
}

static int
load(const struct fake_machine *machine, const char *path, uint64_t *ret_memory,
     struct error *err)
{
    AUTO_FREE char *text = NULL;
    char uuid[UUID_TEXT_SIZE];

    if (fd_read_file(path, FILE_MAX, &text, NULL, err) < 0)
        return -1;
    if (sscanf(text, MARK_WHOLE " %36s %" SCNu64 "\n", uuid, ret_memory) != 2 ||
        strcmp(uuid, machine->uuid) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' is no whole memory of machine '%s'", path,
                         machine->name);
    return 0;
}

int
fake_op_check_memory(struct hv *hv, const char *uuid, const char *path,
                     struct error *err)
{
    struct fake_call call;
    uint64_t memory;

    if (fake_begin(hv, "check_memory", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, load(&call.machine, path, &memory, err), err);
}

static int
open_disks(struct fake_machine *machine, const struct hv_disk_change *changes,
           size_t count, struct error *err)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct fake_disk *disk = &machine->disks[i];
        const char *path = disk->inactive;

        for (size_t k = 0; k < count; k++)
            if (strcmp(changes[k].target, disk->target) == 0)
                path = changes[k].path;
        if (path == NULL)
            continue;
        fake_paths_clear(&disk->qemu);
        if (fake_image_chain(path, &disk->qemu, err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
        free(disk->live);
        disk->live = xstrdup(path);
    }
    return 0;
}

static int
restore(struct fake_call *call, const char *path,
        const struct hv_disk_change *changes, size_t count, struct error *err)
{
    struct fake_machine *machine = &call->machine;
    uint64_t memory;

    if (machine->state != HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' runs",
                         machine->name);
    for (size_t i = 0; i < count; i++)
        if (fake_find_disk(machine, changes[i].target, err) == NULL)
            return -1;
    if (load(machine, path, &memory, err) < 0 ||
        fake_check_hold(call->fake, machine->uuid, changes[0].path, err) < 0 ||
        open_disks(machine, changes, count, err) < 0)
        return -1;
    machine->state = HV_RUNNING;
    machine->frozen = false;
    machine->memory = memory;
    if (fake_store(call, err) < 0)
        return -1;
    fake_emit(call->fake, HV_EVENT_STATE, machine->uuid, HV_RUNNING);
    return 0;
}

int
fake_op_restore_memory(struct hv *hv, const char *uuid, const char *path,
                       const struct hv_disk_change *changes, size_t count,
                       struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "restore_memory", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, restore(&call, path, changes, count, err), err);
}

int
hv_fake_memory(struct hv *hv, const char *uuid, uint64_t *ret_memory,
               struct error *err)
{
    struct fake_call call;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    *ret_memory = call.machine.memory;
    return fake_end(&call, 0, err);
}
