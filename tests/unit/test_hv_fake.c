/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fake has beyond the contract of hv.h: state that outlives its
 * process, scripts, events, and a guest's bytes.
 */
#include "check.h"
#include "oracle.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#include "hv/fake/hv_fake.h"

#include <signal.h>
#include <sys/stat.h>

static const char uuid[] = "11111111-2222-4333-8444-555555555555";

static struct scratch scratch;
static struct error err;
static char *base;
static char *top;
static const struct hv_disk_change *change;

/* A running machine with one disk of a fresh image, and an overlay for it. */
static struct hv *
open_bed(void)
{
    static struct hv_disk_change one;
    struct hv *hv = hv_fake_open("machines", &err);
    const struct hv_fake_disk disk = {.target = "vda", .path = base};

    one = (struct hv_disk_change){"vda", top, "qcow2"};
    change = &one;
    error_clear(&err);
    if (hv == NULL ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", base, "1M") ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F",
                "qcow2", top) ||
        hv_fake_add_machine(hv, uuid, "web1", &disk, 1, &err) < 0 ||
        hv_start(hv, uuid, &err) < 0)
        abort();
    return hv;
}

static bool
write_byte(struct hv *hv, uint64_t offset, char value)
{
    char buffer[512];

    memset(buffer, value, sizeof(buffer));
    return hv_fake_guest_write(hv, uuid, "vda", buffer, offset, sizeof(buffer),
                               &err) == 0;
}

static bool
reads_as(const char *path, uint64_t offset, int value)
{
    AUTO_FREE char *command =
        xasprintf("read -P %d %llu 512", value, (unsigned long long)offset);
    AUTO_FREE char *said =
        oracle_output("qemu-io", "-r", "-f", "qcow2", "-c", command, path);

    return said != NULL && strstr(said, "verification failed") == NULL;
}

static bool
has_view(struct hv *hv, const char *qemu, const char *live,
         const char *inactive)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};

    return hv_view(hv, uuid, "vda", &view, &err) == 0 && view.qemu_count > 0 &&
           strcmp(view.qemu_chain[0], qemu) == 0 &&
           strcmp(view.live_top, live) == 0 &&
           strcmp(view.inactive_top, inactive) == 0;
}

/* -- the guest ------------------------------------------------------------- */

static void
the_guest_writes_into_the_top(void)
{
    AUTO_HV struct hv *hv = open_bed();

    CHECK(write_byte(hv, 0, 'a'));
    CHECK_OK(hv_snapshot(hv, uuid, change, 1, false, &err), &err);
    CHECK(write_byte(hv, 512, 'b'));
    CHECK(reads_as(base, 0, 'a') && reads_as(base, 512, 0));
    CHECK(reads_as(top, 0, 'a') && reads_as(top, 512, 'b'));
    CHECK_OK(hv_freeze(hv, uuid, 1000, &err), &err);
    CHECK(!write_byte(hv, 512, 'c') && err.code == ERROR_BUSY);
    CHECK_OK(hv_thaw(hv, uuid, &err), &err);
    CHECK_OK(hv_destroy(hv, uuid, &err), &err);
    CHECK(!write_byte(hv, 512, 'c') && err.code == ERROR_CONFLICT);
}

static void
what_is_written_while_ready_is_in_the_base_after_the_pivot(void)
{
    AUTO_HV struct hv *hv = open_bed();
    struct hv_job job;

    CHECK_OK(hv_snapshot(hv, uuid, change, 1, false, &err), &err);
    CHECK(write_byte(hv, 0, 'a'));
    CHECK_OK(hv_commit_start(hv, uuid, "vda", NULL, base, 0, &err), &err);
    CHECK_OK(hv_job_wait(hv, uuid, "vda", 0, NULL, NULL, &job, &err), &err);
    CHECK(job.state == HV_JOB_READY);
    CHECK(write_byte(hv, 0, 'z'));
    CHECK_OK(hv_pivot(hv, uuid, "vda", &err), &err);
    CHECK(has_view(hv, base, base, base));
    CHECK(reads_as(base, 0, 'z'));
}

