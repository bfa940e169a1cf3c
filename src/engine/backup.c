/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/backup.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/operation.h"
#include "engine/pins.h"
#include "engine/reserve.h"
#include "engine/retop.h"
#include "engine/settings.h"

#include <errno.h>
#include <string.h>

int
backup_drop_pins(struct state_tx *tx, int64_t backup_id, struct error *err)
{
    AUTO_STATE_LIST(backup_volume) volumes = {0};
    const struct state_where where[] = {STATE_INT("backup_id", backup_id)};

    if (pins_drop(tx, BACKUP_PIN, backup_id, err) < 0 ||
        state_backup_volume_list(tx, STATE_QUERY(where), &volumes, err) < 0)
        return -1;
    for (size_t i = 0; i < volumes.count; i++) {
        volumes.items[i].layer_id = 0;
        if (state_backup_volume_update(tx, &volumes.items[i], err) < 0)
            return -1;
    }
    return 0;
}

static enum backup_chain_status
chain_status(const struct state_backup *row)
{
    if (strcmp(row->status, "BackedUp") == 0 ||
        strcmp(row->status, "Restoring") == 0)
        return BACKUP_CHAIN_GOOD;
    if (strcmp(row->status, "Removed") == 0)
        return BACKUP_CHAIN_REMOVED;
    if (strcmp(row->status, "Expunged") == 0)
        return BACKUP_CHAIN_GONE;
    return BACKUP_CHAIN_BAD;
}

int
backup_chain_load(struct state_tx *tx, int64_t vm_id,
                  struct backup_chain_item **ret_items, size_t *ret_count,
                  struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id)};
    const struct state_query query = {
        .where = where, .where_count = 1, .order = "-id"};
    struct backup_chain_item *items;

    if (state_backup_list(tx, &query, &rows, err) < 0)
        return -1;
    items = xcalloc(rows.count, sizeof(*items));
    for (size_t i = 0; i < rows.count; i++)
        items[i] = (struct backup_chain_item){
            .id = rows.items[i].id,
            .parent = rows.items[i].parent_id,
            .status = chain_status(&rows.items[i]),
            .is_end_of_chain = rows.items[i].is_end_of_chain != 0,
            .is_isolated = rows.items[i].is_isolated != 0,
            .is_damaged =
                rows.items[i].verify_status != NULL &&
                strcmp(rows.items[i].verify_status, BACKUP_DAMAGED) == 0,
        };
    *ret_items = items;
    *ret_count = rows.count;
    return 0;
}

int
backup_end_chain(struct state_tx *tx, int64_t vm_id, struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    const struct state_where where[] = {
        STATE_INT("vm_id", vm_id),
        {.column = "status", .op = STATE_NE, .text = "Expunged"}};

    if (state_backup_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        struct state_backup *row = &rows.items[i];

        if (row->is_end_of_chain != 0 && row->is_current == 0)
            continue;
        row->is_end_of_chain = 1;
        row->is_current = 0;
        if (backup_drop_pins(tx, row->id, err) < 0 ||
            state_backup_update(tx, row, err) < 0)
            return -1;
    }
    return 0;
}

/* -- create ---------------------------------------------------------------- */

/* How long chains may be: the offering's word, else the setting's. */
static int
chain_size_of(struct engine *engine, struct state_tx *tx, int64_t offering_id,
              int64_t *ret_size, bool *ret_compress, struct error *err)
{
    AUTO_STATE(backup_offering) offering = {0};
    AUTO_STATE(native_backup_offering) native = {0};
    struct state_where where[] = {STATE_TEXT("uuid", NULL)};

    *ret_compress = false;
    if (state_backup_offering_get(tx, offering_id, &offering, err) < 0)
        return -1;
    where[0].text = offering.external_id;
    if (state_native_backup_offering_find(tx, where, 1, &native, err) < 0)
        return -1;
    *ret_compress = native.compress != 0;
    if (native.id != 0 && native.backup_chain_size >= 0) {
        *ret_size = native.backup_chain_size;
        return 0;
    }
    return settings_get_int(engine->state, "backup.chain.size", NULL, ret_size,
                            err);
}

