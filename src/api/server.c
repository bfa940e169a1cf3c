/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP, by libmicrohttpd.
 *
 * Each listener is an MHD daemon with a pool of polling threads (with epoll,
 * whose edges it loses, MHD sees the end of a half-sent request only when it
 * times out).  A request is an exchange: it begins when MHD has read the
 * request line (that callback is the only place where MHD shows the query as
 * it was sent, and we decode it ourselves), collects the body, and ends when
 * MHD says that the reply was sent or the connection is gone.  Handlers run in
 * the pool's threads: every synchronous command is short, and what may hang is
 * asked through probe.h.
 *
 * A reply that waits for a job's end (held.h) is a suspended connection: MHD
 * does not look at it until it is resumed, and then asks the handler again.
 * That its client has gone is not seen meanwhile, so that each is held for a
 * bounded time, and fewer of them than any thread has connections: all of
 * them leave room for others.
 *
 * Stopping is in this order: new connections are not accepted, new requests
 * on open ones are told 503, replies that are held back are given, those that
 * are being answered are waited for, MHD is stopped, which drops what was
 * received in part.
 *
 * TLS will be one more kind of listener, with MHD_USE_TLS and its keys; it is
 * only start_listener() that knows how MHD is started.
 */
#include "api/server.h"

#include "api/held.h"
#include "api/listen.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/strbuf.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define THREADS 4
#define CONNECTIONS_MAX 256
#define HELD_MAX 48 /* less than CONNECTIONS_MAX / THREADS */
#define IDLE_SECONDS 30
/* For each connection: the request line, the headers and our reply's ones. */
#define MEMORY_MAX ((size_t)64 << 10)
#define STOP_MS 5000
#define REMOTE_MAX 64

struct listener {
    struct server *server;     /* borrowed */
    struct MHD_Daemon *daemon; /* owned; NULL: there is none */
    bool is_unix;
};

struct server {
    struct api *api;   /* borrowed */
    struct held *held; /* owned */
    struct listener tcp;
    struct listener local;
    uint16_t port;
    gid_t group;
    char *socket; /* owned; path to remove at the end, or NULL */
    struct lock lock;
    struct signal quiet;
    bool is_stopping; /* under lock */
    size_t under_way; /* under lock; requests that are being answered */
};

struct exchange {
    char *uri; /* owned; as sent */
    struct strbuf body;
    bool is_started;   /* the headers were seen */
    bool is_under_way; /* it is being answered; counted by the server */
    bool was_held;     /* it has waited, or cannot: it is answered as it is */
};

/* -- life of an exchange ------------------------------------------------- */

/*
 * The library tells the end of those requests only whose handler was called.
 * One that ends before (headers that are too long, a client that goes) is
 * known by its connection, which always ends.
 */
struct seat {
    struct exchange *exchange; /* owned; or NULL */
};

static void
free_exchange(struct exchange *exchange)
{
    free(exchange->uri);
    strbuf_release(&exchange->body);
    free(exchange);
}

static void
watch_connection(void *context, struct MHD_Connection *connection,
                 void **seat_pointer, enum MHD_ConnectionNotificationCode what)
{
    struct seat *seat = *seat_pointer;

    (void)context;
    (void)connection;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *seat_pointer = xcalloc(1, sizeof(struct seat));
        return;
    }
    if (seat != NULL && seat->exchange != NULL)
        free_exchange(seat->exchange);
    free(seat);
    *seat_pointer = NULL;
}

static struct seat *
seat_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info->socket_context;
}

static void *
begin_exchange(void *context, const char *uri,
               struct MHD_Connection *connection)
{
    struct exchange *exchange = xcalloc(1, sizeof(*exchange));
    struct seat *seat = seat_of(connection);

    (void)context;
    if (seat->exchange != NULL)
        free_exchange(seat->exchange);
    seat->exchange = exchange;
    exchange->uri = xstrdup(uri);
    strbuf_init(&exchange->body, SERVER_BODY_MAX + 1);
    return exchange;
}

/* From now on the server waits for it when it stops; once for each. */
static void
count_exchange(struct server *server, struct exchange *exchange)
{
    if (exchange->is_under_way)
        return; /* it was held back */
    exchange->is_under_way = true;
    lock_take(&server->lock);
    server->under_way++;
    lock_give(&server->lock);
}

static void
uncount_exchange(struct server *server)
{
    lock_take(&server->lock);
    if (--server->under_way == 0)
        signal_wake_all(&server->quiet);
    lock_give(&server->lock);
}