static unsigned writes_seen;

static int
count_write(const struct hv_fake_layer *layers, size_t count,
            const void *buffer, uint64_t offset, size_t length,
            struct error *error)
{
    (void)buffer;
    if (count != 2 || layers[0].raw || strcmp(layers[1].path, base) != 0 ||
        offset != 512 || length != 512)
        return error_set(error, ERROR_INTERNAL, "wrong arguments");
    writes_seen++;
    return 0;
}

static void
a_test_may_bring_its_own_writer(void)
{
    AUTO_HV struct hv *hv = open_bed();

    CHECK_OK(hv_snapshot(hv, uuid, change, 1, false, &err), &err);
    hv_fake_set_writer(hv, count_write);
    CHECK(write_byte(hv, 512, 'a'));
    CHECK(writes_seen == 1 && reads_as(top, 512, 0));
}

/* -- another process ------------------------------------------------------- */

static void
state_outlives_the_process(void)
{
    AUTO_HV struct hv *hv = open_bed();
    pid_t child;
    int status = 0;
    struct hv_job job;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        AUTO_HV struct hv *own = hv_fake_open("machines", &err);

        if (own == NULL || hv_snapshot(own, uuid, change, 1, false, &err) < 0 ||
            hv_commit_start(own, uuid, "vda", NULL, base, 0, &err) < 0 ||
            hv_freeze(own, uuid, 1000, &err) < 0)
            _exit(1);
        (void)kill(getpid(), SIGKILL);
    }
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(has_view(hv, top, top, top));
    CHECK(hv_is_frozen(hv, uuid, &err) == 1);
    CHECK_OK(hv_job_query(hv, uuid, "vda", &job, &err), &err);
    CHECK(job.state == HV_JOB_RUNNING && job.is_active_commit);
    CHECK_OK(hv_fake_finish_jobs(hv, uuid, &err), &err);
    CHECK_OK(hv_job_query(hv, uuid, "vda", &job, &err), &err);
    CHECK(job.state == HV_JOB_READY);
}

/* Run the snapshot in a process that dies at `point`. */
static bool
die_at(const char *point)
{
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        AUTO_HV struct hv *own = hv_fake_open("machines", &err);

        fault_arm(point, 1, FAULT_KILL);
        if (own != NULL)
            (void)!hv_snapshot(own, uuid, change, 1, true, &err);
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child &&
           WIFSIGNALED(status);
}

static void
a_death_inside_a_snapshot_leaves_stale_views(void)
{
    AUTO_HV struct hv *hv = open_bed();
    AUTO_FREE char *next = scratch_file(&scratch, "next.qcow2");
    const struct hv_disk_change again = {"vda", next, "qcow2"};

    CHECK(die_at("fake.snapshot.before"));
    CHECK(has_view(hv, base, base, base));
    CHECK(die_at("fake.snapshot.frozen"));
    CHECK(has_view(hv, base, base, base));
    CHECK(hv_is_frozen(hv, uuid, &err) == 1);
    CHECK_OK(hv_thaw(hv, uuid, &err), &err);

    CHECK(die_at("fake.snapshot.between-qemu-and-live"));
    CHECK(has_view(hv, top, base, base));
    CHECK(hv_commit_start(hv, uuid, "vda", NULL, base, 0, &err) == -1);
    CHECK(err.code == ERROR_IO); /* libvirt names a node that is busy */

    CHECK_OK(hv_fake_set_view(hv, uuid, "vda", top, NULL, &err), &err);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", top, "-F",
                   "qcow2", next));
    CHECK_OK(hv_snapshot(hv, uuid, &again, 1, false, &err), &err);
    CHECK(has_view(hv, next, next, base)); /* stays stale */
}

static void
a_fault_inside_a_snapshot_is_a_lost_connection(void)
{
    AUTO_HV struct hv *hv = open_bed();

    fault_arm("fake.snapshot.between-live-and-inactive", 1, FAULT_FAIL);
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    fault_disarm();
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(has_view(hv, top, top, base));
}

/* -- scripts --------------------------------------------------------------- */

