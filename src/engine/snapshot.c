/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jobs of volume snapshots, and what settles them.  The order of a job's
 * steps is that of a backup (backup.c): whatever dies, the repository says
 * whether the point is there.
 */
#include "engine/snapshot.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/limits.h"
#include "engine/operation.h"
#include "engine/reserve.h"
#include "engine/retop.h"
#include "engine/volume.h"

#include <errno.h>
#include <string.h>

const char *const snapshot_taking[SNAPSHOT_TAKING_COUNT] = {
    "Allocated", "Creating", "CreatedOnPrimary", "BackingUp"};

int
snapshot_list_of(struct state_tx *tx, int64_t vm_id, const char *const *states,
                 size_t count, struct state_snapshot_list *ret_rows,
                 struct error *err)
{
    AUTO_STATE_LIST(volume) volumes = {0};
    AUTO_FREE int64_t *ids = NULL;
    const struct state_where mine[] = {STATE_INT("vm_id", vm_id)};
    struct state_where where[] = {{.column = "volume_id", .op = STATE_IN_INT},
                                  {.column = "state",
                                   .op = STATE_IN_TEXT,
                                   .texts = states,
                                   .count = count},
                                  STATE_LIVING};

    if (state_volume_list(tx, STATE_QUERY(mine), &volumes, err) < 0)
        return -1;
    ids = xcalloc(volumes.count + 1, sizeof(*ids));
    for (size_t i = 0; i < volumes.count; i++)
        ids[i] = volumes.items[i].id;
    where[0].ints = ids;
    where[0].count = volumes.count;
    return state_snapshot_list(tx, STATE_QUERY(where), ret_rows, err);
}

/* -- create ---------------------------------------------------------------- */

