/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The row is the truth; the thread only remembers that there may be one.
 *
 * Trying takes seconds when a guest's agent or libvirt hangs, so no lock is
 * held meanwhile: `trying` says at which machine the thread is.  It is set
 * before the row is read again, so whoever holds a machine, or has deleted its
 * row and then looks at `trying`, knows that nothing comes after.
 */
#include "engine/owed.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/uuid.h"
#include "base/vec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_MS INT64_C(1000)
#define MOST_MS INT64_C(30000)
#define TELL_MS INT64_C(600000)

struct owed {
    struct engine *engine; /* borrowed */
    const char *kind;      /* a constant */
    owed_try *attempt;
    int64_t told_ms;  /* the thread's own: when, or since when none is owed */
    struct lock lock; /* a leaf of docs/internals/locking.md */
    struct signal changed;
    bool may_be;                  /* under lock: there may be a row */
    bool stopping;                /* under lock */
    int64_t pause_ms;             /* under lock: before the next look */
    char trying[UUID_TEXT_SIZE];  /* under lock; "": nothing */
    struct VEC(struct uuid) held; /* under lock */
    pthread_t thread;
    bool has_thread;
};

/* -- which machines -------------------------------------------------------- */

/* Under the lock. */
static struct uuid *
find_held(const struct owed *owed, const char *vm_uuid)
{
    vec_for (struct uuid *, held, &owed->held)
        if (strcmp(held->text, vm_uuid) == 0)
            return held;
    return NULL;
}

static bool
begin(struct owed *owed, const char *vm_uuid)
{
    bool go_on;

    lock_take(&owed->lock);
    go_on = !owed->stopping && find_held(owed, vm_uuid) == NULL;
    owed->may_be |= !go_on;
    if (go_on)
        memcpy(owed->trying, vm_uuid, UUID_TEXT_SIZE);
    lock_give(&owed->lock);
    return go_on;
}

static void
end(struct owed *owed, bool still_owed)
{
    lock_take(&owed->lock);
    owed->trying[0] = '\0';
    owed->may_be |= still_owed;
    signal_wake_all(&owed->changed);
    lock_give(&owed->lock);
}

void
owed_hold(struct owed *owed, const char *vm_uuid)
{
    struct uuid held;

    memcpy(held.text, vm_uuid, sizeof(held.text));
    lock_take(&owed->lock);
    vec_push(&owed->held, held);
    while (strcmp(owed->trying, vm_uuid) == 0)
        signal_wait(&owed->changed, &owed->lock);
    lock_give(&owed->lock);
}

void
owed_release(struct owed *owed, const char *vm_uuid)
{
    struct uuid *held;

    lock_take(&owed->lock);
    held = find_held(owed, vm_uuid);
    assert(held != NULL);
    *held = owed->held.items[--owed->held.count];
    lock_give(&owed->lock);
}

/* -- the thread ------------------------------------------------------------ */

static int
list(struct owed *owed, struct state_operation_list *ret_rows)
{
    struct error ignored = ERROR_INIT; /* the next look reads again */
    const struct state_where where[] = {STATE_TEXT("kind", owed->kind)};
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(owed->engine->state, &ignored);

    return tx == NULL ? -1
                      : state_operation_list(tx, STATE_QUERY(where), ret_rows,
                                             &ignored);
}

/* Try everything once; what cannot be read is owed. */
static void
look(struct owed *owed)
{
    AUTO_STATE_LIST(operation) rows = {0};
    int64_t now_ms = clock_monotonic_ms();
    int result = list(owed, &rows);
    bool tell = now_ms >= owed->told_ms + TELL_MS;

    if (result < 0)
        end(owed, true);
    else if (tell || rows.count == 0)
        owed->told_ms = now_ms;
    for (size_t i = 0; result == 0 && i < rows.count; i++) {
        const struct state_operation *row = &rows.items[i];

        if (uuid_is_valid(row->vm_uuid) && begin(owed, row->vm_uuid))
            end(owed, owed->attempt(owed->engine, row, tell) == 0);
    }
}

/* False when it is time to end. */
static bool
wait_for_turn(struct owed *owed)
{
    int64_t begun_ms;
    bool go_on;

    lock_take(&owed->lock);
    while (!owed->stopping && !owed->may_be)
        signal_wait(&owed->changed, &owed->lock);
    begun_ms = clock_monotonic_ms();
    /* What is newly owed makes the pause a short one. */
    while (!owed->stopping && clock_monotonic_ms() < begun_ms + owed->pause_ms)
        (void)signal_wait_until(&owed->changed, &owed->lock,
                                begun_ms + owed->pause_ms);
    owed->may_be = false;
    owed->pause_ms = MIN(2 * owed->pause_ms, MOST_MS);
    go_on = !owed->stopping;
    lock_give(&owed->lock);
    return go_on;
}

static void *
keep_trying(void *context)
{
    struct owed *owed = context;

    while (wait_for_turn(owed))
        look(owed);
    return NULL;
}

void
owed_wake(struct owed *owed)
{
    lock_take(&owed->lock);
    owed->may_be = true;
    owed->pause_ms = LEAST_MS;
    signal_wake_all(&owed->changed);
    lock_give(&owed->lock);
}

/* -- life ------------------------------------------------------------------ */

struct owed *
owed_new(struct engine *engine, const char *kind, owed_try *attempt)
{
    struct owed *owed = xcalloc(1, sizeof(*owed));

    owed->engine = engine;
    owed->kind = kind;
    owed->attempt = attempt;
    owed->may_be = true;
    owed->pause_ms = LEAST_MS;
    owed->told_ms = clock_monotonic_ms();
    lock_init(&owed->lock);
    signal_init(&owed->changed);
    return owed;
}

int
owed_start(struct owed *owed, const char *what, struct error *err)
{
    int failed = pthread_create(&owed->thread, NULL, keep_trying, owed);

    if (failed != 0)
        return error_set_errno(err, failed, "start the thread that %s", what);
    owed->has_thread = true;
    return 0;
}

void
owed_stop(struct owed *owed)
{
    lock_take(&owed->lock);
    owed->stopping = true;
    signal_wake_all(&owed->changed);
    lock_give(&owed->lock);
    if (owed->has_thread)
        (void)pthread_join(owed->thread, NULL);
    owed->has_thread = false;
}

void
owed_free(struct owed *owed)
{
    if (owed == NULL)
        return;
    vec_release(&owed->held);
    signal_release(&owed->changed);
    lock_release(&owed->lock);
    free(owed);
}
