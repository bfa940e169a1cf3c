/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a machine: saved with its disks, and restored.
 *
 * Saving is libvirt's external snapshot with LIVE: QEMU copies the memory
 * while the guest runs and stops it when what is left can be copied within
 * its limit of downtime; libvirt then switches the disks and lets it go on.
 * The limit begins small.  A guest that dirties memory faster than it can be
 * written would never be finished with: a thread of ours raises the limit in
 * steps, so that the pause is as short as this guest allows, and gives the
 * whole up when the time is over.
 *
 * Libvirt writes into a file that exists and leaves its owner and mode as
 * they are, so that the file is nobody else's from its first byte on.  It
 * gives the file its final mark after the memory is complete and before it
 * switches the disks; a file that has not got it is refused by libvirt.
 *
 * Restoring is virDomainRestore with the saved XML, in which the disks'
 * sources are replaced: layers below them may have been merged since.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

/* How long the guest may be paused, from when on; the last is QEMU's most. */
static const struct {
    int64_t after_ms;
    unsigned long long downtime_ms;
} steps[] = {{0, 50}, {5000, 300}, {15000, 1000}, {30000, 2000000}};

/* How long to wait for the event that says that the guest goes on. */
#define RESUMED_MS 5000

/* -- the thread that brings it to an end ------------------------------------
 */

struct driver {
    struct hv *hv;
    const char *uuid;
    int64_t deadline; /* 0: none */
    struct lock lock;
    struct signal changed;
    bool done;    /* under lock */
    bool gave_up; /* under lock */
};

/* Wait until that time; false when the saving has ended before. */
static bool
sleep_until(struct driver *driver, int64_t time)
{
    bool in_time = true;
    bool done;

    lock_take(&driver->lock);
    while (in_time && !driver->done)
        in_time = signal_wait_until(&driver->changed, &driver->lock, time);
    done = driver->done;
    lock_give(&driver->lock);
    return !done;
}

static void
allow_downtime(struct driver *driver, unsigned long long downtime_ms)
{
    struct error err = ERROR_INIT; /* it may have ended just now */
    struct lv_call call;

    if (lv_begin(driver->hv, driver->uuid, &call, &err) < 0)
        return;
    if (virDomainMigrateSetMaxDowntime(call.domain, downtime_ms, 0) < 0)
        (void)lv_fail(&err, "downtime");
    (void)lv_end(&call, 0, &err);
}

static void
give_up(struct driver *driver)
{
    struct error err = ERROR_INIT;
    struct lv_call call;

    lock_take(&driver->lock);
    driver->gave_up = true;
    lock_give(&driver->lock);
    if (lv_begin(driver->hv, driver->uuid, &call, &err) < 0)
        return;
    if (virDomainAbortJob(call.domain) < 0)
        (void)lv_fail(&err, "abort");
    (void)lv_end(&call, 0, &err);
}

static void *
drive(void *argument)
{
    struct driver *driver = argument;
    int64_t begin = clock_monotonic_ms();

    for (size_t i = 1; i < ARRAY_SIZE(steps); i++) {
        int64_t time = begin + steps[i].after_ms;

        if (driver->deadline != 0 && time > driver->deadline)
            break;
        if (!sleep_until(driver, time))
            return NULL;
        allow_downtime(driver, steps[i].downtime_ms);
    }
    if (driver->deadline != 0 && sleep_until(driver, driver->deadline))
        give_up(driver);
    return NULL;
}

/* -- saving ------------------------------------------------------------------
 */

/* How long the guest stood still, told by the events. */
static int64_t
pause_of(struct lv *lv, const struct lv_watch *watch)
{
    int64_t deadline = clock_monotonic_ms() + RESUMED_MS;
    int64_t pause = -1;
    bool in_time = true;

    lock_take(&lv->lock);
    while (in_time && !watch->disconnected && !watch->stopped &&
           (watch->paused_at == 0 || watch->resumed_at < watch->paused_at))
        in_time = signal_wait_until(&lv->changed, &lv->lock, deadline);
    if (watch->paused_at != 0 && watch->resumed_at >= watch->paused_at)
        pause = watch->resumed_at - watch->paused_at;
    lock_give(&lv->lock);
    return pause;
}

static int
call_snapshot(const struct lv_call *call, const char *xml,
              struct driver *driver, struct error *err)
{
    unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
                     VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA |
                     VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
                     VIR_DOMAIN_SNAPSHOT_CREATE_LIVE;
    virDomainSnapshotPtr made;
    pthread_t thread;
    bool has_thread;
    bool gave_up;

