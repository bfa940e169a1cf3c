/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owed.h -- what is owed to a guest is tried again until it is done.
 *
 * What is owed is a row of the journal, of one kind, which survives us and
 * which nothing waits for.  A thread tries each, at first after a second and
 * then more and more seldom, until its row is gone.
 *
 * Threads:    any number at once, but for new, start, stop and free.
 */
#ifndef ENGINE_OWED_H
#define ENGINE_OWED_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"

#include <stdbool.h>

struct owed;

/* Try once, and remove the row when it is done.  `tell`: what is still owed has
 * not been told for ten minutes.  1 done, or the row is gone; 0 still owed. */
typedef int owed_try(struct engine *engine, const struct state_operation *row,
                     bool tell);

/* `kind` is a constant. */
struct owed *owed_new(struct engine *engine, const char *kind,
                      owed_try *attempt) MUST_CHECK NONNULL(1, 2, 3);
/* Start the thread, which begins with what is in the journal; `what` it does
 * is for the error. */
int owed_start(struct owed *owed, const char *what, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);
/* End it: at most until the try that is under way has ended. */
void owed_stop(struct owed *owed) NONNULL(1);
void owed_free(struct owed *owed); /* stopped */

/* Something is newly owed: the next try comes soon. */
void owed_wake(struct owed *owed) NONNULL(1);

/**
 * owed_hold(owed, vm_uuid):
 * The thread leaves this machine alone until owed_release().
 *
 * Blocks:     while it tries something of this machine.
 */
void owed_hold(struct owed *owed, const char *vm_uuid) NONNULL(1, 2);
void owed_release(struct owed *owed, const char *vm_uuid) NONNULL(1, 2);

#endif
