/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon is asked to hold its answer back until the job has ended, and
 * with a bar for no longer than it stands still.  An answer that comes sooner
 * while the job runs was not held (by an older daemon, or one that holds as
 * many as it may): then we ask, soon at first, for jobs that end at once, then
 * twice a second.
 */
#include "cli/wait.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/parse.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

#define ASK_FIRST_MS 20
#define ASK_LAST_MS 500
#define BAR_AFTER_MS 300
#define BAR_EVERY_MS 500
#define HOLD_MS 20000 /* as long as the daemon holds an answer */
#define AWAY_MS 60000 /* how long a daemon may be gone */

enum job_status {
    JOB_RUNS = 0,
    JOB_DONE = 1,
    JOB_FAILED = 2,
    JOB_CANCELLED = 3
};

struct wait {
    struct cli *cli;
    const char *job;
    int64_t began_ms;
    int64_t deadline_ms; /* INT64_MAX: none */
    int64_t away_ms;     /* since when the daemon is gone; 0: it is there */
    bool has_bar;
    bool is_drawn;
    struct progress progress;
};

/* -- the bar ------------------------------------------------------------- */

static int
set_bar(struct wait *wait, struct error *err)
{
    const char *when = cli_option(wait->cli, "--progress");

    if (when == NULL || strcmp(when, "auto") == 0)
        wait->has_bar = terminal_is(stderr);
    else if (strcmp(when, "always") == 0)
        wait->has_bar = true;
    else if (strcmp(when, "never") != 0)
        return error_set(err, ERROR_INVALID,
                         "'--progress' is auto, always or never, not '%s'",
                         when);
    return 0;
}

static void
clear_bar(struct wait *wait)
{
    if (wait->is_drawn)
        (void)fputs(terminal_is(stderr) ? "\r\033[K" : "\n", stderr);
    wait->is_drawn = false;
}

static void
draw_line(struct wait *wait, const char *text)
{
    (void)fprintf(stderr, terminal_is(stderr) ? "\r%s\033[K" : "\r%s", text);
    (void)fflush(stderr);
    wait->is_drawn = true;
}

static void
draw_bar(struct wait *wait, json_t *answer)
{
    AUTO_STRBUF struct strbuf line = STRBUF_INIT;
    int64_t now_ms = clock_monotonic_ms();
    json_int_t done = json_integer_value(json_object_get(answer, "bytesdone"));
    json_int_t total =
        json_integer_value(json_object_get(answer, "bytestotal"));

    if (!wait->has_bar)
        return;
    progress_set(&wait->progress, (uint64_t)MAX(done, (json_int_t)0),
                 (uint64_t)MAX(total, (json_int_t)0), now_ms);
    if (now_ms - wait->began_ms < BAR_AFTER_MS)
        return;
    progress_line(&wait->progress, output_field(answer, "step"),
                  terminal_width(stderr) - 1, terminal_has_boxes(), now_ms,
                  &line);
    draw_line(wait, strbuf_text(&line));
}

/* -- asking -------------------------------------------------------------- */

static int
say_interrupted(const struct wait *wait, struct error *err)
{
    return error_set(err, ERROR_CANCELLED,
                     "interrupted; the job goes on: varve job watch %s, or "
                     "varve job cancel %s",
                     wait->job, wait->job);
}

static int64_t
left_ms(const struct wait *wait)
{
    return MAX(wait->deadline_ms - clock_monotonic_ms(), INT64_C(0));
}

/* How long the next answer may be held back. */
static int64_t
hold_ms(const struct wait *wait)
{
    return MIN(wait->has_bar ? BAR_EVERY_MS : HOLD_MS, left_ms(wait));
}

static json_t *
make_question(const struct wait *wait, int64_t hold_ms)
{
    AUTO_FREE char *text = xasprintf("%lld", (long long)hold_ms);

    return json_pack("{s:s, s:s*}", "jobid", wait->job, "waitms",
                     hold_ms > 0 ? text : NULL);
}

/* 1 when the job has ended, 0 when not yet. */
static int
ask(struct wait *wait, int64_t hold_ms, json_t **ret_answer, struct error *err)
{
    json_auto_t *answer = NULL;

    if (client_call(wait->cli->client, "queryAsyncJobResult",
                    make_question(wait, hold_ms), &answer, err) < 0) {
        int64_t now_ms = clock_monotonic_ms();

        if (err->code == ERROR_CANCELLED)
            return say_interrupted(wait, err);
        if (err->code != ERROR_UNAVAILABLE)
            return -1;
        if (wait->away_ms == 0)
            wait->away_ms = now_ms;
        if (wait->deadline_ms == INT64_MAX && now_ms - wait->away_ms > AWAY_MS)
            return -1;
        error_clear(err);
        if (wait->has_bar)
            draw_line(wait, "the daemon does not answer; waiting for it");
        return 0;
    }
    wait->away_ms = 0;
    if (json_integer_value(json_object_get(answer, "jobstatus")) == JOB_RUNS) {
        draw_bar(wait, answer);
        return 0;
    }
    *ret_answer = json_incref(answer);
    return 1;
}

