/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As hv_cases.c: what is promised of block jobs, and of the guest beside them.
 */
#include "hv_cases.h"

#include "check.h"

static struct hv_bed *bed;

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

static bool
take_snapshot(struct hv_bed_disks *disks)
{
    return hv_bed_take_snapshot(bed, disks);
}

static void
an_active_commit_becomes_ready_and_pivots(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    struct hv_job job = {.state = HV_JOB_NONE};
    const char *base;
    const char *target;
    size_t length;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    base = hv_machine_find_disk(disks.machine, target)->source;
    length = chain_length(target);
    REQUIRE(take_snapshot(&disks));
    CHECK_OK(hv_commit_start(bed->hv, bed->uuid, target, NULL, base, 0, &err),
             &err);
    CHECK_OK(hv_job_wait(bed->hv, bed->uuid, target, HV_BED_WAIT_MS, NULL, NULL,
                         &job, &err),
             &err);
    CHECK(job.state == HV_JOB_READY && job.is_active_commit);
    CHECK_OK(hv_job_query(bed->hv, bed->uuid, target, &job, &err), &err);
    CHECK(job.state == HV_JOB_READY);
    CHECK(make_overlays(&disks));
    CHECK(hv_snapshot(bed->hv, bed->uuid, disks.change, 1, false, &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK_OK(hv_pivot(bed->hv, bed->uuid, target, &err), &err);
    CHECK(views_agree(target, base, length));
    CHECK_OK(hv_job_query(bed->hv, bed->uuid, target, &job, &err), &err);
    CHECK(job.state == HV_JOB_NONE);
    stop();
}

static void
a_mid_chain_commit_ends_by_itself(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *middle = NULL;
    struct error err = ERROR_INIT;
    struct hv_job job = {.state = HV_JOB_NONE};
    const char *base;
    const char *target;
    size_t length;
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    base = hv_machine_find_disk(disks.machine, target)->source;
    length = chain_length(target);
    REQUIRE(take_snapshot(&disks));
    middle = xstrdup(disks.overlay[0]);
    REQUIRE(take_snapshot(&disks));
    CHECK(chain_length(target) == length + 2);
    CHECK_OK(hv_commit_start(bed->hv, bed->uuid, target, middle, base, 0, &err),
             &err);
    CHECK_OK(hv_job_wait(bed->hv, bed->uuid, target, HV_BED_WAIT_MS, NULL, NULL,
                         &job, &err),
             &err);
    CHECK(job.state == HV_JOB_COMPLETED && !job.is_active_commit);
    CHECK(views_agree(target, disks.overlay[0], length + 1));
    CHECK_OK(hv_view(bed->hv, bed->uuid, target, &view, &err), &err);
    CHECK(view.qemu_count > 1 && strcmp(view.qemu_chain[1], base) == 0);
    stop();
    /* The header of the layer above was rewritten too. */
    REQUIRE(start());
    CHECK(chain_length(target) == length + 1);
    stop();
}

static void
an_aborted_job_leaves_the_chain(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    struct hv_job job = {.state = HV_JOB_READY};
    const char *base;
    const char *target;
    size_t length;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    base = hv_machine_find_disk(disks.machine, target)->source;
    REQUIRE(take_snapshot(&disks));
    length = chain_length(target);
    CHECK_OK(hv_job_abort(bed->hv, bed->uuid, target, &err), &err);
    CHECK_OK(hv_commit_start(bed->hv, bed->uuid, target, NULL, base, 0, &err),
             &err);
    CHECK_OK(hv_job_set_speed(bed->hv, bed->uuid, target, 1 << 20, &err), &err);
    CHECK(hv_commit_start(bed->hv, bed->uuid, target, NULL, base, 0, &err) ==
          -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK_OK(hv_job_abort(bed->hv, bed->uuid, target, &err), &err);
    CHECK_OK(hv_job_query(bed->hv, bed->uuid, target, &job, &err), &err);
    CHECK(job.state == HV_JOB_NONE);
    CHECK(views_agree(target, disks.overlay[0], length));
    CHECK(hv_pivot(bed->hv, bed->uuid, target, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    /* And it can be done again. */
    CHECK_OK(hv_commit_start(bed->hv, bed->uuid, target, NULL, base, 0, &err),
             &err);
    CHECK_OK(hv_job_wait(bed->hv, bed->uuid, target, HV_BED_WAIT_MS, NULL, NULL,
                         &job, &err),
             &err);
    CHECK_OK(hv_pivot(bed->hv, bed->uuid, target, &err), &err);
    CHECK(views_agree(target, base, length - 1));
    stop();
}

static void
a_commit_of_files_outside_the_chain_is_refused(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;

    REQUIRE(find_disks(&disks) && start() && make_overlays(&disks));
    CHECK(hv_commit_start(bed->hv, bed->uuid, disks.target[0], NULL,
                          disks.overlay[0], 0, &err) == -1);
    CHECK(err.code == ERROR_IO || err.code == ERROR_INVALID);
    CHECK(hv_commit_start(bed->hv, bed->uuid, "vdzz", NULL, disks.overlay[0], 0,
                          &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    stop();
}

static void
waiting_without_a_job_says_that_there_is_none(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    struct hv_job job = {.state = HV_JOB_READY};

    REQUIRE(find_disks(&disks) && start());
    CHECK_OK(hv_job_wait(bed->hv, bed->uuid, disks.target[0], HV_BED_WAIT_MS,
                         NULL, NULL, &job, &err),
             &err);
    CHECK(job.state == HV_JOB_NONE);
    stop();
}

static void
a_job_dies_with_its_machine(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    struct error err = ERROR_INIT;
    struct hv_job job = {.state = HV_JOB_READY};
    const char *target;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    REQUIRE(take_snapshot(&disks));
    CHECK_OK(hv_commit_start(
                 bed->hv, bed->uuid, target, NULL,
                 hv_machine_find_disk(disks.machine, target)->source, 0, &err),
             &err);
    stop();
    CHECK_OK(hv_job_query(bed->hv, bed->uuid, target, &job, &err), &err);
    CHECK(job.state == HV_JOB_NONE);
    CHECK(hv_pivot(bed->hv, bed->uuid, target, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(start());
    CHECK(views_agree(target, disks.overlay[0], chain_length(target)));
    stop();
}

/* -- limits ---------------------------------------------------------------- */

#define MIB ((uint64_t)1 << 20)

static bool
limits_are(const char *target, const char *wanted)
{
    AUTO_FREE char *limits = NULL;
    struct error err = ERROR_INIT;

    if (hv_limits(bed->hv, bed->uuid, target, &limits, &err) == 0 &&
        strcmp(limits, wanted) == 0)
        return true;
    printf("# limits are %s, not %s\n", limits != NULL ? limits : err.message,
           wanted);
    return false;
}

static void
limits_are_lowered_and_put_back(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *before = NULL;
    struct error err = ERROR_INIT;
    const char *target;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    CHECK_OK(hv_limits(bed->hv, bed->uuid, target, &before, &err), &err);
    REQUIRE(before != NULL);
    CHECK_OK(hv_limits_lower(bed->hv, bed->uuid, target, before, 8 * MIB, &err),
             &err);
    CHECK(!limits_are(target, before));
    CHECK_OK(hv_limits_lower(bed->hv, bed->uuid, target, before, 5 * MIB, &err),
             &err);
    CHECK_OK(
        hv_limits_restore(bed->hv, bed->uuid, target, before, 8 * MIB, &err),
        &err);
    CHECK(limits_are(target, before));
    /* Once more is no error. */
    CHECK_OK(
        hv_limits_restore(bed->hv, bed->uuid, target, before, 8 * MIB, &err),
        &err);
    CHECK(limits_are(target, before));
    stop();
}

static void
limits_of_somebody_else_stay(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *none = NULL;
    AUTO_FREE char *theirs = NULL;
    struct error err = ERROR_INIT;
    const char *target;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    CHECK_OK(hv_limits(bed->hv, bed->uuid, target, &none, &err), &err);
    REQUIRE(none != NULL);
    CHECK_OK(hv_limits_lower(bed->hv, bed->uuid, target, none, 9 * MIB, &err),
             &err);
    CHECK_OK(hv_limits(bed->hv, bed->uuid, target, &theirs, &err), &err);
    REQUIRE(theirs != NULL);
    CHECK_OK(hv_limits_restore(bed->hv, bed->uuid, target, none, 8 * MIB, &err),
             &err);
    CHECK(limits_are(target, theirs));
    CHECK(hv_limits_lower(bed->hv, bed->uuid, target, theirs, 9 * MIB, &err) ==
          -1);
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK_OK(hv_limits_lower(bed->hv, bed->uuid, target, theirs, MIB, &err),
             &err);
    CHECK_OK(hv_limits_restore(bed->hv, bed->uuid, target, theirs, MIB, &err),
             &err);
    CHECK(limits_are(target, theirs));
    stop();
}

static void
limits_are_those_of_a_running_machine(void)
{
    AUTO_HV_BED_DISKS struct hv_bed_disks disks = {.count = 0};
    AUTO_FREE char *before = NULL;
    AUTO_FREE char *nothing = NULL;
    struct error err = ERROR_INIT;
    const char *target;

    REQUIRE(find_disks(&disks) && start());
    target = disks.target[0];
    CHECK(hv_limits(bed->hv, bed->uuid, "vdzz", &nothing, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND && nothing == NULL);
    CHECK_OK(hv_limits(bed->hv, bed->uuid, target, &before, &err), &err);
    REQUIRE(before != NULL);
    CHECK_OK(
        hv_limits_restore(bed->hv, bed->uuid, "vdzz", before, 8 * MIB, &err),
        &err);
    CHECK_OK(hv_limits_lower(bed->hv, bed->uuid, target, before, 8 * MIB, &err),
             &err);
    stop();
    CHECK(hv_limits_lower(bed->hv, bed->uuid, target, before, 8 * MIB, &err) ==
          -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(
        hv_limits_restore(bed->hv, bed->uuid, target, before, 8 * MIB, &err),
        &err);
    REQUIRE(start());
    CHECK(limits_are(target, before));
    stop();
}

int
hv_cases_run(struct hv_bed *where)
{
    bed = where;
    stop();
    RUN(an_active_commit_becomes_ready_and_pivots);
    RUN(a_mid_chain_commit_ends_by_itself);
    RUN(an_aborted_job_leaves_the_chain);
    RUN(a_commit_of_files_outside_the_chain_is_refused);
    RUN(waiting_without_a_job_says_that_there_is_none);
    RUN(a_job_dies_with_its_machine);
    RUN(limits_are_lowered_and_put_back);
    RUN(limits_of_somebody_else_stay);
    RUN(limits_are_those_of_a_running_machine);
    return check_done();
}
