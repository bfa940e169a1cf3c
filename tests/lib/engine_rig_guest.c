/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "hv/fake/hv_fake.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- who touches the images ------------------------------------------------ */

static void
to_refs(const struct hv_fake_layer *layers, size_t count,
        struct image_ref *refs)
{
    for (size_t i = 0; i < count; i++)
        refs[i] = (struct image_ref){.path = layers[i].path,
                                     .format = layers[i].raw ? IMAGE_RAW
                                                             : IMAGE_QCOW2};
}

static int
write_layer(const struct hv_fake_layer *layers, size_t count,
            const void *buffer, uint64_t offset, size_t length,
            struct error *err)
{
    AUTO_FREE struct image_ref *refs = xcalloc(count, sizeof(*refs));

    to_refs(layers, count, refs);
    return commit_write(refs, count, buffer, offset, length, err);
}

/* The chain below `base` is what its own headers say: we wrote them. */
static int
commit_into(const struct hv_fake_layer *top, const struct hv_fake_layer *base,
            struct error *err)
{
    enum commit_refusal refusal;
    struct image_ref refs[64];
    char *owned[64] = {NULL};
    size_t count = 2;
    int result;

    refs[0] = (struct image_ref){.path = top->path, .format = IMAGE_QCOW2};
    refs[1] = (struct image_ref){.path = base->path,
                                 .format = base->raw ? IMAGE_RAW : IMAGE_QCOW2};
    while (refs[count - 1].format == IMAGE_QCOW2 && count < 64) {
        AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));

        if (qcow2_read_info(refs[count - 1].path, info, err) < 0)
            return -1;
        if (!info->has_backing)
            break;
        owned[count] =
            path_resolve_backing(refs[count - 1].path, info->backing_name);
        refs[count] = (struct image_ref){
            .path = owned[count],
            .format = strcmp(info->backing_format, "raw") == 0 ? IMAGE_RAW
                                                               : IMAGE_QCOW2};
        count++;
    }
    result = commit_layer(refs, count, NULL, &refusal, err);
    for (size_t i = 0; i < 64; i++)
        free(owned[i]);
    return result;
}

static int
rebase(const char *path, const struct hv_fake_layer *base, struct error *err)
{
    return qcow2_rebase_unsafe(path, base->path,
                               base->raw ? IMAGE_RAW : IMAGE_QCOW2, err);
}

static int
resize(const struct hv_fake_layer *layers, size_t count, uint64_t bytes,
       struct error *err)
{
    AUTO_FREE struct image_ref *refs = xcalloc(count, sizeof(*refs));

    to_refs(layers, count, refs);
    return commit_resize(refs, count, bytes, err);
}

void
rig_attach_images(struct hv *hv)
{
    hv_fake_set_writer(hv, write_layer);
    hv_fake_set_committer(hv, commit_into);
    hv_fake_set_rebaser(hv, rebase);
    hv_fake_set_resizer(hv, resize);
}

/* -- the guest ----------------------------------------------------------- */

char *
rig_nvram_path(const struct rig *rig)
{
    return xasprintf("%s/work/nvram.fd", rig->directory);
}

/* What the guest did in its memory and to its variables. */
static int
follow_guest(struct rig *rig, bool writes, struct error *err)
{
    AUTO_FREE char *path = rig_nvram_path(rig);

    if (hv_fake_memory(rig->hv, rig->vm, &rig->now.memory, err) < 0)
        return -1;
    if (!writes || rig->now.nvram == 0)
        return 0;
    rig->now.nvram++;
    return fd_replace_file(path, &rig->now.nvram, sizeof(rig->now.nvram), 0600,
                           err);
}

void
rig_add_nvram(struct rig *rig)
{
    AUTO_FREE char *path = rig_nvram_path(rig);
    AUTO_FREE char *old = NULL;
    AUTO_FREE char *xml = NULL;
    struct error err = ERROR_INIT;
    const char *end;

    rig->now.nvram = 1;
    rig_must(follow_guest(rig, true, &err), &err, "variables");
    rig_must(hv_xml(rig->hv, rig->vm, &old, &err), &err, "xml");
    end = strstr(old, "</os>");
    xml =
        xasprintf("%.*s<nvram>%s</nvram>%s", (int)(end - old), old, path, end);
    rig_must(hv_define_xml(rig->hv, xml, &err), &err, "define");
}

bool
rig_is_running(struct rig *rig)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    if (hv_get(rig->hv, rig->vm, &machine, &err) == 0)
        return machine->state != HV_STOPPED;
    /* With others about the hypervisor may just be away. */
    rig_must(rig->workers > 0 ? 0 : -1, &err, "get");
    return false;
}

int
rig_try_power(struct rig *rig, bool on, struct error *err)
{
    if (hv_fake_power(rig->hv, rig->vm, on ? HV_RUNNING : HV_STOPPED, err) < 0)
        return -1;
    return follow_guest(rig, false, err);
}

void
rig_power(struct rig *rig, bool on)
{
    struct error err = ERROR_INIT;

    rig_must(rig_try_power(rig, on, &err), &err, "power");
    rig_must(engine_refresh(rig->engine, rig->vm, &err), &err, "refresh");
}

int
rig_try_guest_write(struct rig *rig, struct error *err)
{
    static const char *const targets[] = {"vda", "vdb", "vdc"};
    size_t volume = rig_random(rig, rig->volumes);
    uint64_t size = rig->now.sizes[volume];
    size_t length = 1 + rig_random(rig, 150000);
    uint64_t offset = rig_random(rig, size);
    AUTO_FREE uint8_t *buffer = NULL;
    bool zeros = rig_random(rig, 5) == 0;

    length = MIN(length, (size_t)(size - offset));
    buffer = xcalloc(1, length);
    for (size_t i = 0; !zeros && i < length; i++)
        buffer[i] = (uint8_t)rig_random(rig, 256);
    if (hv_fake_guest_write(rig->hv, rig->vm, targets[volume], buffer, offset,
                            length, err) < 0)
        return -1;
    memcpy(rig->now.disks[volume] + offset, buffer, length);
    return follow_guest(rig, true, err);
}

void
rig_guest_write(struct rig *rig)
{
    struct error err = ERROR_INIT;

    rig_must(rig_try_guest_write(rig, &err), &err, "guest write");
}

void
rig_resize(struct rig *rig, size_t volume, uint64_t size)
{
    AUTO_TREE struct tree *tree = NULL;
    struct error err = ERROR_INIT;
    struct image_ref *refs;
    size_t count;
    struct tree_volume *v;

    rig_must(tree_read(rig->state, rig_vm_id(rig), &tree, &err), &err, "tree");
    v = &tree->volumes[volume];
    if (v->row.layer_id == 0)
        return; /* not taken over yet */
    refs = tree_refs(v, v->row.layer_id, &count);
    rig_must(commit_resize(refs, count, size, &err), &err, "resize");
    free(refs);
    rig->now.disks[volume] = xrealloc(rig->now.disks[volume], size);
    if (size > rig->now.sizes[volume])
        memset(rig->now.disks[volume] + rig->now.sizes[volume], 0,
               size - rig->now.sizes[volume]);
    rig->now.sizes[volume] = size;
}
