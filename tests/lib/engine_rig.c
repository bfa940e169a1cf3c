/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
#include "engine/accounts.h"
#include "engine/bootstrap.h"
#include "engine/job.h"
#include "engine/settings.h"
#include "hv/fake/hv_fake.h"
#include "image/commit.h"
#include "image/qcow2.h"
#include "storage/file/storage_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
rig_must(int result, const struct error *err, const char *what)
{
    if (result == 0)
        return;
    printf("Bail out! %s: %s\n", what, err->message);
    exit(EXIT_FAILURE);
}

/* -- life ------------------------------------------------------------------ */

int64_t
rig_vm_id(struct rig *rig)
{
    const struct state_where where[] = {STATE_TEXT("uuid", rig->vm)};
    AUTO_STATE(vm) row = {0};
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);

    if (tx == NULL || state_vm_find(tx, where, 1, &row, &err) <= 0)
        rig_must(-1, &err, "the machine's row");
    return row.id;
}

static char *
in_work(struct rig *rig, const char *name)
{
    return xasprintf("%s/work/%s", rig->directory, name);
}

/* Stands for a file system that shares blocks: a clone reads the same. */
static int
copy_file(int from, int to)
{
    char buffer[4096];
    int64_t at = 0;
    ssize_t got;

    while ((got = pread(from, buffer, sizeof(buffer), at)) > 0) {
        if (pwrite(to, buffer, (size_t)got, at) != got)
            return -1;
        at += got;
    }
    return got < 0 ? -1 : ftruncate(to, at);
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
                                   .repository = repository,
                                   .workers = rig->workers};

    rig->state = state_open(database, err);
    rig->hv = rig->state != NULL ? hv_fake_open(machines, err) : NULL;
    if (rig->hv == NULL)
        return -1;
    rig_attach_images(rig->hv);
    hv_fake_set_hold_directory(rig->hv, hold);
    rig->storage = storage_file_new();
    storage_file_set_cloner(rig->storage, copy_file);
    config.storages = &rig->storage;
    config.storage_count = 1;
    config.state = rig->state;
    config.hv = rig->hv;
    rig->engine = engine_new(&config, err);
    if (rig->engine == NULL)
        return -1;
    if (rig->workers == 0)
        return engine_resume(rig->engine, err);
    rig->watch = watch_start(rig->engine, rig->hv, err);
    return rig->watch != NULL ? engine_start(rig->engine, err) : -1;
}

void
rig_close(struct rig *rig)
{
    watch_stop(rig->watch);
    if (rig->engine != NULL)
        engine_stop(rig->engine);
    engine_free(rig->engine);
    hv_free(rig->hv);
    storage_free(rig->storage);
    state_close(rig->state);
    rig->watch = NULL;
    rig->engine = NULL;
    rig->hv = NULL;
    rig->storage = NULL;
    rig->state = NULL;
}

static void
copy_tree(const char *from, const char *to)
{
    const char *const remove[] = {"rm", "-rf", to, NULL};
    const char *const copy[] = {"cp", "-a", from, to, NULL};
    struct error err = ERROR_INIT;

    rig_must(spawn_run(remove, 0, NULL, &err), &err, "rm");
    rig_must(spawn_run(copy, 0, NULL, &err), &err, "cp");
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
    rig_must(qcow2_create_overlay(path, RIG_DISK_SIZE, backing, IMAGE_QCOW2,
                                  NULL, err),
             err, path);
}

static void
make_raw(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct error err = ERROR_INIT;

    rig_must(fd < 0 ? -1 : ftruncate(fd, (off_t)RIG_DISK_SIZE), &err, path);
    (void)close(fd);
}

/* From now on this file must never change. */
static void
keep_fixed(struct rig *rig, const char *path)
{
    struct rig_fixed *fixed = &rig->fixed[rig->fixed_count++];
    struct error err = ERROR_INIT;

    fixed->path = xstrdup(path);
    rig_must(
        fd_read_file(path, RIG_FIXED_MAX, &fixed->bytes, &fixed->length, &err),
        &err, "template");
}

