/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every request is a POST of urlencoded parameters, so that no access log on
 * the way holds them.  A signed one ends after ten minutes (signatureVersion
 * 3), so that it cannot be sent again later by whoever has seen it.
 *
 * An error is known by its name (field "errorname"): the numbers of the API
 * say too little, since 431 stands for what is wrong, missing and forbidden
 * alike.  An answer without the name (from another server) is known by number.
 */
#include "cli/client.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "cli/credentials.h"
#include "cli/interrupt.h"
#include "cli/signing.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX ((size_t)256 << 20)
#define CALL_SECONDS 60L
#define CONNECT_SECONDS 10L
#define EXPIRES_MS (INT64_C(10) * 60 * 1000)

struct client {
    CURLM *multi;  /* owned; has the connections */
    CURL *curl;    /* owned */
    char *socket;  /* owned; NULL: over TCP */
    char *url;     /* owned */
    char *ca_file; /* owned, or NULL */
    struct credentials credentials;
    char reason[CURL_ERROR_SIZE];
};

/* -- whom to ask --------------------------------------------------------- */

/* Without a path it is the API's usual one. */
static char *
complete_url(const char *url, struct error *err)
{
    const char *host = strstr(url, "://");
    size_t length;

    if (host == NULL ||
        (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)) {
        (void)error_set(err, ERROR_INVALID,
                        "'%s' is no URL; it begins with http:// or https://",
                        url);
        return NULL;
    }
    length = strcspn(host + 3, "/");
    if (length == 0) {
        (void)error_set(err, ERROR_INVALID, "URL '%s' names no host", url);
        return NULL;
    }
    host += 3 + length;
    if (*host == '\0' || strcmp(host, "/") == 0)
        return xasprintf("%.*s/client/api", (int)(host - url), url);
    return xstrdup(url);
}

static int
set_url(struct client *client, const struct client_config *config,
        struct error *err)
{
    const char *url = config->url;

    if (config->key_file == NULL)
        return error_set(err, ERROR_AUTH,
                         "asking '%s' needs keys: give their file with "
                         "--key-file or VARVE_API_KEY_FILE",
                         url);
    if (credentials_load(config->key_file, &client->credentials, err) < 0)
        return -1;
    client->url = complete_url(url, err);
    return client->url != NULL ? 0 : -1;
}

struct client *
client_new(const struct client_config *config, struct error *err)
{
    struct client *client = xcalloc(1, sizeof(*client));

    if (config->url != NULL) {
        if (set_url(client, config, err) < 0) {
            client_free(client);
            return NULL;
        }
    } else {
        client->socket = xstrdup(config->socket);
        client->url = xstrdup("http://localhost/client/api");
    }
    client->ca_file = xstrdup_null(config->ca_file);
    client->multi = curl_multi_init();
    client->curl = curl_easy_init();
    if (client->multi == NULL || client->curl == NULL) {
        (void)error_set(err, ERROR_INTERNAL, "libcurl does not start");
        client_free(client);
        return NULL;
    }
    return client;
}

void
client_free(struct client *client)
{
    if (client == NULL)
        return;
    if (client->curl != NULL)
        curl_easy_cleanup(client->curl);
    if (client->multi != NULL)
        (void)curl_multi_cleanup(client->multi);
    credentials_release(&client->credentials);
    free(client->socket);
    free(client->url);
    free(client->ca_file);
    free(client);
}

/* -- one exchange -------------------------------------------------------- */

static size_t
take(char *bytes, size_t size, size_t count, void *context)
{
    struct strbuf *answer = context;

    strbuf_add(answer, bytes, size * count);
    return strbuf_overflowed(answer) ? 0 : size * count;
}

static void
set_options(struct client *client, const char *body, bool is_question,
            struct strbuf *answer)
{
    CURL *curl = client->curl;

