/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the libvirt kind promises when things around it break.  Run by
 * tests/live/hv-crash.test, which gives a running guest in a private host:
 *
 *     VARVE_TEST_LIBVIRT_URI, _UUID, _DIR   as test_hv.c
 *     VARVE_TEST_LIBVIRTD_PID               file with libvirtd's pid
 *     VARVE_TEST_REAP_PID                   SIGUSR1 to it starts libvirtd
 */
#include "check.h"
#include "oracle.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/parse.h"
#include "hv/libvirt/hv_libvirt.h"

#include <poll.h>
#include <signal.h>

#define WAIT_MS 90000

static struct hv *hv;
static const char *uri;
static const char *uuid;
static char *overlay;
static char *base;

/* -- what the events say -----------------------------------------------------
 */

static struct lock seen_lock = LOCK_INIT;
static struct signal seen_signal;
static unsigned seen[HV_EVENT_CONNECTED + 1];

static void
count_event(const struct hv_event *event, void *context)
{
    (void)context;
    lock_take(&seen_lock);
    seen[event->kind]++;
    signal_wake_all(&seen_signal);
    lock_give(&seen_lock);
}

static unsigned
seen_now(enum hv_event_kind kind)
{
    unsigned count;

    lock_take(&seen_lock);
    count = seen[kind];
    lock_give(&seen_lock);
    return count;
}

static bool
wait_for_event(enum hv_event_kind kind, unsigned before)
{
    int64_t deadline = clock_monotonic_ms() + WAIT_MS;
    bool came;

    lock_take(&seen_lock);
    while (seen[kind] == before &&
           signal_wait_until(&seen_signal, &seen_lock, deadline))
        continue;
    came = seen[kind] > before;
    lock_give(&seen_lock);
    return came;
}

/* -- libvirtd ----------------------------------------------------------------
 */

static bool
send_signal(const char *variable, int signal_number)
{
    AUTO_FREE char *text = NULL;
    struct error err = ERROR_INIT;
    uint64_t pid = 0;

    if (fd_read_file(getenv(variable), 64, &text, NULL, &err) < 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    return parse_u64(text, &pid, &err) == 0 && pid > 1 &&
           kill((pid_t)pid, signal_number) == 0;
}

static bool
crash_libvirtd(void)
{
    unsigned before = seen_now(HV_EVENT_DISCONNECTED);

    return send_signal("VARVE_TEST_LIBVIRTD_PID", SIGKILL) &&
           wait_for_event(HV_EVENT_DISCONNECTED, before);
}

static bool
start_libvirtd(void)
{
    unsigned before = seen_now(HV_EVENT_CONNECTED);

    /* It must have been waited for, or the signal is not heard. */
    while (send_signal("VARVE_TEST_LIBVIRTD_PID", 0))
        (void)poll(NULL, 0, 20);
    return send_signal("VARVE_TEST_REAP_PID", SIGUSR1) &&
           wait_for_event(HV_EVENT_CONNECTED, before);
}

/* -- a job that takes its time -----------------------------------------------
 */

/* An overlay of vdb with 24 MiB in it, and a commit of it at 1 MiB a second. */
static bool
start_slow_commit(void)
{
    const struct hv_disk_change change = {"vdb", overlay, "qcow2"};
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;

    (void)unlink(overlay);
    if (hv_view(hv, uuid, "vdb", &view, &err) == 0 && view.qemu_count > 0) {
        free(base);
        base = xstrdup(view.qemu_chain[0]);
        /* QEMU has the base locked: the overlay is filled without it. */
        if (oracle("qemu-img", "create", "-q", "-f", "qcow2", overlay, "48M") &&
            oracle("qemu-io", "-f", "qcow2", "-c", "write -q 16M 24M",
                   overlay) &&
            oracle("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", base,
                   "-F", "qcow2", overlay) &&
            hv_snapshot(hv, uuid, &change, 1, false, &err) == 0 &&
            hv_commit_start(hv, uuid, "vdb", NULL, base, 1 << 20, &err) == 0)
            return true;
    }
    printf("# %s\n", err.message);
    return false;
}

static bool
finish_commit(void)
{
    struct error err = ERROR_INIT;
    struct hv_job job;

    if (hv_job_set_speed(hv, uuid, "vdb", 0, &err) == 0 &&
        hv_job_wait(hv, uuid, "vdb", WAIT_MS, NULL, NULL, &job, &err) == 0 &&
        job.state == HV_JOB_READY && hv_pivot(hv, uuid, "vdb", &err) == 0)
        return true;
    printf("# %s\n", err.message);
    return false;
}

static bool
top_is(const char *path)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;

    return hv_view(hv, uuid, "vdb", &view, &err) == 0 && view.qemu_count > 0 &&
           strcmp(view.qemu_chain[0], path) == 0 &&
           strcmp(view.live_top, path) == 0 &&
           strcmp(view.inactive_top, path) == 0;
}

