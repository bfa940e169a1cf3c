/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/thaw_again.h"

#include "base/fault.h"
#include "base/log.h"
#include "engine/operation.h"
#include "engine/owed.h"

#include <errno.h>

/* -- rows ------------------------------------------------------------------ */

/* The machine's row: 1 found, 0 there is none. */
static int
find_row(struct state_tx *tx, const char *vm_uuid, struct state_operation *ret,
         struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("vm_uuid", vm_uuid),
                                        STATE_TEXT("kind", OPERATION_THAW)};

    return state_operation_find(tx, where, 2, ret, err);
}

/* 1 it was written, 0 it was there. */
static int
write_row(struct engine *engine, const char *vm_uuid, const char *vm_name,
          struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(operation) row = {0};
    json_t *payload;
    int64_t id;
    int found = tx != NULL ? find_row(tx, vm_uuid, &row, err) : -1;

    if (found != 0)
        return found < 0 ? -1 : 0;
    payload = json_pack("{s:s}", "vmName", vm_name);
    found = operation_insert(tx, OPERATION_THAW, vm_uuid, OPERATION_FINISH,
                             payload, &id, err);
    json_decref(payload);
    if (found < 0)
        return -1;
    if (fault_here("thaw.owe"))
        return error_set_errno(err, errno, "what is owed to '%s'", vm_name);
    return state_commit(tx, err) < 0 ? -1 : 1;
}

/* Nothing is owed to the machine's guest any more: 1 it was, 0 it was not. */
static int
delete_row(struct engine *engine, const char *vm_uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);
    AUTO_STATE(operation) row = {0};
    int found = tx != NULL ? find_row(tx, vm_uuid, &row, err) : -1;

    if (found <= 0)
        return found;
    if (state_operation_delete(tx, row.id, err) < 0)
        return -1;
    if (fault_here("thaw.paid"))
        return error_set_errno(err, errno, "what was owed to a guest");
    return state_commit(tx, err) < 0 ? -1 : 1;
}

static int
is_owed(struct engine *engine, const char *vm_uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(operation) row = {0};

    return tx != NULL ? find_row(tx, vm_uuid, &row, err) : -1;
}

/* -- asking ---------------------------------------------------------------- */

int
thaw_again_try(struct engine *engine, const char *vm_uuid, struct error *err)
{
    if (hv_thaw(engine->hv, vm_uuid, err) == 0)
        return 0;
    /* It is gone, or nobody in it could have frozen it.  One that is paused
     * cannot be asked, and may be frozen. */
    if (err->code != ERROR_NOT_FOUND && err->code != ERROR_UNSUPPORTED)
        return -1;
    error_clear(err);
    return 0;
}

int
thaw_again_pay(struct engine *engine, const struct state_operation *row,
               bool tell UNUSED)
{
    struct error err = ERROR_INIT;
    int owed = is_owed(engine, row->vm_uuid, &err);

    if (owed > 0) {
        if (thaw_again_try(engine, row->vm_uuid, &err) < 0)
            return 0;
        owed = delete_row(engine, row->vm_uuid, &err);
        if (owed > 0)
            log_info("guest-thawed-late", "vm=%s", row->vm_uuid);
    }
    return owed >= 0;
}

/* -- for those who freeze -------------------------------------------------- */

int
thaw_again_now(struct engine *engine, const char *vm_uuid, const char *vm_name,
               struct error *err)
{
    struct error why;
    int written;

    if (thaw_again_try(engine, vm_uuid, err) == 0)
        return 0;
    why = *err;
    error_clear(err);
    written = write_row(engine, vm_uuid, vm_name, err);
    if (written < 0)
        return -1;
    if (written > 0)
        log_warning("guest-thaw-unsure", "vm=%s error='%s'", vm_name,
                    why.message);
    owed_wake(engine->thaws);
    if (why.code != ERROR_UNAVAILABLE)
        return 0;
    *err = why;
    return -1;
}

int
thaw_again_take_over(struct engine *engine, const char *vm_uuid,
                     struct error *err)
{
    int owed = is_owed(engine, vm_uuid, err);

    if (owed > 0)
        owed = delete_row(engine, vm_uuid, err);
    if (owed < 0)
        return -1;
    owed_hold(engine->thaws, vm_uuid); /* until it is not being asked */
    owed_release(engine->thaws, vm_uuid);
    return 0;
}

int
thaw_again_settle(struct engine *engine, const struct state_operation *row,
                  struct error *err)
{
    if (thaw_again_try(engine, row->vm_uuid, err) < 0)
        return -1;
    return delete_row(engine, row->vm_uuid, err) < 0 ? -1 : 0;
}
