/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_sql.c -- conditions, order and paging as portable SQL.
 *
 * Null is where SQL surprises: `a <> 'x'` is not true where `a` is null, and
 * databases disagree on where nulls sort.  Here a text that is not set differs
 * from every text ("is distinct from"), and sorts before all others.  Every
 * order ends with the id, so that pages of one query neither overlap nor miss
 * a row.
 */
#include "state/state_sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const struct state_column id_column = {
    .name = "id", .offset = 0, .kind = STATE_KIND_INT};

void
state_sql_release(struct state_sql *sql)
{
    vec_for (struct state_sql_value *, value, &sql->values)
        free(value->owned);
    vec_release(&sql->values);
    strbuf_release(&sql->text);
}

static void
add_value(struct state_sql *sql, struct state_sql_value value)
{
    vec_push(&sql->values, value);
    strbuf_addf(&sql->text, "$%zu", sql->values.count);
}

void
state_sql_text(struct state_sql *sql, const char *text)
{
    add_value(sql,
              (struct state_sql_value){.text = text, .kind = STATE_KIND_TEXT});
}

void
state_sql_int(struct state_sql *sql, int64_t number)
{
    add_value(sql, (struct state_sql_value){.number = number,
                                            .kind = STATE_KIND_INT});
}

void
state_sql_columns(struct state_sql *sql, const struct state_table *table)
{
    strbuf_adds(&sql->text, "\"id\"");
    for (size_t i = 0; i < table->column_count; i++)
        strbuf_addf(&sql->text, ", \"%s\"", table->columns[i].name);
}

static const struct state_column *
find_column(const struct state_table *table, const char *name)
{
    if (strcmp(name, "id") == 0)
        return &id_column;
    for (size_t i = 0; i < table->column_count; i++)
        if (strcmp(name, table->columns[i].name) == 0)
            return &table->columns[i];
    return NULL;
}

/* That a query names a column which its table lacks is our own mistake. */
static const struct state_column *
known_column(const struct state_table *table, const char *name)
{
    const struct state_column *column = find_column(table, name);

    assert(column != NULL);
    return column;
}

/* `%text%` with the pattern's own signs escaped. */
static char *
contains_pattern(const char *text)
{
    struct strbuf pattern = STRBUF_INIT;

    strbuf_addc(&pattern, '%');
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '%' || *at == '_' || *at == '\\')
            strbuf_addc(&pattern, '\\');
        strbuf_addc(&pattern, *at);
    }
    strbuf_addc(&pattern, '%');
    return strbuf_take(&pattern);
}

static int
add_contains(struct state_sql *sql, const struct state_where *where,
             struct error *err)
{
    struct state_sql_value value = {.kind = STATE_KIND_TEXT};

    assert(where->text != NULL);
    if (strlen(where->text) > STATE_SQL_CONTAINS_MAX)
        return error_set(err, ERROR_INVALID,
                         "the text to look for is longer than %d bytes",
                         STATE_SQL_CONTAINS_MAX);
    value.text = value.owned = contains_pattern(where->text);
    strbuf_addf(&sql->text, "lower(\"%s\") like lower(", where->column);
    add_value(sql, value);
    strbuf_adds(&sql->text, ") escape '\\'");
    return 0;
}

static int
add_in(struct state_sql *sql, const struct state_where *where,
       struct error *err)
{
    if (where->count == 0) {
        strbuf_adds(&sql->text, "1 = 0");
        return 0;
    }
    if (where->count > STATE_SQL_VALUES_MAX - sql->values.count)
        return error_set(err, ERROR_INVALID,
                         "a list of %zu values is too long, the limit is %d",
                         where->count, STATE_SQL_VALUES_MAX);
    strbuf_addf(&sql->text, "\"%s\" in (", where->column);
    for (size_t i = 0; i < where->count; i++) {
        if (i > 0)
            strbuf_adds(&sql->text, ", ");
        if (where->op == STATE_IN_TEXT)
            state_sql_text(sql, where->texts[i]);
        else
            state_sql_int(sql, where->ints[i]);
    }
    strbuf_addc(&sql->text, ')');
    return 0;
}

