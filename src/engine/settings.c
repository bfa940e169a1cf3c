/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.c -- effective values, and what may be set.
 *
 * The database holds values that were set, by name, scope and id of the place;
 * most settings have none.  A value is checked when it is set and once more
 * when it is read, since a database may be older than settings.def.
 *
 * Values are read where they are needed, each time: a change counts from the
 * next operation on, and there is no cache that could be stale.
 */
#include "engine/settings.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parse.h"

#define VALUE_MAX 4095

static const struct setting settings[] = {
#define SETTING(name, default_value, scope, kind, meaning)                     \
    {name, default_value, SETTINGS_##scope, SETTINGS_##kind, meaning},
#define SETTING_ALIAS(other, name)
#define SETTING_RANGE(name, least, most)
#include "engine/settings.def"
#undef SETTING
#undef SETTING_ALIAS
};

static const struct {
    const char *other;
    const char *name;
} aliases[] = {
#define SETTING(name, default_value, scope, kind, meaning)
#define SETTING_ALIAS(other, name) {other, name},
#include "engine/settings.def"
#undef SETTING_ALIAS
#undef SETTING_RANGE
};

static const struct {
    const char *name;
    double least;
    double most;
} ranges[] = {
#define SETTING_ALIAS(other, name)
#define SETTING_RANGE(name, least, most) {name, least, most},
#include "engine/settings.def"
#undef SETTING
#undef SETTING_ALIAS
#undef SETTING_RANGE
};

/* -- what there is ------------------------------------------------------ */

const struct setting *
settings_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(name, aliases[i].other) == 0)
            name = aliases[i].name;
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        if (strcmp(name, settings[i].name) == 0)
            return &settings[i];
    return NULL;
}

static const struct setting *
known(const char *name, enum settings_kind kind)
{
    const struct setting *setting = settings_find(name);

    assert(setting != NULL && setting->kind == kind);
    return setting;
}

const struct setting *
settings_at(size_t index)
{
    return index < ARRAY_SIZE(settings) ? &settings[index] : NULL;
}

const char *
settings_kind_name(enum settings_kind kind)
{
    static const char *const names[] = {
        [SETTINGS_BOOL] = "bool",
        [SETTINGS_INT] = "int",
        [SETTINGS_REAL] = "real",
        [SETTINGS_TEXT] = "text",
    };

    assert((size_t)kind < ARRAY_SIZE(names));
    return names[kind];
}

const char *
settings_scope_name(enum settings_scope scope)
{
    static const char *const names[] = {
        [SETTINGS_DEFAULT] = "default", [SETTINGS_GLOBAL] = "global",
        [SETTINGS_ZONE] = "zone",       [SETTINGS_CLUSTER] = "cluster",
        [SETTINGS_ACCOUNT] = "account", [SETTINGS_STORAGE_POOL] = "storagepool",
    };

    assert((size_t)scope < ARRAY_SIZE(names));
    return names[scope];
}

/* -- values ------------------------------------------------------------- */

static int
check_range(const struct setting *setting, double number, struct error *err)
{
    double least = setting->kind == SETTINGS_INT ? -1 : 0;
    double most = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (strcmp(ranges[i].name, setting->name) != 0)
            continue;
        least = ranges[i].least;
        most = ranges[i].most;
    }
    if (number < least)
        return error_set(err, ERROR_INVALID, "setting '%s' must be at least %g",
                         setting->name, least);
    if (most > 0 && number > most)
        return error_set(err, ERROR_INVALID, "setting '%s' must be at most %g",
                         setting->name, most);
    return 0;
}

/* A value in each of its forms; which one counts is the kind's. */
struct parsed {
    bool flag;
    int64_t integer;
    double real;
};

static int
parse(const struct setting *setting, const char *text,
      struct parsed *ret_parsed, struct error *err)
{
    struct error why = ERROR_INIT;
    bool is_right = true;

