/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlays and definitions.
 *
 * A snapshot is libvirt's external, disk-only one: atomic over its disks,
 * without metadata (the tree of layers is ours) and into overlays that exist
 * already, so that nothing is created while the guest is frozen.  Freezing is
 * left to libvirtd (QUIESCE), which thaws also when we die; the agent's
 * answers are bounded first.
 *
 * A call that failed may still have switched the disks: libvirt reports a
 * failed thaw, or a definition that it could not write, after QEMU's
 * transaction.  So the views are looked at, and whatever has begun is
 * ERROR_UNAVAILABLE: look again.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/memory.h"

#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

/* As many libvirtds may have died in one machine's snapshots, less one. */
#define NAME_TRIES 8

/* True when QEMU writes into the new overlay of any disk, or when that cannot
 * be told. */
static bool
has_switched(const struct lv_call *call, const struct hv_machine *machine,
             const struct hv_disk_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
        const struct hv_disk *disk =
            hv_machine_find_disk(machine, changes[i].target);
        struct error err = ERROR_INIT;

        if (disk == NULL || disk->alias == NULL)
            continue;
        if (lv_qemu_chain(call, disk->alias, &view, &err) < 0)
            return err.code != ERROR_CONFLICT; /* it ended meanwhile */
        if (view.qemu_count > 0 &&
            strcmp(view.qemu_chain[0], changes[i].path) == 0)
            return true;
    }
    return false;
}

/* OPERATION_UNSUPPORTED is also what a block job gives. */
static bool
has_job(const struct lv_call *call, const struct hv_disk_change *changes,
        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct error err = ERROR_INIT;
        struct hv_job job;

        if (lv_job_state(call, changes[i].target, &job, &err) == 0 &&
            job.state != HV_JOB_NONE)
            return true;
    }
    return false;
}

int
lv_explain_snapshot(const struct lv_call *call,
                    const struct hv_machine *machine,
                    const struct hv_disk_change *changes, size_t count,
                    struct error *err)
{
    if (err->code == ERROR_UNAVAILABLE)
        return -1;
    if (err->code == ERROR_UNSUPPORTED && has_job(call, changes, count))
        err->code = ERROR_BUSY;
    if (has_switched(call, machine, changes, count))
        err->code = ERROR_UNAVAILABLE;
    return -1;
}

static int
explain_failure(const struct lv_call *call, const struct hv_machine *machine,
                const struct hv_disk_change *changes, size_t count,
                bool quiesce, struct error *err)
{
    struct error ignored = ERROR_INIT;

    if (err->code == ERROR_UNAVAILABLE)
        return -1;
    (void)lv_explain_snapshot(call, machine, changes, count, err);
    /* libvirt thaws what it froze; this is for when it could not. */
    if (quiesce && err->code != ERROR_UNSUPPORTED &&
        err->code != ERROR_TIMEOUT && err->code != ERROR_CONFLICT)
        (void)!lv_thaw(call, &ignored);
    return -1;
}

virDomainSnapshotPtr
lv_make_snapshot(const struct lv_call *call, const char *xml, unsigned flags)
{
    virDomainSnapshotPtr made =
        virDomainSnapshotCreateXML(call->domain, xml, flags);

    for (unsigned i = 1;
         made == NULL && i < NAME_TRIES && lv_node_name_was_taken(); i++)
        made = virDomainSnapshotCreateXML(call->domain, xml, flags);
    return made;
}

static int
snapshot(const struct lv_call *call, const struct hv_disk_change *changes,
         size_t count, bool quiesce, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;
    unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
                     VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
                     VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA |
                     VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT;
    virDomainSnapshotPtr made;

    if (lv_machine(call, &machine, err) < 0 ||
        domain_xml_snapshot(machine, changes, count, NULL, &xml, err) < 0)
        return -1;
    /* Libvirt would do it offline, by qemu-img. */
    if (machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (quiesce) {
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE;
        lv_bound_agent(call, LV_AGENT_SECONDS);
    }
    if (lv_place("libvirt.snapshot.call", err) < 0)
        return -1;
    made = lv_make_snapshot(call, xml, flags);
    if (made == NULL) {
        (void)lv_fail(err, "snapshot of machine '%s'", machine->name);
        return explain_failure(call, machine, changes, count, quiesce, err);
    }
    (void)virDomainSnapshotFree(made);
    return lv_place("libvirt.snapshot.called", err);
}

int
lv_op_snapshot(struct hv *hv, const char *uuid,
               const struct hv_disk_change *changes, size_t count, bool quiesce,
               struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, snapshot(&call, changes, count, quiesce, err), err);
}

static int
define(virConnectPtr conn, const char *xml, struct error *err)
{
    virDomainPtr domain;

    if (lv_place("libvirt.define.call", err) < 0)
        return -1;
    domain = virDomainDefineXMLFlags(conn, xml, 0);
    if (domain == NULL)
        return lv_fail(err, "define a machine");
    (void)virDomainFree(domain);
    return lv_place("libvirt.define.called", err);
}

static int
define_disks(const struct lv_call *call, const struct hv_disk_change *changes,
             size_t count, struct error *err)
{
    AUTO_FREE char *old = NULL;
    AUTO_FREE char *xml = NULL;
    int persistent = virDomainIsPersistent(call->domain);

    if (persistent < 0)
        return lv_fail(err, "state of machine '%s'", call->name);
    if (persistent == 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has no definition of its own",
                         call->name);
    old = lv_inactive_xml(call, err);
    if (old == NULL || domain_xml_set_disks(old, changes, count, &xml, err) < 0)
        return -1;
    return define(call->conn, xml, err);
}

int
lv_op_define_disks(struct hv *hv, const char *uuid,
                   const struct hv_disk_change *changes, size_t count,
                   struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, define_disks(&call, changes, count, err), err);
}

static int
set_compute(const struct lv_call *call, unsigned vcpus, uint64_t memory_bytes,
            bool may_run, struct error *err)
{
    AUTO_FREE char *old = NULL;
    AUTO_FREE char *xml = NULL;

    if (!may_run && virDomainIsActive(call->domain) != 0)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is not stopped",
                         call->name);
    old = lv_inactive_xml(call, err);
    if (old == NULL ||
        domain_xml_set_compute(old, vcpus, memory_bytes, &xml, err) < 0)
        return -1;
    return define(call->conn, xml, err);
}

int
lv_op_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
                  uint64_t memory_bytes, bool may_run, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, set_compute(&call, vcpus, memory_bytes, may_run, err),
                  err);
}

int
lv_op_define_xml(struct hv *hv, const char *xml, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, NULL, &call, err) < 0)
        return -1;
    return lv_end(&call, define(call.conn, xml, err), err);
}

static int
undefine(const struct lv_call *call, struct error *err)
{
    unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                     VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                     VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA |
                     VIR_DOMAIN_UNDEFINE_NVRAM;
    int active = virDomainIsActive(call->domain);

    if (active < 0)
        return lv_fail(err, "state of machine '%s'", call->name);
    /* Libvirt would make it a transient one. */
    if (active == 1)
        return error_set(err, ERROR_CONFLICT, "machine '%s' runs", call->name);
    if (lv_place("libvirt.undefine.call", err) < 0)
        return -1;
    if (virDomainUndefineFlags(call->domain, flags) < 0)
        return lv_fail(err, "undefine machine '%s'", call->name);
    return lv_place("libvirt.undefine.called", err);
}

int
lv_op_undefine(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, undefine(&call, err), err);
}
