/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies that wait for a job's end: over real sockets, many at once, beyond
 * what may wait, and when the server stops.
 */
#include "api/held.h"
#include "api/server.h"

#include "api_fixture.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"

#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define JOB FIXTURE_ID("16", "1")
#define OTHER_JOB FIXTURE_ID("16", "2")
#define MANY 64 /* more than may wait at once */
#define LONG_MS 15000

static struct fixture fx;
static struct server *server;
static char socket_path[100];

/* -- asking -------------------------------------------------------------- */

struct question {
    const char *query;
    pthread_t thread;
    long status; /* of HTTP; 0: no answer */
    json_int_t job_status;
    int64_t took_ms;
    atomic_bool is_answered;
};

static size_t
take(char *bytes, size_t size, size_t count, void *context)
{
    strbuf_add(context, bytes, size * count);
    return size * count;
}

static json_int_t
job_status_of(const struct strbuf *body)
{
    json_t *top = json_loads(strbuf_text(body), 0, NULL);
    json_t *status = json_object_get(
        json_object_get(top, "queryasyncjobresultresponse"), "jobstatus");
    json_int_t number =
        json_is_integer(status) ? json_integer_value(status) : -1;

    json_decref(top);
    return number;
}

static void *
ask(void *context)
{
    struct question *question = context;
    AUTO_STRBUF struct strbuf body = STRBUF_INIT;
    AUTO_FREE char *url =
        xasprintf("http://x/client/api?response=json&%s", question->query);
    CURL *curl = curl_easy_init();
    int64_t began_ms = clock_monotonic_ms();

    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    if (curl_easy_perform(curl) == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE,
                                &question->status);
    curl_easy_cleanup(curl);
    question->job_status = job_status_of(&body);
    question->took_ms = clock_monotonic_ms() - began_ms;
    atomic_store(&question->is_answered, true);
    return NULL;
}

static void
begin(struct question *question, const char *query)
{
    *question = (struct question){.query = query};
    if (pthread_create(&question->thread, NULL, ask, question) != 0)
        abort();
}

static void
finish(struct question *question)
{
    (void)pthread_join(question->thread, NULL);
}

static struct question
ask_now(const char *query)
{
    struct question question = {.query = query};

    (void)ask(&question);
    return question;
}

