/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal.h -- what the terminal can show, and text that is safe to show.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/compiler.h"
#include "base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum terminal_style {
    TERMINAL_PLAIN,
    TERMINAL_BOLD,
    TERMINAL_GREEN,
    TERMINAL_YELLOW,
    TERMINAL_RED
};

/* True when `file` is a terminal. */
bool terminal_is(FILE *file) NONNULL(1);

/* True when colours are wanted there: a terminal, not "dumb", no NO_COLOR. */
bool terminal_has_colour(FILE *file) NONNULL(1);

/* True when it shows more than ASCII: the locale's encoding is UTF-8. */
bool terminal_has_boxes(void);

/* Columns of the terminal behind `file`; 80 when nobody knows. */
size_t terminal_width(FILE *file) NONNULL(1);

/**
 * terminal_add(text, value):
 * Add text that came from outside: what would control the terminal (escape
 * sequences, line ends) becomes '?'.
 */
void terminal_add(struct strbuf *text, const char *value) NONNULL(1, 2);

/* Columns that a text takes; bytes that are no character count as one. */
size_t terminal_columns(const char *text) NONNULL(1);

/* The escape sequences around a style; "" when `is_on` is false. */
const char *terminal_begin(enum terminal_style style, bool is_on);
const char *terminal_end(enum terminal_style style, bool is_on);

#endif
