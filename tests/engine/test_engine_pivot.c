/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that ends around the pivot of a merge: in which of two files did
 * its guest write last?
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "hv/fake/hv_fake.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define CLUSTER ((uint64_t)65536)

static struct rig *rig;
static struct error err;
static char snapshot[UUID_TEXT_SIZE];
static char upper[4096]; /* the guest writes here, until the pivot */
static char lower[4096];

/* Cluster number `at` is full of this from now on. */
static void
guest_fills(uint64_t at, int with)
{
    uint8_t *bytes = rig->now.disks[0] + at * CLUSTER;

    memset(bytes, with, CLUSTER);
    CHECK_OK(hv_fake_guest_write(rig->hv, RIG_VM, "vda", bytes, at * CLUSTER,
                                 CLUSTER, &err),
             &err);
    CHECK_OK(hv_fake_memory(rig->hv, RIG_VM, &rig->now.memory, &err), &err);
}

/* A running machine whose guest has written cluster 0 since its snapshot. */
static void
take_snapshot(void)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};

    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    guest_fills(0, 1);
    CHECK_OK(hv_fake_view(rig->hv, RIG_VM, "vda", &view, &err), &err);
    REQUIRE(view.qemu_count == 2);
    (void)snprintf(upper, sizeof(upper), "%s", view.qemu_chain[0]);
    (void)snprintf(lower, sizeof(lower), "%s", view.qemu_chain[1]);
}

static void
begin(void)
{
    error_clear(&err);
    rig = rig_new(1, 3, false);
    rig_power(rig, true);
    take_snapshot();
}

/* libvirt is away when QEMU is to pivot, and it never hears of it. */
static void
until_the_pivot(void)
{
    hv_fake_script(rig->hv, "pivot", 1, HV_FAKE_LOST_BEFORE);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    hv_fake_script_clear(rig->hv);
    error_clear(&err);
}

/* QEMU has pivoted, and libvirtd died before it said so anywhere. */
static void
over_the_pivot(void)
{
    fault_arm("fake.pivot.between-qemu-and-live", 1, FAULT_FAIL);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(fault_fired());
    fault_disarm();
    error_clear(&err);
}

static void
settles(void)
{
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK_OK(rig_check(rig, !rig->may_leak, &err), &err);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    error_clear(&err);
}

static void
is_refused(void)
{
    CHECK(rig_settle(rig, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, upper) != NULL);
    CHECK(strstr(err.message, lower) != NULL);
    error_clear(&err);
    CHECK(rig_try_power(rig, true, &err) == -1); /* it is held */
    error_clear(&err);
}

static void
touch(const char *path, time_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};

    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

/* Whichever was written last. */
static void
is_refused_at_any_time(void)
{
    touch(upper, 1000000000);
    touch(lower, 2000000000);
    is_refused();
    touch(lower, 1000000000);
    is_refused();
    touch(upper, 2000000000);
    is_refused();
}

static void
what_was_never_copied_proves_that_there_was_no_pivot(void)
{
    begin();
    until_the_pivot();
    guest_fills(5, 2);
    rig_power(rig, false);
    touch(upper, 1000000000);
    settles();
    rig_free(rig);
}

static void
files_that_read_the_same_leave_no_doubt(void)
{
    begin();
    until_the_pivot();
    rig_power(rig, false);
    settles();
    rig_free(rig);
}

/* What was copied and rewritten, or written after the pivot, looks alike. */
static void
a_doubt_is_refused_and_the_upper_file_can_be_chosen(void)
{
    const char *const commit[] = {"qemu-img", "commit", "-q",  "-f",
                                  "qcow2",    "-d",     upper, NULL};

    begin();
    until_the_pivot();
    guest_fills(0, 2);
    rig_power(rig, false);
    is_refused_at_any_time();
    CHECK_OK(spawn_run(commit, 60000, NULL, &err), &err);
    settles();
    rig_free(rig);
}

static void
a_doubt_is_refused_and_the_lower_file_can_be_chosen(void)
{
    const struct hv_disk_change change = {
        .target = "vda", .path = lower, .format = "qcow2"};

    begin();
    over_the_pivot();
    guest_fills(0, 2);
    rig_power(rig, false);
    is_refused_at_any_time();
    CHECK_OK(hv_define_disks(rig->hv, RIG_VM, &change, 1, &err), &err);
    settles();
    rig_free(rig);
}

/* The definition could not be brought up to date before the machine ended. */
static void
a_pivot_that_was_seen_leaves_no_doubt(void)
{
    begin();
    over_the_pivot();
    hv_fake_script(rig->hv, "define_disks", 1, HV_FAKE_LOST_BEFORE);
    CHECK(rig_settle(rig, &err) == -1);
    error_clear(&err);
    guest_fills(0, 2);
    guest_fills(5, 2);
    rig_power(rig, false);
    touch(upper, 2000000000);
    settles();
    rig_free(rig);
}

/* Somebody aborted the job; the next one does not come to its end. */
static void
a_pivot_that_will_not_come_leaves_no_doubt(void)
{
    begin();
    until_the_pivot();
    CHECK_OK(hv_job_abort(rig->hv, RIG_VM, "vda", &err), &err);
    guest_fills(0, 2);
    hv_fake_script(rig->hv, "job_wait", 1, HV_FAKE_MACHINE_STOPS);
    (void)!rig_settle(rig, &err);
    error_clear(&err);
    CHECK(!rig_is_running(rig));
    rig->now.memory = 0;
    settles();
    rig_free(rig);
}

/* What was found out is not asked again of files that are being changed. */
static void
any_single_fault_leaves_the_decision_as_it_was(void)
{
    bool fired = true;

    for (uint64_t nth = 1; fired && nth < 300; nth++) {
        begin();
        rig->may_leak = true;
        until_the_pivot();
        for (uint64_t at = 0; at < 4; at++)
            guest_fills(2 * at, 2);
        rig_power(rig, false);
        fault_arm("*", nth, FAULT_FAIL);
        (void)!rig_settle(rig, &err);
        fired = fault_fired();
        fault_disarm();
        error_clear(&err);
        settles();
        rig_free(rig);
    }
    CHECK(!fired);
}

int
main(void)
{
    RUN(what_was_never_copied_proves_that_there_was_no_pivot);
    RUN(files_that_read_the_same_leave_no_doubt);
    RUN(a_doubt_is_refused_and_the_upper_file_can_be_chosen);
    RUN(a_doubt_is_refused_and_the_lower_file_can_be_chosen);
    RUN(a_pivot_that_was_seen_leaves_no_doubt);
    RUN(a_pivot_that_will_not_come_leaves_no_doubt);
    RUN(any_single_fault_leaves_the_decision_as_it_was);
    return check_done();
}