static const char *
comparison(const struct state_column *column, enum state_operator op)
{
    switch (op) {
    case STATE_EQ:
        return "=";
    case STATE_NE:
        return column->kind == STATE_KIND_TEXT ? "is distinct from" : "<>";
    case STATE_LT:
        return "<";
    case STATE_LE:
        return "<=";
    case STATE_GT:
        return ">";
    case STATE_GE:
        return ">=";
    case STATE_IN_TEXT:
    case STATE_IN_INT:
    case STATE_CONTAINS:
    default:
        return NULL;
    }
}

static void
add_comparison(struct state_sql *sql, const struct state_column *column,
               const struct state_where *where)
{
    const char *operator;

    if (column->kind == STATE_KIND_TEXT && where->text == NULL) {
        assert(where->op == STATE_EQ || where->op == STATE_NE);
        strbuf_addf(&sql->text, "\"%s\" is %snull", column->name,
                    where->op == STATE_EQ ? "" : "not ");
        return;
    }
    operator= comparison(column, where->op);
    assert(operator!= NULL);
    strbuf_addf(&sql->text, "\"%s\" %s ", column->name, operator);
    if (column->kind == STATE_KIND_TEXT)
        state_sql_text(sql, where->text);
    else
        state_sql_int(sql, where->number);
}

static int
add_condition(struct state_sql *sql, const struct state_table *table,
              const struct state_where *where, struct error *err)
{
    const struct state_column *column = known_column(table, where->column);

    switch (where->op) {
    case STATE_CONTAINS:
        assert(column->kind == STATE_KIND_TEXT);
        return add_contains(sql, where, err);
    case STATE_IN_TEXT:
        assert(column->kind == STATE_KIND_TEXT);
        return add_in(sql, where, err);
    case STATE_IN_INT:
        assert(column->kind == STATE_KIND_INT);
        return add_in(sql, where, err);
    case STATE_EQ:
    case STATE_NE:
    case STATE_LT:
    case STATE_LE:
    case STATE_GT:
    case STATE_GE:
    default:
        assert(column->kind == STATE_KIND_TEXT || where->text == NULL);
        add_comparison(sql, column, where);
        return 0;
    }
}

int
state_sql_where(struct state_sql *sql, const struct state_table *table,
                const struct state_where *where, size_t count,
                struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        strbuf_adds(&sql->text, i == 0 ? " where " : " and ");
        if (add_condition(sql, table, &where[i], err) < 0)
            return -1;
    }
    return 0;
}

void
state_sql_order(struct state_sql *sql, const struct state_table *table,
                const struct state_query *query)
{
    const char *name = query->order != NULL ? query->order : "id";
    bool is_descending = *name == '-';
    const struct state_column *column =
        known_column(table, is_descending ? name + 1 : name);

    strbuf_addf(&sql->text, " order by \"%s\" %s", column->name,
                is_descending ? "desc" : "asc");
    /* As SQLite has it anyway; PostgreSQL has it the other way round. */
    if (column->kind == STATE_KIND_TEXT)
        strbuf_adds(&sql->text, is_descending ? " nulls last" : " nulls first");
    if (column != &id_column)
        strbuf_adds(&sql->text,
                    is_descending ? ", \"id\" desc" : ", \"id\" asc");
    if (query->limit > 0 || query->offset > 0)
        strbuf_addf(
            &sql->text, " limit %" PRId64 " offset %" PRId64,
            query->limit > 0 && query->limit < INT64_MAX ? (int64_t)query->limit
                                                         : INT64_MAX,
            query->offset < INT64_MAX ? (int64_t)query->offset : INT64_MAX);
}

struct state_statement *
state_sql_prepare(const struct state_sql *sql,
                  struct state_connection *connection, struct error *err)
{
    const struct state_driver *driver = connection->driver;
    struct state_statement *statement =
        driver->prepare(connection, strbuf_text(&sql->text), err);

    if (statement == NULL)
        return NULL;
    for (size_t i = 0; i < sql->values.count; i++) {
        const struct state_sql_value *value = &sql->values.items[i];

        if (value->kind == STATE_KIND_TEXT)
            driver->bind_text(statement, i + 1, value->text);
        else
            driver->bind_int(statement, i + 1, value->number);
    }
    return statement;
}
