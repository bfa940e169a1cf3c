/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU itself has open.  Libvirt keeps its own idea of a disk's chain,
 * which is wrong after libvirtd died at the wrong moment; QEMU's monitor is
 * the one witness.  query-block walks the graph of open nodes:
 *
 *     {"qdev": "/machine/peripheral/virtio-disk0/virtio-backend",
 *      "inserted": {"file": "<top>", "image": {"filename": "<top>",
 *        "backing-image": {"filename": "<below>", "backing-image": ...}}}}
 *
 * The disk is found by its alias, which is one component of qdev.  A file
 * name is plain, or "json:{...}" where a node was opened with options that a
 * name cannot say; then the name stands in the innermost "filename".  Filters
 * (copy-on-read) bear the name of the file below them, which is counted once.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/memory.h"

#include <jansson.h>
#include <libvirt/libvirt-qemu.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX 1024
#define NESTING_MAX 16

static void
json_cleanup(json_t **value)
{
    json_decref(*value);
}
#define AUTO_JSON CLEANUP(json_cleanup)

/* True when `part` is one component of the path `text`. */
static bool
has_component(const char *text, const char *part)
{
    size_t length = strlen(part);

    while (text != NULL) {
        if (strncmp(text, part, length) == 0 &&
            (text[length] == '/' || text[length] == '\0'))
            return true;
        text = strchr(text, '/');
        if (text != NULL)
            text++;
    }
    return false;
}

/* The file behind a node's name; NULL when it is not a file. */
static char *
plain_name(const char *name)
{
    AUTO_JSON json_t *options = NULL;
    const json_t *at;

    if (strncmp(name, "json:", 5) != 0)
        return name[0] == '/' ? xstrdup(name) : NULL;
    options = json_loads(name + 5, 0, NULL);
    at = options;
    for (unsigned i = 0; i < NESTING_MAX && json_is_object(at); i++) {
        const char *file = json_string_value(json_object_get(at, "filename"));

        if (file != NULL)
            return file[0] == '/' ? xstrdup(file) : NULL;
        at = json_object_get(at, "file");
    }
    return NULL;
}

static int
add_image(const json_t *image, struct hv_disk_view *view, struct error *err)
{
    const char *name = json_string_value(json_object_get(image, "filename"));
    AUTO_FREE char *file = name != NULL ? plain_name(name) : NULL;
    size_t count = view->qemu_count;

    if (file == NULL)
        return error_set(err, ERROR_UNSUPPORTED,
                         "QEMU has '%s' in a chain, which is not a file",
                         name != NULL ? name : "(nothing)");
    if (count > 0 && strcmp(view->qemu_chain[count - 1], file) == 0)
        return 0;
    if (count == CHAIN_MAX)
        return error_set(err, ERROR_UNSUPPORTED,
                         "a chain of more than %d files", CHAIN_MAX);
    view->qemu_chain = xrealloc(view->qemu_chain, (count + 1) * sizeof(char *));
    view->qemu_chain[view->qemu_count++] = steal(&file);
    return 0;
}

static int
read_chain(const json_t *device, struct hv_disk_view *view, struct error *err)
{
    const json_t *inserted = json_object_get(device, "inserted");
    const json_t *image = json_object_get(inserted, "image");

    while (image != NULL) {
        if (add_image(image, view, err) < 0)
            return -1;
        image = json_object_get(image, "backing-image");
    }
    return 0;
}

int
lv_view_parse(const char *text, const char *alias, struct hv_disk_view *view,
              struct error *err)
{
    AUTO_JSON json_t *reply = json_loads(text, 0, NULL);
    const json_t *devices = json_object_get(reply, "return");

    if (!json_is_array(devices))
        return error_set(err, ERROR_IO, "QEMU does not answer query-block");
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *device = json_array_get(devices, i);
        const char *qdev = json_string_value(json_object_get(device, "qdev"));

