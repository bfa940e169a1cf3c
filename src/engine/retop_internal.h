/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retop_internal.h -- shared by retop.c and retop_settle.c.
 */
#ifndef ENGINE_RETOP_INTERNAL_H
#define ENGINE_RETOP_INTERNAL_H

#include "engine/retop.h"

const struct retop_owner *retop_owner_of(enum retop_purpose purpose);

/* To and from the journal. */
json_t *retop_to_json(const struct retop *retop) MUST_CHECK NONNULL(1);
struct retop *retop_from_json(json_t *payload, int64_t operation,
                              struct error *err) MUST_CHECK NONNULL(1, 3);

/* The switch is known to have happened: make all views agree and record it. */
int retop_finish(struct engine *engine, struct retop *retop, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Do the switch, in whatever way this operation does it. */
int retop_switch(struct engine *engine, struct retop *retop, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- what belongs to the guest beside its disks (retop_guest.c) ----------- */

void retop_guest_release(struct retop *retop) NONNULL(1);
json_t *retop_guest_to_json(const struct retop *retop) MUST_CHECK NONNULL(1);
int retop_guest_from_json(json_t *object, struct retop *retop)
    MUST_CHECK NONNULL(2);

/* Between the hold and the switch: end the machine, put its variables back.
 * Doing it again is doing it once. */
int retop_guest_begin(struct engine *engine, const struct retop *retop,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);
/* After the switch, before it is recorded. */
int retop_guest_finish(struct engine *engine, struct retop *retop,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3);
/* The switch did not happen: everything is as it was, or never was. */
int retop_guest_undo(struct engine *engine, const struct retop *retop,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);
/* The machine was ended for the sake of a switch that did not happen yet. */
bool retop_guest_goes_forward(const struct retop *retop) NONNULL(1);

/* A quiesced switch that did not end well may have left the guest frozen: the
 * guest comes first.  That its agent cannot say is only logged. */
int retop_thaw(struct engine *engine, const struct retop *retop,
               struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The machine and its disks that are switched, as they are now. */
int retop_look(struct engine *engine, const struct retop *retop,
               struct hv_look *ret_look, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Did the switch happen?  1 yes, 0 no, -1 cannot be told now. */
int retop_ask(struct engine *engine, const struct retop *retop,
              struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
