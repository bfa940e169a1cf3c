/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h -- how much an account, and a domain with all below it, may have.
 *
 * What is counted is asked from the rows at that moment, so that a count
 * never drifts from what is there.  A limit that nobody has set is -1, none.
 * Root admins' accounts have no limits of their own, as with CloudStack.
 */
#ifndef ENGINE_LIMITS_H
#define ENGINE_LIMITS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "state/state.h"

#include <stdint.h>

/* Numbers of the API's parameter "resourcetype". */
enum limit_kind {
    LIMIT_VM = 0,
    LIMIT_VOLUME = 2,
    LIMIT_SNAPSHOT = 3,
    LIMIT_CPU = 8,
    LIMIT_MEMORY = 9,           /* MiB */
    LIMIT_PRIMARY_STORAGE = 10, /* GiB in limits, bytes in counts */
    LIMIT_BACKUP = 12,
    LIMIT_BACKUP_STORAGE = 13 /* GiB in limits, bytes in counts */
};

struct limit_type {
    enum limit_kind kind;
    const char *name; /* "primary_storage" */
    int64_t unit;     /* what is counted, in one of the limit */
};
/* All of them, ordered by kind. */
extern const struct limit_type limit_types[];
extern const size_t limit_type_count;
/* NULL when there is none of that number. */
const struct limit_type *limits_find(int64_t kind);

/* What the account has now: objects, MiB or bytes. */
int limits_count(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
                 int64_t *ret_count, struct error *err)
    MUST_CHECK NONNULL(1, 4, 5);

/* The account's limit (or with account 0 the domain's); -1: none. */
int limits_get(struct state_tx *tx, int64_t account_id, int64_t domain_id,
               enum limit_kind kind, int64_t *ret_max, struct error *err)
    MUST_CHECK NONNULL(1, 5, 6);

/**
 * limits_check(tx, account_id, kind, more, err):
 * May the account have `more` of it?  Asks the limits of the account and of
 * every domain above.
 *
 * Returns:    0, or -1 with *err set to ERROR_LIMIT; the text has both
 *             numbers.
 */
int limits_check(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
                 int64_t more, struct error *err) MUST_CHECK NONNULL(1, 5);

/* Set a limit; account NULL: the domain's.  max -1 takes it away. */
struct limits_request {
    const char *account; /* name, or NULL */
    const char *domain;  /* uuid, or NULL: the caller's own */
    int64_t kind;
    int64_t max;
};
int limits_set(struct state *state, const struct caller *caller,
               const struct limits_request *args,
               struct state_resource_limit *ret_row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

#endif
