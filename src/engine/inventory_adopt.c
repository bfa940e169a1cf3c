/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking disks over.  Backing names that we did not write are looked at with
 * care: only plain paths of regular files, only with the format told by the
 * header, never probed.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "engine/inventory.h"
#include "engine/operation.h"
#include "engine/views.h"
#include "image/qcow2.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHAIN_MAX 200

struct chain_file {
    char *path; /* owned */
    enum image_format format;
    uint64_t size;
};
struct chain VEC(struct chain_file);

static void
chain_release(struct chain *chain)
{
    vec_for (struct chain_file *, file, chain)
        free(file->path);
    vec_release(chain);
}

/* The next file below a qcow2: 1 and its name, 0 none, -1 refused. */
static int
read_backing(struct chain_file *file, char **ret_path,
             enum image_format *ret_format, struct error *err)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
    size_t scheme;

    if (qcow2_read_info(file->path, info, err) < 0)
        return -1;
    file->size = info->size;
    if (info->encrypted || info->data_file || info->snapshots > 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' has %s; varve does not keep such images",
                         file->path,
                         info->encrypted   ? "encryption"
                         : info->data_file ? "an external data file"
                                           : "internal snapshots");
    if (!info->has_backing)
        return 0;
    scheme = strcspn(info->backing_name, ":/");
    if (info->backing_name[scheme] == ':')
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' rests on '%.100s', which is no plain file",
                         file->path, info->backing_name);
    if (info->backing_format[0] == '\0')
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' does not say the format of its backing file; "
                         "stop the machine and run: qemu-img rebase -u -b "
                         "'%.200s' -F FORMAT",
                         file->path, info->backing_name);
    if (image_format_parse(info->backing_format, ret_format, err) < 0)
        return error_prefix(err, "backing file of '%s'", file->path);
    *ret_path = path_resolve_backing(file->path, info->backing_name);
    return 1;
}

static int
require_regular(const char *path, struct error *err)
{
    struct stat about;

    if (stat(path, &about) < 0)
        return error_set_errno(err, errno, "backing file '%s'", path);
    if (!S_ISREG(about.st_mode))
        return error_set(err, ERROR_UNSUPPORTED,
                         "'%s' is no regular file; varve keeps files only",
                         path);
    return 0;
}

static int
raw_size(const char *path, uint64_t *ret_size, struct error *err)
{
    struct stat about;

    if (stat(path, &about) < 0)
        return error_set_errno(err, errno, "image '%s'", path);
    *ret_size = (uint64_t)about.st_size;
    return 0;
}

/* All files of a disk, top first. */
static int
read_chain(const char *top, enum image_format format, struct chain *chain,
           struct error *err)
{
    AUTO_FREE char *path = xstrdup(top);

    while (path != NULL) {
        struct chain_file file = {.path = steal(&path), .format = format};
        int more = 0;

        vec_push(chain, file);
        if (chain->count > CHAIN_MAX)
            return error_set(err, ERROR_UNSUPPORTED,
                             "the chain of '%s' has more than %d files", top,
                             CHAIN_MAX);
        if (require_regular(file.path, err) < 0)
            return -1;
        if (format == IMAGE_QCOW2)
            more = read_backing(&chain->items[chain->count - 1], &path, &format,
                                err);
        else if (raw_size(file.path, &chain->items[chain->count - 1].size,
                          err) < 0)
            return -1;
        if (more < 0)
            return -1;
    }
    return 0;
}

/* Does the image `path` rest on `base`? */
static bool
rests_on(const char *path, const char *base)
{
    AUTO_FREE struct qcow2_info *info = xcalloc(1, sizeof(*info));
    AUTO_FREE char *below = NULL;
    struct error ignored = ERROR_INIT; /* not an image: rests on nothing */

    if (qcow2_read_info(path, info, &ignored) < 0 || !info->has_backing ||
        strchr(info->backing_name, ':') != NULL)
        return false;
    below = path_resolve_backing(path, info->backing_name);
    return views_same_file(below, base);
}

/* Is this file one of the volume's own layers? */
static int
is_layer(struct state_tx *tx, int64_t volume_id, const char *path,
         struct error *err)
{
    AUTO_STATE(layer) layer = {0};
    const struct state_where where[] = {STATE_TEXT("path", path),
                                        STATE_INT("volume_id", volume_id)};

    return state_layer_find(tx, where, 2, &layer, err);
}

/* Is it a file of ours that will be removed?  What it rests on may change. */
static int
is_going(struct state_tx *tx, const char *path, struct error *err)
{
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("kind", OPERATION_UNLINK)};
    int going = 0;

    if (state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; going == 0 && i < rows.count; i++) {
        json_t *payload = operation_payload(&rows.items[i], err);
        const char *names = json_string_value(json_object_get(payload, "path"));

        if (payload == NULL)
            going = -1;
        else
            going = names != NULL && strcmp(names, path) == 0;
        json_decref(payload);
    }
    return going;
}

/* An image beside `base` that rests on it and is not the volume's own: 1, 0,
 * -1. */
