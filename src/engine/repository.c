/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Points are found by folder: a machine's uuid, or for snapshots of volumes the
 * volume's.  Of what the journal still has something to say about, it is
 * settled first, by its own rules.  A job that runs inside another one (of a
 * self-test) is not in the queue of its machine: so points with a job are left
 * alone, too.
 */
#include "engine/repository.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/submit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COMMAND "settleImageStore"
#define QUEUE "repository"
#define INTERVAL_MS INT64_C(21600000)

/* -- by the clock ---------------------------------------------------------- */

/* `owner` NULL: the job that finds them.  One that waits already is enough. */
static int
queue_one(struct state_tx *tx, const char *queue, const char *owner,
          struct error *err)
{
    const struct state_where waiting[] = {
        STATE_TEXT("command", COMMAND), STATE_TEXT("queue", queue),
        STATE_INT("status", 0), STATE_INT("started", 0)};
    struct submit job = {
        .command = COMMAND, .queue = queue, .type = "ImageStore"};
    uint64_t count = 0;

    if (state_job_count(tx, STATE_QUERY(waiting), &count, err) < 0)
        return -1;
    if (count > 0)
        return 0;
    job.parameters = json_pack("{s:s*}", "owner", owner);
    return submit_as_root(tx, &job, err);
}

static int
plan(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL || queue_one(tx, QUEUE, NULL, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

void
repository_tick(struct engine *engine)
{
    struct error err = ERROR_INIT;

    if (clock_monotonic_ms() < atomic_load(&engine->repository_due_ms))
        return;
    atomic_store(&engine->repository_due_ms,
                 clock_monotonic_ms() + INTERVAL_MS);
    if (plan(engine, &err) < 0)
        log_warning("repository-not-planned", "error='%s'", err.message);
}

/* -- whose ----------------------------------------------------------------- */

/* In which queue the owner's points are worked at: 1; 0 when it is none of
 * ours, and another installation on the same repository may be at work. */
static int
find_queue(struct state_tx *tx, const char *owner, char ret[UUID_TEXT_SIZE],
           struct error *err)
{
    AUTO_STATE(vm) vm = {0};
    AUTO_STATE(volume) volume = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", owner)};
    int found = state_volume_find(tx, where, 1, &volume, err);

    if (found == 0)
        found = state_vm_find(tx, where, 1, &vm, err);
    else if (found > 0 && volume.vm_id != 0 &&
             state_vm_get(tx, volume.vm_id, &vm, err) < 0)
        return -1;
    if (found <= 0)
        return found;
    (void)snprintf(ret, UUID_TEXT_SIZE, "%s", vm.id != 0 ? vm.uuid : owner);
    return 1;
}

static int
find_owners(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_REPO_OWNERS struct repo_owners owners = {NULL, 0, 0};
    AUTO_STATE_TX struct state_tx *tx = NULL;

    if (repo_list_unsettled(engine->repo, &owners, err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    for (size_t i = 0; i < owners.count; i++) {
        char queue[UUID_TEXT_SIZE];
        int found = find_queue(tx, owners.items[i], queue, err);

        if (found < 0 ||
            (found > 0 && queue_one(tx, queue, owners.items[i], err) < 0))
            return -1;
    }
    if (state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

/* -- one of them ----------------------------------------------------------- */

static int
is_busy(const char *point, void *context, struct error *err)
{
    struct engine *engine = context;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);

    return tx == NULL ? -1 : job_is_pending(tx, point, err);
}

/* Is it the journal that settles something in this queue?  1, 0, -1. */
static int
is_journalled(struct job *job, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(job->engine->state, err);
    const struct state_where where[] = {STATE_TEXT("vm_uuid", job->row.queue)};
    uint64_t count = 0;

    if (tx == NULL ||
        state_operation_count(tx, STATE_QUERY(where), &count, err) < 0)
        return -1;
    return count > 0;
}

static int
settle(struct job *job, const char *owner, struct error *err)
{
    struct engine *engine = job->engine;
    struct repo_settled settled;
    int waits = is_journalled(job, err);

    if (waits != 0)
        return waits < 0 ? -1 : 0;
    if (fault_here("repository.settle"))
        return error_set_errno(err, errno, "settle the points of '%s'", owner);
    if (repo_settle(engine->repo, owner, is_busy, engine, &settled, err) < 0)
        return -1;
    if (settled.stages + settled.removals + settled.folds > 0)
        log_info("repository-settled",
                 "owner=%s stages=%zu removals=%zu folds=%zu", owner,
                 settled.stages, settled.removals, settled.folds);
    return 0;
}

int
repository_run_settle(struct job *job, struct error *err)
{
    const char *owner = job_text(job, "owner");

    return owner != NULL ? settle(job, owner, err) : find_owners(job, err);
}
