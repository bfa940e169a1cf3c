/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass goes slice by slice.  Between slices it looks whether it should end,
 * and every few seconds, and whenever it found something, it writes down where
 * it is, with the events of what it found.  What a crash loses is a few seconds
 * of reading.
 *
 * It runs in a thread of idle priority and has a queue of its own, so that
 * neither machines nor verifications wait for it.
 *
 * When the pass ends, every backup and every snapshot of a volume that was
 * there at its beginning and was not found to be damaged is known to be good.
 */
#include "engine/scrub.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/accounts.h"
#include "engine/backup.h"
#include "engine/lookup.h"
#include "engine/requests.h"
#include "engine/settings.h"
#include "engine/snapshot.h"
#include "engine/submit.h"
#include "repo/repo_scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLICE ((uint64_t)64 << 20)
#define SAVE_INTERVAL_MS 2000
#define HOUR_MS INT64_C(3600000)

struct pass {
    struct job *job;          /* borrowed */
    struct state_scrub row;   /* owned */
    struct repo_scrub *scrub; /* owned */
    struct copy_options options;
    struct copy_progress watched;
    int64_t saved_ms;          /* monotonic */
    char last[UUID_TEXT_SIZE]; /* the damaged file that was told last */
};

/* -- the row ------------------------------------------------------------- */

/* The store's last pass: 1 found, 0 there was none. */
static int
find_row(struct state_tx *tx, int64_t store_id, struct state_scrub *ret_row,
         struct error *err)
{
    const struct state_where where[] = {STATE_INT("image_store_id", store_id)};

    return state_scrub_find(tx, where, 1, ret_row, err);
}

/* The row of the pass that goes on, or of a new one. */
static int
begin(struct pass *pass, struct error *err)
{
    struct engine *engine = pass->job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    struct state_scrub *row = &pass->row;
    struct uuid uuid;
    int found =
        tx == NULL ? -1 : find_row(tx, engine->image_store_id, row, err);

    if (found < 0)
        return -1;
    if (found > 0 && strcmp(row->status, SCRUB_RUNNING) == 0)
        return 0;
    row->position_offset = row->files_done = row->files_total = 0;
    row->bytes_done = row->bytes_total = row->findings = row->completed = 0;
    row->image_store_id = engine->image_store_id;
    row->started = clock_wall_ms();
    state_set_text(&row->position, "");
    state_set_text(&row->problem, NULL);
    state_set_text(&row->status, SCRUB_RUNNING);
    if (found == 0) {
        uuid_new(&uuid);
        state_set_text(&row->uuid, uuid.text);
    }
    if ((found == 0 ? state_scrub_insert(tx, row, err)
                    : state_scrub_update(tx, row, err)) < 0)
        return -1;
    return state_commit(tx, err);
}

static void
note_position(struct pass *pass)
{
    struct repo_scrub_position position;
    struct repo_scrub_progress progress;

    repo_scrub_where(pass->scrub, &position, &progress);
    state_set_text(&pass->row.position, position.key);
    pass->row.position_offset = (int64_t)position.offset;
    pass->row.files_done = (int64_t)progress.files_done;
    pass->row.files_total = (int64_t)progress.files_total;
    pass->row.bytes_done = (int64_t)progress.bytes_done;
    pass->row.bytes_total = (int64_t)progress.bytes_total;
    job_bytes(pass->job, progress.bytes_done, progress.bytes_total);
}

static int
save(struct pass *pass, const struct repo_verdict *verdict, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(pass->job->engine->state, err);

    if (tx == NULL || state_scrub_update(tx, &pass->row, err) < 0)
        return -1;
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        if (backup_record_finding(tx, &verdict->wrong[i], err) < 0)
            return -1;
    }
    job_record_events(pass->job, tx);
    if (fault_here("scrub.save"))
        return error_set_errno(err, errno, "where the scrub is");
    if (state_commit(tx, err) < 0)
        return -1;
    job_forget_events(pass->job);
    pass->saved_ms = clock_monotonic_ms();
    return 0;
}

/* -- findings ------------------------------------------------------------ */

static void
count_finding(struct pass *pass, const char *text)
{
    pass->row.findings++;
    if (pass->row.problem == NULL)
        state_set_text(&pass->row.problem, text);
    job_event(pass->job, "IMAGE.STORE.SCRUB", "ERROR", text);
}

/* A file of several slices is one finding. */
static void
tell(struct pass *pass, const struct repo_verdict *verdict)
{
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        const struct repo_finding *finding = &verdict->wrong[i];
        AUTO_FREE char *text = xasprintf("file '%s' is damaged", finding->file);

        backup_log_finding(finding);
        if (strcmp(pass->last, finding->file_uuid.text) == 0)
            continue;
        (void)snprintf(pass->last, sizeof(pass->last), "%s",
                       finding->file_uuid.text);
        count_finding(pass, text);
    }
}

