/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/offering.h"

#include "base/clock.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/events.h"
#include "engine/lookup.h"
#include "engine/requests.h"
#include "engine/submit.h"

#include <string.h>

static int
check_name(const char *what, const char *text, struct error *err)
{
    if (text == NULL || text[0] == '\0' || strlen(text) > 255)
        return error_set(err, ERROR_INVALID,
                         "the %s must have 1 to 255 characters", what);
    return 0;
}

int
request_native_offering_create(struct engine *engine,
                               const struct caller *caller,
                               const struct request_native_offering *args,
                               char ret_uuid[UUID_TEXT_SIZE], struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(native_backup_offering)
    row = {.compress = args->compress,
           .validate = args->validate,
           .allow_quick_restore = args->allow_quick_restore,
           .allow_extract_file = args->allow_extract_file,
           .backup_chain_size = -1,
           .created = clock_wall_ms()};
    const char *library =
        args->compression_library != NULL ? args->compression_library : "zstd";
    struct uuid uuid;

    if (lookup_require_root(caller, "create native backup offerings", err) <
            0 ||
        check_name("name", args->name, err) < 0)
        return -1;
    if (strcmp(library, "zstd") != 0 && strcmp(library, "zlib") != 0)
        return error_set(err, ERROR_INVALID,
                         "compressionlibrary is 'zstd' or 'zlib', not '%.40s'",
                         library);
    /* Below 1 is "unlimited"; 0 keeps that apart from "not set". */
    if (args->has_chain_size)
        row.backup_chain_size = MAX(args->chain_size, INT64_C(0));
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, args->name);
    state_set_text(&row.validation_steps, args->validation_steps);
    state_set_text(&row.compression_library, library);
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || state_native_backup_offering_insert(tx, &row, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    memcpy(ret_uuid, uuid.text, UUID_TEXT_SIZE);
    return 0;
}

