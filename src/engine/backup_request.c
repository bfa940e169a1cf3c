/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of semantics 5.2, 5.7 and 5.8.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/engine_internal.h"
#include "engine/inventory.h"
#include "engine/lookup.h"
#include "engine/requests.h"

#include <string.h>

static int
submit(struct engine *engine, struct state_tx *tx, const struct caller *caller,
       const char *command, const struct state_vm *vm,
       const struct state_backup *row, struct ticket *ret_ticket,
       struct error *err)
{
    json_t *parameters = json_pack("{s:I, s:I}", "vm", (json_int_t)vm->id,
                                   "backup", (json_int_t)row->id);
    const struct job_new job = {.command = command,
                                .queue = vm->uuid,
                                .caller = caller,
                                .parameters = parameters,
                                .instance_type = "Backup",
                                .instance_uuid = row->uuid};
    int result = job_insert(tx, &job, ret_ticket, err);

    json_decref(parameters);
    if (result < 0 || state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

static int
check_vm_free(const struct state_vm *vm, struct error *err)
{
    if (vm->state == NULL)
        return 0;
    return error_set(err, ERROR_BUSY, "machine '%s' is %s; wait for its end",
                     vm->name, vm->state);
}

static int
check_create(struct state_tx *tx, const struct caller *caller,
             const struct state_vm *vm, const struct request_backup *args,
             struct state_backup_offering *ret_offering, struct error *err)
{
    if ((args->name != NULL && strlen(args->name) > 255) ||
        (args->description != NULL && strlen(args->description) > 255))
        return error_set(err, ERROR_INVALID,
                         "name and description have at most 255 characters");
    if (vm->backup_offering_id == 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has no backup offering; assign one "
                         "first",
                         vm->name);
    if (state_backup_offering_get(tx, vm->backup_offering_id, ret_offering,
                                  err) < 0)
        return -1;
    if (caller->role == ROLE_USER &&
        ret_offering->allow_user_driven_backups == 0)
        return error_set(err, ERROR_DENIED,
                         "the backup offering '%s' does not allow "
                         "user-driven backups",
                         ret_offering->name);
    return check_vm_free(vm, err);
}

int
request_backup_create(struct engine *engine, const struct caller *caller,
                      const struct request_backup *args,
                      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup_offering) offering = {0};
    AUTO_STATE(backup)
    row = {.is_isolated = args->isolated,
           .quiesced = args->quiesce,
           .created = clock_wall_ms()};
    char stamp[CLOCK_TEXT_SIZE];
    AUTO_FREE char *name = NULL;
    struct uuid uuid;

    if (tx == NULL || lookup_vm(tx, caller, args->vm, &vm, err) < 0 ||
        check_create(tx, caller, &vm, args, &offering, err) < 0)
        return -1;
    uuid_new(&uuid);
    name =
        xasprintf("%s-%s", vm.name, clock_format_compact(row.created, stamp));
    row.vm_id = vm.id;
    row.account_id = vm.account_id;
    row.domain_id = vm.domain_id;
    row.zone_id = vm.zone_id;
    row.backup_offering_id = offering.id;
    row.image_store_id = engine->image_store_id;
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, args->name != NULL ? args->name : name);
    state_set_text(&row.description, args->description);
    state_set_text(&row.status, "Queued");
    state_set_text(&row.interval_type, "MANUAL");
    state_set_text(&row.compression_status, "Uncompressed");
    if (state_backup_insert(tx, &row, err) < 0)
        return -1;
    return submit(engine, tx, caller, "createBackup", &vm, &row, ret_ticket,
                  err);
}

/* A backup and its machine, for an operation that wants one of `states`. */
static int
find_backup(struct state_tx *tx, const struct caller *caller, const char *uuid,
            const char *what, const char *const *states, size_t count,
            struct state_backup *ret_row, struct state_vm *ret_vm,
            struct error *err)
{
    if (lookup_backup(tx, caller, uuid, ret_row, err) < 0 ||
        state_vm_get(tx, ret_row->vm_id, ret_vm, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(ret_row->status, states[i]) == 0)
            return 0;
    }
    return error_set(err, ERROR_CONFLICT, "backup '%s' is %s and cannot be %s",
                     ret_row->name, ret_row->status, what);
}

int
request_backup_delete(struct engine *engine, const struct caller *caller,
                      const char *backup, bool forced,
                      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup) row = {0};
    static const char *const states[] = {"BackedUp", "Failed", "Error"};

    (void)forced; /* a deletion never gives up: it is journalled */
    if (tx == NULL || find_backup(tx, caller, backup, "deleted", states, 3,
                                  &row, &vm, err) < 0)
        return -1;
    return submit(engine, tx, caller, "deleteBackup", &vm, &row, ret_ticket,
                  err);
}

static int
check_restore(struct state_tx *tx, const struct state_vm *vm, struct error *err)
{
    AUTO_STATE(vm_snapshot) snapshot = {0};
    /* Hidden ones are deleted for their owner; the restore ends them. */
    const struct state_where where[] = {
        STATE_INT("vm_id", vm->id),
        STATE_LIVING,
        {.column = "state", .op = STATE_NE, .text = "Hidden"}};
    int found;

    if (strcmp(vm->power, "Stopped") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' is %s; stop it before restoring",
                         vm->name, vm->power);
    found =
        state_vm_snapshot_find(tx, where, ARRAY_SIZE(where), &snapshot, err);
    if (found < 0)
        return -1;
    if (found > 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has the VM snapshot '%s' (%s); delete "
                         "its VM snapshots before restoring",
                         vm->name, snapshot.display_name, snapshot.uuid);
    return check_vm_free(vm, err);
}

/* Look at the machine that a backup is of, if there is such a backup. */
static int
look_at_machine(struct engine *engine, const struct caller *caller,
                const char *backup, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup) row = {0};

    if (tx == NULL || lookup_backup(tx, caller, backup, &row, err) < 0 ||
        state_vm_get(tx, row.vm_id, &vm, err) < 0)
        return -1;
    state_end(steal(&tx));
    return inventory_look(engine, vm.uuid, err);
}

int
request_backup_restore(struct engine *engine, const struct caller *caller,
                       const char *backup, struct ticket *ret_ticket,
                       struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup) row = {0};
    static const char *const states[] = {"BackedUp"};

    if (look_at_machine(engine, caller, backup, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL ||
        find_backup(tx, caller, backup, "restored", states, 1, &row, &vm, err) <
            0 ||
        check_restore(tx, &vm, err) < 0)
        return -1;
    return submit(engine, tx, caller, "restoreBackup", &vm, &row, ret_ticket,
                  err);
}

int
request_backup_verify(struct engine *engine, const struct caller *caller,
                      const char *backup, struct ticket *ret_ticket,
                      struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup) row = {0};
    static const char *const states[] = {"BackedUp", "Restoring"};

    if (tx == NULL || find_backup(tx, caller, backup, "verified", states, 2,
                                  &row, &vm, err) < 0)
        return -1;
    return submit(engine, tx, caller, "verifyBackup", &vm, &row, ret_ticket,
                  err);
}
