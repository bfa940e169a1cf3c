/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers share one list of running queues.  A worker takes the oldest
 * waiting job whose queue nobody works on; when a job ends all are woken,
 * since its queue is free again.
 */
#include "engine/job.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "engine/engine_internal.h"
#include "engine/job_internal.h"
#include "engine/repository.h"
#include "engine/scrub.h"
#include "engine/space.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_INTERVAL_MS 1000

struct watcher {
    engine_job_ended *ended;
    void *context; /* borrowed */
};

struct job_queue {
    struct engine *engine; /* borrowed */
    struct lock lock;
    struct signal changed;
    struct VEC(struct job *) running; /* under lock; borrowed from workers */
    struct VEC(int64_t) doubtful; /* under lock; ids of jobs that were marked
                                     as started, with the reply lost */
    bool stopping;                /* under lock */
    uint64_t generation;          /* under lock; counts job_wake() */
    struct lock watch_lock;       /* held while watchers are called */
    struct VEC(struct watcher) watchers; /* under watch_lock */
    unsigned worker_count;
    unsigned started;
    pthread_t *workers; /* owned */
    pthread_t ticker;
    bool has_ticker;
};

int
job_insert(struct state_tx *tx, const struct job_new *job,
           struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE(job)
    row = {.account_id = job->caller->account_id,
           .domain_id = job->caller->domain_id,
           .user_id = job->caller->user_id,
           .created = clock_wall_ms()};
    AUTO_FREE char *parameters = job->parameters != NULL
                                     ? json_dumps(job->parameters, JSON_COMPACT)
                                     : xstrdup("{}");
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.command, job->command);
    state_set_text(&row.parameters, parameters);
    state_set_text(&row.queue, job->queue);
    state_set_text(&row.instance_type, job->instance_type);
    state_set_text(&row.instance_uuid, job->instance_uuid);
    if (state_job_insert(tx, &row, err) < 0)
        return -1;
    *ret_ticket = (struct ticket){.job = ""};
    (void)snprintf(ret_ticket->job, sizeof(ret_ticket->job), "%s", uuid.text);
    (void)snprintf(ret_ticket->object, sizeof(ret_ticket->object), "%s",
                   job->instance_uuid != NULL ? job->instance_uuid : "");
    return 0;
}

int
job_is_pending(struct state_tx *tx, const char *instance_uuid,
               struct error *err)
{
    const struct state_where where[] = {
        STATE_TEXT("instance_uuid", instance_uuid),
        STATE_INT("status", 0),
        {.column = "queue", .op = STATE_NE, .text = JOB_QUEUE_READERS}};
    uint64_t count = 0;

    if (state_job_count(tx, STATE_QUERY(where), &count, err) < 0)
        return -1;
    return count > 0;
}

void
job_wake(struct engine *engine)
{
    struct job_queue *queue = engine->queue;

    lock_take(&queue->lock);
    queue->generation++;
    signal_wake_all(&queue->changed);
    lock_give(&queue->lock);
}

/* -- taking ---------------------------------------------------- */

static bool
queue_is_busy_locked(const struct job_queue *queue, const char *name)
{
    for (size_t i = 0; i < queue->running.count; i++) {
        if (strcmp(queue->running.items[i]->row.queue, name) == 0)
            return true;
    }
    return false;
}

static bool
is_doubtful_locked(const struct job_queue *queue, int64_t id)
{
    for (size_t i = 0; i < queue->doubtful.count; i++) {
        if (queue->doubtful.items[i] == id)
            return true;
    }
    return false;
}

static void
trust_locked(struct job_queue *queue, int64_t id)
{
    for (size_t i = 0; i < queue->doubtful.count; i++) {
        if (queue->doubtful.items[i] == id)
            queue->doubtful.items[i--] =
                queue->doubtful.items[--queue->doubtful.count];
    }
}

