/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handle, the questions, and what tests do to machines from outside.
 */
#include "hv/fake/hv_fake.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/strbuf.h"
#include "hv/domain_xml.h"
#include "hv/fake/fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- questions ------------------------------------------------------------- */

static void
describe_disk(const struct fake_disk *from, struct hv_disk *disk)
{
    disk->target = xstrdup(from->target);
    disk->bus = xstrdup("virtio");
    disk->source =
        xstrdup_null(from->live != NULL ? from->live : from->inactive);
    disk->format = xstrdup(from->format);
    disk->device = from->device;
    disk->readonly = from->readonly;
}

/* What only the XML knows. */
static void
describe_definition(const char *xml, struct hv_machine *machine)
{
    AUTO_HV_MACHINE struct hv_machine *defined = NULL;
    struct error err = ERROR_INIT;

    machine->memory_bytes = (uint64_t)128 << 20;
    machine->vcpus = 1;
    if (xml == NULL || domain_xml_parse(xml, &defined, &err) < 0)
        return;
    machine->memory_bytes = defined->memory_bytes;
    machine->vcpus = defined->vcpus;
    machine->nvram = steal(&defined->nvram);
    machine->has_tpm = defined->has_tpm;
}

static struct hv_machine *
describe(const struct fake_machine *from)
{
    struct hv_machine *machine = xcalloc(1, sizeof(*machine));

    (void)snprintf(machine->uuid, sizeof(machine->uuid), "%s", from->uuid);
    machine->name = xstrdup(from->name);
    machine->state = from->state;
    machine->persistent = true;
    machine->has_agent_channel = from->agent_channel;
    machine->agent_connected =
        from->agent_connected && from->state == HV_RUNNING;
    describe_definition(from->xml, machine);
    machine->disks = xcalloc(from->disk_count + 1, sizeof(struct hv_disk));
    machine->disk_count = from->disk_count;
    for (size_t i = 0; i < from->disk_count; i++)
        describe_disk(&from->disks[i], &machine->disks[i]);
    return machine;
}

static int
op_get(struct hv *hv, const char *uuid, struct hv_machine **ret,
       struct error *err)
{
    struct fake_call call;
    struct hv_machine *machine;

    if (fake_begin(hv, "get", uuid, &call, err) < 0)
        return -1;
    machine = describe(&call.machine);
    if (fake_end(&call, 0, err) < 0) {
        hv_machine_free(machine);
        return -1;
    }
    *ret = machine;
    return 0;
}

static int
list(const char *directory, struct hv_machine_list *ret, struct error *err)
{
    struct fake_paths uuids = VEC_INIT;
    int result = fake_list(directory, &uuids, err);

    for (size_t i = 0; result == 0 && i < uuids.count; i++) {
        struct fake_machine machine;

        result = fake_load(directory, uuids.items[i], &machine, err);
        if (result == 0) {
            vec_push(ret, describe(&machine));
            fake_machine_release(&machine);
        } else if (err->code == ERROR_NOT_FOUND) {
            error_clear(err); /* removed meanwhile */
            result = 0;
        }
    }
    fake_paths_clear(&uuids);
    return result;
}

static int
op_list(struct hv *hv, struct hv_machine_list *ret, struct error *err)
{
    struct fake_call call;
    int result;

    if (fake_enter(hv, "list", &call, err) < 0)
        return -1;
    result = fake_end(&call, list(call.fake->directory, ret, err), err);
    if (result < 0)
        hv_machine_list_release(ret);
    return result;
}

/* `xml` with the sources of today. */
static int
update_xml(const struct fake_machine *machine, const char *xml, char **ret_xml,
           struct error *err)
{
    AUTO_FREE struct hv_disk_change *changes =
        xcalloc(machine->disk_count + 1, sizeof(*changes));
    size_t count = 0;

