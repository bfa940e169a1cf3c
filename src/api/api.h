/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h -- the CloudStack query API in front of an engine.
 *
 * One `struct api` serves any number of listeners (server.h).
 *
 * Threads:    all functions may be called by any thread.
 */
#ifndef API_API_H
#define API_API_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api;

struct api_config {
    struct engine *engine;      /* borrowed */
    const char *version;        /* borrowed; of the product */
    int64_t session_timeout_ms; /* 0: 30 minutes */
    /* For getStatus; borrowed, NULL where nothing is to be told: */
    const char *hold_dir; /* the engine's holds (engine/hold.h) */
    const char *hook;     /* the file that libvirt must find there */
};

struct api *api_new(const struct api_config *config) MUST_CHECK NONNULL(1);
void api_free(struct api *api);

/* A request as it came, decoded from HTTP but not looked at.  All strings are
 * borrowed for the call. */
struct api_request {
    bool is_post;
    const char *query; /* what follows '?', or "" */
    size_t query_length;
    const char *body; /* urlencoded, or "" */
    size_t body_length;
    const char *session_cookie;     /* JSESSIONID, or NULL */
    const char *session_key_cookie; /* sessionkey, or NULL */
    bool is_trusted_peer; /* the kernel says that it is an administrator */
    const char *remote;   /* who, for the log */
    bool may_hold;        /* the reply may be held back, see api_reply */
};

#define API_COOKIE_MAX 160
#define API_TYPE_MAX 80
#define API_DESCRIPTION_MAX 500

struct api_reply {
    int status;
    char content_type[API_TYPE_MAX];
    char *body; /* owned */
    size_t length;
    char description[API_DESCRIPTION_MAX]; /* X-Description; "" for none */
    char cookies[2][API_COOKIE_MAX];       /* Set-Cookie; "" for none */
    /* Not 0: there is no answer yet.  Ask again, without may_hold, when the
     * job has ended or after so many milliseconds. */
    int64_t hold_ms;
    char hold_job[UUID_TEXT_SIZE];
};
void api_reply_release(struct api_reply *reply) NONNULL(1);

/**
 * api_handle(api, request, ret_reply):
 * Answer one request; whatever goes wrong is an answer too.
 *
 * Blocks:     on the database, and on the engine's checks: well below the 10
 *             seconds that clients wait.
 */
void api_handle(struct api *api, const struct api_request *request,
                struct api_reply *ret_reply) NONNULL(1, 2, 3);

/* As engine_watch_jobs() and engine_unwatch_jobs(), for those that hold
 * replies back. */
void api_watch_jobs(struct api *api, engine_job_ended *ended, void *context)
    NONNULL(1, 2, 3);
void api_unwatch_jobs(struct api *api, const void *context) NONNULL(1, 2);

/* True when the database can be read: what /healthz says. */
bool api_is_healthy(struct api *api) NONNULL(1);

#endif
