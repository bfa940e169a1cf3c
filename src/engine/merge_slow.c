/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why libvirt's limits and not a pause: a guest that is paused stands still
 * for as long as the rest takes to copy, which is unknown; one that is slow
 * writes on, and reads as before.  A commit whose speed is raised instead is no
 * way out: it has no limit of ours to begin with.
 *
 * What somebody else sets meanwhile stays (hv_limits_restore).  A machine that
 * ended has the limits of its definition at its next start, which are not
 * touched.
 *
 * A row of the journal is either that of a merge that goes on, or owed.  The
 * merge holds its machine against the thread that pays (owed_hold) from before
 * the row is written until it is gone or owed, and so does settling while it
 * tries.
 */
#include "engine/merge_slow.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/merge_pace.h"
#include "engine/operation.h"
#include "engine/owed.h"
#include "engine/settings.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

int
merge_slow_init(struct engine *engine, struct merge_slow *ret_slow,
                struct error *err)
{
    int64_t patience_s;

    *ret_slow = (struct merge_slow){.operation = 0};
    if (settings_get_int(engine->state, "snapshot.merge.outrun.wait", NULL,
                         &patience_s, err) < 0 ||
        settings_get_int(engine->state, "snapshot.merge.slow.budget", NULL,
                         &ret_slow->budget_s, err) < 0)
        return -1;
    ret_slow->patience_ms = patience_s * 1000;
    return 0;
}

/* The row, before anything is lowered. */
static int
begin(struct engine *engine, const struct merge *merge, struct merge_slow *slow,
      struct error *err)
{
    json_auto_t *payload = json_pack("{s:s, s:s, s:I}", "target", merge->target,
                                     "limits", slow->limits, "bytesPerSecond",
                                     (json_int_t)slow->bytes_per_second);

    return operation_begin(engine->state, OPERATION_SLOW, merge->vm_uuid,
                           OPERATION_FINISH, payload, &slow->operation, err);
}

int
merge_slow_begin(struct engine *engine, const struct merge *merge,
                 uint64_t bytes_per_second, struct merge_slow *slow,
                 struct error *err)
{
    free(slow->limits);
    slow->limits = NULL;
    slow->bytes_per_second = slow->now = bytes_per_second;
    if (!slow->is_held)
        owed_hold(engine->slows, merge->vm_uuid);
    slow->is_held = true;
    if (hv_limits(engine->hv, merge->vm_uuid, merge->target, &slow->limits,
                  err) < 0 ||
        begin(engine, merge, slow, err) < 0)
        return -1;
    if (fault_here("merge-slow.lower"))
        return error_set_errno(err, errno, "limit '%s'", merge->target);
    if (hv_limits_lower(engine->hv, merge->vm_uuid, merge->target, slow->limits,
                        bytes_per_second, err) < 0) {
        struct error failed = ERROR_INIT;

        if (err->code == ERROR_UNSUPPORTED &&
            operation_end(engine->state, slow->operation, &failed) < 0)
            *err = failed;
        if (err->code == ERROR_UNSUPPORTED)
            slow->operation = 0;
        return -1;
    }
    if (fault_here("merge-slow.lowered"))
        return error_set_errno(err, errno, "after limiting '%s'",
                               merge->target);
    slow->until_ms = clock_monotonic_ms() + slow->budget_s * 1000;
    log_info("guest-slowed", "vm=%s disk=%s bytes-per-second=%llu seconds=%lld",
             merge->vm_name, merge->target,
             (unsigned long long)bytes_per_second, (long long)slow->budget_s);
    return 0;
}

int
merge_slow_more(struct engine *engine, const struct merge *merge,
                struct merge_slow *slow, struct error *err)
{
    uint64_t less = MAX(slow->now / 4, MERGE_PACE_SLOWEST);

    if (less >= slow->now)
        return 0;
    if (fault_here("merge-slow.more"))
        return error_set_errno(err, errno, "limit '%s' more", merge->target);
    if (hv_limits_lower(engine->hv, merge->vm_uuid, merge->target, slow->limits,
                        less, err) < 0)
        return -1;
    slow->now = less;
    log_info("guest-slowed", "vm=%s disk=%s bytes-per-second=%llu seconds=%lld",
             merge->vm_name, merge->target, (unsigned long long)less,
             (long long)(slow->until_ms - clock_monotonic_ms()) / 1000);
    return 0;
}

