/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_sql.h -- SQL text of one table, with the values beside it.
 *
 * Column names that come from callers are checked against the table's list:
 * an unknown one, or a condition of the wrong kind, is our own mistake and
 * asserts.  Values never become SQL text.
 *
 * Threads:    one at a time for each value.
 */
#ifndef STATE_STATE_SQL_H
#define STATE_STATE_SQL_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "base/vec.h"
#include "state/state.h"
#include "state/state_driver.h"

#include <stddef.h>
#include <stdint.h>

enum state_kind { STATE_KIND_TEXT, STATE_KIND_INT };

struct state_column {
    const char *name;
    size_t offset; /* in the row struct */
    enum state_kind kind;
};

struct state_table {
    const char *name;
    size_t row_size;                    /* sizeof(struct state_T) */
    const struct state_column *columns; /* all but `id` */
    size_t column_count;
};

/* Values in one statement; SQLite's limit is 32766. */
#define STATE_SQL_VALUES_MAX 32000
/* Bytes of a text to look for; SQLite's limit of a pattern is 50000. */
#define STATE_SQL_CONTAINS_MAX 4096

struct state_sql_value {
    const char *text; /* borrowed, or `owned` */
    char *owned;      /* or NULL */
    int64_t number;
    enum state_kind kind;
};
struct state_sql_values VEC(struct state_sql_value);

struct state_sql {
    struct strbuf text;
    struct state_sql_values values;
};

#define STATE_SQL_INIT                                                         \
    {                                                                          \
        .text = STRBUF_INIT, .values = VEC_INIT                                \
    }

void state_sql_release(struct state_sql *sql) NONNULL(1);
#define AUTO_STATE_SQL CLEANUP(state_sql_release)

/* Add a value: its "$n" goes into the text.  A text is borrowed. */
void state_sql_text(struct state_sql *sql, const char *text) NONNULL(1);
void state_sql_int(struct state_sql *sql, int64_t number) NONNULL(1);

/* `"id", "a", "b"` of all columns. */
void state_sql_columns(struct state_sql *sql, const struct state_table *table)
    NONNULL(1, 2);

/**
 * state_sql_where(sql, table, where, count, err):
 * Add ` where ...`, or nothing when count is 0.
 *
 * Ownership:  texts are borrowed until the statement is done.
 * Returns:    0, or -1 with *err set to ERROR_INVALID when there are too many
 *             values or a text to look for is too long.
 */
int state_sql_where(struct state_sql *sql, const struct state_table *table,
                    const struct state_where *where, size_t count,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 5);

/* Add ` order by ... limit ... offset ...` of the query. */
void state_sql_order(struct state_sql *sql, const struct state_table *table,
                     const struct state_query *query) NONNULL(1, 2, 3);

/* The statement with its values, ready to step; NULL with *err set. */
struct state_statement *state_sql_prepare(const struct state_sql *sql,
                                          struct state_connection *connection,
                                          struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
