/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the bytes of a request to those of its answer.
 *
 *     decode -> command -> who asks -> may they -> parameters -> handler
 *
 * Every step may end it with an error, and an error is an answer in the same
 * envelope: status = errorcode, under the command's own top element.  What
 * is internal is logged here, once, and told to root admins only.
 */
#include "api/api.h"

#include "api/auth.h"
#include "api/call.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/probe.h"
#include "api/refs.h"
#include "api/render.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/settings.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_MAX 1000
#define SESSION_TIMEOUT_MS (30 * 60 * 1000)
#define BODY_MAX ((size_t)64 << 20)

struct api *
api_new(const struct api_config *config)
{
    struct api *api = xcalloc(1, sizeof(*api));

    api->engine = config->engine;
    api->version = xstrdup(config->version);
    api->hold_dir = xstrdup_null(config->hold_dir);
    api->hook = xstrdup_null(config->hook);
    api->session_timeout_ms = config->session_timeout_ms != 0
                                  ? config->session_timeout_ms
                                  : SESSION_TIMEOUT_MS;
    api->sessions = sessions_new(SESSIONS_MAX, api->session_timeout_ms);
    api->probe = probe_new(config->engine);
    api->started = clock_wall_ms();
    return api;
}

void
api_free(struct api *api)
{
    if (api == NULL)
        return;
    probe_free(api->probe);
    sessions_free(api->sessions);
    free(api->version);
    free(api->hold_dir);
    free(api->hook);
    free(api);
}

void
api_reply_release(struct api_reply *reply)
{
    free(reply->body);
    reply->body = NULL;
}

bool
api_is_healthy(struct api *api)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(engine_state(api->engine), &err);
    uint64_t count;

    return tx != NULL && state_zone_count(tx, STATE_ALL, &count, &err) == 0;
}

void
api_watch_jobs(struct api *api, engine_job_ended *ended, void *context)
{
    engine_watch_jobs(api->engine, ended, context);
}

void
api_unwatch_jobs(struct api *api, const void *context)
{
    engine_unwatch_jobs(api->engine, context);
}

/* -- answers ------------------------------------------------------------- */

struct exchange {
    const struct api_request *in;
    struct api_reply *out;
    struct params params;
    struct call call;
    enum render_format format;
};

static void
set_content_type(struct exchange *exchange)
{
    struct state *state = engine_state(exchange->call.engine);
    AUTO_FREE char *json = NULL;
    struct error err = ERROR_INIT;

    static_assert(API_TYPE_MAX == RENDER_TYPE_MAX, "one header");
    if (exchange->format == RENDER_JSON &&
        settings_get_text(state, "json.content.type", NULL, &json, &err) < 0)
        json = NULL; /* there is a default */
    render_content_type(exchange->format, json, exchange->out->content_type);
}

static void
answer(struct exchange *exchange, int status, json_t *body)
{
    struct strbuf text;
    char root[COMMAND_ROOT_MAX];

    strbuf_init(&text, BODY_MAX);
    render_body(exchange->format, command_root(exchange->call.command, root),
                body, &text);
    exchange->out->status = status;
    set_content_type(exchange);
    exchange->out->length = text.length;
    exchange->out->body = strbuf_take(&text);
}

static void
answer_or_hold(struct exchange *exchange, json_t *body)
{
    const struct call *call = &exchange->call;

    if (call->hold_ms == 0) {
        answer(exchange, 200, body);
        return;
    }
    exchange->out->hold_ms = call->hold_ms;
    memcpy(exchange->out->hold_job, call->hold_job, sizeof(call->hold_job));
}

static void
answer_status(struct exchange *exchange, int status, enum error_code code,
              const char *text)
{
    AUTO_JSON json_t *body = render_error(status, code, text);

    render_description(text, exchange->out->description);
    answer(exchange, status, body);
}

static void
answer_error(struct exchange *exchange, const struct error *err)
{
    const struct call *call = &exchange->call;
    char line[RENDER_DESCRIPTION_MAX];

    render_description(err->message, line);
    if (err->code == ERROR_AUTH)
        log_warning("api-auth-failed", "from=%s error='%s'",
                    exchange->in->remote, line);
    else if (render_is_internal(err))
        log_error("api-failed", "command=%s code=%s error='%s'",
                  call->command != NULL ? call->command->name : "none",
                  error_code_name(err->code), line);
    answer_status(exchange, error_code_http(err->code), err->code,
                  render_error_text(err, call_is_root(call)));
}

/* -- running a command --------------------------------------------------- */

static int
run_list(struct call *call, json_t *body, struct error *err)
{
    AUTO_LISTING struct listing listing = {0};
    int64_t setting;
    uint64_t size;

    if (settings_get_int(engine_state(call->engine), "default.page.size", NULL,
                         &setting, err) < 0)
        return -1;
    size = setting > 0 ? (uint64_t)setting : 0;
    if (listing_init(&listing, call->params, size,
                     call_is_root(call) ? 0 : size, err) < 0 ||
        call->command->list(call, &listing, err) < 0)
        return -1;
    listing_answer(&listing, call->command->key, body);
    return 0;
}

