/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include "base/memory.h"
#include "base/vec.h"

#include <assert.h>
#include <stdlib.h>

#define GAP 2

struct cell {
    char *text; /* owned */
    size_t columns;
    enum terminal_style style;
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t column_count;
    size_t *widths; /* owned; 0: nothing but empty cells */
    struct cells VEC(struct cell) cells;
};

struct table *
table_new(const struct table_column *columns, size_t count)
{
    struct table *table = xcalloc(1, sizeof(*table));

    assert(count > 0);
    table->columns = columns;
    table->column_count = count;
    table->widths = xcalloc(count, sizeof(*table->widths));
    return table;
}

void
table_free(struct table *table)
{
    if (table == NULL)
        return;
    vec_for (struct cell *, cell, &table->cells)
        free(cell->text);
    vec_release(&table->cells);
    free(table->widths);
    free(table);
}

void
table_cleanup(struct table **table)
{
    table_free(*table);
}

void
table_set(struct table *table, const char *text, enum terminal_style style)
{
    AUTO_STRBUF struct strbuf safe = STRBUF_INIT;
    size_t *width = &table->widths[table->cells.count % table->column_count];
    struct cell cell = {.style = style};

    terminal_add(&safe, text);
    cell.text = strbuf_take(&safe);
    cell.columns = terminal_columns(cell.text);
    *width = MAX(*width, cell.columns);
    vec_push(&table->cells, cell);
}

static bool
is_shown(const struct table *table, size_t column)
{
    return !table->columns[column].is_optional || table->widths[column] > 0;
}

static void
add_spaces(struct strbuf *text, size_t count)
{
    for (; count > 0; count--)
        strbuf_addc(text, ' ');
}

/* `owed` spaces go before it, if anything comes at all. */
static void
add_cell(const struct table *table, size_t column, const struct cell *cell,
         bool has_colour, size_t *owed, struct strbuf *text)
{
    size_t width = MAX(table->widths[column],
                       terminal_columns(table->columns[column].title));
    size_t before =
        table->columns[column].is_number ? width - cell->columns : 0;

    if (cell->columns > 0) {
        add_spaces(text, *owed + before);
        strbuf_addf(text, "%s%s%s", terminal_begin(cell->style, has_colour),
                    cell->text, terminal_end(cell->style, has_colour));
        *owed = 0;
        width -= before + cell->columns;
    }
    *owed += width + GAP;
}

static void
add_titles(const struct table *table, bool has_colour, struct strbuf *text)
{
    size_t owed = 0;

    for (size_t i = 0; i < table->column_count; i++) {
        struct cell cell = {
            .text = xstrdup(table->columns[i].title),
            .columns = terminal_columns(table->columns[i].title),
            .style = TERMINAL_BOLD,
        };

        if (is_shown(table, i))
            add_cell(table, i, &cell, has_colour, &owed, text);
        free(cell.text);
    }
    strbuf_addc(text, '\n');
}

void
table_print(const struct table *table, bool has_colour, struct strbuf *ret_text)
{
    size_t rows = table->cells.count / table->column_count;

    assert(table->cells.count % table->column_count == 0);
    add_titles(table, has_colour, ret_text);
    for (size_t row = 0; row < rows; row++) {
        const struct cell *cells =
            table->cells.items + row * table->column_count;
        size_t owed = 0;

        for (size_t i = 0; i < table->column_count; i++) {
            if (is_shown(table, i))
                add_cell(table, i, &cells[i], has_colour, &owed, ret_text);
        }
        strbuf_addc(ret_text, '\n');
    }
}