    memset(ret_parsed, 0, sizeof(*ret_parsed));
    switch (setting->kind) {
    case SETTINGS_BOOL:
        is_right = parse_bool(text, &ret_parsed->flag, &why) == 0;
        break;
    case SETTINGS_INT:
        is_right = parse_i64(text, &ret_parsed->integer, &why) == 0;
        ret_parsed->real = (double)ret_parsed->integer;
        break;
    case SETTINGS_REAL:
        is_right = parse_real(text, &ret_parsed->real, &why) == 0;
        break;
    case SETTINGS_TEXT:
    default:
        /* Some go into headers of answers. */
        for (const char *at = text; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7f)
                return error_set(err, ERROR_INVALID,
                                 "setting '%s' may not have control characters",
                                 setting->name);
        return 0;
    }
    if (!is_right)
        return error_set(err, ERROR_INVALID,
                         "setting '%s' is of kind %s: '%.80s' is not %s",
                         setting->name, settings_kind_name(setting->kind), text,
                         setting->kind == SETTINGS_BOOL  ? "true or false"
                         : setting->kind == SETTINGS_INT ? "a whole number"
                                                         : "a number");
    return setting->kind == SETTINGS_BOOL
               ? 0
               : check_range(setting, ret_parsed->real, err);
}

/* The id of the place at that scope; 0 where the place has none. */
static int64_t
place_id(const struct settings_place *place, enum settings_scope scope)
{
    switch (scope) {
    case SETTINGS_ZONE:
        return place->zone_id;
    case SETTINGS_CLUSTER:
        return place->cluster_id;
    case SETTINGS_ACCOUNT:
        return place->account_id;
    case SETTINGS_STORAGE_POOL:
        return place->storage_pool_id;
    case SETTINGS_DEFAULT:
    case SETTINGS_GLOBAL:
    default:
        return 0;
    }
}

static bool
may_be_set(const struct setting *setting, enum settings_scope scope)
{
    return scope == SETTINGS_GLOBAL || scope == setting->scope ||
           (scope == SETTINGS_ZONE && setting->scope != SETTINGS_GLOBAL);
}

/* Does this row give the setting a value in this place?  If so, how narrow. */
static enum settings_scope
row_scope(const struct setting *setting, const struct settings_place *place,
          const struct state_configuration *row)
{
    static const enum settings_scope scopes[] = {
        SETTINGS_GLOBAL, SETTINGS_ZONE, SETTINGS_CLUSTER, SETTINGS_ACCOUNT,
        SETTINGS_STORAGE_POOL};

    if (strcmp(row->name, setting->name) != 0)
        return SETTINGS_DEFAULT;
    for (size_t i = 0; i < ARRAY_SIZE(scopes); i++)
        if (may_be_set(setting, scopes[i]) &&
            strcmp(row->scope, settings_scope_name(scopes[i])) == 0 &&
            row->scope_id == place_id(place, scopes[i]) &&
            (scopes[i] == SETTINGS_GLOBAL || row->scope_id != 0))
            return scopes[i];
    return SETTINGS_DEFAULT;
}

/* The effective value among the rows, borrowed. */
static const char *
effective(const struct setting *setting, const struct settings_place *place,
          const struct state_configuration_list *rows,
          enum settings_scope *ret_origin)
{
    static const struct settings_place nowhere = {0};
    const char *value = setting->default_value;
    enum settings_scope origin = SETTINGS_DEFAULT;

    for (size_t i = 0; i < rows->count; i++) {
        const struct state_configuration *row = &rows->items[i];
        enum settings_scope scope =
            row_scope(setting, place != NULL ? place : &nowhere, row);

        /* Global is wider than zone, and zone than each of the others, of
         * which a setting has one. */
        if (scope > origin && row->value != NULL) {
            origin = scope;
            value = row->value;
        }
    }
    *ret_origin = origin;
    return value;
}

static int
read_value(struct state *state, const struct setting *setting,
           const struct settings_place *place, char **ret_text,
           struct parsed *ret_parsed, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("name", setting->name)};
    AUTO_STATE_LIST(configuration) rows = {0};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, err);
    enum settings_scope origin;
    const char *value;

    if (tx == NULL ||
        state_configuration_list(tx, STATE_QUERY(where), &rows, err) < 0)
        return -1;
    value = effective(setting, place, &rows, &origin);
    if (parse(setting, value, ret_parsed, err) < 0) {
        err->code = ERROR_CORRUPT;
        return error_prefix(err, "%s value in the database",
                            settings_scope_name(origin));
    }
    if (ret_text != NULL)
        *ret_text = xstrdup(value);
    return 0;
}

int
settings_get_bool(struct state *state, const char *name,
                  const struct settings_place *place, bool *ret_value,
                  struct error *err)
{
    struct parsed parsed;

