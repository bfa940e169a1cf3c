/* SPDX-License-Identifier: Apache-2.0 */
#include "api/find.h"
#include "api/listing.h"
#include "api/object.h"
#include "base/memory.h"
#include "engine/events.h"
#include "engine/settings.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* A place that a parameter names: which one, and its row. */
struct place {
    enum settings_scope scope;
    int64_t id;
    struct settings_place where;
};

/* The part of a name before its first dot. */
static char *
group_of(const char *name)
{
    return xstrndup(name, strcspn(name, "."));
}

static json_t *
configuration_object(const struct settings_value *value)
{
    const struct setting *setting = value->setting;
    AUTO_FREE char *group = group_of(setting->name);
    json_t *object = object_new();

    object_set_text(object, "name", setting->name);
    object_set_text(object, "value", value->value);
    object_set_text(object, "defaultvalue", setting->default_value);
    object_set_text(object, "description", setting->meaning);
    object_set_text(object, "origin", settings_scope_name(value->origin));
    object_set_text(object, "category", "Advanced");
    object_set_text(object, "group", group);
    object_set_text(object, "scope", settings_scope_name(setting->scope));
    object_set_text(object, "type", settings_kind_name(setting->kind));
    object_set_bool(object, "isdynamic", true);
    return object;
}

/* At most one place may be named. */
static int
find_place(struct call *call, struct place *ret_place, struct error *err)
{
    static const struct {
        const char *name;
        find_function *find;
        enum settings_scope scope;
    } kinds[] = {
        {"zoneid", find_zone, SETTINGS_ZONE},
        {"clusterid", find_cluster, SETTINGS_CLUSTER},
        {"storageid", find_storage_pool, SETTINGS_STORAGE_POOL},
        {"accountid", find_account, SETTINGS_ACCOUNT},
    };
    struct place place = {.scope = SETTINGS_GLOBAL};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!call_has(call, kinds[i].name))
            continue;
        if (place.scope != SETTINGS_GLOBAL)
            return error_set(err, ERROR_INVALID,
                             "parameter '%s' cannot be combined with another "
                             "place",
                             kinds[i].name);
        if (find_required(call, kinds[i].name, kinds[i].find, &place.id, err) <
            0)
            return -1;
        place.scope = kinds[i].scope;
    }
    place.where.zone_id = place.scope == SETTINGS_ZONE ? place.id : 0;
    place.where.cluster_id = place.scope == SETTINGS_CLUSTER ? place.id : 0;
    place.where.account_id = place.scope == SETTINGS_ACCOUNT ? place.id : 0;
    place.where.storage_pool_id =
        place.scope == SETTINGS_STORAGE_POOL ? place.id : 0;
    *ret_place = place;
    return 0;
}

/* The setting that parameter "name" names, NULL without it. */
static int
find_setting(struct call *call, const struct setting **ret_setting,
             struct error *err)
{
    const char *name = call_text(call, "name");

    *ret_setting = name != NULL ? settings_find(name) : NULL;
    if (name != NULL && *ret_setting == NULL)
        return error_set(err, ERROR_INVALID,
                         "invalid parameter 'name': there is no setting "
                         "'%.80s'",
                         name);
    return 0;
}

static bool
is_asked(const struct call *call, const struct setting *setting)
{
    const char *category = call_text(call, "category");
    const char *group = call_text(call, "group");
    AUTO_FREE char *own = group_of(setting->name);

    return (category == NULL || strcasecmp(category, "Advanced") == 0) &&
           (group == NULL || strcasecmp(group, own) == 0);
}

int
configurations_list(struct call *call, struct listing *listing,
                    struct error *err)
{
    AUTO_SETTINGS_LIST struct settings_list list = {0};
    const struct setting *only;
    struct place place;

    if (find_setting(call, &only, err) < 0 ||
        find_place(call, &place, err) < 0 ||
        settings_list(call_tx(call), &place.where, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        const struct setting *setting = list.items[i].setting;

        if ((only == NULL || only == setting) && is_asked(call, setting) &&
            listing_wants(listing, setting->name, setting->meaning, NULL))
            listing_add(listing, configuration_object(&list.items[i]));
    }
    return 0;
}

/* -- updateConfiguration ------------------------------------------------- */

static int
record(struct call *call, struct state_tx *tx, const struct setting *setting,
       struct error *err)
{
    const char *value = call_text(call, "value");
    AUTO_FREE char *text =
        value != NULL
            ? xasprintf("setting '%s' is '%s' now", setting->name, value)
            : xasprintf("setting '%s' has its default now", setting->name);
    const struct events_new event = {
        .type = "CONFIGURATION.VALUE.EDIT",
        .description = text,
        .account_id = call->caller.account_id,
        .domain_id = call->caller.domain_id,
        .user_id = call->caller.user_id,
    };

    return events_record(tx, &event, err);
}

static int
store(struct call *call, const struct setting *setting,
      const struct place *place, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine_state(call->engine), err);

    if (tx == NULL ||
        settings_set(tx, setting->name, place->scope, place->id,
                     call_text(call, "value"), err) < 0 ||
        record(call, tx, setting, err) < 0)
        return -1;
    return state_commit(tx, err);
}

int
configurations_update(struct call *call, json_t *body, struct error *err)
{
    AUTO_SETTINGS_LIST struct settings_list list = {0};
    const struct setting *setting;
    struct place place;

    if (find_setting(call, &setting, err) < 0 || call_read(call, err) < 0 ||
        find_place(call, &place, err) < 0)
        return -1;
    assert(setting != NULL); /* its name is a required parameter */
    if (store(call, setting, &place, err) < 0)
        return -1;
    engine_settings_changed(call->engine);
    if (call_read(call, err) < 0 ||
        settings_list(call_tx(call), &place.where, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].setting == setting)
            object_set(body, "configuration",
                       configuration_object(&list.items[i]));
    }
    return 0;
}
