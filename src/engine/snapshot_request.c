/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of semantics 1.1 and 1.6, and who keeps whom waiting: every check
 * runs in the write transaction that inserts the row, so that of two requests
 * one sees the other.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/limits.h"
#include "engine/lookup.h"
#include "engine/machine.h"
#include "engine/requests.h"
#include "engine/settings.h"
#include "engine/snapshot.h"
#include "engine/submit.h"
#include "engine/vm_snapshot.h"
#include "engine/volume.h"

#include <string.h>

#define NAME_MAX_LENGTH 255

/* -- beside VM snapshots ----------------------------------------------------
 */

static int
refuse_active(const struct state_vm *vm, const struct state_snapshot *row,
              const char *what, struct error *err)
{
    return error_set(err, ERROR_BUSY,
                     "machine '%s' has another active snapshot task: volume "
                     "snapshot '%s' (%s) is %s; wait for its end, or delete it "
                     "if it stays so",
                     vm->name, row->name, row->uuid, what);
}

/* One that is being taken, named in the error. */
static int
check_none_taken(struct state_tx *tx, const struct state_vm *vm,
                 struct error *err)
{
    AUTO_STATE_LIST(snapshot) rows = {0};

    if (snapshot_list_of(tx, vm->id, snapshot_taking, SNAPSHOT_TAKING_COUNT,
                         &rows, err) < 0)
        return -1;
    if (rows.count == 0)
        return 0;
    return refuse_active(vm, &rows.items[0], rows.items[0].state, err);
}

int
snapshot_check_idle(struct state_tx *tx, const struct state_vm *vm,
                    struct error *err)
{
    static const char *const others[] = {"Destroying", "BackedUp", "Error"};
    AUTO_STATE_LIST(snapshot) rows = {0};

    if (check_none_taken(tx, vm, err) < 0 ||
        snapshot_list_of(tx, vm->id, others, ARRAY_SIZE(others), &rows, err) <
            0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_snapshot *row = &rows.items[i];
        int pending;

        if (strcmp(row->state, "Destroying") == 0)
            return refuse_active(vm, row, "Destroying", err);
        /* A deletion that was asked for begins with its job; what is stored
         * may still have its layers merged. */
        pending = job_is_pending(tx, row->uuid, err);
        if (pending != 0)
            return pending < 0 ? -1
                               : refuse_active(vm, row, "being worked on", err);
    }
    return 0;
}

int
snapshot_check_none(struct engine *engine, struct state_tx *tx,
                    const struct state_vm *vm, struct error *err)
{
    static const char *const kept[] = {"BackedUp"};
    AUTO_STATE_LIST(snapshot) rows = {0};
    bool allowed = false;

    if (settings_get_bool(engine->state, "snapshot.beside.vmsnapshots", NULL,
                          &allowed, err) < 0)
        return -1;
    if (allowed)
        return 0;
    if (snapshot_list_of(tx, vm->id, kept, ARRAY_SIZE(kept), &rows, err) < 0)
        return -1;
    if (rows.count == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has %zu snapshot%s of its volumes, one is "
                     "'%s' (%s), so that a disk-only VM snapshot cannot be "
                     "taken; delete them first, or set "
                     "snapshot.beside.vmsnapshots",
                     vm->name, rows.count, rows.count == 1 ? "" : "s",
                     rows.items[0].name, rows.items[0].uuid);
}

/* A VM-snapshot operation of the machine, named in the error. */
static int
check_no_vm_snapshot_active(struct state_tx *tx, const struct state_vm *vm,
                            struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    const struct state_vm_snapshot *row;

    if (vm_snapshot_list_active(tx, vm->id, &rows, err) < 0)
        return -1;
    if (rows.count == 0)
        return 0;
    row = &rows.items[0];
    return error_set(err, ERROR_BUSY,
                     "machine '%s' has another active snapshot task: VM "
                     "snapshot '%s' (%s) is %s; wait for its end, or delete it "
                     "if it stays so",
                     vm->name, row->display_name, row->uuid, row->state);
}

/* Disk-only VM snapshots that their owner still has. */
static int
check_no_vm_snapshots(struct engine *engine, struct state_tx *tx,
                      const struct state_vm *vm, struct error *err)
{
    const struct state_where where[] = {
        STATE_INT("vm_id", vm->id), STATE_LIVING, STATE_TEXT("type", "Disk"),
        STATE_TEXT("state", "Ready")};
    AUTO_STATE(vm_snapshot) row = {0};
    bool allowed = false;
    int found;

    if (settings_get_bool(engine->state, "snapshot.beside.vmsnapshots", NULL,
                          &allowed, err) < 0)
        return -1;
    if (allowed)
        return 0;
    found = state_vm_snapshot_find(tx, where, ARRAY_SIZE(where), &row, err);
    if (found <= 0)
        return found;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has the disk-only VM snapshot '%s' (%s), so "
                     "that a snapshot of a volume cannot be taken; delete its "
                     "VM snapshots first, or set snapshot.beside.vmsnapshots",
                     vm->name, row.display_name, row.uuid);
}

/* -- create ---------------------------------------------------------------- */

/* What the settings ask for and is not there yet is refused, never done in
 * another way in silence. */
static int
check_settings(struct engine *engine, const struct state_vm *vm,
               struct error *err)
{
    bool running = true;
    bool incremental = false;
    bool secondary = true;