/* The oldest waiting job whose queue is free: 1 found, 0 none, -1 failed. */
static int
next_row_locked(struct job_queue *queue, struct state_job *ret_row,
                struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(queue->engine->state, err);
    AUTO_STATE_LIST(job) waiting = {0};
    const struct state_where where[] = {STATE_INT("status", 0)};

    if (tx == NULL || state_job_list(tx, STATE_QUERY(where), &waiting, err) < 0)
        return -1;
    for (size_t i = 0; i < waiting.count; i++) {
        struct state_job *row = &waiting.items[i];

        if (row->started != 0 && !is_doubtful_locked(queue, row->id))
            continue;
        if (row->queue != NULL && row->queue[0] != '\0' &&
            queue_is_busy_locked(queue, row->queue))
            continue;
        row->started = clock_wall_ms();
        if (state_job_update(tx, row, err) < 0)
            return -1;
        if (state_commit(tx, err) < 0) {
            vec_push(&queue->doubtful, row->id);
            return -1;
        }
        state_job_copy(ret_row, row);
        return 1;
    }
    return 0;
}

static struct job *
job_new_running(struct engine *engine, struct state_job *row)
{
    struct job *job = xcalloc(1, sizeof(*job));

    job->engine = engine;
    job->row = *row;
    *row = (struct state_job){0};
    job->parameters = json_loads(
        job->row.parameters != NULL ? job->row.parameters : "{}", 0, NULL);
    if (job->parameters == NULL)
        job->parameters = json_object();
    if (job->row.queue == NULL)
        job->row.queue = xstrdup("");
    /* One that was taken in doubt may have been cancelled since. */
    atomic_store(&job->progress.cancel, job->row.is_cancelled != 0);
    return job;
}

static void
job_free(struct job *job)
{
    json_decref(job->parameters);
    json_decref(job->result);
    state_job_release(&job->row);
    job_forget_events(job);
    vec_release(&job->notes);
    free(job->step);
    free(job);
}

/* Take the next job and mark its queue as busy: 1, 0 none, -1 failed. */
static int
take_locked(struct job_queue *queue, struct job **ret_job)
{
    struct error err = ERROR_INIT;
    AUTO_STATE(job) row = {0};
    int found = next_row_locked(queue, &row, &err);

    if (found < 0)
        log_error("job-queue-failed", "error='%s'", err.message);
    if (found <= 0)
        return found;
    trust_locked(queue, row.id);
    *ret_job = job_new_running(queue->engine, &row);
    vec_push(&queue->running, *ret_job);
    return 1;
}

bool
job_queue_wait_a_second(struct job_queue *queue)
{
    int64_t until_ms = clock_monotonic_ms() + 1000;
    bool go_on;

    lock_take(&queue->lock);
    while (!queue->stopping && clock_monotonic_ms() < until_ms)
        (void)signal_wait_until(&queue->changed, &queue->lock, until_ms);
    go_on = !queue->stopping;
    lock_give(&queue->lock);
    return go_on;
}

static void
forget_locked(struct job_queue *queue, const struct job *job)
{
    for (size_t i = 0; i < queue->running.count; i++) {
        if (queue->running.items[i] == job) {
            queue->running.items[i] =
                queue->running.items[--queue->running.count];
            return;
        }
    }
}

/* -- workers -------------------------------------------------------------- */

static struct job *
wait_for_job(struct job_queue *queue)
{
    struct job *job = NULL;

    lock_take(&queue->lock);
    while (!queue->stopping) {
        uint64_t seen = queue->generation;
        int64_t again_ms = clock_monotonic_ms() + 1000;
        int found = take_locked(queue, &job);

        if (found > 0)
            break;
        /* When the database failed, nobody else will wake us: look again. */
        while (!queue->stopping && queue->generation == seen &&
               (found == 0 || clock_monotonic_ms() < again_ms)) {
            if (found == 0)
                signal_wait(&queue->changed, &queue->lock);
            else
                (void)signal_wait_until(&queue->changed, &queue->lock,
                                        again_ms);
        }
    }
    lock_give(&queue->lock);
    return job;
}

