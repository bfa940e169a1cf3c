/* SPDX-License-Identifier: Apache-2.0 */
/* The server over real sockets, asked by libcurl. */
#include "api/server.h"

#include "api_fixture.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct fixture fx;
static struct server *server;
static char socket_path[100];
static char base_url[64];

struct reply {
    long status;
    struct strbuf headers;
    struct strbuf body;
};

static void
reply_release(struct reply *reply)
{
    strbuf_release(&reply->headers);
    strbuf_release(&reply->body);
}

#define AUTO_REPLY CLEANUP(reply_release)
#define REPLY_INIT                                                             \
    {                                                                          \
        .headers = STRBUF_INIT, .body = STRBUF_INIT                            \
    }

static size_t
take(char *bytes, size_t size, size_t count, void *context)
{
    strbuf_add(context, bytes, size * count);
    return size * count;
}

struct ask {
    const char *path;    /* with the query */
    const char *post;    /* body; NULL: GET */
    const char *method;  /* another method */
    const char *cookies; /* or NULL */
    const char *type;    /* Content-Type of the body, or NULL */
    bool by_socket;
};

static void
ask(const struct ask *what, struct reply *reply)
{
    CURL *curl = curl_easy_init();
    AUTO_FREE char *url = xasprintf("%s%s", base_url, what->path);
    struct curl_slist *headers = NULL;
    CURLcode code;

    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply->body);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, &reply->headers);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    if (what->by_socket)
        (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    if (what->post != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, what->post);
    if (what->method != NULL && strcmp(what->method, "HEAD") == 0)
        (void)curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else if (what->method != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, what->method);
    if (what->cookies != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_COOKIE, what->cookies);
    if (what->type != NULL)
        headers = curl_slist_append(headers, what->type);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        printf("# %s: %s\n", url, curl_easy_strerror(code));
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
}

static bool
has_header(const struct reply *reply, const char *line)
{
    return strstr(strbuf_text(&reply->headers), line) != NULL;
}

/* -- requests ------------------------------------------------------------ */

static void
both_paths_answer_a_signed_get(void)
{
    static const char *const paths[] = {"/client/api", "/client/api/"};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        AUTO_REPLY struct reply reply = REPLY_INIT;
        AUTO_FREE char *query =
            api_ask_sign("guest", "command=listZones&response=json");
        AUTO_FREE char *path = xasprintf("%s?%s", paths[i], query);

        ask(&(struct ask){.path = path}, &reply);
        CHECK(reply.status == 200);
        CHECK(has_header(&reply, "Content-Type: application/json; "
                                 "charset=UTF-8\r\n"));
        CHECK(strstr(strbuf_text(&reply.body),
                     "{\"listzonesresponse\":{\"count\":1,\"zone\":[{") ==
              strbuf_text(&reply.body));
        CHECK(strchr(strbuf_text(&reply.body), '\n') == NULL);
    }
}

static void
parameters_may_come_in_the_body_and_the_query_wins(void)
{
    AUTO_REPLY struct reply whole = REPLY_INIT;
    AUTO_REPLY struct reply mixed = REPLY_INIT;
    AUTO_FREE char *body =
        api_ask_sign("guest", "command=listZones&response=json");
    AUTO_FREE char *clash = api_ask_sign("guest", "command=listZones"
                                                  "&response=json");
    AUTO_FREE char *more = xasprintf("%s&response=xml", clash);

    ask(&(struct ask){.path = "/client/api", .post = body}, &whole);
    CHECK(whole.status == 200);
    ask(&(struct ask){.path = "/client/api?response=json", .post = more},
        &mixed);
    CHECK(mixed.status == 200);
    CHECK(has_header(&mixed, "application/json"));
}

static void
without_response_the_answer_is_xml(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;

    ask(&(struct ask){.path = "/client/api?command=listZones",
                      .by_socket = true},
        &reply);
    CHECK(reply.status == 200);
    CHECK(has_header(&reply, "Content-Type: text/xml; charset=UTF-8\r\n"));
    CHECK(strstr(strbuf_text(&reply.body),
                 "<zone><id>" FIXTURE_ID("01", "1") "</id>") != NULL);
}