static void
pass(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* Job 1 runs (0), or has ended (1); who waits is not told. */
static void
write_job(int64_t status)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(fx.state, &err);
    AUTO_STATE(job) job = {0};

    CHECK_OK(state_job_get(tx, 1, &job, &err), &err);
    job.status = status;
    CHECK_OK(state_job_update(tx, &job, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

static void
end_job(void)
{
    write_job(1);
    engine_double_end_job(fx.engine, JOB);
}

#define QUERY "command=queryAsyncJobResult&jobid=" JOB
#define WAIT QUERY "&waitms=15000"

/* -- one reply ----------------------------------------------------------- */

static void
without_waitms_the_answer_comes_at_once(void)
{
    struct question question;

    write_job(0);
    question = ask_now(QUERY);
    CHECK(question.status == 200 && question.job_status == 0);
    CHECK(question.took_ms < 5000);
    question = ask_now(QUERY "&waitms=0");
    CHECK(question.status == 200 && question.job_status == 0);
    CHECK(question.took_ms < 5000);
    question = ask_now(QUERY "&waitms=-5");
    CHECK(question.status == 200 && question.job_status == 0);
    CHECK(question.took_ms < 5000);
    question = ask_now(QUERY "&waitms=soon");
    CHECK(question.status == 430);
}

static void
a_job_that_has_ended_is_told_at_once(void)
{
    struct question question;

    write_job(1);
    question = ask_now(WAIT);
    CHECK(question.status == 200 && question.job_status == 1);
    CHECK(question.took_ms < 5000);
}

static void
the_reply_comes_with_the_job_s_end(void)
{
    struct question question;

    write_job(0);
    begin(&question, WAIT);
    pass(300);
    engine_double_end_job(fx.engine, OTHER_JOB);
    pass(100);
    CHECK(!atomic_load(&question.is_answered));
    end_job();
    finish(&question);
    CHECK(question.status == 200 && question.job_status == 1);
    CHECK(question.took_ms >= 300 && question.took_ms < LONG_MS / 2);
}

static void
the_reply_comes_after_the_time_that_was_asked_for(void)
{
    struct question question;

    write_job(0);
    question = ask_now(QUERY "&waitms=400");
    CHECK(question.status == 200 && question.job_status == 0);
    CHECK(question.took_ms >= 400 && question.took_ms < LONG_MS / 2);
}

static void
no_reply_waits_longer_than_20_seconds(void)
{
    static const char *const queries[] = {
        QUERY "&waitms=20001&response=json",
        QUERY "&waitms=9223372036854775807&response=json"};

    write_job(0);
    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        struct api_request request = {.query = queries[i],
                                      .query_length = strlen(queries[i]),
                                      .body = "",
                                      .is_trusted_peer = true,
                                      .remote = "test",
                                      .may_hold = true};
        struct api_reply reply;

        api_handle(fx.api, &request, &reply);
        CHECK(reply.hold_ms == 20000 && reply.body == NULL);
        CHECK_TEXT(reply.hold_job, JOB);
        request.may_hold = false;
        api_handle(fx.api, &request, &reply);
        CHECK(reply.hold_ms == 0 && reply.status == 200);
        api_reply_release(&reply);
    }
}

static void
nobody_waits_for_the_job_of_somebody_else(void)
{
    AUTO_FREE char *query = api_ask_sign("worker", WAIT "&response=json");
    struct question question;

    write_job(0);
    question = ask_now(query);
    CHECK(question.status == 431);
    CHECK(question.took_ms < 5000);
}

/* -- the table ----------------------------------------------------------- */

static size_t suspended;
static size_t resumed;

static void
count_suspended(void *context)
{
    (void)context;
    suspended++;
}

static void
count_resumed(void *context)
{
    (void)context;
    resumed++;
}

static void
an_end_between_the_look_and_the_wait_is_not_missed(void)
{
    const struct held_calls calls = {count_suspended, count_resumed};
    struct error err = ERROR_INIT;
    struct held *held = held_new(1, &calls, &err);
    struct held_reply reply = {.job = JOB, .hold_ms = LONG_MS};
    uint64_t mark;

    REQUIRE(held != NULL);
    mark = held_mark(held);
    held_wake(held, JOB);
    CHECK(held_add(held, &reply, mark) == HELD_MISSED);
    mark = held_mark(held);
    CHECK(held_add(held, &reply, mark) == HELD_KEPT);
    CHECK(held_add(held, &reply, mark) == HELD_FULL);
    CHECK(suspended == 1 && resumed == 0);
    held_wake(held, OTHER_JOB);
    CHECK(resumed == 0);
    held_wake(held, JOB);
    CHECK(suspended == 1 && resumed == 1);
    CHECK(held_add(held, &reply, held_mark(held)) == HELD_KEPT);
    held_stop(held);
    CHECK(suspended == 2 && resumed == 2);
    CHECK(held_add(held, &reply, held_mark(held)) == HELD_FULL);
    held_free(held);
}

/* -- many ---------------------------------------------------------------- */

static size_t
count_answered(const struct question *questions)
{
    size_t count = 0;

    for (size_t i = 0; i < MANY; i++)
        count += atomic_load(&questions[i].is_answered);
    return count;
}

static void
those_beyond_the_limit_are_answered_and_nobody_else_waits(void)
{
    static struct question questions[MANY];
    struct question other;
    size_t waiting;

    write_job(0);
    for (size_t i = 0; i < MANY; i++)
        begin(&questions[i], WAIT);
    for (int i = 0; i < 100 && count_answered(questions) == 0; i++)
        pass(50);
    pass(300);
    waiting = MANY - count_answered(questions);
    printf("# %zu of %d wait\n", waiting, MANY);
    CHECK(waiting >= 16 && waiting < MANY);
    for (int i = 0; i < 20; i++) {
        other = ask_now("command=listZones");
        CHECK(other.status == 200 && other.took_ms < 5000);
    }
    end_job();
    for (size_t i = 0; i < MANY; i++) {
        finish(&questions[i]);
        CHECK(questions[i].status == 200 && questions[i].took_ms < LONG_MS / 2);
    }
    for (size_t i = waiting = 0; i < MANY; i++)
        waiting += questions[i].job_status == 1;
    CHECK(waiting >= 16);
}

/* A connection that asks, and goes while it waits. */
static void
ask_and_go(void)
{
    static const char request[] =
        "GET /client/api?" WAIT " HTTP/1.1\r\nHost: x\r\n\r\n";
    union {
        struct sockaddr_un local;
        struct sockaddr any;
    } address = {.local = {.sun_family = AF_UNIX}};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
                   socket_path);
    if (connect(fd, &address.any, sizeof(address.local)) < 0 ||
        send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
        printf("# no connection\n");
    pass(20);
    (void)close(fd);
}

static void
clients_that_go_leave_their_place_to_others(void)
{
    struct question question;

    write_job(0);
    for (int i = 0; i < MANY; i++)
        ask_and_go();
    end_job();
    write_job(0);
    begin(&question, WAIT);
    pass(300);
    CHECK(!atomic_load(&question.is_answered));
    end_job();
    finish(&question);
    CHECK(question.status == 200 && question.job_status == 1);
}

static atomic_bool is_over;

static void *
wait_often(void *context)
{
    size_t *failures = context;

    while (!atomic_load(&is_over)) {
        struct question question = ask_now(QUERY "&waitms=30");

        *failures += question.status != 200 || question.job_status < 0;
    }
    return NULL;
}

static void
waits_ends_and_times_may_meet_in_any_order(void)
{
    pthread_t threads[8];
    size_t failures[8] = {0};

    write_job(0);
    atomic_store(&is_over, false);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        REQUIRE(pthread_create(&threads[i], NULL, wait_often, &failures[i]) ==
                0);
    for (int i = 0; i < 150; i++) {
        engine_double_end_job(fx.engine, i % 3 == 0 ? OTHER_JOB : JOB);
        pass(i % 7);
    }
    atomic_store(&is_over, true);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK(failures[i] == 0);
    }
}

/* -- the end ------------------------------------------------------------- */

static bool
start(void)
{
    struct error err = ERROR_INIT;

    server = server_start(fx.api,
                          &(struct server_config){.socket = socket_path}, &err);
    if (server == NULL)
        printf("# %s\n", err.message);
    return server != NULL;
}

static void
stopping_answers_those_that_wait(void)
{
    struct question questions[8];
    int64_t began_ms;

    write_job(0);
    for (size_t i = 0; i < ARRAY_SIZE(questions); i++)
        begin(&questions[i], WAIT);
    ask_and_go();
    pass(300);
    began_ms = clock_monotonic_ms();
    server_stop(server);
    CHECK(clock_monotonic_ms() - began_ms < 4000);
    for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
        finish(&questions[i]);
        CHECK(questions[i].status == 200 && questions[i].job_status == 0);
        CHECK(questions[i].took_ms < LONG_MS / 2);
    }
    /* Nobody is told any more. */
    engine_double_end_job(fx.engine, JOB);
}

