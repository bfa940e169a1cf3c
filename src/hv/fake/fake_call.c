/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What surrounds every call: the connection may be gone, a script may want
 * it to fail, fault points stand before and after it, and the machine's file
 * is locked for its length.
 *
 * A reply that is lost (script or fault point "fake.<call>.after") turns
 * success into ERROR_UNAVAILABLE after the change was stored: that is the
 * case where only looking again tells what happened.
 */
#include "hv/fake/fake_internal.h"

#include "base/fault.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAITS_MS 100

/* Queries change nothing: no points of their own, or every look would be one
 * more place to walk for the fault suite. */
static bool
is_query(const char *name)
{
    static const char *const queries[] = {"list",  "get",          "xml",
                                          "view",  "job_query",    "is_frozen",
                                          "facts", "check_memory", "limits"};

    for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
        if (strcmp(queries[i], name) == 0)
            return true;
    return false;
}

static bool
point(const char *name, const char *when)
{
    char full[48];

    if (!fault_enabled || name == NULL || is_query(name))
        return false;
    (void)snprintf(full, sizeof(full), "fake.%s.%s", name, when);
    return fault_here(full);
}

int
fake_place(const char *name, struct error *err)
{
    if (fault_here(name))
        return error_set(err, ERROR_UNAVAILABLE, "connection lost at '%s'",
                         name);
    return 0;
}

static unsigned *
count_of_locked(struct fake *fake, const char *name)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(fake->counts) - 1 &&
           fake->counts[i].call[0] != '\0' &&
           strcmp(fake->counts[i].call, name) != 0)
        i++;
    (void)snprintf(fake->counts[i].call, sizeof(fake->counts[i].call), "%s",
                   name);
    return &fake->counts[i].count;
}

unsigned
hv_fake_calls(struct hv *hv, const char *call)
{
    struct fake *fake = fake_of(hv);
    unsigned count;

    lock_take(&fake->lock);
    count = *count_of_locked(fake, call);
    lock_give(&fake->lock);
    return count;
}

void
hv_fake_script(struct hv *hv, const char *call, unsigned nth,
               enum hv_fake_behaviour behaviour)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    for (size_t i = 0; i < ARRAY_SIZE(fake->scripts); i++) {
        struct fake_script *script = &fake->scripts[i];

        if (script->call[0] != '\0')
            continue;
        (void)snprintf(script->call, sizeof(script->call), "%s", call);
        script->at = *count_of_locked(fake, call) + nth;
        script->behaviour = behaviour;
        break;
    }
    lock_give(&fake->lock);
}

void
hv_fake_script_clear(struct hv *hv)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    memset(fake->scripts, 0, sizeof(fake->scripts));
    lock_give(&fake->lock);
}

/* Count the call; what its script wants, or -1. */
static int
behaviour_of(struct fake *fake, const char *name, bool *ret_disconnected)
{
    unsigned *count;
    int behaviour = -1;

    lock_take(&fake->lock);
    *ret_disconnected = fake->disconnected;
    count = count_of_locked(fake, name);
    (*count)++;
    for (size_t i = 0; i < ARRAY_SIZE(fake->scripts); i++) {
        struct fake_script *script = &fake->scripts[i];

        if (script->at != *count || strcmp(script->call, name) != 0)
            continue;
        behaviour = (int)script->behaviour;
        script->call[0] = '\0';
        break;
    }
    lock_give(&fake->lock);
    return behaviour;
}

int
fake_enter(struct hv *hv, const char *name, struct fake_call *call,
           struct error *err)
{
    bool disconnected;

    *call =
        (struct fake_call){.fake = fake_of(hv), .name = name, .lock_fd = -1};
    call->behaviour = behaviour_of(call->fake, name, &disconnected);
    if (disconnected)
        return error_set(err, ERROR_UNAVAILABLE, "%s: not connected", name);
    if (call->behaviour == HV_FAKE_FAIL_BEFORE)
        return error_set(err, ERROR_IO, "%s: failed as scripted", name);
    if (call->behaviour == HV_FAKE_WAITS)
        (void)poll(NULL, 0, WAITS_MS);
    if (call->behaviour == HV_FAKE_TIMEOUT || call->behaviour == HV_FAKE_WAITS)
        return error_set(err, ERROR_TIMEOUT, "%s: timed out as scripted", name);
    if (call->behaviour == HV_FAKE_PAUSED)
        return error_set(err, ERROR_CONFLICT, "%s: it is paused", name);
    if (call->behaviour == HV_FAKE_LOST_BEFORE || point(name, "before"))
        return error_set(err, ERROR_UNAVAILABLE, "%s: request lost", name);
    return 0;
}

static int
load(struct fake_call *call, const char *uuid, struct error *err)
{
    call->lock_fd = fake_lock(call->fake->directory, uuid, err);
    if (call->lock_fd < 0)
        return -1;
    if (fake_load(call->fake->directory, uuid, &call->machine, err) < 0) {
        (void)close(call->lock_fd);
        return -1;
    }
    return 0;
}

int
fake_begin_test(struct hv *hv, const char *uuid, struct fake_call *call,
                struct error *err)
{
    *call =
        (struct fake_call){.fake = fake_of(hv), .behaviour = -1, .lock_fd = -1};
    return load(call, uuid, err);
}

int
fake_begin(struct hv *hv, const char *name, const char *uuid,
           struct fake_call *call, struct error *err)
{
    if (fake_enter(hv, name, call, err) < 0 || load(call, uuid, err) < 0)
        return -1;
    if (call->behaviour == HV_FAKE_MACHINE_STOPS) {
        fake_power_off(&call->machine);
        if (fake_store(call, err) < 0)
            return fake_end(call, -1, err);
        fake_emit(call->fake, HV_EVENT_STATE, uuid, HV_STOPPED);
    }
    return 0;
}

int
fake_end(struct fake_call *call, int result, struct error *err)
{
    fake_machine_release(&call->machine);
    if (call->lock_fd >= 0)
        (void)close(call->lock_fd);
    if (result < 0)
        return result;
    if (call->behaviour == HV_FAKE_FAIL_AFTER || point(call->name, "after"))
        return error_set(err, ERROR_UNAVAILABLE, "%s: reply lost", call->name);
    if (call->behaviour == HV_FAKE_LATE)
        return error_set(err, ERROR_TIMEOUT, "%s: it came late", call->name);
    return result;
}

int
fake_store(struct fake_call *call, struct error *err)
{
    if (call->behaviour == HV_FAKE_NOT_DONE)
        return 0;
    return fake_save(call->fake->directory, &call->machine, err);
}
