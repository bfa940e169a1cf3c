/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_bed.h -- a machine to play with, for cases that run on any hypervisor.
 */
#ifndef TESTS_CONFORMANCE_HV_BED_H
#define TESTS_CONFORMANCE_HV_BED_H

#include "base/memory.h"
#include "hv/hv.h"

#include <stdbool.h>
#include <stddef.h>

#define HV_BED_DISKS_MAX 4
#define HV_BED_WAIT_MS 60000

/* Every case leaves the machine stopped, its disks changed. */
struct hv_bed {
    struct hv *hv;
    const char *uuid;
    const char *directory; /* for overlays; the hypervisor reads there */
    bool has_agent;        /* the guest has one that comes up */
    /* Wait until the guest's agent answers; NULL when it does at once. */
    bool (*wait_for_agent)(struct hv_bed *bed);
};

/* The disks that can have overlays, and names for new ones. */
struct hv_bed_disks {
    struct hv_machine *machine; /* owned */
    size_t count;
    const char *target[HV_BED_DISKS_MAX];
    char *overlay[HV_BED_DISKS_MAX]; /* owned */
    struct hv_disk_change change[HV_BED_DISKS_MAX];
};
void hv_bed_disks_release(struct hv_bed_disks *disks);
#define AUTO_HV_BED_DISKS CLEANUP(hv_bed_disks_release)

/* All of these print why they return false. */
bool hv_bed_find_disks(struct hv_bed *bed, struct hv_bed_disks *ret_disks);
/* New overlay files above the present tops. */
bool hv_bed_make_overlays(struct hv_bed *bed, struct hv_bed_disks *disks);
/* A new overlay for the first disk, and the guest writes into it. */
bool hv_bed_take_snapshot(struct hv_bed *bed, struct hv_bed_disks *disks);

bool hv_bed_start(struct hv_bed *bed);
/* One that does not run is stopped. */
bool hv_bed_stop(struct hv_bed *bed);

/* What a look shows of the machine and of that disk, alone and with all
 * others, is what the single questions say. */
bool hv_bed_look_agrees(struct hv_bed *bed, const char *target,
                        const struct hv_disk_view *view);

/* All three views of a disk name `top`, and QEMU's chain has that length. */
bool hv_bed_views_agree(struct hv_bed *bed, const char *target, const char *top,
                        size_t length);
/* Of QEMU's chain; 0 when it cannot be asked. */
size_t hv_bed_chain_length(struct hv_bed *bed, const char *target);

#endif
