/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block commits.  A started job only stands in the machine's file; whoever
 * waits for it (or hv_fake_finish_jobs) does its work, with the machine
 * locked, so that the outcome does not depend on the clock.  It survives the
 * death of the process that started it, like a job in QEMU, and doing the
 * copy again from its start gives the same bytes.
 *
 * A guest that outruns an active commit (hv_fake_outrun) keeps it running: at
 * every look OUTRUN_BYTES more are copied, and as many more are to be.
 *
 * Mid-chain: copy top .. base+1 into base, let the layer above name base,
 * drop the layers from the chain; the job is gone.  Active: copy, then ready;
 * what the guest writes from then on (`dirty`) is copied before the pivot.
 */
#include "hv/fake/fake_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OUTRUN_BYTES ((uint64_t)64 << 20)
#define OUTRUN_LOOK_MS 20

static int
find_layer(const struct fake_disk *disk, const char *path, size_t *ret_index,
           struct error *err)
{
    for (size_t i = 0; i < disk->qemu.count; i++) {
        if (strcmp(disk->qemu.items[i], path) == 0) {
            *ret_index = i;
            return 0;
        }
    }
    return error_set(err, ERROR_IO, "disk '%s': '%s' is not in its chain",
                     disk->target, path);
}

/* Where the job's layers stand in QEMU's chain. */
static int
find_range(const struct fake_disk *disk, const struct fake_job *job,
           size_t *ret_top, size_t *ret_base, struct error *err)
{
    *ret_top = 0;
    if (job->top != NULL && find_layer(disk, job->top, ret_top, err) < 0)
        return -1;
    if (find_layer(disk, job->base, ret_base, err) < 0)
        return -1;
    if (*ret_base <= *ret_top)
        return error_set(err, ERROR_IO, "disk '%s': '%s' is not below '%s'",
                         disk->target, job->base, disk->qemu.items[*ret_top]);
    return 0;
}

static int
start(struct fake_call *call, const char *target, struct fake_job *job,
      struct error *err)
{
    struct fake_machine *machine = &call->machine;
    struct fake_disk *disk = fake_find_disk(machine, target, err);
    size_t top;
    size_t base;

    if (disk == NULL)
        return -1;
    if (machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (disk->job.exists)
        return error_set(err, ERROR_BUSY, "disk '%s' has a block job", target);
    if (strcmp(disk->qemu.items[0], disk->live) != 0)
        return error_set(err, ERROR_IO, "disk '%s': node of '%s' is busy",
                         target, disk->live);
    if (find_range(disk, job, &top, &base, err) < 0)
        return -1;
    if (top == 0 && !job->active)
        return error_set(err, ERROR_IO,
                         "disk '%s': the active layer is committed by no top",
                         target);
    disk->job = *job;
    *job = (struct fake_job){.exists = false};
    return fake_store(call, err);
}

int
fake_op_commit_start(struct hv *hv, const char *uuid, const char *target,
                     const char *top, const char *base,
                     uint64_t bytes_per_second, struct error *err)
{
    struct fake_call call;
    struct fake_job job = {.exists = true,
                           .active = top == NULL,
                           .top = xstrdup_null(top),
                           .base = xstrdup(base),
                           .speed = bytes_per_second};
    int result;

    if (fake_begin(hv, "commit_start", uuid, &call, err) < 0) {
        fake_job_clear(&job);
        return -1;
    }
    result = start(&call, target, &job, err);
    fake_job_clear(&job);
    return fake_end(&call, result, err);
}

/* -- the work -------------------------------------------------------------- */

/* Take chain[from .. to - 1] out of QEMU's chain. */
static void
drop_layers(struct fake_disk *disk, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        free(disk->qemu.items[i]);
    memmove(&disk->qemu.items[from], &disk->qemu.items[to],
            (disk->qemu.count - to) * sizeof(char *));
    disk->qemu.count -= to - from;
}

static int
run_mid_chain(struct fake_call *call, struct fake_disk *disk, size_t top,
              size_t base, struct error *err)
{
    if (fake_place("fake.commit.between-copy-and-rebase", err) < 0 ||
        fake_image_rebase(call->fake, disk->qemu.items[top - 1],
                          disk->qemu.items[base], err) < 0 ||
        fake_place("fake.commit.between-rebase-and-view", err) < 0)
        return -1;
    drop_layers(disk, top, base);
    fake_job_clear(&disk->job);
    return fake_store(call, err);
}

int
fake_job_run(struct fake_call *call, struct fake_disk *disk, struct error *err)
{
    size_t top;
    size_t base;

    if (disk->job.ready)
        return 0;
    if (find_range(disk, &disk->job, &top, &base, err) < 0 ||
        fake_image_commit(call->fake, &disk->qemu, top, base, err) < 0)
        return -1;
    if (!disk->job.active)
        return run_mid_chain(call, disk, top, base, err);
    disk->job.ready = true;
    disk->job.dirty = false;
    return fake_store(call, err);
}

int
hv_fake_finish_jobs(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;
    int result = 0;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    for (size_t i = 0; result == 0 && i < call.machine.disk_count; i++)
        if (call.machine.disks[i].job.exists)
            result = fake_job_run(&call, &call.machine.disks[i], err);
    return fake_end(&call, result, err);
}

/* -- asking ---------------------------------------------------------------- */

static bool
is_outrun(const struct fake_disk *disk)
{
    return disk->outrun > 0 && disk->job.active && !disk->job.ready &&
           (disk->limit == 0 || disk->limit > disk->outrun);
}

static void
describe(const struct fake_disk *disk, struct hv_job *ret_job)
{
    struct stat about;

    *ret_job = (struct hv_job){.state = HV_JOB_NONE};
    if (!disk->job.exists)
        return;
    ret_job->state = disk->job.ready ? HV_JOB_READY : HV_JOB_RUNNING;
    ret_job->is_active_commit = disk->job.active;
    if (stat(disk->job.top != NULL ? disk->job.top : disk->qemu.items[0],
             &about) == 0)
        ret_job->total = (uint64_t)about.st_size;
    ret_job->done = disk->job.ready ? ret_job->total : 0;
    if (!is_outrun(disk))
        return;
    ret_job->done = ret_job->written = disk->job.asked * OUTRUN_BYTES;
    ret_job->total += ret_job->done;
}

static int
give_job_up(struct fake_call *call, struct fake_disk *disk, struct error *err)
{
    fake_job_clear(&disk->job);
    return fake_store(call, err);
}

/* The job ends as scripted, or as it should. */
static int
finish(struct fake_call *call, struct fake_disk *disk, struct hv_job *ret_job,
       struct error *err)
{
    bool active = disk->job.active;