static void
an_error_has_its_code_as_status_and_its_text_as_a_header(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;

    ask(&(struct ask){.path = "/client/api?command=deleteBackup&response=json",
                      .by_socket = true},
        &reply);
    CHECK(reply.status == 431);
    CHECK_TEXT(
        strbuf_text(&reply.body),
        "{\"deletebackupresponse\":{\"uuidList\":[],\"errorcode\":431,"
        "\"cserrorcode\":4350,\"errorname\":\"INVALID\",\"errortext\":\"unable to execute command "
        "'deleteBackup' without its parameter 'id'\"}}");
    CHECK(has_header(&reply, "X-Description: unable to execute command "
                             "'deleteBackup' without its parameter 'id'\r\n"));
}

static void
an_unknown_command_is_432_under_errorresponse(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_REPLY struct reply none = REPLY_INIT;

    ask(&(struct ask){.path = "/client/api?command=fly&response=json",
                      .by_socket = true},
        &reply);
    CHECK(reply.status == 432);
    CHECK(strncmp(strbuf_text(&reply.body), "{\"errorresponse\":{", 18) == 0);
    ask(&(struct ask){.path = "/client/api?response=json", .by_socket = true},
        &none);
    CHECK(none.status == 432);
}

static void
command_names_are_taken_in_any_case(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;

    ask(&(struct ask){.path = "/client/api?COMMAND=LISTzones&Response=JSON",
                      .by_socket = true},
        &reply);
    CHECK(reply.status == 200);
    CHECK(strncmp(strbuf_text(&reply.body), "{\"listzonesresponse\"", 20) == 0);
}

static void
only_get_and_post_are_allowed(void)
{
    static const char *const methods[] = {"HEAD", "PUT", "DELETE", "OPTIONS",
                                          "TRACE"};

    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        AUTO_REPLY struct reply reply = REPLY_INIT;

        ask(&(struct ask){.path = "/client/api?command=listZones",
                          .method = methods[i],
                          .by_socket = true},
            &reply);
        CHECK(reply.status == 405);
        CHECK(has_header(&reply, "Allow: GET, POST\r\n"));
    }
}

static void
there_is_nothing_elsewhere(void)
{
    static const char *const paths[] = {
        "/",         "/client",           "/client/api/x", "/client//api",
        "/healthz/", "/client/api/../api"};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        AUTO_REPLY struct reply reply = REPLY_INIT;

        if (strstr(paths[i], "..") != NULL)
            continue; /* libcurl resolves it */
        ask(&(struct ask){.path = paths[i], .by_socket = true}, &reply);
        CHECK(reply.status == 404);
    }
}

static void
health_is_told_to_everybody(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;

    ask(&(struct ask){.path = "/healthz"}, &reply);
    CHECK(reply.status == 200);
    CHECK_TEXT(strbuf_text(&reply.body), "ok\n");
}

/* -- limits -------------------------------------------------------------- */

static void
a_body_of_more_than_a_mebibyte_is_refused(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_REPLY struct reply fits = REPLY_INIT;
    size_t length = SERVER_BODY_MAX + 1;
    AUTO_FREE char *body = xmalloc(length + 1);

    memset(body, 'x', length);
    body[length] = '\0';
    ask(&(struct ask){.path = "/client/api?command=listZones", .post = body},
        &reply);
    CHECK(reply.status == 413);
    body[length - 1] = '\0';
    memcpy(body, "a=", 2);
    ask(&(struct ask){.path = "/client/api?command=listZones&response=json",
                      .post = body,
                      .by_socket = true},
        &fits);
    CHECK(fits.status == 200);
}

static void
other_kinds_of_bodies_are_refused(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;

    ask(&(struct ask){.path = "/client/api?command=listZones",
                      .post = "{}",
                      .type = "Content-Type: application/json",
                      .by_socket = true},
        &reply);
    CHECK(reply.status == 400);
}