static void
end_job(struct job_queue *queue, struct job *job)
{
    lock_take(&queue->lock);
    forget_locked(queue, job);
    queue->generation++;
    signal_wake_all(&queue->changed);
    lock_give(&queue->lock);
    job_free(job);
}

static void *
work(void *context)
{
    struct job_queue *queue = context;

    for (;;) {
        struct job *job = wait_for_job(queue);

        if (job == NULL)
            return NULL;
        job_run(job);
        end_job(queue, job);
    }
}

/* -- progress ------------------------------------------------------------- */

struct progress {
    int64_t id;
    uint64_t done;
    uint64_t total;
    char *step; /* owned; NULL: it is as it was */
};

void
job_step(struct job *job, const char *text)
{
    struct job_queue *queue = job->engine->queue;

    lock_take(&queue->lock);
    state_set_text(&job->step, text);
    job->has_moved = true;
    lock_give(&queue->lock);
}

/* Running jobs whose progress moved since it was looked at last. */
static size_t
moved_locked(struct job_queue *queue, struct progress *list, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < queue->running.count && count < max; i++) {
        struct job *job = queue->running.items[i];
        uint64_t done = atomic_load(&job->progress.done);

        if (done == job->shown && !job->has_moved)
            continue;
        job->shown = done;
        list[count++] = (struct progress){
            .id = job->row.id,
            .done = done,
            .total = atomic_load(&job->progress.total),
            .step = job->has_moved ? xstrdup(job->step) : NULL};
        job->has_moved = false;
    }
    return count;
}

/* Once a second the database learns how far the running jobs are. */
static void *
tick(void *context)
{
    struct job_queue *queue = context;
    struct progress list[64];
    int64_t next_ms = clock_monotonic_ms() + PROGRESS_INTERVAL_MS;

    lock_take(&queue->lock);
    while (!queue->stopping) {
        size_t count;

        if (signal_wait_until(&queue->changed, &queue->lock, next_ms) &&
            clock_monotonic_ms() < next_ms)
            continue;
        next_ms = clock_monotonic_ms() + PROGRESS_INTERVAL_MS;
        count = moved_locked(queue, list, ARRAY_SIZE(list));
        lock_give(&queue->lock);
        scrub_tick(queue->engine);
        space_tick(queue->engine);
        repository_tick(queue->engine);
        for (size_t i = 0; i < count; i++) {
            job_write_progress(queue->engine, list[i].id, list[i].done,
                               list[i].total, list[i].step);
            log_info("job-progress", "id=%lld done=%llu total=%llu",
                     (long long)list[i].id, (unsigned long long)list[i].done,
                     (unsigned long long)list[i].total);
            free(list[i].step);
        }
        lock_take(&queue->lock);
    }
    lock_give(&queue->lock);
    return NULL;
}

struct job_queue *
job_queue_new(struct engine *engine, unsigned workers)
{
    struct job_queue *queue = xcalloc(1, sizeof(*queue));

    queue->engine = engine;
    lock_init(&queue->lock);
    signal_init(&queue->changed);
    lock_init(&queue->watch_lock);
    queue->worker_count = workers > 0 ? workers : 4;
    queue->workers = xcalloc(queue->worker_count, sizeof(*queue->workers));
    return queue;
}

int
job_queue_start(struct job_queue *queue, struct error *err)
{
    while (queue->started < queue->worker_count) {
        int failed =
            pthread_create(&queue->workers[queue->started], NULL, work, queue);

        if (failed != 0)
            return error_set_errno(err, failed, "start a worker");
        queue->started++;
    }
    if (!queue->has_ticker) {
        int failed = pthread_create(&queue->ticker, NULL, tick, queue);

        if (failed != 0)
            return error_set_errno(err, failed, "start the progress thread");
        queue->has_ticker = true;
    }
    return 0;
}

/* What only reads may take hours and is worth nothing half done: nobody waits
 * for it. */
static void
cancel_readers_locked(struct job_queue *queue)
{
    for (size_t i = 0; i < queue->running.count; i++) {
        struct job *job = queue->running.items[i];

        if (strcmp(job->row.queue, JOB_QUEUE_READERS) == 0 ||
            strcmp(job->row.queue, JOB_QUEUE_SCRUB) == 0)
            atomic_store(&job->progress.cancel, true);
    }
}

