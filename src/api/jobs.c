/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs (semantics 6.4).
 *
 * A job's row says what was asked and how it ended; the object that came of
 * it is read when somebody asks, so that it is shown as it is now.  The
 * command table says which object that is, and under which name it goes.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/render.h"
#include "api/resources.h"
#include "engine/requests.h"

#include <stdio.h>
#include <string.h>

/* Well below what clients and proxies wait for an answer. */
#define HOLD_MAX_MS INT64_C(20000)

enum status { RUNNING = 0, DONE = 1, CANCELLED = 3 };

/* -- what came of it ----------------------------------------------------- */

/* Keep a failure; 1 found, 0 otherwise. */
static bool
is_found(struct refs *refs, int found, const struct error *err)
{
    if (found < 0)
        refs_keep(refs, err);
    return found > 0;
}

static json_t *
make_vm(struct refs *refs, const char *uuid)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(vm) row = {0};
    struct error err = ERROR_INIT;

    return is_found(refs, state_vm_find(refs->tx, where, 1, &row, &err), &err)
               ? vms_object(refs, &row)
               : NULL;
}

static json_t *
make_vm_snapshot(struct refs *refs, const char *uuid)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(vm_snapshot) row = {0};
    struct error err = ERROR_INIT;

    return is_found(refs,
                    state_vm_snapshot_find(refs->tx, where, 1, &row, &err),
                    &err)
               ? vm_snapshots_object(refs, &row)
               : NULL;
}

static json_t *
make_snapshot(struct refs *refs, const char *uuid)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(snapshot) row = {0};
    struct error err = ERROR_INIT;

    return is_found(refs, state_snapshot_find(refs->tx, where, 1, &row, &err),
                    &err)
               ? snapshots_object(refs, &row)
               : NULL;
}

static json_t *
make_volume(struct refs *refs, const char *uuid)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(volume) row = {0};
    struct error err = ERROR_INIT;

    return is_found(refs, state_volume_find(refs->tx, where, 1, &row, &err),
                    &err)
               ? volumes_object(refs, &row)
               : NULL;
}

static json_t *
make_offering(struct refs *refs, const char *uuid)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(backup_offering) row = {0};
    struct error err = ERROR_INIT;

    return is_found(refs,
                    state_backup_offering_find(refs->tx, where, 1, &row, &err),
                    &err)
               ? offerings_object(refs, &row)
               : NULL;
}

/* The object that the command makes; NULL when it only succeeds. */
static json_t *
make_object(struct refs *refs, const struct state_job *job, const char *key)
{
    /* A machine's jobs are queued under its id, whatever they work on. */
    if (strcmp(key, "virtualmachine") == 0 && job->queue != NULL)
        return make_vm(refs, job->queue);
    if (strcmp(key, "vmsnapshot") == 0 && job->instance_uuid != NULL)
        return make_vm_snapshot(refs, job->instance_uuid);
    if (strcmp(key, "snapshot") == 0 && job->instance_uuid != NULL)
        return make_snapshot(refs, job->instance_uuid);
    if (strcmp(key, "volume") == 0 && job->instance_uuid != NULL)
        return make_volume(refs, job->instance_uuid);
    if (strcmp(key, "backupoffering") == 0 && job->instance_uuid != NULL)
        return make_offering(refs, job->instance_uuid);
    return NULL;
}

/* What the job left for the caller besides; an empty object if nothing. */
static json_t *
load_facts(const struct state_job *job)
{
    json_t *facts =
        job->result != NULL ? json_loads(job->result, 0, NULL) : NULL;

    if (json_is_object(facts))
        return facts;
    json_decref(facts);
    return object_new();
}

static json_t *
make_success(struct refs *refs, const struct state_job *job)
{
    const struct command *command =
        job->command != NULL ? command_find(job->command) : NULL;
    const char *key = command != NULL ? command->key : "success";
    json_t *object = make_object(refs, job, key);
    json_t *result;

    if (object == NULL) {
        result = load_facts(job);
        object_set_bool(result, "success", true);
        return result;
    }
    result = object_new();
    object_set(result, key, object);
    return result;
}

/* A time-out has the same number as a fault of ours, but its own name. */
static bool
is_internal(int64_t code, const char *name)
{
    static const enum error_code others[] = {ERROR_TIMEOUT, ERROR_CANCELLED};

    for (size_t i = 0; name != NULL && i < ARRAY_SIZE(others); i++) {
        if (strcmp(name, error_code_name(others[i])) == 0)
            return false;
    }
    return code == error_code_http(ERROR_INTERNAL);
}

/* The code of a job that did not succeed; one that was cancelled before it
 * began has none of its own. */
static int64_t
failure_code(const struct state_job *job)
{
    return job->status == CANCELLED && job->result_code == 0
               ? error_code_http(ERROR_CANCELLED)
               : job->result_code;
}

