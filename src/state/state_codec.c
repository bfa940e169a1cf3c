/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_codec.c -- one insert, update, get, list for all tables.
 *
 * A table is described by data (name, offset and kind of each column, made
 * from tables.def in state_rows.c), so that nothing about a column is written
 * twice, and a new column is one line there and one in migrations.c.
 *
 * Rows are found again with "returning id" instead of each database's own
 * way to ask for the last id or the number of changed rows.
 */
#include "state/state_codec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "state/state_internal.h"

static char **
text_field(void *row, const struct state_column *column)
{
    assert(column->kind == STATE_KIND_TEXT);
    return (void *)((char *)row + column->offset);
}

static int64_t *
int_field(void *row, const struct state_column *column)
{
    assert(column->kind == STATE_KIND_INT);
    return (void *)((char *)row + column->offset);
}

static const char *
text_of(const void *row, const struct state_column *column)
{
    const char *text;

    assert(column->kind == STATE_KIND_TEXT);
    memcpy(&text, (const char *)row + column->offset, sizeof(text));
    return text;
}

static int64_t
int_of(const void *row, const struct state_column *column)
{
    int64_t number;

    assert(column->kind == STATE_KIND_INT);
    memcpy(&number, (const char *)row + column->offset, sizeof(number));
    return number;
}

/* `id` is the first field of every row struct. */
static int64_t
id_of(const void *row)
{
    int64_t id;

    memcpy(&id, row, sizeof(id));
    return id;
}

static void
set_id(void *row, int64_t id)
{
    memcpy(row, &id, sizeof(id));
}

/* -- rows in memory ----------------------------------------------------- */

void
state_codec_release(const struct state_table *table, void *row)
{
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].kind == STATE_KIND_TEXT)
            free(*text_field(row, &table->columns[i]));
    memset(row, 0, table->row_size);
}

void
state_codec_release_rows(const struct state_table *table,
                         struct state_codec_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        state_codec_release(table, (char *)rows->items + i * table->row_size);
    free(rows->items);
    memset(rows, 0, sizeof(*rows));
}

void
state_codec_copy(const struct state_table *table, void *ret_copy,
                 const void *row)
{
    memcpy(ret_copy, row, table->row_size);
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].kind == STATE_KIND_TEXT)
            *text_field(ret_copy, &table->columns[i]) =
                xstrdup_null(text_of(row, &table->columns[i]));
}

/* The row that the statement stands on, columns as by state_sql_columns(). */
static void
read_row(const struct state_table *table, struct state_statement *statement,
         void *ret_row)
{
    const struct state_driver *driver = statement->driver;

    memset(ret_row, 0, table->row_size);
    set_id(ret_row, driver->column_int(statement, 0));
    for (size_t i = 0; i < table->column_count; i++) {
        const struct state_column *column = &table->columns[i];

        if (column->kind == STATE_KIND_TEXT)
            *text_field(ret_row, column) =
                xstrdup_null(driver->column_text(statement, i + 1));
        else
            *int_field(ret_row, column) = driver->column_int(statement, i + 1);
    }
}

static void
add_field(struct state_sql *sql, const struct state_column *column,
          const void *row)
{
    if (column->kind == STATE_KIND_TEXT)
        state_sql_text(sql, text_of(row, column));
    else
        state_sql_int(sql, int_of(row, column));
}

/* -- changing ----------------------------------------------------------- */

/* 1 with the id of the row that was changed, 0 when there was none. */
static int
run_returning(struct state_tx *tx, const struct state_sql *sql,
              const struct state_table *table, int64_t *ret_id,
              struct error *err)
{
    const struct state_driver *driver = tx->connection->driver;
    struct state_statement *statement;
    int64_t id = 0;
    int found;
    int more;

    assert(tx->is_open && tx->is_write);
    statement = state_sql_prepare(sql, tx->connection, err);
    if (statement == NULL)
        return error_prefix(err, "table '%s'", table->name);
    found = more = driver->step(statement, err);
    if (found == 1)
        id = driver->column_int(statement, 0);
    while (more == 1)
        more = driver->step(statement, err);
    driver->finish(statement);
    if (more < 0)
        return error_prefix(err, "table '%s'", table->name);
    *ret_id = id;
    return found;
}

int
state_codec_insert(struct state_tx *tx, const struct state_table *table,
                   void *row, struct error *err)
{
    AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
    int64_t id;
    int found;

    strbuf_addf(&sql.text, "insert into \"%s\" (", table->name);
    for (size_t i = 0; i < table->column_count; i++)
        strbuf_addf(&sql.text, "%s\"%s\"", i > 0 ? ", " : "",
                    table->columns[i].name);
    strbuf_adds(&sql.text, ") values (");
    for (size_t i = 0; i < table->column_count; i++) {
        if (i > 0)
            strbuf_adds(&sql.text, ", ");
        add_field(&sql, &table->columns[i], row);
    }
    strbuf_adds(&sql.text, ") returning \"id\"");
    found = run_returning(tx, &sql, table, &id, err);
    if (found < 0)
        return -1;
    assert(found == 1);
    set_id(row, id);
    return 0;
}

