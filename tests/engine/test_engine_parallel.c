/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many machines at once in one engine with workers: each has a client that
 * does random operations and checks its machine after every one, while others
 * list everything through the API, and while the hypervisor comes and goes,
 * loses replies, holds its events back and lets them go in the wrong order,
 * and jobs are cancelled.  Made for the thread sanitizer.
 *
 *     test_engine_parallel [STEPS [SEED]]
 */
#include "api_ask.h"
#include "check.h"
#include "engine_play.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parse.h"
#include "hv/fake/hv_fake.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define MACHINES 4
#define READERS 2

static uint64_t steps = 12;
static uint64_t seed;
static struct rig *first;
static struct rig *machines[MACHINES];
static struct api *api;
static atomic_bool over;

struct client {
    pthread_t thread;
    struct play play;
    struct error err;
    int result;
};

static void *
be_client(void *context)
{
    struct client *client = context;

    while (client->result == 0 && client->play.steps < steps)
        client->result = play_step(&client->play, false, &client->err);
    return NULL;
}

static void *
be_reader(void *context)
{
    static const char *const queries[] = {
        "command=listVirtualMachines",
        "command=listVolumes",
        "command=listVMSnapshot",
        "command=listBackups",
        "command=listEvents&pagesize=20&page=1",
        "command=listAsyncJobs",
        "command=getStatus",
    };
    unsigned *asked = context;

    while (!atomic_load(&over)) {
        AUTO_ANSWER struct answer answer = {0};

        api_ask(api, API_ASK_PEER, queries[*asked % ARRAY_SIZE(queries)],
                &answer);
        (*asked)++;
    }
    return NULL;
}

static void
cancel_a_job(void)
{
    AUTO_ANSWER struct answer jobs = {0};
    AUTO_ANSWER struct answer cancelled = {0};
    AUTO_FREE char *query = NULL;

    api_ask(api, API_ASK_PEER, "command=listAsyncJobs", &jobs);
    if (answer_text(&jobs, "asyncjobs.0.jobid") == NULL)
        return;
    query = xasprintf("command=cancelAsyncJob&jobid=%s",
                      answer_text(&jobs, "asyncjobs.0.jobid"));
    api_ask(api, API_ASK_PEER, query, &cancelled);
}

static void
disturb(struct rig *random)
{
    static const char *const calls[] = {"snapshot", "commit_start", "job_wait",
                                        "pivot",    "define_disks", "view"};
    static const enum hv_fake_behaviour behaviours[] = {
        HV_FAKE_FAIL_BEFORE, HV_FAKE_LOST_BEFORE, HV_FAKE_FAIL_AFTER,
        HV_FAKE_JOB_FAILS, HV_FAKE_MACHINE_STOPS};
    struct hv *hv = first->hv;
    struct error ignored = ERROR_INIT; /* it may be away */

    switch (rig_random(random, 6)) {
    case 0:
        hv_fake_disconnect(hv);
        (void)poll(NULL, 0, 2);
        hv_fake_reconnect(hv);
        break;
    case 1:
        hv_fake_hold_events(hv);
        (void)poll(NULL, 0, 5);
        hv_fake_release_events(hv, true);
        break;
    case 2:
        (void)!engine_refresh(first->engine, NULL, &ignored);
        break;
    case 3:
        cancel_a_job();
        break;
    default:
        hv_fake_script(hv, calls[rig_random(random, ARRAY_SIZE(calls))], 1,
                       behaviours[rig_random(random, ARRAY_SIZE(behaviours))]);
        break;
    }
}

static void *
be_trouble(void *context)
{
    unsigned *count = context;
    struct rig random = {.seed = seed};

    while (!atomic_load(&over)) {
        disturb(&random);
        (*count)++;
        (void)poll(NULL, 0, 20);
    }
    return NULL;
}

static void
open_all(void)
{
    struct error err = ERROR_INIT;

    CHECK_OK(rig_open(first, &err), &err);
    for (size_t i = 1; i < MACHINES; i++)
        rig_follow(machines[i], first);
}

static void
run_all(struct client *clients, bool in_trouble)
{
    pthread_t readers[READERS];
    pthread_t trouble;
    unsigned asked[READERS] = {0, 3};
    unsigned troubles = 0;

    atomic_store(&over, false);
    for (size_t i = 0; i < MACHINES; i++)
        REQUIRE(pthread_create(&clients[i].thread, NULL, be_client,
                               &clients[i]) == 0);
    for (size_t i = 0; i < READERS; i++)
        REQUIRE(pthread_create(&readers[i], NULL, be_reader, &asked[i]) == 0);
    if (in_trouble)
        REQUIRE(pthread_create(&trouble, NULL, be_trouble, &troubles) == 0);
    for (size_t i = 0; i < MACHINES; i++)
        (void)pthread_join(clients[i].thread, NULL);
    atomic_store(&over, true);
    for (size_t i = 0; i < READERS; i++)
        (void)pthread_join(readers[i], NULL);
    if (in_trouble)
        (void)pthread_join(trouble, NULL);
    printf("# %u and %u lists, %u troubles\n", asked[0], asked[1], troubles);
}

/* Everything stops, starts again in peace, and all machines are in order. */
static void
check_all(void)
{
    rig_close(first);
    first->workers = 0;
    open_all();
    for (size_t i = 0; i < MACHINES; i++) {
        struct error err = ERROR_INIT;

        machines[i]->workers = 0;
        CHECK_OK(rig_check(machines[i], true, &err), &err);
    }
}

static void
play_together(bool in_trouble)
{
    struct client clients[MACHINES] = {{0}};

    rig_close(first);
    first->workers = 4;
    open_all();
    api =
        api_new(&(struct api_config){.engine = first->engine, .version = "0"});
    for (size_t i = 0; i < MACHINES; i++)
        clients[i].play =
            (struct play){.rig = machines[i], .has_company = true};
    run_all(clients, in_trouble);
    hv_fake_script_clear(first->hv);
    for (size_t i = 0; i < MACHINES; i++) {
        if (clients[i].result < 0)
            printf("# machine %zu, step %llu (%s): %s\n", i,
                   (unsigned long long)clients[i].play.steps,
                   clients[i].play.last, clients[i].err.message);
        CHECK(clients[i].result == 0);
        play_report(&clients[i].play);
    }
    api_free(api);
    check_all();
}

static void
machines_do_not_disturb_each_other(void)
{
    play_together(false);
}

static void
in_all_trouble_every_machine_stays_right(void)
{
    play_together(true);
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;

    if ((argc > 1 && parse_u64(argv[1], &steps, &err) < 0) ||
        (argc > 2 && parse_u64(argv[2], &seed, &err) < 0)) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (seed == 0)
        seed = (uint64_t)clock_wall_ms() % 1000000;
    if (getenv("VARVE_TEST_ALL") != NULL)
        steps = 200;
    log_set_level(LOG_LEVEL_ERROR);
    printf("# seed %llu, %llu steps each\n", (unsigned long long)seed,
           (unsigned long long)steps);
    first = machines[0] = rig_new(2, 3, false);
    play_prepare(first);
    for (size_t i = 1; i < MACHINES; i++)
        machines[i] = rig_new_beside(first, i - 1, 1 + i % 2);
    for (size_t i = 0; i < MACHINES; i++) {
        machines[i]->seed = seed + i;
        machines[i]->may_leak = true;
    }
    RUN(machines_do_not_disturb_each_other);
    RUN(in_all_trouble_every_machine_stays_right);
    for (size_t i = 1; i < MACHINES; i++)
        rig_free_beside(machines[i]);
    rig_free(first);
    return check_done();
}
