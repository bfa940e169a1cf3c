/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_kind.h -- what a kind of storage provides.  Included by storage.c
 * and the kinds alone.  The functions keep the contracts of storage.h.
 */
#ifndef STORAGE_STORAGE_KIND_H
#define STORAGE_STORAGE_KIND_H

#include "storage/storage.h"

struct storage_kind {
    const char *name;
    void (*free)(struct storage *storage);
    int (*capabilities)(struct storage *storage, const char *locator,
                        unsigned *ret, struct error *err);
    int (*estimate)(struct storage *storage, const char *locator,
                    int64_t most_ms, int64_t *ret_ms, struct error *err);
    char *(*snapshot_name)(struct storage *storage, const char *locator,
                           const char *txid, const char *volume);
    int (*prepare)(struct storage *storage, const struct storage_disk *disks,
                   size_t count, struct storage_txn **ret, struct error *err);
    int (*commit)(struct storage_txn *txn, int64_t deadline_ms,
                  struct error *err);
    int (*keep)(struct storage_txn *txn, struct error *err);
    void (*txn_free)(struct storage_txn *txn);
    int (*undo)(struct storage *storage, const struct storage_disk *disks,
                size_t count, struct error *err);
    int (*remove)(struct storage *storage, const char *snapshot,
                  struct error *err);
    int (*list)(struct storage *storage, const char *locator,
                const char *volume, struct storage_list *ret,
                struct error *err);
    int (*clone)(struct storage *storage, const char *snapshot,
                 const char *locator, struct error *err);
};

/* First in a kind's own structs. */
struct storage {
    const struct storage_kind *kind;
};

struct storage_txn {
    struct storage *storage;          /* borrowed */
    const struct storage_disk *disks; /* borrowed */
    size_t count;
};

#endif
