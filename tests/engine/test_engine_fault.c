/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation, with every fault point on its way failing, and with the
 * process killed at every one of them, and killed again while it settles.
 *
 *     test_engine_fault [STRIDE [NAME | PART/PARTS]]
 *
 * Every STRIDE-th point is tried; 1 is all.
 *
 * After each the engine starts again and settles; then all invariants hold,
 * and the operation was done or was not: its point is there and reads as it
 * must or there is none, all disks went back or none did.  An operation that
 * said that it was done was.
 */
#include "check.h"
#include "density.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/spawn.h"
#include "hv/fake/hv_fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t stride = 7;
static uint64_t rekills; /* of the operation that is tried */

/* What is prepared once for an operation, and the names that it needs. */
struct scene {
    struct rig *rig;
    char a[UUID_TEXT_SIZE];
    char b[UUID_TEXT_SIZE];
    char c[UUID_TEXT_SIZE];
};

struct operation {
    const char *name;
    void (*prepare)(struct scene *scene);
    int (*act)(struct scene *scene, struct error *err);
    /* What it may have done when it did not say so. */
    struct rig_outcome (*outcome)(const struct scene *scene);
};

static void
need(int result, const struct error *err)
{
    if (result == 0)
        return;
    printf("Bail out! scene: %s\n", err->message);
    exit(EXIT_FAILURE);
}

static void
write_some(struct rig *rig)
{
    for (int i = 0; i < 3; i++)
        rig_guest_write(rig);
}

static void
take_snapshot(struct scene *scene, char *uuid)
{
    struct error err = ERROR_INIT;

    need(rig_snapshot(scene->rig, false, uuid, &err), &err);
    rig_learn(scene->rig, RIG_SNAPSHOT, uuid);
    write_some(scene->rig);
}

static void
take_backup(struct scene *scene, char *uuid)
{
    struct error err = ERROR_INIT;

    need(rig_backup(scene->rig, false, uuid, &err), &err);
    rig_learn(scene->rig, RIG_BACKUP, uuid);
    write_some(scene->rig);
}

/* -- scenes ------------------------------------------------------------------
 */

static void
running(struct scene *scene)
{
    rig_power(scene->rig, true);
    write_some(scene->rig);
}

static void
stopped(struct scene *scene)
{
    running(scene);
    rig_power(scene->rig, false);
}

static void
running_with_two_snapshots(struct scene *scene)
{
    running(scene);
    take_snapshot(scene, scene->a);
    take_snapshot(scene, scene->b);
}

static void
running_without_events(struct scene *scene)
{
    running_with_two_snapshots(scene);
    rig_setting(scene->rig, "libvirt.events.enabled", "false");
}

/* The merge of one disk ends only when the guest is slow. */
static void
running_with_a_fast_guest(struct scene *scene)
{
    struct error err = ERROR_INIT;

    running(scene);
    take_snapshot(scene, scene->b);
    rig_setting(scene->rig, "snapshot.merge.outrun.wait", "1");
    need(hv_fake_outrun(scene->rig->hv, RIG_VM, "vda", UINT64_MAX >> 1, &err),
         &err);
}

static void
running_with_b(struct scene *scene)
{
    running(scene);
    take_snapshot(scene, scene->b);
}

static void
stopped_with_two_snapshots(struct scene *scene)
{
    running_with_two_snapshots(scene);
    rig_power(scene->rig, false);
}

/* Much above little, so that the merge goes backward. */
static void
stopped_with_much_above_little(struct scene *scene)
{
    running_with_two_snapshots(scene);
    for (int i = 0; i < 40; i++)
        rig_guest_write(scene->rig);
    rig_power(scene->rig, false);
}

/* The branch rests on the layer whose parent's content is pulled into it. */
static void
stopped_with_a_branch_above_much(struct scene *scene)
{
    struct error err = ERROR_INIT;

    stopped_with_much_above_little(scene);
    need(rig_snapshot(scene->rig, false, scene->c, &err), &err);
    rig_learn(scene->rig, RIG_SNAPSHOT, scene->c);
    need(rig_revert(scene->rig, scene->c, &err), &err);
}