    for (size_t i = 0; i < machine->disk_count; i++)
        if (machine->disks[i].inactive != NULL)
            changes[count++] = (struct hv_disk_change){
                machine->disks[i].target, machine->disks[i].inactive,
                machine->disks[i].format};
    return domain_xml_set_disks(xml, changes, count, ret_xml, err);
}

/* As libvirt would print it. */
char *
fake_print_xml(const struct fake_machine *machine)
{
    static const char *const devices[] = {"disk", "cdrom", "floppy", "lun"};
    struct strbuf xml = STRBUF_INIT;

    strbuf_addf(&xml,
                "<domain type='kvm'>\n"
                "  <name>%s</name>\n"
                "  <uuid>%s</uuid>\n"
                "  <memory unit='KiB'>131072</memory>\n"
                "  <vcpu>1</vcpu>\n"
                "  <os><type arch='x86_64' machine='q35'>hvm</type></os>\n"
                "  <devices>\n",
                machine->name, machine->uuid);
    for (size_t i = 0; i < machine->disk_count; i++) {
        const struct fake_disk *disk = &machine->disks[i];

        strbuf_addf(&xml,
                    "    <disk type='file' device='%s'>\n"
                    "      <driver name='qemu' type='%s'/>\n",
                    devices[disk->device], disk->format);
        if (disk->inactive != NULL)
            strbuf_addf(&xml, "      <source file='%s'/>\n", disk->inactive);
        strbuf_addf(&xml, "      <target dev='%s' bus='virtio'/>\n%s",
                    disk->target, disk->readonly ? "      <readonly/>\n" : "");
        strbuf_adds(&xml, "    </disk>\n");
    }
    if (machine->agent_channel)
        strbuf_adds(&xml, "    <channel type='unix'><target type='virtio' "
                          "name='org.qemu.guest_agent.0'/></channel>\n");
    strbuf_adds(&xml, "  </devices>\n</domain>\n");
    return strbuf_take(&xml);
}

static int
op_xml(struct hv *hv, const char *uuid, char **ret, struct error *err)
{
    struct fake_call call;
    AUTO_FREE char *old = NULL;
    AUTO_FREE char *xml = NULL;
    int result;

    if (fake_begin(hv, "xml", uuid, &call, err) < 0)
        return -1;
    old = call.machine.xml != NULL ? xstrdup(call.machine.xml)
                                   : fake_print_xml(&call.machine);
    result = update_xml(&call.machine, old, &xml, err);
    if (fake_end(&call, result, err) < 0)
        return -1;
    *ret = steal(&xml);
    return 0;
}

static int
op_facts(struct hv *hv, struct hv_facts *ret, struct error *err)
{
    struct fake_call call;

    if (fake_enter(hv, "facts", &call, err) < 0)
        return -1;
    (void)snprintf(ret->kind, sizeof(ret->kind), "Fake");
    (void)snprintf(ret->hostname, sizeof(ret->hostname), "fake-host");
    (void)snprintf(ret->libvirt_version, sizeof(ret->libvirt_version), "0.0.0");
    (void)snprintf(ret->qemu_version, sizeof(ret->qemu_version), "0.0.0");
    (void)snprintf(ret->uri, sizeof(ret->uri), "fake://%s",
                   call.fake->directory);
    return fake_end(&call, 0, err);
}

static int
view(struct fake_machine *machine, const char *target, struct hv_disk_view *ret,
     struct error *err)
{
    const struct fake_disk *disk = fake_find_disk(machine, target, err);

    if (disk == NULL)
        return -1;
    ret->qemu_chain = xcalloc(disk->qemu.count + 1, sizeof(char *));
    for (size_t i = 0; i < disk->qemu.count; i++)
        ret->qemu_chain[ret->qemu_count++] = xstrdup(disk->qemu.items[i]);
    ret->live_top = xstrdup_null(disk->live);
    ret->inactive_top = xstrdup_null(disk->inactive);
    return 0;
}

