/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h -- objects of the API on standard output: as a table, as JSON, or
 * only their ids or names.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/compiler.h"
#include "base/error.h"
#include "cli/cli.h"
#include "cli/terminal.h"

#include <jansson.h>
#include <stdbool.h>

/* How a field is shown. */
enum output_kind {
    OUTPUT_TEXT,
    OUTPUT_STATE,  /* a state: green when good, red when bad */
    OUTPUT_NUMBER, /* as it is, to the right */
    OUTPUT_BYTES,
    OUTPUT_MEBIBYTES,
    OUTPUT_TIME,
    OUTPUT_YES,    /* "yes" when true, else empty */
    OUTPUT_PROBLEM /* what an operator should know; in red */
};

struct output_field {
    const char *title; /* "OFFERING"; in capitals */
    const char *key;
    enum output_kind kind;
    bool is_optional; /* left out where no object has it */
};

/* What objects of one kind look like. */
struct output_view {
    const struct output_field *fields; /* ends with title NULL */
    const char *id;                    /* key of what "-o id" prints */
    const char *name;                  /* and "-o name" */
};

/* True when a table (or sentence) is wanted, not something for programs. */
bool output_is_for_people(const struct cli *cli) NONNULL(1);

/* See that --output is one that we know: ERROR_INVALID. */
int output_check(const struct cli *cli, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* All objects of an array, one a line (or as one JSON array). */
void output_list(const struct cli *cli, const struct output_view *view,
                 json_t *items) NONNULL(1, 2, 3);

/* One object: each field on its own line, or as output_list(). */
void output_object(const struct cli *cli, const struct output_view *view,
                   json_t *object) NONNULL(1, 2, 3);

/* The table of some objects, whatever --output says. */
void output_table(const struct cli *cli, const struct output_view *view,
                  json_t *items) NONNULL(1, 2, 3);

/* A field as text; "" when the object does not have it. */
char *output_text(json_t *object, const char *key, enum output_kind kind)
    MUST_CHECK NONNULL(2);

/* How a state looks. */
enum terminal_style output_state_style(const char *state) NONNULL(1);

/* A field that is a text; "" when it is missing or something else. */
const char *output_field(json_t *object, const char *key) NONNULL(2);

#endif
