/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power and the guest's agent.  A start opens the chains that the inactive
 * definition names, by the backing names in their headers, and fails when a
 * file is missing or the machine is held; an end forgets the live views and
 * every block job, as QEMU's end does.
 */
#include "hv/fake/fake_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <stdlib.h>
#include <string.h>

#define HOLD_MAX ((size_t)4096)

/* What the memory begins at after each boot. */
#define BOOT UINT64_C(1000000)

static bool
is_on(const struct fake_machine *machine)
{
    return machine->state != HV_STOPPED;
}

/* As the hook of data/hooks: a line "allow NAME" of the hold's file lets a
 * machine start whose top file has that name. */
int
fake_check_hold(const struct fake *fake, const char *uuid, const char *top,
                struct error *err)
{
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *allow = NULL;

    if (fake->hold_directory == NULL)
        return 0;
    path = path_join(fake->hold_directory, uuid);
    if (!fd_exists(path))
        return 0;
    if (top != NULL && fd_read_file(path, HOLD_MAX, &text, NULL, err) == 0) {
        allow = xasprintf("\nallow %s\n", path_name(top));
        if (strstr(text, allow) != NULL)
            return 0;
    }
    return error_set(err, ERROR_CONFLICT,
                     "the hook refused: machine '%s' is held by '%s'", uuid,
                     path);
}

static int
open_disk(struct fake_disk *disk, struct error *err)
{
    if (disk->inactive == NULL)
        return 0;
    fake_paths_clear(&disk->qemu);
    if (fake_image_chain(disk->inactive, &disk->qemu, err) < 0)
        return error_prefix(err, "disk '%s'", disk->target);
    free(disk->live);
    disk->live = xstrdup(disk->inactive);
    return 0;
}

int
fake_power_on(struct fake_call *call, struct error *err)
{
    struct fake_machine *machine = &call->machine;

    if (is_on(machine))
        return error_set(err, ERROR_CONFLICT, "machine '%s' runs already",
                         machine->name);
    if (fake_check_hold(call->fake, machine->uuid,
                        machine->disk_count > 0 ? machine->disks[0].inactive
                                                : NULL,
                        err) < 0)
        return -1;
    for (size_t i = 0; i < machine->disk_count; i++)
        if (open_disk(&machine->disks[i], err) < 0)
            return -1;
    machine->state = HV_RUNNING;
    machine->frozen = false;
    machine->memory = ++machine->boots * BOOT;
    if (fake_store(call, err) < 0)
        return -1;
    fake_emit(call->fake, HV_EVENT_STATE, machine->uuid, HV_RUNNING);
    return 0;
}

void
fake_power_off(struct fake_machine *machine)
{
    machine->state = HV_STOPPED;
    machine->frozen = false;
    machine->memory = 0;
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct fake_disk *disk = &machine->disks[i];

        fake_paths_clear(&disk->qemu);
        fake_job_clear(&disk->job);
        free(disk->live);
        disk->live = NULL;
        disk->limit = 0;
    }
}

int
fake_op_start(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "start", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, fake_power_on(&call, err), err);
}

static int
end_machine(struct fake_call *call, struct error *err)
{
    struct fake_machine *machine = &call->machine;

    if (!is_on(machine))
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    fake_power_off(machine);
    if (fake_store(call, err) < 0)
        return -1;
    fake_emit(call->fake, HV_EVENT_STATE, machine->uuid, HV_STOPPED);
    return 0;
}

int
fake_op_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
                 struct error *err)
{
    struct fake_call call;

    (void)timeout_ms;
    if (fake_begin(hv, "shutdown", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, end_machine(&call, err), err);
}

int
fake_op_destroy(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "destroy", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, end_machine(&call, err), err);
}

int
fake_op_reboot(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;
    int result = 0;

    if (fake_begin(hv, "reboot", uuid, &call, err) < 0)
        return -1;
    if (!is_on(&call.machine))
        result = error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                           call.machine.name);
    return fake_end(&call, result, err);
}

int
hv_fake_power(struct hv *hv, const char *uuid, enum hv_state state,
              struct error *err)
{
    struct fake_call call;
    int result;

    if (fake_begin_test(hv, uuid, &call, err) < 0)
        return -1;
    if (state == HV_STOPPED) {
        result = end_machine(&call, err);
    } else if (!is_on(&call.machine)) {
        result = fake_power_on(&call, err);
    } else {
        call.machine.state = state;
        result = fake_store(&call, err);
        fake_emit(call.fake, HV_EVENT_STATE, uuid, state);
    }
    return fake_end(&call, result, err);
}

/* -- the guest's agent ----------------------------------------------------- */

static int
check_agent(const struct fake_machine *machine, struct error *err)
{
    if (!is_on(machine))
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    if (!machine->agent_channel)
        return error_set(err, ERROR_UNSUPPORTED,
                         "machine '%s' has no guest agent channel",
                         machine->name);
    if (!machine->agent_connected || machine->state != HV_RUNNING)
        return error_set(err, ERROR_TIMEOUT,
                         "the guest agent of '%s' does not answer",
                         machine->name);
    return 0;
}

static int
set_frozen(struct fake_call *call, bool frozen, struct error *err)
{
    /* What does not run is not frozen. */
    if (!frozen && !is_on(&call->machine))
        return 0;
    if (check_agent(&call->machine, err) < 0)
        return -1;
    if (frozen && call->machine.frozen)
        return error_set(err, ERROR_CONFLICT, "machine '%s' is frozen already",
                         call->machine.name);
    call->machine.frozen = frozen;
    return fake_store(call, err);
}

int
fake_op_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
               struct error *err)
{
    struct fake_call call;

    (void)timeout_ms;
    if (fake_begin(hv, "freeze", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, set_frozen(&call, true, err), err);
}

int
fake_op_thaw(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;

    if (fake_begin(hv, "thaw", uuid, &call, err) < 0)
        return -1;
    return fake_end(&call, set_frozen(&call, false, err), err);
}

int
fake_op_is_frozen(struct hv *hv, const char *uuid, struct error *err)
{
    struct fake_call call;
    int result;

    if (fake_begin(hv, "is_frozen", uuid, &call, err) < 0)
        return -1;
    result = is_on(&call.machine) ? check_agent(&call.machine, err) : 0;
    if (result == 0)
        result = call.machine.frozen;
    return fake_end(&call, result, err);
}
