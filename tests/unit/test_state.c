/* SPDX-License-Identifier: Apache-2.0 */
/* The promises of state.h. */
#include "state/state.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "state/migrations.h"
#include "state/state_codec.h"
#include "state/state_driver.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "oracle.h"

static struct scratch scratch;
static char *path;

static struct state *
open_state(void)
{
    struct error err = ERROR_INIT;
    struct state *state = state_open(path, &err);

    if (state == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return state;
}

static struct state *
fresh_state(void)
{
    for (int i = 0; i < 3; i++) {
        const char *const suffix[] = {"", "-wal", "-shm"};
        AUTO_FREE char *name = xasprintf("%s%s", path, suffix[i]);

        (void)unlink(name);
    }
    return open_state();
}

/* A transaction that must begin. */
static struct state_tx *
writing(struct state *state)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);

    if (tx == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return tx;
}

static struct state_tx *
reading(struct state *state)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_read(state, &err);

    if (tx == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return tx;
}

static int
add_zone(struct state_tx *tx, const char *uuid, const char *name,
         int64_t created, struct error *err)
{
    AUTO_STATE(zone) zone = {.created = created};

    state_set_text(&zone.uuid, uuid);
    state_set_text(&zone.name, name);
    return state_zone_insert(tx, &zone, err);
}

static uint64_t
count_zones(struct state *state)
{
    AUTO_STATE_TX struct state_tx *tx = reading(state);
    struct error err = ERROR_INIT;
    uint64_t count = UINT64_MAX;

    CHECK_OK(state_zone_count(tx, STATE_ALL, &count, &err), &err);
    return count;
}

/* -- tables ------------------------------------------------------------- */

static void
a_new_database_is_private_and_has_every_column(void)
{
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();
    struct state_connection *connection;
    const struct state_table *table;
    struct stat about;

    CHECK(count_zones(state) == 0);
    for (int i = 0; i < 3; i++) {
        const char *const suffix[] = {"", "-wal", "-shm"};
        AUTO_FREE char *name = xasprintf("%s%s", path, suffix[i]);

        CHECK(stat(name, &about) == 0 && (about.st_mode & 0777) == 0600);
    }
    state_close(state);
    connection = state_sqlite.open(path, true, &err);
    REQUIRE(connection != NULL);
    for (size_t i = 0; (table = state_codec_table(i)) != NULL; i++) {
        AUTO_FREE char *sql = xasprintf("select * from \"%s\"", table->name);
        struct state_statement *all =
            state_sqlite.prepare(connection, sql, &err);

        REQUIRE(all != NULL);
        if (state_sqlite.column_count(all) != table->column_count + 1)
            printf("# table %s\n", table->name);
        CHECK(state_sqlite.column_count(all) == table->column_count + 1);
        CHECK_TEXT(state_sqlite.column_name(all, 0), "id");
        state_sqlite.finish(all);
    }
    CHECK_OK(state_codec_check(connection, &err), &err);
    state_sqlite.close(connection);
}

static void
a_database_readable_by_others_is_made_private(void)
{
    struct stat about;
    struct state *state = fresh_state();

    state_close(state);
    CHECK(chmod(path, 0644) == 0);
    state_close(open_state());
    CHECK(stat(path, &about) == 0 && (about.st_mode & 0777) == 0600);
}

static bool
is_id(const char *name)
{
    size_t length = strlen(name);

    return length > 3 && strcmp(name + length - 3, "_id") == 0;
}

/* Every field another value; every _id the first row of its table. */
static void
fill_row(const struct state_table *table, void *row, int64_t salt)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct state_column *column = &table->columns[i];
        char *at = (char *)row + column->offset;

        if (column->kind == STATE_KIND_TEXT) {
            char *text = xasprintf("%s '%s' \"\xc3\xa9\" %lld", table->name,
                                   column->name, (long long)salt);

            state_set_text((char **)(void *)at, text);
            free(text);
        } else {
            int64_t number = is_id(column->name)
                                 ? 1
                                 : ((int64_t)1 << 62) + salt * 1000 + (int)i;

            memcpy(at, &number, sizeof(number));
        }
    }
}

