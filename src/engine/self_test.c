/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job: one step after another, a line of the report for each; the first
 * that fails ends it.  What was made is removed in any case, and that is the
 * last line.  All self-tests stand in one queue, with the removal of what
 * earlier ones left, so that none removes what another one uses.
 */
#include "engine/self_test.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/lookup.h"
#include "engine/requests.h"
#include "engine/self_test_internal.h"
#include "engine/submit.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE "self-test"

bool
self_test_is_guest(const struct hv_machine *machine)
{
    size_t length = strlen(SELF_TEST_PREFIX);

    return machine->name != NULL &&
           strncmp(machine->name, SELF_TEST_PREFIX, length) == 0 &&
           strcmp(machine->name + length, machine->uuid) == 0;
}

/* -- asking for it --------------------------------------------------------- */

int
request_self_test(struct engine *engine, const struct caller *caller,
                  struct ticket *ret_ticket, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    const struct submit job = {
        .command = "selfTest", .queue = QUEUE, .type = "Host"};

    if (lookup_require_root(caller, "test the host", err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    return submit_job(engine, tx, caller, &job, ret_ticket, err);
}

static bool
has_record(const struct engine *engine)
{
    DIR *entries = opendir(engine->self_test_dir);
    bool found = false;

    if (entries == NULL)
        return false;
    for (struct dirent *entry = readdir(entries); entry != NULL && !found;
         entry = readdir(entries))
        found = uuid_is_valid(entry->d_name);
    (void)closedir(entries);
    return found;
}

int
self_test_request_settle(struct engine *engine, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    const struct submit job = {
        .command = "removeSelfTest", .queue = QUEUE, .type = "Host"};

    if (!has_record(engine))
        return 0;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || submit_as_root(tx, &job, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

int
self_test_run_removal(struct job *job, struct error *err)
{
    return self_test_settle(job->engine, err);
}

/* -- the report ------------------------------------------------------------ */

struct report {
    json_t *steps; /* borrowed from the job's result */
    int64_t began_ms;
};

static json_t *
begin_report(struct job *job)
{
    json_t *steps = json_array();

    job->result = json_pack("{s:{s:O}}", "selftest", "step", steps);
    json_decref(steps); /* the result holds it */
    return steps;
}

static void
add_line(json_t *steps, const struct self_test_step *step, const char *state,
         int64_t began_ms, const char *text)
{
    json_t *line = json_pack("{s:s, s:s, s:I}", "name", step->name, "state",
                             state, "milliseconds",
                             (json_int_t)(clock_monotonic_ms() - began_ms));

    if (text[0] != '\0')
        (void)json_object_set_new(line, "text", json_string(text));
    if (strcmp(state, "ok") != 0 && strcmp(state, "skipped") != 0)
        (void)json_object_set_new(line, "remedy", json_string(step->remedy));
    (void)json_array_append_new(steps, line);
}

/* -- the job --------------------------------------------------------------- */

static int
run_step(struct self_test *test, const struct self_test_step *step,
         json_t *steps, struct error *err)
{
    AUTO_STRBUF struct strbuf say = STRBUF_INIT;
    int64_t began_ms = clock_monotonic_ms();
    int result;

    job_step(test->job, step->text);
    if (job_must_end(test->job))
        result = error_set(err, ERROR_CANCELLED, "cancelled, or varved ends");
    else if (fault_here("selftest.step"))
        result = error_set_errno(err, errno, "step");
    else
        result = step->run(test, &say, err);
    if (result < 0) {
        add_line(steps, step, "failed", began_ms, err->message);
        log_info("self-test-failed", "step=%s", step->name);
        return error_prefix(err, "step '%s'", step->name);
    }
    add_line(steps, step, result > 0 ? "warning" : "ok", began_ms,
             strbuf_text(&say));
    return 0;
}

static int
run_steps(struct self_test *test, json_t *steps, struct error *err)
{
    const struct self_test_step *all = self_test_steps;

    for (size_t i = 0; i < self_test_step_count; i++) {
        if (run_step(test, &all[i], steps, err) == 0)
            continue;
        for (size_t k = i + 1; k < self_test_step_count; k++)
            add_line(steps, &all[k], "skipped", clock_monotonic_ms(), "");
        return -1;
    }
    return 0;
}

static int
run_remove(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    return self_test_remove(test, err);
}

/* Also after a failure, whose error is the one to tell then. */
static int
clean_up(struct self_test *test, json_t *steps, struct error *err)
{
    static const struct self_test_step step = {
        "remove", "removing the guest", run_remove,
        "what is left is removed when varved starts the next time, and when "
        "libvirt is back"};
    struct error why = ERROR_INIT;
    int64_t began_ms = clock_monotonic_ms();
    bool has_failed = err->code != ERROR_NONE;

    job_step(test->job, step.text);
    if (step.run(test, NULL, &why) == 0) {
        add_line(steps, &step, "ok", began_ms, "");
        return 0;
    }
    add_line(steps, &step, "failed", began_ms, why.message);
    log_warning("self-test-left-over", "record='%s' error='%s'", test->home,
                why.message);
    if (!has_failed)
        *err = why;
    return -1;
}

int
self_test_run(struct job *job, struct error *err)
{
    struct self_test test = {.engine = job->engine, .job = job};
    struct error why = ERROR_INIT;
    json_t *steps = begin_report(job);
    int result = run_steps(&test, steps, &why);

    if (clean_up(&test, steps, &why) < 0)
        result = -1;
    (void)json_object_set_new(json_object_get(job->result, "selftest"),
                              "accelerator",
                              json_string(test.uses_kvm ? "kvm" : "tcg"));
    self_test_release(&test);
    if (result < 0)
        *err = why;
    return result;
}
