/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection at a time, one request on each: all that one client needs.
 */
#include "http_stub.h"

#include "base/compiler.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX 65536
#define PARAMS_MAX 32

struct request {
    char bytes[REQUEST_MAX + 1];
    size_t length;
};

void
http_stub_add(struct http_stub *stub, const char *command, int status,
              const char *body)
{
    if (stub->answer_count == HTTP_STUB_ANSWERS_MAX)
        abort();
    stub->answers[stub->answer_count++] = (struct http_stub_answer){
        .command = strdup(command), .status = status, .body = strdup(body)};
}

void
http_stub_release(struct http_stub *stub)
{
    for (size_t i = 0; i < stub->answer_count; i++) {
        free(stub->answers[i].command);
        free(stub->answers[i].body);
    }
    stub->answer_count = 0;
    strbuf_release(&stub->log);
}

/* -- reading ------------------------------------------------------------- */

/* Wait for bytes; false at the end of either side. */
static bool
read_more(struct http_stub *stub, int fd, struct request *request)
{
    struct pollfd wait[] = {{.fd = fd, .events = POLLIN},
                            {.fd = stub->end[0], .events = POLLIN}};
    ssize_t got;

    if (request->length == REQUEST_MAX || poll(wait, 2, -1) < 0 ||
        wait[1].revents != 0)
        return false;
    got = read(fd, request->bytes + request->length,
               REQUEST_MAX - request->length);
    if (got <= 0)
        return false;
    request->length += (size_t)got;
    request->bytes[request->length] = '\0';
    return true;
}

/* Where the body begins, once all of it is there; NULL before. */
static char *
find_body(struct request *request, size_t *ret_length)
{
    char *end = strstr(request->bytes, "\r\n\r\n");
    char *header = strcasestr(request->bytes, "\r\nContent-Length:");

    if (end == NULL || header == NULL)
        return NULL;
    *ret_length = 0;
    for (header += 17; isspace((unsigned char)*header); header++)
        continue;
    for (; isdigit((unsigned char)*header); header++)
        *ret_length = *ret_length * 10 + (size_t)(*header - '0');
    end += 4;
    return (size_t)(request->bytes + request->length - end) >= *ret_length
               ? end
               : NULL;
}

static void
decode(char *text)
{
    char *out = text;

    for (; *text != '\0'; text++) {
        unsigned byte;

        if (*text == '%' && sscanf(text + 1, "%2x", &byte) == 1) {
            *out++ = (char)byte;
            text += 2;
        } else {
            *out++ = *text;
        }
    }
    *out = '\0';
}

/* -- answering ----------------------------------------------------------- */

static struct http_stub_answer *
find_answer(struct http_stub *stub, const char *command)
{
    struct http_stub_answer *last = NULL;

    for (size_t i = 0; i < stub->answer_count; i++) {
        struct http_stub_answer *answer = &stub->answers[i];

        if (strcmp(answer->command, command) != 0)
            continue;
        last = answer;
        if (!answer->is_used)
            break;
    }
    if (last != NULL)
        last->is_used = true;
    return last;
}

static void
send_answer(int fd, const char *command, const struct http_stub_answer *answer)
{
    struct strbuf body = STRBUF_INIT;
    struct strbuf head = STRBUF_INIT;

    strbuf_addc(&body, '{');
    strbuf_addc(&body, '"');
    for (; *command != '\0'; command++)
        strbuf_addc(&body, (char)tolower((unsigned char)*command));
    strbuf_addf(&body, "response\":%s}",
                answer != NULL ? answer->body
                               : "{\"errorcode\":432,\"errortext\":\"the given "
                                 "command does not exist\",\"errorname\":"
                                 "\"UNSUPPORTED\"}");
    strbuf_addf(&head,
                "HTTP/1.1 %d x\r\nContent-Type: application/json\r\n"
                "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                answer != NULL ? answer->status : 432, body.length);
    strbuf_add(&head, strbuf_text(&body), body.length);
    /* Who does not want it gets none. */
    (void)!send(fd, strbuf_text(&head), head.length, MSG_NOSIGNAL);
    strbuf_release(&head);
    strbuf_release(&body);
}

/* Parameters come sorted; command and response go without saying. */
static void
answer_request(struct http_stub *stub, int fd, char *body)
{
    struct strbuf line = STRBUF_INIT;
    const struct http_stub_answer *answer;
    char *command = NULL;

    for (char *next = body; next != NULL;) {
        char *param = next;

        next = strchr(param, '&');
        if (next != NULL)
            *next++ = '\0';
        decode(param);
        if (strncmp(param, "command=", 8) == 0)
            command = param + 8;
        else if (strcmp(param, "response=json") != 0)
            strbuf_addf(&line, " %s", param);
    }
    strbuf_addf(&stub->log, "> %s%s\n", command != NULL ? command : "?",
                strbuf_text(&line));
    strbuf_release(&line);
    if (command == NULL)
        return;
    answer = find_answer(stub, command);
    if (answer == NULL || answer->status > 0)
        send_answer(fd, command, answer);
}

static void
serve_connection(struct http_stub *stub, int fd)
{
    struct request *request = calloc(1, sizeof(*request));
    size_t length = 0;
    char *body;

    if (request == NULL)
        abort();
    while (find_body(request, &length) == NULL) {
        if (!read_more(stub, fd, request))
            break;
    }
    body = find_body(request, &length);
    if (body != NULL) {
        body[length] = '\0';
        answer_request(stub, fd, body);
    }
    free(request);
}

static void *
serve(void *context)
{
    struct http_stub *stub = context;

    for (;;) {
        struct pollfd wait[] = {{.fd = stub->fd, .events = POLLIN},
                                {.fd = stub->end[0], .events = POLLIN}};
        int fd;

        if (poll(wait, 2, -1) < 0 || wait[1].revents != 0)
            return NULL;
        fd = accept4(stub->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        serve_connection(stub, fd);
        (void)close(fd);
    }
}

bool
http_stub_start(struct http_stub *stub, const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    for (size_t i = 0; i < stub->answer_count; i++)
        stub->answers[i].is_used = false;
    strbuf_release(&stub->log);
    strbuf_init(&stub->log, STRBUF_MAX_DEFAULT);
    (void)snprintf(stub->path, sizeof(stub->path), "%s/socket", directory);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                   stub->path);
    stub->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return stub->fd >= 0 &&
           bind(stub->fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           listen(stub->fd, 5) == 0 && pipe2(stub->end, O_CLOEXEC) == 0 &&
           pthread_create(&stub->thread, NULL, serve, stub) == 0;
}

void
http_stub_stop(struct http_stub *stub)
{
    (void)close(stub->end[1]);
    (void)pthread_join(stub->thread, NULL);
    (void)close(stub->end[0]);
    (void)close(stub->fd);
    (void)unlink(stub->path);
}
