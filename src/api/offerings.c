/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backup offerings: the native ones, which say how, and those of the framework,
 * which users are given (semantics 5.1, 6.7, 6.8).
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/requests.h"

#include <string.h>
#include <strings.h>

#define PROVIDER "knib"

/* -- native -------------------------------------------------------------- */

static json_t *
native_object(const struct state_native_backup_offering *offering)
{
    json_t *object = object_new();

    object_set_text(object, "id", offering->uuid);
    object_set_text(object, "name", offering->name);
    object_set_bool(object, "compress", offering->compress != 0);
    object_set_bool(object, "validate", offering->validate != 0);
    object_set_text(object, "validationsteps", offering->validation_steps);
    object_set_bool(object, "allowquickrestore",
                    offering->allow_quick_restore != 0);
    object_set_bool(object, "allowextractfile",
                    offering->allow_extract_file != 0);
    object_set_number(object, "backupchainsize", offering->backup_chain_size);
    object_set_text(object, "compressionlibrary",
                    offering->compression_library);
    object_set_date(object, "created", offering->created);
    object_set_date(object, "removed", offering->removed);
    return object;
}

int
native_offerings_list(struct call *call, struct listing *listing,
                      struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(native_backup_offering) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_native_offering, "id", err) < 0)
        return -1;
    filter_text(&filter, call, "name", "name");
    filter_flag(&filter, call, "compress", "compress");
    filter_flag(&filter, call, "validate", "validate");
    filter_flag(&filter, call, "allowquickrestore", "allow_quick_restore");
    filter_flag(&filter, call, "allowextractfile", "allow_extract_file");
    if (!call_flag(call, "showremoved", false))
        filter_living(&filter);
    query = filter_query(&filter);
    if (state_native_backup_offering_list(call_tx(call), &query, &rows, err) <
        0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (listing_wants(listing, rows.items[i].name, NULL))
            listing_add(listing, native_object(&rows.items[i]));
    }
    return 0;
}

/* Answer with the offering of that uuid, as it is now. */
static int
answer_native(struct call *call, const char *uuid, json_t *body,
              struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    AUTO_STATE(native_backup_offering) row = {0};
    int found;

    if (call_read(call, err) < 0)
        return -1;
    found =
        state_native_backup_offering_find(call_tx(call), where, 1, &row, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return error_set(err, ERROR_INTERNAL,
                         "the new native backup offering '%s' is not there",
                         uuid);
    object_set(body, "nativebackupoffering", native_object(&row));
    return 0;
}

int
native_offerings_create(struct call *call, json_t *body, struct error *err)
{
    const struct request_native_offering args = {
        .name = call_text(call, "name"),
        .compress = call_flag(call, "compress", false),
        .validate = call_flag(call, "validate", false),
        .validation_steps = call_text(call, "validationsteps"),
        .allow_quick_restore = call_flag(call, "allowquickrestore", false),
        .allow_extract_file = call_flag(call, "allowextractfile", false),
        .has_chain_size = call_has(call, "backupchainsize"),
        .chain_size = call_number(call, "backupchainsize", 0),
        .compression_library = call_text(call, "compressionlibrary"),
    };
    char uuid[UUID_TEXT_SIZE];

    if (request_native_offering_create(call->engine, &call->caller, &args, uuid,
                                       err) < 0)
        return -1;
    return answer_native(call, uuid, body, err);
}

int
native_offerings_delete(struct call *call, json_t *body, struct error *err)
{
    if (request_native_offering_delete(call->engine, &call->caller,
                                       call_text(call, "id"), err) < 0)
        return -1;
    object_set_bool(body, "success", true);
    return 0;
}

/* -- the provider -------------------------------------------------------- */

int
providers_list(struct call *call, struct listing *listing, struct error *err)
{
    static const char about[] =
        "Native incremental backups of KVM machines, by their layers";
    const char *name = call_text(call, "name");
    json_t *object;

    (void)err;
    if ((name != NULL && strcasecmp(name, PROVIDER) != 0) ||
        !listing_wants(listing, PROVIDER, about, NULL))
        return 0;
    object = object_new();
    object_set_text(object, "name", PROVIDER);
    object_set_text(object, "description", about);
    listing_add(listing, object);
    return 0;
}

/* The provider's offerings are the native ones. */
int
provider_offerings_list(struct call *call, struct listing *listing,
                        struct error *err)
{
    const struct state_where where[] = {STATE_LIVING};
    AUTO_STATE_LIST(native_backup_offering) rows = {0};
    int64_t zone_id;

    if (find_required(call, "zoneid", find_zone, &zone_id, err) < 0 ||
        state_native_backup_offering_list(call_tx(call), STATE_QUERY(where),
                                          &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        json_t *object;

        if (!listing_wants(listing, rows.items[i].name, NULL))
            continue;
        object = object_new();
        object_set_text(object, "name", rows.items[i].name);
        object_set_text(object, "description", rows.items[i].name);
        object_set_text(object, "externalid", rows.items[i].uuid);
        object_set_text(object, "provider", PROVIDER);
        zones_set_zone(call->refs, object, zone_id);
        listing_add(listing, object);
    }
    return 0;
}

/* -- of the framework ---------------------------------------------------- */

json_t *
offerings_object(struct refs *refs,
                 const struct state_backup_offering *offering)
{
    json_t *object = object_new();

    object_set_text(object, "id", offering->uuid);
    object_set_text(object, "name", offering->name);
    object_set_text(object, "description", offering->description);
    object_set_text(object, "provider", offering->provider);
    object_set_text(object, "externalid", offering->external_id);
    object_set_bool(object, "allowuserdrivenbackups",
                    offering->allow_user_driven_backups != 0);
    zones_set_zone(refs, object, offering->zone_id);
    object_set_bool(object, "crosszoneinstancecreation", false);
    object_set_date(object, "created", offering->created);
    return object;
}

int
offerings_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(backup_offering) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_offering, "id", err) < 0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0)
        return -1;
    if (!call_is_root(call))
        filter_add(&filter, (struct state_where)STATE_INT(
                                "allow_user_driven_backups", 1));
    filter_living(&filter);
    query = filter_query(&filter);
    if (state_backup_offering_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_backup_offering *row = &rows.items[i];

        if (listing_wants(listing, row->name,
                          row->description != NULL ? row->description : "",
                          NULL))
            listing_add(listing, offerings_object(call->refs, row));
    }
    return 0;
}

int
offerings_import(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    const struct request_offering_import args = {
        .name = call_text(call, "name"),
        .description = call_text(call, "description"),
        .external_id = call_text(call, "externalid"),
        .zone = call_text(call, "zoneid"),
        .allow_user_driven_backups =
            call_flag(call, "allowuserdrivenbackups", false),
    };

    return request_offering_import(call->engine, &call->caller, &args,
                                   ret_ticket, err);
}

int
offerings_delete(struct call *call, json_t *body, struct error *err)
{
    if (request_offering_delete(call->engine, &call->caller,
                                call_text(call, "id"), err) < 0)
        return -1;
    object_set_bool(body, "success", true);
    return 0;
}

int
offerings_assign(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    return request_offering_assign(
        call->engine, &call->caller, call_text(call, "virtualmachineid"),
        call_text(call, "backupofferingid"), ret_ticket, err);
}

int
offerings_remove(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    return request_offering_remove(
        call->engine, &call->caller, call_text(call, "virtualmachineid"),
        call_flag(call, "forced", false), ret_ticket, err);
}
