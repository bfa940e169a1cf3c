/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test on the hypervisor in files.  A thread stands for the guest's
 * program: it counts on both disks of any self-test's machine that runs.
 */
#include "check.h"
#include "density.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/job.h"
#include "engine/self_test.h"
#include "hv/fake/hv_fake.h"

#include <dirent.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig *rig;

/* -- the guest ------------------------------------------------------------- */

#define MARK_OFFSET 65536
#define MARK_COUNT 16

static atomic_bool has_ended;
static atomic_bool is_torn; /* it writes to the second disk something else */

static void
count_up(const char *uuid, uint32_t count)
{
    static const char *const targets[] = {"vda", "vdb"};

    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        char sector[512] = "varve self-test";
        struct error ignored = ERROR_INIT;
        uint32_t number = i == 1 && atomic_load(&is_torn) ? count / 3 : count;

        memcpy(sector + MARK_COUNT, &number, sizeof(number));
        if (hv_fake_guest_write(rig->hv, uuid, targets[i], sector, MARK_OFFSET,
                                sizeof(sector), &ignored) < 0)
            return;
    }
}

static void *
be_guest(void *unused)
{
    (void)unused;
    for (uint32_t count = 1; !atomic_load(&has_ended); count++) {
        AUTO_HV_MACHINE_LIST struct hv_machine_list list = {0};
        struct error ignored = ERROR_INIT;

        if (hv_list(rig->hv, &list, &ignored) == 0) {
            for (size_t i = 0; i < list.count; i++) {
                if (self_test_is_guest(list.items[i]))
                    count_up(list.items[i]->uuid, count);
            }
        }
        (void)poll(NULL, 0, 5);
    }
    return NULL;
}

/* -- running it ------------------------------------------------------------ */

/* The job's row, when it has ended. */
static void
run_self_test(struct state_job *ret_row)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    struct error err = ERROR_INIT;
    struct ticket ticket = {.job = ""};
    const struct state_where where[] = {STATE_TEXT("uuid", ticket.job)};
    pthread_t guest;

    atomic_store(&has_ended, false);
    CHECK(pthread_create(&guest, NULL, be_guest, NULL) == 0);
    CHECK_OK(request_self_test(rig->engine, &rig->caller, &ticket, &err), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    atomic_store(&has_ended, true);
    (void)pthread_join(guest, NULL);
    tx = state_begin_read(rig->state, &err);
    CHECK(tx != NULL && state_job_find(tx, where, 1, ret_row, &err) == 1);
}

static json_t *
steps_of(json_t *result)
{
    return json_object_get(json_object_get(result, "selftest"), "step");
}

static const char *
step_text(json_t *result, const char *name, const char *key)
{
    size_t index;
    json_t *step;

    json_array_foreach(steps_of(result), index, step)
    {
        if (strcmp(json_string_value(json_object_get(step, "name")), name) == 0)
            return json_string_value(json_object_get(step, key));
    }
    return NULL;
}

static size_t
entries_in(const char *path)
{
    AUTO_FREE char *whole = xasprintf("%s/work/%s", rig->directory, path);
    DIR *entries = opendir(whole);
    size_t count = 0;

    if (entries == NULL)
        return 0;
    for (struct dirent *entry = readdir(entries); entry != NULL;
         entry = readdir(entries))
        count += entry->d_name[0] != '.';
    (void)closedir(entries);
    return count;
}

static size_t
machines(void)
{
    AUTO_HV_MACHINE_LIST struct hv_machine_list list = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(hv_list(rig->hv, &list, &err), &err);
    return list.count;
}

static size_t
rows(void)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE_LIST(vm) list = {0};
    const struct state_query query = {.where = NULL};
    struct error err = ERROR_INIT;

    tx = state_begin_read(rig->state, &err);
    CHECK(tx != NULL && state_vm_list(tx, &query, &list, &err) == 0);
    return list.count;
}

/* The rig's own machine and nothing else: `pool` files were there before. */
static void
check_nothing_left(size_t pool, size_t repository)
{
    CHECK(machines() == 1);
    CHECK(rows() == 1);
    CHECK(entries_in("pool") == pool);
    CHECK(entries_in("repository") == repository);
    CHECK(entries_in("state/self-test") == 0);
    CHECK(entries_in("state/hold") == 0);
}

/* -- tests ----------------------------------------------------------------- */

