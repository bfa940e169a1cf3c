/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that no point can be taken of.  An operation would name them when it
 * meets them; this says so before anybody relies on it.
 */
#include "engine/inventory.h"

#include "base/memory.h"
#include "base/vec.h"
#include "engine/self_test.h"

#include <stdlib.h>
#include <string.h>

void
engine_findings_release(struct engine_findings *list)
{
    vec_for (struct engine_finding *, item, list) {
        free(item->vm_name);
        free(item->target);
        free(item->path);
        free(item->reason);
    }
    vec_release(list);
}

static const char *
device_text(enum hv_device device)
{
    switch (device) {
    case HV_CDROM:
        return "cdrom";
    case HV_FLOPPY:
        return "floppy";
    case HV_LUN:
        return "lun";
    case HV_DISK:
        break;
    }
    return "disk";
}

static void
examine_disk(const struct hv_machine *machine, const struct hv_disk *disk,
             struct engine_findings *list)
{
    const char *excluded = inventory_excluded(disk);
    struct error why = ERROR_INIT;
    struct engine_finding found = {.device = device_text(disk->device)};

    if (excluded == NULL && inventory_check_disk(disk, &why) == 0)
        return;
    memcpy(found.vm_uuid, machine->uuid, sizeof(found.vm_uuid));
    found.vm_name = xstrdup(machine->name);
    found.target = xstrdup(disk->target);
    found.path = xstrdup_null(disk->source);
    found.reason = xstrdup(excluded != NULL ? excluded : why.message);
    vec_push(list, found);
}

int
engine_examine_disks(struct engine *engine, struct engine_findings *ret_list,
                     struct error *err)
{
    AUTO_HV_MACHINE_LIST struct hv_machine_list machines = {0};

    *ret_list = (struct engine_findings)VEC_INIT;
    if (hv_list(engine->hv, &machines, err) < 0)
        return -1;
    for (size_t i = 0; i < machines.count; i++) {
        const struct hv_machine *machine = machines.items[i];

        if (self_test_is_guest(machine))
            continue;
        for (size_t k = 0; k < machine->disk_count; k++)
            examine_disk(machine, &machine->disks[k], ret_list);
    }
    return 0;
}