int
request_native_offering_delete(struct engine *engine,
                               const struct caller *caller,
                               const char *native_offering, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(native_backup_offering) row = {0};
    AUTO_STATE(backup_offering) user = {0};
    struct state_where where[] = {STATE_TEXT("external_id", NULL),
                                  STATE_LIVING};
    int found;

    if (lookup_require_root(caller, "delete native backup offerings", err) < 0)
        return -1;
    if (tx == NULL ||
        lookup_native_offering(tx, caller, native_offering, &row, err) < 0)
        return -1;
    where[0].text = row.uuid;
    found = state_backup_offering_find(tx, where, 2, &user, err);
    if (found < 0)
        return -1;
    if (found > 0)
        return error_set(err, ERROR_CONFLICT,
                         "native backup offering '%s' is imported as '%s' "
                         "(%s); delete that backup offering first",
                         row.name, user.name, user.uuid);
    row.removed = clock_wall_ms();
    if (state_native_backup_offering_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
check_import(struct state_tx *tx, const struct caller *caller,
             const struct request_offering_import *args, int64_t *ret_zone,
             struct error *err)
{
    AUTO_STATE(native_backup_offering) native = {0};
    AUTO_STATE(zone) zone = {0};
    AUTO_STATE(backup_offering) same = {0};
    const struct state_where zones[] = {STATE_TEXT("uuid", args->zone),
                                        STATE_LIVING};
    const struct state_where ids[] = {
        STATE_TEXT("external_id", args->external_id), STATE_LIVING};
    const struct state_where names[] = {STATE_TEXT("name", args->name),
                                        STATE_LIVING};
    int found;

    if (lookup_native_offering(tx, caller, args->external_id, &native, err) < 0)
        return -1;
    found = args->zone != NULL ? state_zone_find(tx, zones, 2, &zone, err) : 0;
    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no zone '%.64s'",
                         args->zone != NULL ? args->zone : "");
    *ret_zone = zone.id;
    found = state_backup_offering_find(tx, ids, 2, &same, err);
    if (found == 0)
        found = state_backup_offering_find(tx, names, 2, &same, err);
    if (found < 0)
        return -1;
    if (found > 0)
        return error_set(err, ERROR_INVALID,
                         "backup offering '%s' (%s) has this name or external "
                         "id already",
                         same.name, same.uuid);
    return 0;
}

int
request_offering_import(struct engine *engine, const struct caller *caller,
                        const struct request_offering_import *args,
                        struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(backup_offering)
    row = {.allow_user_driven_backups = args->allow_user_driven_backups,
           .created = clock_wall_ms()};
    struct submit job = {.command = "importBackupOffering",
                         .queue = "",
                         .type = "BackupOffering"};
    struct uuid uuid;

    if (lookup_require_root(caller, "import backup offerings", err) < 0 ||
        check_name("name", args->name, err) < 0 ||
        check_name("description", args->description, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || check_import(tx, caller, args, &row.zone_id, err) < 0)
        return -1;
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, args->name);
    state_set_text(&row.description, args->description);
    state_set_text(&row.external_id, args->external_id);
    state_set_text(&row.provider, "knib");
    job.uuid = uuid.text;
    if (state_backup_offering_insert(tx, &row, err) < 0)
        return -1;
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
offering_run_import(struct job *job, struct error *err)
{
    (void)err; /* the row was made with the request */
    job_event(job, "BACKUP.IMPORT.OFFERING", "INFO", job->row.instance_uuid);
    return 0;
}

int
request_offering_delete(struct engine *engine, const struct caller *caller,
                        const char *offering, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(backup_offering) row = {0};
    AUTO_STATE(vm) vm = {0};
    uint64_t backups = 0;
    struct state_where vms[] = {STATE_INT("backup_offering_id", 0)};
    struct state_where living[] = {STATE_INT("backup_offering_id", 0),
                                   STATE_LIVING};
    int found;

    if (lookup_require_root(caller, "delete backup offerings", err) < 0)
        return -1;
    if (tx == NULL ||
        lookup_backup_offering(tx, caller, offering, &row, err) < 0)
        return -1;
    vms[0].number = living[0].number = row.id;
    found = state_vm_find(tx, vms, 1, &vm, err);
    if (found < 0 ||
        state_backup_count(tx, STATE_QUERY(living), &backups, err) < 0)
        return -1;
    if (found > 0)
        return error_set(err, ERROR_CONFLICT,
                         "backup offering '%s' is assigned to machine '%s' "
                         "(%s)",
                         row.name, vm.name, vm.uuid);
    if (backups > 0)
        return error_set(err, ERROR_CONFLICT,
                         "backup offering '%s' has %llu backups; delete them "
                         "first",
                         row.name, (unsigned long long)backups);
    row.removed = clock_wall_ms();
    if (state_backup_offering_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
submit_for_vm(struct engine *engine, struct state_tx *tx,
              const struct caller *caller, const char *command,
              const struct state_vm *vm, int64_t offering_id,
              struct ticket *ret_ticket, struct error *err)
{
    const struct submit job = {
        .command = command,
        .vm = vm,
        .parameters = json_pack("{s:I}", "offering", (json_int_t)offering_id)};

    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_offering_assign(struct engine *engine, const struct caller *caller,
                        const char *vm, const char *offering,
                        struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) machine = {0};
    AUTO_STATE(backup_offering) row = {0};

    if (tx == NULL || lookup_vm(tx, caller, vm, &machine, err) < 0 ||
        lookup_backup_offering(tx, caller, offering, &row, err) < 0)
        return -1;
    if (machine.backup_offering_id != 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has a backup offering already; remove "
                         "it from that one first",
                         machine.name);
    return submit_for_vm(engine, tx, caller,
                         "assignVirtualMachineToBackupOffering", &machine,
                         row.id, ret_ticket, err);
}

int
request_offering_remove(struct engine *engine, const struct caller *caller,
                        const char *vm, bool forced, struct ticket *ret_ticket,
                        struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) machine = {0};

    (void)forced; /* backups are kept, so there is nothing to force */
    if (tx == NULL || lookup_vm(tx, caller, vm, &machine, err) < 0)
        return -1;
    if (machine.backup_offering_id == 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has no backup offering", machine.name);
    return submit_for_vm(engine, tx, caller,
                         "removeVirtualMachineFromBackupOffering", &machine,
                         machine.backup_offering_id, ret_ticket, err);
}

static int
set_offering(struct engine *engine, int64_t vm_id, int64_t offering_id,
             bool end_chain, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    if (offering_id != 0 && vm.backup_offering_id != 0)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' has a backup offering already", vm.name);
    vm.backup_offering_id = offering_id;
    if ((end_chain && backup_end_chain(tx, vm_id, err) < 0) ||
        state_vm_update(tx, &vm, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
offering_run_assign(struct job *job, struct error *err)
{
    if (set_offering(job->engine, job_number(job, "vm"),
                     job_number(job, "offering"), false, err) < 0)
        return -1;
    job_event(job, "BACKUP.OFFERING.ASSIGN", "INFO", job->row.instance_uuid);
    return 0;
}

int
offering_run_remove(struct job *job, struct error *err)
{
    int64_t vm_id = job_number(job, "vm");

    /* The deltas on primary storage are merged; backups stay restorable. */
    if (converge_begin(job->engine, job, vm_id, NULL, err) < 0 ||
        set_offering(job->engine, vm_id, 0, true, err) < 0)
        return -1;
    job_event(job, "BACKUP.OFFERING.REMOVE", "INFO", job->row.instance_uuid);
    return converge_machine(job->engine, job, vm_id, NULL, err);
}