/* Frozen layers get internal snapshots, so that only qemu-img can merge. */
static void
stopped_with_odd_layers(struct scene *scene)
{
    struct error err = ERROR_INIT;
    AUTO_TREE struct tree *tree = NULL;

    stopped_with_two_snapshots(scene);
    need(tree_read(scene->rig->state, 1, &tree, &err), &err);
    for (size_t i = 0; i < tree->count; i++) {
        const struct tree_volume *volume = &tree->volumes[i];

        for (size_t k = 0; k < volume->layers.count; k++) {
            const struct state_layer *layer = &volume->layers.items[k];
            const char *const odd[] = {"qemu-img", "snapshot",  "-q", "-c",
                                       "odd",      layer->path, NULL};

            if (layer->id != volume->row.layer_id)
                need(spawn_run(odd, 0, NULL, &err), &err);
        }
    }
}

static void
stopped_on_a_branch(struct scene *scene)
{
    struct error err = ERROR_INIT;

    stopped_with_two_snapshots(scene);
    need(rig_revert(scene->rig, scene->a, &err), &err);
    rig_go_back(scene->rig, scene->a);
    rig_power(scene->rig, true);
    write_some(scene->rig);
    take_snapshot(scene, scene->c);
    rig_power(scene->rig, false);
    need(rig_delete_snapshot(scene->rig, scene->a, &err), &err);
    rig_forget(scene->rig, scene->a);
}

static void
take_memory_snapshot(struct scene *scene, char *uuid)
{
    struct error err = ERROR_INIT;

    need(rig_memory_snapshot(scene->rig, uuid, &err), &err);
    rig_learn(scene->rig, RIG_SNAPSHOT, uuid);
    write_some(scene->rig);
}

static void
running_with_uefi(struct scene *scene)
{
    rig_add_nvram(scene->rig);
    running(scene);
}

/* The memory of a, whose layers are merged with those below and above. */
static void
running_with_memory(struct scene *scene)
{
    struct error err = ERROR_INIT;

    running_with_uefi(scene);
    take_snapshot(scene, scene->b);
    take_memory_snapshot(scene, scene->a);
    take_snapshot(scene, scene->c);
    need(rig_delete_snapshot(scene->rig, scene->b, &err), &err);
    rig_forget(scene->rig, scene->b);
    take_snapshot(scene, scene->b);
}

static void
stopped_with_memory(struct scene *scene)
{
    running_with_memory(scene);
    rig_power(scene->rig, false);
}

/* It was scaled since its memory was saved, which was kept. */
static void
stopped_with_other_numbers(struct scene *scene)
{
    struct error err = ERROR_INIT;

    stopped_with_memory(scene);
    rig_setting(scene->rig, "vmsnapshot.memory.keep.on.scale", "true");
    need(rig_scale(scene->rig, 3, &err), &err);
}

static void
running_with_a_backup(struct scene *scene)
{
    running(scene);
    take_backup(scene, scene->a);
}

static void
take_volume_snapshot(struct scene *scene, size_t i, char *uuid)
{
    struct error err = ERROR_INIT;

    need(rig_volume_snapshot(scene->rig, i, uuid, &err), &err);
    rig_learn(scene->rig, RIG_VOLUME_SNAPSHOT, uuid);
    write_some(scene->rig);
}

/* Above the layer that a backup left, below which snapshots merge. */
static void
running_with_volume_snapshots(struct scene *scene)
{
    running_with_a_backup(scene);
    take_volume_snapshot(scene, 0, scene->b);
    take_volume_snapshot(scene, 1, scene->c);
}

static void
stopped_with_volume_snapshots(struct scene *scene)
{
    running_with_volume_snapshots(scene);
    rig_power(scene->rig, false);
}

static void
stopped_with_three_backups(struct scene *scene)
{
    running_with_a_backup(scene);
    take_backup(scene, scene->b);
    take_backup(scene, scene->c);
    rig_power(scene->rig, false);
}

/* A point that only the model has: the disks as they will be. */
#define WISHED "00000000-0000-4000-8000-00000000aaaa"

static void
wish(struct rig *rig, size_t volume, uint64_t size)
{
    struct rig_content now = {.disks = {NULL}};
    uint8_t *grown = xcalloc(1, size);

    rig_content_copy(&now, &rig->now);
    if (rig->now.disks[volume] != NULL)
        memcpy(grown, rig->now.disks[volume], rig->now.sizes[volume]);
    free(rig->now.disks[volume]);
    rig->now.disks[volume] = grown;
    rig->now.sizes[volume] = size;
    rig_learn(rig, RIG_WISH, WISHED);
    rig_content_copy(&rig->now, &now);
    rig_content_release(&now);
}

