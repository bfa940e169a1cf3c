/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h -- what the product does: the one object behind API and daemon.
 *
 * Every change to a machine is a job: a request checks what can be checked at
 * once, writes rows and a job in one transaction, and answers with a ticket.
 * Jobs of one machine run one after another, those of different machines side
 * by side.  What a job does to storage goes through the journal
 * (operation.h), so that a death at any instruction is settled at the next
 * start.
 *
 * Threads:    all functions may be called by any thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "hv/hv.h"
#include "state/state.h"
#include "storage/storage.h"

#include <stdbool.h>
#include <stdint.h>

struct engine;

struct engine_config {
    struct state *state;     /* borrowed */
    struct hv *hv;           /* borrowed */
    const char *state_dir;   /* borrowed; hold/ lies in it */
    const char *repository;  /* borrowed; directory of the default store */
    const char *libvirt_uri; /* borrowed; for the thaw watchdog; or NULL */
    struct storage *const *storages; /* borrowed, as they are; by kind, each
                                        once */
    size_t storage_count;
    unsigned workers; /* jobs that run at once; 0: 4 */
    const char *only; /* borrowed; uuid of the one machine that is
                         looked at (self_test.h); NULL: all */
};

/**
 * engine_new(config, err):
 * Open the repository, make the directories; nothing runs yet.
 */
struct engine *engine_new(const struct engine_config *config, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/**
 * engine_start(engine, err):
 * Take the machines that the hypervisor knows into the database, queue the
 * settling of every machine that is ours, and start the workers.  A
 * hypervisor that is away is looked at again when it is there.
 */
int engine_start(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* What engine_start() does, but settling at once and without workers: for
 * tests. */
int engine_resume(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Queue a settling job for every machine (or that one) with anything
 * unfinished: when the hypervisor is back or a machine has stopped, so that
 * settling stands in line with other jobs. */
int engine_request_settle(struct engine *engine, const char *vm_uuid,
                          struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * engine_settle(engine, err):
 * Settle every machine that is ours: at start, and when the hypervisor is
 * back.  A machine that cannot be settled keeps the reason as its problem.
 */
int engine_settle(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Look at all machines again (a hypervisor's event said that one changed). */
int engine_refresh(struct engine *engine, const char *vm_uuid,
                   struct error *err) MUST_CHECK NONNULL(1, 3);

/* Run all waiting jobs in this thread: for tests, instead of starting. */
int engine_drain(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Let running jobs end at their next safe place; the rest waits for the next
 * start. */
void engine_stop(struct engine *engine) NONNULL(1);
void engine_free(struct engine *engine);

/* A disk that no point can be taken of, and why. */
struct engine_finding {
    char vm_uuid[UUID_TEXT_SIZE];
    char *vm_name;      /* owned, as all texts */
    char *target;       /* "vda" */
    char *path;         /* NULL: it has none */
    const char *device; /* "disk", "cdrom", "floppy", "lun"; static */
    char *reason;
};
struct engine_findings {
    struct engine_finding *items; /* owned */
    size_t count;
    size_t capacity;
};
void engine_findings_release(struct engine_findings *list) NONNULL(1);
#define AUTO_ENGINE_FINDINGS CLEANUP(engine_findings_release)

/**
 * engine_examine_disks(engine, ret_list, err):
 * Look at every disk of every machine that the hypervisor knows, for those
 * that cannot be kept.  Nothing is changed; of images, headers are read.
 *
 * Blocks:     on the hypervisor and on the storage of the machines.
 */
int engine_examine_disks(struct engine *engine,
                         struct engine_findings *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* A job has ended, and its row says so. */
typedef void engine_job_ended(void *context, const char *job_uuid);

/**
 * engine_watch_jobs(engine, ended, context):
 * Tell `ended` of the end of every job from now on.
 *
 * Threads:    `ended` is called by any thread, one call at a time; it is short
 *             and does not call the engine.
 */
void engine_watch_jobs(struct engine *engine, engine_job_ended *ended,
                       void *context) NONNULL(1, 2, 3);

/* Tell who watches with this context no more; nor is it being told once this
 * has returned. */
void engine_unwatch_jobs(struct engine *engine, const void *context)
    NONNULL(1, 2);

/* A setting was changed: what is planned by it is planned anew. */
void engine_settings_changed(struct engine *engine) NONNULL(1);

struct state *engine_state(struct engine *engine) NONNULL(1);
struct hv *engine_hv(struct engine *engine) NONNULL(1);

/* What a request answers with. */
struct ticket {
    char job[UUID_TEXT_SIZE];
    char object[UUID_TEXT_SIZE]; /* "" where nothing was made */
};

#endif
