/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thaw_again.h -- a guest that may be frozen is asked until it surely is not.
 *
 * A thaw whose answer was lost, or that a guest's agent did not answer in
 * time, may have happened or not.  Whoever finds that out owes the guest a
 * thaw: a row of the journal (OPERATION_THAW).  A thread of the engine (owed.h)
 * asks the guest again until it says that it is thawed, or cannot be frozen (it
 * is stopped, or gone).
 *
 * Who freezes a guest on purpose takes over what is owed to it: it thaws that
 * guest itself, and no late thaw comes in between.
 */
#ifndef ENGINE_THAW_AGAIN_H
#define ENGINE_THAW_AGAIN_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"

/* Of the thread that pays what is owed (an owed_try). */
int thaw_again_pay(struct engine *engine, const struct state_operation *row,
                   bool tell) MUST_CHECK NONNULL(1, 2);

/**
 * thaw_again_try(engine, vm_uuid, err):
 * Thaw the guest.
 *
 * Blocks:     until its agent has answered, bounded as hv_thaw() is.
 * Returns:    0 when it surely is not frozen; or -1 with *err set.
 */
int thaw_again_try(struct engine *engine, const char *vm_uuid,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * thaw_again_now(engine, vm_uuid, vm_name, err):
 * Thaw the guest; when that is not sure, it is owed from now on.
 *
 * Durability: what is owed survives our death.
 * Returns:    0 when it is thawed or owed; or -1 with *err set to
 *               ERROR_UNAVAILABLE  the hypervisor cannot be asked; owed, too;
 *               others             it could not be written down.
 */
int thaw_again_now(struct engine *engine, const char *vm_uuid,
                   const char *vm_name, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * thaw_again_take_over(engine, vm_uuid, err):
 * The caller is about to freeze the guest, and thaws it or owes that: nobody
 * else thaws it from here on.
 *
 * Blocks:     while the thread asks this guest.
 */
int thaw_again_take_over(struct engine *engine, const char *vm_uuid,
                         struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Of settling: ask once; -1 when it is still owed. */
int thaw_again_settle(struct engine *engine, const struct state_operation *row,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
