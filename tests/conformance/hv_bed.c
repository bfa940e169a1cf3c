/* SPDX-License-Identifier: Apache-2.0 */
#include "hv_bed.h"

#include "oracle.h"

#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
hv_bed_disks_release(struct hv_bed_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++)
        free(disks->overlay[i]);
    hv_machine_free(disks->machine);
}
bool
hv_bed_find_disks(struct hv_bed *bed, struct hv_bed_disks *ret_disks)
{
    struct error err = ERROR_INIT;
    struct hv_machine *machine = NULL;

    memset(ret_disks, 0, sizeof(*ret_disks));
    if (hv_get(bed->hv, bed->uuid, &machine, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    ret_disks->machine = machine;
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct hv_disk *disk = &machine->disks[i];

        if (disk->device == HV_DISK && disk->source != NULL &&
            !disk->readonly && strcmp(disk->format, "qcow2") == 0 &&
            ret_disks->count < HV_BED_DISKS_MAX)
            ret_disks->target[ret_disks->count++] = disk->target;
    }
    return ret_disks->count > 0;
}

bool
hv_bed_make_overlays(struct hv_bed *bed, struct hv_bed_disks *disks)
{
    bool made = true;

    for (size_t i = 0; i < disks->count; i++) {
        struct hv_disk_view view;
        struct error err = ERROR_INIT;
        struct uuid name;
        const char *top;

        if (hv_view(bed->hv, bed->uuid, disks->target[i], &view, &err) < 0)
            return false;
        uuid_new(&name);
        top = view.qemu_count > 0 ? view.qemu_chain[0] : view.inactive_top;
        free(disks->overlay[i]);
        disks->overlay[i] = xasprintf("%s/%s.qcow2", bed->directory, name.text);
        made = made && oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                              top, "-F", "qcow2", disks->overlay[i]);
        disks->change[i] = (struct hv_disk_change){disks->target[i],
                                                   disks->overlay[i], "qcow2"};
        hv_disk_view_release(&view);
    }
    return made;
}

bool
hv_bed_start(struct hv_bed *bed)
{
    struct error err = ERROR_INIT;

    if (hv_start(bed->hv, bed->uuid, &err) == 0)
        return true;
    printf("# start: %s\n", err.message);
    return false;
}

bool
hv_bed_stop(struct hv_bed *bed)
{
    struct error err = ERROR_INIT;

    if (hv_destroy(bed->hv, bed->uuid, &err) == 0 || err.code == ERROR_CONFLICT)
        return true;
    printf("# stop: %s\n", err.message);
    return false;
}

static bool
is_text(const char *one, const char *two)
{
    return one == NULL || two == NULL ? one == two : strcmp(one, two) == 0;
}

static bool
is_view(const struct hv_disk_view *one, const struct hv_disk_view *two)
{
    bool same = one->qemu_count == two->qemu_count &&
                is_text(one->live_top, two->live_top) &&
                is_text(one->inactive_top, two->inactive_top);

    for (size_t i = 0; same && i < one->qemu_count; i++)
        same = is_text(one->qemu_chain[i], two->qemu_chain[i]);
    return same;
}

bool
hv_bed_look_agrees(struct hv_bed *bed, const char *target,
                   const struct hv_disk_view *view)
{
    AUTO_HV_LOOK struct hv_look one = {.machine = NULL};
    AUTO_HV_LOOK struct hv_look all = {.machine = NULL};
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    if (hv_get(bed->hv, bed->uuid, &machine, &err) < 0 ||
        hv_look(bed->hv, bed->uuid, &target, 1, &one, &err) < 0 ||
        hv_look(bed->hv, bed->uuid, NULL, 0, &all, &err) < 0) {
        printf("# look: %s\n", err.message);
        return false;
    }
    return is_text(one.machine->name, machine->name) &&
           one.machine->state == machine->state &&
           one.machine->persistent == machine->persistent &&
           one.machine->disk_count == machine->disk_count &&
           is_view(hv_look_find(&one, target), view) &&
           is_view(hv_look_find(&all, target), view) &&
           hv_look_find(&all, "vdzz") == NULL;
}

bool
hv_bed_views_agree(struct hv_bed *bed, const char *target, const char *top,
                   size_t length)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;

    if (hv_view(bed->hv, bed->uuid, target, &view, &err) < 0) {
        printf("# view: %s\n", err.message);
        return false;
    }
    if (hv_bed_look_agrees(bed, target, &view) && view.qemu_count == length &&
        length > 0 && view.live_top != NULL && view.inactive_top != NULL &&
        strcmp(view.qemu_chain[0], top) == 0 &&
        strcmp(view.live_top, top) == 0 && strcmp(view.inactive_top, top) == 0)
        return true;
    printf("# disk %s: want '%s' and %zu files, have\n", target, top, length);
    for (size_t i = 0; i < view.qemu_count; i++)
        printf("#   qemu %s\n", view.qemu_chain[i]);
    printf("#   live %s\n#   inactive %s\n",
           view.live_top != NULL ? view.live_top : "(null)",
           view.inactive_top != NULL ? view.inactive_top : "(null)");
    return false;
}

size_t
hv_bed_chain_length(struct hv_bed *bed, const char *target)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;

    if (hv_view(bed->hv, bed->uuid, target, &view, &err) < 0)
        return 0;
    return view.qemu_count;
}

bool
hv_bed_take_snapshot(struct hv_bed *bed, struct hv_bed_disks *disks)
{
    struct error err = ERROR_INIT;

    if (hv_bed_make_overlays(bed, disks) &&
        hv_snapshot(bed->hv, bed->uuid, disks->change, 1, false, &err) == 0)
        return true;
    printf("# snapshot: %s\n", err.message);
    return false;
}
