/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/views.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/hold.h"
#include "image/imagelock.h"
#include "image/qcow2.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool
views_same_file(const char *a, const char *b)
{
    struct stat one;
    struct stat two;

    if (strcmp(a, b) == 0)
        return true;
    return stat(a, &one) == 0 && stat(b, &two) == 0 &&
           one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

static int
disagree(const struct tree *tree, const struct tree_volume *volume,
         const char *who, const char *seen, const char *expected,
         struct error *err)
{
    return error_set(
        err, ERROR_CONFLICT,
        "machine '%s' disk '%s': %s has '%s' where varve recorded '%s'; if a "
        "snapshot was made by other means, merge it there (virsh blockcommit "
        "%s %s --active --pivot) or revert to '%s', then try again",
        tree->vm.name, volume->row.target, who, seen, expected, tree->vm.name,
        volume->row.target, expected);
}

/* QEMU's own chain must be ours, as far down as ours reaches. */
static int
check_qemu(struct tree *tree, struct tree_volume *volume,
           const struct hv_disk_view *view, struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(volume, volume->row.layer_id, &count);

    for (size_t i = 0; i < count && i < view->qemu_count; i++) {
        if (!views_same_file(view->qemu_chain[i], refs[i].path))
            return disagree(tree, volume, "QEMU", view->qemu_chain[i],
                            refs[i].path, err);
    }
    if (view->qemu_count != count)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' disk '%s': QEMU's chain has %zu files "
                         "where varve recorded %zu",
                         tree->vm.name, volume->row.target, view->qemu_count,
                         count);
    if (view->live_top != NULL && count > 0 &&
        !views_same_file(view->live_top, refs[0].path))
        return error_set(
            err, ERROR_CONFLICT,
            "machine '%s' disk '%s': QEMU writes to '%s' and libvirt believes "
            "'%s' (it died in the middle of a switch); stop the machine and "
            "start it again, nothing can be changed before that",
            tree->vm.name, volume->row.target, refs[0].path, view->live_top);
    return 0;
}

/* The headers' backing names must lead along our record. */
static int
check_headers(struct tree *tree, struct tree_volume *volume, struct error *err)
{
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(volume, volume->row.layer_id, &count);

    for (size_t i = 0; i < count; i++) {
        AUTO_FREE struct qcow2_info *info = NULL;
        AUTO_FREE char *below = NULL;
        const char *expected = i + 1 < count ? refs[i + 1].path : NULL;

        if (refs[i].format == IMAGE_RAW)
            continue;
        assert(refs[i].path != NULL); /* every layer has one */
        info = xcalloc(1, sizeof(*info));
        if (qcow2_read_info(refs[i].path, info, err) < 0)
            return error_prefix(err, "machine '%s' disk '%s'", tree->vm.name,
                                volume->row.target);
        if (info->has_backing)
            below = path_resolve_backing(refs[i].path, info->backing_name);
        if (below == NULL || expected == NULL
                ? below != expected
                : !views_same_file(below, expected))
            return disagree(tree, volume, "the image", refs[i].path,
                            expected != NULL ? expected : "no backing file",
                            err);
    }
    return 0;
}

/* Bring an inactive definition that lags behind up to date. */
static int
mend_inactive(struct engine *engine, struct tree *tree,
              struct tree_volume *volume, const struct state_layer *active,
              struct error *err)
{
    const struct hv_disk_change change = {.target = volume->row.target,
                                          .path = active->path,
                                          .format = active->format};
    bool was_held = hold_is_set(engine->hold_dir, tree->vm.uuid);

    if (!was_held &&
        hold_set(engine->hold_dir, tree->vm.uuid,
                 "varve: the definition is being brought up to date", err) < 0)
        return -1;
    if (hv_define_disks(engine->hv, tree->vm.uuid, &change, 1, err) < 0)
        return -1;
    log_warning("definition-mended", "vm=%s disk=%s path='%s'", tree->vm.name,
                volume->row.target, active->path);
    return was_held ? 0 : hold_clear(engine->hold_dir, tree->vm.uuid, err);
}

