/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h -- asynchronous work: a row in the database, a queue for each
 * machine, a few workers.
 *
 * A job is inserted by a request in the same transaction as the rows that it
 * is about.  Jobs with the same queue text (a machine's uuid) run one after
 * another in the order of their ids; others side by side.  A job that was
 * running when the process died is failed at the next start, after its
 * machine was settled; one that had not started runs then.
 *
 * Lock order: job_queue.lock is a leaf; nothing is called with it held.  With
 * job_queue.watch_lock who watches for jobs' ends is called, and nothing else.
 */
#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/vec.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "image/copy.h"

#include <jansson.h>
#include <stdatomic.h>

/* An event about a job's object. */
struct job_note {
    char *type;        /* owned */
    const char *level; /* static */
    char *text;        /* owned; or NULL */
    int64_t time_ms;   /* wall clock: when it happened */
};

/* A running job, borrowed by what runs in it. */
struct job {
    struct engine *engine; /* borrowed */
    struct state_job row;  /* as it was at the start */
    json_t *parameters;    /* owned */
    json_t *result;        /* owned; extra facts for the caller, or NULL */
    struct copy_progress progress;
    struct VEC(struct job_note) notes; /* owned; written with its end */
    /* Under the queue's lock: */
    uint64_t shown; /* progress last written */
    char *step;     /* owned; or NULL */
    bool has_moved; /* `step` is not written yet */
};

typedef int job_function(struct job *job, struct error *err);

/* The queue of jobs that only read what is published: one at a time, beside
 * the machines' own. */
#define JOB_QUEUE_READERS "readers"

/* That of the pass over the repository. */
#define JOB_QUEUE_SCRUB "scrub"

/* What a command's job runs; the list is in job_table.c. */
struct job_kind {
    const char *command; /* "createVMSnapshot" */
    job_function *run;
};
const struct job_kind *job_kind_find(const char *command) NONNULL(1);

/* The parameters of a new job. */
struct job_new {
    const char *command;
    const char *queue; /* the machine's uuid, or "" */
    const struct caller *caller;
    json_t *parameters;        /* borrowed; NULL for none */
    const char *instance_type; /* "VmSnapshot", "Backup", "VirtualMachine" */
    const char *instance_uuid; /* or NULL */
};

/**
 * job_insert(tx, job, ret_ticket, err):
 * Insert the row; ret_ticket->job is set, and ->object from instance_uuid if
 * that is not NULL.  job_wake() must follow the commit.
 */
int job_insert(struct state_tx *tx, const struct job_new *job,
               struct ticket *ret_ticket, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Is there a job about this object that has not ended, and does more than read
 * it?  1, 0, -1. */
int job_is_pending(struct state_tx *tx, const char *instance_uuid,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Let the workers look for new jobs. */
void job_wake(struct engine *engine) NONNULL(1);

/* Say what the job is doing now, for people; the database learns it once a
 * second. */
void job_step(struct job *job, const char *text) NONNULL(1, 2);

/* Bytes done of total; the database learns it once a second. */
void job_bytes(struct job *job, uint64_t done, uint64_t total) NONNULL(1);

/* Record an event about the job's object, with the time that it is now, in the
 * transaction that records the job's end; one that cannot be written is only
 * logged.  `level` is static. */
void job_event(struct job *job, const char *type, const char *level,
               const char *text) NONNULL(1, 2, 3);

/* For jobs of hours: what job_event() was told so far is recorded in `tx`
 * already, and when that is committed, forgotten. */
void job_record_events(const struct job *job, struct state_tx *tx)
    NONNULL(1, 2);
void job_forget_events(struct job *job) NONNULL(1);

/* True when somebody asked for its end. */
bool job_is_cancelled(const struct job *job) NONNULL(1);

/* True when somebody asked for its end, or the daemon's; for jobs that can
 * end anywhere. */
bool job_must_end(const struct job *job) NONNULL(1);

/* True when it is the daemon that ends. */
bool job_is_stopping(const struct job *job) NONNULL(1);

/* A text parameter of the job, borrowed, or NULL; an integer, or 0. */
const char *job_text(const struct job *job, const char *key) NONNULL(1, 2);
int64_t job_number(const struct job *job, const char *key) NONNULL(1, 2);

/* -- the queue ----------------------------------------------------------- */

struct job_queue *job_queue_new(struct engine *engine, unsigned workers)
    MUST_CHECK NONNULL(1);
/* Start the workers. */
int job_queue_start(struct job_queue *queue, struct error *err)
    MUST_CHECK NONNULL(1, 2);
/* No new jobs; wait for the running ones. */
void job_queue_stop(struct job_queue *queue) NONNULL(1);
void job_queue_free(struct job_queue *queue);

/* Ask a running job to end.  Its row says so already. */
void job_queue_cancel(struct job_queue *queue, const char *job_uuid)
    NONNULL(1, 2);

/* Tell who watches (engine_watch_jobs()) that the job has ended; its row says
 * so already. */
void job_queue_tell_ended(struct job_queue *queue, const char *job_uuid)
    NONNULL(1, 2);

/* Fail the jobs that were running when the process died. */
int job_queue_fail_orphans(struct job_queue *queue, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Run everything that waits in this thread, one by one, until there is
 * nothing: for tests, instead of job_queue_start(). */
int job_queue_drain(struct job_queue *queue, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