/* Details of internal faults are for root admins. */
static json_t *
make_failure(struct refs *refs, const struct state_job *job)
{
    json_t *facts = load_facts(job);
    const char *text = json_string_value(json_object_get(facts, "errortext"));
    const char *name = json_string_value(json_object_get(facts, "errorname"));
    bool is_hidden = refs->caller.role != ROLE_ROOT_ADMIN &&
                     is_internal(job->result_code, name);

    if (name == NULL && job->status == CANCELLED)
        object_set_text(facts, "errorname", error_code_name(ERROR_CANCELLED));
    if (text == NULL)
        text = job->status == CANCELLED ? "the job was cancelled"
                                        : "the job failed";
    if (is_hidden)
        text = "internal error; an administrator finds the reason in the log";
    object_set_number(facts, "errorcode", failure_code(job));
    /* The text may be the one that it replaces. */
    object_set(facts, "errortext", object_text(text));
    return facts;
}

/* -- the object ---------------------------------------------------------- */

static void
set_asker(struct refs *refs, json_t *object, const struct state_job *job)
{
    const struct state_account *account = refs_account(refs, job->account_id);
    const struct state_domain *domain = refs_domain(refs, job->domain_id);
    const struct state_user *user = refs_user(refs, job->user_id);

    if (account != NULL) {
        object_set_text(object, "accountid", account->uuid);
        object_set_text(object, "account", account->name);
    }
    if (domain != NULL) {
        object_set_text(object, "domainid", domain->uuid);
        object_set_text(object, "domainpath", domain->path);
    }
    if (user != NULL)
        object_set_text(object, "userid", user->uuid);
}

static void
set_outcome(struct refs *refs, json_t *object, const struct state_job *job)
{
    object_set_number(object, "jobstatus", job->status);
    object_set_number(object, "jobprocstatus", 0);
    object_set_number(object, "jobresultcode",
                      job->status == DONE ? 0 : failure_code(job));
    if (job->status == RUNNING)
        return;
    object_set_text(object, "jobresulttype", "object");
    object_set(object, "jobresult",
               job->status == DONE ? make_success(refs, job)
                                   : make_failure(refs, job));
}

static void
set_job(struct refs *refs, json_t *object, const struct state_job *job)
{
    set_asker(refs, object, job);
    object_set_text(object, "cmd", job->command);
    object_set_text(object, "jobid", job->uuid);
    set_outcome(refs, object, job);
    object_set_text(object, "jobinstancetype", job->instance_type);
    object_set_text(object, "jobinstanceid", job->instance_uuid);
    object_set_text(object, "step", job->step);
    if (job->bytes_total != 0 || job->bytes_done != 0) {
        object_set_number(object, "bytesdone", job->bytes_done);
        object_set_number(object, "bytestotal", job->bytes_total);
    }
    object_set_date(object, "created", job->created);
    object_set_date(object, "completed", job->completed);
}

/* -- commands ------------------------------------------------------------ */

/* How long the caller wants to wait for the job's end. */
static int64_t
hold_ms(const struct call *call)
{
    return MIN(MAX(call_number(call, "waitms", 0), INT64_C(0)), HOLD_MAX_MS);
}

int
jobs_query(struct call *call, json_t *body, struct error *err)
{
    AUTO_STATE(job) job = {0};
    int64_t id;

    if (call_read(call, err) < 0 ||
        find_required(call, "jobid", find_job, &id, err) < 0 ||
        state_job_get(call_tx(call), id, &job, err) < 0)
        return -1;
    if (job.status == RUNNING && call->may_hold && hold_ms(call) > 0) {
        call->hold_ms = hold_ms(call);
        (void)snprintf(call->hold_job, sizeof(call->hold_job), "%s", job.uuid);
        return 0;
    }
    set_job(call->refs, body, &job);
    return 0;
}

int
jobs_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(job) rows = {0};
    struct state_query query;

    if (filter_by_owner(&filter, call, err) < 0)
        return -1;
    if (call_has(call, "startdate"))
        filter_add(&filter, (struct state_where){
                                .column = "created",
                                .op = STATE_GE,
                                .number = call_date(call, "startdate", 0)});
    else
        filter_add(&filter, (struct state_where)STATE_INT("status", RUNNING));
    query = filter_query(&filter);
    if (state_job_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_job *job = &rows.items[i];
        json_t *object;

        if (!listing_wants(listing, job->command != NULL ? job->command : "",
                           NULL))
            continue;
        object = object_new();
        set_job(call->refs, object, job);
        listing_add(listing, object);
    }
    return 0;
}

int
jobs_cancel(struct call *call, json_t *body, struct error *err)
{
    if (request_job_cancel(call->engine, &call->caller,
                           call_text(call, "jobid"), err) < 0)
        return -1;
    object_set_bool(body, "success", true);
    return 0;
}
