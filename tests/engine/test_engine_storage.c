/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of VM snapshots by the storage of raw disks: when they are taken so,
 * what is refused, and that the guest comes first whatever fails.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/spawn.h"
#include "hv/fake/hv_fake.h"
#include "image/imagelock.h"
#include "storage/file/storage_file.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig *rig;
static struct error err;

static void
begin(size_t volumes, bool running)
{
    error_clear(&err);
    rig = rig_new_raw(volumes, 3);
    if (!running)
        return;
    rig_power(rig, true);
    rig_guest_write(rig);
}

/* Every invariant holds. */
static void
finish(void)
{
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* 0, or -1 and what the job ended with. */
static int
take_as(const struct request_vm_snapshot *args, char *ret_uuid)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(job) job = {0};
    struct ticket ticket;
    const struct state_where where[] = {STATE_TEXT("uuid", ticket.job)};

    if (request_vm_snapshot_create(rig->engine, &rig->caller, args, &ticket,
                                   &err) < 0 ||
        engine_drain(rig->engine, &err) < 0)
        return -1;
    memcpy(ret_uuid, ticket.object, UUID_TEXT_SIZE);
    tx = state_begin_read(rig->state, &err);
    if (tx == NULL || state_job_find(tx, where, 1, &job, &err) <= 0)
        return -1;
    return job.status == 1 ? 0
                           : error_set(&err, ERROR_IO, "%s",
                                       job.result != NULL ? job.result : "");
}

static int
take(char *ret_uuid)
{
    const struct request_vm_snapshot args = {.vm = RIG_VM};

    return take_as(&args, ret_uuid);
}

/* The snapshot's row, or an empty one when it is no longer living. */
static void
row_of(const char *uuid, struct state_vm_snapshot *ret)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &ignored);
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};

    if (tx == NULL || state_vm_snapshot_find(tx, where, 2, ret, &ignored) <= 0)
        state_set_text(&ret->state, "none");
}

static void
state_is(const char *uuid, const char *expected)
{
    AUTO_STATE(vm_snapshot) row = {0};

    row_of(uuid, &row);
    CHECK_TEXT(row.state, expected);
}

/* How many layers were made by a storage; *ret_all: of how many. */
static size_t
stored(size_t *ret_all)
{
    AUTO_TREE struct tree *tree = NULL;
    size_t count = 0;

    *ret_all = 0;
    if (tree_read(rig->state, 1, &tree, &err) < 0)
        return SIZE_MAX;
    for (size_t i = 0; i < tree->count; i++) {
        *ret_all += tree->volumes[i].layers.count;
        for (size_t k = 0; k < tree->volumes[i].layers.count; k++)
            count += tree->volumes[i].layers.items[k].storage != NULL;
    }
    return count;
}

static void
layers_are(size_t by_storage, size_t all)
{
    size_t count = 0;

    CHECK(stored(&count) == by_storage);
    CHECK(count == all);
}

static bool
is_frozen(void)
{
    return hv_is_frozen(rig->hv, RIG_VM, &err) == 1;
}

/* -- when ------------------------------------------------------------------ */

static void
raw_disks_stay_raw(void)
{
    char uuid[UUID_TEXT_SIZE];
    AUTO_STATE(vm_snapshot) row = {0};

    begin(2, true);
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    layers_are(2, 4);
    row_of(uuid, &row);
    CHECK_TEXT(row.state, "Ready");
    CHECK(row.quiesced == 1);
    CHECK(hv_fake_calls(rig->hv, "freeze") == 1);
    CHECK(hv_fake_calls(rig->hv, "snapshot") == 0);
    rig_guest_write(rig);
    finish();
}

static void
the_setting_chooses(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(1, true);
    rig_setting(rig, "kvm.vmsnapshot.enabled", "false");
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    layers_are(0, 2);
    CHECK(hv_fake_calls(rig->hv, "freeze") == 0);
    rig_setting(rig, "kvm.vmsnapshot.enabled", "true");
    rig_guest_write(rig);
    /* It has a chain now: layers again. */
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    layers_are(0, 3);
    finish();
}

