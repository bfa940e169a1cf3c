/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.h -- snapshots of disks, made by what they are stored on.
 *
 * A storage takes snapshots of disks without changing what the guest writes
 * to: no overlay, no chain.  Kinds: file/ (clones of files, on file systems
 * that share blocks).  Disks and snapshots are named by locators, which only
 * their kind understands; the locator of a snapshot is chosen before it is
 * made, so that it can be journalled:
 *
 *     storage_prepare   slow, may fail freely; the guest runs
 *     storage_commit    short: the guest is frozen meanwhile
 *     storage_keep      flush; from here on they survive a power cut
 *     storage_undo      at any time, also after our death, knowing the
 *                       locators alone
 *
 * Capabilities decide what is done with a disk, not the names of kinds.
 *
 * Threads:    every function may be called by any thread; one transaction by
 *             one thread at a time.
 * Errors:     ERROR_NOT_FOUND     no such disk or snapshot;
 *             ERROR_CONFLICT      that name is taken;
 *             ERROR_UNSUPPORTED   this storage cannot do that;
 *             ERROR_NO_SPACE, ERROR_TIMEOUT, ERROR_UNAVAILABLE, ERROR_IO.
 *             Of a disk in a list, the message begins with "disk 'target'".
 * Rules:      semantics 4.
 */
#ifndef STORAGE_STORAGE_H
#define STORAGE_STORAGE_H

#include "base/compiler.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct storage;

enum storage_capability {
    STORAGE_LIVE = 1 << 0,         /* the disk may be written to meanwhile */
    STORAGE_INSTANT = 1 << 1,      /* commit does not take longer for more */
    STORAGE_GROUP_ATOMIC = 1 << 2, /* n disks of a commit at one moment */
    STORAGE_CLONE = 1 << 3         /* storage_clone() */
};

/* Of a locator this storage knows nothing about: 0. */
#define STORAGE_NOTHING 0u

struct storage_disk {
    const char *target;   /* borrowed, as all; "vda", for messages */
    const char *locator;  /* of the disk */
    const char *snapshot; /* locator of its snapshot: storage_name() */
};

/* The kind, as it stands in the database: "file". */
const char *storage_kind(const struct storage *storage) NONNULL(1);

/**
 * storage_capabilities(storage, locator, ret_capabilities, err):
 * What can be done with that disk, as it lies now; found out by trying where
 * the storage does not say.
 *
 * Blocks:     on the storage.
 * Returns:    0, with *ret_capabilities STORAGE_NOTHING when the disk is not
 *             on this storage; -1 with *err set.
 */
int storage_capabilities(struct storage *storage, const char *locator,
                         unsigned *ret_capabilities, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * storage_estimate(storage, locator, most_ms, ret_ms, err):
 * How long committing that disk's snapshot takes by experience, as the disk
 * lies now; not looked at further than `most_ms`, which then is the answer.
 *
 * Blocks:     on the storage; the disk is flushed.
 */
int storage_estimate(struct storage *storage, const char *locator,
                     int64_t most_ms, int64_t *ret_ms, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * storage_name(storage, locator, txid, volume):
 * The locator of the snapshot of that disk which `txid` will make; both are
 * uuids, the second is the volume's.  Nothing is made.
 *
 * Ownership:  the caller frees it.
 */
char *storage_name(struct storage *storage, const char *locator,
                   const char *txid, const char *volume)
    MUST_CHECK NONNULL(1, 2, 3, 4);

struct storage_txn;

/**
 * storage_prepare(storage, disks, count, ret_txn, err):
 * Do everything for these snapshots that need not be done while the guest is
 * frozen.  `disks` must stay until storage_txn_free().
 *
 * Returns:    0; or -1 with *err set: storage_undo() must follow.
 */
int storage_prepare(struct storage *storage, const struct storage_disk *disks,
                    size_t count, struct storage_txn **ret_txn,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * storage_commit(txn, deadline_ms, err):
 * Take the snapshots: what is in them is what the disks hold now.
 *
 * Units:      deadline_ms on the monotonic clock; 0: none.
 * Durability: none before storage_keep().
 * Returns:    0 when all are taken; -1 with *err set, ERROR_TIMEOUT when the
 *             deadline passed: storage_undo() must follow.
 */
int storage_commit(struct storage_txn *txn, int64_t deadline_ms,
                   struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * storage_keep(txn, err):
 * Make the snapshots that were taken durable, under their names.
 *
 * Durability: on 0 they survive a power cut; otherwise storage_undo() must
 *             follow.
 */
int storage_keep(struct storage_txn *txn, struct error *err)
    MUST_CHECK NONNULL(1, 2);

void storage_txn_free(struct storage_txn *txn);
void storage_txn_cleanup(struct storage_txn **txn);

/**
 * storage_undo(storage, disks, count, err):
 * None of these snapshots is there, in whatever step it was.  That one is not
 * there is success.
 *
 * Durability: on 0 they are gone for good.
 * Returns:    0; or -1 with *err set to
 *               ERROR_UNAVAILABLE  the storage, or the disk, is not there, so
 *                                  that nothing can be said of its snapshots.
 */
int storage_undo(struct storage *storage, const struct storage_disk *disks,
                 size_t count, struct error *err) MUST_CHECK NONNULL(1, 2, 4);

/* Remove one snapshot; that it is gone already is success.  Durable on 0. */
int storage_remove(struct storage *storage, const char *snapshot,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3);

struct storage_list {
    char **items; /* owned; locators, in no order */
    size_t count;
    size_t capacity;
};
void storage_list_release(struct storage_list *list) NONNULL(1);
#define AUTO_STORAGE_LIST CLEANUP(storage_list_release)

/* The snapshots of a disk that lie where its next one would. */
int storage_list(struct storage *storage, const char *locator,
                 const char *volume, struct storage_list *ret_list,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * storage_clone(storage, snapshot, locator, err):
 * Make a new disk that reads as the snapshot; it can be written to and shares
 * nothing that the snapshot could lose by that.  Where blocks cannot be shared
 * they are copied.
 *
 * Blocks:     for as long as copying takes, in that case.
 * Durability: on 0 it survives a power cut; otherwise nothing is left of it
 *             unless we died.
 */
int storage_clone(struct storage *storage, const char *snapshot,
                  const char *locator, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

void storage_free(struct storage *storage);
void storage_cleanup(struct storage **storage);
#define AUTO_STORAGE CLEANUP(storage_cleanup)

#endif
