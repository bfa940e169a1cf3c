/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/backup_chain.h"

static const struct backup_chain_item *
find(const struct backup_chain_item *items, size_t count, int64_t id)
{
    for (size_t i = 0; id != 0 && i < count; i++) {
        if (items[i].id == id)
            return &items[i];
    }
    return NULL;
}

struct backup_chain_decision
backup_chain_decide(const struct backup_chain_item *items, size_t count,
                    int64_t chain_size, bool is_isolated)
{
    struct backup_chain_decision full = {.is_end_of_chain = chain_size == 1};
    int64_t ancestors = 0;
    int64_t below = 0;
    const struct backup_chain_item *newest = NULL;

    if (is_isolated) {
        full.is_end_of_chain = true;
        full.reason = "an isolated backup was asked for";
        return full;
    }
    if (chain_size == 1) {
        full.reason = "backup.chain.size is 1: every backup is full";
        return full;
    }
    for (size_t i = 0; i < count; i++) {
        if (items[i].is_isolated || items[i].status == BACKUP_CHAIN_GONE ||
            items[i].status == BACKUP_CHAIN_BAD)
            continue;
        if (items[i].is_end_of_chain)
            break;
        /* Those of a chain that was folded are counted no more. */
        if (newest == NULL)
            newest = &items[i];
        else if (items[i].id != below)
            continue;
        below = items[i].parent;
        ancestors++;
    }
    if (newest == NULL) {
        full.reason = count == 0 ? "the first backup of this machine"
                                 : "the chain before it has ended";
        return full;
    }
    if (newest->status != BACKUP_CHAIN_GOOD) {
        full.reason = "the backup before it was deleted";
        return full;
    }
    if (newest->is_damaged) {
        full.reason = "the backup before it is damaged";
        full.ends_chain = true;
        return full;
    }
    return (struct backup_chain_decision){
        .parent = newest->id,
        .is_end_of_chain = chain_size > 0 && chain_size - ancestors <= 1,
    };
}

static bool
has_living_child(const struct backup_chain_item *items, size_t count,
                 int64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].parent == id && (items[i].status == BACKUP_CHAIN_GOOD ||
                                      items[i].status == BACKUP_CHAIN_REMOVED))
            return true;
    }
    return false;
}

struct backup_chain_removal
backup_chain_remove(const struct backup_chain_item *items, size_t count,
                    int64_t id, int64_t *ret_ids)
{
    struct backup_chain_removal removal = {.count = 0};
    const struct backup_chain_item *item = find(items, count, id);

    if (item == NULL)
        return removal;
    if (has_living_child(items, count, id)) {
        removal.is_kept = true;
        return removal;
    }
    ret_ids[removal.count++] = id;
    for (item = find(items, count, item->parent);
         item != NULL && item->status == BACKUP_CHAIN_REMOVED;
         item = find(items, count, item->parent)) {
        /* Its other children, if any, are alive and need its files. */
        size_t others = 0;

        for (size_t i = 0; i < count; i++)
            others += items[i].parent == item->id &&
                      items[i].id != ret_ids[removal.count - 1] &&
                      (items[i].status == BACKUP_CHAIN_GOOD ||
                       items[i].status == BACKUP_CHAIN_REMOVED);
        if (others > 0)
            break;
        ret_ids[removal.count++] = item->id;
    }
    if (item != NULL && item->status == BACKUP_CHAIN_GOOD)
        removal.survivor = item->id;
    return removal;
}
