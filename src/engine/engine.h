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

#include <stdbool.h>
#include <stdint.h>

struct engine;

struct engine_config {
    struct state *state;     /* borrowed */
    struct hv *hv;           /* borrowed */
    const char *state_dir;   /* borrowed; hold/ lies in it */
    const char *repository;  /* borrowed; directory of the default store */
    const char *libvirt_uri; /* borrowed; for the thaw watchdog; or NULL */
    unsigned workers;        /* jobs that run at once; 0: 4 */
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

struct state *engine_state(struct engine *engine) NONNULL(1);
struct hv *engine_hv(struct engine *engine) NONNULL(1);

/* What a request answers with. */
struct ticket {
    char job[UUID_TEXT_SIZE];
    char object[UUID_TEXT_SIZE]; /* "" where nothing was made */
};

#endif
