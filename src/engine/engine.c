/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start: inventory, then settling of every machine that is ours stands in its
 * queue, then the workers run; the API answers meanwhile.  A machine that
 * cannot be settled now (its hypervisor is away) stays held and keeps its
 * problem on record; it is settled when the hypervisor is back, or before the
 * next operation on it.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/hold.h"
#include "engine/inventory.h"
#include "engine/job.h"
#include "engine/lookup.h"
#include "engine/merge_gate.h"
#include "engine/merge_slow.h"
#include "engine/operation.h"
#include "engine/owed.h"
#include "engine/pace.h"
#include "engine/requests.h"
#include "engine/scrub.h"
#include "engine/self_test.h"
#include "engine/snapshot.h"
#include "engine/space.h"
#include "engine/submit.h"
#include "engine/thaw_again.h"
#include "engine/volume.h"

#include <stdlib.h>
#include <string.h>

struct state *
engine_state(struct engine *engine)
{
    return engine->state;
}

struct hv *
engine_hv(struct engine *engine)
{
    return engine->hv;
}

/* The rows that stand for this host and the repository. */
static int
find_places(struct engine *engine, const char *repository, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(host) host = {0};
    AUTO_STATE(image_store) store = {0};
    const struct state_where living[] = {STATE_LIVING};
    const struct state_where stores[] = {STATE_TEXT("path", repository),
                                         STATE_LIVING};
    int found = -1;

    if (tx != NULL)
        found = state_host_find(tx, living, 1, &host, err);
    if (found > 0)
        found = state_image_store_find(tx, stores, 2, &store, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_INTERNAL,
                         "the database has no host or no image store for '%s'",
                         repository);
    engine->host_id = host.id;
    engine->zone_id = host.zone_id;
    engine->image_store_id = store.id;
    return 0;
}

struct engine *
engine_new(const struct engine_config *config, struct error *err)
{
    struct engine *engine = xcalloc(1, sizeof(*engine));

    engine->state = config->state;
    engine->hv = config->hv;
    engine->hold_dir = path_join(config->state_dir, "hold");
    engine->self_test_dir = path_join(config->state_dir, "self-test");
    engine->libvirt_uri = xstrdup_null(config->libvirt_uri);
    engine->only = xstrdup_null(config->only);
    engine->storages =
        xcalloc(config->storage_count + 1, sizeof(*engine->storages));
    for (size_t i = 0; i < config->storage_count; i++)
        engine->storages[engine->storage_count++] = config->storages[i];
    engine->queue = job_queue_new(engine, config->workers);
    engine->merges = merge_gate_new();
    engine->pace = pace_new();
    engine->space = space_watch_new(NULL, 0, 0);
    engine->thaws = owed_new(engine, OPERATION_THAW, thaw_again_pay);
    engine->slows = owed_new(engine, OPERATION_SLOW, merge_slow_pay);
    /* The hook runs as another user and must see the names. */
    if (fd_make_directories(engine->hold_dir, 0755, err) < 0 ||
        hold_discard_unfinished(engine->hold_dir, err) < 0 ||
        find_places(engine, config->repository, err) < 0) {
        engine_free(engine);
        return NULL;
    }
    engine->repo = repo_open(config->repository, REPO_CREATE, err);
    if (engine->repo == NULL) {
        engine_free(engine);
        return NULL;
    }
    pace_plan(engine);
    return engine;
}

int
engine_settle(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(vm) rows = {0};
    const struct state_where where[] = {STATE_LIVING};

    if (tx == NULL || state_vm_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        struct error why = ERROR_INIT;
        int result = rows.items[i].managed != 0
                         ? converge_settle(engine, NULL, rows.items[i].id, &why)
                         : converge_settle_rows(engine, rows.items[i].id, &why);

        if (result < 0)
            log_error("machine-not-settled", "vm=%s error='%s'",
                      rows.items[i].name, why.message);
    }
    return 0;
}

/* Machines as the hypervisor has them, if it can be asked; guests that are
 * slow; jobs that died. */
static int
take_stock(struct engine *engine, struct error *err)
{
    if (inventory_refresh(engine, err) < 0) {
        if (err->code != ERROR_UNAVAILABLE)
            return -1;
        log_warning("hypervisor-away", "error='%s'", err->message);
        error_clear(err);
    }
    if (converge_settle_slow(engine, err) < 0 ||
        job_queue_fail_orphans(engine->queue, err) < 0)
        return -1;
    return volume_settle_deleted(engine, err) < 0
               ? -1
               : snapshot_settle_detached(engine, err);
}

int
engine_resume(struct engine *engine, struct error *err)
{
    if (take_stock(engine, err) < 0 || self_test_settle(engine, err) < 0)
        return -1;
    return engine_settle(engine, err);
}

int
engine_queue_settle(struct state_tx *tx, const struct state_vm *vm,
                    struct error *err)
{
    const struct state_where waiting[] = {
        STATE_TEXT("command", "settleVirtualMachine"),
        STATE_TEXT("queue", vm->uuid), STATE_INT("status", 0),
        STATE_INT("started", 0)};
    const struct submit job = {.command = "settleVirtualMachine", .vm = vm};
    uint64_t count = 0;