static int
op_view(struct hv *hv, const char *uuid, const char *target,
        struct hv_disk_view *ret, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "view", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, view(&call.machine, target, ret, err), err);
}

static int
look(struct fake_machine *machine, const char *const *targets, size_t count,
     struct hv_look *ret, struct error *err)
{
    struct hv_machine *described = describe(machine);

    if (hv_look_at(ret, &described, targets, count, err) < 0)
        return -1;
    for (size_t i = 0; i < ret->machine->disk_count; i++) {
        const struct hv_disk *disk = &ret->machine->disks[i];

        if (hv_look_wants(disk, targets, count) &&
            view(machine, disk->target, &ret->views[i], err) < 0)
            return -1;
    }
    return 0;
}

/* To a script it is a view like any other. */
static int
op_look(struct hv *hv, const char *uuid, const char *const *targets,
        size_t count, struct hv_look *ret, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "view", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, look(&call.machine, targets, count, ret, err), err);
}

/* -- definition ------------------------------------------------------------ */

/* A disk as the XML has it; one that runs keeps what it has open. */
static void
define_disk(const struct hv_disk *from, struct fake_machine *old,
            struct fake_disk *disk)
{
    disk->target = xstrdup(from->target);
    disk->format = xstrdup(from->format);
    disk->device = from->device;
    disk->readonly = from->readonly;
    disk->inactive = xstrdup_null(from->source);
    for (size_t i = 0; i < old->disk_count; i++) {
        struct fake_disk *before = &old->disks[i];

        if (strcmp(before->target, disk->target) != 0)
            continue;
        disk->live = steal(&before->live);
        disk->qemu = before->qemu;
        disk->job = before->job;
        before->qemu = (struct fake_paths)VEC_INIT;
        before->job = (struct fake_job){.exists = false};
    }
}

static int
define(struct fake *fake, const struct hv_machine *from, const char *xml,
       struct error *err)
{
    struct fake_machine old = {.agent_connected = true};
    struct fake_machine machine;
    AUTO_CLOSE int lock_fd = fake_lock(fake->directory, from->uuid, err);
    int result;