static int
check_volume(struct engine *engine, struct tree *tree,
             struct tree_volume *volume, const struct hv_look *look,
             struct error *err)
{
    const struct hv_disk_view *view = hv_look_find(look, volume->row.target);
    const struct state_layer *active =
        tree_find_layer(volume, volume->row.layer_id);
    bool running = look->machine->state != HV_STOPPED;

    if (active == NULL || view == NULL)
        return 0; /* not taken over yet */
    if (running && check_qemu(tree, volume, view, err) < 0)
        return -1;
    if (view->inactive_top != NULL &&
        !views_same_file(view->inactive_top, active->path)) {
        if (!running)
            return disagree(tree, volume, "the definition", view->inactive_top,
                            active->path, err);
        if (mend_inactive(engine, tree, volume, active, err) < 0)
            return -1;
    }
    return check_headers(tree, volume, err);
}

int
views_check(struct engine *engine, struct tree *tree, struct hv_look *ret_look,
            struct error *err)
{
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    AUTO_FREE const char **targets = xcalloc(tree->count + 1, sizeof(*targets));
    size_t count = 0;

    for (size_t i = 0; i < tree->count; i++) {
        struct tree_volume *volume = &tree->volumes[i];

        if (tree_find_layer(volume, volume->row.layer_id) != NULL)
            targets[count++] = volume->row.target;
    }
    if (hv_look(engine->hv, tree->vm.uuid, targets, count, &look, err) < 0)
        return error_prefix(err, "machine '%s'", tree->vm.name);
    for (size_t i = 0; i < tree->count; i++) {
        if (check_volume(engine, tree, &tree->volumes[i], &look, err) < 0)
            return -1;
    }
    *ret_look = look;
    look = (struct hv_look){.machine = NULL};
    return 0;
}

static bool
names(const struct hv_disk_view *view, const char *path)
{
    for (size_t i = 0; i < view->qemu_count; i++) {
        if (views_same_file(view->qemu_chain[i], path))
            return true;
    }
    return (view->live_top != NULL && views_same_file(view->live_top, path)) ||
           (view->inactive_top != NULL &&
            views_same_file(view->inactive_top, path));
}

/* Has every disk that may use a file of ours been looked at? */
static bool
is_whole(const struct hv_look *look)
{
    for (size_t i = 0; i < look->machine->disk_count; i++) {
        const struct hv_disk_view *view = &look->views[i];

        if (hv_look_wants(&look->machine->disks[i], NULL, 0) &&
            view->live_top == NULL && view->inactive_top == NULL)
            return false;
    }
    return true;
}

static bool
shows(const struct hv_look *look, const char *path)
{
    for (size_t i = 0; i < look->machine->disk_count; i++) {
        if (names(&look->views[i], path))
            return true;
    }
    return false;
}

int
views_is_named(struct engine *engine, const char *vm_uuid,
               const struct hv_look *look, const char *path, struct error *err)
{
    AUTO_HV_LOOK struct hv_look own = {.machine = NULL};

    if (look == NULL || !is_whole(look)) {
        look = &own;
        if (hv_look(engine->hv, vm_uuid, NULL, 0, &own, err) < 0) {
            if (err->code != ERROR_NOT_FOUND)
                return -1;
            error_clear(err); /* undefined */
        }
    }
    return look->machine != NULL && shows(look, path);
}

int
views_is_used(struct engine *engine, const char *vm_uuid,
              const struct hv_look *look, const char *path, struct error *err)
{
    struct error ignored = ERROR_INIT;
    int used = views_is_named(engine, vm_uuid, look, path, err);

    if (used != 0)
        return used;
    used = imagelock_probe(path, IMAGELOCK_WRITE, &ignored);
    if (used < 0 && ignored.code != ERROR_NOT_FOUND) {
        *err = ignored;
        return -1;
    }
    return used > 0;
}
