/* SPDX-License-Identifier: Apache-2.0 */
/* The promises of settings.h. */
#include "engine/settings.h"

#include "base/memory.h"

#include "check.h"
#include "oracle.h"

static struct scratch scratch;
static struct state *state;
static const struct settings_place zone_1 = {.zone_id = 1};
static const struct settings_place zone_2 = {.zone_id = 2};
static const struct settings_place cluster_7 = {.zone_id = 1, .cluster_id = 7};
static const struct settings_place cluster_8 = {.zone_id = 1, .cluster_id = 8};

/* Set and commit; the code of the failure, or ERROR_NONE. */
static enum error_code
set(const char *name, enum settings_scope scope, int64_t id, const char *value)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);

    if (tx == NULL || settings_set(tx, name, scope, id, value, &err) < 0 ||
        state_commit(tx, &err) < 0)
        return err.code;
    return ERROR_NONE;
}

static int64_t
get_int(const char *name, const struct settings_place *place)
{
    struct error err = ERROR_INIT;
    int64_t value = INT64_MIN;

    CHECK_OK(settings_get_int(state, name, place, &value, &err), &err);
    return value;
}

static bool
get_bool(const char *name, const struct settings_place *place)
{
    struct error err = ERROR_INIT;
    bool value = false;

    CHECK_OK(settings_get_bool(state, name, place, &value, &err), &err);
    return value;
}

static void
every_default_is_of_its_kind_and_range(void)
{
    const struct setting *setting;

    for (size_t i = 0; (setting = settings_at(i)) != NULL; i++) {
        enum error_code code =
            set(setting->name, SETTINGS_GLOBAL, 0, setting->default_value);

        if (code != ERROR_NONE)
            printf("# %s = %s\n", setting->name, setting->default_value);
        CHECK(code == ERROR_NONE);
        CHECK(set(setting->name, SETTINGS_GLOBAL, 0, NULL) == ERROR_NONE);
        CHECK(settings_find(setting->name) == setting);
        CHECK(setting->scope != SETTINGS_DEFAULT);
        CHECK(*setting->meaning != '\0');
    }
}

static void
what_is_not_set_has_its_default(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *text = NULL;
    double real = 0;

    CHECK(get_int("vmsnapshot.max", NULL) == 10);
    CHECK(get_int("snapshot.delta.max", &zone_1) == 16);
    CHECK(get_int("vmsnapshot.expire.interval", NULL) == -1);
    CHECK(get_int("snapshot.merge.timeout", NULL) == 259200);
    CHECK(!get_bool("libvirt.events.enabled", NULL));
    CHECK(get_bool("snapshot.backup.to.secondary", NULL));
    CHECK_OK(settings_get_real(
                 state, "zone.backupStorage.capacity.notificationthreshold",
                 NULL, &real, &err),
             &err);
    CHECK(real > 0.74 && real < 0.76);
    CHECK_OK(settings_get_text(state, "backup.framework.provider.plugin", NULL,
                               &text, &err),
             &err);
    CHECK_TEXT(text, "knib");
}

static void
the_narrowest_value_counts(void)
{
    const char *name = "kvm.incremental.snapshot";

    CHECK(set(name, SETTINGS_GLOBAL, 0, "true") == ERROR_NONE);
    CHECK(get_bool(name, NULL) && get_bool(name, &cluster_7));
    CHECK(set(name, SETTINGS_ZONE, 1, "false") == ERROR_NONE);
    CHECK(get_bool(name, NULL) && get_bool(name, &zone_2));
    CHECK(!get_bool(name, &zone_1) && !get_bool(name, &cluster_7));
    CHECK(set(name, SETTINGS_CLUSTER, 7, "True") == ERROR_NONE);
    CHECK(get_bool(name, &cluster_7) && !get_bool(name, &cluster_8));
    CHECK(set(name, SETTINGS_CLUSTER, 7, NULL) == ERROR_NONE);
    CHECK(!get_bool(name, &cluster_7));
    CHECK(set(name, SETTINGS_ZONE, 1, NULL) == ERROR_NONE);
    CHECK(get_bool(name, &cluster_7));
    CHECK(set(name, SETTINGS_GLOBAL, 0, NULL) == ERROR_NONE);
    CHECK(set(name, SETTINGS_GLOBAL, 0, NULL) == ERROR_NONE);
    CHECK(!get_bool(name, &cluster_7));
}

static void
the_last_value_set_counts(void)
{
    CHECK(set("backup.chain.size", SETTINGS_ZONE, 1, "4") == ERROR_NONE);
    CHECK(set("backup.chain.size", SETTINGS_ZONE, 1, "-1") == ERROR_NONE);
    CHECK(get_int("backup.chain.size", &zone_1) == -1);
    CHECK(get_int("backup.chain.size", NULL) == 8);
    CHECK(set("backup.chain.size", SETTINGS_ZONE, 1, NULL) == ERROR_NONE);
}

static void
other_versions_names_lead_to_the_same_setting(void)
{
    CHECK(set("kboss.timeout", SETTINGS_GLOBAL, 0, "60") == ERROR_NONE);
    CHECK(get_int("knib.timeout", NULL) == 60);
    CHECK(set("knib.timeout", SETTINGS_GLOBAL, 0, NULL) == ERROR_NONE);
    CHECK(get_int("kboss.timeout", NULL) == 43200);
}

