/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sessions.h -- who is logged in.
 *
 * A session is in memory only: a restart of the daemon ends all.  It needs
 * two secrets, the cookie JSESSIONID and the parameter "sessionkey", so that
 * another site's page, which can make a browser send the one, lacks the other.
 *
 * Threads:    any.
 */
#ifndef API_SESSIONS_H
#define API_SESSIONS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSIONS_ID_SIZE 33  /* 128 random bits in hexadecimal */
#define SESSIONS_KEY_SIZE 65 /* 256 */

struct session {
    char id[SESSIONS_ID_SIZE];   /* the cookie's value */
    char key[SESSIONS_KEY_SIZE]; /* the parameter's value */
    int64_t user_id;
};

struct sessions;

/* At most `max` sessions; one that is not used for `timeout_ms` ends. */
struct sessions *sessions_new(size_t max, int64_t timeout_ms) MUST_CHECK;
void sessions_free(struct sessions *sessions);

/* Begin a session; when there are too many, the one that was not used for
 * longest ends. */
void sessions_begin(struct sessions *sessions, int64_t user_id, int64_t now_ms,
                    struct session *ret_session) NONNULL(1, 4);

/* Whose session this is, and use it; 0 when there is none or it has ended. */
int64_t sessions_use(struct sessions *sessions, const char *id, const char *key,
                     int64_t now_ms) NONNULL(1, 2, 3);

/* End one session, or all of a user. */
void sessions_end(struct sessions *sessions, const char *id) NONNULL(1, 2);
void sessions_end_user(struct sessions *sessions, int64_t user_id) NONNULL(1);

#endif