static void
scripted_calls_behave_as_scripted(void)
{
    AUTO_HV struct hv *hv = open_bed();
    struct hv_job job;

    hv_fake_script(hv, "snapshot", 1, HV_FAKE_FAIL_BEFORE);
    hv_fake_script(hv, "snapshot", 2, HV_FAKE_TIMEOUT);
    hv_fake_script(hv, "snapshot", 3, HV_FAKE_LOST_BEFORE);
    hv_fake_script(hv, "snapshot", 4, HV_FAKE_FAIL_AFTER);
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_IO);
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_TIMEOUT);
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE && has_view(hv, base, base, base));
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE && has_view(hv, top, top, top));
    CHECK(hv_fake_calls(hv, "snapshot") == 4);

    hv_fake_script(hv, "job_wait", 1, HV_FAKE_JOB_FAILS);
    hv_fake_script(hv, "job_wait", 2, HV_FAKE_MACHINE_STOPS);
    CHECK_OK(hv_commit_start(hv, uuid, "vda", NULL, base, 0, &err), &err);
    CHECK_OK(hv_job_wait(hv, uuid, "vda", 0, NULL, NULL, &job, &err), &err);
    CHECK(job.state == HV_JOB_FAILED);
    CHECK_OK(hv_commit_start(hv, uuid, "vda", NULL, base, 0, &err), &err);
    CHECK(hv_job_wait(hv, uuid, "vda", 0, NULL, NULL, &job, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
}

static bool
refuse(const struct hv_job *job, void *context)
{
    *(struct hv_job *)context = *job;
    return false;
}

static void
waiting_that_is_given_up_leaves_the_job(void)
{
    AUTO_HV struct hv *hv = open_bed();
    struct hv_job job;
    struct hv_job seen = {.state = HV_JOB_NONE};

    CHECK_OK(hv_snapshot(hv, uuid, change, 1, false, &err), &err);
    CHECK_OK(hv_commit_start(hv, uuid, "vda", NULL, base, 0, &err), &err);
    CHECK(hv_job_wait(hv, uuid, "vda", 0, refuse, &seen, &job, &err) == -1);
    CHECK(err.code == ERROR_CANCELLED && seen.state == HV_JOB_RUNNING);
    CHECK_OK(hv_job_query(hv, uuid, "vda", &job, &err), &err);
    CHECK(job.state == HV_JOB_RUNNING);
}

static void
a_held_machine_does_not_start(void)
{
    AUTO_HV struct hv *hv = open_bed();
    AUTO_FREE char *hold = xasprintf("hold/%s", uuid);

    REQUIRE(mkdir("hold", 0700) == 0);
    CHECK_OK(fd_replace_file(hold, "", 0, 0600, &err), &err);
    hv_fake_set_hold_directory(hv, "hold");
    CHECK_OK(hv_destroy(hv, uuid, &err), &err);
    CHECK(hv_start(hv, uuid, &err) == -1 && err.code == ERROR_CONFLICT);
    CHECK_OK(fd_unlink(hold, &err), &err);
    CHECK_OK(hv_start(hv, uuid, &err), &err);
    CHECK(rmdir("hold") == 0);
}

static void
a_bad_overlay_is_refused(void)
{
    AUTO_HV struct hv *hv = open_bed();

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", top, "1M"));
    CHECK(hv_snapshot(hv, uuid, change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_IO);
}

/* -- events ---------------------------------------------------------------- */

#define SEEN_MAX 16

static struct lock seen_lock = LOCK_INIT;
static struct hv_event seen[SEEN_MAX];
static size_t seen_count;

static void
remember(const struct hv_event *event, void *context)
{
    (void)context;
    lock_take(&seen_lock);
    if (seen_count < SEEN_MAX)
        seen[seen_count++] = *event;
    lock_give(&seen_lock);
}

static void
events_come_in_order_or_as_the_test_wants(void)
{
    AUTO_HV struct hv *hv = open_bed();

    hv_set_event_handler(hv, remember, NULL);
    CHECK_OK(hv_fake_power(hv, uuid, HV_PAUSED, &err), &err);
    CHECK_OK(hv_destroy(hv, uuid, &err), &err);
    hv_fake_drain_events(hv);
    REQUIRE(seen_count == 2);
    CHECK(seen[0].kind == HV_EVENT_STATE && seen[0].state == HV_PAUSED);
    CHECK(seen[1].state == HV_STOPPED);
    CHECK_TEXT(seen[1].uuid, uuid);

    hv_fake_hold_events(hv);
    CHECK_OK(hv_start(hv, uuid, &err), &err);
    CHECK_OK(hv_destroy(hv, uuid, &err), &err);
    hv_fake_drain_events(hv);
    CHECK(seen_count == 2);
    hv_fake_release_events(hv, true);
    hv_fake_drain_events(hv);
    REQUIRE(seen_count == 4);
    CHECK(seen[2].state == HV_STOPPED && seen[3].state == HV_RUNNING);
}

static void
a_lost_connection_is_told_and_felt(void)
{
    AUTO_HV struct hv *hv = open_bed();
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    seen_count = 0;
    hv_set_event_handler(hv, remember, NULL);
    hv_fake_disconnect(hv);
    CHECK(hv_get(hv, uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    hv_fake_reconnect(hv);
    CHECK_OK(hv_get(hv, uuid, &machine, &err), &err);
    hv_fake_drain_events(hv);
    REQUIRE(seen_count == 2);
    CHECK(seen[0].kind == HV_EVENT_DISCONNECTED);
    CHECK(seen[1].kind == HV_EVENT_CONNECTED);
}

/* -- definition ------------------------------------------------------------ */

static void
a_machine_is_defined_again_from_its_own_xml(void)
{
    AUTO_HV struct hv *hv = open_bed();
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;
    AUTO_FREE char *again = NULL;

    CHECK_OK(hv_destroy(hv, uuid, &err), &err);
    CHECK_OK(hv_xml(hv, uuid, &xml, &err), &err);
    CHECK_OK(hv_fake_remove_machine(hv, uuid, &err), &err);
    CHECK(hv_get(hv, uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    REQUIRE(xml != NULL);
    CHECK_OK(hv_define_xml(hv, xml, &err), &err);
    CHECK_OK(hv_get(hv, uuid, &machine, &err), &err);
    REQUIRE(machine != NULL && machine->disk_count == 1);
    CHECK_TEXT(machine->name, "web1");
    CHECK_TEXT(machine->disks[0].source, base);
    CHECK(machine->has_agent_channel);
    CHECK_OK(hv_define_disks(hv, uuid, change, 1, &err), &err);
    CHECK_OK(hv_xml(hv, uuid, &again, &err), &err);
    CHECK(again != NULL && strstr(again, top) != NULL);
    CHECK_OK(hv_start(hv, uuid, &err), &err);
    CHECK(has_view(hv, top, top, top));
    CHECK(hv_define_xml(hv, "<domain/>", &err) == -1);
    CHECK(err.code == ERROR_INVALID);
}

int
main(void)
{
    scratch_enter(&scratch);
    base = scratch_file(&scratch, "base.qcow2");
    top = scratch_file(&scratch, "top.qcow2");
    RUN(the_guest_writes_into_the_top);
    RUN(what_is_written_while_ready_is_in_the_base_after_the_pivot);
    RUN(a_test_may_bring_its_own_writer);
    RUN(state_outlives_the_process);
    RUN(a_death_inside_a_snapshot_leaves_stale_views);
    RUN(a_fault_inside_a_snapshot_is_a_lost_connection);
    RUN(scripted_calls_behave_as_scripted);
    RUN(waiting_that_is_given_up_leaves_the_job);
    RUN(a_held_machine_does_not_start);
    RUN(a_bad_overlay_is_refused);
    RUN(events_come_in_order_or_as_the_test_wants);
    RUN(a_lost_connection_is_told_and_felt);
    RUN(a_machine_is_defined_again_from_its_own_xml);
    free(base);
    free(top);
    scratch_leave(&scratch);
    return check_done();
}
