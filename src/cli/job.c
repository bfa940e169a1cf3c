/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/wait.h"
#include "cli/when.h"

#include <stdlib.h>
#include <string.h>

static const struct output_field columns[] = {
    {"JOB", "jobid", OUTPUT_TEXT, false},
    {"COMMAND", "cmd", OUTPUT_TEXT, false},
    {"STATUS", "status", OUTPUT_STATE, false},
    {"DONE", "percent", OUTPUT_TEXT, true},
    {"STEP", "step", OUTPUT_TEXT, true},
    {"BEGUN", "created", OUTPUT_TIME, false},
    {"ENDED", "completed", OUTPUT_TIME, true},
    {"ERROR", "errortext", OUTPUT_PROBLEM, true},
    {.title = NULL},
};

static const struct output_view view = {columns, "jobid", "jobid"};

static const struct output_field result_fields[] = {
    {"id", "id", OUTPUT_TEXT, true}, {.title = NULL}};
static const struct output_view result_view = {result_fields, "id", "name"};

/* What people want to see of a job, beside what the API calls it. */
static void
add_words(json_t *job)
{
    static const char *const words[] = {"running", "done", "failed",
                                        "cancelled"};
    json_int_t status = json_integer_value(json_object_get(job, "jobstatus"));
    json_int_t done = json_integer_value(json_object_get(job, "bytesdone"));
    json_int_t total = json_integer_value(json_object_get(job, "bytestotal"));
    json_t *result = json_object_get(job, "jobresult");

    if (status >= 0 && status < (json_int_t)ARRAY_SIZE(words))
        (void)json_object_set_new(job, "status", json_string(words[status]));
    if (status == 0 && total > 0)
        (void)json_object_set_new(
            job, "percent",
            json_sprintf("%.0f%%", 100.0 * (double)done / (double)total));
    if (status != 0)
        (void)json_object_del(job, "step");
    if (status > 1)
        (void)json_object_set(job, "errortext",
                              json_object_get(result, "errortext"));
}

int
job_list(struct cli *cli, struct error *err)
{
    const char *since = cli_flag(cli, "--all") ? "1970-01-01" : NULL;
    json_auto_t *items = NULL;
    size_t index;
    json_t *item;
    char date[CLOCK_TEXT_SIZE];

    if (cli_option(cli, "--since") != NULL) {
        if (when_parse(cli_option(cli, "--since"), date, err) < 0)
            return error_prefix(err, "'--since'");
        since = date;
    }
    if (client_list(
            cli->client, "listAsyncJobs", "asyncjobs",
            json_pack("{s:s, s:s*}", "listall", "true", "startdate", since),
            &items, err) < 0)
        return -1;
    if (output_is_for_people(cli)) {
        json_array_foreach(items, index, item) add_words(item);
    }
    output_list(cli, &view, items);
    return 0;
}

int
job_watch(struct cli *cli, struct error *err)
{
    const char *job = cli_operand(cli, 0);
    json_auto_t *result = NULL;
    json_t *object = NULL;

    if (cli_flag(cli, "--no-wait"))
        return error_set(err, ERROR_INVALID, "'job watch' waits by its nature");
    if (wait_for_job(cli, job, &result, err) < 0)
        return -1;
    if (output_is_for_people(cli)) {
        cli_say(cli, "job %s is done", job);
        return 0;
    }
    /* {"vmsnapshot": {...}}, or only {"success": true}. */
    object = json_object_iter_value(json_object_iter(result));
    output_object(cli, &result_view, json_is_object(object) ? object : result);
    return 0;
}

int
job_cancel(struct cli *cli, struct error *err)
{
    const char *job = cli_operand(cli, 0);
    json_auto_t *answer = NULL;

    if (client_call(cli->client, "cancelAsyncJob",
                    json_pack("{s:s}", "jobid", job), &answer, err) < 0)
        return -1;
    cli_say(cli, "job %s ends at its next safe place", job);
    return 0;
}