static void
make_disks(struct rig *rig, bool foreign, struct hv_fake_disk *disks)
{
    static const char *const targets[] = {"vda", "vdb", "vdc"};
    struct error err = ERROR_INIT;
    AUTO_FREE char *pool = in_work(rig, rig->pool);

    rig_must(fd_make_directories(pool, 0700, &err), &err, "pool");
    for (size_t i = 0; i < rig->volumes; i++) {
        AUTO_FREE char *base = NULL;
        const char *format = rig->is_raw ? "raw" : "qcow2";
        char *path = xasprintf("%s/%s.%s", pool, targets[i], format);

        if (foreign) {
            AUTO_FREE char *other = NULL;
            struct image_ref ref = {.format = IMAGE_QCOW2};

            base = xasprintf("%s/template-%s.qcow2", pool, targets[i]);
            other = xasprintf("%s/other-%s.qcow2", pool, targets[i]);
            make_image(base, NULL, &err);
            ref.path = base;
            rig_must(commit_write(&ref, 1, "template", 131072, 8, &err), &err,
                     "template");
            memcpy(rig->now.disks[i] + 131072, "template", 8);
            make_image(other, base, &err);
            keep_fixed(rig, base);
            keep_fixed(rig, other);
        }
        if (rig->is_raw)
            make_raw(path);
        else
            make_image(path, base, &err);
        disks[i] = (struct hv_fake_disk){
            .target = targets[i], .path = path, .format = format};
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
        rig_must(-1, &err, "zone");
    state_end(steal(&tx));
    rig_must(request_native_offering_create(rig->engine, &rig->caller, &native,
                                            external, &err),
             &err, "native offering");
    import.external_id = external;
    import.zone = zone.uuid;
    rig_must(request_offering_import(rig->engine, &rig->caller, &import,
                                     &ticket, &err),
             &err, "import");
    memcpy(rig->offering, ticket.object, sizeof(rig->offering));
    rig_must(request_offering_assign(rig->engine, &rig->caller, rig->vm,
                                     rig->offering, &ticket, &err),
             &err, "assign");
    rig_must(engine_drain(rig->engine, &err), &err, "drain");
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

    rig_must(fd_make_directories(state_dir, 0700, &err), &err, "state");
    rig_must(fd_make_directories(repository, 0700, &err), &err, "repository");
    state = state_open(database, &err);
    if (state == NULL)
        rig_must(-1, &err, "database");
    rig_must(bootstrap_run(state, &config, &result, &err), &err, "bootstrap");
    tx = state_begin_read(state, &err);
    if (tx == NULL || accounts_root(tx, &rig->caller, &err) <= 0)
        rig_must(-1, &err, "administrator");
    state_end(tx);
    state_close(state);
}

void
rig_setting(struct rig *rig, const char *name, const char *value)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(rig->state, &err);

    if (tx == NULL ||
        settings_set(tx, name, SETTINGS_GLOBAL, 0, value, &err) < 0)
        rig_must(-1, &err, name);
    rig_must(state_commit(tx, &err), &err, name);
}

/* An empty machine with disks, known to the engine. */
static void
make_machine(struct rig *rig, const char *name, bool foreign)
{
    struct hv_fake_disk disks[RIG_VOLUMES_MAX] = {{0}};
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < rig->volumes; i++) {
        rig->now.sizes[i] = RIG_DISK_SIZE;
        rig->now.disks[i] = xcalloc(1, RIG_DISK_SIZE);
    }
    make_disks(rig, foreign, disks);
    rig_must(
        hv_fake_add_machine(rig->hv, rig->vm, name, disks, rig->volumes, &err),
        &err, "machine");
    for (size_t i = 0; i < rig->volumes; i++)
        free((void *)(uintptr_t)disks[i].path);
    rig_must(engine_refresh(rig->engine, NULL, &err), &err, "refresh");
}

