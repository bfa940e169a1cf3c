/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h -- who asks, and what is theirs to see.
 *
 * Every object has an account and that account's domain.  A user sees what its
 * account owns; a domain admin what its domain and the domains below it own; a
 * root admin everything.  Rules of lists: semantics 6.3.
 */
#ifndef ENGINE_ACCESS_H
#define ENGINE_ACCESS_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum role { ROLE_USER = 0, ROLE_ROOT_ADMIN = 1, ROLE_DOMAIN_ADMIN = 2 };

/* All 0: nobody, who sees nothing. */
struct caller {
    int64_t user_id;
    int64_t account_id;
    int64_t domain_id;
    enum role role;
};

/**
 * access_may_see(tx, caller, account_id, domain_id, err):
 * May the caller see and use what belongs to that account of that domain?
 *
 * Returns:    1 yes, 0 no, -1 with *err set.
 */
int access_may_see(struct state_tx *tx, const struct caller *caller,
                   int64_t account_id, int64_t domain_id, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* What a list command was asked for. */
struct access_filter {
    const char *account; /* name of an account, or NULL */
    const char *domain;  /* uuid of a domain, or NULL */
    bool list_all;       /* all that the caller may see, not only its own */
    bool is_recursive;   /* of `domain`: those below it too */
    bool is_by_id;       /* the list names its objects by id */
};

/*
 * Whose objects a list shows.  The conditions belong before those of the
 * list's own, for tables with account_id and domain_id:
 *
 *     AUTO_ACCESS_SCOPE struct access_scope scope = {0};
 *     if (access_scope_init(&scope, tx, caller, &filter, err) < 0)
 *         return -1;
 *     where[count++] = ...;
 *     for (size_t i = 0; i < scope.count; i++)
 *         where[count++] = scope.where[i];
 */
#define ACCESS_CONDITIONS_MAX 1
struct access_scope {
    struct state_where where[ACCESS_CONDITIONS_MAX]; /* borrows domain_ids */
    size_t count;                                    /* 0: everything */
    int64_t account_id;                              /* 0: any account */
    int64_t *domain_ids; /* owned; where account_id is 0 */
    size_t domain_count;
    bool is_everything;
};

/**
 * access_scope_init(scope, tx, caller, filter, err):
 * What the caller is shown: with neither account nor domain, its own objects,
 * or with list_all (or is_by_id, for admins) all that it may see; with a
 * domain, that domain's; with an account, that account's of the domain (the
 * caller's own domain when none is given).
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  no such domain or account;
 *               ERROR_DENIED     it is not the caller's to see.
 */
int access_scope_init(struct access_scope *scope, struct state_tx *tx,
                      const struct caller *caller,
                      const struct access_filter *filter, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
void access_scope_release(struct access_scope *scope) NONNULL(1);
#define AUTO_ACCESS_SCOPE CLEANUP(access_scope_release)

/* The same conditions for a row at hand. */
bool access_scope_has(const struct access_scope *scope, int64_t account_id,
                      int64_t domain_id) NONNULL(1);

#endif