static bool
is_same_row(const struct state_table *table, const void *a, const void *b)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct state_column *column = &table->columns[i];
        const char *at_a = (const char *)a + column->offset;
        const char *at_b = (const char *)b + column->offset;
        const char *text_a;
        const char *text_b;

        if (column->kind == STATE_KIND_INT) {
            if (memcmp(at_a, at_b, sizeof(int64_t)) != 0)
                return false;
            continue;
        }
        memcpy(&text_a, at_a, sizeof(text_a));
        memcpy(&text_b, at_b, sizeof(text_b));
        if ((text_a == NULL) != (text_b == NULL) ||
            (text_a != NULL && strcmp(text_a, text_b) != 0))
            return false;
    }
    return memcmp(a, b, sizeof(int64_t)) == 0;
}

static const struct state_table *
table_named(const char *name)
{
    const struct state_table *table;

    for (size_t i = 0; (table = state_codec_table(i)) != NULL; i++)
        if (strcmp(table->name, name) == 0)
            return table;
    abort();
}

/* clang-format off */
#define TABLE(table)
#define TEXT(column)
#define INT(column)
#define END(table)                                                             \
    static void crud_##table(struct state_tx *tx)                              \
    {                                                                          \
        struct error err = ERROR_INIT;                                         \
        const struct state_table *about = table_named(#table);                 \
        AUTO_STATE(table) first = {0};                                         \
        AUTO_STATE(table) second = {0};                                        \
        AUTO_STATE(table) back = {0};                                          \
        AUTO_STATE(table) copy = {0};                                          \
        AUTO_STATE_LIST(table) list = {0};                                     \
        struct state_where where = STATE_INT("id", 2);                         \
        uint64_t count = 0;                                                    \
                                                                               \
        fill_row(about, &first, 1);                                            \
        fill_row(about, &second, 2);                                           \
        CHECK_OK(state_##table##_insert(tx, &first, &err), &err);              \
        CHECK_OK(state_##table##_insert(tx, &second, &err), &err);             \
        CHECK(first.id == 1 && second.id == 2);                                \
        CHECK_OK(state_##table##_get(tx, 2, &back, &err), &err);               \
        CHECK(is_same_row(about, &second, &back));                             \
        state_##table##_copy(&copy, &back);                                    \
        CHECK(is_same_row(about, &back, &copy));                               \
        fill_row(about, &copy, 3);                                             \
        CHECK_OK(state_##table##_update(tx, &copy, &err), &err);               \
        state_##table##_release(&back);                                        \
        CHECK(state_##table##_find(tx, &where, 1, &back, &err) == 1);          \
        CHECK(is_same_row(about, &copy, &back));                               \
        CHECK_OK(state_##table##_list(tx, STATE_ALL, &list, &err), &err);      \
        REQUIRE(list.count == 2);                                              \
        CHECK(is_same_row(about, &list.items[0], &first));                     \
        CHECK(is_same_row(about, &list.items[1], &copy));                      \
        CHECK_OK(state_##table##_delete(tx, 2, &err), &err);                   \
        CHECK_OK(state_##table##_delete(tx, 2, &err), &err);                   \
        CHECK(state_##table##_find(tx, &where, 1, &back, &err) == 0);          \
        CHECK(state_##table##_get(tx, 2, &back, &err) < 0);                    \
        CHECK(err.code == ERROR_NOT_FOUND);                                    \
        CHECK(state_##table##_update(tx, &copy, &err) < 0);                    \
        CHECK(err.code == ERROR_NOT_FOUND);                                    \
        CHECK_OK(state_##table##_count(tx, STATE_ALL, &count, &err), &err);    \
        CHECK(count == 1);                                                     \
        second.id = 0;                                                         \
        CHECK_OK(state_##table##_insert(tx, &second, &err), &err);             \
        CHECK(second.id == 3);                                                 \
        CHECK_OK(state_##table##_delete(tx, 3, &err), &err);                   \
    }
#include "state/tables.def"
#undef END
/* clang-format on */

static void
every_table_gives_back_what_was_put_in(void)
{
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);

#define END(table) crud_##table(tx);
#include "state/tables.def"
#undef END
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    state_close(state);
}
#undef TABLE
#undef TEXT
#undef INT

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

/* -- transactions ------------------------------------------------------- */

static void
what_is_not_committed_leaves_no_trace(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    state_end(tx);
    CHECK(count_zones(state) == 0);
    tx = writing(state);
    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    CHECK(count_zones(state) == 0); /* a reader does not see it either */
    CHECK_OK(state_commit(tx, &err), &err);
    CHECK(count_zones(state) == 1);
    state_end(tx);
    state_close(state);
    state = open_state();
    CHECK(count_zones(state) == 1);
    state_close(state);
}

static void
a_failed_commit_leaves_no_trace_and_the_next_one_works(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    fault_arm("state.commit.before", 1, FAULT_FAIL);
    CHECK(state_commit(tx, &err) < 0 && err.code == ERROR_IO);
    fault_disarm();
    state_end(tx);
    CHECK(count_zones(state) == 0);
    fault_arm("state.begin", 1, FAULT_FAIL);
    CHECK(state_begin_write(state, &err) == NULL && err.code == ERROR_IO);
    fault_disarm();
    tx = writing(state);
    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    CHECK(count_zones(state) == 1);
    state_close(state);
}

static void
a_commit_whose_reply_is_lost_is_there(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    fault_arm("state.commit.after", 1, FAULT_FAIL);
    CHECK(state_commit(tx, &err) < 0);
    fault_disarm();
    state_end(tx);
    CHECK(count_zones(state) == 1);
    state_close(state);
}

/* -- many at once ------------------------------------------------------- */

#define WRITERS 2
#define READERS 3
#define ROUNDS 40

static struct {
    struct state *state;
    _Atomic bool is_over;
    _Atomic unsigned failures;
    _Atomic unsigned seen;
} crowd;

/* Adds two rows in one transaction; no one may ever see an odd number. */
static void *
write_pairs(void *argument)
{
    const char *who = argument;

    for (int i = 0; i < ROUNDS; i++) {
        struct error err = ERROR_INIT;
        struct state_tx *tx = state_begin_write(crowd.state, &err);
        char uuid[32];

        if (tx == NULL) {
            crowd.failures++;
            continue;
        }
        (void)snprintf(uuid, sizeof(uuid), "%s-%d-a", who, i);
        crowd.failures += add_zone(tx, uuid, who, 1, &err) != 0;
        (void)snprintf(uuid, sizeof(uuid), "%s-%d-b", who, i);
        crowd.failures += add_zone(tx, uuid, who, 1, &err) != 0;
        crowd.failures += state_commit(tx, &err) != 0;
        state_end(tx);
    }
    return NULL;
}

static void *
read_pairs(void *argument)
{
    (void)argument;
    do {
        struct error err = ERROR_INIT;
        struct state_tx *tx = state_begin_read(crowd.state, &err);
        AUTO_STATE_LIST(zone) list = {0};
        uint64_t before = 1;
        uint64_t after = 2;

        if (tx == NULL) {
            crowd.failures++;
            continue;
        }
        crowd.failures += state_zone_count(tx, STATE_ALL, &before, &err) != 0;
        crowd.failures += state_zone_list(tx, STATE_ALL, &list, &err) != 0;
        crowd.failures += state_zone_count(tx, STATE_ALL, &after, &err) != 0;
        crowd.failures +=
            before % 2 != 0 || before != after || list.count != before;
        crowd.seen++;
        state_end(tx);
    } while (!crowd.is_over);
    return NULL;
}

static void
readers_see_whole_transactions_while_others_write(void)
{
    static char names[WRITERS][4] = {"w0", "w1"};
    pthread_t writers[WRITERS];
    pthread_t readers[READERS];

    crowd.state = fresh_state();
    for (int i = 0; i < READERS; i++)
        REQUIRE(pthread_create(&readers[i], NULL, read_pairs, NULL) == 0);
    for (int i = 0; i < WRITERS; i++)
        REQUIRE(pthread_create(&writers[i], NULL, write_pairs, names[i]) == 0);
    for (int i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    crowd.is_over = true;
    for (int i = 0; i < READERS; i++)
        (void)pthread_join(readers[i], NULL);
    CHECK(crowd.failures == 0);
    CHECK(crowd.seen >= READERS);
    CHECK(count_zones(crowd.state) == (uint64_t)WRITERS * ROUNDS * 2);
    state_close(crowd.state);
}

/* -- killed ------------------------------------------------------------- */

/* Run `work` in a child that is killed at `point`; true if it was. */
static bool
killed_at(const char *point, void (*work)(void))
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        fault_arm(point, 1, FAULT_KILL);
        work();
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void
add_one_zone(void)
{
    struct state *state = open_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    if (add_zone(tx, "killed", "a", 1, &err) < 0 ||
        add_zone(tx, "killed2", "a", 1, &err) < 0 || state_commit(tx, &err) < 0)
        _exit(1);
}

static void
a_kill_before_the_commit_undoes_all_and_after_it_nothing(void)
{
    struct state *state;

    state_close(fresh_state());
    CHECK(killed_at("state.begin", add_one_zone));
    CHECK(killed_at("state.commit.before", add_one_zone));
    state = open_state();
    CHECK(count_zones(state) == 0);
    state_close(state);
    CHECK(killed_at("state.commit.after", add_one_zone));
    state = open_state();
    CHECK(count_zones(state) == 2);
    state_close(state);
}

/* -- migrations --------------------------------------------------------- */

static void
just_open(void)
{
    state_close(open_state());
}

static void
a_migration_that_was_cut_off_is_done_at_the_next_start(void)
{
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();

    state_close(state);
    CHECK(unlink(path) == 0);
    CHECK(killed_at("state.migrate", just_open));
    state = open_state();
    CHECK(count_zones(state) == 0);
    state_close(state);
    CHECK(unlink(path) == 0);
    fault_arm("state.migrate", 1, FAULT_FAIL);
    CHECK(state_open(path, &err) == NULL && err.code == ERROR_IO);
    fault_disarm();
    state_close(open_state());
}

static void
run_sql(const char *sql)
{
    struct error err = ERROR_INIT;
    struct state_connection *connection = state_sqlite.open(path, false, &err);

    REQUIRE(connection != NULL);
    CHECK_OK(state_sqlite.exec(connection, sql, &err), &err);
    state_sqlite.close(connection);
}

static void
a_database_of_a_newer_version_is_refused(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *sql =
        xasprintf("insert into schema_migration values (%d, 1)",
                  (int)migrations_newest() + 1);

    state_close(fresh_state());
    run_sql(sql);
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
}

static void
a_database_that_lacks_a_column_is_refused(void)
{
    struct error err = ERROR_INIT;

    state_close(fresh_state());
    run_sql("alter table zone drop column name");
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
}

static void
another_programs_database_is_not_touched(void)
{
    struct error err = ERROR_INIT;

    state_close(fresh_state());
    run_sql("pragma application_id=5");
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
}

static void
a_file_that_is_no_database_is_refused(void)
{
    struct error err = ERROR_INIT;
    FILE *file;

    state_close(fresh_state());
    file = fopen(path, "w");
    REQUIRE(file != NULL);
    for (int i = 0; i < 1000; i++)
        (void)fputs("this is a text and not a database\n", file);
    (void)fclose(file);
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(strstr(err.message, path) != NULL);
}

int
main(void)
{
    scratch_enter(&scratch);
    path = scratch_file(&scratch, "varve.db");
    RUN(a_new_database_is_private_and_has_every_column);
    RUN(a_database_readable_by_others_is_made_private);
    RUN(every_table_gives_back_what_was_put_in);
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
    RUN(what_is_not_committed_leaves_no_trace);
    RUN(a_failed_commit_leaves_no_trace_and_the_next_one_works);
    RUN(a_commit_whose_reply_is_lost_is_there);
    RUN(readers_see_whole_transactions_while_others_write);
    RUN(a_kill_before_the_commit_undoes_all_and_after_it_nothing);
    RUN(a_migration_that_was_cut_off_is_done_at_the_next_start);
    RUN(a_database_of_a_newer_version_is_refused);
    RUN(a_database_that_lacks_a_column_is_refused);
    RUN(another_programs_database_is_not_touched);
    RUN(a_file_that_is_no_database_is_refused);
    free(path);
    scratch_leave(&scratch);
    return check_done();
}
