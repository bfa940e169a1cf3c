/* SPDX-License-Identifier: Apache-2.0 */
/*
 * requests.h -- everything that a caller can ask of the engine.
 *
 * Each function checks rights and state, writes what is needed and returns at
 * once; the work is the ticket's job.  Objects are named by uuid text as it
 * came from the caller: one that is malformed, unknown, removed or not the
 * caller's to see is ERROR_NOT_FOUND with a text that names it.
 * Rules: semantics 1.1, 1.6 (volume snapshots), 2.3, 3.3 (VM snapshots), 5.2 to
 * 5.8 (backups).
 *
 * Ownership:  all strings are borrowed for the call.
 * Returns:    0, or -1 with *err set, and then nothing was changed.
 */
#ifndef ENGINE_REQUESTS_H
#define ENGINE_REQUESTS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stdint.h>

/* -- machines ------------------------------------------------------------ */

int request_vm_start(struct engine *engine, const struct caller *caller,
                     const char *vm, struct ticket *ret_ticket,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* forced: do not ask the guest, end it. */
int request_vm_stop(struct engine *engine, const struct caller *caller,
                    const char *vm, bool forced, struct ticket *ret_ticket,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5, 6);
int request_vm_reboot(struct engine *engine, const struct caller *caller,
                      const char *vm, struct ticket *ret_ticket,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Merge all our layers and forget the machine (BX-14). */
int request_vm_release(struct engine *engine, const struct caller *caller,
                       const char *vm, struct ticket *ret_ticket,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Stop it and delete its VM snapshots; it can be had back until it is
 * expunged, which also undefines it and deletes the files that are ours. */
int request_vm_destroy(struct engine *engine, const struct caller *caller,
                       const char *vm, bool expunge, struct ticket *ret_ticket,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3, 5, 6);
int request_vm_recover(struct engine *engine, const struct caller *caller,
                       const char *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
/* Give the stopped machine the CPUs and the memory of a service offering.  Its
 * VM snapshots with memory are deleted, unless the setting
 * vmsnapshot.memory.keep.on.scale keeps them. */
int request_vm_scale(struct engine *engine, const struct caller *caller,
                     const char *vm, const char *service_offering,
                     struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5, 6);
/* Look at the machine again and settle whatever is unfinished. */
int request_vm_settle(struct engine *engine, const struct caller *caller,
                      const char *vm, struct ticket *ret_ticket,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* -- service offerings ---------------------------------------------------- */

struct request_service_offering {
    const char *name;
    const char *description; /* or NULL */
    int64_t vcpus;
    uint64_t memory; /* bytes */
};
/* Root admins only, as deleting one; machines that have it keep what they
 * have. */
int request_service_offering_create(struct engine *engine,
                                    const struct caller *caller,
                                    const struct request_service_offering *args,
                                    char ret_uuid[UUID_TEXT_SIZE],
                                    struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
int request_service_offering_delete(struct engine *engine,
                                    const struct caller *caller,
                                    const char *service_offering,
                                    struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/* -- volumes -------------------------------------------------------------- */

struct request_volume {
    const char *name;
    uint64_t size; /* bytes; above 0 */
};
/* A volume of the caller's account without a file yet: the first attaching
 * makes it, beside the machine's root disk. */
int request_volume_create(struct engine *engine, const struct caller *caller,
                          const struct request_volume *args,
                          struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* device_id -1: the lowest that is free. */
int request_volume_attach(struct engine *engine, const struct caller *caller,
                          const char *volume, const char *vm, int64_t device_id,
                          struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 6, 7);
int request_volume_detach(struct engine *engine, const struct caller *caller,
                          const char *volume, struct ticket *ret_ticket,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
/* Grow it; the machine may run. */
int request_volume_resize(struct engine *engine, const struct caller *caller,
                          const char *volume, uint64_t size,
                          struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5, 6);
/* A detached one, its files with it. */
int request_volume_delete(struct engine *engine, const struct caller *caller,
                          const char *volume, struct ticket *ret_ticket,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/* -- volume snapshots ------------------------------------------------------ */

struct request_snapshot {
    const char *volume;
    const char *name; /* or NULL */
};
/* The whole volume, into the repository.  Refused beside an operation on a VM
 * snapshot of its machine, or on another snapshot of the machine's volumes. */
int request_snapshot_create(struct engine *engine, const struct caller *caller,
                            const struct request_snapshot *args,
                            struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Again, too, where a deletion has not come to its end. */
int request_snapshot_delete(struct engine *engine, const struct caller *caller,
                            const char *snapshot, struct ticket *ret_ticket,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/* -- VM snapshots -------------------------------------------------------- */

struct request_vm_snapshot {
    const char *vm;
    const char *name;        /* display name, or NULL */
    const char *description; /* or NULL */
    bool memory;
    bool quiesce;
    bool crash_consistent; /* it was said that it must not be frozen, even for
                              a snapshot by its storage */
};
int request_vm_snapshot_create(struct engine *engine,
                               const struct caller *caller,
                               const struct request_vm_snapshot *args,
                               struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* It ends running from a snapshot with memory, else stopped; a change from
 * what it is now is refused, unless change_power (or the setting) allows it. */
int request_vm_snapshot_revert(struct engine *engine,
                               const struct caller *caller,
                               const char *vm_snapshot, bool change_power,
                               struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);
int request_vm_snapshot_delete(struct engine *engine,
                               const struct caller *caller,
                               const char *vm_snapshot,
                               struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* -- backup offerings ---------------------------------------------------- */

struct request_native_offering {
    const char *name;
    bool compress;
    bool validate;
    const char *validation_steps; /* or NULL */
    bool allow_quick_restore;
    bool allow_extract_file;
    bool has_chain_size;
    int64_t chain_size;
    const char *compression_library; /* "zstd", "zlib", or NULL */
};
int request_native_offering_create(struct engine *engine,
                                   const struct caller *caller,
                                   const struct request_native_offering *args,
                                   char ret_uuid[UUID_TEXT_SIZE],
                                   struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Refused while it is imported. */
int request_native_offering_delete(struct engine *engine,
                                   const struct caller *caller,
                                   const char *native_offering,
                                   struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

struct request_offering_import {
    const char *name;
    const char *description;
    const char *external_id; /* uuid of a native offering */
    const char *zone;
    bool allow_user_driven_backups;
};
int request_offering_import(struct engine *engine, const struct caller *caller,
                            const struct request_offering_import *args,
                            struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
int request_offering_delete(struct engine *engine, const struct caller *caller,
                            const char *offering, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
int request_offering_assign(struct engine *engine, const struct caller *caller,
                            const char *vm, const char *offering,
                            struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);
int request_offering_remove(struct engine *engine, const struct caller *caller,
                            const char *vm, bool forced,
                            struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);

/* -- backups ------------------------------------------------------------- */

struct request_backup {
    const char *vm;
    const char *name;        /* or NULL */
    const char *description; /* or NULL */
    bool quiesce;
    bool isolated;
};
int request_backup_create(struct engine *engine, const struct caller *caller,
                          const struct request_backup *args,
                          struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
int request_backup_delete(struct engine *engine, const struct caller *caller,
                          const char *backup, bool forced,
                          struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);
/* Whole machine, into new files that replace the old ones when proved. */
int request_backup_restore(struct engine *engine, const struct caller *caller,
                           const char *backup, struct ticket *ret_ticket,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Make one file of the backup and those below it, down to `oldest` (NULL: a
 * full), in the repository alone. */
struct request_fold {
    const char *backup;
    const char *oldest; /* or NULL */
    bool verify;        /* read the result before it counts */
};
int request_backup_fold(struct engine *engine, const struct caller *caller,
                        const struct request_fold *args,
                        struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);
/* Read the whole point and compare with its content roots. */
int request_backup_verify(struct engine *engine, const struct caller *caller,
                          const char *backup, struct ticket *ret_ticket,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* -- the host ------------------------------------------------------------ */

/* Snapshot, merge, back up and restore a guest that is made for it and gone
 * afterwards (self_test.h).  Root admins only. */
int request_self_test(struct engine *engine, const struct caller *caller,
                      struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Read the whole repository of an image store, each file once, in the
 * background; a pass that was interrupted goes on.  Root only; ERROR_BUSY
 * while one runs. */
int request_scrub(struct engine *engine, const struct caller *caller,
                  const char *image_store, struct ticket *ret_ticket,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* -- jobs ---------------------------------------------------------------- */

/* Ask a job to end at its next safe place. */
int request_job_cancel(struct engine *engine, const struct caller *caller,
                       const char *job, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
