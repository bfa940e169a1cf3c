/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h -- text in columns that stand under each other.
 *
 *     struct table *table = table_new(columns, ARRAY_SIZE(columns));
 *     table_set(table, "web1", TERMINAL_PLAIN);    for each cell of a row
 *     table_print(table, false, &text);
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/compiler.h"
#include "base/strbuf.h"
#include "cli/terminal.h"

#include <stdbool.h>
#include <stddef.h>

struct table_column {
    const char *title;
    bool is_number;   /* stands to the right */
    bool is_optional; /* left out when every row is empty */
};

struct table;

/* The columns are borrowed. */
struct table *table_new(const struct table_column *columns, size_t count)
    MUST_CHECK NONNULL(1);
void table_free(struct table *table);
void table_cleanup(struct table **table);
#define AUTO_TABLE CLEANUP(table_cleanup)

/* The next cell, from left to right; a row begins by itself.  What would
 * control the terminal becomes '?'. */
void table_set(struct table *table, const char *text, enum terminal_style style)
    NONNULL(1, 2);

/* Titles and rows; no space at the end of lines. */
void table_print(const struct table *table, bool has_colour,
                 struct strbuf *ret_text) NONNULL(1, 3);

#endif