static void
every_step_is_done_and_nothing_is_left(void)
{
    AUTO_STATE(job) row = {0};
    size_t pool;
    size_t repository;
    json_t *result;

    rig = rig_new(1, 3, false);
    pool = entries_in("pool");
    repository = entries_in("repository");
    run_self_test(&row);
    printf("# %s\n", row.result);
    CHECK(row.status == 1);
    result = json_loads(row.result != NULL ? row.result : "{}", 0, NULL);
    CHECK(json_array_size(steps_of(result)) > 10);
    CHECK_TEXT(step_text(result, "hold", "state"), "ok");
    CHECK_TEXT(step_text(result, "restore-incremental", "state"), "ok");
    CHECK_TEXT(step_text(result, "boot", "state"), "ok");
    CHECK_TEXT(step_text(result, "remove", "state"), "ok");
    json_decref(result);
    check_nothing_left(pool, repository);
    rig_free(rig);
}

static void
a_hook_that_is_not_asked_is_a_warning(void)
{
    AUTO_STATE(job) row = {0};
    json_t *result;

    rig = rig_new(1, 3, false);
    hv_fake_set_hold_directory(rig->hv, NULL);
    run_self_test(&row);
    CHECK(row.status == 1);
    result = json_loads(row.result != NULL ? row.result : "{}", 0, NULL);
    CHECK_TEXT(step_text(result, "hold", "state"), "warning");
    CHECK(step_text(result, "hold", "remedy") != NULL);
    CHECK_TEXT(step_text(result, "boot", "state"), "ok");
    json_decref(result);
    rig_free(rig);
}

/* Refused at the definition, or at the start (the first is the held one). */
static void
a_guest_that_kvm_does_not_run_runs_without(void)
{
    static const char *const calls[] = {"define_xml", "start"};

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        AUTO_STATE(job) row = {0};
        json_t *result;

        rig = rig_new(1, 3, false);
        hv_fake_script(rig->hv, calls[i], i == 0 ? 1 : 2, HV_FAKE_FAIL_BEFORE);
        run_self_test(&row);
        CHECK(row.status == 1);
        result = json_loads(row.result != NULL ? row.result : "{}", 0, NULL);
        CHECK_TEXT(step_text(result, "start", "state"), "warning");
        CHECK(strstr(step_text(result, "start", "text"), "scripted") != NULL);
        CHECK_TEXT(step_text(result, "boot", "state"), "ok");
        CHECK(strstr(row.result, "\"accelerator\":\"tcg\"") != NULL);
        json_decref(result);
        rig_free(rig);
    }
}

static void
disks_of_two_moments_are_told(void)
{
    AUTO_STATE(job) row = {0};
    json_t *result;

    rig = rig_new(1, 3, false);
    atomic_store(&is_torn, true);
    run_self_test(&row);
    atomic_store(&is_torn, false);
    CHECK(row.status == 2);
    result = json_loads(row.result != NULL ? row.result : "{}", 0, NULL);
    CHECK_TEXT(step_text(result, "restore-full", "state"), "failed");
    CHECK(strstr(step_text(result, "restore-full", "text"), "one moment") !=
          NULL);
    json_decref(result);
    rig_free(rig);
}

/* What fails, the step that must be blamed for it, and words of the text. */
static const struct failing {
    const char *call;
    unsigned nth;
    enum hv_fake_behaviour behaviour;
    const char *step;
} failing[] = {
    {"snapshot", 1, HV_FAKE_FAIL_BEFORE, "snapshot"},
    {"snapshot", 2, HV_FAKE_TIMEOUT, "snapshot-again"},
    {"commit_start", 1, HV_FAKE_FAIL_BEFORE, "commit"},
    {"snapshot", 3, HV_FAKE_FAIL_BEFORE, "backup-full"},
    {"snapshot", 4, HV_FAKE_FAIL_BEFORE, "backup-incremental"},
};

static void
the_step_that_fails_is_named_and_nothing_is_left(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(failing); i++) {
        const struct failing *row = &failing[i];
        AUTO_STATE(job) job = {0};
        size_t pool;
        size_t repository;
        json_t *result;

        rig = rig_new(1, 3, false);
        pool = entries_in("pool");
        repository = entries_in("repository");
        hv_fake_script(rig->hv, row->call, row->nth, row->behaviour);
        run_self_test(&job);
        CHECK(job.status == 2);
        result = json_loads(job.result != NULL ? job.result : "{}", 0, NULL);
        CHECK_TEXT(step_text(result, row->step, "state"), "failed");
        CHECK(step_text(result, row->step, "remedy") != NULL);
        CHECK_TEXT(step_text(result, "boot", "state"), "skipped");
        CHECK(strstr(json_string_value(json_object_get(result, "errortext")),
                     row->step) != NULL);
        json_decref(result);
        check_nothing_left(pool, repository);
        rig_free(rig);
    }
}