static int
wait_a_little(struct wait *wait, int *delay_ms, struct error *err)
{
    if (interrupt_wait((int)MIN((int64_t)*delay_ms, left_ms(wait))))
        return say_interrupted(wait, err);
    *delay_ms = MIN(*delay_ms * 3 / 2, ASK_LAST_MS);
    return 0;
}

static int
check_time(const struct wait *wait, struct error *err)
{
    if (left_ms(wait) > 0)
        return 0;
    return error_set(err, ERROR_TIMEOUT,
                     "the time to wait is up; the job goes on: varve job "
                     "watch %s",
                     wait->job);
}

static int
read_outcome(json_t *answer, json_t **ret_result, struct error *err)
{
    json_int_t status =
        json_integer_value(json_object_get(answer, "jobstatus"));
    json_t *result = json_object_get(answer, "jobresult");

    if (status == JOB_DONE) {
        *ret_result = result != NULL ? json_incref(result) : json_object();
        return 0;
    }
    if (result == NULL && status == JOB_CANCELLED)
        return error_set(err, ERROR_CANCELLED, "the job was cancelled");
    client_error(result, err);
    if (status == JOB_CANCELLED)
        err->code = ERROR_CANCELLED;
    return -1;
}

static int
wait_begin(struct wait *wait, struct error *err)
{
    const char *timeout = cli_option(wait->cli, "--timeout");
    uint64_t seconds;

    if (set_bar(wait, err) < 0)
        return -1;
    wait->began_ms = clock_monotonic_ms();
    wait->deadline_ms = INT64_MAX;
    progress_begin(&wait->progress, wait->began_ms);
    if (timeout == NULL)
        return 0;
    if (parse_u64(timeout, &seconds, err) < 0)
        return error_prefix(err, "'--timeout'");
    if (seconds < INT32_MAX)
        wait->deadline_ms = wait->began_ms + (int64_t)seconds * 1000;
    return 0;
}

static int
follow(struct wait *wait, json_t **ret_result, struct error *err)
{
    json_auto_t *answer = NULL;
    int delay_ms = ASK_FIRST_MS;

    for (;;) {
        int64_t asked_ms = clock_monotonic_ms();
        int64_t held_ms = hold_ms(wait);
        int ended = ask(wait, held_ms, &answer, err);

        if (ended > 0)
            return read_outcome(answer, ret_result, err);
        if (ended < 0 || check_time(wait, err) < 0)
            return -1;
        if (wait->away_ms == 0 && clock_monotonic_ms() - asked_ms >= held_ms)
            continue; /* the time has passed in the daemon */
        if (wait_a_little(wait, &delay_ms, err) < 0)
            return -1;
    }
}

int
wait_for_job(struct cli *cli, const char *job, json_t **ret_result,
             struct error *err)
{
    struct wait wait = {.cli = cli, .job = job};
    int result;

    if (wait_begin(&wait, err) < 0)
        return -1;
    interrupt_begin();
    result = follow(&wait, ret_result, err);
    clear_bar(&wait);
    return result;
}

/* -- starting ------------------------------------------------------------ */

void
wait_outcome_release(struct wait_outcome *outcome)
{
    json_decref(outcome->result);
    outcome->result = NULL;
}

static void
print_started(struct cli *cli, json_t *answer)
{
    static const struct output_view view = {NULL, "jobid", "jobid"};
    json_auto_t *items = json_pack("[O]", answer);

    if (output_is_for_people(cli))
        (void)fprintf(cli->out, "%s\n", output_field(answer, "jobid"));
    else
        output_list(cli, &view, items);
}

int
wait_run(struct cli *cli, const char *command, json_t *params,
         struct wait_outcome *ret_outcome, struct error *err)
{
    struct wait checked = {.cli = cli};
    UNUSED json_auto_t *owned = params;
    json_auto_t *answer = NULL;

    *ret_outcome = (struct wait_outcome){.result = NULL};
    /* A wrong option is told before anything is begun. */
    if (wait_begin(&checked, err) < 0)
        return -1;
    interrupt_begin();
    if (client_call(cli->client, command, json_incref(params), &answer, err) <
        0)
        return -1;
    (void)snprintf(ret_outcome->id, sizeof(ret_outcome->id), "%s",
                   output_field(answer, "id"));
    (void)snprintf(ret_outcome->job, sizeof(ret_outcome->job), "%s",
                   output_field(answer, "jobid"));
    if (cli_flag(cli, "--no-wait")) {
        print_started(cli, answer);
        return 0;
    }
    if (wait_for_job(cli, output_field(answer, "jobid"), &ret_outcome->result,
                     err) < 0)
        return -1;
    return 1;
}
