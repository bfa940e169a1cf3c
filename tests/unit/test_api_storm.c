/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storm of malformed requests over real sockets: the server answers each,
 * or hangs up, and goes on.
 *
 * Requests are good ones that were damaged: bytes changed, cut out, doubled,
 * put in from a list of nasty pieces; parts sent in several writes; some are
 * never finished.  The seed is printed; VARVE_SEED=n repeats a run.
 */
#include "api/server.h"

#include "api_fixture.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUESTS 800
#define REPLY_MAX 65536

static struct fixture fx;
static struct server *server;
static char socket_path[100];
static uint64_t seed;

static uint64_t
next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static size_t
pick(size_t count)
{
    return (size_t)(next_random() % count);
}

/* -- requests ------------------------------------------------------------ */

static const char *const good[] = {
    "GET /client/api?command=listZones&response=json HTTP/1.1\r\n"
    "Host: localhost\r\n\r\n",
    "GET /client/api/?command=listVirtualMachines&listall=true&page=1"
    "&pagesize=5&ids=" FIXTURE_ID(
        "10",
        "1") " HTTP/1.1\r\nHost: x\r\n"
             "Cookie: JSESSIONID=0123456789abcdef0123456789abcdef; sessionkey=1\r\n\r\n",
    "POST /client/api HTTP/1.1\r\nHost: x\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n"
    "Content-Length: 76\r\n\r\n"
    "command=createVMSnapshot&name=a+b%20c&virtualmachineid=17&response=json&a=bc",
    "POST /client/api?command=login&response=json HTTP/1.1\r\nHost: x\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n"
    "Transfer-Encoding: chunked\r\n\r\n"
    "10\r\nusername=a&passw\r\n6\r\nord=x&\r\n0\r\n\r\n",
    "GET /client/api?command=listBackups&apiKey=key-admin"
    "&signature=abcdefghijklmnopqrstuvwxyz%3D&signatureVersion=3"
    "&expires=2030-01-01T00%3A00%3A00%2B0000 HTTP/1.0\r\n\r\n",
    "HEAD /client/api HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
};

static const char *const nasty[] = {
    "%00",
    "%",
    "%zz",
    "%ff%fe",
    "\r\n",
    "\n",
    "\0",
    "&&&&",
    "==",
    "?",
    "#",
    "[",
    "]",
    "tags[0].key=",
    "tags[999999999999].key=x",
    "' or 1=1 --",
    "../../",
    "\xff\xfe\xfd",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Transfer-Encoding: chunked\r\n",
    "FFFFFFFFFFFFFFFF\r\n",
    "HTTP/9.9",
    "page=-99999999999999999999",
    "Expect: 100-continue\r\n",
    "Cookie: =;=;;JSESSIONID\r\n",
    " ",
    "\t",
    "%f0%9f%98%80",
    "&response=xml",
    "&command=listApis",
    "{\"a\":[]}",
    "<![CDATA[",
    "%0d%0aX-A:%20b",
};

static void
damage_once(struct strbuf *text)
{
    size_t at = text->length > 0 ? pick(text->length) : 0;
    AUTO_FREE char *tail = NULL;
    size_t tail_length = text->length - at;
    size_t cut = pick(20);
    const char *piece = nasty[pick(ARRAY_SIZE(nasty))];

    tail = xmalloc(tail_length + 1);
    memcpy(tail, strbuf_text(text) + at, tail_length);
    text->length = at;
    switch (pick(5)) {
    case 0: /* another byte */
        strbuf_addc(text, (char)pick(256));
        strbuf_add(text, tail + (tail_length > 0),
                   tail_length - (tail_length > 0));
        break;
    case 1: /* cut out */
        cut = MIN(cut, tail_length);
        strbuf_add(text, tail + cut, tail_length - cut);
        break;
    case 2: /* something long */
        for (size_t i = pick(3000); i > 0; i--)
            strbuf_addc(text, "aA%0&="[i % 6]);
        strbuf_add(text, tail, tail_length);
        break;
    case 3: /* twice */
        strbuf_add(text, tail, tail_length);
        strbuf_add(text, tail, tail_length);
        break;
    default:
        strbuf_add(text, piece, strlen(piece) + (*piece == '\0'));
        strbuf_add(text, tail, tail_length);
        break;
    }
}

static void
make_request(struct strbuf *text)
{
    size_t times = pick(6);

    strbuf_clear(text);
    strbuf_adds(text, good[pick(ARRAY_SIZE(good))]);
    for (size_t i = 0; i < times; i++)
        damage_once(text);
    if (pick(8) == 0) {
        strbuf_clear(text);
        for (size_t i = pick(2000); i > 0; i--)
            strbuf_addc(text, (char)pick(256));
    }
}

/* -- sending ------------------------------------------------------------- */