    if (call->behaviour == HV_FAKE_JOB_FAILS ||
        call->behaviour == HV_FAKE_JOB_CANCELLED) {
        ret_job->state = call->behaviour == HV_FAKE_JOB_FAILS
                             ? HV_JOB_FAILED
                             : HV_JOB_CANCELLED;
        return give_job_up(call, disk, err);
    }
    if (fake_job_run(call, disk, err) < 0) {
        /* A copy that failed ends the job; a connection that broke does not. */
        if (err->code == ERROR_UNAVAILABLE)
            return -1;
        error_clear(err);
        ret_job->state = HV_JOB_FAILED;
        return give_job_up(call, disk, err);
    }
    ret_job->state = active ? HV_JOB_READY : HV_JOB_COMPLETED;
    ret_job->done = ret_job->total;
    return 0;
}

/* Nothing runs by itself here: who only asks finds it over the third time. */
static int
query(struct fake_call *call, const char *target, struct hv_job *ret_job,
      struct error *err)
{
    struct fake_disk *disk = fake_find_disk(&call->machine, target, err);

    if (disk == NULL)
        return -1;
    describe(disk, ret_job);
    if (ret_job->state != HV_JOB_RUNNING)
        return 0;
    disk->job.asked++;
    if (disk->job.asked < 3 || is_outrun(disk))
        return fake_store(call, err);
    if (finish(call, disk, ret_job, err) < 0)
        return -1;
    describe(disk, ret_job);
    return 0;
}

int
fake_op_job_query(struct hv *hv, const char *uuid, const char *target,
                  struct hv_job *ret_job, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "job_query", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, query(&call, target, ret_job, err), err);
}

/* The guest is faster: there is no end but that of the patience. */
static int
wait_while_outrun(struct fake_call *call, struct fake_disk *disk,
                  int64_t timeout_ms, hv_job_progress *progress, void *context,
                  struct error *err)
{
    int64_t begun_ms = clock_monotonic_ms();

