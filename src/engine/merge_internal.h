/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_internal.h -- shared by the files of merge.
 */
#ifndef ENGINE_MERGE_INTERNAL_H
#define ENGINE_MERGE_INTERNAL_H

#include "engine/merge.h"

struct merge_slow;

/* One merge; texts are borrowed from the tree. */
struct merge {
    int64_t vm_id;
    const char *vm_uuid;
    const char *vm_name;
    int64_t volume_id;
    const char *target;
    const char *way;  /* who copied, for the log: varve, qemu, qemu-img, pull */
    int64_t layer_id; /* L, the lower one, whose content goes */
    int64_t child_id; /* C, whose content stays */
    const char *layer_path;
    const char *layer_format;
    const char *child_path;
    bool is_defined;         /* the machine has a definition of its own */
    bool is_active;          /* C is what the guest writes */
    bool is_on_active_chain; /* a running QEMU has both open */
    bool is_committed;       /* known: L's file holds C's content already */
    bool is_pivot_asked;     /* an earlier run told QEMU to pivot */
    bool is_backward;        /* C's file stays and L's goes (merge_pull.h) */
    bool is_patient;         /* no request waits for it: no time-out */
    int64_t operation;
};

/**
 * merge_live(engine, job, merge, err):
 * Part 1 inside a running QEMU: start, or go on with, its block job; wait;
 * pivot if C is the active layer; see that QEMU's chain is what it must be.
 * A job that failed, or that somebody aborted or cancelled, is given up: the
 * operation is over then.
 */
int merge_live(struct engine *engine, struct job *job,
               const struct merge *merge, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * merge_wait(engine, job, merge, slow, ret_state, err):
 * Wait until the block job is ready or over; `job` shows progress.  A guest
 * that outruns it is made slow (`slow`, which whoever called ends).
 *
 * Returns:    0; with ret_state->state HV_JOB_RUNNING when the guest outruns
 *             it and may not be slow for (any) longer: the block job goes on.
 *             -1 with *err set to ERROR_TIMEOUT or ERROR_CANCELLED (the block
 *             job goes on), or as hv_job_wait().
 */
int merge_wait(struct engine *engine, struct job *job,
               const struct merge *merge, struct merge_slow *slow,
               struct hv_job *ret_state, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5, 6);

/**
 * merge_pivot(engine, job, merge, slow, err):
 * Tell QEMU to pivot and see that it does; a guest that keeps it from that is
 * made slow (`slow`, which whoever called ends).
 *
 * Returns:    0, or -1 with *err set to ERROR_TIMEOUT, or ERROR_CANCELLED when
 *             the job was, when it has not happened: it goes on, and a settling
 *             job must follow it; or as hv_pivot().
 */
int merge_pivot(struct engine *engine, struct job *job,
                const struct merge *merge, struct merge_slow *slow,
                struct error *err) MUST_CHECK NONNULL(1, 3, 4, 5);

/**
 * merge_pivot_happened(engine, merge, volume, err):
 * For a stopped machine whose pivot was asked for and never seen: did the
 * guest go on in L's file?  Only what proves it counts
 * (docs/internals/journal.md).
 *
 * Returns:    1 yes, or both files read the same and it does not matter;
 *             0 no; -1 with *err set to ERROR_CONFLICT when nothing proves
 *             either: the message says what to do.
 */
int merge_pivot_happened(struct engine *engine, const struct merge *merge,
                         struct tree_volume *volume, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