static void
running_before_growth(struct scene *scene)
{
    running(scene);
    take_snapshot(scene, scene->a);
    rig_volume(scene->rig, 0, scene->b);
    wish(scene->rig, 0, RIG_DISK_SIZE * 3);
}

static void
stopped_before_growth(struct scene *scene)
{
    running_before_growth(scene);
    rig_power(scene->rig, false);
}

static void
running_with_a_new_volume(struct scene *scene)
{
    struct error err = ERROR_INIT;

    running(scene);
    rig_setting(scene->rig, "backup.enable.attach.detach.of.volumes", "true");
    need(rig_create_volume(scene->rig, scene->a, &err), &err);
    wish(scene->rig, scene->rig->volumes, RIG_DISK_SIZE);
}

static void
stopped_with_a_new_volume(struct scene *scene)
{
    running_with_a_new_volume(scene);
    rig_power(scene->rig, false);
}

static void
running_with_an_attached_volume(struct scene *scene)
{
    struct error err = ERROR_INIT;

    running_with_a_new_volume(scene);
    need(rig_attach(scene->rig, scene->a, &err), &err);
}

static void
stopped_with_an_attached_volume(struct scene *scene)
{
    running_with_an_attached_volume(scene);
    rig_power(scene->rig, false);
}

static void
stopped_with_a_detached_volume(struct scene *scene)
{
    struct error err = ERROR_INIT;

    stopped_with_an_attached_volume(scene);
    need(rig_detach(scene->rig, scene->a, &err), &err);
}

/* -- operations
 * ---------------------------------------------------------------- */

static int
do_snapshot(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_snapshot(scene->rig, false, uuid, err);
}

static int
do_quiesced_snapshot(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_snapshot(scene->rig, true, uuid, err);
}

static int
do_revert_a(struct scene *scene, struct error *err)
{
    return rig_revert(scene->rig, scene->a, err);
}

static int
do_delete_a(struct scene *scene, struct error *err)
{
    return rig_delete_snapshot(scene->rig, scene->a, err);
}

static int
do_delete_b(struct scene *scene, struct error *err)
{
    return rig_delete_snapshot(scene->rig, scene->b, err);
}

static int
do_backup(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_backup(scene->rig, false, uuid, err);
}

static int
do_scale(struct scene *scene, struct error *err)
{
    return rig_scale(scene->rig, 2, err);
}

static int
do_volume_snapshot(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_volume_snapshot(scene->rig, 1, uuid, err);
}

static int
do_delete_volume_snapshot_b(struct scene *scene, struct error *err)
{
    return rig_delete_volume_snapshot(scene->rig, scene->b, err);
}

static int
do_restore_a(struct scene *scene, struct error *err)
{
    return rig_restore(scene->rig, scene->a, err);
}

static int
do_delete_backup_a(struct scene *scene, struct error *err)
{
    return rig_delete_backup(scene->rig, scene->a, err);
}

static int
do_delete_backup_c(struct scene *scene, struct error *err)
{
    return rig_delete_backup(scene->rig, scene->c, err);
}

static int
do_grow_b(struct scene *scene, struct error *err)
{
    return rig_grow(scene->rig, scene->b, RIG_DISK_SIZE * 3, err);
}

static int
do_attach_a(struct scene *scene, struct error *err)
{
    return rig_attach(scene->rig, scene->a, err);
}

static int
do_detach_a(struct scene *scene, struct error *err)
{
    return rig_detach(scene->rig, scene->a, err);
}

static int
do_delete_volume_a(struct scene *scene, struct error *err)
{
    return rig_delete_volume(scene->rig, scene->a, err);
}

static int
do_destroy(struct scene *scene, struct error *err)
{
    return rig_destroy(scene->rig, false, err);
}

static int
do_memory_snapshot(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_memory_snapshot(scene->rig, uuid, err);
}

static int
do_revert_c(struct scene *scene, struct error *err)
{
    return rig_revert(scene->rig, scene->c, err);
}

/* -- what they may have done ------------------------------------------------
 */

static struct rig_outcome
makes_snapshot(const struct scene *scene)
{
    (void)scene;
    return (struct rig_outcome){.makes_snapshot = true};
}

static struct rig_outcome
makes_backup(const struct scene *scene)
{
    (void)scene;
    return (struct rig_outcome){.makes_backup = true};
}

static struct rig_outcome
makes_volume_snapshot(const struct scene *scene)
{
    (void)scene;
    return (struct rig_outcome){.makes_volume_snapshot = true};
}

