/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrations.h -- bring a database of any earlier form to the present one.
 */
#ifndef STATE_MIGRATIONS_H
#define STATE_MIGRATIONS_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state_driver.h"

#include <stdint.h>

/* The newest form's number. */
int64_t migrations_newest(void);

/**
 * migrations_run(connection, err):
 * Apply what the database does not have yet, each step in a transaction of
 * its own.
 *
 * Blocks:     on the database's write lock, at most 30 seconds for each step.
 * Durability: a step is there whole or not at all, whenever it is killed; the
 *             next run goes on behind it.
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED when a newer version
 *             wrote it, and then nothing was changed.
 */
int migrations_run(struct state_connection *connection, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
