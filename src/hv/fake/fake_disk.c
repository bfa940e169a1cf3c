/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come, go and grow, and changes of a definition.
 *
 * As with libvirt, a running machine has a disk in QEMU and in the live view
 * before the inactive definition knows of it, and a death in between is seen.
 */
#include "hv/fake/fake_internal.h"

#include "base/memory.h"
#include "hv/domain_xml.h"

#include <stdlib.h>
#include <string.h>

int
fake_op_resize(struct hv *hv, const char *uuid, const char *target,
               uint64_t bytes, struct error *err)
{
    struct fake_call call;
    struct fake_disk *disk;
    int result = 0;

    if (fake_begin(hv, "resize", uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    if (disk == NULL)
        result = -1;
    else if (call.machine.state == HV_STOPPED)
        result = error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                           call.machine.name);
    else if (disk->job.exists)
        result = error_set(err, ERROR_BUSY, "disk '%s' has a block job",
                           disk->target);
    else
        result = fake_image_resize(call.fake, &disk->qemu, bytes, err);
    return fake_end(&call, result, err);
}

/* -- attach ---------------------------------------------------------------- */

/* The text that it was defined from, with one more disk. */
static int
extend_xml(struct fake_machine *machine, const struct hv_new_disk *disk,
           struct error *err)
{
    AUTO_FREE char *element = NULL;
    char *end =
        machine->xml != NULL ? strstr(machine->xml, "</devices>") : NULL;
    char *longer;

    if (end == NULL)
        return 0;
    if (domain_xml_disk(disk, &element, err) < 0)
        return -1;
    longer = xasprintf("%.*s%s%s", (int)(end - machine->xml), machine->xml,
                       element, end);
    free(machine->xml);
    machine->xml = longer;
    return 0;
}

/* A disk that is live and not yet inactive: an earlier call was cut off. */
static bool
is_half_attached(const struct fake_disk *disk, const char *path)
{
    return disk->inactive == NULL && disk->live != NULL &&
           strcmp(disk->live, path) == 0;
}

static int
attach(struct fake_call *call, const struct hv_new_disk *disk,
       struct error *err)
{
    struct fake_machine *machine = &call->machine;
    struct error ignored = ERROR_INIT;
    struct fake_disk *added = fake_find_disk(machine, disk->target, &ignored);

    if (added != NULL && !is_half_attached(added, disk->path))
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has a disk '%s' already", machine->name,
                         disk->target);
    if (added == NULL) {
        machine->disks = xrealloc(machine->disks, (machine->disk_count + 1) *
                                                      sizeof(struct fake_disk));
        added = &machine->disks[machine->disk_count++];
        *added = (struct fake_disk){.target = xstrdup(disk->target),
                                    .format = xstrdup(disk->format),
                                    .device = HV_DISK};
    }
    if (machine->state != HV_STOPPED && added->live == NULL) {
        if (fake_image_chain(disk->path, &added->qemu, err) < 0)
            return -1;
        added->live = xstrdup(disk->path);
        if (fake_store(call, err) < 0 ||
            fake_place("fake.attach.between-live-and-inactive", err) < 0)
            return -1;
    }
    added->inactive = xstrdup(disk->path);
    if (extend_xml(machine, disk, err) < 0)
        return -1;
    return fake_store(call, err);
}

int
fake_op_attach_disk(struct hv *hv, const char *uuid,
                    const struct hv_new_disk *disk, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "attach_disk", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, attach(&call, disk, err), err);
}

/* -- detach ---------------------------------------------------------------- */

static void
remove_disk(struct fake_machine *machine, struct fake_disk *disk)
{
    size_t index = (size_t)(disk - machine->disks);

    fake_paths_clear(&disk->qemu);
    fake_job_clear(&disk->job);
    free(disk->target);
    free(disk->format);
    free(disk->live);
    free(disk->inactive);
    machine->disk_count--;
    memmove(disk, disk + 1, (machine->disk_count - index) * sizeof(*disk));
    free(machine->xml);
    machine->xml = NULL;
}

static int
detach(struct fake_call *call, const char *target, struct error *err)
{
    struct error absent = ERROR_INIT;
    struct fake_disk *disk = fake_find_disk(&call->machine, target, &absent);

    if (disk == NULL)
        return 0;
    if (disk->job.exists)
        return error_set(err, ERROR_BUSY, "disk '%s' has a block job", target);
    if (call->machine.state != HV_STOPPED) {
        fake_paths_clear(&disk->qemu);
        free(disk->live);
        disk->live = NULL;
        if (fake_store(call, err) < 0 ||
            fake_place("fake.detach.between-live-and-inactive", err) < 0)
            return -1;
    }
    remove_disk(&call->machine, disk);
    return fake_store(call, err);
}

int
fake_op_detach_disk(struct hv *hv, const char *uuid, const char *target,
                    int64_t timeout_ms, struct error *err)
{
    struct fake_call call;

    (void)timeout_ms;
    if (fake_begin(hv, "detach_disk", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, detach(&call, target, err), err);
}

/* -- definitions ----------------------------------------------------------- */

static int
set_compute(struct fake_call *call, unsigned vcpus, uint64_t memory_bytes,
            bool may_run, struct error *err)
{
    struct fake_machine *machine = &call->machine;
    AUTO_FREE char *old =
        machine->xml != NULL ? xstrdup(machine->xml) : fake_print_xml(machine);
    AUTO_FREE char *xml = NULL;

    if (machine->state != HV_STOPPED && !may_run)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is not stopped",
                         machine->name);
    if (domain_xml_set_compute(old, vcpus, memory_bytes, &xml, err) < 0)
        return -1;
    free(machine->xml);
    machine->xml = steal(&xml);
    return fake_store(call, err);
}

int
fake_op_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
                    uint64_t memory_bytes, bool may_run, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "set_compute", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call,
                    set_compute(&call, vcpus, memory_bytes, may_run, err), err);
}
