/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
#include "engine/accounts.h"
#include "engine/bootstrap.h"
#include "engine/job.h"
#include "hv/fake/hv_fake.h"
#include "image/commit.h"
#include "image/qcow2.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
must(int result, const struct error *err, const char *what)
{
    if (result == 0)
        return;
    printf("Bail out! %s: %s\n", what, err->message);
    exit(EXIT_FAILURE);
}

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
    result = commit_layer(refs, count, NULL, err);
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

/* -- life ------------------------------------------------------------------ */

static char *
in_work(struct rig *rig, const char *name)
{
    return xasprintf("%s/work/%s", rig->directory, name);
}

int
rig_open(struct rig *rig, struct error *err)
{
    AUTO_FREE char *database = in_work(rig, "varve.db");
    AUTO_FREE char *machines = in_work(rig, "machines");
    AUTO_FREE char *state_dir = in_work(rig, "state");
    AUTO_FREE char *repository = in_work(rig, "repository");
    AUTO_FREE char *hold = in_work(rig, "state/hold");
    struct engine_config config = {.state_dir = state_dir,
                                   .repository = repository};

    rig->state = state_open(database, err);
    rig->hv = rig->state != NULL ? hv_fake_open(machines, err) : NULL;
    if (rig->hv == NULL)
        return -1;
    hv_fake_set_writer(rig->hv, write_layer);
    hv_fake_set_committer(rig->hv, commit_into);
    hv_fake_set_rebaser(rig->hv, rebase);
    hv_fake_set_hold_directory(rig->hv, hold);
    config.state = rig->state;
    config.hv = rig->hv;
    rig->engine = engine_new(&config, err);
    if (rig->engine == NULL)
        return -1;
    return engine_resume(rig->engine, err);
}

void
rig_close(struct rig *rig)
{
    engine_free(rig->engine);
    hv_free(rig->hv);
    state_close(rig->state);
    rig->engine = NULL;
    rig->hv = NULL;
    rig->state = NULL;
}

static void
copy_tree(const char *from, const char *to)
{
    const char *const remove[] = {"rm", "-rf", to, NULL};
    const char *const copy[] = {"cp", "-a", from, to, NULL};
    struct error err = ERROR_INIT;

    must(spawn_run(remove, 0, NULL, &err), &err, "rm");
    must(spawn_run(copy, 0, NULL, &err), &err, "cp");
}

void
rig_save(struct rig *rig)
{
    AUTO_FREE char *work = path_join(rig->directory, "work");
    AUTO_FREE char *saved = path_join(rig->directory, "saved");

    copy_tree(work, saved);
}

void
rig_load(struct rig *rig)
{
    AUTO_FREE char *work = path_join(rig->directory, "work");
    AUTO_FREE char *saved = path_join(rig->directory, "saved");

    copy_tree(saved, work);
}

static void
make_image(const char *path, const char *backing, struct error *err)
{
    must(qcow2_create_overlay(path, RIG_DISK_SIZE, backing, IMAGE_QCOW2, NULL,
                              err),
         err, path);
}

static void
make_disks(struct rig *rig, bool foreign, struct hv_fake_disk *disks)
{
    static const char *const targets[] = {"vda", "vdb", "vdc"};
    struct error err = ERROR_INIT;
    AUTO_FREE char *pool = in_work(rig, "pool");

    must(fd_make_directories(pool, 0700, &err), &err, "pool");
    for (size_t i = 0; i < rig->volumes; i++) {
        AUTO_FREE char *base = NULL;
        char *path = xasprintf("%s/%s.qcow2", pool, targets[i]);

        if (foreign) {
            AUTO_FREE char *other = NULL;
            struct image_ref ref = {.format = IMAGE_QCOW2};

            base = xasprintf("%s/template-%s.qcow2", pool, targets[i]);
            other = xasprintf("%s/other-%s.qcow2", pool, targets[i]);
            make_image(base, NULL, &err);
            ref.path = base;
            must(commit_write(&ref, 1, "template", 131072, 8, &err), &err,
                 "template");
            memcpy(rig->now.disks[i] + 131072, "template", 8);
            make_image(other, base, &err);
        }
        make_image(path, base, &err);
        disks[i] = (struct hv_fake_disk){.target = targets[i], .path = path};
    }
}

static void
make_offering(struct rig *rig, int64_t chain_size)
{
    struct error err = ERROR_INIT;
    const struct request_native_offering native = {
        .name = "native", .has_chain_size = true, .chain_size = chain_size};
    struct request_offering_import import = {.name = "offering",
                                             .description = "for the rig",
                                             .allow_user_driven_backups = true};
    char external[UUID_TEXT_SIZE];
    struct ticket ticket;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(zone) zone = {0};
    const struct state_where living[] = {STATE_LIVING};

    if (tx == NULL || state_zone_find(tx, living, 1, &zone, &err) <= 0)
        must(-1, &err, "zone");
    state_end(steal(&tx));
    must(request_native_offering_create(rig->engine, &rig->caller, &native,
                                        external, &err),
         &err, "native offering");
    import.external_id = external;
    import.zone = zone.uuid;
    must(request_offering_import(rig->engine, &rig->caller, &import, &ticket,
                                 &err),
         &err, "import");
    memcpy(rig->offering, ticket.object, sizeof(rig->offering));
    must(request_offering_assign(rig->engine, &rig->caller, RIG_VM,
                                 rig->offering, &ticket, &err),
         &err, "assign");
    must(engine_drain(rig->engine, &err), &err, "drain");
}