/* Decide full or incremental, and enter BackingUp. */
static int
decide(struct job *job, struct state_backup *ret_row, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_FREE struct backup_chain_item *items = NULL;
    struct backup_chain_decision decision;
    size_t count;
    size_t skip = 0;
    int64_t chain_size;
    bool compress;

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), ret_row, err) < 0 ||
        chain_size_of(engine, tx, ret_row->backup_offering_id, &chain_size,
                      &compress, err) < 0 ||
        backup_chain_load(tx, ret_row->vm_id, &items, &count, err) < 0)
        return -1;
    while (skip < count && items[skip].id >= ret_row->id)
        skip++;
    decision = backup_chain_decide(items + skip, count - skip, chain_size,
                                   ret_row->is_isolated != 0);
    if (decision.ends_chain && backup_end_chain(tx, ret_row->vm_id, err) < 0)
        return -1;
    ret_row->parent_id = decision.parent;
    ret_row->is_end_of_chain = decision.is_end_of_chain;
    state_set_text(&ret_row->type,
                   decision.parent != 0 ? "INCREMENTAL" : "FULL");
    state_set_text(&ret_row->reason, decision.reason);
    state_set_text(&ret_row->status, "BackingUp");
    state_set_text(&ret_row->compression_status,
                   compress ? "Compressing" : "Uncompressed");
    if (state_backup_update(tx, ret_row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
freeze(struct job *job, struct state_backup *row, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct error why;

    if (tree_read(engine->state, row->vm_id, &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    retop =
        retop_new(RETOP_BACKUP, row->id, tree, machine->state != HV_STOPPED);
    retop->quiesce = row->quiesced != 0;
    job_step(job, "freezing layers");
    if (retop_check_vtpm(engine, machine, err) < 0 ||
        retop_add_overlays(retop, tree, err) < 0 ||
        reserve_check(engine, retop, err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    if (retop_commit(engine, retop, err) < 0)
        return -1;
    row->quiesced = retop->quiesce;
    return 0;
}

static int
insert_frozen(struct state_tx *tx, const struct retop *retop,
              const struct retop_disk *disk, struct error *err)
{
    AUTO_STATE(volume) volume = {0};
    AUTO_STATE(backup_volume)
    row = {.backup_id = retop->owner,
           .layer_id = disk->old_layer,
           .virtual_size = (int64_t)disk->size};

    if (state_volume_get(tx, disk->volume_id, &volume, err) < 0)
        return -1;
    row.device_id = volume.device_id;
    state_set_text(&row.volume_uuid, volume.uuid);
    state_set_text(&row.volume_name, volume.name);
    state_set_text(&row.volume_type, volume.type);
    state_set_text(&row.target, volume.target);
    if (pins_add(tx, BACKUP_PIN, retop->owner, disk->old_layer, err) < 0)
        return -1;
    return state_backup_volume_insert(tx, &row, err);
}

static int
finish_freeze(struct engine *engine, struct state_tx *tx,
              const struct retop *retop, const int64_t *layers,
              struct error *err)
{
    AUTO_STATE(backup) row = {0};

    (void)engine;
    (void)layers;
    for (size_t i = 0; i < retop->count; i++) {
        if (insert_frozen(tx, retop, &retop->disks[i], err) < 0)
            return -1;
    }
    if (state_backup_get(tx, retop->owner, &row, err) < 0)
        return -1;
    row.quiesced = retop->quiesce;
    return state_backup_update(tx, &row, err);
}

static int
fail_row(struct state_tx *tx, int64_t backup_id, const char *why,
         struct error *err)
{
    AUTO_STATE(backup) row = {0};

    if (state_backup_get(tx, backup_id, &row, err) < 0 ||
        backup_drop_pins(tx, backup_id, err) < 0)
        return -1;
    row.is_current = 0;
    state_set_text(&row.status, "Failed");
    state_set_text(&row.reason, why);
    return state_backup_update(tx, &row, err);
}

static int
undo_freeze(struct engine *engine, struct state_tx *tx,
            const struct retop *retop, const struct error *why,
            struct error *err)
{
    (void)engine;
    return fail_row(tx, retop->owner, why->message, err);
}

const struct retop_owner retop_owner_backup = {
    .name = "backup", .finish = finish_freeze, .undo = undo_freeze};

static int
fail(struct engine *engine, int64_t backup_id, const char *why,
     struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL || fail_row(tx, backup_id, why, err) < 0)
        return -1;
    if (fault_here("backup.fail"))
        return error_set_errno(err, errno, "record of a failed backup");
    return state_commit(tx, err);
}

/* What storing it cost: the record proper is made from the manifest. */
static int
note_bytes(struct engine *engine, const struct state_backup *stored,
           struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(backup) row = {0};

    if (tx == NULL || state_backup_get(tx, stored->id, &row, err) < 0)
        return -1;
    row.bytes_read = stored->bytes_read;
    row.bytes_changed = stored->bytes_changed;
    state_set_text(&row.reason, stored->reason);
    if (state_backup_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
take(struct job *job, struct state_backup *row, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;

    if (freeze(job, row, err) < 0 ||
        tree_read(engine->state, row->vm_id, &tree, err) < 0)
        return -1;
    job_step(job, "copying");
    if (backup_store(job, row, tree, err) < 0 ||
        note_bytes(engine, row, err) < 0)
        return -1;
    return backup_record(engine, row->id, err);
}

/* Is the point there?  1: yes, and recorded; 0: no, and the backup Failed. */
static int
settle_one(struct engine *engine, const char *vm_uuid, struct state_backup *row,
           const char *why, struct error *err)
{
    int exists;

    if (strcmp(row->status, "Restoring") == 0) {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_write(engine->state, err);

        if (tx == NULL)
            return -1;
        state_set_text(&row->status, "BackedUp");
        if (state_backup_update(tx, row, err) < 0)
            return -1;
        return state_commit(tx, err);
    }
    exists = repo_settle_point(engine->repo, vm_uuid, row->uuid, err);
    if (exists < 0)
        return -1;
    log_info("backup-settled", "backup=%s published=%d", row->uuid, exists);
    if (exists > 0)
        return backup_record(engine, row->id, err) < 0 ? -1 : 1;
    return fail(engine, row->id, why, err);
}

/* After a failure: 1 when the point was published all the same. */
static int
tidy(struct job *job, const struct error *why, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(backup) row = {0};

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), &row, err) < 0)
        return -1;
    state_end(steal(&tx));
    return settle_one(engine, job->row.queue, &row, why->message, err);
}

static int
create(struct job *job, struct state_backup *row, struct error *err)
{
    struct error why = ERROR_INIT;
    int published;

    if (converge_adopt(job, NULL, &why) == 0 && decide(job, row, &why) == 0 &&
        take(job, row, &why) == 0)
        return 0;
    *err = why;
    /* While the journal holds the freeze, settling decides. */
    if (why.code == ERROR_UNAVAILABLE ||
        operation_is_switching(job->engine->state, job->row.queue))
        return -1;
    published = tidy(job, &why, err);
    if (published > 0)
        return 0;
    if (published < 0)
        log_warning("backup-not-tidied", "error='%s'", err->message);
    *err = why;
    return -1;
}

int
backup_run_create(struct job *job, struct error *err)
{
    AUTO_STATE(backup) row = {0};
    int64_t vm_id = job_number(job, "vm");

    if (create(job, &row, err) < 0) {
        job_event(job, "BACKUP.CREATE", "ERROR", err->message);
        converge_tidy(job->engine, job, vm_id);
        return -1;
    }
    job_event(job, "BACKUP.CREATE", "INFO", row.name);
    log_info("backup-taken", "backup=%s type=%s reason='%s'", row.uuid,
             row.type, row.reason != NULL ? row.reason : "");
    converge_tidy_later(job->engine, job, vm_id);
    return 0;
}

/* -- settling ---------------------------------------------------------------
 */

static int
is_pending(struct engine *engine, const char *uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx != NULL ? job_is_pending(tx, uuid, err) : -1;
}

static int
clear_vm_state(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    /* Of a backup only; Destroyed is the owner's wish. */
    if (vm.state == NULL || strcmp(vm.state, "Destroyed") == 0)
        return 0;
    state_set_text(&vm.state, NULL);
    if (state_vm_update(tx, &vm, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* The backups that are under way, by their rows. */
static int
list_under_way(struct state_tx *tx, int64_t vm_id,
               struct state_backup_list *ret_rows, struct error *err)
{
    static const char *const states[] = {"Queued", "BackingUp", "Restoring"};
    const struct state_where where[] = {STATE_INT("vm_id", vm_id),
                                        {.column = "status",
                                         .op = STATE_IN_TEXT,
                                         .texts = states,
                                         .count = ARRAY_SIZE(states)}};

    return state_backup_list(tx, STATE_QUERY(where), ret_rows, err);
}

int
backup_is_unsettled(struct state_tx *tx, int64_t vm_id, struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};

    if (list_under_way(tx, vm_id, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        int pending = job_is_pending(tx, rows.items[i].uuid, err);

        if (pending <= 0)
            return pending < 0 ? -1 : 1;
    }
    return 0;
}

int
backup_settle(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    bool under_way = false;

    if (tx == NULL || state_vm_get(tx, vm_id, &vm, err) < 0 ||
        list_under_way(tx, vm_id, &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        int pending = is_pending(engine, rows.items[i].uuid, err);

        if (pending < 0)
            return -1;
        under_way |= pending > 0;
        if (pending > 0)
            continue;
        if (settle_one(engine, vm.uuid, &rows.items[i],
                       "varved ended before it was stored", err) < 0)
            return error_prefix(err, "backup '%s'", rows.items[i].uuid);
    }
    return under_way ? 0 : clear_vm_state(engine, vm_id, err);
}
