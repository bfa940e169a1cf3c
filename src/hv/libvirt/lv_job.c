/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block commits.
 *
 * How a job ends is told by its event and nothing else.  That a job is gone
 * says only that it ended, and that an active commit has copied all there is
 * does not yet mean that it can be pivoted.  One thing besides events is
 * trusted: `ready='yes'` in the live XML's <mirror>, which libvirt sets at
 * that very event; a process that came later finds a ready job by it.  Where
 * libvirtd died before it had a <mirror> there is none (is_ready).
 *
 * While it waits, a call asks for progress every 500 ms over a connection
 * that it holds for that moment only.
 *
 * When a job is found gone although this process has watched it from its
 * start, the event is on its way over the other connection: it gets GRACE_MS.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <libvirt/virterror.h>
#include <stdlib.h>

#define PROGRESS_MS 500
#define GRACE_MS 3000
#define PIVOT_MS 10000
#define PIVOT_LOOK_MS 200

static struct lv_watch *
watch_of(struct lv *lv, const char *uuid, const char *target)
{
    struct lv_watch *watch;

    lock_take(&lv->lock);
    watch = lv_watch_get_locked(lv, uuid, target);
    lock_give(&lv->lock);
    return watch;
}

/* -- asking ------------------------------------------------------------------
 */

/* What only an active commit has: is it ready, what has the guest written. */
static int
ask_active(const struct lv_call *call, const char *target,
           struct hv_job *ret_job, enum domain_xml_mirror *ret_mirror,
           struct error *err)
{
    AUTO_FREE char *xml = virDomainGetXMLDesc(call->domain, 0);
    virDomainBlockStatsStruct stats;

    if (xml == NULL)
        return lv_fail(err, "XML of machine '%s'", call->name);
    if (domain_xml_mirror(xml, target, ret_mirror, err) < 0)
        return -1;
    if (virDomainBlockStats(call->domain, target, &stats, sizeof(stats)) == 0 &&
        stats.wr_bytes > 0)
        ret_job->written = (uint64_t)stats.wr_bytes;
    return 0;
}

/*
 * That an answer comes says that the machine runs and has that disk.  Only
 * when none does is it asked why: NOT_FOUND for a disk that is not there,
 * CONFLICT if `must_run` and it is stopped, else there is no job.
 */
static int
job_info(const struct lv_call *call, const char *target, bool must_run,
         virDomainBlockJobInfo *ret_info, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error why = ERROR_INIT;
    int code;
    int found =
        virDomainGetBlockJobInfo(call->domain, target, ret_info,
                                 VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES);

    if (found >= 0)
        return found;
    code = lv_last_code();
    (void)lv_fail(&why, "block job of disk '%s'", target);
    if (lv_machine(call, &machine, err) < 0)
        return -1;
    if (hv_machine_find_disk(machine, target) == NULL)
        return error_set(err, ERROR_NOT_FOUND, "machine '%s' has no disk '%s'",
                         machine->name, target);
    if (must_run && machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (code == VIR_ERR_OPERATION_INVALID)
        return 0; /* it does not run */
    *err = why;
    return -1;
}

/* A libvirtd that died as the job began knows the job afterwards, and neither
 * has a mirror nor tells that it is ready.  It takes a pivot then, and refuses
 * it if that was too early. */
static bool
is_ready(const struct hv_job *job, enum domain_xml_mirror mirror)
{
    switch (mirror) {
    case DOMAIN_XML_MIRROR_NONE:
        return job->total > 0 && job->done == job->total;
    case DOMAIN_XML_MIRROR_RUNNING:
        break;
    case DOMAIN_XML_MIRROR_READY:
    case DOMAIN_XML_MIRROR_PIVOTING:
        return true;
    }
    return false;
}

static int
job_state(const struct lv_call *call, const char *target,
          struct hv_job *ret_job, enum domain_xml_mirror *ret_mirror,
          struct error *err)
{
    virDomainBlockJobInfo info;
    int found = job_info(call, target, false, &info, err);

    *ret_job = (struct hv_job){.state = HV_JOB_NONE};
    *ret_mirror = DOMAIN_XML_MIRROR_NONE;
    if (found <= 0)
        return found;
    ret_job->state = HV_JOB_RUNNING;
    ret_job->is_active_commit =
        info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT;
    ret_job->done = info.cur;
    ret_job->total = info.end;
    if (ret_job->is_active_commit &&
        ask_active(call, target, ret_job, ret_mirror, err) < 0)
        return -1;
    if (ret_job->is_active_commit && is_ready(ret_job, *ret_mirror))
        ret_job->state = HV_JOB_READY;
    return 0;
}

int
lv_job_state(const struct lv_call *call, const char *target,
             struct hv_job *ret_job, struct error *err)
{
    enum domain_xml_mirror mirror;

    return job_state(call, target, ret_job, &mirror, err);
}

int
lv_op_job_query(struct hv *hv, const char *uuid, const char *target,
                struct hv_job *ret, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, lv_job_state(&call, target, ret, err), err);
}

