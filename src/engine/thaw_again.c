/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The row is the truth; the thread only remembers that there may be one.
 *
 * Asking a guest takes seconds when its agent hangs, so no lock is held
 * meanwhile: `asking` says whom the thread asks.  It is set before the row is
 * read again, and taking over deletes the row before it looks at `asking`;
 * so either the thread finds no row, or it is waited for.
 */
#include "engine/thaw_again.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/uuid.h"
#include "engine/operation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_MS INT64_C(1000)
#define MOST_MS INT64_C(30000)

struct thaw_again {
    struct engine *engine; /* borrowed */
    struct lock lock;      /* a leaf of docs/internals/locking.md */
    struct signal changed;
    bool owed;                   /* under lock: there may be a row */
    bool stopping;               /* under lock */
    int64_t pause_ms;            /* under lock: before the next look */
    char asking[UUID_TEXT_SIZE]; /* under lock; "": nobody */
    pthread_t thread;
    bool has_thread;
};

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

/* 1 it is thawed, or nothing is owed to it; 0 still owed. */
static int
ask(struct engine *engine, const char *vm_uuid)
{
    struct error err = ERROR_INIT;
    int owed = is_owed(engine, vm_uuid, &err);

    if (owed > 0) {
        if (thaw_again_try(engine, vm_uuid, &err) < 0)
            return 0;
        owed = delete_row(engine, vm_uuid, &err);
        if (owed > 0)
            log_info("guest-thawed-late", "vm=%s", vm_uuid);
    }
    return owed >= 0;
}

static bool
begin_asking(struct thaw_again *again, const char *vm_uuid)
{
    bool go_on;

    lock_take(&again->lock);
    go_on = !again->stopping;
    if (go_on)
        memcpy(again->asking, vm_uuid, UUID_TEXT_SIZE);
    lock_give(&again->lock);
    return go_on;
}

static void
end_asking(struct thaw_again *again, bool still_owed)
{
    lock_take(&again->lock);
    again->asking[0] = '\0';
    again->owed |= still_owed;
    signal_wake_all(&again->changed);
    lock_give(&again->lock);
}

/* Ask every guest that is owed one; what cannot be read is owed. */
static void
look(struct thaw_again *again)
{
    struct error ignored = ERROR_INIT; /* the next look reads again */
    AUTO_STATE_LIST(operation) rows = {0};
    const struct state_where where[] = {STATE_TEXT("kind", OPERATION_THAW)};
    int result = -1;

    {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_read(again->engine->state, &ignored);

        if (tx != NULL)
            result =
                state_operation_list(tx, STATE_QUERY(where), &rows, &ignored);
    }
    if (result < 0)
        end_asking(again, true);
    for (size_t i = 0; result == 0 && i < rows.count; i++) {
        if (!uuid_is_valid(rows.items[i].vm_uuid) ||
            !begin_asking(again, rows.items[i].vm_uuid))
            continue;
        end_asking(again, ask(again->engine, rows.items[i].vm_uuid) == 0);
    }
}

/* -- the thread ------------------------------------------------------------ */

/* False when it is time to end. */
static bool
wait_for_turn(struct thaw_again *again)
{
    int64_t begun_ms;
    bool go_on;

    lock_take(&again->lock);
    while (!again->stopping && !again->owed)
        signal_wait(&again->changed, &again->lock);
    begun_ms = clock_monotonic_ms();
    /* What is newly owed makes the pause a short one. */
    while (!again->stopping &&
           clock_monotonic_ms() < begun_ms + again->pause_ms)
        (void)signal_wait_until(&again->changed, &again->lock,
                                begun_ms + again->pause_ms);
    again->owed = false;
    again->pause_ms = MIN(2 * again->pause_ms, MOST_MS);
    go_on = !again->stopping;
    lock_give(&again->lock);
    return go_on;
}

static void *
keep_asking(void *context)
{
    struct thaw_again *again = context;

    while (wait_for_turn(again))
        look(again);
    return NULL;
}

struct thaw_again *
thaw_again_new(struct engine *engine)
{
    struct thaw_again *again = xcalloc(1, sizeof(*again));

    again->engine = engine;
    again->owed = true;
    again->pause_ms = LEAST_MS;
    lock_init(&again->lock);
    signal_init(&again->changed);
    return again;
}

int
thaw_again_start(struct thaw_again *again, struct error *err)
{
    int failed = pthread_create(&again->thread, NULL, keep_asking, again);

    if (failed != 0)
        return error_set_errno(err, failed, "start the thread that thaws");
    again->has_thread = true;
    return 0;
}

void
thaw_again_stop(struct thaw_again *again)
{
    lock_take(&again->lock);
    again->stopping = true;
    signal_wake_all(&again->changed);
    lock_give(&again->lock);
    if (again->has_thread)
        (void)pthread_join(again->thread, NULL);
    again->has_thread = false;
}

void
thaw_again_free(struct thaw_again *again)
{
    if (again == NULL)
        return;
    signal_release(&again->changed);
    lock_release(&again->lock);
    free(again);
}

/* -- for those who freeze -------------------------------------------------- */

static void
wake(struct thaw_again *again)
{
    lock_take(&again->lock);
    again->owed = true;
    again->pause_ms = LEAST_MS;
    signal_wake_all(&again->changed);
    lock_give(&again->lock);
}

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
    wake(engine->thaws);
    if (why.code != ERROR_UNAVAILABLE)
        return 0;
    *err = why;
    return -1;
}

int
thaw_again_take_over(struct engine *engine, const char *vm_uuid,
                     struct error *err)
{
    struct thaw_again *again = engine->thaws;
    int owed = is_owed(engine, vm_uuid, err);

    if (owed > 0)
        owed = delete_row(engine, vm_uuid, err);
    if (owed < 0)
        return -1;
    lock_take(&again->lock);
    while (strcmp(again->asking, vm_uuid) == 0)
        signal_wait(&again->changed, &again->lock);
    lock_give(&again->lock);
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
