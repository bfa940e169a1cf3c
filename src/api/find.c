/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids from outside are uuids; in the database rows point at each other by
 * numbers that nobody sees.  Here is the one place that goes from the one to
 * the other, and so the one place that decides whether a caller may name an
 * object at all.  What is missing, what was removed and what is somebody
 * else's are answered alike, so that ids cannot be guessed at.
 */
#include "api/find.h"

#include "api/refs.h"

#include <ctype.h>
#include <string.h>

static int
not_found(const char *what, const char *name, const char *uuid,
          struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND,
                     "invalid parameter '%s': there is no %s with id '%.40s', "
                     "or it is not yours to see",
                     name, what, uuid);
}

/* Uuids are stored in lower case. */
static const char *
lower(const char *uuid, char buffer[UUID_TEXT_SIZE])
{
    size_t i = 0;

    for (; uuid[i] != '\0' && i < UUID_TEXT_SIZE - 1; i++)
        buffer[i] = (char)tolower((unsigned char)uuid[i]);
    buffer[i] = '\0';
    return buffer;
}

static bool
is_root(const struct call *call)
{
    return call_is_root(call);
}

/* 1 yes, 0 no, -1 failed. */
static int
can_see(struct call *call, int64_t account_id, int64_t domain_id,
        struct error *err)
{
    return access_may_see(call_tx(call), &call->caller, account_id, domain_id,
                          err);
}

static int
can_see_user(struct call *call, const struct state_user *user,
             struct error *err)
{
    const struct state_account *account =
        refs_account(call->refs, user->account_id);

    return account != NULL ? can_see(call, account->id, account->domain_id, err)
                           : 0;
}

/* Everybody sees the own domain; admins what is below it. */
static int
can_see_domain(struct call *call, const struct state_domain *domain,
               struct error *err)
{
    return domain->id == call->caller.domain_id
               ? 1
               : can_see(call, 0, domain->id, err);
}

/* Only listNativeBackupOfferings has that parameter. */
static bool
shows_removed(const struct call *call)
{
    return params_bool(call->params, "showremoved", false);
}

/* What its owner has deleted is kept while others need it, but not shown. */
static bool
is_kept(const char *state)
{
    return state == NULL ||
           (strcmp(state, "Removed") != 0 && strcmp(state, "Expunged") != 0);
}

/*
 * FIND(function, table, noun, conditions, visible): `conditions` is 2 where
 * "removed" is one of them, else 1; `visible` says with `row` and `call`
 * whether the caller may see it (1, 0, or -1 with *err set).
 */
#define FIND(function, table, noun, conditions, visible)                       \
    int function(struct call *call, const char *name, const char *uuid,        \
                 int64_t *ret_id, struct error *err)                           \
    {                                                                          \
        char text[UUID_TEXT_SIZE];                                             \
        const struct state_where where[] = {                                   \
            STATE_TEXT("uuid", lower(uuid, text)), STATE_LIVING};              \
        AUTO_STATE(table) row = {0};                                           \
        int found = state_##table##_find(call_tx(call), where, (conditions),   \
                                         &row, err);                           \
                                                                               \
        if (found > 0)                                                         \
            found = (visible);                                                 \
        if (found == 0)                                                        \
            return not_found(noun, name, uuid, err);                           \
        if (found < 0)                                                         \
            return -1;                                                         \
        *ret_id = row.id;                                                      \
        return 0;                                                              \
    }

#define IS_OWN can_see(call, row.account_id, row.domain_id, err)

FIND(find_zone, zone, "zone", 2, 1)
FIND(find_cluster, cluster, "cluster", 2, is_root(call))
FIND(find_host, host, "host", 2, is_root(call))
FIND(find_storage_pool, storage_pool, "storage pool", 2, is_root(call))
FIND(find_image_store, image_store, "image store", 2, is_root(call))
FIND(find_domain, domain, "domain", 2, can_see_domain(call, &row, err))
FIND(find_account, account, "account", 2,
     can_see(call, row.id, row.domain_id, err))
FIND(find_user, user, "user", 2, can_see_user(call, &row, err))
FIND(find_vm, vm, "machine", 2, IS_OWN)
FIND(find_volume, volume, "volume", 2, IS_OWN)
FIND(find_snapshot, snapshot, "snapshot", 2, IS_OWN)
FIND(find_vm_snapshot, vm_snapshot, "VM snapshot", 2,
     is_kept(row.state) ? IS_OWN : 0)
FIND(find_native_offering, native_backup_offering, "native backup offering",
     shows_removed(call) ? 1 : 2, is_root(call))
FIND(find_service_offering, service_offering, "service offering", 2, 1)
FIND(find_offering, backup_offering, "backup offering", 2,
     is_root(call) || row.allow_user_driven_backups != 0)
FIND(find_backup, backup, "backup", 2, is_kept(row.status) ? IS_OWN : 0)
FIND(find_job, job, "job", 1, IS_OWN)
FIND(find_event, event, "event", 1, IS_OWN)
FIND(find_hypervisor_capability, hypervisor_capability, "hypervisor", 1,
     is_root(call))

int
find_required(struct call *call, const char *name, find_function *find,
              int64_t *ret_id, struct error *err)
{
    const char *uuid = call_text(call, name);

    return find(call, name, uuid != NULL ? uuid : "", ret_id, err);
}
