/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_driver.h -- what a kind of database must be able to do.
 *
 * Everything above this header is portable SQL: identifiers in double quotes,
 * parameters $1, $2, ... each used once and in this order, "returning", "is
 * distinct from", "nulls first".  What two databases spell differently is
 * here.  sqlite/ implements it; PostgreSQL has its place beside it.
 *
 * Threads:    a connection and its statements belong to one thread at a time.
 * Errors:     as in state.h; messages name the database, not the SQL.
 */
#ifndef STATE_STATE_DRIVER_H
#define STATE_STATE_DRIVER_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state_driver;

/* The head of each driver's own structs. */
struct state_connection {
    const struct state_driver *driver;
};
struct state_statement {
    const struct state_driver *driver;
};

struct state_driver {
    const char *name;

    /* The type of a column `id`: assigned by the database, never used twice. */
    const char *id_type;

    /* Make the database if it is not there, private to its owner. */
    int (*create)(const char *location, struct error *err);

    /* With is_reader, nothing can be changed over this connection. */
    struct state_connection *(*open)(const char *location, bool is_reader,
                                     struct error *err);
    void (*close)(struct state_connection *connection);

    /*
     * A writing transaction excludes every other writer from its begin on and
     * waits for them at most timeout_ms (ERROR_BUSY).  A reading one sees the
     * database as it was at its first statement.
     */
    int (*begin)(struct state_connection *connection, bool is_write,
                 int64_t timeout_ms, struct error *err);
    /* On 0, what was written survives a power cut. */
    int (*commit)(struct state_connection *connection, struct error *err);
    /* Undo what is not committed; cannot fail. */
    void (*rollback)(struct state_connection *connection);

    /* Run statements, separated by ";", that return nothing. */
    int (*exec)(struct state_connection *connection, const char *sql,
                struct error *err);

    struct state_statement *(*prepare)(struct state_connection *connection,
                                       const char *sql, struct error *err);
    void (*finish)(struct state_statement *statement); /* NULL is fine */

    /*
     * Give parameter `index` (from 1) its value, which is copied; NULL text is
     * SQL's null.  A failure is kept and reported by step.
     */
    void (*bind_text)(struct state_statement *statement, size_t index,
                      const char *text);
    void (*bind_int)(struct state_statement *statement, size_t index,
                     int64_t number);

    /* 1: a row is there, 0: no more, -1: failed. */
    int (*step)(struct state_statement *statement, struct error *err);

    /* Columns of the result (from 0); texts are borrowed until the next step
     * or finish, NULL for SQL's null. */
    size_t (*column_count)(struct state_statement *statement);
    const char *(*column_name)(struct state_statement *statement, size_t index);
    const char *(*column_text)(struct state_statement *statement, size_t index);
    int64_t (*column_int)(struct state_statement *statement, size_t index);
};

/* sqlite/sqlite_driver.c; the location is an absolute path. */
extern const struct state_driver state_sqlite;

#endif
