/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups (semantics 5, 6.7), and what we say beyond: why one is full, what
 * was read for it, what had changed, and the content roots that a restore
 * must reproduce.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "base/memory.h"
#include "engine/backup_changes.h"
#include "engine/requests.h"
#include "image/digest.h"

#include <stdlib.h>
#include <string.h>

/* -- the object ---------------------------------------------------------- */

static json_t *
volume_object(const struct state_backup_volume *volume)
{
    json_t *object = object_new();

    object_set_text(object, "uuid", volume->volume_uuid);
    object_set_text(object, "name", volume->volume_name);
    object_set_text(object, "type", volume->volume_type);
    object_set_number(object, "size", volume->virtual_size);
    object_set_text(object, "path", volume->file_uuid);
    object_set_number(object, "deviceId", volume->device_id);
    return object;
}

static json_t *
root_object(const struct state_backup_volume *volume)
{
    json_t *object = object_new();

    object_set_text(object, "volumeid", volume->volume_uuid);
    object_set_text(object, "root", volume->root);
    return object;
}

/* "volumes", a JSON text as CloudStack has it, and "contentroots". */
static void
set_volumes(struct refs *refs, json_t *object, int64_t backup_id)
{
    const struct state_where where[] = {STATE_INT("backup_id", backup_id)};
    const struct state_query query = {
        .where = where, .where_count = 1, .order = "device_id"};
    AUTO_STATE_LIST(backup_volume) rows = {0};
    AUTO_JSON json_t *volumes = object_new_array();
    AUTO_FREE char *text = NULL;
    struct error err = ERROR_INIT;
    json_t *roots = object_new_array();

    if (state_backup_volume_list(refs->tx, &query, &rows, &err) < 0)
        refs_keep(refs, &err);
    for (size_t i = 0; i < rows.count; i++) {
        object_append(volumes, volume_object(&rows.items[i]));
        if (rows.items[i].root != NULL)
            object_append(roots, root_object(&rows.items[i]));
    }
    text = json_dumps(volumes, JSON_COMPACT);
    object_set_text(object, "volumes", text);
    object_set(object, "contentroots", roots);
}

static void
set_vm(struct refs *refs, json_t *object, const struct state_backup *backup,
       bool with_details)
{
    const struct state_vm *vm = refs_vm(refs, backup->vm_id);
    json_t *details;

    object_set_bool(object, "isbackupvmexpunged",
                    vm == NULL || vm->removed != 0);
    object_set_bool(object, "vmbackupofferingremoved",
                    vm == NULL || vm->backup_offering_id == 0);
    if (vm == NULL)
        return;
    object_set_text(object, "virtualmachineid", vm->uuid);
    object_set_text(object, "virtualmachinename", vm->name);
    if (!with_details)
        return;
    details = object_new();
    object_set_number(details, "memory", vm->memory >> 20);
    object_set_number(details, "cpunumber", vm->vcpus);
    object_set(object, "vmdetails", details);
}

static void
set_place(struct refs *refs, json_t *object, const struct state_backup *backup)
{
    const struct state_backup_offering *offering =
        refs_backup_offering(refs, backup->backup_offering_id);
    const struct state_zone *zone = refs_zone(refs, backup->zone_id);
    const struct state_account *account =
        refs_account(refs, backup->account_id);
    const struct state_domain *domain = refs_domain(refs, backup->domain_id);

    if (offering != NULL) {
        object_set_text(object, "backupofferingid", offering->uuid);
        object_set_text(object, "backupofferingname", offering->name);
    }
    if (account != NULL) {
        object_set_text(object, "accountid", account->uuid);
        object_set_text(object, "account", account->name);
    }
    if (domain != NULL) {
        object_set_text(object, "domainid", domain->uuid);
        object_set_text(object, "domain", domain->name);
    }
    if (zone != NULL) {
        object_set_text(object, "zoneid", zone->uuid);
        object_set_text(object, "zone", zone->name);
    }
}

static void
set_facts(struct refs *refs, json_t *object, const struct state_backup *backup)
{
    const struct state_backup *parent = refs_backup(refs, backup->parent_id);

    if (parent != NULL)
        object_set_text(object, "parentid", parent->uuid);
    object_set_number(object, "size", backup->size);
    object_set_number(object, "virtualsize", backup->virtual_size);
    if (backup->uncompressed_size != 0)
        object_set_number(object, "uncompressedsize",
                          backup->uncompressed_size);
    object_set_text(object, "reason", backup->reason);
    object_set_number(object, "bytesread", backup->bytes_read);
    object_set_number(object, "byteschanged", backup->bytes_changed);
    object_set_bool(object, "isolated", backup->is_isolated != 0);
    object_set_text(object, "compressionstatus", backup->compression_status);
    object_set_text(object, "validationstatus", backup->validation_status);
    object_set_text(object, "verifystatus", backup->verify_status);
    object_set_text(object, "verifyproblem", backup->verify_problem);
    if (backup->verified != 0)
        object_set_date(object, "verified", backup->verified);
    object_set_text(object, "intervaltype", backup->interval_type);
}

static json_t *
backup_object(struct refs *refs, const struct state_backup *backup,
              bool with_details)
{
    json_t *object = object_new();

    object_set_text(object, "id", backup->uuid);
    object_set_text(object, "name", backup->name);
    object_set_text(object, "description", backup->description);
    set_vm(refs, object, backup, with_details);
    object_set_text(object, "externalid", backup->uuid);
    object_set_text(object, "type", backup->type);
    object_set_text(object, "status", backup->status);
    set_facts(refs, object, backup);
    set_volumes(refs, object, backup->id);
    set_place(refs, object, backup);
    object_set_date(object, "created", backup->created);
    return object;
}

