/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_internal.h -- what the engine's own files share.
 */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "repo/repo.h"

#include <stdatomic.h>

struct job_queue;
struct merge_gate;
struct owed;
struct pace;
struct space_watch;

struct engine {
    struct state *state;       /* borrowed */
    struct hv *hv;             /* borrowed */
    struct storage **storages; /* owned array of borrowed */
    size_t storage_count;
    struct repo *repo;            /* owned */
    struct job_queue *queue;      /* owned */
    struct merge_gate *merges;    /* owned */
    struct pace *pace;            /* owned */
    struct space_watch *space;    /* owned */
    struct owed *thaws;           /* owned */
    struct owed *slows;           /* owned */
    char *hold_dir;               /* owned */
    char *self_test_dir;          /* owned; records of self-tests under way */
    char *libvirt_uri;            /* owned; NULL without a watchdog */
    char *only;                   /* owned; as in engine_config */
    _Atomic int64_t scrub_due_ms; /* wall clock; 0: no pass is planned */
    _Atomic int64_t repository_due_ms; /* monotonic clock; see repository.h */
    int64_t image_store_id;            /* of `repo` */
    int64_t host_id;                   /* of the hypervisor */
    int64_t zone_id;
};

/* In the caller's transaction: queue a settling job for the machine, if none
 * waits already.  job_wake() follows the commit. */
int engine_queue_settle(struct state_tx *tx, const struct state_vm *vm,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