    if (lock_fd < 0)
        return -1;
    if (fake_load(fake->directory, from->uuid, &old, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    machine = (struct fake_machine){
        .name = xstrdup(from->name),
        .xml = xstrdup(xml),
        .state = old.state,
        .agent_channel = from->has_agent_channel,
        .agent_connected = old.agent_connected,
        .frozen = old.frozen,
        .boots = old.boots,
        .memory = old.memory,
        .disks = xcalloc(from->disk_count + 1, sizeof(struct fake_disk)),
        .disk_count = from->disk_count,
    };
    (void)snprintf(machine.uuid, sizeof(machine.uuid), "%s", from->uuid);
    for (size_t i = 0; i < from->disk_count; i++)
        define_disk(&from->disks[i], &old, &machine.disks[i]);
    result = fake_save(fake->directory, &machine, err);
    if (result == 0)
        fake_emit(fake, HV_EVENT_DEFINED, machine.uuid, machine.state);
    fake_machine_release(&machine);
    fake_machine_release(&old);
    return result;
}

static int
op_define_xml(struct hv *hv, const char *xml, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct fake_call call;

    if (fake_enter(hv, "define_xml", &call, err) < 0 ||
        domain_xml_parse(xml, &machine, err) < 0)
        return -1;
    return fake_end(&call, define(call.fake, machine, xml, err), err);
}

static int
op_undefine(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake *fake = fake_of(hv);
    struct fake_call call;
    int result = 0;

    if (fake_begin(hv, "undefine", uuid, &call, err) < 0)
        return -1;
    if (call.machine.state != HV_STOPPED)
        result = error_set(err, ERROR_CONFLICT, "machine '%s' runs",
                           call.machine.name);
    else
        result = fake_forget(fake->directory, uuid, err);
    if (result == 0)
        fake_emit(fake, HV_EVENT_DEFINED, uuid, HV_STOPPED);
    return fake_end(&call, result, err);
}

/* -- what tests do --------------------------------------------------------- */

int
hv_fake_add_machine(struct hv *hv, const char *uuid, const char *name,
                    const struct hv_fake_disk *disks, size_t count,
                    struct error *err)
{
    struct fake *fake = fake_of(hv);
    struct fake_machine machine = {
        .name = xstrdup(name),
        .state = HV_STOPPED,
        .agent_channel = true,
        .agent_connected = true,
        .disks = xcalloc(count + 1, sizeof(struct fake_disk)),
        .disk_count = count,
    };
    int result;

    (void)snprintf(machine.uuid, sizeof(machine.uuid), "%s", uuid);
    for (size_t i = 0; i < count; i++) {
        struct fake_disk *disk = &machine.disks[i];

        disk->target = xstrdup(disks[i].target);
        disk->format =
            xstrdup(disks[i].format != NULL ? disks[i].format : "qcow2");
        disk->device = disks[i].device;
        disk->readonly = disks[i].readonly;
        disk->inactive = xstrdup_null(disks[i].path);
    }
    result = fake_save(fake->directory, &machine, err);
    fake_machine_release(&machine);
    if (result == 0)
        fake_emit(fake, HV_EVENT_DEFINED, uuid, HV_STOPPED);
    return result;
}

int
hv_fake_remove_machine(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake *fake = fake_of(hv);

    if (fake_forget(fake->directory, uuid, err) < 0)
        return -1;
    fake_emit(fake, HV_EVENT_DEFINED, uuid, HV_STOPPED);
    return 0;
}

int
hv_fake_set_agent(struct hv *hv, const char *uuid, bool channel, bool connected,
                  struct error *err)
{
    struct fake_call call;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    call.machine.agent_channel = channel;
    call.machine.agent_connected = connected;
    return fake_end(&call, fake_store(&call, err), err);
}

static int
set_view(struct fake_call *call, const char *target, const char *live_top,
         const char *inactive_top, struct error *err)
{
    struct fake_disk *disk = fake_find_disk(&call->machine, target, err);

    if (disk == NULL)
        return -1;
    if (live_top != NULL) {
        free(disk->live);
        disk->live = xstrdup(live_top);
    }
    if (inactive_top != NULL) {
        free(disk->inactive);
        disk->inactive = xstrdup(inactive_top);
    }
    return fake_store(call, err);
}

int
hv_fake_set_view(struct hv *hv, const char *uuid, const char *target,
                 const char *live_top, const char *inactive_top,
                 struct error *err)
{
    struct fake_call call;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, set_view(&call, target, live_top, inactive_top, err),
                    err);
}

int
hv_fake_view(struct hv *hv, const char *uuid, const char *target,
             struct hv_disk_view *ret, struct error *err)
{
    struct fake_call call;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, view(&call.machine, target, ret, err), err);
}

static int
guest_write(struct fake_call *call, const char *target, const void *buffer,
            uint64_t offset, size_t length, struct error *err)
{
    struct fake_machine *machine = &call->machine;
    struct fake_disk *disk = fake_find_disk(machine, target, err);

    if (disk == NULL)
        return -1;
    if (machine->state != HV_RUNNING)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (machine->frozen)
        return error_set(err, ERROR_BUSY, "machine '%s' is frozen",
                         machine->name);
    if (fake_image_write(call->fake, &disk->qemu, buffer, offset, length, err) <
        0)
        return -1;
    machine->memory++;
    if (disk->job.exists && disk->job.active)
        disk->job.dirty = true;
    return fake_store(call, err);
}

int
hv_fake_guest_write(struct hv *hv, const char *uuid, const char *target,
                    const void *buffer, uint64_t offset, size_t length,
                    struct error *err)
{
    struct fake_call call;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    return fake_end(
        &call, guest_write(&call, target, buffer, offset, length, err), err);
}