static void
bootstrap(struct rig *rig)
{
    AUTO_FREE char *database = in_work(rig, "varve.db");
    AUTO_FREE char *state_dir = in_work(rig, "state");
    AUTO_FREE char *repository = in_work(rig, "repository");
    const char *const repositories[] = {repository};
    const struct bootstrap_config config = {
        .state_dir = state_dir,
        .endpoint = "http://127.0.0.1:8080/client/api",
        .host_name = "rig",
        .libvirt_uri = "fake:///",
        .repositories = repositories,
        .repository_count = 1};
    struct bootstrap_result result;
    struct error err = ERROR_INIT;
    struct state_tx *tx;
    struct state *state;

    must(fd_make_directories(state_dir, 0700, &err), &err, "state");
    must(fd_make_directories(repository, 0700, &err), &err, "repository");
    state = state_open(database, &err);
    if (state == NULL)
        must(-1, &err, "database");
    must(bootstrap_run(state, &config, &result, &err), &err, "bootstrap");
    tx = state_begin_read(state, &err);
    if (tx == NULL || accounts_root(tx, &rig->caller, &err) <= 0)
        must(-1, &err, "administrator");
    state_end(tx);
    state_close(state);
}

struct rig *
rig_new(size_t volumes, int64_t chain_size, bool foreign)
{
    struct rig *rig = xcalloc(1, sizeof(*rig));
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    struct hv_fake_disk disks[RIG_VOLUMES_MAX] = {{0}};
    struct error err = ERROR_INIT;

    rig->directory = xasprintf("%s/varve-rig-XXXXXX", parent);
    rig->volumes = volumes;
    rig->seed = 1;
    if (mkdtemp(rig->directory) == NULL)
        must(-1, &err, "mkdtemp");
    for (size_t i = 0; i < volumes; i++) {
        rig->now.sizes[i] = RIG_DISK_SIZE;
        rig->now.disks[i] = xcalloc(1, RIG_DISK_SIZE);
    }
    bootstrap(rig);
    make_disks(rig, foreign, disks);
    must(rig_open(rig, &err), &err, "open");
    must(hv_fake_add_machine(rig->hv, RIG_VM, "rig", disks, volumes, &err),
         &err, "machine");
    for (size_t i = 0; i < volumes; i++)
        free((void *)(uintptr_t)disks[i].path);
    must(engine_refresh(rig->engine, NULL, &err), &err, "refresh");
    make_offering(rig, chain_size);
    return rig;
}

void
rig_free(struct rig *rig)
{
    const char *const remove[] = {"rm", "-rf", rig->directory, NULL};
    struct error err = ERROR_INIT;

    rig_close(rig);
    while (rig->point_count > 0)
        rig_forget(rig, rig->points[0].uuid);
    rig_content_release(&rig->now);
    must(spawn_run(remove, 0, NULL, &err), &err, "rm");
    free(rig->points);
    free(rig->directory);
    free(rig);
}

/* -- the guest ---------------------------------------------------------------
 */

uint64_t
rig_random(struct rig *rig, uint64_t below)
{
    rig->seed = rig->seed * UINT64_C(6364136223846793005) +
                UINT64_C(1442695040888963407);
    return (rig->seed >> 33) % below;
}

bool
rig_is_running(struct rig *rig)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    must(hv_get(rig->hv, RIG_VM, &machine, &err), &err, "get");
    return machine->state != HV_STOPPED;
}

void
rig_power(struct rig *rig, bool on)
{
    struct error err = ERROR_INIT;

    must(hv_fake_power(rig->hv, RIG_VM, on ? HV_RUNNING : HV_STOPPED, &err),
         &err, "power");
    must(engine_refresh(rig->engine, RIG_VM, &err), &err, "refresh");
}

void
rig_guest_write(struct rig *rig)
{
    static const char *const targets[] = {"vda", "vdb", "vdc"};
    size_t volume = rig_random(rig, rig->volumes);
    uint64_t size = rig->now.sizes[volume];
    size_t length = 1 + rig_random(rig, 150000);
    uint64_t offset = rig_random(rig, size);
    AUTO_FREE uint8_t *buffer = NULL;
    struct error err = ERROR_INIT;
    bool zeros = rig_random(rig, 5) == 0;

    length = MIN(length, (size_t)(size - offset));
    buffer = xcalloc(1, length);
    for (size_t i = 0; !zeros && i < length; i++)
        buffer[i] = (uint8_t)rig_random(rig, 256);
    must(hv_fake_guest_write(rig->hv, RIG_VM, targets[volume], buffer, offset,
                             length, &err),
         &err, "guest write");
    memcpy(rig->now.disks[volume] + offset, buffer, length);
}

