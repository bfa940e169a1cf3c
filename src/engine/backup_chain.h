/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup_chain.h -- decisions about chains of backups, without I/O.
 *
 * Rules: semantics 5.5 (chain model) and 5.7 (deletion).
 */
#ifndef ENGINE_BACKUP_CHAIN_H
#define ENGINE_BACKUP_CHAIN_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The status of a backup, as far as chains care. */
enum backup_chain_status {
    BACKUP_CHAIN_GOOD,    /* BackedUp or Restoring */
    BACKUP_CHAIN_REMOVED, /* deleted by the user, files still needed */
    BACKUP_CHAIN_BAD,     /* Failed, Error: no usable files */
    BACKUP_CHAIN_GONE     /* Expunged */
};

struct backup_chain_item {
    int64_t id;
    int64_t parent; /* 0: full */
    enum backup_chain_status status;
    bool is_end_of_chain;
    bool is_isolated;
    bool is_damaged; /* it was read, and it is */
};

struct backup_chain_decision {
    int64_t parent;       /* 0: the new backup is full */
    bool is_end_of_chain; /* the new backup is the last of its chain */
    const char *reason;   /* why it is full; NULL when it is not */
    bool ends_chain;      /* nothing builds on the backups before it */
};

/**
 * backup_chain_decide(items, count, chain_size, is_isolated):
 * What the next backup of a machine will be.  `items` are the machine's
 * backups, newest first; those that the newest rests on are counted.
 * chain_size 1 is "always full", below 1 unlimited.
 */
struct backup_chain_decision
backup_chain_decide(const struct backup_chain_item *items, size_t count,
                    int64_t chain_size, bool is_isolated);

struct backup_chain_removal {
    bool is_kept;     /* a living child needs its files: mark it Removed */
    size_t count;     /* how many of `ids` go for good, newest first */
    int64_t survivor; /* the first ancestor that stays alive, or 0 */
};

/**
 * backup_chain_remove(items, count, id, ret_ids):
 * What deleting backup `id` does: `ret_ids` (room for `count`) gets the
 * backup and all consecutive Removed ancestors.
 */
struct backup_chain_removal
backup_chain_remove(const struct backup_chain_item *items, size_t count,
                    int64_t id, int64_t *ret_ids) NONNULL(4);

#endif
