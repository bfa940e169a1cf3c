/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h -- the database: identities and the journal, never the truth about
 * files.
 *
 * All SQL of the product is in this folder.  Rows are plain structs made from
 * tables.def; each table T has
 *
 *     struct state_T               a row; text fields are owned by it
 *     void state_T_release(struct state_T *row)    leaves it zeroed
 *     int  state_T_insert(tx, struct state_T *row, err)      sets row->id
 *     int  state_T_update(tx, const struct state_T *row, err)  by row->id
 *              0, or -1 with ERROR_NOT_FOUND
 *     int  state_T_delete(tx, int64_t id, err)     gone already is success
 *     int  state_T_get(tx, int64_t id, struct state_T *ret_row, err)
 *              0, or -1 with ERROR_NOT_FOUND
 *     int  state_T_find(tx, where, count, struct state_T *ret_row, err)
 *              the first match: 1 found, 0 none, -1 failed
 *     int  state_T_list(tx, query, struct state_T_list *ret_list, err)
 *     void state_T_list_release(struct state_T_list *list)
 *     int  state_T_count(tx, query, uint64_t *ret_count, err)
 *     void state_T_copy(struct state_T *ret_copy, const struct state_T *row)
 *
 * A ret_ row or list is written on success only and over what it held: release
 * it before it is used again.
 *
 * Threads:    any number of read transactions run at once; one write
 *             transaction at a time, others wait for at most 30 seconds.  A
 *             transaction belongs to the thread that began it.
 * Durability: state_commit() returning 0 means that it survives a power cut.
 *             When it fails, the transaction is there whole or not at all; who
 *             must know which looks again.
 * Errors:     ERROR_IO, ERROR_NO_SPACE, ERROR_CORRUPT, ERROR_BUSY (the lock was
 *             not had in time), ERROR_CONFLICT (a unique value exists already,
 *             or a row that others refer to would go).
 */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state;
struct state_tx;

/**
 * state_open(url, err):
 * Open the database "sqlite:///absolute/path" or just "/absolute/path",
 * making it (mode 0600) and bringing it to the newest schema.
 *
 * Returns:    the database, or NULL with *err set; ERROR_UNSUPPORTED when it
 *             was written by a newer version.
 */
struct state *state_open(const char *url, struct error *err)
    MUST_CHECK NONNULL(1, 2);
void state_close(struct state *state);

/*
 * Transactions.  A `tx` that is not committed is undone by state_end().  A
 * write transaction ends for others with state_commit(); the object itself
 * is of no more use then but to be given to state_end().
 */
struct state_tx *state_begin_read(struct state *state, struct error *err)
    MUST_CHECK NONNULL(1, 2);
struct state_tx *state_begin_write(struct state *state, struct error *err)
    MUST_CHECK NONNULL(1, 2);
int state_commit(struct state_tx *tx, struct error *err)
    MUST_CHECK NONNULL(1, 2);
void state_end(struct state_tx *tx); /* also of a committed one; NULL is fine */
void state_end_cleanup(struct state_tx **tx);
#define AUTO_STATE_TX CLEANUP(state_end_cleanup)

/* -- conditions --------------------------------------------------------- */

enum state_operator {
    STATE_EQ,
    STATE_NE,
    STATE_LT,
    STATE_LE,
    STATE_GT,
    STATE_GE,
    STATE_IN_TEXT, /* `texts` of `count`, together at most 32000 in a query */
    STATE_IN_INT,  /* `ints` of `count`; an empty list matches nothing */
    STATE_CONTAINS /* `text`, at most 4096 bytes, in any (ASCII) case */
};

/* One condition; those of a query are joined by "and". */
struct state_where {
    const char *column; /* must be a column of the table (checked) */
    enum state_operator op;
    const char *text; /* borrowed; the value of a text column; NULL with
                         STATE_EQ is "not set", with STATE_NE "set"; "not
                         set" is NE to every text */
    int64_t number;
    const char *const *texts;
    const int64_t *ints;
    size_t count;
};

#define STATE_TEXT(name, value)                                                \
    {                                                                          \
        .column = (name), .op = STATE_EQ, .text = (value)                      \
    }
#define STATE_INT(name, value)                                                 \
    {                                                                          \
        .column = (name), .op = STATE_EQ, .number = (value)                    \
    }
/* "Not removed": the column is 0. */
#define STATE_LIVING                                                           \
    {                                                                          \
        .column = "removed", .op = STATE_EQ, .number = 0                       \
    }

struct state_query {
    const struct state_where *where; /* borrowed */
    size_t where_count;
    const char *order; /* column, with "-" in front for descending; NULL: id;
                          rows that are equal follow by id */
    uint64_t limit;    /* 0: none */
    uint64_t offset;
};

/* A query over a local array of conditions: STATE_QUERY(where). */
#define STATE_QUERY(array)                                                     \
    (&(struct state_query){.where = (array),                                   \
                           .where_count = sizeof(array) / sizeof((array)[0])})
#define STATE_ALL (&(struct state_query){.where = NULL})

/* -- rows ---------------------------------------------------------------- */

#define TABLE(table)                                                           \
    struct state_##table {                                                     \
        int64_t id;
#define TEXT(column) char *column; /* owned */
#define INT(column) int64_t column;
#define END(table)                                                             \
    }                                                                          \
    ;
#include "state/tables.def"
#undef TABLE
#undef TEXT
#undef INT
#undef END

#define TABLE(table)
#define TEXT(column)
#define INT(column)
#define END(table)                                                             \
    struct state_##table##_list {                                              \
        struct state_##table *items; /* owned */                               \
        size_t count;                                                          \
        size_t capacity;                                                       \
    };                                                                         \
    void state_##table##_release(struct state_##table *row);                   \
    int state_##table##_insert(struct state_tx *tx, struct state_##table *row, \
                               struct error *err) MUST_CHECK;                  \
    int state_##table##_update(struct state_tx *tx,                            \
                               const struct state_##table *row,                \
                               struct error *err) MUST_CHECK;                  \
    int state_##table##_delete(struct state_tx *tx, int64_t id,                \
                               struct error *err) MUST_CHECK;                  \
    int state_##table##_get(struct state_tx *tx, int64_t id,                   \
                            struct state_##table *ret_row, struct error *err)  \
        MUST_CHECK;                                                            \
    int state_##table##_find(                                                  \
        struct state_tx *tx, const struct state_where *where, size_t count,    \
        struct state_##table *ret_row, struct error *err) MUST_CHECK;          \
    int state_##table##_list(                                                  \
        struct state_tx *tx, const struct state_query *query,                  \
        struct state_##table##_list *ret_list, struct error *err) MUST_CHECK;  \
    void state_##table##_list_release(struct state_##table##_list *list);      \
    int state_##table##_count(                                                 \
        struct state_tx *tx, const struct state_query *query,                  \
        uint64_t *ret_count, struct error *err) MUST_CHECK;                    \
    void state_##table##_copy(struct state_##table *ret_copy,                  \
                              const struct state_##table *row);
#include "state/tables.def"
#undef TABLE
#undef TEXT
#undef INT
#undef END

/* `AUTO_STATE(vm) row = {0};` releases its texts at the end of the scope. */
#define AUTO_STATE(table) CLEANUP(state_##table##_release) struct state_##table
#define AUTO_STATE_LIST(table)                                                 \
    CLEANUP(state_##table##_list_release) struct state_##table##_list

/* Replace an owned text field. */
void state_set_text(char **field, const char *text) NONNULL(1);

#endif
