/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.c -- visibility by the tree of domains.
 *
 * A domain's path names its ancestors and ends with a slash, so that "below"
 * is "begins with": "/sales/" is above "/sales/eu/", and not above
 * "/sales2/".  There are few domains, so lists of ids are made by reading all
 * of them rather than by a condition that each database spells differently.
 */
#include "engine/access.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static bool
is_at_or_below(const char *path, const char *above)
{
    return path != NULL && above != NULL && *above != '\0' &&
           strncmp(path, above, strlen(above)) == 0;
}

/* 1 when the one domain is the other or above it. */
static int
is_above(struct state_tx *tx, int64_t above_id, int64_t domain_id,
         struct error *err)
{
    const struct state_where is_upper = STATE_INT("id", above_id);
    const struct state_where is_lower = STATE_INT("id", domain_id);
    AUTO_STATE(domain) above = {0};
    AUTO_STATE(domain) domain = {0};
    int found;

    if (above_id == domain_id)
        return above_id != 0;
    found = state_domain_find(tx, &is_upper, 1, &above, err);
    if (found == 1)
        found = state_domain_find(tx, &is_lower, 1, &domain, err);
    if (found != 1)
        return found;
    return is_at_or_below(domain.path, above.path);
}

int
access_may_see(struct state_tx *tx, const struct caller *caller,
               int64_t account_id, int64_t domain_id, struct error *err)
{
    if (caller->account_id == 0)
        return 0;
    switch (caller->role) {
    case ROLE_ROOT_ADMIN:
        return 1;
    case ROLE_DOMAIN_ADMIN:
        if (caller->account_id == account_id)
            return 1;
        return is_above(tx, caller->domain_id, domain_id, err);
    case ROLE_USER:
    default:
        return caller->account_id == account_id;
    }
}

/* -- lists -------------------------------------------------------------- */

static void
show_account(struct access_scope *scope, int64_t account_id)
{
    scope->account_id = account_id;
    scope->where[0] = (struct state_where)STATE_INT("account_id", account_id);
    scope->count = 1;
}

/* The domain, and those below it if asked for. */
static int
show_domain(struct access_scope *scope, struct state_tx *tx, int64_t domain_id,
            bool is_recursive, struct error *err)
{
    AUTO_STATE_LIST(domain) all = {0};
    const char *path = NULL;

    if (state_domain_list(tx, STATE_ALL, &all, err) < 0)
        return -1;
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].id == domain_id)
            path = all.items[i].path;
    scope->domain_ids = xcalloc(all.count + 1, sizeof(int64_t));
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].id == domain_id ||
            (is_recursive && is_at_or_below(all.items[i].path, path)))
            scope->domain_ids[scope->domain_count++] = all.items[i].id;
    scope->where[0] = (struct state_where){.column = "domain_id",
                                           .op = STATE_IN_INT,
                                           .ints = scope->domain_ids,
                                           .count = scope->domain_count};
    scope->count = 1;
    return 0;
}

/* Neither account nor domain was asked for. */
static int
show_default(struct access_scope *scope, struct state_tx *tx,
             const struct caller *caller, const struct access_filter *filter,
             struct error *err)
{
    if (caller->role == ROLE_USER || !(filter->list_all || filter->is_by_id)) {
        show_account(scope, caller->account_id);
        return 0;
    }
    if (caller->role == ROLE_DOMAIN_ADMIN)
        return show_domain(scope, tx, caller->domain_id, true, err);
    scope->is_everything = true;
    return 0;
}

static int
find_domain(struct state_tx *tx, const char *uuid, int64_t *ret_id,
            struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    AUTO_STATE(domain) domain = {0};
    int found = state_domain_find(tx, where, ARRAY_SIZE(where), &domain, err);

    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND, "no domain '%.80s'", uuid);
    *ret_id = domain.id;
    return found < 0 ? -1 : 0;
}

static int
find_account(struct state_tx *tx, const char *name, int64_t domain_id,
             int64_t *ret_id, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("name", name),
                                        STATE_INT("domain_id", domain_id),
                                        STATE_LIVING};
    AUTO_STATE(account) account = {0};
    int found = state_account_find(tx, where, ARRAY_SIZE(where), &account, err);

    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "no account '%.80s' in the domain", name);
    *ret_id = account.id;
    return found < 0 ? -1 : 0;
}

/* What a user asks for must be its own; an admin's, below its domain. */
static int
check_domain(struct state_tx *tx, const struct caller *caller,
             int64_t domain_id, struct error *err)
{
    int may = 1;

    if (caller->role == ROLE_USER)
        may = caller->domain_id == domain_id;
    else if (caller->role == ROLE_DOMAIN_ADMIN)
        may = is_above(tx, caller->domain_id, domain_id, err);
    if (may == 0)
        return error_set(err, ERROR_DENIED,
                         "the domain is not yours to look into");
    return may < 0 ? -1 : 0;
}

static int
show_named_account(struct access_scope *scope, struct state_tx *tx,
                   const struct caller *caller, const char *name,
                   int64_t domain_id, struct error *err)
{
    int64_t account_id = 0;
    int may;

    if (find_account(tx, name, domain_id, &account_id, err) < 0)
        return -1;
    may = access_may_see(tx, caller, account_id, domain_id, err);
    if (may == 0)
        return error_set(err, ERROR_DENIED,
                         "account '%.80s' is not yours to look into", name);
    if (may < 0)
        return -1;
    show_account(scope, account_id);
    return 0;
}

int
access_scope_init(struct access_scope *scope, struct state_tx *tx,
                  const struct caller *caller,
                  const struct access_filter *filter, struct error *err)
{
    int64_t domain_id = caller->domain_id;

    memset(scope, 0, sizeof(*scope));
    if (caller->account_id == 0)
        return error_set(err, ERROR_AUTH, "log in first");
    if (filter->domain != NULL &&
        (find_domain(tx, filter->domain, &domain_id, err) < 0 ||
         check_domain(tx, caller, domain_id, err) < 0))
        return -1;
    if (filter->account != NULL)
        return show_named_account(scope, tx, caller, filter->account, domain_id,
                                  err);
    if (filter->domain == NULL)
        return show_default(scope, tx, caller, filter, err);
    if (caller->role == ROLE_USER) {
        show_account(scope, caller->account_id);
        return 0;
    }
    return show_domain(scope, tx, domain_id, filter->is_recursive, err);
}

void
access_scope_release(struct access_scope *scope)
{
    free(scope->domain_ids);
    memset(scope, 0, sizeof(*scope));
}

bool
access_scope_has(const struct access_scope *scope, int64_t account_id,
                 int64_t domain_id)
{
    if (scope->is_everything)
        return true;
    if (scope->account_id != 0)
        return scope->account_id == account_id;
    for (size_t i = 0; i < scope->domain_count; i++)
        if (scope->domain_ids[i] == domain_id)
            return true;
    return false;
}
