/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restoring a backup with a volume that its machine does not have any more, or
 * to a machine that is not as stopped as it looked.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "hv/fake/hv_fake.h"
#include "image/imagelock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig *rig;
static struct error err;
static char backup[UUID_TEXT_SIZE];
static char detached[UUID_TEXT_SIZE];

/* A backup of two disks; then the second one is written to and detached. */
static void
begin(void)
{
    error_clear(&err);
    rig = rig_new(2, 3, false);
    rig_setting(rig, "backup.enable.attach.detach.of.volumes", "true");
    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    rig_learn(rig, RIG_BACKUP, backup);
    rig_guest_write(rig);
    rig_power(rig, false);
    rig_volume(rig, 1, detached);
    CHECK_OK(rig_detach(rig, detached, &err), &err);
}

/* The row of a living volume; its id is 0 when it is none. */
static void
volume_row(const char *uuid, struct state_volume *ret)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};

    CHECK(tx != NULL && state_volume_find(tx, where, 2, ret, &err) >= 0);
}

static uint64_t
living_volumes(void)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_LIVING};
    uint64_t count = 0;

    CHECK(tx != NULL &&
          state_volume_count(tx, STATE_QUERY(where), &count, &err) == 0);
    return count;
}

static size_t
files(void)
{
    AUTO_FREE char *pool = xasprintf("%s/work/pool", rig->directory);
    DIR *entries = opendir(pool);
    size_t count = 0;

    while (entries != NULL && readdir(entries) != NULL)
        count++;
    if (entries != NULL)
        (void)closedir(entries);
    return count;
}

/* With the detached one out of the way everything is as the model has it. */
static void
finish(void)
{
    rig_go_back(rig, backup);
    CHECK_OK(rig_delete_volume(rig, detached, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    rig_learn(rig, RIG_BACKUP, backup);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_new_volume_takes_its_place(void)
{
    AUTO_STATE(volume) before = {0};
    AUTO_STATE(volume) old = {0};
    AUTO_STATE(volume) made = {0};
    char uuid[UUID_TEXT_SIZE];

    begin();
    volume_row(detached, &before);
    CHECK_OK(rig_restore(rig, backup, &err), &err);
    volume_row(detached, &old);
    CHECK(old.vm_id == 0 && old.layer_id == before.layer_id);
    CHECK(living_volumes() == 3);
    rig_volume(rig, 1, uuid);
    CHECK(strcmp(uuid, detached) != 0);
    volume_row(uuid, &made);
    CHECK_TEXT(made.target, "vdb");
    CHECK(made.device_id == 1);
    CHECK_TEXT(made.type, "DATADISK");
    CHECK_TEXT(made.state, "Ready");
    CHECK(made.account_id == before.account_id);
    finish();
}

/* Somebody else has the place: another id, another target. */
static void
a_place_that_is_taken_is_left_alone(void)
{
    AUTO_STATE(volume) made = {0};
    char other[UUID_TEXT_SIZE];
    char uuid[UUID_TEXT_SIZE];

    begin();
    CHECK_OK(rig_create_volume(rig, other, &err), &err);
    CHECK_OK(rig_attach(rig, other, &err), &err);
    CHECK_OK(rig_restore(rig, backup, &err), &err);
    rig_volume(rig, 2, uuid);
    volume_row(uuid, &made);
    CHECK_TEXT(made.target, "vdc");
    CHECK(made.device_id == 2);
    CHECK_OK(rig_detach(rig, other, &err), &err);
    CHECK_OK(rig_delete_volume(rig, other, &err), &err);
    rig_free(rig);
}

static void
without_its_root_disk_it_is_refused(void)
{
    char root[UUID_TEXT_SIZE];

    begin();
    rig_volume(rig, 0, root);
    CHECK_OK(rig_detach(rig, root, &err), &err);
    CHECK(rig_restore(rig, backup, &err) == -1);
    CHECK(strstr(err.message, "the root disk of the backup") != NULL);
    error_clear(&err);
    rig_free(rig);
}

static const char *const places[] = {
    "restore.volume",
    "restore.new-volume",
    "restore.new-volume-filled",
    "fake.define_disks.before",
    "retop.record",
    "restore.before-attach",
    "volume.before-attach",
    "volume.record",
};

static void
a_failure_anywhere_leaves_nothing(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        size_t before;
        uint64_t volumes;

        begin();
        before = files();
        fault_arm(places[i], 1, FAULT_FAIL);
        if (rig_restore(rig, backup, &err) == 0)
            printf("# it went on after '%s'\n", places[i]);
        fault_disarm();
        error_clear(&err);
        CHECK_OK(rig_settle(rig, &err), &err);
        volumes = living_volumes();
        /* All of it, or nothing; or the new volume is there and detached. */
        CHECK(volumes == 2 || volumes == 3);
        if (volumes == 2)
            CHECK(files() <= before);
        if (check_failures > 0)
            printf("# at '%s'\n", places[i]);
        CHECK_OK(rig_restore(rig, backup, &err), &err);
        rig_free(rig);
    }
}

static void
a_death_anywhere_leaves_nothing(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        int status = 0;
        uint64_t volumes;
        size_t before;
        pid_t child;

        begin();
        before = files();
        rig_close(rig);
        (void)fflush(stdout);
        child = fork();
        if (child == 0) {
            if (rig_open(rig, &err) < 0)
                _exit(3);
            fault_arm(places[i], 1, FAULT_KILL);
            (void)!rig_restore(rig, backup, &err);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        CHECK_OK(rig_open(rig, &err), &err);
        CHECK_OK(rig_settle(rig, &err), &err);
        volumes = living_volumes();
        CHECK(volumes == 2 || volumes == 3);
        if (volumes == 2)
            CHECK(files() <= before);
        if (check_failures > 0)
            printf("# at '%s'\n", places[i]);
        CHECK_OK(rig_restore(rig, backup, &err), &err);
        rig_free(rig);
    }
}

static int
take_snapshot(void)
{
    char uuid[UUID_TEXT_SIZE];

    return rig_snapshot(rig, false, uuid, &err);
}

static int
restore_backup(void)
{
    return rig_restore(rig, backup, &err);
}

/* The guest is started by somebody whom no hook keeps from it. */
static void
start_behind_our_back(void)
{
    AUTO_FREE char *machines = xasprintf("%s/work/machines", rig->directory);
    struct hv *hv = hv_fake_open(machines, &err);

    CHECK(hv != NULL);
    CHECK_OK(hv_start(hv, RIG_VM, &err), &err);
    hv_free(hv);
}

/* Stopped when it was looked at, started before its definition is changed. */
static void
a_machine_that_was_started_meanwhile_keeps_its_disks(void)
{
    static const struct {
        int (*function)(void);
        const char *place;
    } operations[] = {
        {restore_backup, "restore.before-hold"},
        {take_snapshot, "retop.overlay"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        int status = 0;
        pid_t child;

        begin();
        rig_close(rig);
        (void)fflush(stdout);
        child = fork();
        if (child == 0) {
            if (rig_open(rig, &err) < 0)
                _exit(3);
            fault_arm(operations[i].place, 1, FAULT_STOP);
            if (operations[i].function() == 0)
                _exit(4);
            _exit(err.code == ERROR_CONFLICT ? 0 : 5);
        }
        CHECK(waitpid(child, &status, WUNTRACED) == child &&
              WIFSTOPPED(status));
        start_behind_our_back();
        CHECK(kill(child, SIGCONT) == 0);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) &&
              WEXITSTATUS(status) == 0);
        CHECK_OK(rig_open(rig, &err), &err);
        CHECK(rig_is_running(rig));
        rig_power(rig, false);
        CHECK_OK(rig_check(rig, true, &err), &err);
        rig_free(rig);
    }
}

/* To the hypervisor the machine is stopped; a QEMU that it has lost is not. */
static void
a_disk_that_somebody_writes_keeps_its_file(void)
{
    int (*const operations[])(void) = {take_snapshot, restore_backup};

    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
        int writer;

        begin();
        CHECK_OK(hv_fake_view(rig->hv, RIG_VM, "vda", &view, &err), &err);
        writer = open(view.inactive_top, O_RDWR | O_CLOEXEC);
        CHECK_OK(imagelock_take(writer, IMAGELOCK_WRITE, "vda", &err), &err);
        CHECK(operations[i]() == -1 && err.code == ERROR_BUSY);
        CHECK(strstr(err.message, "another program writes its disk 'vda'") !=
              NULL);
        error_clear(&err);
        CHECK(close(writer) == 0);
        CHECK_OK(rig_check(rig, true, &err), &err);
        CHECK_OK(operations[i](), &err);
        rig_free(rig);
    }
}