/* -- starting ----------------------------------------------------------------
 */

static int
start(const struct lv_call *call, struct lv_watch *watch, const char *target,
      const char *top, const char *base, uint64_t bytes_per_second,
      struct error *err)
{
    unsigned flags = VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES |
                     (top == NULL ? VIR_DOMAIN_BLOCK_COMMIT_ACTIVE : 0);
    virDomainBlockJobInfo info;
    int found = job_info(call, target, true, &info, err);

    if (found < 0)
        return -1;
    if (found > 0)
        return error_set(err, ERROR_BUSY, "disk '%s' has a block job", target);
    lv_watch_reset(call->lv, watch, true);
    if (lv_place("libvirt.commit.call", err) < 0)
        return -1;
    if (virDomainBlockCommit(call->domain, target, base, top,
                             (unsigned long)bytes_per_second, flags) < 0) {
        (void)lv_fail(err, "commit of disk '%s'", target);
        if (err->code == ERROR_UNSUPPORTED) /* somebody was faster */
            err->code = ERROR_BUSY;
        return -1;
    }
    return lv_place("libvirt.commit.called", err);
}

int
lv_op_commit_start(struct hv *hv, const char *uuid, const char *target,
                   const char *top, const char *base, uint64_t bytes_per_second,
                   struct error *err)
{
    struct lv *lv = lv_of(hv);
    struct lv_watch *watch = watch_of(lv, uuid, target);
    struct lv_call call;

    if (!lv_has_events(lv))
        return error_set(err, ERROR_UNAVAILABLE, "no connection to '%s'",
                         lv->uri);
    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call,
                  start(&call, watch, target, top, base, bytes_per_second, err),
                  err);
}

/* -- waiting -----------------------------------------------------------------
 */

struct wait {
    struct lv *lv;
    const char *uuid;
    const char *target;
    struct lv_watch *watch;
    int64_t deadline; /* 0: none */
    int64_t gone_at;  /* when it was found gone; 0: it is not */
    hv_job_progress *progress;
    void *context;
    struct hv_job *job;
};

/* 1 when the watch knows the end (in wait->job), 0 when not. */
static int look_locked(struct wait *wait, struct error *err)
    REQUIRES(wait->lv->lock);

static int
look_locked(struct wait *wait, struct error *err)
{
    switch (wait->watch->ended) {
    case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
        wait->job->state = HV_JOB_COMPLETED;
        wait->job->done = wait->job->total;
        break;
    case VIR_DOMAIN_BLOCK_JOB_FAILED:
        wait->job->state = HV_JOB_FAILED;
        break;
    case VIR_DOMAIN_BLOCK_JOB_CANCELED:
        wait->job->state = HV_JOB_CANCELLED;
        break;
    case VIR_DOMAIN_BLOCK_JOB_READY:
        wait->job->state = HV_JOB_READY;
        wait->job->is_active_commit = true;
        break;
    default:
        if (wait->watch->stopped)
            return error_set(err, ERROR_CONFLICT,
                             "machine '%s' stopped, and the job of disk '%s' "
                             "with it",
                             wait->uuid, wait->target);
        if (wait->watch->disconnected)
            return error_set(err, ERROR_UNAVAILABLE,
                             "connection to '%s' lost while a job ran",
                             wait->lv->uri);
        return 0;
    }
    wait->watch->ended = -1;
    return 1;
}

/* Sleep until something was told, at most until `deadline`; then look. */
static int
sleep_and_look(struct wait *wait, int64_t deadline, struct error *err)
{
    int result;

    lock_take(&wait->lv->lock);
    for (;;) {
        result = look_locked(wait, err);
        if (result != 0 || clock_monotonic_ms() >= deadline)
            break;
        (void)signal_wait_until(&wait->lv->changed, &wait->lv->lock, deadline);
    }
    lock_give(&wait->lv->lock);
    return result;
}

static bool
is_watched(struct wait *wait)
{
    bool watched;

    lock_take(&wait->lv->lock);
    watched = wait->watch->started;
    lock_give(&wait->lv->lock);
    return watched;
}

/* Ask how far it is.  1 when that settles it: it is ready, or gone without
 * having been watched. */