/* -- settings -------------------------------------------------------------- */

void
hv_fake_set_writer(struct hv *hv, hv_fake_writer *writer)
{
    fake_of(hv)->writer = writer;
}

void
hv_fake_set_committer(struct hv *hv, hv_fake_committer *committer)
{
    fake_of(hv)->committer = committer;
}

void
hv_fake_set_resizer(struct hv *hv, hv_fake_resizer *resizer)
{
    fake_of(hv)->resizer = resizer;
}

void
hv_fake_set_rebaser(struct hv *hv, hv_fake_rebaser *rebaser)
{
    fake_of(hv)->rebaser = rebaser;
}

void
hv_fake_set_hold_directory(struct hv *hv, const char *directory)
{
    struct fake *fake = fake_of(hv);

    free(fake->hold_directory);
    fake->hold_directory = xstrdup_null(directory);
}

static void
set_connected(struct hv *hv, bool connected)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    fake->disconnected = !connected;
    lock_give(&fake->lock);
    fake_emit(fake, connected ? HV_EVENT_CONNECTED : HV_EVENT_DISCONNECTED, "",
              HV_STOPPED);
}

void
hv_fake_disconnect(struct hv *hv)
{
    set_connected(hv, false);
}

void
hv_fake_reconnect(struct hv *hv)
{
    set_connected(hv, true);
}

/* -- life ------------------------------------------------------------------ */

static void
op_watch(struct hv *hv)
{
    fake_events_init(fake_of(hv));
}

static void
op_free(struct hv *hv)
{
    struct fake *fake = fake_of(hv);

    fake_events_release(fake);
    signal_release(&fake->wake);
    lock_release(&fake->lock);
    free(fake->hold_directory);
    free(fake->directory);
    free(fake);
}

static const struct hv_kind kind = {
    .name = "Fake",
    .watch = op_watch,
    .free = op_free,
    .list = op_list,
    .get = op_get,
    .xml = op_xml,
    .facts = op_facts,
    .view = op_view,
    .look = op_look,
    .start = fake_op_start,
    .shutdown = fake_op_shutdown,
    .destroy = fake_op_destroy,
    .reboot = fake_op_reboot,
    .snapshot = fake_op_snapshot,
    .snapshot_memory = fake_op_snapshot_memory,
    .check_memory = fake_op_check_memory,
    .restore_memory = fake_op_restore_memory,
    .define_disks = fake_op_define_disks,
    .define_xml = op_define_xml,
    .undefine = op_undefine,
    .commit_start = fake_op_commit_start,
    .job_query = fake_op_job_query,
    .job_wait = fake_op_job_wait,
    .pivot = fake_op_pivot,
    .job_abort = fake_op_job_abort,
    .job_set_speed = fake_op_job_set_speed,
    .limits = fake_op_limits,
    .limits_lower = fake_op_limits_lower,
    .limits_restore = fake_op_limits_restore,
    .resize = fake_op_resize,
    .attach_disk = fake_op_attach_disk,
    .detach_disk = fake_op_detach_disk,
    .set_compute = fake_op_set_compute,
    .freeze = fake_op_freeze,
    .thaw = fake_op_thaw,
    .is_frozen = fake_op_is_frozen,
};

struct hv *
hv_fake_open(const char *directory, struct error *err)
{
    struct fake *fake;
    AUTO_FREE char *absolute = NULL;

    if (fd_make_directories(directory, 0700, err) < 0)
        return NULL;
    absolute = realpath(directory, NULL);
    if (absolute == NULL) {
        (void)error_set(err, ERROR_NOT_FOUND, "no directory '%s'", directory);
        return NULL;
    }
    fake = xcalloc(1, sizeof(*fake));
    fake->hv.kind = &kind;
    fake->directory = steal(&absolute);
    lock_init(&fake->lock);
    signal_init(&fake->wake);
    return &fake->hv;
}