    if (state_job_count(tx, STATE_QUERY(waiting), &count, err) < 0)
        return -1;
    return count > 0 ? 0 : submit_as_root(tx, &job, err);
}

/* For every machine, or that one, if it needs it; always: if it is ours. */
static int
request_settle(struct engine *engine, const char *vm_uuid, bool always,
               struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE_LIST(vm) rows = {0};
    const struct state_where where[] = {STATE_LIVING};

    if (tx == NULL || state_vm_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_vm *vm = &rows.items[i];
        int needed;

        if (vm_uuid != NULL && strcmp(vm_uuid, vm->uuid) != 0)
            continue;
        needed = vm->problem != NULL || (always && vm->managed != 0);
        if (needed == 0)
            needed = converge_is_unfinished(engine, tx, vm, err);
        if (needed < 0 || (needed > 0 && engine_queue_settle(tx, vm, err) < 0))
            return -1;
    }
    if (state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

int
engine_request_settle(struct engine *engine, const char *vm_uuid,
                      struct error *err)
{
    if (vm_uuid == NULL && self_test_request_settle(engine, err) < 0)
        return -1;
    return request_settle(engine, vm_uuid, false, err);
}

/* Rows of machines that were never taken over need no hypervisor. */
static int
settle_unmanaged(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE_LIST(vm) rows = {0};
    const struct state_where where[] = {STATE_INT("managed", 0), STATE_LIVING};

    if (tx == NULL || state_vm_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    state_end(steal(&tx));
    for (size_t i = 0; i < rows.count; i++) {
        if (converge_settle_rows(engine, rows.items[i].id, err) < 0)
            log_error("machine-not-settled", "vm=%s error='%s'",
                      rows.items[i].name, err->message);
        error_clear(err);
    }
    return 0;
}

int
engine_start(struct engine *engine, struct error *err)
{
    /* Settling may take as long as a merge does: it is work like any other,
     * and first in each machine's queue that has nothing waiting. */
    if (take_stock(engine, err) < 0 || settle_unmanaged(engine, err) < 0 ||
        self_test_request_settle(engine, err) < 0 ||
        request_settle(engine, NULL, true, err) < 0)
        return -1;
    if (scrub_resume(engine, err) < 0 ||
        owed_start(engine->thaws, "thaws guests", err) < 0 ||
        owed_start(engine->slows, "puts limits of guests back", err) < 0)
        return -1;
    return job_queue_start(engine->queue, err);
}

void
engine_settings_changed(struct engine *engine)
{
    pace_plan(engine);
    scrub_plan(engine);
    space_plan(engine);
}

void
engine_stop(struct engine *engine)
{
    job_queue_stop(engine->queue);
    owed_stop(engine->thaws);
    owed_stop(engine->slows);
}

void
engine_free(struct engine *engine)
{
    if (engine == NULL)
        return;
    job_queue_free(engine->queue);
    merge_gate_free(engine->merges);
    pace_free(engine->pace);
    space_watch_free(engine->space);
    owed_free(engine->thaws);
    owed_free(engine->slows);
    repo_free(engine->repo);
    free(engine->hold_dir);
    free(engine->self_test_dir);
    free(engine->libvirt_uri);
    free(engine->storages);
    free(engine->only);
    free(engine);
}

int
engine_refresh(struct engine *engine, const char *vm_uuid, struct error *err)
{
    if (vm_uuid == NULL || vm_uuid[0] == '\0')
        return inventory_refresh(engine, err);
    return inventory_refresh_machine(engine, vm_uuid, err);
}

int
engine_drain(struct engine *engine, struct error *err)
{
    return job_queue_drain(engine->queue, err);
}

static int
settle_rows_of(struct engine *engine, const struct state_job *row,
               struct error *err)
{
    json_t *parameters =
        json_loads(row->parameters != NULL ? row->parameters : "{}", 0, NULL);
    int64_t vm_id = json_integer_value(json_object_get(parameters, "vm"));

    json_decref(parameters);
    return vm_id != 0 ? converge_settle_rows_alone(engine, vm_id, err) : 0;
}

int
request_job_cancel(struct engine *engine, const struct caller *caller,
                   const char *job, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(job) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", job)};
    int found = tx != NULL ? state_job_find(tx, where, 1, &row, err) : -1;

    if (found < 0)
        return -1;
    if (found == 0 ||
        access_may_see(tx, caller, row.account_id, row.domain_id, err) <= 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no job '%.64s'", job);
    if (row.status != 0)
        return error_set(err, ERROR_CONFLICT, "job '%s' has ended", job);
    row.is_cancelled = 1;
    if (row.started == 0) {
        row.status = 3;
        row.completed = clock_wall_ms();
    }
    if (state_job_update(tx, &row, err) < 0 || state_commit(tx, err) < 0)
        return -1;
    job_queue_cancel(engine->queue, job);
    if (row.status == 3)
        job_queue_tell_ended(engine->queue, job);
    /* What a job that never ran was to make does not stay behind. */
    return row.status == 3 ? settle_rows_of(engine, &row, err) : 0;
}
