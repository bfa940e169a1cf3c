/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_snapshot_internal.h -- what the jobs of VM snapshots share.
 */
#ifndef ENGINE_VM_SNAPSHOT_INTERNAL_H
#define ENGINE_VM_SNAPSHOT_INTERNAL_H

#include "engine/retop.h"
#include "engine/shot.h"
#include "engine/vm_snapshot.h"

/* Read the job's snapshot row and let `event` happen to it. */
int vm_snapshot_enter(struct job *job, enum vm_snapshot_event event,
                      struct state_vm_snapshot *ret, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* ERROR_LIMIT when the machine has more VM snapshots than vmsnapshot.max
 * allows, `more` of them still to be made. */
int vm_snapshot_check_count(struct engine *engine, struct state_tx *tx,
                            const struct state_vm *vm, uint64_t more,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5);

/* After a failure, with the reason; while the journal holds a switch of the
 * machine nothing is changed: settling decides. */
void vm_snapshot_fall(struct job *job, enum vm_snapshot_event event,
                      const struct error *why) NONNULL(1, 3);

/* The owner's part of a switch that was undone, be it for a new snapshot or a
 * revert: OPERATION_FAILED, with the reason. */
int vm_snapshot_undo(struct engine *engine, struct state_tx *tx,
                     const struct retop *retop, const struct error *why,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* No snapshot of the machine is current any more; *ret_current was, or 0. */
int vm_snapshot_clear_current(struct state_tx *tx, int64_t vm_id,
                              int64_t *ret_current, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The layer of one volume that a snapshot stands for. */
struct vm_snapshot_member {
    int64_t volume_id;
    int64_t layer_id;
    const char *path; /* borrowed; of the layer */
    uint64_t size;    /* of the guest's disk */
};

/* The snapshot pins it. */
int vm_snapshot_pin(struct state_tx *tx, const struct state_vm_snapshot *row,
                    const struct vm_snapshot_member *member, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* All members are pinned: it is Ready, current, charged and stored. */
int vm_snapshot_become_ready(struct state_tx *tx, struct state_vm_snapshot *row,
                             int64_t vm_id, bool quiesced, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* -- by what the disks are stored on (vm_snapshot_storage.c) --------------- */

/**
 * vm_snapshot_choose_storage(job, machine, ret_shot, err):
 * Is the snapshot of that job, of a machine that is so now, taken by the
 * storages of the disks?
 *
 * Ownership:  the caller frees *ret_shot; NULL: it is taken in layers.
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED when it is refused:
 *             memory was asked for, or there is no guest agent.
 */
int vm_snapshot_choose_storage(struct job *job,
                               const struct hv_machine *machine,
                               struct shot **ret_shot, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Take it, as shot_take(). */
int vm_snapshot_take_storage(struct job *job, struct shot *shot,
                             int64_t snapshot_id, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

#endif
