/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power.  A shutdown is asked of the guest's agent, and of ACPI when there is
 * none or it does not answer; its end is told by the lifecycle event.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <libvirt/virterror.h>

static int
done(const struct lv_call *call, int failed, const char *what,
     const char *place, struct error *err)
{
    if (failed < 0)
        return lv_fail(err, "%s machine '%s'", what, call->name);
    return lv_place(place, err);
}

int
lv_op_start(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;
    int result;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    result = done(&call, virDomainCreate(call.domain), "start",
                  "libvirt.start.called", err);
    return lv_end(&call, result, err);
}

int
lv_op_destroy(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;
    int result;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    result = done(&call, virDomainDestroy(call.domain), "destroy",
                  "libvirt.destroy.called", err);
    return lv_end(&call, result, err);
}

int
lv_op_reboot(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;
    int result;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    lv_bound_agent(&call, LV_AGENT_SECONDS);
    result = done(&call, virDomainReboot(call.domain, 0), "reboot",
                  "libvirt.reboot.called", err);
    return lv_end(&call, result, err);
}

static int
ask_to_shut_down(const struct lv_call *call, struct error *err)
{
    lv_bound_agent(call, LV_AGENT_SECONDS);
    if (virDomainShutdownFlags(call->domain, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT) ==
        0)
        return lv_place("libvirt.shutdown.called", err);
    (void)lv_fail(err, "shut down machine '%s'", call->name);
    if (err->code == ERROR_CONFLICT || err->code == ERROR_UNAVAILABLE)
        return -1;
    error_clear(err);
    return done(call,
                virDomainShutdownFlags(call->domain,
                                       VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN),
                "shut down", "libvirt.shutdown.called", err);
}

static int
wait_for_end(struct lv *lv, const struct lv_watch *watch, int64_t deadline,
             struct error *err)
{
    bool in_time = true;
    bool stopped;
    bool disconnected;

    lock_take(&lv->lock);
    while (in_time && !watch->stopped && !watch->disconnected)
        in_time = signal_wait_until(&lv->changed, &lv->lock, deadline);
    stopped = watch->stopped;
    disconnected = watch->disconnected;
    lock_give(&lv->lock);
    if (stopped)
        return 0;
    if (disconnected)
        return error_set(err, ERROR_UNAVAILABLE, "connection to '%s' lost",
                         lv->uri);
    return error_set(err, ERROR_TIMEOUT, "the guest has not shut down in time");
}

int
lv_op_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
               struct error *err)
{
    struct lv *lv = lv_of(hv);
    int64_t deadline = clock_monotonic_ms() + timeout_ms;
    struct lv_watch *watch;
    struct lv_call call;

    if (!lv_has_events(lv))
        return error_set(err, ERROR_UNAVAILABLE, "no connection to '%s'",
                         lv->uri);
    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    lock_take(&lv->lock);
    watch = lv_watch_get_locked(lv, uuid, "");
    lock_give(&lv->lock);
    lv_watch_reset(lv, watch, true);
    if (lv_end(&call, ask_to_shut_down(&call, err), err) < 0)
        return -1;
    if (wait_for_end(lv, watch, deadline, err) < 0)
        return error_prefix(err, "machine '%s'", uuid);
    return 0;
}