static void
end_exchange(void *context, struct MHD_Connection *connection,
             void **exchange_pointer, enum MHD_RequestTerminationCode why)
{
    struct listener *listener = context;
    struct exchange *exchange = *exchange_pointer;

    (void)why;
    if (exchange == NULL)
        return;
    *exchange_pointer = NULL;
    seat_of(connection)->exchange = NULL;
    if (exchange->is_under_way)
        uncount_exchange(listener->server);
    free_exchange(exchange);
}

static bool
is_stopping(struct server *server)
{
    bool stopping;

    lock_take(&server->lock);
    stopping = server->is_stopping;
    lock_give(&server->lock);
    return stopping;
}

/* -- replies ------------------------------------------------------------- */

struct header {
    const char *name;
    const char *value; /* NULL or "": left out */
};

/* `body` is handed over; it came from malloc. */
static enum MHD_Result
send_reply(struct MHD_Connection *connection, int status, char *body,
           size_t length, const struct header *headers, size_t count)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    for (size_t i = 0; i < count; i++) {
        if (headers[i].value != NULL && headers[i].value[0] != '\0' &&
            MHD_add_response_header(response, headers[i].name,
                                    headers[i].value) != MHD_YES)
            log_debug("api", "header-refused", "name=%s", headers[i].name);
    }
    result = MHD_queue_response(connection, (unsigned)status, response);
    MHD_destroy_response(response);
    return result;
}

/* What is not the API's: a line of text. */
static enum MHD_Result
send_text(struct MHD_Connection *connection, int status, const char *text)
{
    const struct header headers[] = {
        {"Content-Type", "text/plain; charset=UTF-8"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Description", status >= 400 ? text : NULL},
        {"Allow", status == MHD_HTTP_METHOD_NOT_ALLOWED ? "GET, POST" : NULL},
        {"Connection", status >= 400 ? "close" : NULL},
    };
    char *line = xasprintf("%s\n", text);

    return send_reply(connection, status, line, strlen(line), headers,
                      ARRAY_SIZE(headers));
}

static enum MHD_Result
send_api(struct MHD_Connection *connection, struct api_reply *reply)
{
    const struct header headers[] = {
        {"Content-Type", reply->content_type},
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Description", reply->description},
        {"Allow", reply->status == MHD_HTTP_METHOD_NOT_ALLOWED ? "POST" : NULL},
        {"Set-Cookie", reply->cookies[0]},
        {"Set-Cookie", reply->cookies[1]},
    };

    return send_reply(connection, reply->status, steal(&reply->body),
                      reply->length, headers, ARRAY_SIZE(headers));
}

/* -- requests ------------------------------------------------------------ */

static bool
is_api_path(const char *path)
{
    return strcmp(path, "/client/api") == 0 ||
           strcmp(path, "/client/api/") == 0;
}

/* Who is at the other end, for the log; true when the kernel trusts them. */
static bool
look_at_peer(struct listener *listener, struct MHD_Connection *connection,
             char remote[REMOTE_MAX])
{
    const union MHD_ConnectionInfo *info;
    long uid;
    bool trusted;

    (void)snprintf(remote, REMOTE_MAX, "loopback");
    if (!listener->is_unix)
        return false;
    info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return false;
    trusted =
        listen_is_trusted(info->connect_fd, listener->server->group, &uid);
    (void)snprintf(remote, REMOTE_MAX, "uid:%ld", uid);
    return trusted;
}

/* Ask until there is an answer, or none is to be given yet: then true. */
static bool
ask_api(struct server *server, struct MHD_Connection *connection,
        struct exchange *exchange, struct api_request *request,
        struct api_reply *ret_reply)
{
    for (;;) {
        uint64_t mark = held_mark(server->held);
        struct held_reply held = {.context = connection};

        request->may_hold = !exchange->was_held;
        api_handle(server->api, request, ret_reply);
        if (ret_reply->hold_ms == 0)
            return false;
        held.hold_ms = ret_reply->hold_ms;
        memcpy(held.job, ret_reply->hold_job, sizeof(held.job));
        api_reply_release(ret_reply);
        /* Once it is kept, another thread may resume it. */
        exchange->was_held = true;
        switch (held_add(server->held, &held, mark)) {
        case HELD_KEPT:
            return true;
        case HELD_MISSED:
            exchange->was_held = false;
            break;
        case HELD_FULL:
            break;
        }
    }
}

static enum MHD_Result
handle_api(struct listener *listener, struct MHD_Connection *connection,
           const char *method, struct exchange *exchange)
{
    const char *mark = strchr(exchange->uri, '?');
    const char *query = mark != NULL ? mark + 1 : "";
    char remote[REMOTE_MAX];
    struct api_request request = {
        .is_post = strcmp(method, MHD_HTTP_METHOD_POST) == 0,
        .query = query,
        .query_length = strlen(query),
        .body = strbuf_text(&exchange->body),
        .body_length = exchange->body.length,
        .session_cookie = MHD_lookup_connection_value(
            connection, MHD_COOKIE_KIND, "JSESSIONID"),
        .session_key_cookie = MHD_lookup_connection_value(
            connection, MHD_COOKIE_KIND, "sessionkey"),
        .is_trusted_peer = look_at_peer(listener, connection, remote),
        .remote = remote,
    };
    struct api_reply reply;
    enum MHD_Result result;

    if (ask_api(listener->server, connection, exchange, &request, &reply))
        return MHD_YES; /* it is asked again when the connection is resumed */
    result = send_api(connection, &reply);
    api_reply_release(&reply);
    return result;
}

/* A body that is not what we read: 1 when that was answered. */
static bool
is_body_refused(struct MHD_Connection *connection, const char *method)
{
    static const char form[] = "application/x-www-form-urlencoded";
    const char *type = MHD_lookup_connection_value(
        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);

    return strcmp(method, MHD_HTTP_METHOD_POST) == 0 && type != NULL &&
           strncasecmp(type, form, strlen(form)) != 0;
}

static bool
is_declared_too_long(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(
        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    uint64_t bytes = 0;
    struct error err = ERROR_INIT;

    return length != NULL &&
           (parse_u64(length, &bytes, &err) < 0 || bytes > SERVER_BODY_MAX);
}

/* What can be said before the body; MHD_YES with *ret_done false: go on. */
static enum MHD_Result
answer_early(struct listener *listener, struct MHD_Connection *connection,
             const char *path, const char *method, bool *ret_done)
{
    bool is_get = strcmp(method, MHD_HTTP_METHOD_GET) == 0;

    *ret_done = true;
    if (is_stopping(listener->server))
        return send_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                         "the server is stopping");
    if (!is_api_path(path) && strcmp(path, "/healthz") != 0)
        return send_text(connection, MHD_HTTP_NOT_FOUND,
                         "there is nothing here; the API is at /client/api");
    if (!is_get &&
        (strcmp(method, MHD_HTTP_METHOD_POST) != 0 || !is_api_path(path)))
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                         "only GET and POST are allowed");
    if (is_body_refused(connection, method))
        return send_text(connection, MHD_HTTP_BAD_REQUEST,
                         "a body must be application/x-www-form-urlencoded");
    if (is_declared_too_long(connection))
        return send_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                         "the body is longer than 1 MiB");
    *ret_done = false;
    return MHD_YES;
}