static bool
count_progress(const struct hv_job *job, void *context)
{
    unsigned *count = context;

    if (job->total > 0 && job->done <= job->total)
        (*count)++;
    return *count < 2;
}

static void
waiting_ends_in_time_or_when_told_and_the_job_goes_on(void)
{
    struct error err = ERROR_INIT;
    struct hv_job job;
    unsigned count = 0;
    int64_t started = clock_monotonic_ms();

    REQUIRE(start_slow_commit());
    CHECK(hv_job_wait(hv, uuid, "vdb", 700, NULL, NULL, &job, &err) == -1);
    CHECK(err.code == ERROR_TIMEOUT);
    CHECK(hv_job_wait(hv, uuid, "vdb", 0, count_progress, &count, &job, &err) ==
          -1);
    CHECK(err.code == ERROR_CANCELLED && count == 2);
    CHECK(clock_monotonic_ms() - started < 20000);
    CHECK_OK(hv_job_query(hv, uuid, "vdb", &job, &err), &err);
    CHECK(job.state == HV_JOB_RUNNING && job.is_active_commit);
    CHECK(finish_commit());
    CHECK(top_is(base));
}

/* -- what breaks -------------------------------------------------------------
 */

static void
a_crash_of_libvirtd_is_told_and_survived(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(crash_libvirtd());
    CHECK(hv_get(hv, uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    REQUIRE(start_libvirtd());
    CHECK_OK(hv_get(hv, uuid, &machine, &err), &err);
    CHECK(machine != NULL && machine->state == HV_RUNNING);
}

static void *
crash_soon(void *context)
{
    (void)context;
    (void)poll(NULL, 0, 1500);
    (void)send_signal("VARVE_TEST_LIBVIRTD_PID", SIGKILL);
    return NULL;
}

static void
a_job_outlives_a_crash_of_libvirtd(void)
{
    struct error err = ERROR_INIT;
    struct hv_job job;
    unsigned before = seen_now(HV_EVENT_DISCONNECTED);
    pthread_t thread;

    REQUIRE(start_slow_commit());
    REQUIRE(pthread_create(&thread, NULL, crash_soon, NULL) == 0);
    CHECK(hv_job_wait(hv, uuid, "vdb", WAIT_MS, NULL, NULL, &job, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    (void)pthread_join(thread, NULL);
    CHECK(wait_for_event(HV_EVENT_DISCONNECTED, before));
    CHECK(hv_job_wait(hv, uuid, "vdb", WAIT_MS, NULL, NULL, &job, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    REQUIRE(start_libvirtd());
    CHECK_OK(hv_job_query(hv, uuid, "vdb", &job, &err), &err);
    CHECK(job.state == HV_JOB_RUNNING || job.state == HV_JOB_READY);
    CHECK(finish_commit());
    CHECK(top_is(base));
}

static void
a_job_that_became_ready_unseen_is_found_ready(void)
{
    struct error err = ERROR_INIT;
    struct hv_job job;

    REQUIRE(start_slow_commit());
    CHECK_OK(hv_job_set_speed(hv, uuid, "vdb", 0, &err), &err);
    REQUIRE(crash_libvirtd());
    (void)poll(NULL, 0, 3000);
    REQUIRE(start_libvirtd());
    CHECK_OK(hv_job_wait(hv, uuid, "vdb", WAIT_MS, NULL, NULL, &job, &err),
             &err);
    CHECK(job.state == HV_JOB_READY);
    CHECK_OK(hv_pivot(hv, uuid, "vdb", &err), &err);
    CHECK(top_is(base));
}

static void
a_hanging_libvirtd_holds_no_call_for_long(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;
    int64_t started = clock_monotonic_ms();
    unsigned before = seen_now(HV_EVENT_CONNECTED);

    REQUIRE(send_signal("VARVE_TEST_LIBVIRTD_PID", SIGSTOP));
    CHECK(hv_get(hv, uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(hv_get(hv, uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_UNAVAILABLE);
    printf("# two calls took %lld ms\n",
           (long long)(clock_monotonic_ms() - started));
    CHECK(clock_monotonic_ms() - started < 60000);
    REQUIRE(send_signal("VARVE_TEST_LIBVIRTD_PID", SIGCONT));
    CHECK(wait_for_event(HV_EVENT_CONNECTED, before));
    CHECK_OK(hv_get(hv, uuid, &machine, &err), &err);
}

static void
a_hanging_agent_holds_no_call_for_long(void)
{
    const struct hv_disk_change change = {"vdb", overlay, "qcow2"};
    static const char stop_agent[] =
        "{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"/bin/sh\","
        "\"arg\":[\"-c\",\"sleep 1; kill -STOP $(pidof qemu-ga)\"]}}";
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;
    int64_t started;

    REQUIRE(oracle("virsh", "-q", "-c", uri, "qemu-agent-command", uuid,
                   stop_agent));
    (void)poll(NULL, 0, 3000);
    started = clock_monotonic_ms();
    CHECK(hv_is_frozen(hv, uuid, &err) == -1 && err.code == ERROR_TIMEOUT);
    CHECK(hv_freeze(hv, uuid, 2000, &err) == -1 && err.code == ERROR_TIMEOUT);
    CHECK_OK(hv_view(hv, uuid, "vdb", &view, &err), &err);
    REQUIRE(view.qemu_count > 0);
    (void)unlink(overlay);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                   view.qemu_chain[0], "-F", "qcow2", overlay));
    CHECK(hv_snapshot(hv, uuid, &change, 1, true, &err) == -1);
    CHECK(err.code == ERROR_TIMEOUT);
    CHECK(top_is(view.qemu_chain[0]));
    printf("# three calls took %lld ms\n",
           (long long)(clock_monotonic_ms() - started));
    CHECK(clock_monotonic_ms() - started < 40000);
}

int
main(void)
{
    const char *directory = getenv("VARVE_TEST_LIBVIRT_DIR");
    struct error err = ERROR_INIT;

    uri = getenv("VARVE_TEST_LIBVIRT_URI");
    uuid = getenv("VARVE_TEST_LIBVIRT_UUID");
    if (uri == NULL || uuid == NULL || directory == NULL) {
        printf("1..0 # SKIP no libvirt to play with\n");
        return EXIT_SUCCESS;
    }
    overlay = xasprintf("%s/crash-overlay.qcow2", directory);
    signal_init(&seen_signal);
    hv = hv_libvirt_open(uri, &err);
    if (hv == NULL) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    hv_set_event_handler(hv, count_event, NULL);
    RUN(waiting_ends_in_time_or_when_told_and_the_job_goes_on);
    RUN(a_crash_of_libvirtd_is_told_and_survived);
    RUN(a_job_outlives_a_crash_of_libvirtd);
    RUN(a_job_that_became_ready_unseen_is_found_ready);
    RUN(a_hanging_libvirtd_holds_no_call_for_long);
    RUN(a_hanging_agent_holds_no_call_for_long);
    hv_free(hv);
    free(overlay);
    free(base);
    return check_done();
}