void
job_queue_stop(struct job_queue *queue)
{
    lock_take(&queue->lock);
    queue->stopping = true;
    cancel_readers_locked(queue);
    signal_wake_all(&queue->changed);
    lock_give(&queue->lock);
    while (queue->started > 0)
        (void)pthread_join(queue->workers[--queue->started], NULL);
    if (queue->has_ticker)
        (void)pthread_join(queue->ticker, NULL);
    queue->has_ticker = false;
}

void
job_queue_free(struct job_queue *queue)
{
    if (queue == NULL)
        return;
    job_queue_stop(queue);
    vec_release(&queue->running);
    vec_release(&queue->doubtful);
    vec_release(&queue->watchers);
    lock_release(&queue->watch_lock);
    signal_release(&queue->changed);
    lock_release(&queue->lock);
    free(queue->workers);
    free(queue);
}

void
engine_watch_jobs(struct engine *engine, engine_job_ended *ended, void *context)
{
    struct job_queue *queue = engine->queue;

    lock_take(&queue->watch_lock);
    vec_push(&queue->watchers,
             ((struct watcher){.ended = ended, .context = context}));
    lock_give(&queue->watch_lock);
}

void
engine_unwatch_jobs(struct engine *engine, const void *context)
{
    struct job_queue *queue = engine->queue;

    lock_take(&queue->watch_lock);
    for (size_t i = queue->watchers.count; i-- > 0;) {
        if (queue->watchers.items[i].context == context)
            queue->watchers.items[i] =
                queue->watchers.items[--queue->watchers.count];
    }
    lock_give(&queue->watch_lock);
}

void
job_queue_tell_ended(struct job_queue *queue, const char *job_uuid)
{
    lock_take(&queue->watch_lock);
    for (size_t i = 0; i < queue->watchers.count; i++)
        queue->watchers.items[i].ended(queue->watchers.items[i].context,
                                       job_uuid);
    lock_give(&queue->watch_lock);
}

bool
job_is_stopping(const struct job *job)
{
    struct job_queue *queue = job->engine->queue;
    bool stopping;

    lock_take(&queue->lock);
    stopping = queue->stopping;
    lock_give(&queue->lock);
    return stopping;
}

bool
job_must_end(const struct job *job)
{
    return job_is_stopping(job) || job_is_cancelled(job);
}

void
job_queue_cancel(struct job_queue *queue, const char *job_uuid)
{
    lock_take(&queue->lock);
    for (size_t i = 0; i < queue->running.count; i++) {
        if (strcmp(queue->running.items[i]->row.uuid, job_uuid) == 0)
            atomic_store(&queue->running.items[i]->progress.cancel, true);
    }
    lock_give(&queue->lock);
}

int
job_queue_fail_orphans(struct job_queue *queue, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(queue->engine->state, err);
    AUTO_STATE_LIST(job) rows = {0};
    const struct state_where where[] = {
        STATE_INT("status", 0),
        {.column = "started", .op = STATE_NE, .number = 0}};

    if (tx == NULL || state_job_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        rows.items[i].status = 2;
        rows.items[i].result_code = error_code_http(ERROR_INTERNAL);
        rows.items[i].completed = clock_wall_ms();
        state_set_text(&rows.items[i].result,
                       "{\"errortext\":\"varved ended while this ran; the "
                       "machine was settled at the next start\"}");
        if (state_job_update(tx, &rows.items[i], err) < 0)
            return -1;
    }
    return state_commit(tx, err);
}

int
job_queue_drain(struct job_queue *queue, struct error *err)
{
    (void)err;
    for (;;) {
        struct job *job = NULL;
        int found;

        lock_take(&queue->lock);
        found = take_locked(queue, &job);
        lock_give(&queue->lock);
        if (found <= 0)
            return 0;
        job_run(job);
        end_job(queue, job);
    }
}
