/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_internal.h -- what the files of src/state/ know of each other.
 */
#ifndef STATE_STATE_INTERNAL_H
#define STATE_STATE_INTERNAL_H

#include "state/state.h"
#include "state/state_driver.h"

#include <pthread.h>

struct state_tx {
    struct state *state;                 /* borrowed */
    struct state_connection *connection; /* borrowed from the pool */
    bool is_write;
    bool is_open; /* neither committed nor undone */
    pthread_t owner;
};

#endif
