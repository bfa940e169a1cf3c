/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's agent.  An agent that hangs (its process is stopped, the guest
 * is) would hold a call for ever, and with it every other call to the agent;
 * so the time-out is set before each, always.  It is a property of the
 * machine in libvirtd and stays: five seconds is what everybody should have.
 *
 * A freeze whose reply was lost may have happened, or may happen later: the
 * caller thaws.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/memory.h"

#include <jansson.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

void
lv_bound_agent(const struct lv_call *call, int seconds)
{
    /* Fails where there is no agent or no running machine; then the call that
     * follows says so. */
    (void)virDomainAgentSetResponseTimeout(call->domain, seconds, 0);
}

/* 1, 0, or -1 with *err set. */
static int
is_running(const struct lv_call *call, struct error *err)
{
    int active = virDomainIsActive(call->domain);

    if (active < 0)
        return lv_fail(err, "state of machine '%s'", call->name);
    return active;
}

int
lv_frozen(const struct lv_call *call, struct error *err)
{
    AUTO_FREE char *text = NULL;
    const char *status;
    json_t *reply;
    int result = -1;

    lv_bound_agent(call, LV_AGENT_SECONDS);
    text = virDomainQemuAgentCommand(call->domain,
                                     "{\"execute\":\"guest-fsfreeze-status\"}",
                                     LV_AGENT_SECONDS, 0);
    if (text == NULL)
        return lv_fail(err, "ask the guest of '%s' whether it is frozen",
                       call->name);
    reply = json_loads(text, 0, NULL);
    status = json_string_value(json_object_get(reply, "return"));
    if (status != NULL && strcmp(status, "frozen") == 0)
        result = 1;
    else if (status != NULL && strcmp(status, "thawed") == 0)
        result = 0;
    else
        (void)error_set(err, ERROR_IO, "the guest agent of '%s' says '%.100s'",
                        call->name, text);
    json_decref(reply);
    return result;
}

int
lv_thaw(const struct lv_call *call, struct error *err)
{
    int frozen = lv_frozen(call, err);

    if (frozen <= 0)
        return frozen;
    if (virDomainFSThaw(call->domain, NULL, 0, 0) < 0)
        return lv_fail(err, "thaw machine '%s'", call->name);
    frozen = lv_frozen(call, err);
    if (frozen > 0)
        return error_set(err, ERROR_IO, "machine '%s' is still frozen",
                         call->name);
    return frozen;
}

static int
freeze(const struct lv_call *call, int64_t timeout_ms, struct error *err)
{
    struct error ignored = ERROR_INIT;
    int running = is_running(call, err);
    int code;

    if (running < 0)
        return -1;
    if (running == 0)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         call->name);
    lv_bound_agent(call, (int)MIN((timeout_ms + 999) / 1000, (int64_t)3600));
    if (virDomainFSFreeze(call->domain, NULL, 0, 0) >= 0)
        return lv_place("libvirt.freeze.called", err);
    code = lv_last_code();
    (void)lv_fail(err, "freeze machine '%s'", call->name);
    /* A frozen agent says that it "has disabled" the command. */
    if (code == VIR_ERR_INTERNAL_ERROR && err->code != ERROR_UNAVAILABLE &&
        lv_frozen(call, &ignored) == 1)
        err->code = ERROR_CONFLICT;
    return -1;
}

int
lv_op_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
             struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, freeze(&call, timeout_ms, err), err);
}

static int
if_running(const struct lv_call *call,
           int (*ask)(const struct lv_call *call, struct error *err),
           struct error *err)
{
    int running = is_running(call, err);

    return running == 1 ? ask(call, err) : running;
}

int
lv_op_thaw(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, if_running(&call, lv_thaw, err), err);
}

int
lv_op_is_frozen(struct hv *hv, const char *uuid, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, if_running(&call, lv_frozen, err), err);
}
