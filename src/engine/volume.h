/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h -- volumes that come, go and grow.
 *
 * A change of a volume that is attached to a machine, or becomes so, is one
 * journal entry (OPERATION_VOLUME) in that machine's queue:
 *
 *     action   what is done                      settling asks
 *     resize   hv_resize() or commit_resize()    the image for its size
 *     attach   file (prepare), hv_attach_disk()  the definition for the disk
 *     detach   hv_detach_disk()                  the same
 *     restore  a file (restored_volumes.h)       nothing: it is removed
 *
 * While it lasts the volume's state says so (Resizing, Attaching, Detaching).
 * A disk that the definition has and the guest has not (a death between the
 * two) is attached: it is there at the next start.
 */
#ifndef ENGINE_VOLUME_H
#define ENGINE_VOLUME_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/job.h"

#include <jansson.h>

int volume_run_create(struct job *job, struct error *err) MUST_CHECK;
int volume_run_attach(struct job *job, struct error *err) MUST_CHECK;
int volume_run_detach(struct job *job, struct error *err) MUST_CHECK;
int volume_run_resize(struct job *job, struct error *err) MUST_CHECK;
int volume_run_delete(struct job *job, struct error *err) MUST_CHECK;

/* Finish or undo what an earlier run left. */
int volume_settle(struct engine *engine, const struct state_operation *row,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Remove a volume's row; its files, with their intents, follow. */
int volume_drop(struct state_tx *tx, struct state_volume *row,
                struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Then unlink them; those that other images rest on stay. */
int volume_unlink_files(struct engine *engine, const char *volume_uuid,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Files of deleted volumes that are still there: at start. */
int volume_settle_deleted(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/**
 * volume_look_at_machine(engine, caller, uuid, err):
 * inventory_look() at the machine that the volume is attached to; that there
 * is none is success.
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  there is no such volume for the caller.
 */
int volume_look_at_machine(struct engine *engine, const struct caller *caller,
                           const char *uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/* -- for the files of volume_*.c ------------------------------------------- */

/* The journal entry of one volume. */
struct volume_change {
    const char *action; /* "attach", "detach", "resize", "restore" */
    int64_t volume_id;
    int64_t vm_id;
    const char *vm_uuid;  /* borrowed */
    const char *target;   /* borrowed; of attach and detach */
    const char *new_file; /* borrowed; that attach makes, or NULL */
    int64_t device_id;
    bool claims;       /* the volume becomes the machine's */
    int64_t operation; /* its row */
};

/* Write it down and put the volume into `state`. */
int volume_begin(struct engine *engine, struct volume_change *change,
                 const char *state, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* The file of `change` is whole: it is the volume's first layer from now on. */
int volume_record_file(struct engine *engine,
                       const struct volume_change *change, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/**
 * volume_choose_device(tx, vm, asked, ret_device, err):
 * The device id that is asked for, or (-1) one from 1 on that is free.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID when that is taken.
 */
int volume_choose_device(struct state_tx *tx, const struct state_vm *vm,
                         int64_t asked, int64_t *ret_device, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * volume_attach_to(job, volume_id, device, wanted, err):
 * Attach a detached volume to the job's machine, as the device `*device` or
 * (then it is changed) a free one, and at the target `wanted` if that is free;
 * NULL: any.
 */
int volume_attach_to(struct job *job, int64_t volume_id, int64_t *device,
                     const char *wanted, struct error *err)
    MUST_CHECK NONNULL(1, 3, 5);

/* Read a volume's row. */
int volume_get(struct engine *engine, int64_t id, struct state_volume *ret_row,
               struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* The size that the guest sees, as the active layer's image says. */
int volume_size(const struct state_layer *active, uint64_t *ret_size,
                struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * volume_finish_resize(engine, operation, volume_id, err):
 * Record the size that the image has now, Ready, the event and the usage when
 * it changed, and end the journal entry (0: there is none).
 */
int volume_finish_resize(struct engine *engine, int64_t operation,
                         int64_t volume_id, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/* A volume whose size becomes another one: event and usage, in the same
 * transaction (semantics 2.4). */
int volume_note_size(struct state_tx *tx, const struct state_volume *volume,
                     int64_t size, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/* After an attach or detach that failed or was cut off: the record follows
 * the definition. */
int volume_settle_place(struct engine *engine,
                        const struct volume_change *change, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
