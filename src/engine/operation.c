/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/operation.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/uuid.h"

#include <errno.h>
#include <stdlib.h>

int
operation_insert(struct state_tx *tx, const char *kind, const char *vm_uuid,
                 const char *phase, const json_t *payload, int64_t *ret_id,
                 struct error *err)
{
    AUTO_STATE(operation) row = {.created = clock_wall_ms()};
    AUTO_FREE char *text = json_dumps(payload, JSON_COMPACT | JSON_SORT_KEYS);
    struct uuid uuid;

    if (text == NULL)
        return error_set(err, ERROR_INTERNAL, "cannot write a journal entry");
    if (fault_here("operation.insert"))
        return error_set_errno(err, errno, "journal '%s'", kind);
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.kind, kind);
    state_set_text(&row.vm_uuid, vm_uuid);
    state_set_text(&row.phase, phase);
    state_set_text(&row.payload, text);
    if (state_operation_insert(tx, &row, err) < 0)
        return -1;
    *ret_id = row.id;
    return 0;
}

int
operation_begin(struct state *state, const char *kind, const char *vm_uuid,
                const char *phase, const json_t *payload, int64_t *ret_id,
                struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, err);

    if (tx == NULL ||
        operation_insert(tx, kind, vm_uuid, phase, payload, ret_id, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
operation_set_phase(struct state *state, int64_t id, const char *phase,
                    struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, err);
    AUTO_STATE(operation) row = {0};

    if (tx == NULL || state_operation_get(tx, id, &row, err) < 0)
        return -1;
    if (fault_here("operation.phase"))
        return error_set_errno(err, errno, "journal phase '%s'", phase);
    state_set_text(&row.phase, phase);
    if (state_operation_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
operation_end(struct state *state, int64_t id, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, err);

    if (tx == NULL || state_operation_delete(tx, id, err) < 0)
        return -1;
    if (fault_here("operation.end"))
        return error_set_errno(err, errno, "end journal entry");
    return state_commit(tx, err);
}

bool
operation_is_switching(struct state *state, const char *vm_uuid)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &ignored);
    static const char *const kinds[] = {OPERATION_RETOP, OPERATION_SHOT};
    const struct state_where where[] = {STATE_TEXT("vm_uuid", vm_uuid),
                                        {.column = "kind",
                                         .op = STATE_IN_TEXT,
                                         .texts = kinds,
                                         .count = ARRAY_SIZE(kinds)}};
    uint64_t count = 0;

    return tx == NULL ||
           state_operation_count(tx, STATE_QUERY(where), &count, &ignored) <
               0 ||
           count > 0;
}

bool
operation_is_pivoting(struct state *state, const char *vm_uuid)
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &ignored);
    const struct state_where where[] = {STATE_TEXT("vm_uuid", vm_uuid),
                                        STATE_TEXT("kind", OPERATION_MERGE),
                                        STATE_TEXT("phase", OPERATION_PIVOT)};
    uint64_t count = 0;

    return tx == NULL ||
           state_operation_count(tx, STATE_QUERY(where), &count, &ignored) <
               0 ||
           count > 0;
}

json_t *
operation_payload(const struct state_operation *row, struct error *err)
{
    json_error_t where;
    json_t *payload = NULL;

    if (row->payload != NULL)
        payload = json_loads(row->payload, JSON_REJECT_DUPLICATES, &where);
    if (payload == NULL || !json_is_object(payload)) {
        json_decref(payload);
        (void)error_set(err, ERROR_CORRUPT,
                        "journal entry %lld of '%s' cannot be read",
                        (long long)row->id, row->vm_uuid);
        return NULL;
    }
    return payload;
}
