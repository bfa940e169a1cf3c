/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is charged for a VM snapshot (semantics 2.3 to 2.5): for each volume
 * that it was taken, reverted to and deleted, and once for the whole what it
 * keeps on primary storage.
 */
#include "base/fd.h"
#include "engine/events.h"
#include "engine/vm_snapshot.h"

#include <string.h>

/* A deleted layer has no size any more; one that is kept has its own. */
static int64_t
stored_size(struct state_tx *tx, const struct state_vm_snapshot_volume *member)
{
    AUTO_STATE(layer) layer = {0};
    struct error ignored = ERROR_INIT; /* a size for people */
    uint64_t bytes = 0;

    if (state_layer_get(tx, member->layer_id, &layer, &ignored) < 0 ||
        fd_allocated(layer.path, &bytes, &ignored) < 0)
        return member->physical_size;
    return (int64_t)bytes;
}

int
vm_snapshot_usage(struct state_tx *tx, const struct state_vm_snapshot *row,
                  const char *type, const char *total_type, struct error *err)
{
    AUTO_STATE_LIST(vm_snapshot_volume) members = {0};
    const struct state_where where[] = {STATE_INT("vm_snapshot_id", row->id)};
    int64_t stored = 0;
    int64_t virtual_size = 0;

    if (state_vm_snapshot_volume_list(tx, STATE_QUERY(where), &members, err) <
        0)
        return -1;
    for (size_t i = 0; i < members.count; i++) {
        int64_t size = stored_size(tx, &members.items[i]);

        stored += size;
        virtual_size += members.items[i].virtual_size;
        if (events_usage(tx, type, row->account_id, row->uuid,
                         row->display_name, size, members.items[i].virtual_size,
                         err) < 0)
            return -1;
    }
    if (total_type == NULL || members.count == 0)
        return 0;
    return events_usage(tx, total_type, row->account_id, row->uuid,
                        row->display_name, stored, virtual_size, err);
}