static struct rig *
new_rig(size_t volumes, int64_t chain_size, bool foreign, bool raw)
{
    struct rig *rig = xcalloc(1, sizeof(*rig));
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    struct error err = ERROR_INIT;

    rig->directory = xasprintf("%s/varve-rig-XXXXXX", parent);
    rig->pool = "pool";
    rig->vm = RIG_VM;
    rig->volumes = volumes;
    rig->is_raw = raw;
    rig->seed = 1;
    if (mkdtemp(rig->directory) == NULL)
        rig_must(-1, &err, "mkdtemp");
    bootstrap(rig);
    rig_must(rig_open(rig, &err), &err, "open");
    make_machine(rig, "rig", foreign);
    make_offering(rig, chain_size);
    /* Scripts are about what events tell. */
    rig_setting(rig, "libvirt.events.enabled", "true");
    return rig;
}

struct rig *
rig_new(size_t volumes, int64_t chain_size, bool foreign)
{
    return new_rig(volumes, chain_size, foreign, false);
}

struct rig *
rig_new_raw(size_t volumes, int64_t chain_size)
{
    return new_rig(volumes, chain_size, false, true);
}

/* -- more machines --------------------------------------------------------- */

static const struct {
    const char *vm;
    const char *name;
    const char *pool;
} others[RIG_OTHERS_MAX] = {
    {"6f1c2a34-1111-4222-8333-444455556601", "rig-1", "pool-1"},
    {"6f1c2a34-1111-4222-8333-444455556602", "rig-2", "pool-2"},
    {"6f1c2a34-1111-4222-8333-444455556603", "rig-3", "pool-3"},
    {"6f1c2a34-1111-4222-8333-444455556604", "rig-4", "pool-4"},
    {"6f1c2a34-1111-4222-8333-444455556605", "rig-5", "pool-5"},
};

void
rig_follow(struct rig *rig, const struct rig *first)
{
    rig->state = first->state;
    rig->hv = first->hv;
    rig->engine = first->engine;
    rig->workers = first->workers;
}

struct rig *
rig_new_beside(const struct rig *first, size_t index, size_t volumes)
{
    struct rig *rig = xcalloc(1, sizeof(*rig));
    struct error err = ERROR_INIT;
    struct ticket ticket;

    rig->directory = xstrdup(first->directory);
    rig->pool = others[index].pool;
    rig->vm = others[index].vm;
    rig->volumes = volumes;
    rig->seed = index + 2;
    rig->caller = first->caller;
    memcpy(rig->offering, first->offering, sizeof(rig->offering));
    rig_follow(rig, first);
    make_machine(rig, others[index].name, false);
    rig_must(request_offering_assign(rig->engine, &rig->caller, rig->vm,
                                     rig->offering, &ticket, &err),
             &err, "assign");
    rig_must(engine_drain(rig->engine, &err), &err, "drain");
    return rig;
}

/* What the model holds. */
static void
forget_all(struct rig *rig)
{
    while (rig->point_count > 0)
        rig_forget(rig, rig->points[0].uuid);
    rig_content_release(&rig->now);
    for (size_t i = 0; i < rig->fixed_count; i++) {
        free(rig->fixed[i].path);
        free(rig->fixed[i].bytes);
    }
    free(rig->points);
    free(rig->directory);
    free(rig);
}

void
rig_free_beside(struct rig *rig)
{
    forget_all(rig);
}

void
rig_free(struct rig *rig)
{
    const char *const remove[] = {"rm", "-rf", rig->directory, NULL};
    struct error err = ERROR_INIT;

    rig_close(rig);
    rig_must(spawn_run(remove, 0, NULL, &err), &err, "rm");
    forget_all(rig);
}

/* -- the model ------------------------------------------------------------- */

uint64_t
rig_random(struct rig *rig, uint64_t below)
{
    rig->seed = rig->seed * UINT64_C(6364136223846793005) +
                UINT64_C(1442695040888963407);
    return (rig->seed >> 33) % below;
}

void
rig_content_copy(struct rig_content *to, const struct rig_content *from)
{
    to->memory = from->memory;
    to->nvram = from->nvram;
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
