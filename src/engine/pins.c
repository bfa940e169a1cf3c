/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/pins.h"

int
pins_add(struct state_tx *tx, const char *owner_kind, int64_t owner_id,
         int64_t layer_id, struct error *err)
{
    AUTO_STATE(pin) row = {.layer_id = layer_id, .owner_id = owner_id};

    state_set_text(&row.owner_kind, owner_kind);
    return state_pin_insert(tx, &row, err);
}

int
pins_drop(struct state_tx *tx, const char *owner_kind, int64_t owner_id,
          struct error *err)
{
    AUTO_STATE_LIST(pin) rows = {0};
    const struct state_where where[] = {STATE_TEXT("owner_kind", owner_kind),
                                        STATE_INT("owner_id", owner_id)};

    if (state_pin_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (state_pin_delete(tx, rows.items[i].id, err) < 0)
            return -1;
    }
    return 0;
}
