/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lookup.h"

#include "base/uuid.h"

static int
unknown(const char *what, const char *uuid, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND,
                     "there is no %s with id '%.64s', or it is not yours to "
                     "see",
                     what, uuid != NULL ? uuid : "");
}

/* What follows a find(): visible objects are 0, all others an error. */
static int
judge(struct state_tx *tx, const struct caller *caller, int found,
      int64_t account_id, int64_t domain_id, const char *what, const char *uuid,
      struct error *err)
{
    int visible;

    if (found < 0)
        return -1;
    if (found == 0)
        return unknown(what, uuid, err);
    visible = access_may_see(tx, caller, account_id, domain_id, err);
    if (visible < 0)
        return -1;
    return visible > 0 ? 0 : unknown(what, uuid, err);
}

int
lookup_vm(struct state_tx *tx, const struct caller *caller, const char *uuid,
          struct state_vm *ret_row, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("virtual machine", uuid, err);
    found = state_vm_find(tx, where, 2, ret_row, err);
    return judge(tx, caller, found, ret_row->account_id, ret_row->domain_id,
                 "virtual machine", uuid, err);
}

int
lookup_volume(struct state_tx *tx, const struct caller *caller,
              const char *uuid, struct state_volume *ret_row, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("volume", uuid, err);
    found = state_volume_find(tx, where, 2, ret_row, err);
    return judge(tx, caller, found, ret_row->account_id, ret_row->domain_id,
                 "volume", uuid, err);
}

int
lookup_vm_snapshot(struct state_tx *tx, const struct caller *caller,
                   const char *uuid, struct state_vm_snapshot *ret_row,
                   struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("VM snapshot", uuid, err);
    found = state_vm_snapshot_find(tx, where, 2, ret_row, err);
    return judge(tx, caller, found, ret_row->account_id, ret_row->domain_id,
                 "VM snapshot", uuid, err);
}

int
lookup_snapshot(struct state_tx *tx, const struct caller *caller,
                const char *uuid, struct state_snapshot *ret_row,
                struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("snapshot", uuid, err);
    found = state_snapshot_find(tx, where, 2, ret_row, err);
    return judge(tx, caller, found, ret_row->account_id, ret_row->domain_id,
                 "snapshot", uuid, err);
}

int
lookup_backup(struct state_tx *tx, const struct caller *caller,
              const char *uuid, struct state_backup *ret_row, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("backup", uuid, err);
    found = state_backup_find(tx, where, 2, ret_row, err);
    return judge(tx, caller, found, ret_row->account_id, ret_row->domain_id,
                 "backup", uuid, err);
}

int
lookup_backup_offering(struct state_tx *tx, const struct caller *caller,
                       const char *uuid, struct state_backup_offering *ret_row,
                       struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("backup offering", uuid, err);
    found = state_backup_offering_find(tx, where, 2, ret_row, err);
    if (found < 0)
        return -1;
    /* Users see what they may use themselves. */
    if (found == 0 ||
        (caller->role == ROLE_USER && ret_row->allow_user_driven_backups == 0))
        return unknown("backup offering", uuid, err);
    return 0;
}

int
lookup_service_offering(struct state_tx *tx, const char *uuid,
                        struct state_service_offering *ret_row,
                        struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid))
        return unknown("service offering", uuid, err);
    found = state_service_offering_find(tx, where, 2, ret_row, err);
    if (found < 0)
        return -1;
    return found > 0 ? 0 : unknown("service offering", uuid, err);
}

int
lookup_native_offering(struct state_tx *tx, const struct caller *caller,
                       const char *uuid,
                       struct state_native_backup_offering *ret_row,
                       struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    int found;

    if (uuid == NULL || !uuid_is_valid(uuid) || caller->role == ROLE_USER)
        return unknown("native backup offering", uuid, err);
    found = state_native_backup_offering_find(tx, where, 2, ret_row, err);
    if (found < 0)
        return -1;
    return found > 0 ? 0 : unknown("native backup offering", uuid, err);
}

int
lookup_require_root(const struct caller *caller, const char *what,
                    struct error *err)
{
    if (caller->role == ROLE_ROOT_ADMIN)
        return 0;
    return error_set(err, ERROR_DENIED, "only a root admin may %s", what);
}