    if (settings_get_bool(engine->state, "kvm.snapshot.enabled", NULL, &running,
                          err) < 0 ||
        settings_get_bool(engine->state, "kvm.incremental.snapshot", NULL,
                          &incremental, err) < 0 ||
        settings_get_bool(engine->state, "snapshot.backup.to.secondary", NULL,
                          &secondary, err) < 0)
        return -1;
    if (!running && strcmp(vm->power, "Stopped") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' is %s and kvm.snapshot.enabled is "
                         "false; stop it first",
                         vm->name, vm->power);
    if (incremental)
        return error_set(err, ERROR_UNSUPPORTED,
                         "kvm.incremental.snapshot is true, and volume "
                         "snapshots are full in this version; set it to false");
    if (!secondary)
        return error_set(err, ERROR_UNSUPPORTED,
                         "snapshot.backup.to.secondary is false, and volume "
                         "snapshots go to a repository in this version; set "
                         "it to true");
    return 0;
}

static int
check_create(struct engine *engine, struct state_tx *tx,
             const struct state_volume *volume, struct state_vm *ret_vm,
             const struct request_snapshot *args, struct error *err)
{
    if (args->name != NULL && strlen(args->name) > NAME_MAX_LENGTH)
        return error_set(err, ERROR_INVALID,
                         "the name has more than %d characters",
                         NAME_MAX_LENGTH);
    if (volume->vm_id == 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "volume '%s' is attached to no machine; attach it "
                         "first",
                         volume->name);
    if (volume->state == NULL || strcmp(volume->state, "Ready") != 0)
        return error_set(err, ERROR_BUSY,
                         "volume '%s' is %s; wait for that to end",
                         volume->name,
                         volume->state != NULL ? volume->state : "in no state");
    if (state_vm_get(tx, volume->vm_id, ret_vm, err) < 0 ||
        machine_require_living(ret_vm, err) < 0 ||
        check_settings(engine, ret_vm, err) < 0 ||
        check_none_taken(tx, ret_vm, err) < 0 ||
        check_no_vm_snapshot_active(tx, ret_vm, err) < 0 ||
        check_no_vm_snapshots(engine, tx, ret_vm, err) < 0)
        return -1;
    return limits_check(tx, volume->account_id, LIMIT_SNAPSHOT, 1, err);
}

static int
insert_row(struct engine *engine, struct state_tx *tx,
           const struct state_volume *volume, const struct state_vm *vm,
           const char *name, struct state_snapshot *row, struct error *err)
{
    char stamp[CLOCK_TEXT_SIZE];
    AUTO_FREE char *made = NULL;
    struct uuid uuid;

    uuid_new(&uuid);
    row->created = clock_wall_ms();
    row->volume_id = volume->id;
    row->account_id = volume->account_id;
    row->domain_id = volume->domain_id;
    row->zone_id = volume->zone_id;
    row->image_store_id = engine->image_store_id;
    row->virtual_size = volume->size;
    made = xasprintf("%s_%s_%s", vm->name, volume->name,
                     clock_format_compact(row->created, stamp));
    state_set_text(&row->uuid, uuid.text);
    state_set_text(&row->name, name != NULL ? name : made);
    state_set_text(&row->type, "MANUAL");
    state_set_text(&row->state, "Allocated");
    state_set_text(&row->location, "SECONDARY");
    return state_snapshot_insert(tx, row, err);
}

/* In the machine's queue or, without one, the volume's own. */
static int
submit(struct engine *engine, struct state_tx *tx, const struct caller *caller,
       const char *command, const struct state_volume *volume,
       const struct state_vm *vm, const struct state_snapshot *row,
       struct ticket *ret_ticket, struct error *err)
{
    const struct submit job = {
        .command = command,
        .vm = vm,
        .queue = volume->uuid,
        .type = "Snapshot",
        .uuid = row->uuid,
        .parameters = json_pack("{s:I}", "snapshot", (json_int_t)row->id)};

    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_snapshot_create(struct engine *engine, const struct caller *caller,
                        const struct request_snapshot *args,
                        struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(volume) volume = {0};
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(snapshot) row = {0};

    if (volume_look_at_machine(engine, caller, args->volume, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL ||
        lookup_volume(tx, caller, args->volume, &volume, err) < 0 ||
        check_create(engine, tx, &volume, &vm, args, err) < 0 ||
        insert_row(engine, tx, &volume, &vm, args->name, &row, err) < 0)
        return -1;
    return submit(engine, tx, caller, "createSnapshot", &volume, &vm, &row,
                  ret_ticket, err);
}

/* -- delete ---------------------------------------------------------------- */

int
request_snapshot_delete(struct engine *engine, const struct caller *caller,
                        const char *snapshot, struct ticket *ret_ticket,
                        struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(snapshot) row = {0};
    AUTO_STATE(volume) volume = {0};
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || lookup_snapshot(tx, caller, snapshot, &row, err) < 0 ||
        state_volume_get(tx, row.volume_id, &volume, err) < 0)
        return -1;
    if (strcmp(row.state, "BackedUp") != 0 && strcmp(row.state, "Error") != 0 &&
        strcmp(row.state, "Destroying") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "snapshot '%s' is %s and cannot be deleted now; wait "
                         "for its end, or cancel its job",
                         row.name, row.state);
    if (volume.vm_id != 0 && (state_vm_get(tx, volume.vm_id, &vm, err) < 0 ||
                              check_no_vm_snapshot_active(tx, &vm, err) < 0))
        return -1;
    return submit(engine, tx, caller, "deleteSnapshot", &volume, &vm, &row,
                  ret_ticket, err);
}
