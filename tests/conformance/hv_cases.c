/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every case starts from a stopped machine without jobs and makes its own
 * overlays above whatever the disks' tops are by then.  Nothing is assumed
 * about the guest except that it runs once started.
 */
#include "hv_cases.h"

#include "check.h"
#include "oracle.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/uuid.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

static struct hv_bed *bed;

static const char absent[] = "00000000-0000-4000-8000-000000000000";

static bool
find_disks(struct hv_bed_disks *ret_disks)
{
    return hv_bed_find_disks(bed, ret_disks);
}

static bool
make_overlays(struct hv_bed_disks *disks)
{
    return hv_bed_make_overlays(bed, disks);
}

static bool
start(void)
{
    return hv_bed_start(bed);
}

static void
stop(void)
{
    CHECK(hv_bed_stop(bed));
}

static bool
views_agree(const char *target, const char *top, size_t length)
{
    return hv_bed_views_agree(bed, target, top, length);
}

static size_t
chain_length(const char *target)
{
    return hv_bed_chain_length(bed, target);
}

/* -- what is there ------------------------------------------------------- */

static void
the_machine_is_listed_as_it_is_got(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_HV_MACHINE_LIST struct hv_machine_list list = {.items = NULL};
    struct error err = ERROR_INIT;
    size_t found = 0;

    REQUIRE(find_disks(&disks));
    CHECK_TEXT(disks.machine->uuid, bed->uuid);
    CHECK(disks.machine->persistent);
    CHECK(disks.machine->state == HV_STOPPED);
    CHECK(disks.machine->memory_bytes > 0 && disks.machine->vcpus > 0);
    CHECK(hv_machine_find_disk(disks.machine, disks.target[0]) != NULL);
    CHECK(hv_machine_find_disk(disks.machine, "vdzz") == NULL);
    CHECK_OK(hv_list(bed->hv, &list, &err), &err);
    for (size_t i = 0; i < list.count; i++)
        if (strcmp(list.items[i]->uuid, bed->uuid) == 0) {
            found++;
            CHECK_TEXT(list.items[i]->name, disks.machine->name);
            CHECK(list.items[i]->disk_count == disks.machine->disk_count);
        }
    CHECK(found == 1);
}

