/* SPDX-License-Identifier: Apache-2.0 */
#include "api/call.h"

#include "api/refs.h"

#include <assert.h>

int
call_read(struct call *call, struct error *err)
{
    struct state_tx *tx;

    refs_free(call->refs);
    call->refs = NULL;
    tx = state_begin_read(engine_state(call->engine), err);
    if (tx == NULL)
        return -1;
    call->refs = refs_new(tx, &call->caller);
    return 0;
}

struct state_tx *
call_tx(const struct call *call)
{
    assert(call->refs != NULL);
    return call->refs->tx;
}

void
call_release(struct call *call)
{
    refs_free(call->refs);
    call->refs = NULL;
}

const char *
call_text(const struct call *call, const char *name)
{
    assert(command_param(call->command, name) != NULL);
    return params_find(call->params, name);
}

bool
call_has(const struct call *call, const char *name)
{
    return call_text(call, name) != NULL;
}

bool
call_flag(const struct call *call, const char *name, bool fallback)
{
    assert(command_param(call->command, name) != NULL);
    return params_bool(call->params, name, fallback);
}

int64_t
call_number(const struct call *call, const char *name, int64_t fallback)
{
    assert(command_param(call->command, name) != NULL);
    return params_number(call->params, name, fallback);
}

int64_t
call_date(const struct call *call, const char *name, int64_t fallback)
{
    assert(command_param(call->command, name) != NULL);
    return params_date(call->params, name, fallback);
}

bool
call_is_root(const struct call *call)
{
    return call->caller.role == ROLE_ROOT_ADMIN;
}
