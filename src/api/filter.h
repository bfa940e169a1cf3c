/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h -- the conditions of a list command, from its parameters.
 *
 *     AUTO_FILTER struct filter filter = {0};
 *
 *     if (filter_by_id(&filter, call, "id", find_vm, "id", err) < 0 ||
 *         filter_by_owner(&filter, call, err) < 0)
 *         return -1;
 *     filter_living(&filter);
 *     filter_text(&filter, call, "state", "state");
 */
#ifndef API_FILTER_H
#define API_FILTER_H

#include "api/call.h"
#include "api/find.h"
#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_MAX 16

struct filter {
    struct state_where where[FILTER_MAX];
    size_t count;
    bool has_id;               /* the caller names what it wants */
    int64_t *ids;              /* owned; of filter_by_ids() */
    struct access_scope scope; /* owned; of filter_by_owner() */
};

void filter_release(struct filter *filter) NONNULL(1);
#define AUTO_FILTER CLEANUP(filter_release)

/* Any condition. */
void filter_add(struct filter *filter, struct state_where where) NONNULL(1);
/* Not removed. */
void filter_living(struct filter *filter) NONNULL(1);
/* `column` is the text of parameter `name`, if it is given. */
void filter_text(struct filter *filter, const struct call *call,
                 const char *name, const char *column) NONNULL(1, 2, 3, 4);
/* The integer `column` is the flag of parameter `name`, if it is given. */
void filter_flag(struct filter *filter, const struct call *call,
                 const char *name, const char *column) NONNULL(1, 2, 3, 4);

/**
 * filter_by_id(filter, call, name, find, column, err):
 * `column` is the row that parameter `name` names, if it is given.
 */
int filter_by_id(struct filter *filter, struct call *call, const char *name,
                 find_function *find, const char *column, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);

/**
 * filter_by_ids(filter, call, name, names, find, err):
 * The row itself is the one that parameter `name` names, or one of those of
 * the list `names`; both at once is ERROR_INVALID.
 */
int filter_by_ids(struct filter *filter, struct call *call, const char *name,
                  const char *names, find_function *find, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);

/**
 * filter_by_owner(filter, call, err):
 * The parameters account, domainid, isrecursive, listall and projectid, and
 * what the caller may see at all (access.h); after the ids.
 */
int filter_by_owner(struct filter *filter, struct call *call, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* All that the caller may see, whatever the parameters. */
int filter_by_caller(struct filter *filter, struct call *call,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The same parameters as a scope; `is_by_id`: the objects are named. */
int filter_scope(struct call *call, bool is_by_id,
                 struct access_scope *ret_scope, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The query of these conditions, borrowed from the filter. */
struct state_query filter_query(const struct filter *filter) NONNULL(1);

#endif
