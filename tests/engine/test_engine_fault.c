/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every operation, with every fault point on its way failing, and with the
 * process killed at every one of them.
 *
 *     test_engine_fault [STRIDE]      every STRIDE-th point; 1 is all
 *
 * After each the engine starts again and settles; then all invariants hold
 * and the guest's disks read as before or as after the operation.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t stride = 7;

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
    /* What the disks read as afterwards: this point, or NULL: unchanged. */
    const char *(*after)(const struct scene *scene);
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
stopped_with_two_snapshots(struct scene *scene)
{
    running_with_two_snapshots(scene);
    rig_power(scene->rig, false);
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
running_with_a_backup(struct scene *scene)
{
    running(scene);
    take_backup(scene, scene->a);
}

static void
stopped_with_three_backups(struct scene *scene)
{
    running_with_a_backup(scene);
    take_backup(scene, scene->b);
    take_backup(scene, scene->c);
    rig_power(scene->rig, false);
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
    int result = rig_delete_snapshot(scene->rig, scene->a, err);

    rig_forget(scene->rig, scene->a);
    return result;
}

static int
do_delete_b(struct scene *scene, struct error *err)
{
    int result = rig_delete_snapshot(scene->rig, scene->b, err);

    rig_forget(scene->rig, scene->b);
    return result;
}

static int
do_backup(struct scene *scene, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_backup(scene->rig, false, uuid, err);
}

static int
do_restore_a(struct scene *scene, struct error *err)
{
    return rig_restore(scene->rig, scene->a, err);
}

static int
do_delete_backup_a(struct scene *scene, struct error *err)
{
    int result = rig_delete_backup(scene->rig, scene->a, err);

    rig_forget(scene->rig, scene->a);
    return result;
}

static int
do_delete_backup_c(struct scene *scene, struct error *err)
{
    int result = rig_delete_backup(scene->rig, scene->c, err);

    rig_forget(scene->rig, scene->c);
    return result;
}

static const char *
unchanged(const struct scene *scene)
{
    (void)scene;
    return NULL;
}

static const char *
as_a(const struct scene *scene)
{
    return scene->a;
}

static const struct operation operations[] = {
    {"snapshot, running", running, do_snapshot, unchanged},
    {"snapshot, running, quiesced", running, do_quiesced_snapshot, unchanged},
    {"snapshot, stopped", stopped, do_snapshot, unchanged},
    {"revert", stopped_with_two_snapshots, do_revert_a, as_a},
    {"delete with a mid-chain merge, running", running_with_two_snapshots,
     do_delete_a, unchanged},
    {"delete with an active merge, running", running_with_two_snapshots,
     do_delete_b, unchanged},
    {"delete with a merge, stopped", stopped_with_two_snapshots, do_delete_b,
     unchanged},
    {"delete below a hidden snapshot", stopped_on_a_branch, do_delete_b,
     unchanged},
    {"full backup, running", running, do_backup, unchanged},
    {"incremental backup, running", running_with_a_backup, do_backup,
     unchanged},
    {"restore", stopped_with_three_backups, do_restore_a, as_a},
    {"delete the first backup", stopped_with_three_backups, do_delete_backup_a,
     unchanged},
    {"delete the last backup", stopped_with_three_backups, do_delete_backup_c,
     unchanged},
};

/* -- the loop
 * ------------------------------------------------------------------ */

static void
after_restart(struct scene *scene, const struct operation *operation,
              uint64_t nth, const char *how)
{
    const char *after = operation->after(scene);
    const struct rig_point *point =
        after != NULL ? rig_find(scene->rig, after) : NULL;
    struct error err = ERROR_INIT;
    int result = rig_open(scene->rig, &err);

    /* A job that was written down but had not begun is done now. */
    if (result == 0)
        result = engine_drain(scene->rig->engine, &err);
    /* What an operation that failed left undone is done when asked again. */
    if (result == 0 &&
        rig_check(scene->rig, point != NULL ? &point->content : NULL, false,
                  &err) < 0)
        result = -1;
    /* A libvirt that lost track of a running disk is set right by a stop. */
    if (result < 0 && scene->rig->engine != NULL &&
        rig_is_running(scene->rig)) {
        rig_power(scene->rig, false);
        result = engine_settle(scene->rig->engine, &err);
        if (result == 0)
            result =
                rig_check(scene->rig, point != NULL ? &point->content : NULL,
                          false, &err);
    }
    if (result < 0)
        printf("# %s, %s at point %llu (%s): %s\n", operation->name, how,
               (unsigned long long)nth,
               fault_fired_name() != NULL ? fault_fired_name() : "?",
               err.message);
    CHECK(result == 0);
    rig_close(scene->rig);
}

/* The model forgets and goes back with the scene. */
struct memory {
    struct rig_point *points;
    size_t count;
};

static void
remember(const struct rig *rig, struct memory *memory)
{
    memory->count = rig->point_count;
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
        struct rig_content now = {{NULL}, {0}};

        rig_content_copy(&now, &rig->now);
        rig_content_copy(&rig->now, &memory->points[i].content);
        rig_learn(rig, memory->points[i].kind, memory->points[i].uuid);
        rig_content_copy(&rig->now, &now);
        rig_content_release(&now);
    }
}

static void
forget_memory(struct memory *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        rig_content_release(&memory->points[i].content);
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
    after_restart(scene, operation, nth, "failing");
    return fault_fired();
}

static bool
kill_at(struct scene *scene, const struct operation *operation, uint64_t nth)
{
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child;

    rig_load(scene->rig);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (rig_open(scene->rig, &err) < 0)
            _exit(3);
        fault_arm("*", nth, FAULT_KILL);
        (void)operation->act(scene, &err);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child ||
        (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
        printf("# the child could not open the scene\n");
        CHECK(false);
        return false;
    }
    /* The model forgets what the operation was told to delete. */
    if (operation->act == do_delete_a || operation->act == do_delete_backup_a)
        rig_forget(scene->rig, scene->a);
    if (operation->act == do_delete_b)
        rig_forget(scene->rig, scene->b);
    if (operation->act == do_delete_backup_c)
        rig_forget(scene->rig, scene->c);
    after_restart(scene, operation, nth, "killed");
    return WIFSIGNALED(status);
}

static void
run_operation(const struct operation *operation)
{
    struct scene scene = {.rig = rig_new(2, 8, false)};
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
    for (uint64_t nth = 1; kill_at(&scene, operation, nth); nth += stride) {
        killed++;
        recall(scene.rig, &memory);
    }
    printf("# %s: %llu failures, %llu kills\n", operation->name,
           (unsigned long long)failed, (unsigned long long)killed);
    printf("# count engine-faults %llu\n", (unsigned long long)failed);
    printf("# count engine-kills %llu\n", (unsigned long long)killed);
    CHECK(failed > 0 && killed > 0);
    forget_memory(&memory);
    rig_free(scene.rig);
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;

    if (argc > 1 && parse_u64(argv[1], &stride, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (getenv("VARVE_TEST_ALL") != NULL)
        stride = 1;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        if (argc > 2 && strcmp(argv[2], operations[i].name) != 0)
            continue;
        check_failures = 0;
        run_operation(&operations[i]);
        check_tests++;
        check_failed_tests += check_failures > 0;
        printf("%sok %d - %s survives every fault\n",
               check_failures > 0 ? "not " : "", check_tests,
               operations[i].name);
        (void)fflush(stdout);
    }
    return check_done();
}