void
rig_resize(struct rig *rig, size_t volume, uint64_t size)
{
    AUTO_TREE struct tree *tree = NULL;
    struct error err = ERROR_INIT;
    struct image_ref *refs;
    size_t count;
    struct tree_volume *v;

    must(tree_read(rig->state, 1, &tree, &err), &err, "tree");
    v = &tree->volumes[volume];
    if (v->row.layer_id == 0)
        return; /* not taken over yet */
    refs = tree_refs(v, v->row.layer_id, &count);
    must(commit_resize(refs, count, size, &err), &err, "resize");
    free(refs);
    rig->now.disks[volume] = xrealloc(rig->now.disks[volume], size);
    if (size > rig->now.sizes[volume])
        memset(rig->now.disks[volume] + rig->now.sizes[volume], 0,
               size - rig->now.sizes[volume]);
    rig->now.sizes[volume] = size;
}

/* -- requests
 * ------------------------------------------------------------------ */

/* Run everything, then say how that job ended. */
static int
finish(struct rig *rig, const struct ticket *ticket, char *ret_uuid,
       struct error *err)
{
    AUTO_STATE(job) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", ticket->job)};
    AUTO_STATE_TX struct state_tx *tx = NULL;

    if (ret_uuid != NULL)
        memcpy(ret_uuid, ticket->object, UUID_TEXT_SIZE);
    if (engine_drain(rig->engine, err) < 0)
        return -1;
    tx = state_begin_read(rig->state, err);
    if (tx == NULL || state_job_find(tx, where, 1, &row, err) < 0)
        return -1;
    if (row.status == 1)
        return 0;
    return error_set(err, ERROR_IO, "job ended with %s",
                     row.result != NULL ? row.result : "nothing");
}

int
rig_snapshot(struct rig *rig, bool quiesce, char *ret_uuid, struct error *err)
{
    const struct request_vm_snapshot args = {.vm = RIG_VM, .quiesce = quiesce};
    struct ticket ticket;

    if (request_vm_snapshot_create(rig->engine, &rig->caller, &args, &ticket,
                                   err) < 0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_revert(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_vm_snapshot_revert(rig->engine, &rig->caller, uuid, &ticket,
                                   err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_delete_snapshot(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_vm_snapshot_delete(rig->engine, &rig->caller, uuid, &ticket,
                                   err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_backup(struct rig *rig, bool isolated, char *ret_uuid, struct error *err)
{
    const struct request_backup args = {.vm = RIG_VM, .isolated = isolated};
    struct ticket ticket;

    if (request_backup_create(rig->engine, &rig->caller, &args, &ticket, err) <
        0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_restore(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_backup_restore(rig->engine, &rig->caller, uuid, &ticket, err) <
        0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_delete_backup(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_backup_delete(rig->engine, &rig->caller, uuid, false, &ticket,
                              err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

/* -- the model
 * ------------------------------------------------------------------- */

void
rig_content_copy(struct rig_content *to, const struct rig_content *from)
{
    for (size_t i = 0; i < RIG_VOLUMES_MAX; i++) {
        free(to->disks[i]);
        to->disks[i] = NULL;
        to->sizes[i] = from->sizes[i];
        if (from->disks[i] != NULL) {
            to->disks[i] = xmalloc(from->sizes[i]);
            memcpy(to->disks[i], from->disks[i], from->sizes[i]);
        }
    }
}

void
rig_content_release(struct rig_content *content)
{
    for (size_t i = 0; i < RIG_VOLUMES_MAX; i++) {
        free(content->disks[i]);
        content->disks[i] = NULL;
    }
}

void
rig_learn(struct rig *rig, enum rig_kind kind, const char *uuid)
{
    struct rig_point *point;

    rig->points =
        xrealloc(rig->points, (rig->point_count + 1) * sizeof(*rig->points));
    point = &rig->points[rig->point_count++];
    *point = (struct rig_point){.kind = kind};
    memcpy(point->uuid, uuid, UUID_TEXT_SIZE);
    rig_content_copy(&point->content, &rig->now);
}

void
rig_forget(struct rig *rig, const char *uuid)
{
    for (size_t i = 0; i < rig->point_count; i++) {
        if (strcmp(rig->points[i].uuid, uuid) != 0)
            continue;
        rig_content_release(&rig->points[i].content);
        memmove(&rig->points[i], &rig->points[i + 1],
                (rig->point_count - i - 1) * sizeof(*rig->points));
        rig->point_count--;
        return;
    }
}

const struct rig_point *
rig_find(struct rig *rig, const char *uuid)
{
    for (size_t i = 0; i < rig->point_count; i++) {
        if (strcmp(rig->points[i].uuid, uuid) == 0)
            return &rig->points[i];
    }
    return NULL;
}

void
rig_go_back(struct rig *rig, const char *uuid)
{
    const struct rig_point *point = rig_find(rig, uuid);

    if (point != NULL)
        rig_content_copy(&rig->now, &point->content);
}
