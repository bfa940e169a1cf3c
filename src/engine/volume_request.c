/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is checked before a volume is touched (semantics 2.8, 3.5): while a
 * machine has VM snapshots its volumes stay as they are, except that they may
 * grow where no snapshot has memory; a machine with a backup offering keeps
 * its volumes unless a setting says otherwise.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "engine/engine_internal.h"
#include "engine/inventory.h"
#include "engine/job.h"
#include "engine/limits.h"
#include "engine/lookup.h"
#include "engine/machine.h"
#include "engine/requests.h"
#include "engine/settings.h"
#include "engine/submit.h"
#include "engine/volume.h"

#include <string.h>

#define NAMED_MAX 5

static int
check_state(const struct state_volume *volume, struct error *err)
{
    if (volume->state != NULL && (strcmp(volume->state, "Ready") == 0 ||
                                  strcmp(volume->state, "Allocated") == 0))
        return 0;
    return error_set(err, ERROR_BUSY, "volume '%s' is %s; wait for that to end",
                     volume->name,
                     volume->state != NULL ? volume->state : "in no state");
}

/* The living VM snapshots that forbid `what`; with `memory_only` those that
 * have memory. */
static int
check_no_snapshots(struct state_tx *tx, const struct state_vm *vm,
                   bool memory_only, const char *what, struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    AUTO_STRBUF struct strbuf names = STRBUF_INIT;
    const struct state_where where[] = {STATE_INT("vm_id", vm->id),
                                        STATE_LIVING};
    size_t count = 0;

    if (state_vm_snapshot_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_vm_snapshot *row = &rows.items[i];

        if (memory_only && strcmp(row->type, "DiskAndMemory") != 0)
            continue;
        if (count++ < NAMED_MAX)
            strbuf_addf(&names, "%s'%s' (%s)", names.length > 0 ? ", " : "",
                        row->display_name, row->uuid);
    }
    if (count == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has %zu VM snapshot%s%s, so that a volume "
                     "cannot be %s: %s%s; delete them first",
                     vm->name, count, count == 1 ? "" : "s",
                     memory_only ? " with memory" : "", what,
                     strbuf_text(&names), count > NAMED_MAX ? ", ..." : "");
}

static int
check_no_offering(struct engine *engine, const struct state_vm *vm,
                  const char *what, struct error *err)
{
    bool allowed = false;

    if (vm->backup_offering_id == 0)
        return 0;
    if (settings_get_bool(engine->state,
                          "backup.enable.attach.detach.of.volumes", NULL,
                          &allowed, err) < 0)
        return -1;
    if (allowed)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "machine '%s' has a backup offering, so that a volume "
                     "cannot be %s; remove it from the offering, or set "
                     "backup.enable.attach.detach.of.volumes",
                     vm->name, what);
}

int
volume_look_at_machine(struct engine *engine, const struct caller *caller,
                       const char *uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(volume) volume = {0};
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || lookup_volume(tx, caller, uuid, &volume, err) < 0)
        return -1;
    if (volume.vm_id == 0)
        return 0;
    if (state_vm_get(tx, volume.vm_id, &vm, err) < 0)
        return -1;
    state_end(steal(&tx));
    return inventory_look(engine, vm.uuid, err);
}

/* In the machine's queue or, without one, the volume's own.  `parameters`
 * (owned) are what the job must know beside the two. */
static int
submit(struct engine *engine, struct state_tx *tx, const struct caller *caller,
       const char *command, const struct state_volume *volume,
       const struct state_vm *vm, json_t *parameters, struct ticket *ret_ticket,
       struct error *err)
{
    const struct submit job = {.command = command,
                               .vm = vm,
                               .queue = volume->uuid,
                               .type = "Volume",
                               .uuid = volume->uuid,
                               .parameters = parameters};

    (void)json_object_set_new(parameters, "volume", json_integer(volume->id));
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

int
request_volume_create(struct engine *engine, const struct caller *caller,
                      const struct request_volume *args,
                      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) none = {0};
    AUTO_STATE(volume)
    row = {.account_id = caller->account_id,
           .domain_id = caller->domain_id,
           .zone_id = engine->zone_id,
           .size = (int64_t)((args->size + 511) / 512 * 512),
           .created = clock_wall_ms()};
    struct uuid uuid;

    if (args->size == 0 || args->size > (uint64_t)INT64_MAX / 2)
        return error_set(err, ERROR_INVALID, "a volume has a size above 0");
    if (tx == NULL ||
        limits_check(tx, caller->account_id, LIMIT_VOLUME, 1, err) < 0 ||
        limits_check(tx, caller->account_id, LIMIT_PRIMARY_STORAGE, row.size,
                     err) < 0)
        return -1;
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, args->name);
    state_set_text(&row.type, "DATADISK");
    state_set_text(&row.format, "qcow2");
    state_set_text(&row.state, "Allocated");
    if (state_volume_insert(tx, &row, err) < 0)
        return -1;
    return submit(engine, tx, caller, "createVolume", &row, &none,
                  json_object(), ret_ticket, err);
}