static int
has_dependant(struct state_tx *tx, int64_t volume_id, const char *base,
              struct error *err)
{
    AUTO_FREE char *directory = path_parent(base);
    DIR *entries = opendir(directory);
    int found = 0;

    if (entries == NULL)
        return error_set_errno(err, errno, "directory '%s'", directory);
    for (struct dirent *entry = readdir(entries); entry != NULL && found == 0;
         entry = readdir(entries)) {
        AUTO_FREE char *path = NULL;
        int ours;

        if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN)
            continue;
        path = path_join(directory, entry->d_name);
        if (strcmp(path, base) == 0 || !rests_on(path, base))
            continue;
        ours = is_layer(tx, volume_id, path, err);
        if (ours == 0)
            ours = is_going(tx, path, err);
        found = ours < 0 ? -1 : ours == 0;
    }
    (void)closedir(entries);
    return found;
}

static int
insert_layers(struct state_tx *tx, struct state_volume *volume,
              const struct chain *chain, bool top_is_foreign, struct error *err)
{
    int64_t below = 0;

    assert(chain->count > 0);
    for (size_t i = chain->count; i-- > 0;) {
        const struct chain_file *file = &chain->items[i];
        AUTO_STATE(layer)
        row = {.volume_id = volume->id,
               .parent_id = below,
               .size = (int64_t)file->size,
               .is_foreign = i > 0 || top_is_foreign,
               .created = clock_wall_ms()};
        struct uuid uuid;

        uuid_new(&uuid);
        state_set_text(&row.uuid, uuid.text);
        state_set_text(&row.path, file->path);
        state_set_text(&row.format, image_format_name(file->format));
        if (state_layer_insert(tx, &row, err) < 0)
            return -1;
        below = row.id;
    }
    volume->layer_id = below;
    volume->size = (int64_t)chain->items[0].size;
    return state_volume_update(tx, volume, err);
}

/* The files of a disk, if it is one that can be kept. */
static int
read_disk(const struct hv_disk *disk, struct chain *chain, struct error *err)
{
    enum image_format format;

    if (disk->network || disk->block || disk->source == NULL)
        return error_set(err, ERROR_UNSUPPORTED,
                         "disk '%s' is %s; varve keeps disks that are files",
                         disk->target,
                         disk->network ? "on the network"
                         : disk->block ? "a block device"
                                       : "empty");
    if (disk->format == NULL)
        return error_set(err, ERROR_UNSUPPORTED,
                         "disk '%s' has no format in its definition",
                         disk->target);
    if (image_format_parse(disk->format, &format, err) < 0 ||
        read_chain(disk->source, format, chain, err) < 0)
        return error_prefix(err, "disk '%s'", disk->target);
    return 0;
}

int
inventory_check_disk(const struct hv_disk *disk, struct error *err)
{
    CLEANUP(chain_release) struct chain chain = VEC_INIT;

    return read_disk(disk, &chain, err);
}

static int
adopt_volume(struct engine *engine, struct state_volume *volume,
             const struct hv_disk *disk, struct error *err)
{
    CLEANUP(chain_release) struct chain chain = VEC_INIT;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    int shared;

    if (read_disk(disk, &chain, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    shared = has_dependant(tx, volume->id, disk->source, err);
    if (shared < 0 || insert_layers(tx, volume, &chain, shared > 0, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* Is all of it taken over already? */
static bool
is_ours(const struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->volumes[i].row.layer_id == 0)
            return false;
    }
    return tree->vm.managed != 0;
}

int
inventory_adopt(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) vm = {0};

    if (tree_read(engine->state, vm_id, &tree, err) < 0)
        return -1;
    if (is_ours(tree))
        return 0;
    if (hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        struct state_volume *volume = &tree->volumes[i].row;
        const struct hv_disk *disk =
            hv_machine_find_disk(machine, volume->target);

        if (volume->layer_id != 0)
            continue;
        if (disk == NULL)
            return error_set(err, ERROR_CONFLICT,
                             "machine '%s' has no disk '%s' any more",
                             tree->vm.name, volume->target);
        if (adopt_volume(engine, volume, disk, err) < 0)
            return error_prefix(err, "machine '%s'", tree->vm.name);
    }
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    if (vm.managed != 0)
        return 0;
    vm.managed = 1;
    if (state_vm_update(tx, &vm, err) < 0 || state_commit(tx, err) < 0)
        return -1;
    log_info("machine-adopted", "vm=%s disks=%zu", vm.name, tree->count);
    return 0;
}

int
inventory_has_dependant(struct engine *engine, const char *path,
                        struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx == NULL ? -1 : has_dependant(tx, 0, path, err);
}

int
inventory_guard(struct engine *engine, int64_t layer_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(layer) layer = {0};
    int shared;

    if (tx == NULL || state_layer_get(tx, layer_id, &layer, err) < 0)
        return -1;
    shared = has_dependant(tx, layer.volume_id, layer.path, err);
    if (shared <= 0)
        return shared;
    layer.is_foreign = 1;
    if (state_layer_update(tx, &layer, err) < 0 || state_commit(tx, err) < 0)
        return -1;
    log_warning("layer-became-foreign",
                "path='%s' reason='another image rests on it'", layer.path);
    return 1;
}