static void
a_machine_that_stands_still_is_not_frozen(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    CHECK_OK(hv_fake_power(rig->hv, RIG_VM, HV_PAUSED, &err), &err);
    CHECK_OK(take(uuid), &err);
    layers_are(2, 4);
    CHECK(hv_fake_calls(rig->hv, "freeze") == 0);
    CHECK_OK(hv_fake_power(rig->hv, RIG_VM, HV_RUNNING, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    finish();
}

static void
snapshots_and_backups_go_together(void)
{
    char snapshot[UUID_TEXT_SIZE];
    char backup[UUID_TEXT_SIZE];
    char more[UUID_TEXT_SIZE];

    begin(2, true);
    CHECK_OK(take(snapshot), &err);
    rig_learn(rig, RIG_SNAPSHOT, snapshot);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    rig_learn(rig, RIG_BACKUP, backup);
    rig_guest_write(rig);
    rig_power(rig, false);
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    rig_go_back(rig, snapshot);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, more, &err), &err);
    rig_learn(rig, RIG_BACKUP, more);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    rig_forget(rig, snapshot);
    finish();
}

/* -- what is refused ------------------------------------------------------- */

static void
memory_is_refused(void)
{
    const struct request_vm_snapshot args = {.vm = RIG_VM, .memory = true};
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    CHECK(take_as(&args, uuid) == -1);
    CHECK(strstr(err.message, "cannot keep memory") != NULL);
    state_is(uuid, "none");
    layers_are(0, 2);
    rig_setting(rig, "kvm.vmsnapshot.enabled", "false");
    CHECK_OK(take_as(&args, uuid), &err);
    finish();
}