static void
a_list_of_500_ids_fits_into_a_url_and_a_huge_url_does_not(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_REPLY struct reply refused = REPLY_INIT;
    AUTO_STRBUF struct strbuf path = STRBUF_INIT;

    strbuf_adds(&path, "/client/api?command=listVirtualMachines&response=json"
                       "&ids=" FIXTURE_ID("10", "1"));
    for (int i = 1; i < 500; i++)
        strbuf_adds(&path, "," FIXTURE_ID("10", "1"));
    ask(&(struct ask){.path = strbuf_text(&path), .by_socket = true}, &reply);
    CHECK(reply.status == 200);
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&path, 'x');
    ask(&(struct ask){.path = strbuf_text(&path), .by_socket = true}, &refused);
    CHECK(refused.status == 414 || refused.status == 413);
}

/* -- who ----------------------------------------------------------------- */

static long
status_of(const char *who, const char *query)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_FREE char *text =
        who != NULL ? api_ask_sign(who, query) : xstrdup(query);
    AUTO_FREE char *path = xasprintf("/client/api?%s", text);

    ask(&(struct ask){.path = path}, &reply);
    return reply.status;
}

static void
without_credentials_tcp_answers_401(void)
{
    CHECK(status_of(NULL, "command=listZones&response=json") == 401);
    CHECK(status_of(NULL, "command=noSuch&response=json") == 401);
    CHECK(status_of(NULL, "command=listZones&apiKey=key-guest&signature=x") ==
          401);
    CHECK(status_of(NULL, "") == 401);
    CHECK(status_of("guest", "command=listZones") == 200);
    CHECK(status_of("guest", "command=listHosts") == 531);
}

static void
an_expired_signature_is_401(void)
{
    CHECK(status_of("guest", "command=listZones&signatureVersion=3") == 401);
    CHECK(status_of("guest", "command=listZones&signatureVersion=3"
                             "&expires=2020-01-01T00:00:00%2B0000") == 401);
    CHECK(status_of("guest", "command=listZones&signatureVersion=3"
                             "&expires=soon") == 401);
    CHECK(status_of("guest", "command=listZones&signatureversion=3"
                             "&expires=2999-01-01T00:00:00Z") == 200);
}

static void
keys_on_the_unix_socket_are_who_they_say(void)
{
    AUTO_REPLY struct reply wrong = REPLY_INIT;
    AUTO_REPLY struct reply guest = REPLY_INIT;
    AUTO_FREE char *query =
        api_ask_sign("guest", "command=listHosts&response=json");
    AUTO_FREE char *path = xasprintf("/client/api?%s", query);

    ask(&(struct ask){.path = "/client/api?command=listHosts&apikey=x"
                              "&signature=y",
                      .by_socket = true},
        &wrong);
    CHECK(wrong.status == 401);
    ask(&(struct ask){.path = path, .by_socket = true}, &guest);
    CHECK(guest.status == 531);
}

/* The value of a cookie in Set-Cookie lines; the caller frees it. */
static char *
cookie_of(const struct reply *reply, const char *name)
{
    AUTO_FREE char *start = xasprintf("Set-Cookie: %s=", name);
    const char *found = strstr(strbuf_text(&reply->headers), start);

    if (found == NULL)
        return xstrdup("");
    found += strlen(start);
    return xstrndup(found, strcspn(found, ";"));
}

static long
session_status(const char *cookies, const char *key)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_FREE char *path = xasprintf(
        "/client/api?command=listZones&response=json&sessionkey=%s", key);

    ask(&(struct ask){.path = path, .cookies = cookies}, &reply);
    return reply.status;
}