static enum MHD_Result
handle(void *context, struct MHD_Connection *connection, const char *path,
       const char *method, const char *version, const char *data,
       size_t *length, void **exchange_pointer)
{
    struct listener *listener = context;
    struct exchange *exchange = *exchange_pointer;
    bool healthy;
    bool done;

    (void)version;
    if (exchange == NULL)
        return MHD_NO;
    if (!exchange->is_started) {
        exchange->is_started = true;
        return answer_early(listener, connection, path, method, &done);
    }
    if (*length > 0) {
        strbuf_add(&exchange->body, data, *length);
        *length = 0;
        return MHD_YES;
    }
    if (strbuf_overflowed(&exchange->body) ||
        exchange->body.length > SERVER_BODY_MAX)
        return send_text(connection, MHD_HTTP_CONTENT_TOO_LARGE,
                         "the body is longer than 1 MiB");
    count_exchange(listener->server, exchange);
    if (is_api_path(path))
        return handle_api(listener, connection, method, exchange);
    healthy = api_is_healthy(listener->server->api);
    return send_text(connection, healthy ? 200 : 503, healthy ? "ok" : "no");
}

/* -- listeners ----------------------------------------------------------- */

static void log_library(void *context, const char *format, va_list args)
    PRINTF(2, 0);

static void
log_library(void *context, const char *format, va_list args)
{
    char line[256];

    (void)context;
    (void)vsnprintf(line, sizeof(line), format, args);
    log_debug("api", "http", "text='%s'", line);
}

