/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_rows.c -- the tables as data, and the functions of each.
 *
 * All of it is made from tables.def, in three passes: a function T_table()
 * for each table, the list of them, and the functions that state.h declares.
 * A table's description stands inside a function because only there can
 * `row` be a name for the struct of the table at hand, which TEXT() and INT()
 * do not know.
 */
#include "state/state.h"

#include <assert.h>
#include <stddef.h>

#include "state/state_codec.h"

/* clang-format off */

#define TABLE(table)                                                           \
    static const struct state_table *table##_table(void)                       \
    {                                                                          \
        typedef struct state_##table row;                                      \
        static const char name[] = #table;                                     \
        static const struct state_column columns[] = {
#define TEXT(column) {#column, offsetof(row, column), STATE_KIND_TEXT},
#define INT(column) {#column, offsetof(row, column), STATE_KIND_INT},
#define END(table)                                                             \
        };                                                                     \
        static const struct state_table description = {                        \
            name, sizeof(row), columns, ARRAY_SIZE(columns)};                  \
                                                                               \
        static_assert(offsetof(row, id) == 0, "id comes first");               \
        return &description;                                                   \
    }
#include "state/tables.def"
#undef TABLE
#undef TEXT
#undef INT
#undef END

static const struct state_table *(*const all_tables[])(void) = {
#define TABLE(table)
#define TEXT(column)
#define INT(column)
#define END(table) table##_table,
#include "state/tables.def"
#undef TABLE
#undef TEXT
#undef INT
#undef END
};

const struct state_table *
state_codec_table(size_t index)
{
    return index < ARRAY_SIZE(all_tables) ? all_tables[index]() : NULL;
}

#define TABLE(table)
#define TEXT(column)
#define INT(column)
#define END(table)                                                             \
    void state_##table##_release(struct state_##table *row)                    \
    {                                                                          \
        state_codec_release(table##_table(), row);                             \
    }                                                                          \
    int state_##table##_insert(struct state_tx *tx, struct state_##table *row, \
                               struct error *err)                              \
    {                                                                          \
        return state_codec_insert(tx, table##_table(), row, err);              \
    }                                                                          \
    int state_##table##_update(struct state_tx *tx,                            \
                               const struct state_##table *row,                \
                               struct error *err)                              \
    {                                                                          \
        return state_codec_update(tx, table##_table(), row, err);              \
    }                                                                          \
    int state_##table##_delete(struct state_tx *tx, int64_t id,                \
                               struct error *err)                              \
    {                                                                          \
        return state_codec_delete(tx, table##_table(), id, err);               \
    }                                                                          \
    int state_##table##_get(struct state_tx *tx, int64_t id,                   \
                            struct state_##table *ret_row, struct error *err)  \
    {                                                                          \
        return state_codec_get(tx, table##_table(), id, ret_row, err);         \
    }                                                                          \
    int state_##table##_find(                                                  \
        struct state_tx *tx, const struct state_where *where, size_t count,    \
        struct state_##table *ret_row, struct error *err)                      \
    {                                                                          \
        return state_codec_find(tx, table##_table(), where, count, ret_row,    \
                                err);                                          \
    }                                                                          \
    int state_##table##_list(                                                  \
        struct state_tx *tx, const struct state_query *query,                  \
        struct state_##table##_list *ret_list, struct error *err)              \
    {                                                                          \
        struct state_codec_rows rows;                                          \
                                                                               \
        if (state_codec_list(tx, table##_table(), query, &rows, err) < 0)      \
            return -1;                                                         \
        ret_list->items = rows.items;                                          \
        ret_list->count = rows.count;                                          \
        ret_list->capacity = rows.capacity;                                    \
        return 0;                                                              \
    }                                                                          \
    void state_##table##_list_release(struct state_##table##_list *list)       \
    {                                                                          \
        struct state_codec_rows rows = {list->items, list->count,              \
                                        list->capacity};                       \
                                                                               \
        state_codec_release_rows(table##_table(), &rows);                      \
        list->items = NULL;                                                    \
        list->count = list->capacity = 0;                                      \
    }                                                                          \
    int state_##table##_count(                                                 \
        struct state_tx *tx, const struct state_query *query,                  \
        uint64_t *ret_count, struct error *err)                                \
    {                                                                          \
        return state_codec_count(tx, table##_table(), query, ret_count, err);  \
    }                                                                          \
    void state_##table##_copy(struct state_##table *ret_copy,                  \
                              const struct state_##table *row)                 \
    {                                                                          \
        state_codec_copy(table##_table(), ret_copy, row);                      \
    }
#include "state/tables.def"
#undef TABLE
#undef TEXT
#undef INT
#undef END