static void
stopping_may_meet_waits_that_begin(void)
{
    for (int i = 0; i < 10; i++) {
        struct question questions[8];

        REQUIRE(start());
        for (size_t k = 0; k < ARRAY_SIZE(questions); k++)
            begin(&questions[k], WAIT);
        pass(i);
        server_stop(server);
        for (size_t k = 0; k < ARRAY_SIZE(questions); k++) {
            finish(&questions[k]);
            CHECK(questions[k].took_ms < LONG_MS / 2);
        }
    }
}

int
main(void)
{
    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/api.sock",
                   fx.directory);
    if (!start())
        return EXIT_FAILURE;
    RUN(without_waitms_the_answer_comes_at_once);
    RUN(a_job_that_has_ended_is_told_at_once);
    RUN(the_reply_comes_with_the_job_s_end);
    RUN(the_reply_comes_after_the_time_that_was_asked_for);
    RUN(no_reply_waits_longer_than_20_seconds);
    RUN(nobody_waits_for_the_job_of_somebody_else);
    RUN(an_end_between_the_look_and_the_wait_is_not_missed);
    RUN(those_beyond_the_limit_are_answered_and_nobody_else_waits);
    RUN(clients_that_go_leave_their_place_to_others);
    RUN(waits_ends_and_times_may_meet_in_any_order);
    RUN(stopping_answers_those_that_wait);
    RUN(stopping_may_meet_waits_that_begin);
    fixture_stop(&fx);
    curl_global_cleanup();
    return check_done();
}