static void
a_failure_anywhere_leaves_nothing(void)
{
    static const char *const points[] = {"selftest.record", "selftest.disk",
                                         "fake.define_xml.after",
                                         "fake.start.after"};

    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        AUTO_STATE(job) job = {0};
        size_t pool;
        size_t repository;

        rig = rig_new(1, 3, false);
        pool = entries_in("pool");
        repository = entries_in("repository");
        fault_arm(points[i], 1, FAULT_FAIL);
        run_self_test(&job);
        fault_disarm();
        CHECK(job.status == 2);
        check_nothing_left(pool, repository);
        rig_free(rig);
    }
}

/* In a child that dies at the nth step; then as the next start does. */
static bool
die_and_come_back(const char *point, unsigned nth)
{
    struct error err = ERROR_INIT;
    pid_t child;
    int status = 0;
    size_t pool;
    size_t repository;

    rig = rig_new(1, 3, false);
    pool = entries_in("pool");
    repository = entries_in("repository");
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        AUTO_STATE(job) job = {0};

        rig_close(rig);
        if (rig_open(rig, &err) < 0)
            _exit(2);
        fault_arm(point, nth, FAULT_KILL);
        run_self_test(&job);
        _exit(job.status == 1 ? 0 : 3);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    rig_close(rig);
    CHECK_OK(rig_open(rig, &err), &err);
    check_nothing_left(pool, repository);
    rig_free(rig);
    return WIFSIGNALED(status);
}

static void
a_kill_at_any_step_leaves_nothing_after_the_next_start(void)
{
    unsigned stride = (unsigned)density_step(4);
    unsigned killed = 0;

    while (die_and_come_back("selftest.step", killed * stride + 1))
        killed++;
    CHECK(killed * stride > 10);
    printf("# count self-test-kills %u\n", killed);
    CHECK(die_and_come_back("selftest.record", 1));
    CHECK(die_and_come_back("selftest.remove", 1));
    CHECK(die_and_come_back("selftest.remove", 2));
    CHECK(die_and_come_back("selftest.remove", 4));
}

static void
a_record_that_names_other_things_removes_none(void)
{
    static const char uuid[] = "aaaaaaaa-1111-4222-8333-444455556666";
    AUTO_FREE char *home = NULL;
    AUTO_FREE char *record = NULL;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *pool = NULL;
    struct error err = ERROR_INIT;

    rig = rig_new(1, 3, false);
    home = xasprintf("%s/work/state/self-test/%s", rig->directory, uuid);
    record = path_join(home, "record");
    pool = xasprintf("%s/work/pool", rig->directory);
    text =
        xasprintf("{\"folder\": \"%s\", \"repository\": \"%s\"}", pool, pool);
    CHECK_OK(fd_make_directories(home, 0700, &err), &err);
    CHECK_OK(fd_replace_file(record, text, strlen(text), 0600, &err), &err);
    CHECK_OK(self_test_settle(rig->engine, &err), &err);
    CHECK(entries_in("pool") == 1);
    /* A record of an ordinary machine's id. */
    free(steal(&home));
    home = xasprintf("%s/work/state/self-test/" RIG_VM, rig->directory);
    CHECK_OK(fd_make_directories(home, 0700, &err), &err);
    CHECK_OK(self_test_settle(rig->engine, &err), &err);
    CHECK(machines() == 1 && fd_exists(home));
    rig_free(rig);
}

static void
only_root_admins_may_ask(void)
{
    struct error err = ERROR_INIT;
    struct ticket ticket;
    struct caller user;

    rig = rig_new(1, 3, false);
    user = rig->caller;
    user.role = ROLE_USER;
    CHECK(request_self_test(rig->engine, &user, &ticket, &err) == -1);
    CHECK(err.code == ERROR_DENIED);
    rig_free(rig);
}

int
main(void)
{
    RUN(only_root_admins_may_ask);
    RUN(every_step_is_done_and_nothing_is_left);
    RUN(a_hook_that_is_not_asked_is_a_warning);
    RUN(a_guest_that_kvm_does_not_run_runs_without);
    RUN(disks_of_two_moments_are_told);
    RUN(the_step_that_fails_is_named_and_nothing_is_left);
    RUN(a_failure_anywhere_leaves_nothing);
    RUN(a_record_that_names_other_things_removes_none);
    RUN(a_kill_at_any_step_leaves_nothing_after_the_next_start);
    return check_done();
}