static void
a_session_is_begun_by_login_and_needs_cookie_and_key(void)
{
    AUTO_REPLY struct reply reply = REPLY_INIT;
    AUTO_REPLY struct reply end = REPLY_INIT;
    AUTO_FREE char *id = NULL;
    AUTO_FREE char *key = NULL;
    AUTO_FREE char *cookies = NULL;
    AUTO_FREE char *logout = NULL;

    ask(&(struct ask){.path = "/client/api",
                      .post = "command=login&username=guest&domain=%2F"
                              "&password=secret+word&response=json"},
        &reply);
    CHECK(reply.status == 200);
    id = cookie_of(&reply, "JSESSIONID");
    key = cookie_of(&reply, "sessionkey");
    CHECK(strlen(id) == 32 && strlen(key) == 64);
    CHECK(has_header(&reply, "Path=/client; HttpOnly; SameSite=Lax"));
    CHECK(strstr(strbuf_text(&reply.body), key) != NULL);
    CHECK(strstr(strbuf_text(&reply.body), "\"type\":\"0\"") != NULL);
    CHECK(strstr(strbuf_text(&reply.body), "\"timeout\":1800") != NULL);
    cookies = xasprintf("JSESSIONID=%s; sessionkey=%s", id, key);
    CHECK(session_status(cookies, key) == 200);
    CHECK(session_status(cookies, "x") == 401);
    CHECK(session_status("JSESSIONID=x", key) == 401);
    CHECK(session_status(NULL, key) == 401);
    logout = xasprintf("/client/api?command=logout&response=json&sessionkey=%s",
                       key);
    ask(&(struct ask){.path = logout, .cookies = cookies}, &end);
    CHECK(end.status == 200);
    CHECK_TEXT(strbuf_text(&end.body),
               "{\"logoutresponse\":{\"description\":\"success\"}}");
    CHECK(session_status(cookies, key) == 401);
}

static void
a_wrong_login_is_401_and_one_by_get_405(void)
{
    static const char *const wrong[] = {
        "command=login&username=guest&password=secret",
        "command=login&username=nobody&password=secret+word",
        "command=login&username=guest&password=secret+word&domain=%2Fsub"};

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        AUTO_REPLY struct reply reply = REPLY_INIT;

        ask(&(struct ask){.path = "/client/api", .post = wrong[i]}, &reply);
        CHECK(reply.status == 401);
        CHECK(!has_header(&reply, "Set-Cookie"));
    }
    CHECK(status_of(NULL, "command=login&username=guest"
                          "&password=secret+word") == 405);
}

/* -- many at once, and the end ------------------------------------------- */

#define CLIENTS 8
#define ROUNDS 25

static void *
ask_often(void *context)
{
    size_t *failures = context;

    for (int i = 0; i < ROUNDS; i++) {
        AUTO_REPLY struct reply reply = REPLY_INIT;

        ask(&(struct ask){.path = "/client/api?command=listVirtualMachines"
                                  "&listall=true&response=json",
                          .by_socket = i % 2 == 0},
            &reply);
        *failures += reply.status != (i % 2 == 0 ? 200 : 401);
    }
    return NULL;
}

static void
many_clients_are_answered_at_once(void)
{
    pthread_t threads[CLIENTS];
    size_t failures[CLIENTS] = {0};

    for (size_t i = 0; i < CLIENTS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, ask_often, &failures[i]) ==
                0);
    for (size_t i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK(failures[i] == 0);
    }
}

