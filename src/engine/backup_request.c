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
#include "engine/submit.h"

#include <string.h>

/* vm NULL: the job only reads, and stands in no machine's queue. */
static int
submit(struct engine *engine, struct state_tx *tx, const struct caller *caller,
       const char *command, const struct state_vm *vm,
       const struct state_backup *row, struct ticket *ret_ticket,
       struct error *err)
{
    const struct submit job = {
        .command = command,
        .vm = vm,
        .queue = JOB_QUEUE_READERS,
        .type = "Backup",
        .uuid = row->uuid,
        .parameters = json_pack("{s:I}", "backup", (json_int_t)row->id)};

    return submit_job(engine, tx, caller, &job, ret_ticket, err);
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
    return submit(engine, tx, caller, "verifyBackup", NULL, &row, ret_ticket,
                  err);
}

/* Is `oldest` below the backup?  1, 0, -1. */
static int
is_below(struct state_tx *tx, const struct state_backup *backup,
         const struct state_backup *oldest, struct error *err)
{
    int64_t id = backup->parent_id;

    while (id != 0 && id != oldest->id) {
        AUTO_STATE(backup) row = {0};

        if (state_backup_get(tx, id, &row, err) < 0)
            return -1;
        id = row.parent_id;
    }
    return id != 0;
}

int
backup_check_fold(struct state_tx *tx, const struct state_backup *backup,
                  const struct state_backup *oldest, struct error *err)
{
    int below = 1;

    if (strcmp(backup->status, "BackedUp") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "backup '%s' is %s and cannot be folded", backup->name,
                         backup->status);
    if (backup->parent_id == 0)
        return error_set(err, ERROR_CONFLICT,
                         "backup '%s' is full: there is nothing below it to "
                         "fold",
                         backup->name);
    if (backup->verify_status != NULL &&
        strcmp(backup->verify_status, BACKUP_DAMAGED) == 0)
        return error_set(
            err, ERROR_CONFLICT,
            "backup '%s' is damaged and cannot be folded: %s", backup->name,
            backup->verify_problem != NULL ? backup->verify_problem : "");
    if (oldest->id != 0)
        below = is_below(tx, backup, oldest, err);
    if (below == 0)
        return error_set(err, ERROR_INVALID,
                         "backup '%s' does not rest on backup '%s'",
                         backup->name, oldest->name);
    return below < 0 ? -1 : 0;
}

int
request_backup_fold(struct engine *engine, const struct caller *caller,
                    const struct request_fold *args, struct ticket *ret_ticket,
                    struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(backup) row = {0};
    AUTO_STATE(backup) oldest = {0};
    struct submit job = {.command = "foldBackup", .vm = &vm, .type = "Backup"};

    if (tx == NULL || lookup_backup(tx, caller, args->backup, &row, err) < 0 ||
        (args->oldest != NULL &&
         lookup_backup(tx, caller, args->oldest, &oldest, err) < 0) ||
        state_vm_get(tx, row.vm_id, &vm, err) < 0 ||
        backup_check_fold(tx, &row, &oldest, err) < 0)
        return -1;
    job.uuid = row.uuid;
    job.parameters =
        json_pack("{s:I, s:I, s:i}", "backup", (json_int_t)row.id, "oldest",
                  (json_int_t)oldest.id, "verify", (int)args->verify);
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}
