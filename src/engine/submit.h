/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.h -- how every request ends: its job goes into a queue.
 *
 * A request checks, and inserts the rows that its job is about, in one write
 * transaction; the job comes last, in the same.  What is to be checked differs
 * from request to request and stays with them.
 *
 * Ownership:  the strings and rows are borrowed for the call; `parameters` is
 *             taken over, also when the call fails.
 */
#ifndef ENGINE_SUBMIT_H
#define ENGINE_SUBMIT_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "state/state.h"

#include <jansson.h>

struct submit {
    const char *command;       /* of job_table.c */
    const struct state_vm *vm; /* whose queue; NULL or id 0: no machine's */
    const char *queue;         /* without a machine: which */
    const char *type;          /* of the object; NULL: it is the machine */
    const char *uuid;          /* of the object; NULL: none, or the machine */
    json_t *parameters;        /* owned; or NULL.  "vm" is added to them */
};

/**
 * submit_job(engine, tx, caller, submit, ret_ticket, err):
 * Insert the job in the caller's name, commit, and let the workers look.
 *
 * Durability: on 0, the job runs, now or after the next start.
 * Returns:    0, or -1 with *err set; then ending `tx` leaves nothing.  Either
 *             way the caller still ends `tx` (AUTO_STATE_TX).
 */
int submit_job(struct engine *engine, struct state_tx *tx,
               const struct caller *caller, const struct submit *submit,
               struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);

/**
 * submit_as_root(tx, submit, err):
 * Insert a job that nobody asked for, in the name of the first root admin;
 * before there is one, nothing.  The caller commits, and job_wake() follows.
 *
 * Returns:    0, or -1 with *err set.
 */
int submit_as_root(struct state_tx *tx, const struct submit *submit,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