    curl_easy_reset(curl); /* the connection stays */
    (void)curl_easy_setopt(curl, CURLOPT_URL, client->url);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "varve");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->reason);
    /* On a connection that was used before, libcurl would send again what
     * the daemon may have done already. */
    (void)curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, is_question ? 0L : 1L);
    if (client->ca_file != NULL)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    if (client->socket == NULL)
        return;
    (void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

static int
explain(struct client *client, CURLcode code, struct error *err)
{
    long reason = 0;

    (void)curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &reason);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, ERROR_CANCELLED,
                         "interrupted before the daemon answered; see 'varve "
                         "job list'");
    if (client->socket != NULL && code == CURLE_COULDNT_CONNECT) {
        if (reason == EACCES || reason == EPERM)
            return error_set(err, ERROR_DENIED,
                             "socket '%s' is for root and the members of its "
                             "group; others use --url and --key-file",
                             client->socket);
        return error_set(err, ERROR_UNAVAILABLE,
                         "varved does not answer at '%s': %s; is it running? "
                         "(systemctl status varved)",
                         client->socket,
                         reason != 0 ? strerror((int)reason) : client->reason);
    }
    return error_set(err, ERROR_UNAVAILABLE, "no answer from '%s': %s",
                     client->socket != NULL ? client->socket : client->url,
                     client->reason[0] != '\0' ? client->reason
                                               : curl_easy_strerror(code));
}

static int
set_signature(struct client *client, json_t *params, struct error *err)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char expires[CLOCK_TEXT_SIZE];
    char signature[SIGNING_TEXT_SIZE];

    if (client->credentials.key == NULL)
        return 0;
    if (json_object_set_new(params, "apiKey",
                            json_string(client->credentials.key)) < 0)
        return error_set(err, ERROR_AUTH, "the API key is not a text");
    (void)json_object_set_new(params, "signatureVersion", json_string("3"));
    (void)json_object_set_new(
        params, "expires",
        json_string(clock_format(clock_wall_ms() + EXPIRES_MS, expires)));
    signing_encode(params, &text);
    signing_make(client->credentials.secret, strbuf_text(&text), signature);
    (void)json_object_set_new(params, "signature", json_string(signature));
    return 0;
}

/* True for what may be asked twice. */
static bool
is_question(json_t *params)
{
    const char *command = json_string_value(json_object_get(params, "command"));

    return strncmp(command, "list", 4) == 0 ||
           strncmp(command, "get", 3) == 0 || strncmp(command, "query", 5) == 0;
}