static int
ask(struct wait *wait, struct error *err)
{
    struct hv_job now = {.state = HV_JOB_NONE};

    if (lv_op_job_query(&wait->lv->hv, wait->uuid, wait->target, &now, err) < 0)
        return -1;
    if (now.state == HV_JOB_NONE) {
        if (wait->gone_at == 0)
            wait->gone_at = clock_monotonic_ms();
        if (is_watched(wait) && clock_monotonic_ms() - wait->gone_at < GRACE_MS)
            return 0;
        wait->job->state = HV_JOB_NONE;
        return 1;
    }
    *wait->job = now;
    if (wait->progress != NULL && !wait->progress(&now, wait->context))
        return error_set(err, ERROR_CANCELLED,
                         "waiting for the job of disk '%s' was given up",
                         wait->target);
    return now.state == HV_JOB_READY;
}

static int
run_wait(struct wait *wait, struct error *err)
{
    /* Of a job that was watched from its start nothing can have been missed:
     * most end before it is worth asking how far they are. */
    bool skip = is_watched(wait);

    for (;; skip = false) {
        int64_t next = clock_monotonic_ms() + PROGRESS_MS;
        int result;

        if (wait->deadline > 0)
            next = MIN(next, wait->deadline);
        result = skip ? 0 : ask(wait, err);
        /* An end that was told meanwhile is better than what was asked. */
        if (result == 0 || (result == 1 && wait->job->state == HV_JOB_NONE)) {
            int told = sleep_and_look(wait, result == 1 ? 0 : next, err);

            result = told != 0 ? told : result;
        }
        if (result != 0)
            return result < 0 ? -1 : 0;
        if (wait->deadline > 0 && clock_monotonic_ms() >= wait->deadline)
            return error_set(err, ERROR_TIMEOUT,
                             "the job of disk '%s' is not done in time",
                             wait->target);
    }
}

/* What an earlier connection or run of the machine left is not about this
 * wait; an end that was told is. */
static void
begin_wait(struct wait *wait)
{
    lock_take(&wait->lv->lock);
    wait->watch->disconnected = wait->watch->stopped = false;
    lock_give(&wait->lv->lock);
}

static int
require_running(struct hv *hv, const char *uuid, const char *target,
                struct error *err)
{
    virDomainBlockJobInfo info;
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, job_info(&call, target, true, &info, err) < 0 ? -1 : 0,
                  err);
}

int
lv_op_job_wait(struct hv *hv, const char *uuid, const char *target,
               int64_t timeout_ms, hv_job_progress *progress, void *context,
               struct hv_job *ret, struct error *err)
{
    struct lv *lv = lv_of(hv);
    struct wait wait = {
        .lv = lv,
        .uuid = uuid,
        .target = target,
        .watch = watch_of(lv, uuid, target),
        .deadline = timeout_ms > 0 ? clock_monotonic_ms() + timeout_ms : 0,
        .progress = progress,
        .context = context,
        .job = ret,
    };

    *ret = (struct hv_job){.state = HV_JOB_NONE};
    begin_wait(&wait);
    if (!lv_has_events(lv))
        return error_set(err, ERROR_UNAVAILABLE, "no connection to '%s'",
                         lv->uri);
    if (require_running(hv, uuid, target, err) < 0)
        return -1;
    return run_wait(&wait, err);
}

/* -- ending ------------------------------------------------------------------
 */

/* The call returns when the job has ended, and then its event comes: take it,
 * so that it is not taken for the next job's. */
static void
take_end(struct lv *lv, struct lv_watch *watch)
{
    int64_t deadline = clock_monotonic_ms() + GRACE_MS;

    lock_take(&lv->lock);
    while ((watch->ended == -1 || watch->ended == VIR_DOMAIN_BLOCK_JOB_READY) &&
           !watch->stopped && !watch->disconnected)
        if (!signal_wait_until(&lv->changed, &lv->lock, deadline))
            break;
    watch->ended = -1;
    watch->started = false;
    lock_give(&lv->lock);
}

/* libvirt refuses what is not ready; it says so in several ways.  0 when it
 * refused because a pivot was asked for before. */
static int
explain_pivot(const struct lv_call *call, const char *target, struct error *err)
{
    enum domain_xml_mirror mirror;
    struct error why = ERROR_INIT;
    struct hv_job job;

    (void)lv_fail(&why, "pivot of disk '%s'", target);
    if (why.code != ERROR_UNAVAILABLE) {
        if (lv_require_running_disk(call, target, err) < 0 ||
            job_state(call, target, &job, &mirror, err) < 0)
            return -1;
        if (job.state != HV_JOB_READY)
            return error_set(err, ERROR_CONFLICT,
                             "disk '%s' has no job that is ready for the pivot",
                             target);
        if (mirror == DOMAIN_XML_MIRROR_PIVOTING)
            return 0;
    }
    *err = why;
    return -1;
}