static int
enter(struct engine *engine, int64_t id, const char *state,
      struct state_snapshot *ret_row, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    state_snapshot_release(ret_row);
    if (tx == NULL || state_snapshot_get(tx, id, ret_row, err) < 0)
        return -1;
    state_set_text(&ret_row->state, state);
    if (state_snapshot_update(tx, ret_row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static int
freeze(struct job *job, const struct state_snapshot *row, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct tree_volume *volume;
    const struct state_layer *active;
    struct error why;
    uint64_t size;

    if (tree_read(engine->state, job_number(job, "vm"), &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    volume = tree_find_volume(tree, row->volume_id);
    if (volume == NULL)
        return error_set(err, ERROR_CONFLICT, "the volume was detached");
    active = tree_find_layer(volume, volume->row.layer_id);
    if (active == NULL)
        return error_set(err, ERROR_INTERNAL, "disk '%s' has no layer",
                         volume->row.target);
    retop =
        retop_new(RETOP_SNAPSHOT, row->id, tree, machine->state != HV_STOPPED);
    job_step(job, "freezing the layer");
    if (volume_size(active, &size, err) < 0)
        return -1;
    (void)retop_add(retop, volume, active, "qcow2", size);
    if (reserve_check(engine, retop, err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    if (retop_make_overlays(engine, retop, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    return retop_commit(engine, retop, err);
}

/* The layer that the snapshot pins. */
static int
pinned_layer(struct engine *engine, int64_t id, int64_t *ret_layer,
             struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(pin) pin = {0};
    const struct state_where mine[] = {STATE_TEXT("owner_kind", SNAPSHOT_PIN),
                                       STATE_INT("owner_id", id)};
    int found = tx != NULL ? state_pin_find(tx, mine, 2, &pin, err) : -1;

    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_INTERNAL, "the frozen layer is not pinned");
    *ret_layer = pin.layer_id;
    return 0;
}

/* Its own row counts.  The limits may have changed since the request. */
static int
check_limit(struct engine *engine, int64_t id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(snapshot) row = {0};

    if (tx == NULL || state_snapshot_get(tx, id, &row, err) < 0)
        return -1;
    return limits_check(tx, row.account_id, LIMIT_SNAPSHOT, 0, err);
}

static int
take(struct job *job, struct state_snapshot *row, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    struct tree_volume *volume;
    int64_t id = job_number(job, "snapshot");
    int64_t layer = 0;

    if (check_limit(engine, id, err) < 0 ||
        enter(engine, id, "Creating", row, err) < 0 ||
        freeze(job, row, err) < 0 ||
        enter(engine, id, "BackingUp", row, err) < 0 ||
        pinned_layer(engine, id, &layer, err) < 0 ||
        tree_read(engine->state, job_number(job, "vm"), &tree, err) < 0)
        return -1;
    volume = tree_find_volume(tree, row->volume_id);
    if (volume == NULL)
        return error_set(err, ERROR_INTERNAL, "the volume vanished");
    job_step(job, "copying");
    if (snapshot_store(job, row, volume, layer, err) < 0)
        return -1;
    return snapshot_record(engine, id, err);
}

/* Is the point there?  1: yes, and recorded; 0: no, and it is an Error. */
static int
settle_one(struct engine *engine, int64_t id, const char *why,
           struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(snapshot) row = {0};
    AUTO_STATE(volume) volume = {0};
    int exists;

    if (tx == NULL || state_snapshot_get(tx, id, &row, err) < 0 ||
        state_volume_get(tx, row.volume_id, &volume, err) < 0)
        return -1;
    state_end(steal(&tx));
    if (strcmp(row.state, "BackedUp") == 0)
        return 1;
    exists = repo_settle_point(engine->repo, volume.uuid, row.uuid, err);
    if (exists < 0)
        return -1;
    log_info("volume-snapshot-settled", "snapshot=%s published=%d", row.uuid,
             exists);
    if (exists > 0)
        return snapshot_record(engine, id, err) < 0 ? -1 : 1;
    return snapshot_fail(engine, id, why, err);
}

static int
create(struct job *job, struct state_snapshot *row, struct error *err)
{
    struct error why = ERROR_INIT;
    int published;

    if (converge_adopt(job, NULL, &why) == 0 && take(job, row, &why) == 0)
        return 0;
    *err = why;
    /* While the journal holds the freeze, settling decides. */
    if (why.code == ERROR_UNAVAILABLE ||
        operation_is_switching(job->engine->state, job->row.queue))
        return -1;
    published =
        settle_one(job->engine, job_number(job, "snapshot"), why.message, err);
    if (published > 0)
        return 0;
    if (published < 0)
        log_warning("volume-snapshot-not-tidied", "error='%s'", err->message);
    *err = why;
    return -1;
}

int
snapshot_run_create(struct job *job, struct error *err)
{
    AUTO_STATE(snapshot) row = {0};
    int64_t vm_id = job_number(job, "vm");

    if (create(job, &row, err) < 0) {
        job_event(job, "SNAPSHOT.CREATE", "ERROR", err->message);
        converge_tidy(job->engine, job, vm_id);
        return -1;
    }
    job_event(job, "SNAPSHOT.CREATE", "INFO", row.name);
    log_info("volume-snapshot-taken", "snapshot=%s bytes=%lld", row.uuid,
             (long long)row.virtual_size);
    converge_tidy_later(job->engine, job, vm_id);
    return 0;
}

/* -- settling -------------------------------------------------------------- */

int
snapshot_is_unsettled(struct state_tx *tx, int64_t vm_id, struct error *err)
{
    AUTO_STATE_LIST(snapshot) rows = {0};

    if (snapshot_list_of(tx, vm_id, snapshot_taking, SNAPSHOT_TAKING_COUNT,
                         &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        int pending = job_is_pending(tx, rows.items[i].uuid, err);

        if (pending <= 0)
            return pending < 0 ? -1 : 1;
    }
    return 0;
}

int
snapshot_settle(struct engine *engine, int64_t vm_id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(snapshot) rows = {0};
    AUTO_FREE int64_t *over = NULL;
    size_t count = 0;

    if (tx == NULL || snapshot_list_of(tx, vm_id, snapshot_taking,
                                       SNAPSHOT_TAKING_COUNT, &rows, err) < 0)
        return -1;
    over = xcalloc(rows.count + 1, sizeof(*over));
    for (size_t i = 0; i < rows.count; i++) {
        int pending = job_is_pending(tx, rows.items[i].uuid, err);

        if (pending < 0)
            return -1;
        if (pending == 0)
            over[count++] = rows.items[i].id;
    }
    state_end(steal(&tx));
    for (size_t i = 0; i < count; i++) {
        if (settle_one(engine, over[i], "varved ended before it was stored",
                       err) < 0)
            return error_prefix(err, "volume snapshot");
    }
    return 0;
}

/* -- delete ---------------------------------------------------------------- */

/* Destroying, and what has to be done written down, at once. */
static int
decide(struct job *job, struct state_snapshot *row,
       struct state_operation *ret_operation, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);
    AUTO_STATE(volume) volume = {0};
    json_t *payload = NULL;
    int64_t id = 0;
    int result = -1;

    if (tx == NULL ||
        state_snapshot_get(tx, job_number(job, "snapshot"), row, err) < 0 ||
        state_volume_get(tx, row->volume_id, &volume, err) < 0)
        return -1;
    if (row->removed != 0)
        return 0;
    state_set_text(&row->state, "Destroying");
    payload = json_pack("{s:I, s:s, s:s}", "snapshot", (json_int_t)row->id,
                        "point", row->uuid, "volume", volume.uuid);
    if (state_snapshot_update(tx, row, err) < 0 ||
        operation_insert(tx, OPERATION_SNAPSHOT_EXPUNGE, job->row.queue,
                         OPERATION_FINISH, payload, &id, err) < 0 ||
        state_operation_get(tx, id, ret_operation, err) < 0)
        goto out;
    if (fault_here("snapshot.delete-decided")) {
        (void)error_set_errno(err, errno, "delete snapshot '%s'", row->name);
        goto out;
    }
    result = state_commit(tx, err);
out:
    json_decref(payload);
    return result;
}

static int
set_destroyed(struct engine *engine, int64_t id, int64_t operation,
              struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(snapshot) row = {0};

    if (tx == NULL || state_snapshot_get(tx, id, &row, err) < 0)
        return -1;
    if (row.removed == 0) {
        /* One that was never stored was never charged for. */
        if (row.root != NULL &&
            events_usage(tx, "SNAPSHOT.DELETE", row.account_id, row.uuid,
                         row.name, row.physical_size, row.virtual_size,
                         err) < 0)
            return -1;
        row.removed = clock_wall_ms();
        state_set_text(&row.state, "Destroyed");
        if (state_snapshot_update(tx, &row, err) < 0)
            return -1;
    }
    if (state_operation_delete(tx, operation, err) < 0)
        return -1;
    if (fault_here("snapshot.destroyed"))
        return error_set_errno(err, errno, "record of a deletion");
    return state_commit(tx, err);
}

int
snapshot_settle_expunge(struct engine *engine,
                        const struct state_operation *row, struct error *err)
{
    json_t *payload = operation_payload(row, err);
    struct repo_removed removed = {0};
    json_int_t id = 0;
    const char *point;
    const char *volume;
    int result = -1;

    if (payload == NULL)
        return -1;
    if (json_unpack(payload, "{s:I, s:s, s:s}", "snapshot", &id, "point",
                    &point, "volume", &volume) < 0 ||
        !uuid_is_valid(point) || !uuid_is_valid(volume)) {
        json_decref(payload);
        return error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                         (long long)row->id);
    }
    if (fault_here("snapshot.expunge"))
        result = error_set_errno(err, errno, "remove snapshot '%s'", point);
    else
        result = repo_remove_point(engine->repo, volume, point, &removed, err);
    if (result == 0)
        log_info("point-removed", "point=%s files=%zu bytes=%llu kept=%zu",
                 point, removed.files, (unsigned long long)removed.bytes,
                 removed.kept);
    json_decref(payload);
    return result < 0 ? -1 : set_destroyed(engine, id, row->id, err);
}

/* Those of machines are settled in the machine's queue.  1, 0, -1. */
static int
is_detached(struct engine *engine, const struct state_operation *row,
            struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(volume) volume = {0};
    const struct state_where named[] = {STATE_TEXT("uuid", row->vm_uuid)};

    return tx != NULL ? state_volume_find(tx, named, 1, &volume, err) : -1;
}

int
snapshot_settle_detached(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {
        STATE_TEXT("kind", OPERATION_SNAPSHOT_EXPUNGE)};

    if (tx == NULL ||
        state_operation_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        int result = is_detached(engine, &rows.items[i], err);

        if (result > 0)
            result = snapshot_settle_expunge(engine, &rows.items[i], err);
        /* The others, and the daemon, do not wait for it. */
        if (result < 0)
            log_warning("detached-not-settled", "volume=%s error='%s'",
                        rows.items[i].vm_uuid, err->message);
        error_clear(err);
    }
    return 0;
}

int
snapshot_run_delete(struct job *job, struct error *err)
{
    AUTO_STATE(snapshot) row = {0};
    AUTO_STATE(operation) operation = {0};

    if (decide(job, &row, &operation, err) < 0 ||
        (operation.id != 0 &&
         snapshot_settle_expunge(job->engine, &operation, err) < 0)) {
        job_event(job, "SNAPSHOT.DELETE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "SNAPSHOT.DELETE", "INFO", row.name);
    return 0;
}
