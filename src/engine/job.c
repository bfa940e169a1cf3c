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
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_INTERVAL_MS 1000

struct job_queue {
    struct engine *engine; /* borrowed */
    struct lock lock;
    struct signal changed;
    struct VEC(struct job *) running; /* under lock; borrowed from workers */
    struct VEC(int64_t) doubtful; /* under lock; ids of jobs that were marked
                                     as started, with the reply lost */
    bool stopping;                /* under lock */
    uint64_t generation;          /* under lock; counts job_wake() */
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
        STATE_TEXT("instance_uuid", instance_uuid), STATE_INT("status", 0)};
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

/* -- for what runs in a job ---------------------------------------------- */

/* Progress is for people: that it cannot be stored stops nothing. */
static void
write_progress(struct engine *engine, int64_t id, uint64_t done, uint64_t total,
               const char *step)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine->state, &ignored);
    AUTO_STATE(job) row = {0};

    if (tx == NULL || state_job_get(tx, id, &row, &ignored) < 0 ||
        row.status != 0)
        return;
    row.bytes_done = (int64_t)done;
    row.bytes_total = (int64_t)total;
    if (step != NULL)
        state_set_text(&row.step, step);
    if (state_job_update(tx, &row, &ignored) < 0 ||
        state_commit(tx, &ignored) < 0)
        log_debug("job", "job-progress-lost", "error='%s'", ignored.message);
}

void
job_step(struct job *job, const char *text)
{
    write_progress(job->engine, job->row.id, atomic_load(&job->progress.done),
                   atomic_load(&job->progress.total), text);
}

void
job_bytes(struct job *job, uint64_t done, uint64_t total)
{
    atomic_store(&job->progress.done, done);
    atomic_store(&job->progress.total, total);
}

void
job_event(struct job *job, const char *type, const char *level,
          const char *text)
{
    const struct events_new event = {
        .type = type,
        .level = level,
        .description = text,
        .account_id = job->row.account_id,
        .domain_id = job->row.domain_id,
        .user_id = job->row.user_id,
        .resource_type = job->row.instance_type,
        .resource_uuid = job->row.instance_uuid,
    };

    events_record_now(job->engine->state, &event);
}

bool
job_is_cancelled(const struct job *job)
{
    return atomic_load(&job->progress.cancel);
}

const char *
job_text(const struct job *job, const char *key)
{
    return json_string_value(json_object_get(job->parameters, key));
}

int64_t
job_number(const struct job *job, const char *key)
{
    return json_integer_value(json_object_get(job->parameters, key));
}

/* -- taking and ending ---------------------------------------------------- */

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
    const struct state_where where[] = {STATE_INT("status", 0),
                                        STATE_INT("started", 0)};

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
    return job;
}

static void
job_free(struct job *job)
{
    json_decref(job->parameters);
    json_decref(job->result);
    state_job_release(&job->row);
    free(job);
}

/* Take the next job and mark its queue as busy, or return NULL. */
static struct job *
take_locked(struct job_queue *queue)
{
    struct error err = ERROR_INIT;
    AUTO_STATE(job) row = {0};
    int found = next_row_locked(queue, &row, &err);
    struct job *job;

    if (found < 0)
        log_error("job-queue-failed", "error='%s'", err.message);
    if (found <= 0)
        return NULL;
    trust_locked(queue, row.id);
    job = job_new_running(queue->engine, &row);
    vec_push(&queue->running, job);
    return job;
}

