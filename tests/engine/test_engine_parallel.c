/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many machines at once in one engine with workers: each has a client that
 * does random operations and checks its machine after every one, while others
 * list everything through the API, some of them over HTTP as the daemon serves
 * it, and while the hypervisor comes and goes, loses replies, holds its events
 * back and lets them go in the wrong order, settings change and jobs are
 * cancelled.  Made for the thread sanitizer.
 *
 *     test_engine_parallel [STEPS [SEED]]
 */
#include "api_ask.h"
#include "check.h"
#include "density.h"
#include "engine_play.h"

#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parse.h"
#include "hv/fake/hv_fake.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MACHINES 4
#define READERS 4 /* the odd ones over HTTP */

static uint64_t steps = 12;
static uint64_t seed;
static struct rig *first;
static struct rig *machines[MACHINES];
static struct api *api;
static struct server *server;
static char socket_path[100];
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

/* One request over the socket; true when it was answered well. */
static bool
ask_http(const char *query)
{
    union {
        struct sockaddr_un local;
        struct sockaddr any;
    } address = {.local = {.sun_family = AF_UNIX}};
    AUTO_FREE char *request = xasprintf("GET /client/api?response=json&%s "
                                        "HTTP/1.1\r\nHost: x\r\n"
                                        "Connection: close\r\n\r\n",
                                        query);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char head[16] = "";
    char rest[4096];

    (void)snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
                   socket_path);
    if (connect(fd, &address.any, sizeof(address.local)) < 0 ||
        send(fd, request, strlen(request), MSG_NOSIGNAL) !=
            (ssize_t)strlen(request) ||
        recv(fd, head, 12, MSG_WAITALL) != 12)
        return false;
    while (recv(fd, rest, sizeof(rest), 0) > 0)
        ;
    return strcmp(head, "HTTP/1.1 200") == 0;
}

struct reader {
    pthread_t thread;
    unsigned asked;
    unsigned refused;
    bool is_http;
};

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
        "command=listConfigurations",
    };
    struct reader *reader = context;

    while (!atomic_load(&over)) {
        const char *query = queries[reader->asked++ % ARRAY_SIZE(queries)];
        AUTO_ANSWER struct answer answer = {0};

        if (!reader->is_http)
            api_ask(api, API_ASK_PEER, query, &answer);
        else
            reader->refused += !ask_http(query);
    }
    return NULL;
}

static void
change_a_setting(struct rig *random)
{
    static const char *const settings[][2] = {
        {"backup.operations.limit", "200"}, {"backup.operations.limit", "0"},
        {"restore.rate.limit", "10"},       {"restore.rate.limit", "0"},
        {"backup.low.priority", "false"},   {"backup.low.priority", "true"},
        {"primary.check.interval", "1"},    {"primary.check.interval", "60"},
    };
    const char *const *chosen =
        settings[rig_random(random, ARRAY_SIZE(settings))];
    AUTO_ANSWER struct answer answer = {0};
    AUTO_FREE char *query = xasprintf(
        "command=updateConfiguration&name=%s&value=%s", chosen[0], chosen[1]);

    api_ask(api, API_ASK_PEER, query, &answer);
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

    switch (rig_random(random, 7)) {
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
    case 4:
        change_a_setting(random);
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
    struct reader readers[READERS] = {{.asked = 0}};
    pthread_t trouble;
    unsigned troubles = 0;

    atomic_store(&over, false);
    for (size_t i = 0; i < MACHINES; i++)
        REQUIRE(pthread_create(&clients[i].thread, NULL, be_client,
                               &clients[i]) == 0);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i].asked = 3 * i;
        readers[i].is_http = i % 2 == 1;
        REQUIRE(pthread_create(&readers[i].thread, NULL, be_reader,
                               &readers[i]) == 0);
    }
    if (in_trouble)
        REQUIRE(pthread_create(&trouble, NULL, be_trouble, &troubles) == 0);
    for (size_t i = 0; i < MACHINES; i++)
        (void)pthread_join(clients[i].thread, NULL);
    atomic_store(&over, true);
    for (size_t i = 0; i < READERS; i++) {
        (void)pthread_join(readers[i].thread, NULL);
        printf("# %u lists%s\n", readers[i].asked,
               readers[i].is_http ? " over HTTP" : "");
        CHECK(readers[i].refused == 0);
    }
    if (in_trouble)
        (void)pthread_join(trouble, NULL);
    printf("# %u troubles\n", troubles);
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
    const struct server_config config = {.socket = socket_path};
    struct error err = ERROR_INIT;

    rig_close(first);
    first->workers = 4;
    open_all();
    api =
        api_new(&(struct api_config){.engine = first->engine, .version = "0"});
    (void)snprintf(socket_path, sizeof(socket_path), "%s/socket",
                   first->directory);
    server = server_start(api, &config, &err);
    CHECK_OK(server != NULL ? 0 : -1, &err);
    REQUIRE(server != NULL);
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
    server_stop(server);
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
    steps = density_count(steps, 200);
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
