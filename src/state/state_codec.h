/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_codec.h -- rows to and from the database, for any table.
 *
 * The functions of state.h for each table are thin casts around these; see
 * there for what they promise.  `row` is a struct state_T of the table.
 */
#ifndef STATE_STATE_CODEC_H
#define STATE_STATE_CODEC_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"
#include "state/state_sql.h"

#include <stddef.h>
#include <stdint.h>

/* A list of rows of any table. */
struct state_codec_rows {
    void *items; /* owned */
    size_t count;
    size_t capacity;
};

void state_codec_release(const struct state_table *table, void *row)
    NONNULL(1, 2);
void state_codec_release_rows(const struct state_table *table,
                              struct state_codec_rows *rows) NONNULL(1, 2);
void state_codec_copy(const struct state_table *table, void *ret_copy,
                      const void *row) NONNULL(1, 2, 3);

int state_codec_insert(struct state_tx *tx, const struct state_table *table,
                       void *row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
int state_codec_update(struct state_tx *tx, const struct state_table *table,
                       const void *row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
int state_codec_delete(struct state_tx *tx, const struct state_table *table,
                       int64_t id, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);
int state_codec_get(struct state_tx *tx, const struct state_table *table,
                    int64_t id, void *ret_row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);
int state_codec_find(struct state_tx *tx, const struct state_table *table,
                     const struct state_where *where, size_t count,
                     void *ret_row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5, 6);
int state_codec_list(struct state_tx *tx, const struct state_table *table,
                     const struct state_query *query,
                     struct state_codec_rows *ret_rows, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
int state_codec_count(struct state_tx *tx, const struct state_table *table,
                      const struct state_query *query, uint64_t *ret_count,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* The tables of tables.def in its order, from 0; NULL behind the last. */
const struct state_table *state_codec_table(size_t index);

/**
 * state_codec_check(connection, err):
 * Compare the database with tables.def.  Columns that only the database has
 * are allowed: migrations add, they never take away.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT when a table or column
 *             is missing.
 */
int state_codec_check(struct state_connection *connection, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