static int
write_end(struct job *job, int status, const struct error *why,
          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);
    AUTO_STATE(job) row = {0};
    AUTO_FREE char *text = NULL;
    json_t *result =
        job->result != NULL ? json_incref(job->result) : json_object();

    if (why != NULL) {
        (void)json_object_set_new(result, "errorname",
                                  json_string(error_code_name(why->code)));
        (void)json_object_set_new(result, "errortext",
                                  json_string(why->message));
    }
    text = json_dumps(result, JSON_COMPACT);
    json_decref(result);
    if (tx == NULL || state_job_get(tx, job->row.id, &row, err) < 0)
        return -1;
    row.status = status;
    row.completed = clock_wall_ms();
    row.bytes_done = (int64_t)atomic_load(&job->progress.done);
    row.bytes_total = (int64_t)atomic_load(&job->progress.total);
    row.result_code = why != NULL ? error_code_http(why->code) : 0;
    state_set_text(&row.result, text);
    if (state_job_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* What a failed job left in the journal is settled at once, if it can be. */
static void
settle_after(struct job *job, const struct error *why)
{
    struct error err = ERROR_INIT;
    int64_t vm_id = job_number(job, "vm");

    if (vm_id == 0 || why->code == ERROR_TIMEOUT ||
        why->code == ERROR_CANCELLED || why->code == ERROR_UNAVAILABLE)
        return;
    if (converge_begin(job->engine, NULL, vm_id, &err) < 0)
        log_warning("settling-postponed", "error='%s'", err.message);
}

/* Run one job to its end; the only place that logs a job's failure. */
static void
run(struct job *job)
{
    const struct job_kind *kind = job_kind_find(job->row.command);
    struct error err = ERROR_INIT;
    struct error ignored = ERROR_INIT;
    int64_t began = clock_monotonic_ms();
    char context[120];
    int result;

    (void)snprintf(context, sizeof(context), "job=%s command=%s", job->row.uuid,
                   job->row.command);
    log_set_context(context);
    log_info("job-started", "vm=%s", job->row.queue);
    if (kind == NULL)
        result = error_set(&err, ERROR_INTERNAL, "unknown job '%s'",
                           job->row.command);
    else
        result = kind->run(job, &err);
    if (write_end(job, result == 0 ? 1 : 2, result == 0 ? NULL : &err,
                  &ignored) < 0)
        log_error("job-not-recorded", "error='%s'", ignored.message);
    if (result == 0)
        log_info("job-finished", "bytes=%llu ms=%lld",
                 (unsigned long long)atomic_load(&job->progress.done),
                 (long long)(clock_monotonic_ms() - began));
    else
        log_error("job-failed", "code=%s error='%s' ms=%lld",
                  error_code_name(err.code), err.message,
                  (long long)(clock_monotonic_ms() - began));
    if (result < 0)
        settle_after(job, &err);
    log_set_context("");
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

        job = take_locked(queue);
        if (job != NULL)
            break;
        while (!queue->stopping && queue->generation == seen)
            signal_wait(&queue->changed, &queue->lock);
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
        run(job);
        end_job(queue, job);
    }
}

/* -- progress ------------------------------------------------------------- */

struct progress {
    int64_t id;
    uint64_t done;
    uint64_t total;
};

/* Running jobs whose progress moved since it was looked at last. */
static size_t
moved_locked(struct job_queue *queue, struct progress *list, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < queue->running.count && count < max; i++) {
        struct job *job = queue->running.items[i];
        uint64_t done = atomic_load(&job->progress.done);

        if (done == job->shown)
            continue;
        job->shown = done;
        list[count++] =
            (struct progress){.id = job->row.id,
                              .done = done,
                              .total = atomic_load(&job->progress.total)};
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
        for (size_t i = 0; i < count; i++) {
            write_progress(queue->engine, list[i].id, list[i].done,
                           list[i].total, NULL);
            log_info("job-progress", "id=%lld done=%llu total=%llu",
                     (long long)list[i].id, (unsigned long long)list[i].done,
                     (unsigned long long)list[i].total);
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

void
job_queue_stop(struct job_queue *queue)
{
    lock_take(&queue->lock);
    queue->stopping = true;
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
    signal_release(&queue->changed);
    lock_release(&queue->lock);
    free(queue->workers);
    free(queue);
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
        struct job *job;

        lock_take(&queue->lock);
        job = take_locked(queue);
        lock_give(&queue->lock);
        if (job == NULL)
            return 0;
        run(job);
        end_job(queue, job);
    }
}