    if (read_value(state, known(name, SETTINGS_BOOL), place, NULL, &parsed,
                   err) < 0)
        return -1;
    *ret_value = parsed.flag;
    return 0;
}

int
settings_get_int(struct state *state, const char *name,
                 const struct settings_place *place, int64_t *ret_value,
                 struct error *err)
{
    struct parsed parsed;

    if (read_value(state, known(name, SETTINGS_INT), place, NULL, &parsed,
                   err) < 0)
        return -1;
    *ret_value = parsed.integer;
    return 0;
}

int
settings_get_real(struct state *state, const char *name,
                  const struct settings_place *place, double *ret_value,
                  struct error *err)
{
    struct parsed parsed;

    if (read_value(state, known(name, SETTINGS_REAL), place, NULL, &parsed,
                   err) < 0)
        return -1;
    *ret_value = parsed.real;
    return 0;
}

int
settings_get_text(struct state *state, const char *name,
                  const struct settings_place *place, char **ret_value,
                  struct error *err)
{
    struct parsed parsed;

    return read_value(state, known(name, SETTINGS_TEXT), place, ret_value,
                      &parsed, err);
}

/* -- setting ------------------------------------------------------------ */

static int
check_set(const struct setting *setting, enum settings_scope scope,
          const char *value, struct error *err)
{
    struct parsed parsed;

    if (!may_be_set(setting, scope))
        return error_set(err, ERROR_INVALID,
                         "setting '%s' cannot be set for one %s, its scope is "
                         "%s",
                         setting->name, settings_scope_name(scope),
                         settings_scope_name(setting->scope));
    if (value == NULL)
        return 0;
    if (strlen(value) > VALUE_MAX)
        return error_set(err, ERROR_INVALID,
                         "setting '%s': the value is longer than %d bytes",
                         setting->name, VALUE_MAX);
    return parse(setting, value, &parsed, err);
}

int
settings_set(struct state_tx *tx, const char *name, enum settings_scope scope,
             int64_t scope_id, const char *value, struct error *err)
{
    const struct setting *setting = settings_find(name);
    AUTO_STATE(configuration) row = {0};
    int found;

    assert(scope != SETTINGS_DEFAULT);
    assert((scope == SETTINGS_GLOBAL) == (scope_id == 0));
    if (setting == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no setting '%.80s'", name);
    if (check_set(setting, scope, value, err) < 0)
        return -1;
    const struct state_where where[] = {
        STATE_TEXT("name", setting->name),
        STATE_TEXT("scope", settings_scope_name(scope)),
        STATE_INT("scope_id", scope_id),
    };
    found = state_configuration_find(tx, where, ARRAY_SIZE(where), &row, err);
    if (found < 0)
        return -1;
    if (value == NULL)
        return found == 0 ? 0 : state_configuration_delete(tx, row.id, err);
    state_set_text(&row.name, setting->name);
    state_set_text(&row.scope, settings_scope_name(scope));
    state_set_text(&row.value, value);
    row.scope_id = scope_id;
    return found == 0 ? state_configuration_insert(tx, &row, err)
                      : state_configuration_update(tx, &row, err);
}

/* -- listing ------------------------------------------------------------ */

static int
by_name(const void *a, const void *b)
{
    const struct settings_value *value_a = a;
    const struct settings_value *value_b = b;

    return strcmp(value_a->setting->name, value_b->setting->name);
}

int
settings_list(struct state_tx *tx, const struct settings_place *place,
              struct settings_list *ret_list, struct error *err)
{
    AUTO_STATE_LIST(configuration) rows = {0};

    if (state_configuration_list(tx, STATE_ALL, &rows, err) < 0)
        return -1;
    ret_list->count = ARRAY_SIZE(settings);
    ret_list->items = xcalloc(ret_list->count, sizeof(*ret_list->items));
    for (size_t i = 0; i < ret_list->count; i++) {
        struct settings_value *item = &ret_list->items[i];

        item->setting = &settings[i];
        item->value =
            xstrdup(effective(item->setting, place, &rows, &item->origin));
    }
    qsort(ret_list->items, ret_list->count, sizeof(*ret_list->items), by_name);
    return 0;
}

void
settings_list_release(struct settings_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].value);
    free(list->items);
    list->items = NULL;
    list->count = 0;
}
