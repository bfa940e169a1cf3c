/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions, order and paging of state.h, and what is refused. */
#include "state/state.h"

#include "base/memory.h"
#include "state/state_sql.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "state_fixture.h"

/* -- queries ------------------------------------------------------------ */

static struct state *
state_with_names(void)
{
    static const char *const names[] = {NULL,     "web1", "Web2", "db_1",
                                        "db%100", "dbx1", ""};
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);

    for (int i = 0; i < 7; i++) {
        char uuid[8];

        (void)snprintf(uuid, sizeof(uuid), "u%d", i);
        CHECK_OK(add_zone(tx, uuid, names[i], 10 - i / 2, &err), &err);
    }
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    return state;
}

/* The ids that a condition matches, as "1 3 4". */
static const char *
ids(struct state *state, struct state_query query)
{
    static char text[128];
    AUTO_STATE_TX struct state_tx *tx = reading(state);
    AUTO_STATE_LIST(zone) list = {0};
    struct error err = ERROR_INIT;
    size_t length = 0;

    text[0] = '\0';
    if (state_zone_list(tx, &query, &list, &err) < 0)
        return error_code_name(err.code);
    for (size_t i = 0; i < list.count; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d",
                                   i > 0 ? " " : "", (int)list.items[i].id);
    return text;
}

static const char *
match(struct state *state, struct state_where where)
{
    return ids(state, (struct state_query){.where = &where, .where_count = 1});
}

#define COND(name, oper, ...)                                                  \
    ((struct state_where){.column = (name), .op = (oper), ##__VA_ARGS__})

static void
conditions_compare_numbers_and_texts(void)
{
    struct state *state = state_with_names();

    CHECK_TEXT(match(state, COND("created", STATE_EQ, .number = 9)), "3 4");
    CHECK_TEXT(match(state, COND("created", STATE_NE, .number = 9)),
               "1 2 5 6 7");
    CHECK_TEXT(match(state, COND("created", STATE_LT, .number = 8)), "7");
    CHECK_TEXT(match(state, COND("created", STATE_LE, .number = 8)), "5 6 7");
    CHECK_TEXT(match(state, COND("created", STATE_GT, .number = 9)), "1 2");
    CHECK_TEXT(match(state, COND("created", STATE_GE, .number = 9)), "1 2 3 4");
    CHECK_TEXT(match(state, COND("name", STATE_EQ, .text = "web1")), "2");
    CHECK_TEXT(match(state, COND("name", STATE_EQ, .text = "")), "7");
    CHECK_TEXT(match(state, COND("name", STATE_EQ, .text = "' or 1=1 --")), "");
    state_close(state);
}

static void
a_text_that_is_not_set_differs_from_every_text(void)
{
    struct state *state = state_with_names();

    CHECK_TEXT(match(state, COND("name", STATE_EQ)), "1");
    CHECK_TEXT(match(state, COND("name", STATE_NE)), "2 3 4 5 6 7");
    CHECK_TEXT(match(state, COND("name", STATE_NE, .text = "web1")),
               "1 3 4 5 6 7");
    state_close(state);
}

static void
lists_of_values_match_any_and_an_empty_one_matches_nothing(void)
{
    static const char *const texts[] = {"web1", "dbx1", "none"};
    static const int64_t numbers[] = {2, 5, 99};
    struct state *state = state_with_names();
    char **many = xcalloc(STATE_SQL_VALUES_MAX + 1, sizeof(*many));
    const char *const *borrowed = (void *)many;

    CHECK_TEXT(
        match(state, COND("name", STATE_IN_TEXT, .texts = texts, .count = 3)),
        "2 6");
    CHECK_TEXT(
        match(state, COND("id", STATE_IN_INT, .ints = numbers, .count = 3)),
        "2 5");
    CHECK_TEXT(match(state, COND("name", STATE_IN_TEXT)), "");
    CHECK_TEXT(match(state, COND("id", STATE_IN_INT)), "");
    for (size_t i = 0; i <= STATE_SQL_VALUES_MAX; i++)
        many[i] = xasprintf("web%zu", i);
    CHECK_TEXT(match(state, COND("name", STATE_IN_TEXT, .texts = borrowed,
                                 .count = STATE_SQL_VALUES_MAX)),
               "2");
    CHECK_TEXT(match(state, COND("name", STATE_IN_TEXT, .texts = borrowed,
                                 .count = STATE_SQL_VALUES_MAX + 1)),
               "INVALID");
    for (size_t i = 0; i <= STATE_SQL_VALUES_MAX; i++)
        free(many[i]);
    free(many);
    state_close(state);
}

static void
keywords_are_found_anywhere_and_have_no_special_signs(void)
{
    struct state *state = state_with_names();
    char *huge = xcalloc(1, STATE_SQL_CONTAINS_MAX + 2);

    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = "WEB")),
               "2 3");
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = "b_1")), "4");
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = "%")), "5");
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = "\\")), "");
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = "")),
               "2 3 4 5 6 7");
    memset(huge, '%', STATE_SQL_CONTAINS_MAX);
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = huge)), "");
    huge[STATE_SQL_CONTAINS_MAX] = '%';
    CHECK_TEXT(match(state, COND("name", STATE_CONTAINS, .text = huge)),
               "INVALID");
    free(huge);
    state_close(state);
}

