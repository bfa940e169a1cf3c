/* SPDX-License-Identifier: Apache-2.0 */
#include "hv/libvirt/hv_libvirt.h"

#include "base/memory.h"
#include "hv/libvirt/libvirt_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

/* What was left behind is still within reach: nobody takes it for lost. */
static _Atomic(struct lv *) left_behind;

static void
op_free(struct hv *hv)
{
    struct lv *lv = lv_of(hv);

    lv_keeper_stop(lv);
    /* A callback that libvirt has not let go of would write to freed memory:
     * rather leave a few bytes behind. */
    if (lv->registered > 0) {
        lv->left_before = atomic_exchange(&left_behind, lv);
        return;
    }
    lv_watches_free(lv);
    lock_release(&lv->handler_lock);
    signal_release(&lv->changed);
    lock_release(&lv->lock);
    free(lv->uri);
    free(lv);
}

static void
op_watch(struct hv *hv)
{
    lv_set_handler(lv_of(hv), hv->handler, hv->handler_context);
}

static const struct hv_kind kind = {
    .name = "KVM",
    .watch = op_watch,
    .free = op_free,
    .list = lv_op_list,
    .get = lv_op_get,
    .xml = lv_op_xml,
    .facts = lv_op_facts,
    .view = lv_op_view,
    .look = lv_op_look,
    .start = lv_op_start,
    .shutdown = lv_op_shutdown,
    .destroy = lv_op_destroy,
    .reboot = lv_op_reboot,
    .snapshot = lv_op_snapshot,
    .snapshot_memory = lv_op_snapshot_memory,
    .check_memory = lv_op_check_memory,
    .restore_memory = lv_op_restore_memory,
    .define_disks = lv_op_define_disks,
    .define_xml = lv_op_define_xml,
    .undefine = lv_op_undefine,
    .commit_start = lv_op_commit_start,
    .job_query = lv_op_job_query,
    .job_wait = lv_op_job_wait,
    .pivot = lv_op_pivot,
    .job_abort = lv_op_job_abort,
    .job_set_speed = lv_op_job_set_speed,
    .limits = lv_op_limits,
    .limits_lower = lv_op_limits_lower,
    .limits_restore = lv_op_limits_restore,
    .resize = lv_op_resize,
    .attach_disk = lv_op_attach_disk,
    .detach_disk = lv_op_detach_disk,
    .set_compute = lv_op_set_compute,
    .freeze = lv_op_freeze,
    .thaw = lv_op_thaw,
    .is_frozen = lv_op_is_frozen,
};

struct hv *
hv_libvirt_open(const char *uri, struct error *err)
{
    struct lv *lv;

    if (lv_process_init(err) < 0)
        return NULL;
    lv = xcalloc(1, sizeof(*lv));
    lv->hv.kind = &kind;
    lv->uri = xstrdup(uri);
    lv->watches = map_new();
    lock_init(&lv->lock);
    signal_init(&lv->changed);
    lock_init(&lv->handler_lock);
    if (lv_keeper_start(lv, err) < 0) {
        op_free(&lv->hv);
        return NULL;
    }
    return &lv->hv;
}
