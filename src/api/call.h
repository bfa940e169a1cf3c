/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h -- what a command's handler is given.
 *
 * The parameters were checked against the command table, so that the getters
 * cannot fail; asking for one that the table does not have is our own mistake
 * (assert).
 *
 * Threads:    a call belongs to the thread that handles it.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include "api/commands.h"
#include "api/params.h"
#include "api/sessions.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "state/state.h"

#include <stdbool.h>
#include <stdint.h>

struct refs;
struct probe;

/* What outlives a call. */
struct api {
    struct engine *engine;     /* borrowed */
    struct sessions *sessions; /* owned */
    struct probe *probe;       /* owned */
    char *version;             /* owned */
    char *hold_dir;            /* owned; or NULL */
    char *hook;                /* owned; or NULL */
    int64_t session_timeout_ms;
    int64_t started; /* wall clock */
};

struct call {
    struct api *api;               /* borrowed */
    struct engine *engine;         /* borrowed */
    const struct command *command; /* borrowed */
    const struct params *params;   /* borrowed */
    struct caller caller;          /* nobody (all 0) before login */
    struct refs *refs;             /* owned; NULL until call_read() */

    bool is_post;
    int status; /* with an error: an HTTP status that no code has; else 0 */

    /* The session cookie that came, and what login and logout leave. */
    const char *session_cookie; /* borrowed; or NULL */
    struct session session;     /* id "": none was begun */
    bool has_ended_session;

    bool may_hold;                 /* the answer may be put off */
    int64_t hold_ms;               /* what the handler wants; 0: answer */
    char hold_job[UUID_TEXT_SIZE]; /* until this job has ended */
};

/**
 * call_read(call, err):
 * Begin to read the database, as it is now; the handler of a list finds that
 * done.  call->refs is there when it returned 0.
 */
int call_read(struct call *call, struct error *err) MUST_CHECK NONNULL(1, 2);

/* The read transaction of call_read(). */
struct state_tx *call_tx(const struct call *call) NONNULL(1);

/* Give back what the call holds. */
void call_release(struct call *call) NONNULL(1);

/* A parameter, borrowed; NULL when it is missing or empty. */
const char *call_text(const struct call *call, const char *name) NONNULL(1, 2);
bool call_has(const struct call *call, const char *name) NONNULL(1, 2);
bool call_flag(const struct call *call, const char *name, bool fallback)
    NONNULL(1, 2);
int64_t call_number(const struct call *call, const char *name, int64_t fallback)
    NONNULL(1, 2);
int64_t call_date(const struct call *call, const char *name, int64_t fallback)
    NONNULL(1, 2);

bool call_is_root(const struct call *call) NONNULL(1);

#endif