int
state_codec_update(struct state_tx *tx, const struct state_table *table,
                   const void *row, struct error *err)
{
    AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
    int64_t id;
    int found;

    strbuf_addf(&sql.text, "update \"%s\" set ", table->name);
    for (size_t i = 0; i < table->column_count; i++) {
        strbuf_addf(&sql.text, "%s\"%s\" = ", i > 0 ? ", " : "",
                    table->columns[i].name);
        add_field(&sql, &table->columns[i], row);
    }
    strbuf_adds(&sql.text, " where \"id\" = ");
    state_sql_int(&sql, id_of(row));
    strbuf_adds(&sql.text, " returning \"id\"");
    found = run_returning(tx, &sql, table, &id, err);
    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND, "no %s with id %" PRId64,
                         table->name, id_of(row));
    return found < 0 ? -1 : 0;
}

int
state_codec_delete(struct state_tx *tx, const struct state_table *table,
                   int64_t id, struct error *err)
{
    AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
    int64_t gone;

    strbuf_addf(&sql.text, "delete from \"%s\" where \"id\" = ", table->name);
    state_sql_int(&sql, id);
    strbuf_adds(&sql.text, " returning \"id\"");
    return run_returning(tx, &sql, table, &gone, err) < 0 ? -1 : 0;
}

/* -- reading ------------------------------------------------------------ */

static int
start_select(struct state_tx *tx, const struct state_table *table,
             const struct state_query *query,
             struct state_statement **ret_statement, struct error *err)
{
    AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
    struct state_statement *statement;

    assert(tx->is_open);
    strbuf_adds(&sql.text, "select ");
    state_sql_columns(&sql, table);
    strbuf_addf(&sql.text, " from \"%s\"", table->name);
    if (state_sql_where(&sql, table, query->where, query->where_count, err) < 0)
        return -1;
    state_sql_order(&sql, table, query);
    statement = state_sql_prepare(&sql, tx->connection, err);
    if (statement == NULL)
        return error_prefix(err, "table '%s'", table->name);
    *ret_statement = statement;
    return 0;
}

int
state_codec_find(struct state_tx *tx, const struct state_table *table,
                 const struct state_where *where, size_t count, void *ret_row,
                 struct error *err)
{
    const struct state_query query = {
        .where = where, .where_count = count, .limit = 1};
    struct state_statement *statement;
    int found;

    if (start_select(tx, table, &query, &statement, err) < 0)
        return -1;
    found = statement->driver->step(statement, err);
    if (found == 1)
        read_row(table, statement, ret_row);
    statement->driver->finish(statement);
    if (found < 0)
        return error_prefix(err, "table '%s'", table->name);
    return found;
}

int
state_codec_get(struct state_tx *tx, const struct state_table *table,
                int64_t id, void *ret_row, struct error *err)
{
    const struct state_where where = STATE_INT("id", id);
    int found = state_codec_find(tx, table, &where, 1, ret_row, err);

    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND, "no %s with id %" PRId64,
                         table->name, id);
    return found < 0 ? -1 : 0;
}

static void *
new_row(const struct state_table *table, struct state_codec_rows *rows)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity > 0 ? rows->capacity * 2 : 8;
        rows->items = xrealloc(rows->items, rows->capacity * table->row_size);
    }
    return (char *)rows->items + rows->count++ * table->row_size;
}

int
state_codec_list(struct state_tx *tx, const struct state_table *table,
                 const struct state_query *query,
                 struct state_codec_rows *ret_rows, struct error *err)
{
    struct state_codec_rows rows = {0};
    struct state_statement *statement;
    int more;

    if (start_select(tx, table, query, &statement, err) < 0)
        return -1;
    while ((more = statement->driver->step(statement, err)) == 1)
        read_row(table, statement, new_row(table, &rows));
    statement->driver->finish(statement);
    if (more < 0) {
        state_codec_release_rows(table, &rows);
        return error_prefix(err, "table '%s'", table->name);
    }
    *ret_rows = rows;
    return 0;
}

int
state_codec_count(struct state_tx *tx, const struct state_table *table,
                  const struct state_query *query, uint64_t *ret_count,
                  struct error *err)
{
    AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
    struct state_statement *statement;
    int found;

    assert(tx->is_open);
    strbuf_addf(&sql.text, "select count(*) from \"%s\"", table->name);
    if (state_sql_where(&sql, table, query->where, query->where_count, err) < 0)
        return -1;
    statement = state_sql_prepare(&sql, tx->connection, err);
    if (statement == NULL)
        return error_prefix(err, "table '%s'", table->name);
    found = statement->driver->step(statement, err);
    if (found == 1)
        *ret_count = (uint64_t)statement->driver->column_int(statement, 0);
    statement->driver->finish(statement);
    if (found < 0)
        return error_prefix(err, "table '%s'", table->name);
    assert(found == 1);
    return 0;
}

int
state_codec_check(struct state_connection *connection, struct error *err)
{
    const struct state_table *table;

    for (size_t i = 0; (table = state_codec_table(i)) != NULL; i++) {
        AUTO_STATE_SQL struct state_sql sql = STATE_SQL_INIT;
        struct state_statement *statement;

        strbuf_adds(&sql.text, "select ");
        state_sql_columns(&sql, table);
        strbuf_addf(&sql.text, " from \"%s\" limit 0", table->name);
        statement = state_sql_prepare(&sql, connection, err);
        if (statement == NULL) {
            if (err->code == ERROR_INTERNAL)
                err->code = ERROR_CORRUPT;
            return error_prefix(err, "table '%s' is not as it must be",
                                table->name);
        }
        connection->driver->finish(statement);
    }
    return 0;
}