    while (timeout_ms == 0 || clock_monotonic_ms() - begun_ms < timeout_ms) {
        struct hv_job now;

        (void)poll(NULL, 0, OUTRUN_LOOK_MS);
        disk->job.asked++;
        if (fake_store(call, err) < 0)
            return -1;
        describe(disk, &now);
        if (progress != NULL && !progress(&now, context))
            return error_set(err, ERROR_CANCELLED,
                             "waiting for the job of disk '%s' was given up",
                             disk->target);
    }
    return error_set(err, ERROR_TIMEOUT, "the job of disk '%s' is not done",
                     disk->target);
}

static int
wait_for_job(struct fake_call *call, const char *target, int64_t timeout_ms,
             hv_job_progress *progress, void *context, struct hv_job *ret_job,
             struct error *err)
{
    struct fake_disk *disk = fake_find_disk(&call->machine, target, err);

    if (disk == NULL)
        return -1;
    if (call->machine.state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' stopped",
                         call->machine.name);
    describe(disk, ret_job);
    if (!disk->job.exists)
        return 0;
    if (progress != NULL && !progress(ret_job, context))
        return error_set(err, ERROR_CANCELLED,
                         "waiting for the job of disk '%s' was given up",
                         target);
    if (call->behaviour < 0 && is_outrun(disk))
        return wait_while_outrun(call, disk, timeout_ms, progress, context,
                                 err);
    if (finish(call, disk, ret_job, err) < 0)
        return -1;
    if (progress != NULL)
        (void)progress(ret_job, context);
    return 0;
}

int
fake_op_job_wait(struct hv *hv, const char *uuid, const char *target,
                 int64_t timeout_ms, hv_job_progress *progress, void *context,
                 struct hv_job *ret_job, struct error *err)
{
    struct fake_call call;
    int result;

    if (fake_begin(hv, "job_wait", uuid, &call, err) < 0)
        return -1;
    result = wait_for_job(&call, target, timeout_ms, progress, context, ret_job,
                          err);
    return fake_end(&call, result, err);
}

/* -- ending ---------------------------------------------------------------- */

static int
pivot(struct fake_call *call, struct fake_disk *disk, struct error *err)
{
    AUTO_FREE char *old_top = NULL;
    size_t top;
    size_t base;

    if (!disk->job.exists || !disk->job.active || !disk->job.ready)
        return error_set(err, ERROR_CONFLICT,
                         "disk '%s' has no job that is ready for the pivot",
                         disk->target);
    if (find_range(disk, &disk->job, &top, &base, err) < 0)
        return -1;
    if (disk->job.dirty &&
        fake_image_commit(call->fake, &disk->qemu, top, base, err) < 0)
        return -1;
    old_top = xstrdup(disk->qemu.items[0]);
    drop_layers(disk, 0, base);
    fake_job_clear(&disk->job);
    if (fake_store(call, err) < 0 ||
        fake_place("fake.pivot.between-qemu-and-live", err) < 0)
        return -1;
    free(disk->live);
    disk->live = xstrdup(disk->qemu.items[0]);
    if (fake_store(call, err) < 0 ||
        fake_place("fake.pivot.between-live-and-inactive", err) < 0)
        return -1;
    if (disk->inactive != NULL && strcmp(disk->inactive, old_top) == 0) {
        free(disk->inactive);
        disk->inactive = xstrdup(disk->live);
    }
    return fake_store(call, err);
}

int
fake_op_pivot(struct hv *hv, const char *uuid, const char *target,
              struct error *err)
{
    struct fake_call call;
    struct fake_disk *disk;

    if (fake_begin(hv, "pivot", uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    return fake_end(&call, disk != NULL ? pivot(&call, disk, err) : -1, err);
}

int
fake_op_job_abort(struct hv *hv, const char *uuid, const char *target,
                  struct error *err)
{
    struct fake_call call;
    struct fake_disk *disk;

    if (fake_begin(hv, "job_abort", uuid, &call, err) < 0)
        return -1;
    disk = fake_find_disk(&call.machine, target, err);
    return fake_end(&call, disk != NULL ? give_job_up(&call, disk, err) : -1,
                    err);
}

static int
set_speed(struct fake_call *call, const char *target, uint64_t speed,
          struct error *err)
{
    struct fake_disk *disk = fake_find_disk(&call->machine, target, err);

    if (disk == NULL)
        return -1;
    if (!disk->job.exists)
        return error_set(err, ERROR_CONFLICT, "disk '%s' has no block job",
                         target);
    disk->job.speed = speed;
    return fake_store(call, err);
}

int
fake_op_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                      uint64_t bytes_per_second, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "job_set_speed", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, set_speed(&call, target, bytes_per_second, err),
                    err);
}