int
volume_choose_device(struct state_tx *tx, const struct state_vm *vm,
                     int64_t asked, int64_t *ret_device, struct error *err)
{
    AUTO_STATE_LIST(volume) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm->id),
                                        STATE_LIVING};
    int64_t device = asked >= 0 ? asked : 1;
    bool taken = true;

    if (state_volume_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    while (taken) {
        taken = false;
        for (size_t i = 0; i < rows.count; i++)
            taken |= rows.items[i].device_id == device;
        if (taken && asked >= 0)
            return error_set(err, ERROR_INVALID,
                             "machine '%s' has a volume with device id %lld "
                             "already",
                             vm->name, (long long)asked);
        device += taken;
    }
    *ret_device = device;
    return 0;
}

int
request_volume_attach(struct engine *engine, const struct caller *caller,
                      const char *volume, const char *vm, int64_t device_id,
                      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(vm) machine = {0};
    int64_t device;

    if (inventory_look(engine, vm, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || lookup_volume(tx, caller, volume, &row, err) < 0 ||
        lookup_vm(tx, caller, vm, &machine, err) < 0 ||
        machine_require_living(&machine, err) < 0 || check_state(&row, err) < 0)
        return -1;
    if (row.vm_id != 0)
        return error_set(err, ERROR_CONFLICT,
                         "volume '%s' is attached already; detach it first",
                         row.name);
    if (row.account_id != machine.account_id)
        return error_set(err, ERROR_DENIED,
                         "volume '%s' and machine '%s' belong to different "
                         "accounts",
                         row.name, machine.name);
    if (check_no_snapshots(tx, &machine, false, "attached", err) < 0 ||
        check_no_offering(engine, &machine, "attached", err) < 0 ||
        volume_choose_device(tx, &machine, device_id, &device, err) < 0)
        return -1;
    return submit(engine, tx, caller, "attachVolume", &row, &machine,
                  json_pack("{s:I}", "device", (json_int_t)device), ret_ticket,
                  err);
}

int
request_volume_detach(struct engine *engine, const struct caller *caller,
                      const char *volume, struct ticket *ret_ticket,
                      struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(vm) machine = {0};

    if (volume_look_at_machine(engine, caller, volume, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || lookup_volume(tx, caller, volume, &row, err) < 0 ||
        check_state(&row, err) < 0)
        return -1;
    if (row.vm_id == 0)
        return error_set(err, ERROR_CONFLICT, "volume '%s' is not attached",
                         row.name);
    if (state_vm_get(tx, row.vm_id, &machine, err) < 0)
        return -1;
    if (strcmp(row.type, "ROOT") == 0 && strcmp(machine.power, "Stopped") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "volume '%s' is the root disk of machine '%s', which "
                         "is %s; stop it first",
                         row.name, machine.name, machine.power);
    if (check_no_snapshots(tx, &machine, false, "detached", err) < 0 ||
        check_no_offering(engine, &machine, "detached", err) < 0)
        return -1;
    return submit(engine, tx, caller, "detachVolume", &row, &machine,
                  json_object(), ret_ticket, err);
}

int
request_volume_resize(struct engine *engine, const struct caller *caller,
                      const char *volume, uint64_t size,
                      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(vm) machine = {0};
    int64_t bytes = (int64_t)((size + 511) / 512 * 512);

    if (size == 0 || size > (uint64_t)INT64_MAX / 2)
        return error_set(err, ERROR_INVALID, "a volume has a size above 0");
    if (volume_look_at_machine(engine, caller, volume, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || lookup_volume(tx, caller, volume, &row, err) < 0 ||
        check_state(&row, err) < 0)
        return -1;
    if (bytes < row.size)
        return error_set(err, ERROR_UNSUPPORTED,
                         "volume '%s' has %lld bytes; making it smaller would "
                         "cut off what the guest has there",
                         row.name, (long long)row.size);
    if (row.vm_id != 0 &&
        (state_vm_get(tx, row.vm_id, &machine, err) < 0 ||
         check_no_snapshots(tx, &machine, true, "resized", err) < 0))
        return -1;
    if (limits_check(tx, row.account_id, LIMIT_PRIMARY_STORAGE,
                     bytes - row.size, err) < 0)
        return -1;
    return submit(engine, tx, caller, "resizeVolume", &row, &machine,
                  json_pack("{s:I}", "size", (json_int_t)bytes), ret_ticket,
                  err);
}

int
request_volume_delete(struct engine *engine, const struct caller *caller,
                      const char *volume, struct ticket *ret_ticket,
                      struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(volume) row = {0};
    AUTO_STATE(vm) none = {0};

    if (tx == NULL || lookup_volume(tx, caller, volume, &row, err) < 0 ||
        check_state(&row, err) < 0)
        return -1;
    if (row.vm_id != 0)
        return error_set(err, ERROR_CONFLICT,
                         "volume '%s' is attached; detach it first", row.name);
    /* From here on it is gone; its files follow. */
    if (volume_drop(tx, &row, err) < 0)
        return -1;
    return submit(engine, tx, caller, "deleteVolume", &row, &none,
                  json_object(), ret_ticket, err);
}
