/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come, go and grow.
 *
 * A guest may take its time to let go of a disk, or never do it: libvirt waits
 * a few seconds and returns, and what happened is told by the event "device
 * removed", which names the device by its alias.  It is kept in a watch of
 * that name, reset before the call.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

int
lv_op_resize(struct hv *hv, const char *uuid, const char *target,
             uint64_t bytes, struct error *err)
{
    struct lv_call call;
    int result;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    result = lv_require_running_disk(&call, target, err);
    if (result == 0 && virDomainBlockResize(call.domain, target, bytes,
                                            VIR_DOMAIN_BLOCK_RESIZE_BYTES) < 0)
        result =
            lv_fail(err, "resize disk '%s' of machine '%s'", target, call.name);
    if (result == 0)
        result = lv_place("libvirt.resize.called", err);
    return lv_end(&call, result, err);
}

/* Is the disk, of that file, in the inactive definition?  1, 0, -1. */
static int
is_inactive(const struct lv_call *call, const struct hv_new_disk *disk,
            struct error *err)
{
    AUTO_FREE char *xml = lv_inactive_xml(call, err);
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (xml == NULL || domain_xml_parse(xml, &machine, err) < 0)
        return -1;
    return hv_machine_find_disk(machine, disk->target) != NULL;
}

/* Where it is missing; an earlier call may have been cut off in between. */
static int
missing_in(const struct lv_call *call, const struct hv_machine *machine,
           const struct hv_new_disk *disk, unsigned *ret_flags,
           struct error *err)
{
    const struct hv_disk *there = hv_machine_find_disk(machine, disk->target);
    bool is_same = there != NULL && there->source != NULL &&
                   strcmp(there->source, disk->path) == 0;
    int inactive = 1;

    *ret_flags = 0;
    if (machine->persistent)
        inactive = is_inactive(call, disk, err);
    if (inactive < 0)
        return -1;
    if (machine->state != HV_STOPPED && there == NULL)
        *ret_flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (inactive == 0)
        *ret_flags |= VIR_DOMAIN_AFFECT_CONFIG;
    if (*ret_flags != 0 && (there == NULL || is_same))
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has a disk '%s' already", call->name,
                     disk->target);
}

static int
attach(const struct lv_call *call, const struct hv_new_disk *disk,
       struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;
    unsigned flags;

    if (lv_machine(call, &machine, err) < 0 ||
        domain_xml_disk(disk, &xml, err) < 0 ||
        missing_in(call, machine, disk, &flags, err) < 0)
        return -1;
    if (virDomainAttachDeviceFlags(call->domain, xml, flags) < 0)
        return lv_fail(err, "attach disk '%s' to machine '%s'", disk->target,
                       call->name);
    return lv_place("libvirt.attach.called", err);
}

int
lv_op_attach_disk(struct hv *hv, const char *uuid,
                  const struct hv_new_disk *disk, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, attach(&call, disk, err), err);
}

/* -- detach ---------------------------------------------------------------- */

static int
ask_to_detach(const struct lv_call *call, const struct hv_disk *disk,
              unsigned flags, struct error *err)
{
    const struct hv_new_disk named = {
        .target = disk->target,
        .bus = disk->bus,
        .path = disk->source != NULL ? disk->source : "/dev/null",
        .format = disk->format};
    AUTO_FREE char *xml = NULL;

    if (domain_xml_disk(&named, &xml, err) < 0)
        return -1;
    if (virDomainDetachDeviceFlags(call->domain, xml, flags) < 0)
        return lv_fail(err, "detach disk '%s' of machine '%s'", disk->target,
                       call->name);
    return lv_place("libvirt.detach.called", err);
}

static int
wait_until_gone(struct lv *lv, const struct lv_watch *watch, int64_t deadline,
                struct error *err)
{
    bool in_time = true;
    bool gone;
    bool disconnected;

    lock_take(&lv->lock);
    while (in_time && watch->ended < 0 && !watch->stopped &&
           !watch->disconnected)
        in_time = signal_wait_until(&lv->changed, &lv->lock, deadline);
    gone = watch->ended >= 0 || watch->stopped;
    disconnected = watch->disconnected;
    lock_give(&lv->lock);
    if (gone)
        return 0;
    if (disconnected)
        return error_set(err, ERROR_UNAVAILABLE, "connection to '%s' lost",
                         lv->uri);
    return error_set(err, ERROR_TIMEOUT,
                     "the guest has not let go of the disk; unmount it there "
                     "and try again, or stop the machine");
}

/* Is the disk in what QEMU has now?  1, 0, -1. */
static int
is_there(const struct lv_call *call, const char *target, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (lv_machine(call, &machine, err) < 0)
        return -1;
    return machine->state != HV_STOPPED &&
           hv_machine_find_disk(machine, target) != NULL;
}

static int
detach_live(const struct lv_call *call, const struct hv_disk *disk,
            int64_t deadline, struct error *err)
{
    struct lv *lv = call->lv;
    struct lv_watch *watch;
    char uuid[VIR_UUID_STRING_BUFLEN];
    struct error why = ERROR_INIT;
    int there;

    if (virDomainGetUUIDString(call->domain, uuid) < 0)
        return lv_fail(err, "uuid of machine '%s'", call->name);
    lock_take(&lv->lock);
    watch =
        lv_watch_get_locked(lv, uuid, disk->alias != NULL ? disk->alias : "");
    lock_give(&lv->lock);
    lv_watch_reset(lv, watch, true);
    /* libvirt waits, too, and reports that as a failure; so look. */
    if (ask_to_detach(call, disk, VIR_DOMAIN_AFFECT_LIVE, &why) < 0 &&
        why.code != ERROR_TIMEOUT) {
        *err = why;
        return -1;
    }
    there = is_there(call, disk->target, err);
    if (there <= 0)
        return there;
    return wait_until_gone(lv, watch, deadline, err);
}

static int
detach(const struct lv_call *call, const char *target, int64_t deadline,
       struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *live = NULL;
    AUTO_HV_MACHINE struct hv_machine *inactive = NULL;
    AUTO_FREE char *xml = NULL;
    const struct hv_disk *disk;

    if (lv_machine(call, &live, err) < 0)
        return -1;
    disk = hv_machine_find_disk(live, target);
    if (live->state != HV_STOPPED && disk != NULL &&
        detach_live(call, disk, deadline, err) < 0)
        return error_prefix(err, "machine '%s', disk '%s'", call->name, target);
    if (!live->persistent)
        return 0;
    xml = lv_inactive_xml(call, err);
    if (xml == NULL || domain_xml_parse(xml, &inactive, err) < 0)
        return -1;
    disk = hv_machine_find_disk(inactive, target);
    if (disk == NULL)
        return 0;
    return ask_to_detach(call, disk, VIR_DOMAIN_AFFECT_CONFIG, err);
}

int
lv_op_detach_disk(struct hv *hv, const char *uuid, const char *target,
                  int64_t timeout_ms, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, detach(&call, target, deadline, err), err);
}