/* The volume that is being made, as another process sees it; it takes it over
 * when it is to. */
static void
look_at_new_volume(bool take, char ret_uuid[UUID_TEXT_SIZE])
{
    AUTO_FREE char *database = xasprintf("%s/work/varve.db", rig->directory);
    const struct state_where where[] = {STATE_TEXT("state", "Creating"),
                                        STATE_LIVING};
    struct state *state = state_open(database, &err);
    AUTO_STATE(volume) row = {0};

    CHECK(state != NULL);
    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);

        CHECK(tx != NULL && state_volume_find(tx, where, 2, &row, &err) == 1);
        (void)snprintf(ret_uuid, UUID_TEXT_SIZE, "%s", row.uuid);
        if (take) {
            state_set_text(&row.state, "Ready");
            CHECK_OK(state_volume_update(tx, &row, &err), &err);
        }
        CHECK_OK(state_commit(tx, &err), &err);
    }
    state_close(state);
}

/* Until it is attached it is Creating, which no request accepts, and settling
 * removes nothing else. */
static void
only_a_volume_in_the_making_is_removed(void)
{
    for (int taken = 0; taken < 2; taken++) {
        AUTO_STATE(volume) row = {0};
        char uuid[UUID_TEXT_SIZE] = "";
        int status = 0;
        pid_t child;

        begin();
        rig_close(rig);
        (void)fflush(stdout);
        child = fork();
        if (child == 0) {
            if (rig_open(rig, &err) < 0)
                _exit(3);
            fault_arm("fake.define_disks.before", 1, FAULT_STOP);
            (void)!rig_restore(rig, backup, &err);
            _exit(0);
        }
        CHECK(waitpid(child, &status, WUNTRACED) == child &&
              WIFSTOPPED(status));
        look_at_new_volume(taken != 0, uuid);
        CHECK(kill(child, SIGKILL) == 0);
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        CHECK_OK(rig_open(rig, &err), &err);
        volume_row(uuid, &row);
        CHECK((row.id != 0) == (taken != 0));
        if (taken)
            CHECK_OK(rig_delete_volume(rig, uuid, &err), &err);
        CHECK_OK(rig_restore(rig, backup, &err), &err);
        finish();
    }
}

int
main(void)
{
    RUN(a_new_volume_takes_its_place);
    RUN(a_place_that_is_taken_is_left_alone);
    RUN(without_its_root_disk_it_is_refused);
    RUN(a_failure_anywhere_leaves_nothing);
    RUN(a_death_anywhere_leaves_nothing);
    RUN(a_machine_that_was_started_meanwhile_keeps_its_disks);
    RUN(a_disk_that_somebody_writes_keeps_its_file);
    RUN(only_a_volume_in_the_making_is_removed);
    return check_done();
}