/* Sleep until an end was told, at most `wait_ms`; what was told, or -1. */
static int
wait_for_end(struct lv *lv, struct lv_watch *watch, int64_t wait_ms)
{
    int64_t deadline = clock_monotonic_ms() + wait_ms;
    int ended;

    lock_take(&lv->lock);
    while (watch->ended == -1 || watch->ended == VIR_DOMAIN_BLOCK_JOB_READY)
        if (!signal_wait_until(&lv->changed, &lv->lock, deadline))
            break;
    ended = watch->ended;
    lock_give(&lv->lock);
    return ended;
}

/*
 * The pivot is asked for without waiting for it: QEMU carries it out once
 * nothing is left to copy, which a guest that writes as fast as is copied can
 * keep from happening; libvirt would wait for it without end, and would let
 * nobody else at the machine meanwhile.  QEMU cannot be told to forget it.
 */
static int
wait_for_pivot(const struct lv_call *call, struct lv_watch *watch,
               const char *target, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + PIVOT_MS;
    struct hv_job job;
    int ended;

    do {
        ended = wait_for_end(call->lv, watch, PIVOT_LOOK_MS);
        if (lv_job_state(call, target, &job, err) < 0)
            return -1;
    } while (job.state != HV_JOB_NONE && clock_monotonic_ms() < deadline);
    if (job.state != HV_JOB_NONE)
        return error_set(err, ERROR_TIMEOUT,
                         "disk '%s': the guest writes as fast as is copied, "
                         "the pivot waits for it",
                         target);
    take_end(call->lv, watch);
    if (ended == VIR_DOMAIN_BLOCK_JOB_FAILED)
        return error_set(err, ERROR_IO, "disk '%s': the pivot failed in QEMU",
                         target);
    return 0;
}

static int
pivot(const struct lv_call *call, struct lv_watch *watch, const char *target,
      struct error *err)
{
    unsigned flags =
        VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT | VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC;

    if (lv_place("libvirt.pivot.call", err) < 0)
        return -1;
    if (virDomainBlockJobAbort(call->domain, target, flags) < 0 &&
        explain_pivot(call, target, err) < 0)
        return -1;
    if (wait_for_pivot(call, watch, target, err) < 0)
        return -1;
    return lv_place("libvirt.pivot.called", err);
}

int
lv_op_pivot(struct hv *hv, const char *uuid, const char *target,
            struct error *err)
{
    struct lv *lv = lv_of(hv);
    struct lv_watch *watch = watch_of(lv, uuid, target);
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, pivot(&call, watch, target, err), err);
}

static int
give_up(const struct lv_call *call, struct lv_watch *watch, const char *target,
        struct error *err)
{
    struct error ignored = ERROR_INIT;
    struct hv_job job;

    if (lv_job_state(call, target, &job, err) < 0)
        return -1;
    if (job.state == HV_JOB_NONE)
        return 0;
    if (lv_place("libvirt.abort.call", err) < 0)
        return -1;
    if (virDomainBlockJobAbort(call->domain, target, 0) < 0) {
        (void)lv_fail(err, "abort the job of disk '%s'", target);
        /* It may have ended by itself in between. */
        if (err->code == ERROR_UNAVAILABLE ||
            lv_job_state(call, target, &job, &ignored) < 0 ||
            job.state != HV_JOB_NONE)
            return -1;
        error_clear(err);
    }
    take_end(call->lv, watch);
    return lv_place("libvirt.abort.called", err);
}

int
lv_op_job_abort(struct hv *hv, const char *uuid, const char *target,
                struct error *err)
{
    struct lv *lv = lv_of(hv);
    struct lv_watch *watch = watch_of(lv, uuid, target);
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, give_up(&call, watch, target, err), err);
}

int
lv_op_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                    uint64_t bytes_per_second, struct error *err)
{
    struct lv_call call;
    int result = 0;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    if (virDomainBlockJobSetSpeed(
            call.domain, target, (unsigned long)bytes_per_second,
            VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES) < 0) {
        result = lv_fail(err, "speed of the job of disk '%s'", target);
        if (err->code == ERROR_INVALID)
            err->code = ERROR_CONFLICT; /* it has no job */
    }
    return lv_end(&call, result, err);
}