static void
what_is_not_there_is_not_found(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    AUTO_HV_LOOK struct hv_look look = {.machine = NULL};
    AUTO_FREE char *xml = NULL;
    const char *nothing = "vdzz";
    struct hv_job job;
    struct error err = ERROR_INIT;

    CHECK(hv_get(bed->hv, absent, &machine, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_xml(bed->hv, absent, &xml, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_start(bed->hv, absent, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_view(bed->hv, bed->uuid, "vdzz", &view, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_job_query(bed->hv, bed->uuid, "vdzz", &job, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_look(bed->hv, bed->uuid, &nothing, 1, &look, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_get(bed->hv, "../x", &machine, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
}

static void
the_facts_name_the_hypervisor(void)
{
    struct hv_facts facts;
    struct error err = ERROR_INIT;

    CHECK_OK(hv_facts(bed->hv, &facts, &err), &err);
    CHECK(facts.kind[0] != '\0' && facts.hostname[0] != '\0');
    CHECK(facts.libvirt_version[0] != '\0' && facts.qemu_version[0] != '\0');
    CHECK(facts.uri[0] != '\0');
}

/* -- stopped --------------------------------------------------------------- */

static void
a_stopped_machine_has_an_inactive_view_only(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    AUTO_FREE char *xml = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks));
    CHECK_OK(hv_view(bed->hv, bed->uuid, disks.target[0], &view, &err), &err);
    CHECK(view.qemu_count == 0 && view.live_top == NULL);
    CHECK(view.inactive_top != NULL && view.inactive_top[0] == '/');
    CHECK(hv_bed_look_agrees(bed, disks.target[0], &view));
    CHECK_OK(hv_xml(bed->hv, bed->uuid, &xml, &err), &err);
    CHECK(xml != NULL && view.inactive_top != NULL &&
          strstr(xml, view.inactive_top) != NULL);
}

static void
a_stopped_machine_refuses_what_needs_a_running_one(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct hv_job job = {.state = HV_JOB_READY};
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks) && make_overlays(&disks));
    CHECK(hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, false,
                      &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(hv_commit_start(bed->hv, bed->uuid, disks.target[0], NULL,
                          disks.overlay[0], 0, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(hv_destroy(bed->hv, bed->uuid, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(hv_shutdown(bed->hv, bed->uuid, 1000, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(hv_freeze(bed->hv, bed->uuid, 1000, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(hv_thaw(bed->hv, bed->uuid, &err), &err);
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 0);
    CHECK_OK(hv_job_query(bed->hv, bed->uuid, disks.target[0], &job, &err),
             &err);
    CHECK(job.state == HV_JOB_NONE);
}

static void
defining_disks_changes_the_inactive_view_alone(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    CHECK_OK(
        hv_define_disks(bed->hv, bed->uuid, disks.change, disks.count, &err),
        &err);
    for (size_t i = 0; i < disks.count; i++) {
        struct hv_disk_view view;

        CHECK_OK(hv_view(bed->hv, bed->uuid, disks.target[i], &view, &err),
                 &err);
        CHECK(view.qemu_count > 0 && view.live_top != NULL &&
              strcmp(view.qemu_chain[0], view.live_top) == 0);
        CHECK_TEXT(view.inactive_top, disks.overlay[i]);
        CHECK(view.live_top != NULL &&
              strcmp(view.live_top, disks.overlay[i]) != 0);
        hv_disk_view_release(&view);
    }
    stop();
    REQUIRE(start());
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(disks.target[i], disks.overlay[i],
                          chain_length(disks.target[i])));
    stop();
}

static void
defining_a_machine_from_its_own_xml_changes_nothing(void)
{
    AUTO_FREE char *before = NULL;
    AUTO_FREE char *after = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(hv_xml(bed->hv, bed->uuid, &before, &err) == 0);
    CHECK_OK(hv_define_xml(bed->hv, before, &err), &err);
    CHECK_OK(hv_xml(bed->hv, bed->uuid, &after, &err), &err);
    CHECK_TEXT(after, before);
    CHECK(hv_define_xml(bed->hv, "<domain><name>x</name>", &err) == -1);
    CHECK(err.code == ERROR_INVALID);
}

static void
a_stopped_machine_is_forgotten_and_its_disks_stay(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *before = NULL;
    AUTO_FREE char *after = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(start());
    CHECK(hv_undefine(bed->hv, bed->uuid, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    stop();
    REQUIRE(hv_xml(bed->hv, bed->uuid, &before, &err) == 0);
    CHECK_OK(hv_undefine(bed->hv, bed->uuid, &err), &err);
    CHECK(hv_get(bed->hv, bed->uuid, &machine, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(hv_undefine(bed->hv, bed->uuid, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK_OK(hv_define_xml(bed->hv, before, &err), &err);
    CHECK_OK(hv_xml(bed->hv, bed->uuid, &after, &err), &err);
    CHECK_TEXT(after, before);
    CHECK(start());
    stop();
}

static void
a_machine_whose_image_is_missing_does_not_start(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    AUTO_FREE char *away = NULL;

    REQUIRE(find_disks(&disks) && make_overlays(&disks));
    CHECK_OK(hv_define_disks(bed->hv, bed->uuid, disks.change, 1, &err), &err);
    away = xasprintf("%s.away", disks.overlay[0]);
    REQUIRE(rename(disks.overlay[0], away) == 0);
    CHECK(hv_start(bed->hv, bed->uuid, &err) == -1);
    CHECK(err.code == ERROR_IO);
    REQUIRE(rename(away, disks.overlay[0]) == 0);
    CHECK(start());
    stop();
}

/* -- snapshots ------------------------------------------------------------- */

static void
a_running_machine_has_three_views_that_agree(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;

    REQUIRE(start());
    CHECK(hv_start(bed->hv, bed->uuid, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    REQUIRE(find_disks(&disks));
    CHECK(disks.machine->state == HV_RUNNING);
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(
            disks.target[i],
            hv_machine_find_disk(disks.machine, disks.target[i])->source,
            chain_length(disks.target[i])));
    stop();
}

static void
a_snapshot_switches_all_its_disks(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    size_t before[HV_BED_DISKS_MAX];

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    for (size_t i = 0; i < disks.count; i++)
        before[i] = chain_length(disks.target[i]);
    CHECK_OK(
        hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, false, &err),
        &err);
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(disks.target[i], disks.overlay[i], before[i] + 1));
    stop();
}

static void
a_snapshot_of_one_disk_leaves_the_others(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    size_t other;

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    if (disks.count > 1) {
        other = chain_length(disks.target[1]);
        CHECK_OK(hv_snapshot(bed->hv, bed->uuid, disks.change, 1, false, &err),
                 &err);
        CHECK(views_agree(
            disks.target[1],
            hv_machine_find_disk(disks.machine, disks.target[1])->source,
            other));
    }
    stop();
}

static void
a_snapshot_that_fails_switches_no_disk(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    size_t last;

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    last = disks.count - 1;
    REQUIRE(unlink(disks.overlay[last]) == 0);
    CHECK(hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, false,
                      &err) == -1);
    CHECK(err.code == ERROR_IO);
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(
            disks.target[i],
            hv_machine_find_disk(disks.machine, disks.target[i])->source,
            chain_length(disks.target[i])));
    disks.change[0].target = "vdzz";
    CHECK(hv_snapshot(bed->hv, bed->uuid, disks.change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    stop();
}

/* -- memory ---------------------------------------------------------------- */

/* A new empty file for a memory, NULL when it cannot be made. */
static char *
memory_file(void)
{
    struct uuid name;
    char *path;
    int fd;

    uuid_new(&name);
    path = xasprintf("%s/%s.memory", bed->directory, name.text);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    return path;
}

/* New overlays above what the disks had in `old`. */
static bool
make_overlays_above(struct hv_bed_disks *disks, const struct hv_machine *old)
{
    bool made = true;

    for (size_t i = 0; i < disks->count; i++) {
        struct uuid name;

        uuid_new(&name);
        free(disks->overlay[i]);
        disks->overlay[i] = xasprintf("%s/%s.qcow2", bed->directory, name.text);
        made =
            made && oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                           hv_machine_find_disk(old, disks->target[i])->source,
                           "-F", "qcow2", disks->overlay[i]);
        disks->change[i].path = disks->overlay[i];
    }
    return made;
}

static bool
runs(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    return hv_get(bed->hv, bed->uuid, &machine, &err) == 0 &&
           machine->state == HV_RUNNING;
}

static void
a_machine_goes_on_from_its_saved_memory(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *path = memory_file();
    struct hv_memory memory = {.path = path, .timeout_ms = HV_BED_WAIT_MS};
    struct error err = ERROR_INIT;
    size_t before[HV_BED_DISKS_MAX];
    struct stat about;

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    for (size_t i = 0; i < disks.count; i++)
        before[i] = chain_length(disks.target[i]);
    CHECK_OK(hv_snapshot_memory(bed->hv, bed->uuid, disks.change, disks.count,
                                &memory, &err),
             &err);
    CHECK(runs());
    CHECK(memory.pause_ms >= 0 && memory.pause_ms < HV_BED_WAIT_MS);
    printf("# the guest stood still for %lld ms\n", (long long)memory.pause_ms);
    CHECK(stat(path, &about) == 0 && (about.st_mode & 07777) == 0600);
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(disks.target[i], disks.overlay[i], before[i] + 1));
    CHECK_OK(hv_check_memory(bed->hv, bed->uuid, path, &err), &err);
    CHECK(hv_restore_memory(bed->hv, bed->uuid, path, disks.change, disks.count,
                            &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    stop();
    REQUIRE(make_overlays_above(&disks, disks.machine));
    CHECK_OK(hv_restore_memory(bed->hv, bed->uuid, path, disks.change,
                               disks.count, &err),
             &err);
    CHECK(runs());
    CHECK_OK(
        hv_define_disks(bed->hv, bed->uuid, disks.change, disks.count, &err),
        &err);
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(disks.target[i], disks.overlay[i], before[i] + 1));
    CHECK_OK(hv_check_memory(bed->hv, bed->uuid, path, &err), &err);
    stop();
    (void)unlink(path);
}

static void
a_memory_that_is_not_whole_is_refused(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *path = memory_file();
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks) && make_overlays(&disks));
    CHECK(hv_check_memory(bed->hv, bed->uuid, path, &err) == -1);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(hv_restore_memory(bed->hv, bed->uuid, path, disks.change, disks.count,
                            &err) == -1);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(!runs());
    (void)unlink(path);
}

static void
a_memory_snapshot_that_fails_switches_no_disk(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *path = memory_file();
    struct hv_memory memory = {.path = path, .timeout_ms = HV_BED_WAIT_MS};
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks) && make_overlays(&disks));
    CHECK(hv_snapshot_memory(bed->hv, bed->uuid, disks.change, disks.count,
                             &memory, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    REQUIRE(start());
    REQUIRE(unlink(disks.overlay[disks.count - 1]) == 0);
    CHECK(hv_snapshot_memory(bed->hv, bed->uuid, disks.change, disks.count,
                             &memory, &err) == -1);
    CHECK(err.code == ERROR_IO);
    CHECK(runs());
    for (size_t i = 0; i < disks.count; i++)
        CHECK(views_agree(
            disks.target[i],
            hv_machine_find_disk(disks.machine, disks.target[i])->source,
            chain_length(disks.target[i])));
    stop();
    (void)unlink(path);
}

/* -- events ---------------------------------------------------------------- */

static struct lock seen_lock = LOCK_INIT;
static unsigned seen_states; /* a bit for each enum hv_state */

static void
remember_state(const struct hv_event *event, void *context)
{
    if (event->kind != HV_EVENT_STATE || strcmp(event->uuid, context) != 0)
        return;
    lock_take(&seen_lock);
    seen_states |= 1U << event->state;
    lock_give(&seen_lock);
}

static bool
was_seen(enum hv_state state)
{
    bool seen;

    lock_take(&seen_lock);
    seen = (seen_states & 1U << state) != 0;
    lock_give(&seen_lock);
    return seen;
}

static void
events_tell_of_start_and_end(void)
{
    int64_t deadline = clock_monotonic_ms() + HV_BED_WAIT_MS;
    char uuid[UUID_TEXT_SIZE];

    (void)snprintf(uuid, sizeof(uuid), "%s", bed->uuid);
    hv_set_event_handler(bed->hv, remember_state, uuid);
    CHECK(start());
    stop();
    while (!(was_seen(HV_RUNNING) && was_seen(HV_STOPPED)) &&
           clock_monotonic_ms() < deadline)
        (void)poll(NULL, 0, 10);
    CHECK(was_seen(HV_RUNNING) && was_seen(HV_STOPPED));
    hv_set_event_handler(bed->hv, NULL, NULL);
}

/* -- the guest's agent ----------------------------------------------------- */

static bool
start_with_agent(void)
{
    return start() && (bed->wait_for_agent == NULL || bed->wait_for_agent(bed));
}

/* -- disks that come, go and grow ---------------------------------------- */

/* A new empty disk's path; the caller frees it. */
static char *
make_disk(void)
{
    struct uuid name;
    char *path;

    uuid_new(&name);
    path = xasprintf("%s/%s.qcow2", bed->directory, name.text);
    CHECK(oracle("qemu-img", "create", "-q", "-f", "qcow2", path, "1M"));
    return path;
}

/* How many of the live and the inactive view have the disk. */
static int
views_with(const char *target)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    struct error err = ERROR_INIT;

    if (hv_view(bed->hv, bed->uuid, target, &view, &err) < 0) {
        CHECK(err.code == ERROR_NOT_FOUND);
        return 0;
    }
    return (view.qemu_count > 0) + (view.inactive_top != NULL);
}

static void
attach_and_detach(bool running)
{
    AUTO_FREE char *path = make_disk();
    const struct hv_new_disk disk = {.target = "vdy",
                                     .bus = "virtio",
                                     .path = path,
                                     .format = "qcow2",
                                     .serial = "varve-disk"};
    struct error err = ERROR_INIT;

    CHECK_OK(hv_attach_disk(bed->hv, bed->uuid, &disk, &err), &err);
    CHECK(views_with("vdy") == (running ? 2 : 1));
    CHECK(hv_attach_disk(bed->hv, bed->uuid, &disk, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    error_clear(&err);
    CHECK_OK(hv_detach_disk(bed->hv, bed->uuid, "vdy", HV_BED_WAIT_MS, &err),
             &err);
    CHECK(views_with("vdy") == 0);
    CHECK_OK(hv_detach_disk(bed->hv, bed->uuid, "vdy", HV_BED_WAIT_MS, &err),
             &err);
}

static void
a_disk_is_attached_to_a_stopped_machine_and_detached(void)
{
    attach_and_detach(false);
}

static void
a_disk_is_attached_to_a_running_machine_and_detached(void)
{
    REQUIRE(bed->has_agent ? start_with_agent() : start());
    attach_and_detach(true);
    stop();
}

static void
a_running_disk_grows(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    uint64_t bytes = (uint64_t)8 << 30;

    REQUIRE(find_disks(&disks));
    CHECK(hv_resize(bed->hv, bed->uuid, disks.target[0], bytes, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    error_clear(&err);
    REQUIRE(start() && make_overlays(&disks));
    CHECK_OK(
        hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, false, &err),
        &err);
    CHECK_OK(hv_resize(bed->hv, bed->uuid, disks.target[0], bytes, &err), &err);
    CHECK(hv_resize(bed->hv, bed->uuid, "none", bytes, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    stop();
    CHECK(oracle("sh", "-c",
                 "qemu-img info \"$0\" | grep -q 'virtual size: 8 GiB'",
                 disks.overlay[0]));
}

static void
a_stopped_machine_gets_other_numbers(void)
{
    AUTO_HV_MACHINE struct hv_machine *before = NULL;
    AUTO_HV_MACHINE struct hv_machine *after = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(hv_get(bed->hv, bed->uuid, &before, &err) == 0);
    CHECK_OK(hv_set_compute(bed->hv, bed->uuid, before->vcpus + 1,
                            before->memory_bytes + (16 << 20), false, &err),
             &err);
    REQUIRE(hv_get(bed->hv, bed->uuid, &after, &err) == 0);
    CHECK(after->vcpus == before->vcpus + 1);
    CHECK(after->memory_bytes == before->memory_bytes + (16 << 20));
    CHECK(after->disk_count == before->disk_count);
    REQUIRE(start());
    CHECK(hv_set_compute(bed->hv, bed->uuid, 1, 0, false, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    error_clear(&err);
    REQUIRE(hv_set_compute(bed->hv, bed->uuid, before->vcpus + 2,
                           before->memory_bytes, true, &err) == 0);
    stop();
    hv_machine_free(steal(&after));
    REQUIRE(hv_get(bed->hv, bed->uuid, &after, &err) == 0);
    CHECK(after->vcpus == before->vcpus + 2);
    CHECK(after->memory_bytes == before->memory_bytes);
    CHECK_OK(hv_set_compute(bed->hv, bed->uuid, before->vcpus,
                            before->memory_bytes, false, &err),
             &err);
}

static void
a_frozen_guest_is_seen_and_thawed(void)
{
    struct error err = ERROR_INIT;

    REQUIRE(start_with_agent());
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 0);
    CHECK_OK(hv_freeze(bed->hv, bed->uuid, 5000, &err), &err);
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 1);
    CHECK(hv_freeze(bed->hv, bed->uuid, 5000, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(hv_thaw(bed->hv, bed->uuid, &err), &err);
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 0);
    CHECK_OK(hv_thaw(bed->hv, bed->uuid, &err), &err);
    stop();
}

static void
a_quiesced_snapshot_leaves_the_guest_thawed(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;

    REQUIRE(start_with_agent() && find_disks(&disks) && make_overlays(&disks));
    CHECK_OK(
        hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, true, &err),
        &err);
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 0);
    CHECK(views_agree(disks.target[0], disks.overlay[0],
                      chain_length(disks.target[0])));
    /* One that fails, too. */
    REQUIRE(make_overlays(&disks) && unlink(disks.overlay[0]) == 0);
    CHECK(hv_snapshot(bed->hv, bed->uuid, disks.change, disks.count, true,
                      &err) == -1);
    CHECK(err.code == ERROR_IO);
    CHECK(hv_is_frozen(bed->hv, bed->uuid, &err) == 0);
    stop();
}

static void
a_shutdown_waits_for_the_end(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    REQUIRE(start_with_agent());
    CHECK_OK(hv_shutdown(bed->hv, bed->uuid, HV_BED_WAIT_MS, &err), &err);
    CHECK_OK(hv_get(bed->hv, bed->uuid, &machine, &err), &err);
    CHECK(machine != NULL && machine->state == HV_STOPPED);
}

int
hv_cases_run(struct hv_bed *where)
{
    bed = where;
    stop();
    RUN(the_machine_is_listed_as_it_is_got);
    RUN(what_is_not_there_is_not_found);
    RUN(the_facts_name_the_hypervisor);
    RUN(a_stopped_machine_has_an_inactive_view_only);
    RUN(a_stopped_machine_refuses_what_needs_a_running_one);
    RUN(defining_disks_changes_the_inactive_view_alone);
    RUN(defining_a_machine_from_its_own_xml_changes_nothing);
    RUN(a_machine_whose_image_is_missing_does_not_start);
    RUN(a_running_machine_has_three_views_that_agree);
    RUN(a_snapshot_switches_all_its_disks);
    RUN(a_snapshot_of_one_disk_leaves_the_others);
    RUN(a_snapshot_that_fails_switches_no_disk);
    RUN(a_machine_goes_on_from_its_saved_memory);
    RUN(a_memory_that_is_not_whole_is_refused);
    RUN(a_memory_snapshot_that_fails_switches_no_disk);
    RUN(events_tell_of_start_and_end);
    RUN(a_disk_is_attached_to_a_stopped_machine_and_detached);
    RUN(a_disk_is_attached_to_a_running_machine_and_detached);
    RUN(a_running_disk_grows);
    RUN(a_stopped_machine_gets_other_numbers);
    if (bed->has_agent) {
        RUN(a_frozen_guest_is_seen_and_thawed);
        RUN(a_quiesced_snapshot_leaves_the_guest_thawed);
        RUN(a_shutdown_waits_for_the_end);
    }
    RUN(a_stopped_machine_is_forgotten_and_its_disks_stay);
    return check_done();
}