static void
the_socket_is_for_its_owner_only(void)
{
    struct stat status;

    CHECK(lstat(socket_path, &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
}

static bool
starts(const char *address, const char *path, enum error_code code)
{
    struct error err = ERROR_INIT;
    struct server *other = server_start(
        fx.api, &(struct server_config){.address = address, .socket = path},
        &err);

    server_stop(other);
    if (err.code != code)
        printf("# %s: %s\n", address != NULL ? address : path, err.message);
    return err.code == code;
}

static void
nothing_listens_beyond_loopback(void)
{
    CHECK(starts("0.0.0.0:0", NULL, ERROR_INVALID));
    CHECK(starts("192.0.2.1:0", NULL, ERROR_INVALID));
    CHECK(starts("[::]:0", NULL, ERROR_INVALID));
    CHECK(starts("[2001:db8::1]:0", NULL, ERROR_INVALID));
    CHECK(starts("example.com:80", NULL, ERROR_INVALID));
    CHECK(starts("127.0.0.1", NULL, ERROR_INVALID));
    CHECK(starts("127.0.0.1:99999", NULL, ERROR_INVALID));
    CHECK(starts("::1:80", NULL, ERROR_INVALID));
    CHECK(starts("", NULL, ERROR_INVALID));
    CHECK(starts("127.0.0.1:0", NULL, ERROR_NONE));
    CHECK(starts("localhost:0", NULL, ERROR_NONE));
}

static void
a_place_that_is_taken_is_not_taken_away(void)
{
    AUTO_FREE char *address = xasprintf("127.0.0.1:%u", server_port(server));
    AUTO_REPLY struct reply reply = REPLY_INIT;

    CHECK(starts(address, NULL, ERROR_BUSY));
    CHECK(starts(NULL, socket_path, ERROR_BUSY));
    CHECK(starts(NULL, fx.directory, ERROR_INVALID));
    ask(&(struct ask){.path = "/healthz", .by_socket = true}, &reply);
    CHECK(reply.status == 200);
}

/* A connection that has sent only a part of its request. */
static int
open_half_request(void)
{
    static const char half[] = "GET /client/api?command=listZones HTTP/1.1\r\n"
                               "Host: x\r\n";
    struct sockaddr_in where = {.sin_family = AF_INET,
                                .sin_port = htons(server_port(server)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    union {
        struct sockaddr_in in;
        struct sockaddr any;
    } address = {.in = where};

    if (connect(fd, &address.any, sizeof(where)) < 0 ||
        write(fd, half, sizeof(half) - 1) < 0)
        printf("# no connection\n");
    return fd;
}

static void
stopping_does_not_wait_for_clients_that_hang(void)
{
    AUTO_CLOSE int fd = open_half_request();
    int64_t began_ms = clock_monotonic_ms();

    REQUIRE(fd >= 0);
    server_stop(server);
    server = NULL;
    CHECK(clock_monotonic_ms() - began_ms < 3000);
    CHECK(access(socket_path, F_OK) < 0);
}

static void
a_dead_socket_is_replaced(void)
{
    struct error err = ERROR_INIT;
    union {
        struct sockaddr_un local;
        struct sockaddr any;
    } address = {.local = {.sun_family = AF_UNIX}};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
                   socket_path);
    REQUIRE(bind(fd, &address.any, sizeof(address.local)) == 0);
    (void)close(fd);
    server = server_start(fx.api,
                          &(struct server_config){.socket = socket_path}, &err);
    CHECK(server != NULL);
    server_stop(server);
}

int
main(void)
{
    struct error err = ERROR_INIT;
    const struct server_config config = {.address = "127.0.0.1:0",
                                         .socket = socket_path};

    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/api.sock",
                   fx.directory);
    server = server_start(fx.api, &config, &err);
    if (server == NULL) {
        printf("# %s\n", err.message);
        return EXIT_FAILURE;
    }
    (void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%u",
                   server_port(server));
    RUN(both_paths_answer_a_signed_get);
    RUN(parameters_may_come_in_the_body_and_the_query_wins);
    RUN(without_response_the_answer_is_xml);
    RUN(an_error_has_its_code_as_status_and_its_text_as_a_header);
    RUN(an_unknown_command_is_432_under_errorresponse);
    RUN(command_names_are_taken_in_any_case);
    RUN(only_get_and_post_are_allowed);
    RUN(there_is_nothing_elsewhere);
    RUN(health_is_told_to_everybody);
    RUN(a_body_of_more_than_a_mebibyte_is_refused);
    RUN(other_kinds_of_bodies_are_refused);
    RUN(a_list_of_500_ids_fits_into_a_url_and_a_huge_url_does_not);
    RUN(without_credentials_tcp_answers_401);
    RUN(an_expired_signature_is_401);
    RUN(keys_on_the_unix_socket_are_who_they_say);
    RUN(a_session_is_begun_by_login_and_needs_cookie_and_key);
    RUN(a_wrong_login_is_401_and_one_by_get_405);
    RUN(many_clients_are_answered_at_once);
    RUN(the_socket_is_for_its_owner_only);
    RUN(nothing_listens_beyond_loopback);
    RUN(a_place_that_is_taken_is_not_taken_away);
    RUN(stopping_does_not_wait_for_clients_that_hang);
    RUN(a_dead_socket_is_replaced);
    fixture_stop(&fx);
    curl_global_cleanup();
    return check_done();
}
