/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varve on a terminal: the bar, the question, Ctrl-C.
 *
 *     terminal VARVE
 *
 * Each test runs it on a pseudo-terminal of 80 columns, against answers laid
 * ready, types when a text has appeared, and looks at all that was printed.
 */
#include "base/clock.h"
#include "base/compiler.h"
#include "base/strbuf.h"
#include "check.h"
#include "http_stub.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 20000
#define JOB "5f7b2d18-0000-4000-8000-000000000001"
#define CLEARED "\r\033[K"

static char *varve;

struct session {
    struct http_stub stub;
    char directory[64];
    struct strbuf screen; /* all that came */
    pid_t child;
    int terminal;
    int status; /* exit status, or -1 */
};

/* -- answers --------------------------------------------------------------- */

static void
lay_answers(struct http_stub *stub)
{
    http_stub_add(stub, "listVMSnapshot", 200,
                  "{\"count\": 1, \"vmSnapshot\": [{\"id\": "
                  "\"0a000012-0000-4000-8000-000000000001\", \"displayname\": "
                  "\"s1\", \"name\": \"s1\", \"state\": \"Ready\", "
                  "\"virtualmachinename\": \"web1\"}]}");
    http_stub_add(stub, "deleteVMSnapshot", 200, "{\"jobid\": \"" JOB "\"}");
}

static void
lay_job(struct http_stub *stub, bool ends)
{
    for (int percent = 10; percent <= 80; percent += 10) {
        char body[200];

        (void)snprintf(body, sizeof(body),
                       "{\"jobstatus\": 0, \"step\": \"merging vda\", "
                       "\"bytesdone\": %d000000, \"bytestotal\": 100000000}",
                       percent);
        http_stub_add(stub, "queryAsyncJobResult", 200, body);
    }
    if (ends)
        http_stub_add(stub, "queryAsyncJobResult", 200,
                      "{\"jobstatus\": 1, \"jobresult\": {\"success\": true}}");
}

/* -- a session ------------------------------------------------------------- */

static bool
begin(struct session *session, bool yes, bool ends)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char *arguments[] = {
        varve,          (char[]){"snapshot"},           (char[]){"delete"},
        (char[]){"s1"}, yes ? (char[]){"--yes"} : NULL, NULL};

    *session = (struct session){.status = -1, .directory = ""};
    strbuf_init(&session->screen, STRBUF_MAX_DEFAULT);
    (void)snprintf(session->directory, sizeof(session->directory),
                   "/tmp/varve-terminal-XXXXXX");
    lay_answers(&session->stub);
    lay_job(&session->stub, ends);
    if (mkdtemp(session->directory) == NULL ||
        !http_stub_start(&session->stub, session->directory))
        return false;
    session->child = forkpty(&session->terminal, NULL, NULL, &size);
    if (session->child == 0) {
        (void)setenv("VARVE_SOCKET", session->stub.path, 1);
        (void)setenv("TERM", "xterm", 1);
        (void)setenv("LC_ALL", "C", 1);
        (void)execv(varve, arguments);
        _exit(127);
    }
    return session->child > 0;
}

static bool
has(const struct session *session, const char *text)
{
    return strstr(strbuf_text(&session->screen), text) != NULL;
}

/* Read until `text` is there, or with NULL until the end; then false. */
static bool
read_until(struct session *session, const char *text)
{
    int64_t deadline_ms = clock_monotonic_ms() + LIMIT_MS;

    while (text == NULL || !has(session, text)) {
        struct pollfd wait = {.fd = session->terminal, .events = POLLIN};
        char bytes[1024];
        ssize_t length;

        if (clock_monotonic_ms() > deadline_ms)
            return false;
        if (poll(&wait, 1, 100) <= 0)
            continue;
        length = read(session->terminal, bytes, sizeof(bytes));
        if (length <= 0)
            return false; /* EIO: nobody has the other side any more */
        strbuf_add(&session->screen, bytes, (size_t)length);
    }
    return true;
}

static void
type(struct session *session, const char *keys)
{
    CHECK(write(session->terminal, keys, strlen(keys)) ==
          (ssize_t)strlen(keys));
}

static void
end(struct session *session)
{
    int status = 0;

    (void)read_until(session, NULL);
    (void)close(session->terminal);
    CHECK(waitpid(session->child, &status, 0) == session->child);
    session->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    http_stub_stop(&session->stub);
}

static bool
was_asked(const struct session *session, const char *command)
{
    return strstr(strbuf_text(&session->stub.log), command) != NULL;
}

static void
release(struct session *session)
{
    if (check_failures > 0)
        printf("# %s\n", strbuf_text(&session->screen));
    strbuf_release(&session->screen);
    http_stub_release(&session->stub);
    (void)unlink(session->stub.path);
    (void)rmdir(session->directory);
}

/* -- tests ----------------------------------------------------------------- */

static void
a_job_has_a_bar_and_leaves_one_line(void)
{
    struct session session;
    const char *cleared;

    REQUIRE(begin(&session, true, true));
    end(&session);
    CHECK(session.status == 0);
    CHECK(has(&session, "\r[########"));
    CHECK(has(&session, "%  "));
    CHECK(has(&session, "merging vda\033[K"));
    cleared = strstr(strbuf_text(&session.screen), CLEARED);
    REQUIRE(cleared != NULL);
    CHECK_TEXT(cleared,
               CLEARED "snapshot 's1' of machine 'web1' is deleted\r\n");
    release(&session);
}

static void
an_interrupt_ends_the_waiting_and_not_the_job(void)
{
    struct session session;

    REQUIRE(begin(&session, true, false));
    CHECK(read_until(&session, "merging vda"));
    type(&session, "\003");
    end(&session);
    CHECK(session.status == 130);
    CHECK(has(&session, CLEARED "varve: interrupted; the job goes on: varve "
                                "job watch " JOB));
    CHECK(!was_asked(&session, "cancelAsyncJob"));
    release(&session);
}

static const struct answered {
    const char *keys;
    bool is_yes;
} answered[] = {
    {"y\r", true},     {"yes\r", true}, {"Y\r", true},
    {"n\r", false},    {"\r", false},   {"\004", false},
    {"ye\r", false},   {"no\r", false}, {"yes, please do it now\r", false},
    {"x\177y\r", true}};

static void
only_yes_is_yes(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(answered); i++) {
        struct session session;

        REQUIRE(begin(&session, false, true));
        CHECK(read_until(&session,
                         "Delete snapshot 's1' of machine 'web1'? [y/N] "));
        type(&session, answered[i].keys);
        end(&session);
        CHECK(session.status == (answered[i].is_yes ? 0 : 130));
        CHECK(was_asked(&session, "deleteVMSnapshot") == answered[i].is_yes);
        /* On a line of its own, also after Ctrl-D. */
        CHECK(answered[i].is_yes ||
              has(&session, "\r\nvarve: nothing was done\r\n"));
        release(&session);
    }
}

static void
an_interrupted_question_does_nothing(void)
{
    struct session session;

    REQUIRE(begin(&session, false, true));
    CHECK(read_until(&session, "[y/N] "));
    type(&session, "\003");
    end(&session);
    CHECK(session.status != 0);
    CHECK(!was_asked(&session, "deleteVMSnapshot"));
    release(&session);
}

int
main(int argc, char **argv)
{
    if (argc != 2)
        return EXIT_FAILURE;
    varve = argv[1];
    RUN(a_job_has_a_bar_and_leaves_one_line);
    RUN(an_interrupt_ends_the_waiting_and_not_the_job);
    RUN(only_yes_is_yes);
    RUN(an_interrupted_question_does_nothing);
    return check_done();
}
