/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_stub.h -- a server of the API that knows nothing: it answers with texts
 * that a test has laid ready, and writes down what it was asked.
 */
#ifndef TESTS_LIB_HTTP_STUB_H
#define TESTS_LIB_HTTP_STUB_H

#include "base/strbuf.h"

#include <pthread.h>
#include <stdbool.h>

#define HTTP_STUB_ANSWERS_MAX 64

struct http_stub_answer {
    char *command; /* owned */
    int status;
    char *body; /* owned; what stands below the top element */
    bool is_used;
};

struct http_stub {
    char path[108]; /* of the socket */
    int fd;
    int end[2]; /* a pipe: closed to end the thread */
    pthread_t thread;
    struct http_stub_answer answers[HTTP_STUB_ANSWERS_MAX];
    size_t answer_count;
    /* "> command name=value ...", one line a request; the thread's own until
     * http_stub_stop() */
    struct strbuf log;
};

/* Lay an answer ready: those of one command are given in turn, the last one
 * for ever.  `status` -1: the connection ends without an answer. */
void http_stub_add(struct http_stub *stub, const char *command, int status,
                   const char *body);

/* Listen in `directory`; false when that fails. */
bool http_stub_start(struct http_stub *stub, const char *directory);

/* End the thread; the log may be read.  It may be started again, and then
 * gives the same answers. */
void http_stub_stop(struct http_stub *stub);

/* Forget answers and log. */
void http_stub_release(struct http_stub *stub);

#endif