        if (qdev != NULL && has_component(qdev, alias))
            return read_chain(device, view, err);
    }
    return error_set(err, ERROR_IO, "QEMU knows no device '%s'", alias);
}

/* QEMU's answer to query-block; NULL with *err set. */
static char *
ask_qemu(const struct lv_call *call, struct error *err)
{
    char *text = NULL;

    if (virDomainQemuMonitorCommand(
            call->domain, "{\"execute\":\"query-block\"}", &text,
            VIR_DOMAIN_QEMU_MONITOR_COMMAND_DEFAULT) == 0)
        return text;
    (void)lv_fail(err, "ask QEMU of machine '%s' for its disks", call->name);
    return NULL;
}

int
lv_qemu_chain(const struct lv_call *call, const char *alias,
              struct hv_disk_view *ret_view, struct error *err)
{
    AUTO_FREE char *text = ask_qemu(call, err);

    return text != NULL ? lv_view_parse(text, alias, ret_view, err) : -1;
}

/* -- all views --------------------------------------------------------------
 */

static int
see_inactive(const struct lv_call *call, struct hv_look *look,
             const char *const *targets, size_t count, struct error *err)
{
    AUTO_FREE char *xml = lv_inactive_xml(call, err);
    AUTO_HV_MACHINE struct hv_machine *inactive = NULL;

    if (xml == NULL || domain_xml_parse(xml, &inactive, err) < 0)
        return -1;
    for (size_t i = 0; i < look->machine->disk_count; i++) {
        const struct hv_disk *disk = &look->machine->disks[i];
        const struct hv_disk *there =
            hv_machine_find_disk(inactive, disk->target);

        if (there != NULL && hv_look_wants(disk, targets, count))
            look->views[i].inactive_top = xstrdup_null(there->source);
    }
    return 0;
}

static int
see_live(const struct lv_call *call, struct hv_look *look,
         const char *const *targets, size_t count, struct error *err)
{
    AUTO_FREE char *text = NULL;

    for (size_t i = 0; i < look->machine->disk_count; i++) {
        const struct hv_disk *disk = &look->machine->disks[i];

        if (disk->source == NULL || !hv_look_wants(disk, targets, count))
            continue;
        look->views[i].live_top = xstrdup(disk->source);
        if (disk->alias == NULL)
            return error_set(err, ERROR_UNSUPPORTED, "disk '%s' has no alias",
                             disk->target);
        if (text == NULL)
            text = ask_qemu(call, err);
        if (text == NULL)
            return -1;
        if (lv_view_parse(text, disk->alias, &look->views[i], err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
    }
    return 0;
}

static int
look(const struct lv_call *call, const char *const *targets, size_t count,
     struct hv_look *ret, struct error *err)
{
    struct hv_machine *machine = NULL;

    if (lv_machine(call, &machine, err) < 0 ||
        hv_look_at(ret, &machine, targets, count, err) < 0 ||
        (ret->machine->persistent &&
         see_inactive(call, ret, targets, count, err) < 0))
        return -1;
    return ret->machine->state == HV_STOPPED
               ? 0
               : see_live(call, ret, targets, count, err);
}

int
lv_op_look(struct hv *hv, const char *uuid, const char *const *targets,
           size_t count, struct hv_look *ret, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, look(&call, targets, count, ret, err), err);
}

int
lv_op_view(struct hv *hv, const char *uuid, const char *target,
           struct hv_disk_view *ret, struct error *err)
{
    AUTO_HV_LOOK struct hv_look whole = {.machine = NULL};
    const struct hv_disk *disk;

    if (lv_op_look(hv, uuid, &target, 1, &whole, err) < 0)
        return -1;
    disk = hv_machine_find_disk(whole.machine, target);
    *ret = whole.views[disk - whole.machine->disks];
    whole.views[disk - whole.machine->disks] =
        (struct hv_disk_view){.qemu_chain = NULL};
    return 0;
}
