/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: login, by POST only since a URL ends up in logs, and logout.
 */
#include "api/find.h"
#include "api/object.h"
#include "api/refs.h"
#include "base/clock.h"
#include "base/memory.h"
#include "engine/accounts.h"

#include <stdio.h>
#include <string.h>

/* The path of the domain that is named by path or by id; the caller frees
 * it.  One that is not there leads to a login that fails like any other. */
static int
find_path(struct call *call, char **ret_path, struct error *err)
{
    const char *path = call_text(call, "domain");
    const char *uuid = call_text(call, "domainid");
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    AUTO_STATE(domain) domain = {0};

    if (uuid != NULL) {
        if (call_read(call, err) < 0 ||
            state_domain_find(call_tx(call), where, ARRAY_SIZE(where), &domain,
                              err) < 0)
            return -1;
        path = domain.path != NULL ? domain.path : "?";
        *ret_path = xstrdup(path);
        call_release(call); /* checking a password takes a while */
        return 0;
    }
    *ret_path = xstrdup(path != NULL ? path : "/");
    return 0;
}

static void
describe(struct call *call, json_t *body)
{
    const struct state_user *user = refs_user(call->refs, call->caller.user_id);
    const struct state_account *account =
        refs_account(call->refs, call->caller.account_id);
    const struct state_domain *domain =
        refs_domain(call->refs, call->caller.domain_id);
    char type[8];

    (void)snprintf(type, sizeof(type), "%d", (int)call->caller.role);
    if (user != NULL) {
        object_set_text(body, "username", user->username);
        object_set_text(body, "userid", user->uuid);
        object_set_text(body, "firstname", user->firstname);
        object_set_text(body, "lastname", user->lastname);
    }
    if (domain != NULL)
        object_set_text(body, "domainid", domain->uuid);
    if (account != NULL)
        object_set_text(body, "account", account->name);
    object_set_number(body, "timeout", call->api->session_timeout_ms / 1000);
    object_set_text(body, "type", type);
    object_set_text(body, "timezone", "UTC");
    object_set_text(body, "timezoneoffset", "0.0");
    object_set_text(body, "registered", "false");
    object_set_text(body, "sessionkey", call->session.key);
}

int
login_begin(struct call *call, json_t *body, struct error *err)
{
    AUTO_FREE char *path = NULL;

    if (!call->is_post) {
        call->status = 405;
        return error_set(err, ERROR_INVALID, "login goes by POST only");
    }
    if (find_path(call, &path, err) < 0 ||
        accounts_login(engine_state(call->engine), path,
                       call_text(call, "username"), call_text(call, "password"),
                       &call->caller, err) < 0 ||
        call_read(call, err) < 0)
        return -1;
    sessions_begin(call->api->sessions, call->caller.user_id,
                   clock_monotonic_ms(), &call->session);
    describe(call, body);
    return 0;
}

/* Only who has both halves may end a session; to everybody else there was
 * none, which is what they wanted. */
int
login_end(struct call *call, json_t *body, struct error *err)
{
    const char *key = params_find(call->params, "sessionkey");

    (void)err;
    if (call->session_cookie != NULL && key != NULL &&
        sessions_use(call->api->sessions, call->session_cookie, key,
                     clock_monotonic_ms()) != 0)
        sessions_end(call->api->sessions, call->session_cookie);
    call->has_ended_session = true;
    object_set_text(body, "description", "success");
    return 0;
}