static struct rig_outcome
goes_back_to_a(const struct scene *scene)
{
    return (struct rig_outcome){.goes_back = scene->a};
}

static struct rig_outcome
goes_back_to_c(const struct scene *scene)
{
    return (struct rig_outcome){.goes_back = scene->c};
}

static struct rig_outcome
as_wished(const struct scene *scene)
{
    (void)scene;
    return (struct rig_outcome){.goes_back = WISHED};
}

static struct rig_outcome
nothing(const struct scene *scene)
{
    (void)scene;
    return (struct rig_outcome){.is_done = false};
}

static struct rig_outcome
removes_a(const struct scene *scene)
{
    return (struct rig_outcome){.removes = scene->a};
}

static struct rig_outcome
removes_b(const struct scene *scene)
{
    return (struct rig_outcome){.removes = scene->b};
}

static struct rig_outcome
removes_c(const struct scene *scene)
{
    return (struct rig_outcome){.removes = scene->c};
}

static const struct operation operations[] = {
    {"snapshot, running", running, do_snapshot, makes_snapshot},
    {"snapshot, running, quiesced", running, do_quiesced_snapshot,
     makes_snapshot},
    {"snapshot, stopped", stopped, do_snapshot, makes_snapshot},
    {"revert", stopped_with_two_snapshots, do_revert_a, goes_back_to_a},
    {"delete with a mid-chain merge, running", running_with_two_snapshots,
     do_delete_a, removes_a},
    {"delete with an active merge, running", running_with_two_snapshots,
     do_delete_b, removes_b},
    {"delete with an active merge, without events", running_without_events,
     do_delete_b, removes_b},
    {"delete with a merge that the guest outruns", running_with_a_fast_guest,
     do_delete_b, removes_b},
    {"delete with a merge, stopped", stopped_with_two_snapshots, do_delete_b,
     removes_b},
    {"delete with a merge backward", stopped_with_much_above_little,
     do_delete_b, removes_b},
    {"delete with a merge backward below others",
     stopped_with_a_branch_above_much, do_delete_b, removes_b},
    {"delete with a merge by qemu-img", stopped_with_odd_layers, do_delete_b,
     removes_b},
    {"delete below a hidden snapshot", stopped_on_a_branch, do_delete_b,
     removes_b},
    {"destroy a machine, running", running_with_b, do_destroy, removes_b},
    {"grow a volume, running", running_before_growth, do_grow_b, as_wished},
    {"grow a volume, stopped", stopped_before_growth, do_grow_b, as_wished},
    {"attach a new volume, running", running_with_a_new_volume, do_attach_a,
     as_wished},
    {"attach a new volume, stopped", stopped_with_a_new_volume, do_attach_a,
     as_wished},
    {"detach a volume, running", running_with_an_attached_volume, do_detach_a,
     as_wished},
    {"detach a volume, stopped", stopped_with_an_attached_volume, do_detach_a,
     as_wished},
    {"delete a detached volume", stopped_with_a_detached_volume,
     do_delete_volume_a, nothing},
    {"snapshot with memory", running_with_uefi, do_memory_snapshot,
     makes_snapshot},
    {"revert to memory, running", running_with_memory, do_revert_a,
     goes_back_to_a},
    {"revert to memory, stopped", stopped_with_memory, do_revert_a,
     goes_back_to_a},
    {"revert to disks, running", running_with_memory, do_revert_c,
     goes_back_to_c},
    {"delete with memory", running_with_memory, do_delete_a, removes_a},
    {"scale, and discard memory", stopped_with_memory, do_scale, removes_a},
    {"revert to memory of other numbers", stopped_with_other_numbers,
     do_revert_a, goes_back_to_a},
    {"volume snapshot, running", running_with_volume_snapshots,
     do_volume_snapshot, makes_volume_snapshot},
    {"volume snapshot, stopped", stopped_with_volume_snapshots,
     do_volume_snapshot, makes_volume_snapshot},
    {"delete a volume snapshot", running_with_volume_snapshots,
     do_delete_volume_snapshot_b, removes_b},
    {"full backup, running", running, do_backup, makes_backup},
    {"incremental backup, running", running_with_a_backup, do_backup,
     makes_backup},
    {"restore", stopped_with_three_backups, do_restore_a, goes_back_to_a},
    {"delete the first backup", stopped_with_three_backups, do_delete_backup_a,
     removes_a},
    {"delete the last backup", stopped_with_three_backups, do_delete_backup_c,
     removes_c},
};