static int
connect_tcp(void)
{
    union {
        struct sockaddr_in in;
        struct sockaddr any;
    } address = {.in = {.sin_family = AF_INET,
                        .sin_port = htons(server_port(server)),
                        .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return connect(fd, &address.any, sizeof(address.in)) == 0 ? fd : -1;
}

static int
connect_unix(void)
{
    union {
        struct sockaddr_un local;
        struct sockaddr any;
    } address = {.local = {.sun_family = AF_UNIX}};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.local.sun_path, sizeof(address.local.sun_path), "%s",
                   socket_path);
    return connect(fd, &address.any, sizeof(address.local)) == 0 ? fd : -1;
}

/* Everything until the server hangs up; false when it does not. */
static bool
read_reply(int fd, struct strbuf *reply)
{
    char part[4096];

    strbuf_clear(reply);
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&wait, 1, 5000) <= 0)
            return false;
        got = read(fd, part, sizeof(part));
        if (got <= 0)
            return true;
        if (reply->length < REPLY_MAX)
            strbuf_add(reply, part, (size_t)got);
    }
}

static bool
exchange(const struct strbuf *request, bool is_tcp, struct strbuf *reply)
{
    AUTO_CLOSE int fd = is_tcp ? connect_tcp() : connect_unix();
    size_t sent = 0;

    if (fd < 0)
        return false;
    while (sent < request->length) {
        size_t part = MIN(1 + pick(2000), request->length - sent);
        ssize_t put = send(fd, request->text + sent, part, MSG_NOSIGNAL);

        if (put <= 0)
            break; /* it has hung up already */
        sent += (size_t)put;
    }
    (void)shutdown(fd, SHUT_WR);
    return read_reply(fd, reply);
}

/* The status of the reply's first line; 0 when there is none. */
static int
status_of(const struct strbuf *reply)
{
    int status = 0;

    if (reply->length > 12 &&
        sscanf(strbuf_text(reply), "HTTP/1.%*1d %3d", &status) != 1)
        return -1;
    return status;
}

static void
the_server_outlives_a_storm(void)
{
    AUTO_STRBUF struct strbuf request = STRBUF_INIT;
    AUTO_STRBUF struct strbuf reply = STRBUF_INIT;
    unsigned answered = 0;

    for (int i = 0; i < REQUESTS; i++) {
        uint64_t before = seed;
        int status;

        make_request(&request);
        if (!exchange(&request, pick(2) == 0, &reply)) {
            CHECK(false); /* it must hang up when we have */
            printf("# VARVE_SEED=%llu request %d\n", (unsigned long long)before,
                   i);
            return;
        }
        status = status_of(&reply);
        answered += status > 0;
        CHECK(status != 500 && status != 530 && status >= 0);
        if (status == 500 || status == 530 || status < 0)
            printf("# VARVE_SEED=%llu: %s\n", (unsigned long long)before,
                   strbuf_text(&reply));
    }
    printf("# %d requests, %u answered\n", REQUESTS, answered);
    CHECK(answered > REQUESTS / 4);
}

static void
afterwards_a_good_request_is_answered(void)
{
    AUTO_STRBUF struct strbuf request = STRBUF_INIT;
    AUTO_STRBUF struct strbuf reply = STRBUF_INIT;

    strbuf_adds(&request, good[0]);
    CHECK(exchange(&request, false, &reply));
    CHECK(status_of(&reply) == 200);
    CHECK(exchange(&request, true, &reply));
    CHECK(status_of(&reply) == 401);
}

/* More connections than the server takes, none of which says anything. */
static void
silent_connections_do_not_stop_others_for_good(void)
{
    AUTO_STRBUF struct strbuf request = STRBUF_INIT;
    AUTO_STRBUF struct strbuf reply = STRBUF_INIT;
    int fds[300];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = connect_tcp();
    strbuf_adds(&request, good[0]);
    /* The other listener has its own share. */
    CHECK(exchange(&request, false, &reply));
    CHECK(status_of(&reply) == 200);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        (void)close(fds[i]);
    CHECK(exchange(&request, true, &reply));
    CHECK(status_of(&reply) == 401);
}

static void
choose_seed(void)
{
    const char *given = getenv("VARVE_SEED");
    struct error err = ERROR_INIT;

    random_bytes(&seed, sizeof(seed));
    if (given != NULL && parse_u64(given, &seed, &err) < 0)
        printf("# %s\n", err.message);
    seed |= 1; /* never 0, from which nothing comes */
    printf("# VARVE_SEED=%llu\n", (unsigned long long)seed);
}

int
main(void)
{
    struct error err = ERROR_INIT;

    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    choose_seed();
    (void)snprintf(socket_path, sizeof(socket_path), "%s/api.sock",
                   fx.directory);
    server = server_start(fx.api,
                          &(struct server_config){.address = "127.0.0.1:0",
                                                  .socket = socket_path},
                          &err);
    if (server == NULL) {
        printf("# %s\n", err.message);
        return EXIT_FAILURE;
    }
    RUN(the_server_outlives_a_storm);
    RUN(afterwards_a_good_request_is_answered);
    RUN(silent_connections_do_not_stop_others_for_good);
    server_stop(server);
    fixture_stop(&fx);
    return check_done();
}
