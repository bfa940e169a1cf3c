/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three ways in.
 *
 * A request with an API key must be signed with that user's secret key.  One
 * with a session key must also carry the session's cookie.  One that comes
 * through the Unix socket from root, from the daemon's own user or from a
 * member of its group is the first root admin's, without keys: the kernel
 * vouches for it.  Somebody on that socket who shows keys is who the keys say.
 *
 * User and account are read at every call, so that disabling either counts
 * at once.  Failures all have the same text: it tells nobody whether a key
 * exists.
 */
#include "api/auth.h"

#include "api/refs.h"
#include "api/signature.h"
#include "base/clock.h"
#include "base/memory.h"
#include "engine/accounts.h"
#include "engine/settings.h"

#include <string.h>

#define EXPIRY_MAX_MS (INT64_C(15) * 60 * 1000)

static int
refuse(struct error *err)
{
    return error_set(err, ERROR_AUTH,
                     "unable to verify user credentials and/or request "
                     "signature");
}

/* With setting enforce.post.requests.and.timestamps every signature ends soon,
 * and what changes something goes by POST. */
static int
is_enforced(struct call *call, bool *ret_enforced, struct error *err)
{
    return settings_get_bool(engine_state(call->engine),
                             "enforce.post.requests.and.timestamps", NULL,
                             ret_enforced, err);
}

static int
check_expiry(struct call *call, struct error *err)
{
    const char *version = params_find(call->params, "signatureversion");
    const char *expires = params_find(call->params, "expires");
    bool has_expiry = version != NULL && strcmp(version, "3") == 0;
    int64_t now_ms = clock_wall_ms();
    int64_t until_ms;
    bool enforced;

    if (is_enforced(call, &enforced, err) < 0)
        return -1;
    if (!has_expiry && !enforced)
        return 0;
    if (!has_expiry || expires == NULL ||
        clock_parse(expires, &until_ms, err) < 0)
        return error_set(err, ERROR_AUTH,
                         "a request of signature version 3 needs 'expires', "
                         "such as 2026-03-01T10:15:00+0000%s",
                         enforced ? "; no other version is accepted" : "");
    if (until_ms < now_ms)
        return error_set(err, ERROR_AUTH,
                         "the request's signature has expired");
    if (enforced && until_ms > now_ms + EXPIRY_MAX_MS)
        return error_set(err, ERROR_AUTH,
                         "'expires' must not be more than 15 minutes ahead");
    return 0;
}

static int
check_method(struct call *call, struct error *err)
{
    bool enforced;

    if (call->is_post || call->command == NULL || command_reads(call->command))
        return 0;
    if (is_enforced(call, &enforced, err) < 0)
        return -1;
    if (!enforced)
        return 0;
    call->status = 405;
    return error_set(err, ERROR_INVALID, "command '%s' goes by POST only",
                     call->command->name);
}

static int
check_key(struct call *call, const char *api_key, struct error *err)
{
    AUTO_FREE char *secret = NULL;
    int found =
        accounts_find_key(call_tx(call), api_key, &call->caller, &secret, err);

    if (found < 0)
        return -1;
    if (found == 0 || secret == NULL ||
        !signature_is_valid(call->params, secret))
        return refuse(err);
    return check_expiry(call, err);
}

static int
check_session(struct call *call, const struct api_request *in, const char *key,
              struct error *err)
{
    int64_t user_id = 0;
    int found;

    if (in->session_cookie != NULL &&
        (in->session_key_cookie == NULL ||
         strcmp(in->session_key_cookie, key) == 0))
        user_id = sessions_use(call->api->sessions, in->session_cookie, key,
                               clock_monotonic_ms());
    if (user_id == 0)
        return refuse(err);
    found = accounts_caller(call_tx(call), user_id, &call->caller, err);
    return found == 0 ? refuse(err) : found < 0 ? -1 : 0;
}

static int
check_peer(struct call *call, struct error *err)
{
    int found = accounts_root(call_tx(call), &call->caller, err);

    if (found == 0)
        return error_set(err, ERROR_AUTH, "there is no enabled root admin");
    return found < 0 ? -1 : 0;
}

int
auth_check(struct call *call, const struct api_request *in, struct error *err)
{
    const char *api_key = params_find(call->params, "apikey");
    const char *session_key = params_find(call->params, "sessionkey");
    int result;

    if (call_read(call, err) < 0)
        return -1;
    if (api_key != NULL)
        result = check_key(call, api_key, err);
    else if (session_key != NULL)
        result = check_session(call, in, session_key, err);
    else if (in->is_trusted_peer)
        result = check_peer(call, err);
    else
        result = refuse(err);
    if (result == 0 && (api_key != NULL || session_key != NULL))
        result = check_method(call, err);
    if (result < 0)
        call->caller = (struct caller){.user_id = 0};
    call->refs->caller = call->caller;
    return result;
}