static void
tell_manifests(struct pass *pass)
{
    const struct repo_list *list = repo_scrub_points(pass->scrub);

    for (size_t i = 0; i < list->bad_count; i++) {
        AUTO_FREE char *text =
            xasprintf("manifest '%s' is damaged: %s", list->bad[i].path,
                      list->bad[i].reason);

        log_error("manifest-damaged", "file='%s' error='%s'", list->bad[i].path,
                  list->bad[i].reason);
        count_finding(pass, text);
    }
}

/* -- the pass ------------------------------------------------------------ */

static int
look_up_rate(struct pass *pass, struct error *err)
{
    const struct settings_place place = {.zone_id = pass->job->engine->zone_id};
    int64_t rate = 0;

    if (settings_get_int(pass->job->engine->state,
                         "repository.scrub.rate.limit", &place, &rate, err) < 0)
        return -1;
    pass->options.rate_limit = rate > 0 ? (uint64_t)rate << 20 : 0;
    return 0;
}

static int
open_pass(struct pass *pass, struct error *err)
{
    struct repo_scrub_position position = {
        .offset = (uint64_t)pass->row.position_offset};

    (void)snprintf(position.key, sizeof(position.key), "%s",
                   pass->row.position != NULL ? pass->row.position : "");
    pass->scrub = repo_scrub_new(pass->job->engine->repo, &position, err);
    if (pass->scrub == NULL)
        return -1;
    if (position.key[0] == '\0')
        tell_manifests(pass);
    return look_up_rate(pass, err);
}

/* 1 there is more, 0 there is not, -1 failed. */
static int
step(struct pass *pass, struct error *err)
{
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    int more;

    if (job_is_cancelled(pass->job))
        return error_set(err, ERROR_CANCELLED, "cancelled");
    more = repo_scrub_step(pass->scrub, SLICE, &pass->options, &verdict, err);
    if (more < 0)
        return -1;
    note_position(pass);
    tell(pass, &verdict);
    if ((verdict.wrong_count > 0 ||
         clock_monotonic_ms() - pass->saved_ms > SAVE_INTERVAL_MS) &&
        save(pass, &verdict, err) < 0)
        return -1;
    return more;
}

static int
run(void *context, struct error *err)
{
    struct pass *pass = context;
    int more = open_pass(pass, err) < 0 ? -1 : 1;

    while (more > 0)
        more = step(pass, err);
    return more;
}

/* -- its end ------------------------------------------------------------- */

/* One point; a snapshot of a volume when it is no backup. */
static int
mark_one_good(const struct pass *pass, struct state_tx *tx, const char *point,
              struct error *err)
{
    AUTO_STATE(backup) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", point)};
    int found = state_backup_find(tx, where, 1, &row, err);

    if (found == 0)
        return snapshot_mark_good(tx, point, pass->row.started, err);
    if (found < 0)
        return -1;
    if (row.verified >= pass->row.started && row.verify_status != NULL &&
        strcmp(row.verify_status, BACKUP_DAMAGED) == 0)
        return 0;
    row.verified = clock_wall_ms();
    state_set_text(&row.verify_status, BACKUP_GOOD);
    state_set_text(&row.verify_problem, NULL);
    return state_backup_update(tx, &row, err);
}

/* Every point that was there at the beginning, and was not found damaged. */
static int
mark_good(struct pass *pass, struct state_tx *tx, struct error *err)
{
    const struct repo_list *list = repo_scrub_points(pass->scrub);

    for (size_t i = 0; i < list->count; i++) {
        if (list->points[i]->created_ms < pass->row.started &&
            mark_one_good(pass, tx, list->points[i]->uuid.text, err) < 0)
            return -1;
    }
    return 0;
}

static int
end(struct pass *pass, const char *status, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(pass->job->engine->state, err);

    if (tx == NULL)
        return -1;
    state_set_text(&pass->row.status, status);
    pass->row.completed = clock_wall_ms();
    if ((strcmp(status, SCRUB_DONE) == 0 && mark_good(pass, tx, err) < 0) ||
        state_scrub_update(tx, &pass->row, err) < 0)
        return -1;
    job_record_events(pass->job, tx);
    if (fault_here("scrub.end"))
        return error_set_errno(err, errno, "that the scrub ended");
    if (state_commit(tx, err) < 0)
        return -1;
    job_forget_events(pass->job);
    return 0;
}

/* It ended before its time. */
static void
give_up(struct pass *pass, const struct error *why)
{
    const struct repo_verdict nothing = REPO_VERDICT_INIT;
    struct error err = ERROR_INIT;
    bool by_hand = why->code == ERROR_CANCELLED && !job_is_stopping(pass->job);
    int result =
        by_hand ? end(pass, SCRUB_CANCELLED, &err) : save(pass, &nothing, &err);

    if (result < 0)
        log_warning("scrub-not-saved", "error='%s'", err.message);
}

