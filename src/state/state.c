/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c -- connections and transactions.
 *
 * One connection writes, and one thread at a time has it: SQLite has one
 * writer anyway, and waiting here is fair, has a limit and says BUSY, while
 * waiting inside SQLite is a polling loop.  Reading connections are made when
 * none is idle and kept afterwards; there are never more than threads that
 * read at once.
 *
 * A write transaction inside a write transaction of the same thread would wait
 * for itself; it asserts.  A read transaction inside a write transaction is
 * fine and does not see what is not committed.
 */
#include "state/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "state/migrations.h"
#include "state/state_codec.h"
#include "state/state_internal.h"

#define WAIT_MS 30000
#define IDLE_READERS_MAX 8

struct connections VEC(struct state_connection *);

struct state {
    const struct state_driver *driver;
    char *location;                  /* owned */
    struct state_connection *writer; /* owned */
    struct lock lock;
    struct signal writer_is_free;
    bool writer_is_taken;    /* under lock, as all below */
    pthread_t writer_owner;  /* valid while it is taken */
    struct connections idle; /* owned readers */
    size_t open_transactions;
};

/* -- opening ------------------------------------------------------------ */

/* The path of "sqlite:///path" or "/path", borrowed; NULL with *err set. */
static const char *
location_of(const char *url, struct error *err)
{
    static const char scheme[] = "sqlite://";
    const char *path = url;

    if (strncmp(url, scheme, strlen(scheme)) == 0)
        path = url + strlen(scheme);
    if (path_is_clean_absolute(path))
        return path;
    if (path == url && strstr(url, "://") != NULL)
        (void)error_set(err, ERROR_UNSUPPORTED,
                        "database '%s': this build knows sqlite:/// only", url);
    else
        (void)error_set(err, ERROR_INVALID,
                        "database '%s': the path must be absolute and "
                        "without '.' and '..'",
                        url);
    return NULL;
}

struct state *
state_open(const char *url, struct error *err)
{
    const char *location = location_of(url, err);
    struct state *state;

    if (location == NULL)
        return NULL;
    state = xcalloc(1, sizeof(*state));
    state->driver = &state_sqlite;
    state->location = xstrdup(location);
    lock_init(&state->lock);
    signal_init(&state->writer_is_free);
    if (state->driver->create(location, err) < 0)
        goto out;
    state->writer = state->driver->open(location, false, err);
    if (state->writer == NULL || migrations_run(state->writer, err) < 0 ||
        state_codec_check(state->writer, err) < 0)
        goto out;
    return state;
out:
    state_close(state);
    return NULL;
}

void
state_close(struct state *state)
{
    if (state == NULL)
        return;
    assert(state->open_transactions == 0);
    vec_for (struct state_connection **, reader, &state->idle)
        state->driver->close(*reader);
    vec_release(&state->idle);
    state->driver->close(state->writer);
    signal_release(&state->writer_is_free);
    lock_release(&state->lock);
    free(state->location);
    free(state);
}

/* -- the pool ----------------------------------------------------------- */

static bool
take_writer_locked(struct state *state, int64_t deadline_ms)
    REQUIRES(state->lock)
{
    assert(!state->writer_is_taken ||
           !pthread_equal(state->writer_owner, pthread_self()));
    while (state->writer_is_taken)
        if (!signal_wait_until(&state->writer_is_free, &state->lock,
                               deadline_ms) &&
            state->writer_is_taken)
            return false;
    state->writer_is_taken = true;
    state->writer_owner = pthread_self();
    state->open_transactions++;
    return true;
}

static void
give_writer(struct state *state)
{
    lock_take(&state->lock);
    state->writer_is_taken = false;
    state->open_transactions--;
    signal_wake_one(&state->writer_is_free);
    lock_give(&state->lock);
}

static struct state_connection *
take_reader(struct state *state, struct error *err)
{
    struct state_connection *reader = NULL;

    lock_take(&state->lock);
    if (state->idle.count > 0)
        reader = state->idle.items[--state->idle.count];
    state->open_transactions++;
    lock_give(&state->lock);
    if (reader == NULL)
        reader = state->driver->open(state->location, true, err);
    if (reader == NULL) {
        lock_take(&state->lock);
        state->open_transactions--;
        lock_give(&state->lock);
    }
    return reader;
}

static void
give_reader(struct state *state, struct state_connection *reader)
{
    lock_take(&state->lock);
    if (state->idle.count < IDLE_READERS_MAX) {
        vec_push(&state->idle, reader);
        reader = NULL;
    }
    state->open_transactions--;
    lock_give(&state->lock);
    state->driver->close(reader);
}

/* -- transactions ------------------------------------------------------- */

static struct state_tx *
new_tx(struct state *state, struct state_connection *connection, bool is_write)
{
    struct state_tx *tx = xcalloc(1, sizeof(*tx));

    tx->state = state;
    tx->connection = connection;
    tx->is_write = is_write;
    tx->is_open = true;
    tx->owner = pthread_self();
    return tx;
}

struct state_tx *
state_begin_read(struct state *state, struct error *err)
{
    struct state_connection *reader = take_reader(state, err);

    if (reader == NULL)
        return NULL;
    if (state->driver->begin(reader, false, WAIT_MS, err) < 0) {
        give_reader(state, reader);
        return NULL;
    }
    return new_tx(state, reader, false);
}

struct state_tx *
state_begin_write(struct state *state, struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + WAIT_MS;
    bool is_ours;

    lock_take(&state->lock);
    is_ours = take_writer_locked(state, deadline_ms);
    lock_give(&state->lock);
    if (!is_ours) {
        (void)error_set(err, ERROR_BUSY,
                        "the database was being written for %d seconds",
                        WAIT_MS / 1000);
        return NULL;
    }
    if (fault_here("state.begin")) {
        (void)error_set_errno(err, errno, "begin a transaction");
        give_writer(state);
        return NULL;
    }
    /* What is left of the 30 seconds is for other processes' locks. */
    if (state->driver->begin(
            state->writer, true,
            MAX(deadline_ms - clock_monotonic_ms(), (int64_t)0), err) < 0) {
        give_writer(state);
        return NULL;
    }
    return new_tx(state, state->writer, true);
}

int
state_commit(struct state_tx *tx, struct error *err)
{
    const struct state_driver *driver = tx->connection->driver;

    assert(tx->is_open && pthread_equal(tx->owner, pthread_self()));
    if (tx->is_write && fault_here("state.commit.before"))
        return error_set_errno(err, errno, "commit");
    if (driver->commit(tx->connection, err) < 0)
        return -1;
    tx->is_open = false;
    /* Others may write now: who commits may go on to wait for them. */
    if (tx->is_write)
        give_writer(tx->state);
    if (tx->is_write && fault_here("state.commit.after"))
        return error_set_errno(err, errno, "commit: the reply was lost");
    return 0;
}

void
state_end(struct state_tx *tx)
{
    if (tx == NULL)
        return;
    assert(pthread_equal(tx->owner, pthread_self()));
    if (tx->is_open) {
        tx->connection->driver->rollback(tx->connection);
        if (tx->is_write)
            give_writer(tx->state);
    }
    if (!tx->is_write)
        give_reader(tx->state, tx->connection);
    free(tx);
}

void
state_end_cleanup(struct state_tx **tx)
{
    state_end(*tx);
    *tx = NULL;
}

/* -- fields ------------------------------------------------------------- */

void
state_set_text(char **field, const char *text)
{
    char *copy = xstrdup_null(text);

    free(*field);
    *field = copy;
}