static void
pages_follow_an_order_without_gaps(void)
{
    struct state *state = state_with_names();
    const struct state_where both[] = {
        {.column = "created", .op = STATE_GE, .number = 8},
        {.column = "name", .op = STATE_NE},
    };

    CHECK_TEXT(ids(state, (struct state_query){.order = "name"}),
               "1 7 3 5 4 6 2");
    CHECK_TEXT(ids(state, (struct state_query){.order = "-name"}),
               "2 6 4 5 3 7 1");
    CHECK_TEXT(ids(state, (struct state_query){.order = "-created"}),
               "2 1 4 3 6 5 7");
    CHECK_TEXT(ids(state, (struct state_query){.order = "created", .limit = 3}),
               "7 5 6");
    CHECK_TEXT(
        ids(state,
            (struct state_query){.order = "created", .limit = 3, .offset = 3}),
        "3 4 1");
    CHECK_TEXT(ids(state, (struct state_query){.offset = 5}), "6 7");
    CHECK_TEXT(ids(state, (struct state_query){.limit = UINT64_MAX,
                                               .offset = UINT64_MAX}),
               "");
    CHECK_TEXT(
        ids(state, (struct state_query){.where = both, .where_count = 2}),
        "2 3 4 5 6");
    state_close(state);
}

static void
a_count_is_not_touched_by_paging(void)
{
    struct state *state = state_with_names();
    AUTO_STATE_TX struct state_tx *tx = reading(state);
    const struct state_where where[] = {STATE_INT("created", 9)};
    struct error err = ERROR_INIT;
    struct state_query query = *STATE_QUERY(where);
    uint64_t count = 0;

    query.limit = 1;
    query.offset = 1;
    CHECK_OK(state_zone_count(tx, &query, &count, &err), &err);
    CHECK(count == 2);
    state_end(steal(&tx));
    state_close(state);
}

/* -- what is refused ---------------------------------------------------- */