static void
without_an_agent_it_is_refused_unless_a_crash_will_do(void)
{
    const struct request_vm_snapshot crash = {.vm = RIG_VM,
                                              .crash_consistent = true};
    char uuid[UUID_TEXT_SIZE];
    AUTO_STATE(vm_snapshot) row = {0};

    begin(1, true);
    CHECK_OK(hv_fake_set_agent(rig->hv, RIG_VM, true, false, &err), &err);
    CHECK(take(uuid) == -1);
    CHECK(strstr(err.message, "no guest agent that answers") != NULL);
    CHECK(strstr(err.message, "quiescevm=false") != NULL);
    state_is(uuid, "none");
    layers_are(0, 1);
    CHECK_OK(take_as(&crash, uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    row_of(uuid, &row);
    CHECK(row.quiesced == 0);
    layers_are(1, 2);
    CHECK(hv_fake_calls(rig->hv, "freeze") == 0);
    CHECK_OK(hv_fake_set_agent(rig->hv, RIG_VM, true, true, &err), &err);
    finish();
}

/* QEMU switches several disks at one moment; clones are several moments. */
static void
several_disks_of_a_guest_that_goes_on_are_layers(void)
{
    const struct request_vm_snapshot crash = {.vm = RIG_VM,
                                              .crash_consistent = true};
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    CHECK_OK(take_as(&crash, uuid), &err);
    layers_are(0, 4);
    CHECK(hv_fake_calls(rig->hv, "snapshot") == 1);
    rig_power(rig, false);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    CHECK_OK(take_as(&crash, uuid), &err);
    layers_are(2, 4);
    finish();
}

static void
the_reserve_counts_for_every_disk(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    fault_arm("reserve.look", 2, FAULT_FAIL);
    CHECK(take(uuid) == -1);
    fault_disarm();
    CHECK(strstr(err.message, "disk 'vdb': free space of") != NULL);
    state_is(uuid, "none");
    layers_are(0, 2);
    CHECK(hv_fake_calls(rig->hv, "freeze") == 0);
    finish();
}

/* So many that half a budget of two seconds is just enough for both. */
static uint64_t extents = 10000;

static int
count(int fd, uint64_t most, uint64_t *ret_count)
{
    (void)fd;
    *ret_count = extents < most ? extents : most;
    return 0;
}

static void
fragmented_disks_are_layers_and_quiesced(void)
{
    char uuid[UUID_TEXT_SIZE];
    AUTO_STATE(vm_snapshot) row = {0};

    begin(2, true);
    rig_setting(rig, "vmsnapshot.freeze.budget", "2000");
    storage_file_set_counter(rig->storage, count);
    extents = 10000;
    CHECK_OK(take(uuid), &err);
    layers_are(2, 4);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    extents = 10200;
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    layers_are(0, 4);
    row_of(uuid, &row);
    CHECK_TEXT(row.state, "Ready");
    CHECK(row.quiesced == 1);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    rig_forget(rig, uuid);
    /* Nobody waits for a clone of a machine that is stopped. */
    rig_power(rig, false);
    CHECK_OK(take(uuid), &err);
    layers_are(2, 4);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    finish();
}

/* Frozen or not, a guest waits for its disk. */
static void
fragmented_disks_are_layers_for_a_guest_that_goes_on(void)
{
    const struct request_vm_snapshot crash = {.vm = RIG_VM,
                                              .crash_consistent = true};
    char uuid[UUID_TEXT_SIZE];
    AUTO_STATE(vm_snapshot) row = {0};

    begin(1, true);
    rig_setting(rig, "vmsnapshot.freeze.budget", "2000");
    storage_file_set_counter(rig->storage, count);
    extents = 20200;
    CHECK_OK(take_as(&crash, uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    layers_are(0, 2);
    row_of(uuid, &row);
    CHECK(row.quiesced == 0);
    finish();
}

/* -- the guest comes first ------------------------------------------------- */

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

static int
thaws_meanwhile(int from, int to)
{
    struct error ignored = ERROR_INIT;

    (void)!hv_thaw(rig->hv, RIG_VM, &ignored);
    return copy_file(from, to);
}

static int
takes_long(int from, int to)
{
    (void)poll(NULL, 0, 150);
    return copy_file(from, to);
}

static int started;

static int
starts_meanwhile(int from, int to)
{
    struct error ignored = ERROR_INIT;

    started += hv_fake_power(rig->hv, RIG_VM, HV_RUNNING, &ignored) == 0;
    return copy_file(from, to);
}

static void
fails_and_leaves_nothing(const char *text)
{
    char uuid[UUID_TEXT_SIZE];

    CHECK(take(uuid) == -1);
    CHECK(strstr(err.message, text) != NULL);
    CHECK(!is_frozen());
    state_is(uuid, "Error");
    layers_are(0, 2);
    storage_file_set_cloner(rig->storage, copy_file);
    CHECK_OK(rig_check(rig, false, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    finish();
}

static void
one_that_thawed_by_itself_has_no_snapshot(void)
{
    begin(2, true);
    storage_file_set_cloner(rig->storage, thaws_meanwhile);
    fails_and_leaves_nothing("thawed by itself before its snapshot was "
                             "complete; try again, raise "
                             "vmsnapshot.freeze.budget, or say "
                             "quiescevm=false");
}

static void
the_budget_is_kept(void)
{
    begin(2, true);
    rig_setting(rig, "vmsnapshot.freeze.budget", "100");
    storage_file_set_cloner(rig->storage, takes_long);
    fails_and_leaves_nothing("disk 'vdb': there was no time left for its "
                             "snapshot; try again, raise "
                             "vmsnapshot.freeze.budget");
}

static int clones;

/* Within the budget of a second until the last disk. */
static int
last_takes_long(int from, int to)
{
    if (++clones == 2)
        (void)poll(NULL, 0, 1100);
    return copy_file(from, to);
}

static void
one_that_was_frozen_too_long_says_how_long(void)
{
    begin(2, true);
    clones = 0;
    rig_setting(rig, "vmsnapshot.freeze.budget", "1000");
    storage_file_set_cloner(rig->storage, last_takes_long);
    fails_and_leaves_nothing(" ms, allowed are 1000 ms; try again, raise "
                             "vmsnapshot.freeze.budget, or say "
                             "quiescevm=false");
}

static void
one_disk_of_two_that_fails_is_named(void)
{
    begin(2, true);
    fault_arm("storage.clone", 2, FAULT_FAIL);
    fails_and_leaves_nothing("disk 'vdb'");
    fault_disarm();
}

static void
an_agent_that_does_not_freeze_is_told_of(void)
{
    begin(2, true);
    hv_fake_script(rig->hv, "freeze", 1, HV_FAKE_TIMEOUT);
    fails_and_leaves_nothing("were not frozen");
}

static void
a_stopped_machine_stays_so_meanwhile(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(2, false);
    started = 0;
    storage_file_set_cloner(rig->storage, starts_meanwhile);
    CHECK_OK(take(uuid), &err);
    CHECK(started == 0);
    layers_are(2, 4);
    finish();
}

static int writer = -1;
static const char *written;

static void
open_for_writing(const char *path)
{
    struct error ignored = ERROR_INIT;

    writer = open(path, O_RDWR | O_CLOEXEC);
    CHECK_OK(imagelock_take(writer, IMAGELOCK_WRITE, path, &ignored), &ignored);
}

static int
is_written_meanwhile(int from, int to)
{
    if (writer < 0)
        open_for_writing(written);
    return copy_file(from, to);
}

/* The file of a disk of the machine. */
static char *
file_of(const char *target)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    CHECK_OK(hv_fake_view(rig->hv, RIG_VM, target, &view, &err), &err);
    return steal(&view.inactive_top);
}

/* "qemu-nbd" has it open, before or from the moment of the first clone. */
static void
nobody_may_write_to_a_stopped_machine(void)
{
    for (int meanwhile = 0; meanwhile < 2; meanwhile++) {
        AUTO_FREE char *path = NULL;
        char uuid[UUID_TEXT_SIZE];

        begin(2, false);
        path = file_of("vdb");
        written = path;
        if (meanwhile != 0)
            storage_file_set_cloner(rig->storage, is_written_meanwhile);
        else
            open_for_writing(path);
        CHECK(take(uuid) == -1);
        CHECK(strstr(err.message, path) != NULL);
        CHECK(strstr(err.message, "another program writes") != NULL);
        CHECK(writer >= 0 && close(writer) == 0);
        writer = -1;
        state_is(uuid, "Error");
        layers_are(0, 2);
        storage_file_set_cloner(rig->storage, copy_file);
        CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
        CHECK_OK(take(uuid), &err);
        rig_learn(rig, RIG_SNAPSHOT, uuid);
        finish();
    }
}

/* Somebody takes a snapshot by other means: QEMU goes on in an overlay. */
static char *overlay;

static int
switch_disk(struct error *reason)
{
    AUTO_FREE char *base = file_of("vdb");
    const struct hv_disk_change change = {
        .target = "vdb", .path = overlay, .format = "qcow2"};
    const char *const argv[] = {"qemu-img", "create", "-q",  "-f",
                                "qcow2",    "-F",     "raw", "-b",
                                base,       overlay,  NULL};

    if (fd_exists(overlay))
        return 0;
    if (spawn_run(argv, 0, NULL, reason) < 0)
        return -1;
    return hv_snapshot(rig->hv, RIG_VM, &change, 1, false, reason);
}

static int
is_switched_meanwhile(int from, int to)
{
    struct error reason = ERROR_INIT;

    CHECK_OK(switch_disk(&reason), &reason);
    return copy_file(from, to);
}

/* virsh blockcommit --active --pivot */
static void
merge_overlay(void)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    CHECK_OK(hv_fake_view(rig->hv, RIG_VM, "vdb", &view, &err), &err);
    REQUIRE(view.qemu_count == 2);
    CHECK_OK(hv_commit_start(rig->hv, RIG_VM, "vdb", NULL, view.qemu_chain[1],
                             0, &err),
             &err);
    CHECK_OK(hv_fake_finish_jobs(rig->hv, RIG_VM, &err), &err);
    CHECK_OK(hv_pivot(rig->hv, RIG_VM, "vdb", &err), &err);
    CHECK(unlink(overlay) == 0);
}

static void
what_qemu_does_not_write_to_is_no_snapshot(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    overlay = xasprintf("%s/overlay.qcow2", rig->directory);
    storage_file_set_cloner(rig->storage, is_switched_meanwhile);
    CHECK(take(uuid) == -1);
    CHECK(strstr(err.message, "disk 'vdb': QEMU writes to") != NULL);
    CHECK(strstr(err.message, overlay) != NULL);
    CHECK(!is_frozen());
    state_is(uuid, "Error");
    layers_are(0, 2);
    merge_overlay();
    storage_file_set_cloner(rig->storage, copy_file);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    CHECK_OK(take(uuid), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    finish();
    free(overlay);
}

/* It dies when it begins to undo: by then the guest is thawed. */
static void
thawing_comes_before_undoing(void)
{
    char uuid[UUID_TEXT_SIZE];
    int status = 0;
    pid_t child;

    begin(2, true);
    rig_close(rig);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (rig_open(rig, &err) < 0)
            _exit(3);
        storage_file_set_cloner(rig->storage, takes_long);
        rig_setting(rig, "vmsnapshot.freeze.budget", "100");
        fault_arm("storage.undo", 1, FAULT_KILL);
        (void)!take(uuid);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    {
        AUTO_FREE char *machines =
            xasprintf("%s/work/machines", rig->directory);
        AUTO_HV struct hv *hv = hv_fake_open(machines, &err);

        REQUIRE(hv != NULL);
        CHECK(hv_is_frozen(hv, RIG_VM, &err) == 0);
    }
    CHECK_OK(rig_open(rig, &err), &err);
    layers_are(0, 2);
    finish();
}

static void
why_one_was_not_recorded_is_kept(void)
{
    char uuid[UUID_TEXT_SIZE];
    AUTO_STATE(vm_snapshot) row = {0};

    begin(2, true);
    fault_arm("shot.record", 1, FAULT_FAIL);
    CHECK(take(uuid) == -1);
    fault_disarm();
    CHECK(!is_frozen());
    CHECK_OK(rig_settle(rig, &err), &err);
    row_of(uuid, &row);
    CHECK_TEXT(row.state, "Error");
    CHECK_TEXT(row.problem, "it was not recorded, and nothing was changed: "
                            "record of 'rig': Input/output error");
    layers_are(0, 2);
    finish();
}

/* libvirtd is gone when the guest is to be thawed. */
static void
one_that_cannot_be_thawed_now_is_thawed_later(void)
{
    char uuid[UUID_TEXT_SIZE];

    begin(2, true);
    hv_fake_script(rig->hv, "thaw", 1, HV_FAKE_LOST_BEFORE);
    hv_fake_script(rig->hv, "thaw", 2, HV_FAKE_LOST_BEFORE);
    CHECK(take(uuid) == -1);
    CHECK(strstr(err.message, "will be thawed") != NULL);
    CHECK(is_frozen());
    state_is(uuid, "Creating");
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK(!is_frozen());
    state_is(uuid, "Error");
    layers_are(0, 2);
    finish();
}

/* It dies when the first clone is under its name; when it comes back, the
 * file system of the disks is not mounted yet. */
static void
what_is_not_mounted_is_undone_later(void)
{
    AUTO_FREE char *pool = NULL;
    AUTO_FREE char *away = NULL;
    AUTO_FREE char *disk = NULL;
    char uuid[UUID_TEXT_SIZE];
    pid_t child;

    begin(1, false);
    disk = file_of("vda");
    pool = path_parent(disk);
    away = xasprintf("%s.away", pool);
    rig_close(rig);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (rig_open(rig, &err) < 0)
            _exit(3);
        fault_arm("storage.directory", 1, FAULT_KILL);
        (void)!take(uuid);
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(rename(pool, away) == 0 && mkdir(pool, 0700) == 0);
    CHECK_OK(rig_open(rig, &err), &err);
    CHECK(rig_settle(rig, &err) == -1);
    CHECK(strstr(err.message, "is its file system mounted?") != NULL);
    CHECK(rmdir(pool) == 0 && rename(away, pool) == 0);
    CHECK_OK(rig_settle(rig, &err), &err);
    layers_are(0, 1);
    finish(); /* and no file is left over */
}

int
main(void)
{
    RUN(raw_disks_stay_raw);
    RUN(the_setting_chooses);
    RUN(a_machine_that_stands_still_is_not_frozen);
    RUN(snapshots_and_backups_go_together);
    RUN(memory_is_refused);
    RUN(without_an_agent_it_is_refused_unless_a_crash_will_do);
    RUN(several_disks_of_a_guest_that_goes_on_are_layers);
    RUN(the_reserve_counts_for_every_disk);
    RUN(fragmented_disks_are_layers_and_quiesced);
    RUN(fragmented_disks_are_layers_for_a_guest_that_goes_on);
    RUN(one_that_thawed_by_itself_has_no_snapshot);
    RUN(the_budget_is_kept);
    RUN(one_that_was_frozen_too_long_says_how_long);
    RUN(one_disk_of_two_that_fails_is_named);
    RUN(an_agent_that_does_not_freeze_is_told_of);
    RUN(a_stopped_machine_stays_so_meanwhile);
    RUN(nobody_may_write_to_a_stopped_machine);
    RUN(what_qemu_does_not_write_to_is_no_snapshot);
    RUN(thawing_comes_before_undoing);
    RUN(why_one_was_not_recorded_is_kept);
    RUN(one_that_cannot_be_thawed_now_is_thawed_later);
    RUN(what_is_not_mounted_is_undone_later);
    return check_done();
}
