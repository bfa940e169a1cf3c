/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_rig_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <poll.h>
#include <string.h>

/* With workers a job is waited for at most so long. */
#define WAIT_MS 240000

/* 1 when it has ended, 0 when not. */
static int
read_job(struct rig *rig, const char *uuid, struct state_job *ret_row,
         struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, err);
    int found = tx != NULL ? state_job_find(tx, where, 1, ret_row, err) : -1;

    return found < 0 ? -1 : found > 0 && ret_row->status != 0;
}

/* Nobody is told when a job ends: clients ask again, and so do we. */
static int
wait_for_end(struct rig *rig, const char *uuid, struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + WAIT_MS;

    for (;;) {
        AUTO_STATE(job) row = {0};
        int ended = read_job(rig, uuid, &row, err);

        if (ended != 0)
            return ended < 0 ? -1 : 0;
        if (clock_monotonic_ms() > deadline_ms)
            return error_set(err, ERROR_INTERNAL, "job '%s' (%s) is stuck",
                             uuid, row.command != NULL ? row.command : "?");
        (void)poll(NULL, 0, 2);
    }
}

/* The code that a failed job's result names. */
static enum error_code
code_of(const char *result)
{
    for (int code = ERROR_NONE + 1; result != NULL && code < ERROR_CODE_COUNT;
         code++) {
        AUTO_FREE char *named = xasprintf(
            "\"errorname\":\"%s\"", error_code_name((enum error_code)code));

        if (strstr(result, named) != NULL)
            return (enum error_code)code;
    }
    return ERROR_IO;
}

/* Run everything, or wait; then say how that job ended. */
static int
finish(struct rig *rig, const struct ticket *ticket, char *ret_uuid,
       struct error *err)
{
    AUTO_STATE(job) row = {0};

    if (ret_uuid != NULL)
        memcpy(ret_uuid, ticket->object, UUID_TEXT_SIZE);
    if (rig->workers > 0 ? wait_for_end(rig, ticket->job, err) < 0
                         : engine_drain(rig->engine, err) < 0)
        return -1;
    if (read_job(rig, ticket->job, &row, err) < 0)
        return -1;
    if (row.status == 1)
        return 0;
    return error_set(err, code_of(row.result), "job ended with %s",
                     row.result != NULL ? row.result : "nothing");
}

/* Requests that need no more than the uuid of what they are about. */
typedef int request_function(struct engine *engine, const struct caller *caller,
                             const char *uuid, struct ticket *ret_ticket,
                             struct error *err);

static int
ask(struct rig *rig, request_function *request, const char *uuid,
    struct error *err)
{
    struct ticket ticket;

    if (request(rig->engine, &rig->caller, uuid, &ticket, err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

static int
take_snapshot(struct rig *rig, const struct request_vm_snapshot *args,
              char *ret_uuid, struct error *err)
{
    struct ticket ticket;

    if (request_vm_snapshot_create(rig->engine, &rig->caller, args, &ticket,
                                   err) < 0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_snapshot(struct rig *rig, bool quiesce, char *ret_uuid, struct error *err)
{
    const struct request_vm_snapshot args = {.vm = rig->vm, .quiesce = quiesce};

    return take_snapshot(rig, &args, ret_uuid, err);
}

int
rig_memory_snapshot(struct rig *rig, char *ret_uuid, struct error *err)
{
    const struct request_vm_snapshot args = {.vm = rig->vm, .memory = true};

    return take_snapshot(rig, &args, ret_uuid, err);
}

int
rig_revert(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_vm_snapshot_revert(rig->engine, &rig->caller, uuid, true,
                                   &ticket, err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_delete_snapshot(struct rig *rig, const char *uuid, struct error *err)
{
    return ask(rig, request_vm_snapshot_delete, uuid, err);
}

int
rig_backup(struct rig *rig, bool isolated, char *ret_uuid, struct error *err)
{
    const struct request_backup args = {.vm = rig->vm, .isolated = isolated};
    struct ticket ticket;

    if (request_backup_create(rig->engine, &rig->caller, &args, &ticket, err) <
        0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_restore(struct rig *rig, const char *uuid, struct error *err)
{
    return ask(rig, request_backup_restore, uuid, err);
}

int
rig_delete_backup(struct rig *rig, const char *uuid, struct error *err)
{
    struct ticket ticket;

    if (request_backup_delete(rig->engine, &rig->caller, uuid, false, &ticket,
                              err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_fold(struct rig *rig, const char *uuid, const char *oldest, bool verify,
         struct error *err)
{
    const struct request_fold args = {uuid, oldest, verify};
    struct ticket ticket;

    if (request_backup_fold(rig->engine, &rig->caller, &args, &ticket, err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_volume_snapshot(struct rig *rig, size_t i, char *ret_uuid,
                    struct error *err)
{
    char volume[UUID_TEXT_SIZE];
    const struct request_snapshot args = {.volume = volume};
    struct ticket ticket;

    rig_volume(rig, i, volume);
    if (request_snapshot_create(rig->engine, &rig->caller, &args, &ticket,
                                err) < 0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_delete_volume_snapshot(struct rig *rig, const char *uuid, struct error *err)
{
    return ask(rig, request_snapshot_delete, uuid, err);
}

int
rig_scale(struct rig *rig, unsigned vcpus, struct error *err)
{
    const struct request_service_offering args = {
        .name = "other", .vcpus = vcpus, .memory = (uint64_t)vcpus << 26};
    char offering[UUID_TEXT_SIZE];
    struct ticket ticket;

    if (request_service_offering_create(rig->engine, &rig->caller, &args,
                                        offering, err) < 0 ||
        request_vm_scale(rig->engine, &rig->caller, rig->vm, offering, &ticket,
                         err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_settle(struct rig *rig, struct error *err)
{
    return ask(rig, request_vm_settle, rig->vm, err);
}

int
rig_destroy(struct rig *rig, bool expunge, struct error *err)
{
    struct ticket ticket;

    if (request_vm_destroy(rig->engine, &rig->caller, RIG_VM, expunge, &ticket,
                           err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_grow(struct rig *rig, const char *volume, uint64_t size, struct error *err)
{
    struct ticket ticket;

    if (request_volume_resize(rig->engine, &rig->caller, volume, size, &ticket,
                              err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_create_volume(struct rig *rig, char *ret_uuid, struct error *err)
{
    const struct request_volume args = {.name = "data", .size = RIG_DISK_SIZE};
    struct ticket ticket;

    if (request_volume_create(rig->engine, &rig->caller, &args, &ticket, err) <
        0)
        return -1;
    return finish(rig, &ticket, ret_uuid, err);
}

int
rig_attach(struct rig *rig, const char *volume, struct error *err)
{
    struct ticket ticket;

    if (request_volume_attach(rig->engine, &rig->caller, volume, rig->vm, -1,
                              &ticket, err) < 0)
        return -1;
    return finish(rig, &ticket, NULL, err);
}

int
rig_detach(struct rig *rig, const char *volume, struct error *err)
{
    return ask(rig, request_volume_detach, volume, err);
}

int
rig_delete_volume(struct rig *rig, const char *volume, struct error *err)
{
    return ask(rig, request_volume_delete, volume, err);
}

void
rig_volume(struct rig *rig, size_t i, char ret_uuid[UUID_TEXT_SIZE])
{
    AUTO_TREE struct tree *tree = NULL;
    struct error err = ERROR_INIT;

    rig_must(tree_read(rig->state, rig_vm_id(rig), &tree, &err), &err, "tree");
    memcpy(ret_uuid, tree->volumes[i].row.uuid, UUID_TEXT_SIZE);
}