/* On raw disks that their storage can snapshot. */
static const struct operation raw_operations[] = {
    {"snapshot by storage, running", running, do_snapshot, makes_snapshot},
    {"snapshot by storage, stopped", stopped, do_snapshot, makes_snapshot},
    {"snapshot by storage with UEFI", running_with_uefi, do_snapshot,
     makes_snapshot},
    {"revert to a snapshot by storage, stopped", stopped_with_two_snapshots,
     do_revert_a, goes_back_to_a},
    {"revert to a snapshot by storage, running", running_with_two_snapshots,
     do_revert_a, goes_back_to_a},
    {"delete a snapshot by storage", running_with_two_snapshots, do_delete_a,
     removes_a},
    {"destroy a machine with a snapshot by storage", running_with_b, do_destroy,
     removes_b},
    {"full backup over a snapshot by storage", running_with_b, do_backup,
     makes_backup},
};

#define OPERATIONS (ARRAY_SIZE(operations) + ARRAY_SIZE(raw_operations))

static bool
is_raw(size_t i)
{
    return i >= ARRAY_SIZE(operations);
}

static const struct operation *
nth_operation(size_t i)
{
    return is_raw(i) ? &raw_operations[i - ARRAY_SIZE(operations)]
                     : &operations[i];
}

/* -- the loop
 * ------------------------------------------------------------------ */

/* Look at everything; what an operation that failed left undone is done when
 * asked again, and a job that had not begun is done now. */
static int
look(struct scene *scene, const struct rig_outcome *outcome, struct error *err)
{
    if (engine_drain(scene->rig->engine, err) < 0 ||
        rig_learn_outcome(scene->rig, outcome, err) < 0)
        return -1;
    return rig_check(scene->rig, false, err);
}

static void
after_restart(struct scene *scene, const struct operation *operation,
              bool is_done, uint64_t nth, const char *how)
{
    struct rig_outcome outcome = operation->outcome(scene);
    size_t known = scene->rig->point_count;
    AUTO_FREE char *fired = xstrdup_null(fault_fired_name());
    struct error err = ERROR_INIT;
    int result = rig_open(scene->rig, &err);

    outcome.is_done = is_done;
    if (result == 0)
        result = look(scene, &outcome, &err);
    if (result < 0 && scene->rig->engine != NULL &&
        rig_needs_stop(scene->rig)) {
        rig_power(scene->rig, false);
        /* The point that was to be made is known since the first look. */
        outcome.is_done = is_done && scene->rig->point_count <= known;
        result = engine_settle(scene->rig->engine, &err);
        if (result == 0)
            result = look(scene, &outcome, &err);
    }
    if (result < 0)
        printf("# %s, %s at point %llu (%s): %s\n", operation->name, how,
               (unsigned long long)nth, fired != NULL ? fired : "?",
               err.message);
    CHECK(result == 0);
    rig_close(scene->rig);
}

/* The model goes back with the scene. */
struct memory {
    struct rig_content now;
    struct rig_point *points;
    size_t count;
};

static void
remember(const struct rig *rig, struct memory *memory)
{
    *memory = (struct memory){.count = rig->point_count};
    rig_content_copy(&memory->now, &rig->now);
    memory->points = xcalloc(rig->point_count, sizeof(*memory->points));
    for (size_t i = 0; i < rig->point_count; i++) {
        memory->points[i].kind = rig->points[i].kind;
        memcpy(memory->points[i].uuid, rig->points[i].uuid, UUID_TEXT_SIZE);
        rig_content_copy(&memory->points[i].content, &rig->points[i].content);
    }
}

static void
recall(struct rig *rig, const struct memory *memory)
{
    while (rig->point_count > 0)
        rig_forget(rig, rig->points[0].uuid);
    for (size_t i = 0; i < memory->count; i++) {
        rig_content_copy(&rig->now, &memory->points[i].content);
        rig_learn(rig, memory->points[i].kind, memory->points[i].uuid);
    }
    rig_content_copy(&rig->now, &memory->now);
}

static void
forget_memory(struct memory *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        rig_content_release(&memory->points[i].content);
    rig_content_release(&memory->now);
    free(memory->points);
}