    /* Not supported or not: the default is QEMU's 300 ms. */
    (void)virDomainMigrateSetMaxDowntime(call->domain, steps[0].downtime_ms, 0);
    has_thread = pthread_create(&thread, NULL, drive, driver) == 0;
    made = lv_make_snapshot(call, xml, flags);
    if (made == NULL)
        (void)lv_fail(err, "snapshot of machine '%s' with its memory",
                      call->name);
    lock_take(&driver->lock);
    driver->done = true;
    gave_up = driver->gave_up;
    signal_wake_all(&driver->changed);
    lock_give(&driver->lock);
    if (has_thread)
        (void)pthread_join(thread, NULL);
    if (made == NULL && gave_up && err->code != ERROR_UNAVAILABLE)
        return error_set(err, ERROR_TIMEOUT,
                         "the memory of machine '%s' could not be saved in "
                         "time; the guest goes on",
                         call->name);
    if (made == NULL)
        return -1;
    (void)virDomainSnapshotFree(made);
    return 0;
}

static int
snapshot(struct driver *driver, const struct lv_call *call,
         const struct hv_disk_change *changes, size_t count, const char *path,
         struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;

    if (lv_machine(call, &machine, err) < 0 ||
        domain_xml_snapshot(machine, changes, count, path, &xml, err) < 0)
        return -1;
    if (machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (lv_place("libvirt.memory.call", err) < 0)
        return -1;
    if (call_snapshot(call, xml, driver, err) < 0) {
        enum error_code code = err->code;

        (void)lv_explain_snapshot(call, machine, changes, count, err);
        if (code == ERROR_CANCELLED && err->code == code)
            err->code = ERROR_IO; /* somebody else aborted it */
        return -1;
    }
    return lv_place("libvirt.memory.called", err);
}

int
lv_op_snapshot_memory(struct hv *hv, const char *uuid,
                      const struct hv_disk_change *changes, size_t count,
                      struct hv_memory *memory, struct error *err)
{
    struct lv *lv = lv_of(hv);
    struct driver driver = {.hv = hv, .uuid = uuid};
    struct lv_watch *watch;
    struct lv_call call;
    int result;

    if (memory->timeout_ms > 0)
        driver.deadline = clock_monotonic_ms() + memory->timeout_ms;
    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    lock_take(&lv->lock);
    watch = lv_watch_get_locked(lv, uuid, "");
    lock_give(&lv->lock);
    lv_watch_reset(lv, watch, true);
    lock_init(&driver.lock);
    signal_init(&driver.changed);
    result = snapshot(&driver, &call, changes, count, memory->path, err);
    signal_release(&driver.changed);
    lock_release(&driver.lock);
    if (lv_end(&call, result, err) < 0)
        return -1;
    memory->pause_ms = pause_of(lv, watch);
    return 0;
}

/* -- restoring ---------------------------------------------------------------
 */

/* The saved machine's XML; ERROR_CORRUPT when there is none, or another's. */
static int
saved_xml(const struct lv_call *call, const char *path, char **ret_xml,
          struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(call->domain, uuid) < 0)
        return lv_fail(err, "uuid of machine '%s'", call->name);
    xml = virDomainSaveImageGetXMLDesc(call->conn, path,
                                       VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);
    if (xml == NULL) {
        (void)lv_fail(err, "saved memory '%s'", path);
        if (err->code != ERROR_UNAVAILABLE && err->code != ERROR_DENIED)
            err->code = ERROR_CORRUPT;
        return -1;
    }
    if (domain_xml_parse(xml, &machine, err) < 0)
        return error_prefix(err, "saved memory '%s'", path);
    if (strcmp(machine->uuid, uuid) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "saved memory '%s' is of machine '%s'", path,
                         machine->name);
    *ret_xml = steal(&xml);
    return 0;
}

int
lv_op_check_memory(struct hv *hv, const char *uuid, const char *path,
                   struct error *err)
{
    AUTO_FREE char *xml = NULL;
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, saved_xml(&call, path, &xml, err), err);
}

static int
restore(const struct lv_call *call, const char *path,
        const struct hv_disk_change *changes, size_t count, struct error *err)
{
    AUTO_FREE char *saved = NULL;
    AUTO_FREE char *xml = NULL;
    int active = virDomainIsActive(call->domain);

    if (active < 0)
        return lv_fail(err, "state of machine '%s'", call->name);
    if (active > 0)
        return error_set(err, ERROR_CONFLICT, "machine '%s' runs", call->name);
    if (saved_xml(call, path, &saved, err) < 0 ||
        domain_xml_set_disks(saved, changes, count, &xml, err) < 0 ||
        lv_place("libvirt.restore.call", err) < 0)
        return -1;
    if (virDomainRestoreFlags(call->conn, path, xml, VIR_DOMAIN_SAVE_RUNNING) <
        0)
        return lv_fail(err, "restore machine '%s' from its saved memory",
                       call->name);
    return lv_place("libvirt.restore.called", err);
}

int
lv_op_restore_memory(struct hv *hv, const char *uuid, const char *path,
                     const struct hv_disk_change *changes, size_t count,
                     struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, restore(&call, path, changes, count, err), err);
}
