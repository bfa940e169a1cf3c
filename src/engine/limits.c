/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/limits.h"

#include "base/memory.h"

#include <string.h>

#define GIB ((int64_t)1 << 30)
/* A tree of domains deeper than that is followed no further. */
#define DEPTH_MAX 64

const struct limit_type limit_types[] = {
    {LIMIT_VM, "user_vm", 1},
    {LIMIT_VOLUME, "volume", 1},
    {LIMIT_SNAPSHOT, "snapshot", 1},
    {LIMIT_CPU, "cpu", 1},
    {LIMIT_MEMORY, "memory", 1},
    {LIMIT_PRIMARY_STORAGE, "primary_storage", GIB},
    {LIMIT_BACKUP, "backup", 1},
    {LIMIT_BACKUP_STORAGE, "backup_storage", GIB},
};
const size_t limit_type_count = ARRAY_SIZE(limit_types);

const struct limit_type *
limits_find(int64_t kind)
{
    for (size_t i = 0; i < limit_type_count; i++) {
        if ((int64_t)limit_types[i].kind == kind)
            return &limit_types[i];
    }
    return NULL;
}

/* -- counting -------------------------------------------------------------- */

static int
count_vms(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
          int64_t *ret_count, struct error *err)
{
    AUTO_STATE_LIST(vm) rows = {0};
    const struct state_where where[] = {STATE_INT("account_id", account_id),
                                        STATE_LIVING};

    if (state_vm_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        *ret_count += kind == LIMIT_VM    ? 1
                      : kind == LIMIT_CPU ? rows.items[i].vcpus
                                          : rows.items[i].memory >> 20;
    return 0;
}

static int
count_volumes(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
              int64_t *ret_count, struct error *err)
{
    AUTO_STATE_LIST(volume) rows = {0};
    const struct state_where where[] = {STATE_INT("account_id", account_id),
                                        STATE_LIVING};

    if (state_volume_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        *ret_count += kind == LIMIT_VOLUME ? 1 : rows.items[i].size;
    return 0;
}

static int
count_backups(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
              int64_t *ret_count, struct error *err)
{
    AUTO_STATE_LIST(backup) rows = {0};
    const struct state_where where[] = {STATE_INT("account_id", account_id),
                                        STATE_LIVING};

    if (state_backup_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        *ret_count += kind == LIMIT_BACKUP ? 1 : rows.items[i].size;
    return 0;
}

static int
count_snapshots(struct state_tx *tx, int64_t account_id, int64_t *ret_count,
                struct error *err)
{
    const struct state_where where[] = {STATE_INT("account_id", account_id),
                                        STATE_LIVING};
    uint64_t count = 0;

    if (state_snapshot_count(tx, STATE_QUERY(where), &count, err) < 0)
        return -1;
    *ret_count = (int64_t)count;
    return 0;
}

int
limits_count(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
             int64_t *ret_count, struct error *err)
{
    *ret_count = 0;
    switch (kind) {
    case LIMIT_VM:
    case LIMIT_CPU:
    case LIMIT_MEMORY:
        return count_vms(tx, account_id, kind, ret_count, err);
    case LIMIT_VOLUME:
    case LIMIT_PRIMARY_STORAGE:
        return count_volumes(tx, account_id, kind, ret_count, err);
    case LIMIT_SNAPSHOT:
        return count_snapshots(tx, account_id, ret_count, err);
    case LIMIT_BACKUP:
    case LIMIT_BACKUP_STORAGE:
        return count_backups(tx, account_id, kind, ret_count, err);
    }
    return error_set(err, ERROR_INTERNAL, "nothing counts resource type %d",
                     (int)kind);
}

/* What all accounts of a domain and of those below it have. */
static int
count_domain(struct state_tx *tx, const struct state_domain *domain,
             enum limit_kind kind, int64_t *ret_count, struct error *err)
{
    AUTO_STATE_LIST(account) rows = {0};
    const struct state_where where[] = {STATE_LIVING};

    *ret_count = 0;
    if (state_account_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        AUTO_STATE(domain) of = {0};
        int64_t count;

        if (state_domain_get(tx, rows.items[i].domain_id, &of, err) < 0)
            return -1;
        if (strncmp(of.path, domain->path, strlen(domain->path)) != 0)
            continue;
        if (limits_count(tx, rows.items[i].id, kind, &count, err) < 0)
            return -1;
        *ret_count += count;
    }
    return 0;
}

/* -- limits ---------------------------------------------------------------- */

int
limits_get(struct state_tx *tx, int64_t account_id, int64_t domain_id,
           enum limit_kind kind, int64_t *ret_max, struct error *err)
{
    AUTO_STATE(resource_limit) row = {0};
    const struct state_where where[] = {
        STATE_INT("account_id", account_id),
        STATE_INT("domain_id", account_id != 0 ? 0 : domain_id),
        STATE_INT("type", (int64_t)kind)};
    int found = state_resource_limit_find(tx, where, 3, &row, err);

    if (found < 0)
        return -1;
    *ret_max = found > 0 ? row.max : -1;
    return 0;
}

static int
judge(const struct limit_type *type, const char *whose, const char *name,
      int64_t count, int64_t more, int64_t max, struct error *err)
{
    if (max < 0 || (count + more + type->unit - 1) / type->unit <= max)
        return 0;
    return error_set(err, ERROR_LIMIT,
                     "%s '%s' has %lld of resource %s, and %lld more would "
                     "exceed its limit of %lld; updateResourceLimit changes it",
                     whose, name, (long long)(count / type->unit), type->name,
                     (long long)((more + type->unit - 1) / type->unit),
                     (long long)max);
}

static int
check_domains(struct state_tx *tx, int64_t domain_id,
              const struct limit_type *type, int64_t more, struct error *err)
{
    for (unsigned i = 0; domain_id != 0 && i < DEPTH_MAX; i++) {
        AUTO_STATE(domain) domain = {0};
        int64_t max;
        int64_t count;

        if (state_domain_get(tx, domain_id, &domain, err) < 0 ||
            limits_get(tx, 0, domain_id, type->kind, &max, err) < 0)
            return -1;
        if (max >= 0 &&
            (count_domain(tx, &domain, type->kind, &count, err) < 0 ||
             judge(type, "domain", domain.path, count, more, max, err) < 0))
            return -1;
        domain_id = domain.parent_id;
    }
    return 0;
}

int
limits_check(struct state_tx *tx, int64_t account_id, enum limit_kind kind,
             int64_t more, struct error *err)
{
    const struct limit_type *type = limits_find((int64_t)kind);
    AUTO_STATE(account) account = {0};
    int64_t max;
    int64_t count;

    if (state_account_get(tx, account_id, &account, err) < 0)
        return -1;
    if (account.type == ROLE_ROOT_ADMIN)
        return 0;
    if (limits_get(tx, account_id, 0, kind, &max, err) < 0 ||
        limits_count(tx, account_id, kind, &count, err) < 0 ||
        judge(type, "account", account.name, count, more, max, err) < 0)
        return -1;
    return check_domains(tx, account.domain_id, type, more, err);
}

/* Whose limit the request is about; the caller must be above it. */
static int
find_owner(struct state_tx *tx, const struct caller *caller,
           const struct limits_request *args, struct state_resource_limit *row,
           struct error *err)
{
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    const struct access_filter filter = {
        .account = args->account, .domain = args->domain, .list_all = true};
    AUTO_STATE(domain) domain = {0};
    const struct state_where where[] = {
        args->domain != NULL
            ? (struct state_where)STATE_TEXT("uuid", args->domain)
            : (struct state_where)STATE_INT("id", caller->domain_id),
        STATE_LIVING};

    if (caller->role == ROLE_USER)
        return error_set(err, ERROR_DENIED,
                         "only administrators set limits of resources");
    if (access_scope_init(&scope, tx, caller, &filter, err) < 0)
        return -1;
    row->account_id = args->account != NULL ? scope.account_id : 0;
    if (row->account_id != 0)
        return 0;
    row->domain_id = caller->domain_id;
    if (args->domain == NULL && caller->role == ROLE_ROOT_ADMIN)
        return 0;
    if (state_domain_find(tx, where, 2, &domain, err) <= 0)
        return err->code != ERROR_NONE
                   ? -1
                   : error_set(err, ERROR_NOT_FOUND, "there is no domain '%s'",
                               args->domain != NULL ? args->domain : "");
    row->domain_id = domain.id;
    if (caller->role != ROLE_ROOT_ADMIN && domain.id == caller->domain_id)
        return error_set(err, ERROR_DENIED,
                         "the limits of your own domain are set by an "
                         "administrator above it");
    return 0;
}

int
limits_set(struct state *state, const struct caller *caller,
           const struct limits_request *args,
           struct state_resource_limit *ret_row, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(resource_limit) row = {0};
    AUTO_STATE(resource_limit) old = {0};
    int found;

    if (limits_find(args->kind) == NULL)
        return error_set(err, ERROR_INVALID, "there is no resource type %lld",
                         (long long)args->kind);
    if (args->max < -1)
        return error_set(err, ERROR_INVALID,
                         "a limit is -1 (none) or a number from 0");
    tx = state_begin_write(state, err);
    if (tx == NULL || find_owner(tx, caller, args, &row, err) < 0)
        return -1;
    row.type = args->kind;
    row.max = args->max;
    {
        const struct state_where where[] = {
            STATE_INT("account_id", row.account_id),
            STATE_INT("domain_id", row.domain_id), STATE_INT("type", row.type)};

        found = state_resource_limit_find(tx, where, 3, &old, err);
    }
    row.id = old.id;
    if (found < 0 ||
        (found > 0 ? state_resource_limit_update(tx, &row, err)
                   : state_resource_limit_insert(tx, &row, err)) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    *ret_row = row;
    row = (struct state_resource_limit){0};
    return 0;
}