/* Let it fail at the nth point; false when there is no nth point. */
static bool
fail_at(struct scene *scene, const struct operation *operation, uint64_t nth)
{
    struct error err = ERROR_INIT;
    int result;

    rig_load(scene->rig);
    need(rig_open(scene->rig, &err), &err);
    fault_arm("*", nth, FAULT_FAIL);
    result = operation->act(scene, &err);
    fault_disarm();
    rig_close(scene->rig);
    if (!fault_fired())
        CHECK(result == 0);
    after_restart(scene, operation, result == 0, nth, "failing");
    return fault_fired();
}

/* What a child does until it is killed: the operation, or the start. */
static int
until_killed(struct scene *scene, int (*act)(struct scene *, struct error *),
             uint64_t nth)
{
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (act != NULL && rig_open(scene->rig, &err) < 0)
            _exit(3);
        fault_arm("*", nth, FAULT_KILL);
        if (act != NULL)
            _exit(act(scene, &err) == 0 ? 0 : 1);
        _exit(rig_open(scene->rig, &err) == 0 ? 0 : 1);
    }
    if (waitpid(child, &status, 0) != child)
        return -1;
    return status;
}

/* Killed at the nth point, and then at every `again`-th of settling. */
static bool
kill_at(struct scene *scene, const struct operation *operation, uint64_t nth,
        uint64_t again)
{
    char how[64] = "killed";
    int status;

    rig_load(scene->rig);
    status = until_killed(scene, operation->act, nth);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        printf("# the child did not do it without a fault\n");
        CHECK(false);
        return false;
    }
    for (uint64_t at = again; again > 0 && WIFSIGNALED(status); at += again) {
        (void)snprintf(how, sizeof(how), "killed, and settling at %llu",
                       (unsigned long long)at);
        if (!WIFSIGNALED(until_killed(scene, NULL, at)))
            break;
        rekills++;
    }
    after_restart(scene, operation, !WIFSIGNALED(status), nth, how);
    return WIFSIGNALED(status);
}

static void
run_operation(const struct operation *operation, bool raw)
{
    struct scene scene = {.rig =
                              raw ? rig_new_raw(2, 8) : rig_new(2, 8, false)};
    struct memory memory;
    uint64_t failed = 0;
    uint64_t killed = 0;

    operation->prepare(&scene);
    rig_close(scene.rig);
    rig_save(scene.rig);
    remember(scene.rig, &memory);
    for (uint64_t nth = 1; fail_at(&scene, operation, nth); nth += stride) {
        failed++;
        recall(scene.rig, &memory);
    }
    recall(scene.rig, &memory);
    rekills = 0;
    for (uint64_t nth = 1; kill_at(&scene, operation, nth, 0); nth += stride) {
        killed++;
        recall(scene.rig, &memory);
    }
    recall(scene.rig, &memory);
    /* Settling goes a little further each time before it dies again; after
     * every sixth kill of an exhaustive run. */
    for (uint64_t nth = 1;
         kill_at(&scene, operation, nth, MIN(stride, UINT64_C(7)) + nth % 5);
         nth += MAX(stride, UINT64_C(5)) + 1)
        recall(scene.rig, &memory);
    printf("# %s: %llu failures, %llu kills, %llu kills while settling\n",
           operation->name, (unsigned long long)failed,
           (unsigned long long)killed, (unsigned long long)rekills);
    printf("# count engine-faults %llu\n", (unsigned long long)failed);
    printf("# count engine-kills %llu\n", (unsigned long long)killed);
    printf("# count engine-kills-while-settling %llu\n",
           (unsigned long long)rekills);
    CHECK(failed > 0 && killed > 0);
    forget_memory(&memory);
    rig_free(scene.rig);
}

/* Is the i-th operation meant by NAME, or in part 2/3? */
static bool
is_chosen(size_t i, const char *which)
{
    unsigned part = 0;
    unsigned parts = 0;

    if (sscanf(which, "%u/%u", &part, &parts) == 2 && parts > 0)
        return i % parts == part - 1;
    return strcmp(which, nth_operation(i)->name) == 0;
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;

    if (argc > 1 && parse_u64(argv[1], &stride, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    stride = density_step(stride);
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (argc > 2 && !is_chosen(i, argv[2]))
            continue;
        check_failures = 0;
        run_operation(nth_operation(i), is_raw(i));
        check_tests++;
        check_failed_tests += check_failures > 0;
        printf("%sok %d - %s survives every fault\n",
               check_failures > 0 ? "not " : "", check_tests,
               nth_operation(i)->name);
        (void)fflush(stdout);
    }
    return check_done();
}
