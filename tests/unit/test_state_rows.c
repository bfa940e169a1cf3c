/* SPDX-License-Identifier: Apache-2.0 */
/* Every table of state.h: what is put in comes back. */
#include "state/state.h"

#include "base/memory.h"
#include "state/state_codec.h"
#include "state/state_driver.h"

#include <sys/stat.h>

#include "check.h"
#include "state_fixture.h"

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

/* What no row can be without, and no two rows share; nothing else. */
static void
fill_identity(const struct state_table *table, void *row, int64_t salt)
{
    for (size_t i = 0; i < table->column_count; i++) {
        const struct state_column *column = &table->columns[i];
        char *at = (char *)row + column->offset;

        if (strcmp(column->name, "uuid") == 0) {
            AUTO_FREE char *text = xasprintf("identity-%d", (int)salt);

            state_set_text((char **)(void *)at, text);
        } else if (strcmp(column->name, "number") == 0 ||
                   (column->kind == STATE_KIND_INT &&
                    strcmp(column->name, "type") == 0)) {
            memcpy(at, &salt, sizeof(salt));
        } else if (column->kind == STATE_KIND_INT && is_id(column->name)) {
            memcpy(at, &(int64_t){1}, sizeof(int64_t));
        }
    }
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
    }                                                                          \
    static void same_##table(struct state_tx *tx)                              \
    {                                                                          \
        struct error err = ERROR_INIT;                                         \
                                                                               \
        for (int64_t salt = 10; salt < 12; salt++) {                           \
            AUTO_STATE(table) row = {0};                                       \
                                                                               \
            fill_identity(table_named(#table), &row, salt);                    \
            CHECK_OK(state_##table##_insert(tx, &row, &err), &err);            \
        }                                                                      \
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

static void
rows_may_share_everything_but_their_identity(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);

#define END(table) crud_##table(tx);
#include "state/tables.def"
#undef END
#define END(table) same_##table(tx);
#include "state/tables.def"
#undef END
    state_end(tx);
    state_close(state);
}
#undef TABLE
#undef TEXT
#undef INT

int
main(void)
{
    fixture_enter();
    RUN(a_new_database_is_private_and_has_every_column);
    RUN(a_database_readable_by_others_is_made_private);
    RUN(every_table_gives_back_what_was_put_in);
    RUN(rows_may_share_everything_but_their_identity);
    fixture_leave();
    return check_done();
}