static void
wrong_values_are_refused_and_change_nothing(void)
{
    static const struct {
        const char *name;
        enum settings_scope scope;
        int64_t id;
        const char *value;
        enum error_code code;
    } cases[] = {
        {"no.such.setting", SETTINGS_GLOBAL, 0, "1", ERROR_NOT_FOUND},
        {"", SETTINGS_GLOBAL, 0, "1", ERROR_NOT_FOUND},
        {"VMSNAPSHOT.MAX", SETTINGS_GLOBAL, 0, "1", ERROR_NOT_FOUND},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, "", ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, "ten", ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, "1.5", ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, " 1", ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, "-2", ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_GLOBAL, 0, "99999999999999999999",
         ERROR_INVALID},
        {"vmsnapshot.max", SETTINGS_ZONE, 1, "1", ERROR_INVALID},
        {"kvm.incremental.snapshot", SETTINGS_ACCOUNT, 1, "true",
         ERROR_INVALID},
        {"kvm.incremental.snapshot", SETTINGS_GLOBAL, 0, "1", ERROR_INVALID},
        {"primary.reserve.percent", SETTINGS_GLOBAL, 0, "91", ERROR_INVALID},
        {"knib.timeout", SETTINGS_GLOBAL, 0, "0", ERROR_INVALID},
        {"backup.compression.minimum.free.storage", SETTINGS_GLOBAL, 0, "nan",
         ERROR_INVALID},
        {"backup.compression.minimum.free.storage", SETTINGS_GLOBAL, 0, "-0.5",
         ERROR_INVALID},
        {"json.content.type", SETTINGS_GLOBAL, 0, "a\r\nSet-Cookie: b",
         ERROR_INVALID},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        enum error_code code =
            set(cases[i].name, cases[i].scope, cases[i].id, cases[i].value);

        if (code != cases[i].code)
            printf("# %s = '%s': %s\n", cases[i].name, cases[i].value,
                   error_code_name(code));
        CHECK(code == cases[i].code);
    }
    CHECK(get_int("vmsnapshot.max", NULL) == 10);
}

static void
a_refusal_says_what_was_expected(void)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);

    REQUIRE(tx != NULL);
    CHECK(settings_set(tx, "vmsnapshot.max", SETTINGS_GLOBAL, 0, "ten", &err) <
          0);
    CHECK_TEXT(err.message, "setting 'vmsnapshot.max' is of kind int: 'ten' is "
                            "not a whole number");
    CHECK(settings_set(tx, "vmsnapshot.max", SETTINGS_ZONE, 1, "1", &err) < 0);
    CHECK_TEXT(err.message, "setting 'vmsnapshot.max' cannot be set for one "
                            "zone, its scope is global");
}

static void
a_list_tells_value_and_origin(void)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_SETTINGS_LIST struct settings_list list = {0};
    size_t count = 0;
    unsigned seen = 0;

    CHECK(set("backup.chain.size", SETTINGS_GLOBAL, 0, "5") == ERROR_NONE);
    CHECK(set("knib.timeout", SETTINGS_ZONE, 1, "9") == ERROR_NONE);
    CHECK(set("kvm.incremental.snapshot", SETTINGS_CLUSTER, 7, "true") ==
          ERROR_NONE);
    tx = state_begin_read(state, &err);
    REQUIRE(tx != NULL);
    CHECK_OK(settings_list(tx, &cluster_7, &list, &err), &err);
    while (settings_at(count) != NULL)
        count++;
    CHECK(list.count == count && count > 50);
    for (size_t i = 0; i < list.count; i++) {
        const struct settings_value *item = &list.items[i];
        const char *name = item->setting->name;

        CHECK(i == 0 || strcmp(list.items[i - 1].setting->name, name) < 0);
        if (strcmp(name, "backup.chain.size") == 0) {
            seen++;
            CHECK_TEXT(item->value, "5");
            CHECK_TEXT(settings_scope_name(item->origin), "global");
        } else if (strcmp(name, "knib.timeout") == 0) {
            seen++;
            CHECK_TEXT(item->value, "9");
            CHECK_TEXT(settings_scope_name(item->origin), "zone");
        } else if (strcmp(name, "kvm.incremental.snapshot") == 0) {
            seen++;
            CHECK_TEXT(item->value, "true");
            CHECK_TEXT(settings_scope_name(item->origin), "cluster");
        } else {
            CHECK(item->origin == SETTINGS_DEFAULT);
            CHECK_TEXT(item->value, item->setting->default_value);
        }
    }
    CHECK(seen == 3);
}

static void
a_damaged_value_is_named_and_not_used(void)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE(configuration) row = {0};
    int64_t value = 77;

    REQUIRE(tx != NULL);
    state_set_text(&row.name, "snapshot.delta.max");
    state_set_text(&row.scope, "global");
    state_set_text(&row.value, "rubbish");
    CHECK_OK(state_configuration_insert(tx, &row, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    CHECK(settings_get_int(state, "snapshot.delta.max", NULL, &value, &err) <
          0);
    CHECK(err.code == ERROR_CORRUPT && value == 77);
    CHECK(strstr(err.message, "snapshot.delta.max") != NULL);
    CHECK(set("snapshot.delta.max", SETTINGS_GLOBAL, 0, "3") == ERROR_NONE);
    CHECK(get_int("snapshot.delta.max", NULL) == 3);
}

int
main(void)
{
    struct error err = ERROR_INIT;
    char *path;

    scratch_enter(&scratch);
    path = scratch_file(&scratch, "varve.db");
    state = state_open(path, &err);
    if (state == NULL) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    RUN(every_default_is_of_its_kind_and_range);
    RUN(what_is_not_set_has_its_default);
    RUN(the_narrowest_value_counts);
    RUN(the_last_value_set_counts);
    RUN(other_versions_names_lead_to_the_same_setting);
    RUN(wrong_values_are_refused_and_change_nothing);
    RUN(a_refusal_says_what_was_expected);
    RUN(a_list_tells_value_and_origin);
    RUN(a_damaged_value_is_named_and_not_used);
    state_close(state);
    free(path);
    scratch_leave(&scratch);
    return check_done();
}
