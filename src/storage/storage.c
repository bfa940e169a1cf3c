/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds' functions behind one face.  Results start empty, so that a
 * failure leaves nothing to free.
 */
#include "storage/storage.h"

#include "base/vec.h"
#include "storage/storage_kind.h"

#include <stdlib.h>

const char *
storage_kind(const struct storage *storage)
{
    return storage->kind->name;
}

int
storage_capabilities(struct storage *storage, const char *locator,
                     unsigned *ret_capabilities, struct error *err)
{
    *ret_capabilities = STORAGE_NOTHING;
    return storage->kind->capabilities(storage, locator, ret_capabilities, err);
}

int
storage_estimate(struct storage *storage, const char *locator, int64_t most_ms,
                 int64_t *ret_ms, struct error *err)
{
    *ret_ms = 0;
    return storage->kind->estimate(storage, locator, most_ms, ret_ms, err);
}

char *
storage_name(struct storage *storage, const char *locator, const char *txid,
             const char *volume)
{
    return storage->kind->snapshot_name(storage, locator, txid, volume);
}

int
storage_prepare(struct storage *storage, const struct storage_disk *disks,
                size_t count, struct storage_txn **ret_txn, struct error *err)
{
    *ret_txn = NULL;
    return storage->kind->prepare(storage, disks, count, ret_txn, err);
}

int
storage_commit(struct storage_txn *txn, int64_t deadline_ms, struct error *err)
{
    return txn->storage->kind->commit(txn, deadline_ms, err);
}

int
storage_keep(struct storage_txn *txn, struct error *err)
{
    return txn->storage->kind->keep(txn, err);
}

void
storage_txn_free(struct storage_txn *txn)
{
    if (txn != NULL)
        txn->storage->kind->txn_free(txn);
}

void
storage_txn_cleanup(struct storage_txn **txn)
{
    storage_txn_free(*txn);
}

int
storage_undo(struct storage *storage, const struct storage_disk *disks,
             size_t count, struct error *err)
{
    return storage->kind->undo(storage, disks, count, err);
}

int
storage_remove(struct storage *storage, const char *snapshot, struct error *err)
{
    return storage->kind->remove(storage, snapshot, err);
}

void
storage_list_release(struct storage_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    vec_release(list);
}

int
storage_list(struct storage *storage, const char *locator, const char *volume,
             struct storage_list *ret_list, struct error *err)
{
    *ret_list = (struct storage_list)VEC_INIT;
    return storage->kind->list(storage, locator, volume, ret_list, err);
}

int
storage_clone(struct storage *storage, const char *snapshot,
              const char *locator, struct error *err)
{
    return storage->kind->clone(storage, snapshot, locator, err);
}

void
storage_free(struct storage *storage)
{
    if (storage != NULL)
        storage->kind->free(storage);
}

void
storage_cleanup(struct storage **storage)
{
    storage_free(*storage);
}
