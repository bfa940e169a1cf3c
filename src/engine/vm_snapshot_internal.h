/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_snapshot_internal.h -- what the jobs of VM snapshots share.
 */
#ifndef ENGINE_VM_SNAPSHOT_INTERNAL_H
#define ENGINE_VM_SNAPSHOT_INTERNAL_H

#include "engine/vm_snapshot.h"

/* Read the job's snapshot row and let `event` happen to it. */
int vm_snapshot_enter(struct job *job, enum vm_snapshot_event event,
                      struct state_vm_snapshot *ret, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* After a failure, with the reason; while the journal holds a switch of the
 * machine nothing is changed: settling decides. */
void vm_snapshot_fall(struct job *job, enum vm_snapshot_event event,
                      const struct error *why) NONNULL(1, 3);

/* No snapshot of the machine is current any more; *ret_current was, or 0. */
int vm_snapshot_clear_current(struct state_tx *tx, int64_t vm_id,
                              int64_t *ret_current, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

#endif
