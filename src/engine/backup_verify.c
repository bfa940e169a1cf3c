/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying backups: read everything, say what is lost and what is still good.
 *
 * A verification only reads published files, which never change, so it has a
 * queue of its own and never keeps a machine's jobs waiting.  Whatever happens
 * to the backup meanwhile wins: a deletion goes ahead, and the verification
 * then ends without a verdict.  One runs at a time, so that many of them leave
 * workers to the jobs of machines.
 *
 * What was found is recorded for every backup that reads the damage, so that
 * none of them is built on or taken for good.
 */
#include "engine/backup.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "engine/events.h"
#include "engine/pace.h"
#include "engine/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* -- the record ---------------------------------------------------------- */

static void
describe(const struct repo_finding *finding, struct strbuf *text)
{
    if (finding->is_index)
        strbuf_addf(text,
                    "the digest index '%s' is damaged: %" PRIu64
                    " blocks of 64 KiB cannot be proved",
                    finding->file, finding->leaves);
    else
        strbuf_addf(text,
                    "file '%s' is damaged: %" PRIu64
                    " blocks of 64 KiB, the first at offset %" PRIu64
                    " of the disk",
                    finding->file, finding->leaves, finding->offset);
}

/* One backup, or snapshot of a volume, that reads what is damaged. */
static int
mark_damaged(struct state_tx *tx, const struct repo_dependant *dependant,
             const char *problem, struct error *err)
{
    AUTO_STATE(backup) row = {0};
    const struct state_where where[] = {
        STATE_TEXT("uuid", dependant->point.text)};
    int found = state_backup_find(tx, where, 1, &row, err);

    if (found == 0) /* or of another installation: it is told all the same */
        return snapshot_mark(tx, dependant->point.text, problem, err);
    if (found < 0)
        return -1;
    state_set_text(&row.verify_status, BACKUP_DAMAGED);
    state_set_text(&row.verify_problem, problem);
    row.verified = clock_wall_ms();
    return state_backup_update(tx, &row, err);
}

int
backup_record_finding(struct state_tx *tx, const struct repo_finding *finding,
                      struct error *err)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    describe(finding, &text);
    for (size_t i = 0; i < finding->point_count; i++) {
        if (!finding->points[i].is_spared &&
            mark_damaged(tx, &finding->points[i], strbuf_text(&text), err) < 0)
            return -1;
    }
    return 0;
}

void
backup_log_finding(const struct repo_finding *finding)
{
    size_t damaged = 0;

    for (size_t i = 0; i < finding->point_count; i++)
        damaged += !finding->points[i].is_spared;
    log_error("backup-damaged",
              "file='%s' volume=%s offset=%" PRIu64 " leaves=%" PRIu64
              " unreadable=%" PRIu64 " points=%zu error='%s'",
              finding->file, finding->volume.text, finding->offset,
              finding->leaves, finding->unreadable, damaged, finding->why);
}

static int
record(struct job *job, const struct state_backup *backup,
       const struct repo_verdict *verdict, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(job->engine->state, err);

    if (tx == NULL)
        return -1;
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        if (backup_record_finding(tx, &verdict->wrong[i], err) < 0)
            return -1;
    }
    if (verdict->good) {
        AUTO_STATE(backup) row = {0};

        if (state_backup_get(tx, backup->id, &row, err) < 0)
            return -1;
        state_set_text(&row.verify_status, BACKUP_GOOD);
        state_set_text(&row.verify_problem, NULL);
        row.verified = clock_wall_ms();
        if (state_backup_update(tx, &row, err) < 0)
            return -1;
    }
    if (fault_here("backup.verified"))
        return error_set_errno(err, errno, "record of a verification");
    return state_commit(tx, err);
}

/* -- for the caller ------------------------------------------------------ */

