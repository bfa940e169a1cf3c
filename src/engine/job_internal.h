/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_internal.h -- shared by job.c (the queue) and job_run.c (one job).
 */
#ifndef ENGINE_JOB_INTERNAL_H
#define ENGINE_JOB_INTERNAL_H

#include "engine/job.h"

/* Run a job that was taken to its end, and record that. */
void job_run(struct job *job) NONNULL(1);

/* Progress is for people: that it cannot be stored stops nothing.  `step` is
 * NULL to leave it. */
void job_write_progress(struct engine *engine, int64_t id, uint64_t done,
                        uint64_t total, const char *step) NONNULL(1);

/* False when the queue ends before the second is over. */
bool job_queue_wait_a_second(struct job_queue *queue) NONNULL(1);

#endif
