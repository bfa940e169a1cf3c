/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was left in the repository while a manifest could not be read.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/repository.h"

#include <sys/wait.h>
#include <unistd.h>

static struct rig *rig;
static struct error err;

static char *
point_file(const char *vm, const char *point, const char *suffix)
{
    return xasprintf("%s/work/repository/points/%s/%s%s", rig->directory, vm,
                     point, suffix);
}

static void
put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    REQUIRE(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

/* It dies when the new point's files are there and its manifest is not; the
 * uuid of its backup. */
static void
die_in_a_backup(char ret_uuid[UUID_TEXT_SIZE])
{
    AUTO_STATE(backup) row = {0};
    AUTO_STATE_TX struct state_tx *tx = NULL;
    const struct state_where where[] = {STATE_TEXT("status", "Failed")};
    char uuid[UUID_TEXT_SIZE];
    int status = 0;
    pid_t child;

    rig_close(rig);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (rig_open(rig, &err) < 0)
            _exit(3);
        fault_arm("backup.volume-stored", 1, FAULT_KILL);
        (void)!rig_backup(rig, false, uuid, &err);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK_OK(rig_open(rig, &err), &err);
    tx = state_begin_read(rig->state, &err);
    REQUIRE(tx != NULL && state_backup_find(tx, where, 1, &row, &err) > 0);
    memcpy(ret_uuid, row.uuid, UUID_TEXT_SIZE);
}

static void
settle_repository(void)
{
    atomic_store(&rig->engine->repository_due_ms, 0);
    repository_tick(rig->engine);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
}

static void
a_stage_that_met_an_unreadable_manifest_goes_later(void)
{
    AUTO_FREE char *manifest = NULL;
    AUTO_FREE char *aside = NULL;
    AUTO_FREE char *marker = NULL;
    struct rig *other;
    char first[UUID_TEXT_SIZE];
    char dead[UUID_TEXT_SIZE] = "";

    error_clear(&err);
    rig = rig_new(1, 3, false);
    other = rig_new_beside(rig, 0, 1);
    CHECK_OK(rig_backup(other, false, first, &err), &err);
    manifest = point_file(other->vm, first, ".json");
    aside = xasprintf("%s/aside", rig->directory);
    CHECK(rename(manifest, aside) == 0);
    put(manifest, "{");
    die_in_a_backup(dead);
    rig_follow(other, rig);
    marker = point_file(rig->vm, dead, ".stage");
    CHECK(fd_exists(marker));
    settle_repository();
    CHECK(fd_exists(marker)); /* nothing may be unlinked yet */
    CHECK(rename(aside, manifest) == 0);
    settle_repository();
    CHECK(!fd_exists(marker));
    CHECK_OK(rig_check(rig, true, &err), &err); /* and no file is left over */
    rig_free_beside(other);
    rig_free(rig);
}

/* As of a backup whose job runs inside another one. */
static void
set_job(int64_t *id, const char *point, int64_t status)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(rig->state, &err);
    AUTO_STATE(job)
    row = {.id = *id, .status = status, .started = 1, .created = 1};

    state_set_text(&row.uuid, point);
    state_set_text(&row.command, "createBackup");
    state_set_text(&row.queue, "elsewhere");
    state_set_text(&row.instance_uuid, point);
    REQUIRE(tx != NULL);
    CHECK_OK(*id == 0 ? state_job_insert(tx, &row, &err)
                      : state_job_update(tx, &row, &err),
             &err);
    CHECK_OK(state_commit(tx, &err), &err);
    *id = row.id;
}

static void
what_a_job_works_at_is_left_alone(void)
{
    AUTO_FREE char *marker = NULL;
    char uuid[UUID_TEXT_SIZE];
    struct uuid point;
    int64_t id = 0;

    error_clear(&err);
    rig = rig_new(1, 3, false);
    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    rig_learn(rig, RIG_BACKUP, uuid);
    uuid_new(&point);
    marker = point_file(rig->vm, point.text, ".stage");
    put(marker, "{}");
    set_job(&id, point.text, 0);
    settle_repository();
    CHECK(fd_exists(marker));
    set_job(&id, point.text, 2);
    settle_repository();
    CHECK(!fd_exists(marker));
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* Another installation may be in the middle of it. */
static void
what_is_of_an_unknown_machine_is_left_alone(void)
{
    AUTO_FREE char *marker = NULL;
    AUTO_FREE char *folder = NULL;
    char uuid[UUID_TEXT_SIZE];
    struct uuid machine;
    struct uuid point;

    error_clear(&err);
    rig = rig_new(1, 3, false);
    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    uuid_new(&machine);
    uuid_new(&point);
    folder = point_file(machine.text, "", "");
    marker = point_file(machine.text, point.text, ".stage");
    CHECK_OK(fd_make_directories(folder, 0700, &err), &err);
    put(marker, "{}");
    settle_repository();
    CHECK(fd_exists(marker));
    rig_free(rig);
}

static void
set_removed(int64_t when)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(rig->state, &err);
    AUTO_STATE(vm) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", rig->vm)};

    REQUIRE(tx != NULL && state_vm_find(tx, where, 1, &row, &err) > 0);
    row.removed = when;
    CHECK_OK(state_vm_update(tx, &row, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

static void
what_is_of_a_removed_machine_is_settled(void)
{
    AUTO_FREE char *marker = NULL;
    char uuid[UUID_TEXT_SIZE];
    struct uuid point;

    error_clear(&err);
    rig = rig_new(1, 3, false);
    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    uuid_new(&point);
    marker = point_file(rig->vm, point.text, ".stage");
    put(marker, "{}");
    set_removed(1);
    settle_repository();
    CHECK(!fd_exists(marker));
    rig_free(rig);
}

int
main(void)
{
    RUN(a_stage_that_met_an_unreadable_manifest_goes_later);
    RUN(what_a_job_works_at_is_left_alone);
    RUN(what_is_of_an_unknown_machine_is_left_alone);
    RUN(what_is_of_a_removed_machine_is_settled);
    return check_done();
}
