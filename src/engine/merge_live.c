/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's block job is looked for before one is started, so that a job that
 * an earlier varved began is taken over, also one that waits READY.  A job's
 * end counts only by its event and by QEMU's chain afterwards.
 */
#include "engine/merge_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/operation.h"
#include "engine/settings.h"
#include "engine/views.h"
#include "image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COMPARE_BYTES ((size_t)1 << 20)

/* 1 when QEMU's chain still has C, 0 when it does not (any more). */
static int
chain_has_child(struct engine *engine, const struct merge *merge,
                struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    bool has_layer = false;
    bool has_child = false;

    if (hv_view(engine->hv, merge->vm_uuid, merge->target, &view, err) < 0)
        return -1;
    for (size_t i = 0; i < view.qemu_count; i++) {
        has_layer |= views_same_file(view.qemu_chain[i], merge->layer_path);
        has_child |= views_same_file(view.qemu_chain[i], merge->child_path);
    }
    if (!has_layer)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' disk '%s': '%s' is not in QEMU's chain",
                         merge->vm_name, merge->target, merge->layer_path);
    return has_child;
}

static bool
show_progress(const struct hv_job *state, void *context)
{
    struct job *job = context;

    if (job == NULL)
        return true;
    job_bytes(job, state->done, state->total);
    return !job_is_cancelled(job);
}

static int
wait_for_job(struct engine *engine, struct job *job, const struct merge *merge,
             struct hv_job *ret_state, struct error *err)
{
    int64_t timeout_s = 0;
    bool events = false;

    if (settings_get_bool(engine->state, "libvirt.events.enabled", NULL,
                          &events, err) < 0 ||
        settings_get_int(engine->state, "snapshot.merge.timeout", NULL,
                         &timeout_s, err) < 0)
        return -1;
    if (!events)
        timeout_s = 0; /* as documented: the setting needs events */
    if (hv_job_wait(engine->hv, merge->vm_uuid, merge->target, timeout_s * 1000,
                    show_progress, job, ret_state, err) < 0) {
        if (err->code == ERROR_TIMEOUT)
            return error_set(err, ERROR_TIMEOUT,
                             "machine '%s' disk '%s': the merge is not done "
                             "after snapshot.merge.timeout (%lld s); it goes "
                             "on in QEMU and is finished later",
                             merge->vm_name, merge->target,
                             (long long)timeout_s);
        return -1;
    }
    log_info("merge-copied", "vm=%s disk=%s done=%llu total=%llu",
             merge->vm_name, merge->target, (unsigned long long)ret_state->done,
             (unsigned long long)ret_state->total);
    return 0;
}

static int
pivot(struct engine *engine, const struct merge *merge, struct error *err)
{
    if (operation_set_phase(engine->state, merge->operation, OPERATION_PIVOT,
                            err) < 0)
        return -1;
    if (fault_here("merge.before-pivot"))
        return error_set_errno(err, errno, "before pivot of '%s'",
                               merge->target);
    if (hv_pivot(engine->hv, merge->vm_uuid, merge->target, err) < 0)
        return -1;
    if (fault_here("merge.after-pivot"))
        return error_set_errno(err, errno, "after pivot of '%s'",
                               merge->target);
    return 0;
}

int
merge_live(struct engine *engine, struct job *job, const struct merge *merge,
           struct error *err)
{
    struct hv_job state = {.state = HV_JOB_NONE};
    int has_child = chain_has_child(engine, merge, err);

    if (has_child <= 0)
        return has_child;
    if (hv_job_query(engine->hv, merge->vm_uuid, merge->target, &state, err) <
        0)
        return -1;
    if (state.state == HV_JOB_NONE) {
        if (fault_here("merge.start"))
            return error_set_errno(err, errno, "start commit of '%s'",
                                   merge->target);
        if (hv_commit_start(engine->hv, merge->vm_uuid, merge->target,
                            merge->is_active ? NULL : merge->child_path,
                            merge->layer_path, 0, err) < 0)
            return -1;
        if (fault_here("merge.started"))
            return error_set_errno(err, errno, "after start of '%s'",
                                   merge->target);
    }
    if (state.state != HV_JOB_READY &&
        wait_for_job(engine, job, merge, &state, err) < 0)
        return -1;
    if (state.state == HV_JOB_READY) {
        if (pivot(engine, merge, err) < 0)
            return -1;
    } else if (state.state == HV_JOB_CANCELLED && job != NULL &&
               job_is_cancelled(job)) {
        return error_set(err, ERROR_CANCELLED,
                         "machine '%s' disk '%s': cancelled; the merge goes "
                         "on in QEMU and is finished later",
                         merge->vm_name, merge->target);
    } else if (state.state != HV_JOB_COMPLETED && state.state != HV_JOB_NONE) {
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' disk '%s': the block job %s; the chain "
                         "is as it was, try again",
                         merge->vm_name, merge->target,
                         state.state == HV_JOB_CANCELLED ? "was aborted"
                                                         : "failed");
    }
    /* However it ended, with an event or none: QEMU's chain is the proof. */
    has_child = chain_has_child(engine, merge, err);
    if (has_child > 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' disk '%s': QEMU still uses '%s' after "
                         "the merge",
                         merge->vm_name, merge->target, merge->child_path);
    return has_child;
}

/* 1 when C over L reads as L alone does, wherever C decides. */
static int
read_the_same(const struct merge *merge, struct tree_volume *volume,
              struct error *err)
{
    AUTO_EXTENTS struct extents held = EXTENTS_INIT;
    size_t count;
    AUTO_FREE struct image_ref *refs =
        tree_refs(volume, merge->child_id, &count);
    AUTO_BLOCKDEV struct blockdev *child =
        blockdev_open_chain(refs, count, BLOCKDEV_LIVE, err);
    AUTO_BLOCKDEV struct blockdev *layer =
        child == NULL
            ? NULL
            : blockdev_open_chain(refs + 1, count - 1, BLOCKDEV_LIVE, err);
    AUTO_FREE char *one = xmalloc(COMPARE_BYTES);
    AUTO_FREE char *two = xmalloc(COMPARE_BYTES);

    if (layer == NULL || qcow2_allocated(merge->child_path, &held, err) < 0)
        return -1;
    for (size_t i = 0; i < held.count; i++) {
        struct extent left = held.items[i];

        while (left.length > 0) {
            size_t part = (size_t)MIN(left.length, (uint64_t)COMPARE_BYTES);

            if (blockdev_read(child, one, part, left.offset, err) < 0 ||
                blockdev_read(layer, two, part, left.offset, err) < 0)
                return -1;
            if (memcmp(one, two, part) != 0)
                return 0;
            left.offset += part;
            left.length -= part;
        }
    }
    return 1;
}

int
merge_pivot_happened(struct engine *engine, const struct merge *merge,
                     struct tree_volume *volume, struct error *err)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    struct stat layer;
    struct stat child;
    int same;

    if (hv_view(engine->hv, merge->vm_uuid, merge->target, &view, err) < 0)
        return -1;
    if (view.inactive_top != NULL &&
        views_same_file(view.inactive_top, merge->layer_path))
        return 1;
    same = read_the_same(merge, volume, err);
    if (same != 0)
        return same;
    if (stat(merge->layer_path, &layer) < 0 ||
        stat(merge->child_path, &child) < 0)
        return error_set_errno(err, errno, "stat '%s'", merge->child_path);
    return layer.st_mtim.tv_sec > child.st_mtim.tv_sec ||
           (layer.st_mtim.tv_sec == child.st_mtim.tv_sec &&
            layer.st_mtim.tv_nsec > child.st_mtim.tv_nsec);
}