static int
run_async(struct call *call, json_t *body, struct error *err)
{
    struct ticket ticket = {0};

    if (call->command->async(call, &ticket, err) < 0)
        return -1;
    if (call->command->kind == COMMAND_CREATE)
        object_set_text(body, "id", ticket.object);
    object_set_text(body, "jobid", ticket.job);
    return 0;
}

static int
run(struct call *call, json_t *body, struct error *err)
{
    int result;

    switch (call->command->kind) {
    case COMMAND_LIST:
        result = run_list(call, body, err);
        break;
    case COMMAND_ASYNC:
    case COMMAND_CREATE:
        result = run_async(call, body, err);
        break;
    case COMMAND_SYNC:
    default:
        result = call->command->sync(call, body, err);
        break;
    }
    /* A name that could not be read is no reason to leave it out. */
    if (result == 0 && call->command->async == NULL && call->refs != NULL &&
        call->refs->err.code != ERROR_NONE) {
        *err = call->refs->err;
        result = -1;
    }
    return result;
}

/* -- steps --------------------------------------------------------------- */

static int
decode(struct exchange *exchange, struct error *err)
{
    const struct api_request *in = exchange->in;
    struct params *params = &exchange->params;
    int result = params_parse(params, in->query, in->query_length, err);
    struct error later = ERROR_INIT;
    const char *name;

    if (params_parse(params, in->body, in->body_length,
                     result == 0 ? err : &later) < 0)
        result = -1;
    /* Also where something is broken: an error is in the form that is asked
     * for. */
    exchange->format = render_format_of(params_find(params, "response"));
    name = params_find(params, "command");
    exchange->call.command = name != NULL ? command_find(name) : NULL;
    return result;
}

static int
authorize(struct exchange *exchange, struct error *err)
{
    struct call *call = &exchange->call;
    const struct command *command = call->command;

    if (command != NULL && command->role == COMMAND_ANYONE)
        return 0;
    if (auth_check(call, exchange->in, err) < 0)
        return -1;
    if (command == NULL)
        return error_set(err, ERROR_UNSUPPORTED,
                         params_find(call->params, "command") != NULL
                             ? "the given command does not exist or is not "
                               "available"
                             : "invalid call, no command sent");
    if (command->role == COMMAND_ROOT && !call_is_root(call))
        return error_set(err, ERROR_DENIED,
                         "command '%s' is for root admins only", command->name);
    /* A list reads what its authorization read; others look again. */
    if (command->kind != COMMAND_LIST)
        call_release(call);
    return 0;
}

static int
execute(struct exchange *exchange, json_t *body, struct error *err)
{
    struct call *call = &exchange->call;

    if (decode(exchange, err) < 0 || authorize(exchange, err) < 0 ||
        params_check_characters(call->params, err) < 0 ||
        command_check(call->command, call->params, err) < 0)
        return -1;
    return run(call, body, err);
}

static void
set_cookies(struct exchange *exchange)
{
    const struct call *call = &exchange->call;
    char(*cookies)[API_COOKIE_MAX] = exchange->out->cookies;
    static const char attributes[] = "Path=/client; HttpOnly; SameSite=Lax";

    if (call->session.id[0] != '\0') {
        (void)snprintf(cookies[0], API_COOKIE_MAX, "JSESSIONID=%s; %s",
                       call->session.id, attributes);
        (void)snprintf(cookies[1], API_COOKIE_MAX, "sessionkey=%s; %s",
                       call->session.key, attributes);
    } else if (call->has_ended_session) {
        (void)snprintf(cookies[0], API_COOKIE_MAX, "JSESSIONID=; Max-Age=0; %s",
                       attributes);
        (void)snprintf(cookies[1], API_COOKIE_MAX, "sessionkey=; Max-Age=0; %s",
                       attributes);
    }
}

void
api_handle(struct api *api, const struct api_request *request,
           struct api_reply *ret_reply)
{
    struct exchange exchange = {
        .in = request,
        .out = ret_reply,
        .params = PARAMS_INIT,
        .call = {.api = api,
                 .engine = api->engine,
                 .params = &exchange.params,
                 .session_cookie = request->session_cookie,
                 .is_post = request->is_post,
                 .may_hold = request->may_hold},
    };
    AUTO_JSON json_t *body = object_new();
    struct error err = ERROR_INIT;

    *ret_reply = (struct api_reply){.status = 0};
    if (execute(&exchange, body, &err) == 0)
        answer_or_hold(&exchange, body);
    else if (exchange.call.status != 0)
        answer_status(&exchange, exchange.call.status, ERROR_UNSUPPORTED,
                      err.message);
    else
        answer_error(&exchange, &err);
    set_cookies(&exchange);
    call_release(&exchange.call);
    params_release(&exchange.params);
}