/* As curl_easy_perform(), but an interrupt ends it at once. */
static CURLcode
perform(struct client *client)
{
    CURLcode code = CURLE_OUT_OF_MEMORY;
    int running = 1;

    if (curl_multi_add_handle(client->multi, client->curl) != CURLM_OK)
        return code;
    while (running > 0) {
        struct curl_waitfd interrupt = {.fd = interrupt_fd(),
                                        .events = CURL_WAIT_POLLIN};
        const CURLMsg *message;
        int queued;

        if (interrupt_has_come()) {
            code = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        if (curl_multi_perform(client->multi, &running) != CURLM_OK)
            break;
        message = curl_multi_info_read(client->multi, &queued);
        if (message != NULL && message->msg == CURLMSG_DONE)
            code = message->data.result;
        if (running > 0 &&
            curl_multi_poll(client->multi, &interrupt,
                            interrupt.fd >= 0 ? 1 : 0, 1000, NULL) != CURLM_OK)
            break;
    }
    (void)curl_multi_remove_handle(client->multi, client->curl);
    return code;
}

static int
exchange(struct client *client, json_t *params, struct strbuf *answer,
         long *ret_status, struct error *err)
{
    AUTO_STRBUF struct strbuf body = STRBUF_INIT;
    CURLcode code;

    if (set_signature(client, params, err) < 0)
        return -1;
    signing_encode(params, &body);
    strbuf_init(answer, ANSWER_MAX);
    set_options(client, strbuf_text(&body), is_question(params), answer);
    client->reason[0] = '\0';
    code = perform(client);
    if (code != CURLE_OK)
        return explain(client, code, err);
    (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return 0;
}

/* -- answers ------------------------------------------------------------- */

static enum error_code
code_of_name(const char *name)
{
    for (int code = ERROR_NONE + 1; code < ERROR_CODE_COUNT; code++) {
        if (strcmp(error_code_name((enum error_code)code), name) == 0)
            return (enum error_code)code;
    }
    return ERROR_NONE;
}

static enum error_code
code_of_number(json_int_t number)
{
    if (number == 530)
        return ERROR_INTERNAL; /* several share it */
    if (number == 503)
        return ERROR_UNAVAILABLE;
    for (int code = ERROR_NONE + 1; code < ERROR_CODE_COUNT; code++) {
        if (error_code_http((enum error_code)code) == number)
            return (enum error_code)code;
    }
    return ERROR_INTERNAL;
}

void
client_error(json_t *object, struct error *err)
{
    const char *name = json_string_value(json_object_get(object, "errorname"));
    const char *text = json_string_value(json_object_get(object, "errortext"));
    enum error_code code = name != NULL ? code_of_name(name) : ERROR_NONE;

    if (code == ERROR_NONE)
        code = code_of_number(
            json_integer_value(json_object_get(object, "errorcode")));
    (void)error_set(err, code, "%s",
                    text != NULL && *text != '\0' ? text
                                                  : error_code_meaning(code));
}

/* {"xresponse": {...}}: what is inside, borrowed; NULL when it is not so. */
static json_t *
unwrap(json_t *body)
{
    json_t *inner = json_object_iter_value(json_object_iter(body));

    return json_object_size(body) == 1 && json_is_object(inner) ? inner : NULL;
}

static int
read_answer(struct client *client, const struct strbuf *text, long status,
            json_t **ret_answer, struct error *err)
{
    json_auto_t *body = json_loadb(strbuf_text(text), text->length,
                                   JSON_REJECT_DUPLICATES, NULL);
    json_t *inner = unwrap(body);

    if (inner == NULL)
        return error_set(err, ERROR_UNAVAILABLE,
                         "what answers at '%s' is not varved (HTTP status "
                         "%ld)",
                         client->socket != NULL ? client->socket : client->url,
                         status);
    if (status == 200 && json_object_get(inner, "errorcode") == NULL) {
        *ret_answer = json_incref(inner);
        return 0;
    }
    client_error(inner, err);
    return -1;
}

int
client_call(struct client *client, const char *command, json_t *params,
            json_t **ret_answer, struct error *err)
{
    UNUSED json_auto_t *owned = params; /* ends with this call */
    AUTO_STRBUF struct strbuf answer = STRBUF_INIT;
    long status = 0;

    if (params == NULL)
        return error_set(err, ERROR_MALFORMED, "an argument is not UTF-8");
    (void)json_object_set_new(params, "command", json_string(command));
    (void)json_object_set_new(params, "response", json_string("json"));
    if (exchange(client, params, &answer, &status, err) < 0)
        return -1;
    return read_answer(client, &answer, status, ret_answer, err);
}

/* -- lists --------------------------------------------------------------- */

static int
call_page(struct client *client, const char *command, const char *key,
          json_t *params, json_t *items, json_int_t *ret_count,
          struct error *err)
{
    json_auto_t *answer = NULL;

    if (client_call(client, command, json_copy(params), &answer, err) < 0)
        return -1;
    *ret_count = json_integer_value(json_object_get(answer, "count"));
    (void)json_array_extend(items, json_object_get(answer, key));
    return 0;
}

static void
set_number(json_t *params, const char *name, size_t number)
{
    AUTO_FREE char *text = xasprintf("%zu", number);

    (void)json_object_set_new(params, name, json_string(text));
}

/* The first page has the size that the daemon likes; the others the same. */
int
client_list(struct client *client, const char *command, const char *key,
            json_t *params, json_t **ret_items, struct error *err)
{
    UNUSED json_auto_t *owned = params; /* ends with this call */
    json_auto_t *items = json_array();
    json_int_t count = 0;
    size_t page_size;

    if (params == NULL)
        return error_set(err, ERROR_MALFORMED, "an argument is not UTF-8");
    if (call_page(client, command, key, params, items, &count, err) < 0)
        return -1;
    page_size = json_array_size(items);
    for (size_t page = 2;
         page_size > 0 && (json_int_t)json_array_size(items) < count &&
         json_object_get(owned, "page") == NULL;
         page++) {
        json_auto_t *more = json_copy(params);
        size_t before = json_array_size(items);

        set_number(more, "page", page);
        set_number(more, "pagesize", page_size);
        if (call_page(client, command, key, more, items, &count, err) < 0)
            return -1;
        if (json_array_size(items) == before)
            break; /* they became fewer meanwhile */
    }
    *ret_items = json_incref(items);
    return 0;
}
