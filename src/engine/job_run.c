/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One job: what runs in it may say, and how its end is recorded.  This is the
 * only place that logs a job's failure.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/converge.h"
#include "engine/engine_internal.h"
#include "engine/events.h"
#include "engine/job_internal.h"
#include "engine/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- for what runs in a job ---------------------------------------------- */

void
job_write_progress(struct engine *engine, int64_t id, uint64_t done,
                   uint64_t total, const char *step)
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
job_bytes(struct job *job, uint64_t done, uint64_t total)
{
    atomic_store(&job->progress.done, done);
    atomic_store(&job->progress.total, total);
}

void
job_event(struct job *job, const char *type, const char *level,
          const char *text)
{
    vec_push(&job->notes, ((struct job_note){.type = xstrdup(type),
                                             .level = level,
                                             .text = xstrdup_null(text),
                                             .time_ms = clock_wall_ms()}));
}

void
job_record_events(const struct job *job, struct state_tx *tx)
{
    vec_for (const struct job_note *, note, &job->notes) {
        const struct events_new event = {
            .type = note->type,
            .level = note->level,
            .description = note->text,
            .time_ms = note->time_ms,
            .account_id = job->row.account_id,
            .domain_id = job->row.domain_id,
            .user_id = job->row.user_id,
            .resource_type = job->row.instance_type,
            .resource_uuid = job->row.instance_uuid,
        };
        struct error err = ERROR_INIT;

        if (events_record(tx, &event, &err) < 0)
            log_warning("event-lost", "type=%s error='%s'", note->type,
                        err.message);
    }
}

void
job_forget_events(struct job *job)
{
    vec_for (struct job_note *, note, &job->notes) {
        free(note->type);
        free(note->text);
    }
    job->notes.count = 0;
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

/* -- its end ----------------------------------------------------------- */

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
    if (row.status != 0)
        return 0; /* it came through, and its reply did not */
    row.status = status;
    row.completed = clock_wall_ms();
    row.bytes_done = (int64_t)atomic_load(&job->progress.done);
    row.bytes_total = (int64_t)atomic_load(&job->progress.total);
    row.result_code = why != NULL ? error_code_http(why->code) : 0;
    state_set_text(&row.result, text);
    if (job->step != NULL) /* only this thread sets it */
        state_set_text(&row.step, job->step);
    if (state_job_update(tx, &row, err) < 0)
        return -1;
    job_record_events(job, tx);
    return state_commit(tx, err);
}

/* What a failed job left is settled at once, if it can be; rows that do not
 * depend on the journal always can. */
static void
settle_after(struct job *job, const struct error *why)
{
    struct error err = ERROR_INIT;
    int64_t vm_id = job_number(job, "vm");
    bool must_wait =
        why->code == ERROR_CANCELLED || why->code == ERROR_UNAVAILABLE;

    if (vm_id == 0)
        return;
    if (merge_goes_on(job->engine, job->row.queue, why)) {
        /* What was not waited for goes on: a job of its own follows it. */
        if (engine_request_settle(job->engine, job->row.queue, &err) < 0)
            log_warning("settling-postponed", "error='%s'", err.message);
        return;
    }
    if (must_wait ? converge_settle_rows_alone(job->engine, vm_id, &err) < 0
                  : converge_begin(job->engine, NULL, vm_id, NULL, &err) < 0)
        log_warning("settling-postponed", "error='%s'", err.message);
}

/* A job whose end is not recorded would be under way for ever, and what it is
 * about in its way: the database is tried again until it is there. */
static void
record_end(struct job *job, int status, const struct error *why)
{
    struct error err = ERROR_INIT;

    for (unsigned tries = 1; write_end(job, status, why, &err) < 0; tries++) {
        log_error("job-not-recorded", "tries=%u error='%s'", tries,
                  err.message);
        if (tries > 1 && !job_queue_wait_a_second(job->engine->queue))
            return; /* failed at the next start */
        error_clear(&err);
    }
    job_queue_tell_ended(job->engine->queue, job->row.uuid);
}

void
job_run(struct job *job)
{
    const struct job_kind *kind = job_kind_find(job->row.command);
    struct error err = ERROR_INIT;
    int64_t began = clock_monotonic_ms();
    char context[120];
    /* A self-test's job runs other jobs. */
    AUTO_FREE char *outer = xstrdup(log_context());
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
    record_end(job, result == 0 ? 1 : 2, result == 0 ? NULL : &err);
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
    log_set_context(outer);
}