static int
finish(struct pass *pass, struct error *err)
{
    AUTO_FREE char *text = NULL;

    note_position(pass);
    if (end(pass, SCRUB_DONE, err) < 0)
        return -1;
    text = xasprintf("%" PRId64 " files were read, %" PRId64 " are damaged",
                     pass->row.files_total, pass->row.findings);
    job_event(pass->job, "IMAGE.STORE.SCRUB",
              pass->row.findings > 0 ? "ERROR" : "INFO", text);
    log_info("scrub-finished",
             "files=%" PRId64 " bytes=%" PRId64 " findings=%" PRId64,
             pass->row.files_total, pass->row.bytes_total, pass->row.findings);
    pass->job->result =
        json_pack("{s:I, s:I, s:I}", "files", (json_int_t)pass->row.files_total,
                  "bytes", (json_int_t)pass->row.bytes_total, "findings",
                  (json_int_t)pass->row.findings);
    return 0;
}

int
scrub_run(struct job *job, struct error *err)
{
    struct pass pass = {.job = job};
    int result;

    pass.options.progress = &pass.watched;
    result = begin(&pass, err);
    if (result == 0) {
        result = background_run(BACKGROUND_IDLE, run, &pass, err);
        if (result == 0)
            result = finish(&pass, err);
        if (result < 0)
            give_up(&pass, err);
    }
    repo_scrub_free(pass.scrub);
    state_scrub_release(&pass.row);
    scrub_plan(job->engine);
    return result;
}

/* -- starting one -------------------------------------------------------- */

static int
start(struct engine *engine, const struct caller *caller,
      struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(image_store) store = {0};
    struct submit job = {.command = "scrubImageStore",
                         .queue = JOB_QUEUE_SCRUB,
                         .type = "ImageStore"};
    int pending;

    if (tx == NULL ||
        state_image_store_get(tx, engine->image_store_id, &store, err) < 0)
        return -1;
    pending = job_is_pending(tx, store.uuid, err);
    if (pending < 0)
        return -1;
    if (pending > 0)
        return error_set(err, ERROR_BUSY, "repository '%s' is being scrubbed",
                         store.name);
    job.uuid = store.uuid;
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

static int
check_store(struct engine *engine, const char *uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(image_store) store = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found =
        tx == NULL ? -1 : state_image_store_find(tx, where, 2, &store, err);

    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "there is no image store '%.64s'", uuid);
    if (store.id != engine->image_store_id)
        return error_set(err, ERROR_UNSUPPORTED,
                         "image store '%s' is not the one that is used",
                         store.name);
    return 0;
}

int
request_scrub(struct engine *engine, const struct caller *caller,
              const char *image_store, struct ticket *ret_ticket,
              struct error *err)
{
    if (lookup_require_root(caller, "scrub a repository", err) < 0 ||
        check_store(engine, image_store, err) < 0)
        return -1;
    return start(engine, caller, ret_ticket, err);
}

/* In nobody's name: the machine's root. */
static int
start_as_root(struct engine *engine, struct error *err)
{
    struct caller root = {.role = ROLE_ROOT_ADMIN};
    struct ticket ticket;
    int found;

    {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_read(engine->state, err);

        found = tx == NULL ? -1 : accounts_root(tx, &root, err);
    }
    return found <= 0 ? found : start(engine, &root, &ticket, err);
}

int
scrub_resume(struct engine *engine, struct error *err)
{
    AUTO_STATE(scrub) row = {0};
    int found;

    {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_read(engine->state, err);

        found =
            tx == NULL ? -1 : find_row(tx, engine->image_store_id, &row, err);
    }
    scrub_plan(engine);
    if (found <= 0 || strcmp(row.status, SCRUB_RUNNING) != 0)
        return found < 0 ? -1 : 0;
    if (start_as_root(engine, err) == 0)
        return 0;
    if (err->code != ERROR_BUSY) /* it was waiting already */
        return -1;
    error_clear(err);
    return 0;
}

/* -- by the clock -------------------------------------------------------- */

/* When the next pass is due, by the wall clock; 0 for never. */
static int
find_due(struct engine *engine, int64_t *ret_due_ms, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(scrub) row = {0};
    const struct settings_place place = {.zone_id = engine->zone_id};
    int64_t hours = 0;

    if (settings_get_int(engine->state, "repository.scrub.interval", &place,
                         &hours, err) < 0)
        return -1;
    tx = state_begin_read(engine->state, err);
    if (tx == NULL || find_row(tx, engine->image_store_id, &row, err) < 0)
        return -1;
    *ret_due_ms = 0;
    if (hours > 0)
        *ret_due_ms = MAX(row.started, row.completed) + hours * HOUR_MS;
    return 0;
}

void
scrub_plan(struct engine *engine)
{
    struct error err = ERROR_INIT;
    int64_t due_ms = 0;

    if (find_due(engine, &due_ms, &err) < 0)
        log_warning("scrub-not-planned", "error='%s'", err.message);
    atomic_store(&engine->scrub_due_ms, due_ms);
}

void
scrub_tick(struct engine *engine)
{
    int64_t due_ms = atomic_load(&engine->scrub_due_ms);
    struct error err = ERROR_INIT;

    if (due_ms == 0 || clock_wall_ms() < due_ms)
        return;
    atomic_store(&engine->scrub_due_ms, 0); /* until this one has ended */
    if (start_as_root(engine, &err) < 0 && err.code != ERROR_BUSY)
        log_warning("scrub-not-planned", "error='%s'", err.message);
}
