/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What looks like an id is looked up as one first, then as a name.  The API's
 * own filters by name are only there to keep the answer small (some of them
 * find parts of names): what counts is compared here.
 */
#include "cli/named.h"

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 5

struct kind {
    const char *what; /* "machine" */
    const char *command;
    const char *key;
    const char *id;     /* parameter */
    const char *filter; /* parameter by name; NULL: there is none */
    const char *name;   /* field */
    const char *place;  /* field that tells candidates apart */
    const char *option; /* that does, too; or NULL */
};

static const struct kind vm_kind = {"machine",        "listVirtualMachines",
                                    "virtualmachine", "id",
                                    "name",           "name",
                                    "account",        NULL};
static const struct kind snapshot_kind = {
    "snapshot", "listVMSnapshot", "vmSnapshot",         "vmsnapshotid",
    "name",     "displayname",    "virtualmachinename", "--vm"};
static const struct kind backup_kind = {
    "backup", "listBackups",        "backup", "id", "name",
    "name",   "virtualmachinename", "--vm"};
static const struct kind volume_kind = {
    "volume", "listVolumes", "volume", "id", "name", "name", "vmname", "--vm"};
static const struct kind volume_snapshot_kind = {
    "snapshot", "listSnapshots", "snapshot",   "id",
    "name",     "name",          "volumename", NULL};
static const struct kind service_offering_kind = {"service offering",
                                                  "listServiceOfferings",
                                                  "serviceoffering",
                                                  "id",
                                                  "name",
                                                  "name",
                                                  "displaytext",
                                                  NULL};
static const struct kind offering_kind = {"offering",
                                          "listBackupOfferings",
                                          "backupoffering",
                                          "id",
                                          NULL,
                                          "name",
                                          "zonename",
                                          NULL};
static const struct kind zone_kind = {"zone", "listZones", "zone", "id",
                                      "name", "name",      "name", NULL};

const char *
named_id(json_t *object)
{
    return output_field(object, "id");
}

/* 1 found, 0 not there. */
static int
find_by_id(struct cli *cli, const struct kind *kind, const char *id,
           json_t **ret_object, struct error *err)
{
    json_auto_t *items = NULL;

    if (!uuid_is_valid(id))
        return 0;
    if (client_list(cli->client, kind->command, kind->key,
                    json_pack("{s:s, s:s}", kind->id, id, "listall", "true"),
                    &items, err) < 0) {
        if (err->code != ERROR_NOT_FOUND && err->code != ERROR_INVALID)
            return -1;
        error_clear(err);
        return 0;
    }
    if (json_array_size(items) != 1)
        return 0;
    *ret_object = json_incref(json_array_get(items, 0));
    return 1;
}

static int
refuse_ambiguous(const struct kind *kind, const char *name, json_t *found,
                 struct error *err)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    size_t count = json_array_size(found);

    for (size_t i = 0; i < MIN(count, (size_t)CANDIDATES_MAX); i++) {
        json_t *item = json_array_get(found, i);

        strbuf_addf(&text, "%s%s (%s)", i > 0 ? ", " : "", named_id(item),
                    output_field(item, kind->place));
    }
    if (count > CANDIDATES_MAX)
        strbuf_addf(&text, " and %zu more", count - CANDIDATES_MAX);
    return error_set(err, ERROR_INVALID,
                     "%zu %ss are called '%s': %s; give the id%s%s", count,
                     kind->what, name, strbuf_text(&text),
                     kind->option != NULL ? " or " : "",
                     kind->option != NULL ? kind->option : "");
}

static int
choose(const struct kind *kind, const char *name, json_t *items,
       json_t **ret_object, struct error *err)
{
    json_auto_t *found = json_array();
    size_t index;
    json_t *item;

    json_array_foreach(items, index, item)
    {
        if (strcmp(output_field(item, kind->name), name) == 0)
            (void)json_array_append(found, item);
    }
    if (json_array_size(found) == 0)
        return error_set(err, ERROR_NOT_FOUND, "no %s '%s'", kind->what, name);
    if (json_array_size(found) > 1)
        return refuse_ambiguous(kind, name, found, err);
    *ret_object = json_incref(json_array_get(found, 0));
    return 0;
}

static int
find(struct cli *cli, const struct kind *kind, const char *name,
     const char *vm_id, json_t **ret_object, struct error *err)
{
    json_auto_t *items = NULL;
    json_t *params;
    int by_id = find_by_id(cli, kind, name, ret_object, err);

    if (by_id != 0)
        return by_id < 0 ? -1 : 0;
    params =
        json_pack("{s:s, s:s*}", "listall", "true", "virtualmachineid", vm_id);
    if (params != NULL && kind->filter != NULL)
        (void)json_object_set_new(params, kind->filter, json_string(name));
    if (client_list(cli->client, kind->command, kind->key, params, &items,
                    err) < 0)
        return -1;
    return choose(kind, name, items, ret_object, err);
}

int
named_vm(struct cli *cli, const char *name, json_t **ret_object,
         struct error *err)
{
    return find(cli, &vm_kind, name, NULL, ret_object, err);
}

/* An object of a machine. */
static int
find_of(struct cli *cli, const struct kind *kind, const char *name,
        const char *vm, json_t **ret_object, struct error *err)
{
    json_auto_t *machine = NULL;

    if (vm != NULL && named_vm(cli, vm, &machine, err) < 0)
        return -1;
    return find(cli, kind, name, machine != NULL ? named_id(machine) : NULL,
                ret_object, err);
}

int
named_snapshot(struct cli *cli, const char *name, const char *vm,
               json_t **ret_object, struct error *err)
{
    return find_of(cli, &snapshot_kind, name, vm, ret_object, err);
}

int
named_backup(struct cli *cli, const char *name, const char *vm,
             json_t **ret_object, struct error *err)
{
    return find_of(cli, &backup_kind, name, vm, ret_object, err);
}

int
named_volume(struct cli *cli, const char *name, const char *vm,
             json_t **ret_object, struct error *err)
{
    return find_of(cli, &volume_kind, name, vm, ret_object, err);
}

int
named_volume_snapshot(struct cli *cli, const char *name, json_t **ret_object,
                      struct error *err)
{
    return find(cli, &volume_snapshot_kind, name, NULL, ret_object, err);
}

int
named_service_offering(struct cli *cli, const char *name, json_t **ret_object,
                       struct error *err)
{
    return find(cli, &service_offering_kind, name, NULL, ret_object, err);
}

int
named_offering(struct cli *cli, const char *name, json_t **ret_object,
               struct error *err)
{
    return find(cli, &offering_kind, name, NULL, ret_object, err);
}

int
named_zone(struct cli *cli, const char *name, json_t **ret_object,
           struct error *err)
{
    json_auto_t *items = NULL;

    if (name != NULL)
        return find(cli, &zone_kind, name, NULL, ret_object, err);
    if (client_list(cli->client, "listZones", "zone", json_object(), &items,
                    err) < 0)
        return -1;
    if (json_array_size(items) != 1)
        return error_set(err, ERROR_INVALID,
                         "there are %zu zones; say which with --zone",
                         json_array_size(items));
    *ret_object = json_incref(json_array_get(items, 0));
    return 0;
}