static void
a_unique_value_cannot_be_had_twice(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;
    AUTO_STATE(configuration) setting = {.scope_id = 1};

    CHECK_OK(add_zone(tx, "same", "a", 1, &err), &err);
    CHECK(add_zone(tx, "same", "b", 1, &err) < 0);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(add_zone(tx, NULL, "b", 1, &err) < 0);
    CHECK_OK(add_zone(tx, "other", "b", 1, &err), &err);
    state_set_text(&setting.name, "n");
    state_set_text(&setting.scope, "zone");
    CHECK_OK(state_configuration_insert(tx, &setting, &err), &err);
    CHECK(state_configuration_insert(tx, &setting, &err) < 0);
    CHECK(err.code == ERROR_CONFLICT);
    setting.scope_id = 2;
    CHECK_OK(state_configuration_insert(tx, &setting, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    CHECK(count_zones(state) == 2);
    state_close(state);
}

static void
a_pinned_layer_cannot_be_forgotten(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;
    AUTO_STATE(volume) volume = {0};
    AUTO_STATE(layer) layer = {0};
    AUTO_STATE(pin) pin = {0};

    state_set_text(&volume.uuid, "v");
    state_set_text(&layer.uuid, "l");
    layer.volume_id = 7;
    CHECK(state_layer_insert(tx, &layer, &err) < 0);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(state_volume_insert(tx, &volume, &err), &err);
    layer.volume_id = volume.id;
    CHECK_OK(state_layer_insert(tx, &layer, &err), &err);
    pin.layer_id = layer.id;
    CHECK_OK(state_pin_insert(tx, &pin, &err), &err);
    CHECK(state_layer_delete(tx, layer.id, &err) < 0);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(state_pin_delete(tx, pin.id, &err), &err);
    CHECK_OK(state_layer_delete(tx, layer.id, &err), &err);
    state_end(tx);
    state_close(state);
}

static void
names_of_other_places_are_refused(void)
{
    static const struct {
        const char *url;
        enum error_code code;
    } cases[] = {
        {"relative.db", ERROR_INVALID},
        {"sqlite://relative.db", ERROR_INVALID},
        {"/a/../b.db", ERROR_INVALID},
        {"", ERROR_INVALID},
        {"postgresql://db/varve", ERROR_UNSUPPORTED},
        {"/nonexistent-directory/varve.db", ERROR_NOT_FOUND},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error err = ERROR_INIT;

        CHECK(state_open(cases[i].url, &err) == NULL);
        if (err.code != cases[i].code)
            printf("# %s: %s\n", cases[i].url, err.message);
        CHECK(err.code == cases[i].code);
    }
}

static void
a_url_and_its_path_are_the_same_database(void)
{
    AUTO_FREE char *url = xasprintf("sqlite://%s", path);
    struct error err = ERROR_INIT;
    struct state *state = state_with_names();
    struct state *same;

    same = state_open(url, &err);
    REQUIRE(same != NULL);
    CHECK(count_zones(same) == 7);
    state_close(same);
    state_close(state);
}

/* Each is our own mistake: the process stops before harm is done. */
static bool
asserts(void (*mistake)(struct state_tx *tx))
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        mistake(reading(open_state()));
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void
list_with(struct state_tx *tx, struct state_query query)
{
    struct error err = ERROR_INIT;
    struct state_zone_list list;

    (void)!state_zone_list(tx, &query, &list, &err);
}

static void
unknown_column(struct state_tx *tx)
{
    const struct state_where where = STATE_INT("id\" = 1 or 1 --", 1);

    list_with(tx, (struct state_query){.where = &where, .where_count = 1});
}

static void
unknown_order(struct state_tx *tx)
{
    list_with(tx, (struct state_query){.order = "-size"});
}

static void
write_in_read(struct state_tx *tx)
{
    struct error err = ERROR_INIT;

    (void)!add_zone(tx, "u", "n", 1, &err);
}

static void
wrong_kind(struct state_tx *tx)
{
    const struct state_where where = STATE_TEXT("created", "now");

    list_with(tx, (struct state_query){.where = &where, .where_count = 1});
}

static void
a_wrong_query_of_ours_never_reaches_the_database(void)
{
    CHECK(asserts(unknown_column));
    CHECK(asserts(unknown_order));
    CHECK(asserts(write_in_read));
    CHECK(asserts(wrong_kind));
}

int
main(void)
{
    fixture_enter();
    RUN(conditions_compare_numbers_and_texts);
    RUN(a_text_that_is_not_set_differs_from_every_text);
    RUN(lists_of_values_match_any_and_an_empty_one_matches_nothing);
    RUN(keywords_are_found_anywhere_and_have_no_special_signs);
    RUN(pages_follow_an_order_without_gaps);
    RUN(a_count_is_not_touched_by_paging);
    RUN(a_unique_value_cannot_be_had_twice);
    RUN(a_pinned_layer_cannot_be_forgotten);
    RUN(names_of_other_places_are_refused);
    RUN(a_url_and_its_path_are_the_same_database);
    RUN(a_wrong_query_of_ours_never_reaches_the_database);
    fixture_leave();
    return check_done();
}