/* `*fd` is handed over on success. */
static int
start_listener(struct listener *listener, int *fd, unsigned threads,
               struct error *err)
{
    listener->daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, handle, listener, MHD_OPTION_EXTERNAL_LOGGER,
        log_library, NULL, MHD_OPTION_LISTEN_SOCKET, *fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads != 0 ? threads : THREADS,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_MAX,
        MHD_OPTION_URI_LOG_CALLBACK, begin_exchange, listener,
        MHD_OPTION_NOTIFY_COMPLETED, end_exchange, listener,
        MHD_OPTION_NOTIFY_CONNECTION, watch_connection, listener,
        MHD_OPTION_END);
    if (listener->daemon == NULL)
        return error_set(err, ERROR_INTERNAL, "cannot start the HTTP server");
    *fd = -1; /* it is the daemon's now */
    return 0;
}

static int
start_tcp(struct server *server, const struct server_config *config,
          struct error *err)
{
    AUTO_CLOSE int fd = -1;

    if (config->address == NULL)
        return 0;
    fd = listen_tcp(config->address, &server->port, err);
    if (fd < 0)
        return -1;
    server->tcp = (struct listener){.server = server};
    if (start_listener(&server->tcp, &fd, config->threads, err) < 0)
        return -1;
    log_info("api-listening", "address=%s port=%u", config->address,
             (unsigned)server->port);
    return 0;
}

static int
start_local(struct server *server, const struct server_config *config,
            struct error *err)
{
    AUTO_CLOSE int fd = -1;

    server->group = LISTEN_NO_GROUP;
    if (config->socket == NULL)
        return 0;
    if (config->socket_group != NULL &&
        listen_find_group(config->socket_group, &server->group, err) < 0)
        return -1;
    fd = listen_unix(config->socket, server->group, err);
    if (fd < 0)
        return -1;
    server->socket = xstrdup(config->socket);
    server->local = (struct listener){.server = server, .is_unix = true};
    if (start_listener(&server->local, &fd, config->threads, err) < 0)
        return -1;
    log_info("api-listening", "address=%s", config->socket);
    return 0;
}

static void
suspend_connection(void *connection)
{
    MHD_suspend_connection(connection);
}

static void
resume_connection(void *connection)
{
    MHD_resume_connection(connection);
}

static void
see_job_ended(void *context, const char *job)
{
    struct server *server = context;

    held_wake(server->held, job);
}

/* What holds replies back, before anybody can be answered. */
static int
start_holding(struct server *server, struct error *err)
{
    static const struct held_calls calls = {.suspend = suspend_connection,
                                            .resume = resume_connection};

    server->held = held_new(HELD_MAX, &calls, err);
    if (server->held == NULL)
        return -1;
    api_watch_jobs(server->api, see_job_ended, server);
    return 0;
}

struct server *
server_start(struct api *api, const struct server_config *config,
             struct error *err)
{
    struct server *server = xcalloc(1, sizeof(*server));

    server->api = api;
    lock_init(&server->lock);
    signal_init(&server->quiet);
    if (start_holding(server, err) < 0 ||
        start_local(server, config, err) < 0 ||
        start_tcp(server, config, err) < 0) {
        server_stop(server);
        return NULL;
    }
    return server;
}

uint16_t
server_port(const struct server *server)
{
    return server->port;
}

/* -- the end ------------------------------------------------------------- */

/* No more connections; MHD gives the listening socket back, still open. */
static void
quiesce(struct listener *listener)
{
    int fd =
        listener->daemon != NULL ? MHD_quiesce_daemon(listener->daemon) : -1;

    if (fd >= 0)
        (void)close(fd); /* nothing was written to it */
}

static void
wait_quiet_locked(struct server *server) REQUIRES(server->lock)
{
    int64_t deadline_ms = clock_monotonic_ms() + STOP_MS;

    while (server->under_way > 0) {
        if (!signal_wait_until(&server->quiet, &server->lock, deadline_ms))
            return;
    }
}

void
server_stop(struct server *server)
{
    if (server == NULL)
        return;
    lock_take(&server->lock);
    server->is_stopping = true;
    lock_give(&server->lock);
    quiesce(&server->tcp);
    quiesce(&server->local);
    if (server->held != NULL)
        held_stop(server->held);
    lock_take(&server->lock);
    wait_quiet_locked(server);
    lock_give(&server->lock);
    if (server->tcp.daemon != NULL)
        MHD_stop_daemon(server->tcp.daemon);
    if (server->local.daemon != NULL)
        MHD_stop_daemon(server->local.daemon);
    if (server->socket != NULL)
        (void)unlink(server->socket); /* the next start would replace it */
    api_unwatch_jobs(server->api, server);
    held_free(server->held);
    free(server->socket);
    signal_release(&server->quiet);
    lock_release(&server->lock);
    free(server);
}