/* A backup whose chain has the file, by name if it is known here. */
static json_t *
dependant_json(struct state_tx *tx, const struct repo_dependant *dependant)
{
    AUTO_STATE(backup) row = {0};
    AUTO_STATE(vm) vm = {0};
    struct error ignored = ERROR_INIT;
    const struct state_where where[] = {
        STATE_TEXT("uuid", dependant->point.text)};
    const struct state_where machine[] = {
        STATE_TEXT("uuid", dependant->vm.text)};
    json_t *object = json_pack("{s:s, s:s, s:b}", "id", dependant->point.text,
                               "virtualmachineid", dependant->vm.text,
                               "damaged", (int)!dependant->is_spared);

    if (state_backup_find(tx, where, 1, &row, &ignored) > 0 && row.name != NULL)
        (void)json_object_set_new(object, "name", json_string(row.name));
    if (state_vm_find(tx, machine, 1, &vm, &ignored) > 0 && vm.name != NULL)
        (void)json_object_set_new(object, "virtualmachinename",
                                  json_string(vm.name));
    return object;
}

static json_t *
finding_json(struct state_tx *tx, const struct repo_finding *finding)
{
    json_t *backups = json_array();

    for (size_t i = 0; i < finding->point_count; i++)
        (void)json_array_append_new(backups,
                                    dependant_json(tx, &finding->points[i]));
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:s, s:o}", "volumeid",
                     finding->volume.text, "file", finding->file, "index",
                     (int)finding->is_index, "offset",
                     (json_int_t)finding->offset, "blocks",
                     (json_int_t)finding->leaves, "unreadable",
                     (json_int_t)finding->unreadable, "text", finding->why,
                     "backups", backups);
}

static int
answer(struct job *job, const struct repo_verdict *verdict, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(job->engine->state, err);
    json_t *list;

    if (tx == NULL)
        return -1;
    list = json_array();
    for (size_t i = 0; i < verdict->wrong_count; i++)
        (void)json_array_append_new(list, finding_json(tx, &verdict->wrong[i]));
    job->result =
        json_pack("{s:b, s:I, s:o}", "valid", (int)verdict->good, "bytes",
                  (json_int_t)verdict->bytes, "mismatches", list);
    return 0;
}

/* -- the job ------------------------------------------------------------- */

static int
find(struct job *job, struct state_backup *ret_backup,
     struct repo_point **ret_point, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(vm) vm = {0};

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), ret_backup, err) < 0 ||
        state_vm_get(tx, ret_backup->vm_id, &vm, err) < 0)
        return -1;
    state_end(steal(&tx));
    *ret_point = repo_read_point(engine->repo, vm.uuid, ret_backup->uuid, err);
    return *ret_point != NULL ? 0 : -1;
}

/* What is read, away from the job's own priority; all borrowed. */
struct reading {
    struct job *job;
    const struct repo_point *point;
    struct repo_verdict *verdict;
};

static int
read_point(void *context, struct error *err)
{
    const struct reading *reading = context;
    const struct copy_options options = {.progress = &reading->job->progress};

    return repo_verify_point(reading->job->engine->repo, reading->point,
                             &options, reading->verdict, err);
}

static int
verify(struct job *job, struct state_backup *backup,
       struct repo_verdict *ret_verdict, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point = NULL;
    struct reading reading = {.job = job, .verdict = ret_verdict};
    int result = find(job, backup, &point, err);

    reading.point = point;
    if (result == 0 && pace_run(job->engine, read_point, &reading, err) == 0)
        return 0;
    if (err->code == ERROR_NOT_FOUND || err->code == ERROR_CONFLICT)
        return error_set(err, ERROR_CANCELLED,
                         "backup '%s' was deleted or changed while it was "
                         "verified",
                         backup->uuid != NULL ? backup->uuid : "?");
    return error_prefix(err, "backup '%s'", backup->uuid);
}

int
backup_run_verify(struct job *job, struct error *err)
{
    AUTO_STATE(backup) backup = {0};
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

    if (verify(job, &backup, &verdict, err) < 0 ||
        record(job, &backup, &verdict, err) < 0 ||
        answer(job, &verdict, err) < 0)
        return -1;
    for (size_t i = 0; i < verdict.wrong_count; i++) {
        AUTO_STRBUF struct strbuf text = STRBUF_INIT;

        describe(&verdict.wrong[i], &text);
        backup_log_finding(&verdict.wrong[i]);
        job_event(job, "BACKUP.VERIFY", "ERROR", strbuf_text(&text));
    }
    if (verdict.good)
        job_event(job, "BACKUP.VERIFY", "INFO", backup.name);
    return 0;
}
