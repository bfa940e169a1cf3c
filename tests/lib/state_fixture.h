/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_fixture.h -- a database in a directory of its own, for tests of
 * src/state/.
 */
#ifndef TESTS_LIB_STATE_FIXTURE_H
#define TESTS_LIB_STATE_FIXTURE_H

#include "base/memory.h"
#include "state/state.h"

#include <unistd.h>

#include "check.h"
#include "oracle.h"

static struct scratch scratch;
static char *path;

static inline struct state *
open_state(void)
{
    struct error err = ERROR_INIT;
    struct state *state = state_open(path, &err);

    if (state == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return state;
}

static inline struct state *
fresh_state(void)
{
    for (int i = 0; i < 3; i++) {
        const char *const suffix[] = {"", "-wal", "-shm"};
        AUTO_FREE char *name = xasprintf("%s%s", path, suffix[i]);

        (void)unlink(name);
    }
    return open_state();
}

/* A transaction that must begin. */
static inline struct state_tx *
writing(struct state *state)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);

    if (tx == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return tx;
}

static inline struct state_tx *
reading(struct state *state)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_read(state, &err);

    if (tx == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
    return tx;
}

static inline int
add_zone(struct state_tx *tx, const char *uuid, const char *name,
         int64_t created, struct error *err)
{
    AUTO_STATE(zone) zone = {.created = created};

    state_set_text(&zone.uuid, uuid);
    state_set_text(&zone.name, name);
    return state_zone_insert(tx, &zone, err);
}

static inline uint64_t
count_zones(struct state *state)
{
    AUTO_STATE_TX struct state_tx *tx = reading(state);
    struct error err = ERROR_INIT;
    uint64_t count = UINT64_MAX;

    CHECK_OK(state_zone_count(tx, STATE_ALL, &count, &err), &err);
    return count;
}

static inline void
fixture_enter(void)
{
    scratch_enter(&scratch);
    path = scratch_file(&scratch, "varve.db");
}

static inline void
fixture_leave(void)
{
    free(path);
    scratch_leave(&scratch);
}

#endif