/* A machine that is gone has nothing to be put back. */
static int
put_back(struct engine *engine, const char *vm_uuid, const char *target,
         const char *limits, uint64_t bytes_per_second, int64_t operation,
         struct error *err)
{
    if (fault_here("merge-slow.restore"))
        return error_set_errno(err, errno, "put the limits of '%s' back",
                               target);
    if (hv_limits_restore(engine->hv, vm_uuid, target, limits, bytes_per_second,
                          err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    if (fault_here("merge-slow.restored"))
        return error_set_errno(err, errno, "after the limits of '%s'", target);
    return operation_end(engine->state, operation, err);
}

/* Is the row still there?  1, 0, -1. */
static int
is_owed(struct engine *engine, int64_t operation, struct error *err)
{
    const struct state_where where[] = {STATE_INT("id", operation)};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(operation) row = {0};

    return tx != NULL ? state_operation_find(tx, where, 1, &row, err) : -1;
}

static void
log_left_slow(const char *vm, const char *target, const struct error *why)
{
    log_warning("guest-left-slow", "vm=%s disk=%s code=%s error='%s'", vm,
                target, error_code_name(why->code), why->message);
}

static int
end(struct engine *engine, const struct merge *merge, struct merge_slow *slow,
    struct error *err)
{
    int64_t operation = slow->operation;
    AUTO_FREE char *limits = steal(&slow->limits);

    slow->operation = 0;
    if (operation == 0)
        return 0;
    if (put_back(engine, merge->vm_uuid, merge->target, limits,
                 slow->bytes_per_second, operation, err) < 0) {
        log_left_slow(merge->vm_name, merge->target, err);
        owed_wake(engine->slows);
        return error_prefix(err, "machine '%s': its writes are still slow",
                            merge->vm_name);
    }
    log_info("guest-not-slow", "vm=%s disk=%s", merge->vm_name, merge->target);
    return 0;
}

int
merge_slow_end(struct engine *engine, const struct merge *merge,
               struct merge_slow *slow, struct error *err)
{
    int result = end(engine, merge, slow, err);

    if (slow->is_held)
        owed_release(engine->slows, merge->vm_uuid);
    slow->is_held = false;
    return result;
}

/* 1 put back, 0 somebody else did it, -1; `tell` a failure. */
static int
pay(struct engine *engine, const struct state_operation *row, bool tell,
    struct error *err)
{
    json_auto_t *payload = operation_payload(row, err);
    const char *target = "?";
    const char *limits;
    json_int_t bytes_per_second;
    int result = payload != NULL ? is_owed(engine, row->id, err) : -1;

    if (result > 0 &&
        json_unpack(payload, "{s:s, s:s, s:I}", "target", &target, "limits",
                    &limits, "bytesPerSecond", &bytes_per_second) < 0)
        result =
            error_set(err, ERROR_CORRUPT, "journal entry %lld is malformed",
                      (long long)row->id);
    if (result > 0 && put_back(engine, row->vm_uuid, target, limits,
                               (uint64_t)bytes_per_second, row->id, err) < 0)
        result = -1;
    if (result < 0 && tell)
        log_left_slow(row->vm_uuid, target, err);
    if (result > 0)
        log_info("guest-not-slow", "vm=%s disk=%s", row->vm_uuid, target);
    return result;
}

int
merge_slow_pay(struct engine *engine, const struct state_operation *row,
               bool tell)
{
    struct error err = ERROR_INIT;

    return pay(engine, row, tell, &err) >= 0;
}

int
merge_slow_settle(struct engine *engine, const struct state_operation *row,
                  struct error *err)
{
    int result;

    owed_hold(engine->slows, row->vm_uuid);
    result = pay(engine, row, true, err);
    owed_release(engine->slows, row->vm_uuid);
    if (result < 0)
        owed_wake(engine->slows);
    return result < 0 ? -1 : 0;
}