/* -- listBackups --------------------------------------------------------- */

static int
set_filter(struct filter *filter, struct call *call, struct error *err)
{
    static const char *const gone[] = {"Removed", "Expunged"};

    if (filter_by_id(filter, call, "id", find_backup, "id", err) < 0 ||
        filter_by_owner(filter, call, err) < 0 ||
        filter_by_id(filter, call, "virtualmachineid", find_vm, "vm_id", err) <
            0 ||
        filter_by_id(filter, call, "zoneid", find_zone, "zone_id", err) < 0 ||
        filter_by_id(filter, call, "backupofferingid", find_offering,
                     "backup_offering_id", err) < 0)
        return -1;
    filter_living(filter);
    filter_text(filter, call, "name", "name");
    for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
        filter_add(filter, (struct state_where){.column = "status",
                                                .op = STATE_NE,
                                                .text = gone[i]});
    return 0;
}

int
backups_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(backup) rows = {0};
    bool with_details = call_flag(call, "listvmdetails", false);
    struct state_query query;

    if (set_filter(&filter, call, err) < 0)
        return -1;
    query = filter_query(&filter);
    if (state_backup_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_backup *row = &rows.items[i];

        if (listing_wants(listing, row->name != NULL ? row->name : "",
                          row->description != NULL ? row->description : "",
                          NULL))
            listing_add(listing, backup_object(call->refs, row, with_details));
    }
    return 0;
}

/* -- what can be done with them ------------------------------------------ */

int
backups_create(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    const struct request_backup args = {
        .vm = call_text(call, "virtualmachineid"),
        .name = call_text(call, "name"),
        .description = call_text(call, "description"),
        .quiesce = call_flag(call, "quiescevm", false),
        .isolated = call_flag(call, "isolated", false),
    };

    return request_backup_create(call->engine, &call->caller, &args, ret_ticket,
                                 err);
}

int
backups_delete(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_backup_delete(
        call->engine, &call->caller, call_text(call, "id"),
        call_flag(call, "forced", false), ret_ticket, err);
}

int
backups_restore(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    bool quick = call_flag(call, "quickrestore", false);

    /* To ignore it would be to do something else than was asked. */
    if (call_has(call, "hostid") && !quick)
        return error_set(err, ERROR_INVALID,
                         "parameter 'hostid' goes with 'quickrestore' only");
    if (quick)
        return error_set(err, ERROR_UNSUPPORTED,
                         "quick restore is not supported; leave "
                         "'quickrestore' out to restore the whole machine");
    return request_backup_restore(call->engine, &call->caller,
                                  call_text(call, "id"), ret_ticket, err);
}

int
backups_verify(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    return request_backup_verify(call->engine, &call->caller,
                                 call_text(call, "id"), ret_ticket, err);
}

int
backups_fold(struct call *call, struct ticket *ret_ticket, struct error *err)
{
    const struct request_fold args = {
        .backup = call_text(call, "id"),
        .oldest = call_text(call, "frombackupid"),
        .verify = call_flag(call, "verify", false),
    };

    return request_backup_fold(call->engine, &call->caller, &args, ret_ticket,
                               err);
}

/* -- where two of them differ -------------------------------------------- */

static json_t *
changed_volume_object(const struct backup_changes_volume *volume)
{
    static const char *const presences[] = {
        [BACKUP_CHANGES_BOTH] = "both",
        [BACKUP_CHANGES_ADDED] = "added",
        [BACKUP_CHANGES_REMOVED] = "removed",
    };
    json_t *object = object_new();
    json_t *ranges = object_new_array();

    for (size_t i = 0; i < volume->ranges.count; i++) {
        json_t *range = object_new();

        object_set_number(range, "offset",
                          (int64_t)volume->ranges.items[i].offset);
        object_set_number(range, "length",
                          (int64_t)volume->ranges.items[i].length);
        object_append(ranges, range);
    }
    object_set_text(object, "volumeid", volume->volume.text);
    object_set_text(object, "target", volume->target);
    object_set_text(object, "presence", presences[volume->presence]);
    object_set_number(object, "sizesince", (int64_t)volume->size_before);
    object_set_number(object, "size", (int64_t)volume->size_after);
    object_set_number(object, "bytes", (int64_t)volume->bytes);
    object_set(object, "ranges", ranges);
    if (volume->is_cut)
        object_set_number(object, "next", (int64_t)volume->next);
    return object;
}

int
backups_changes(struct call *call, json_t *body, struct error *err)
{
    AUTO_BACKUP_CHANGES struct backup_changes changes = {.items = NULL};
    int64_t offset = call_number(call, "offset", 0);
    const struct backup_changes_query query = {
        .before = call_text(call, "sinceid"),
        .after = call_text(call, "id"),
        .volume = call_text(call, "volumeid"),
        .offset = (uint64_t)offset,
    };
    json_t *object;
    json_t *volumes;

    if (offset < 0)
        return error_set(err, ERROR_INVALID,
                         "parameter 'offset' must be at least 0");
    if (backup_changes_find(call->engine, &call->caller, &query, &changes,
                            err) < 0)
        return -1;
    object = object_new();
    volumes = object_new_array();
    object_set_text(object, "id", query.after);
    object_set_text(object, "sinceid", query.before);
    object_set_number(object, "blocksize", DIGEST_LEAF_SIZE);
    object_set_text(object, "algorithm", changes.algorithm);
    for (size_t i = 0; i < changes.count; i++)
        object_append(volumes, changed_volume_object(&changes.items[i]));
    object_set(object, "volumes", volumes);
    object_set(body, "backupchanges", object);
    return 0;
}
