/* SPDX-License-Identifier: Apache-2.0 */
/*
 * background.h -- work that gives way to others.
 */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

#include "base/compiler.h"
#include "base/error.h"

/* How much nicer than the rest of the process, and the nicest there is. */
#define BACKGROUND_NICE 10
#define BACKGROUND_NICE_MOST 19

/*
 * Who gets the processor when several want it; the disk is had when nobody
 * else wants it (idle I/O class), either way.
 */
enum background_degree {
    BACKGROUND_LOW, /* others first, a tenth at least is had: a larger nice */
    BACKGROUND_IDLE /* only what nobody else wants: SCHED_IDLE */
};

/**
 * background_run(degree, function, context, err):
 * Run function(context) in a thread of its own with that priority, and wait
 * for its end.  Threads that it starts are like it.  Its lines of the log have
 * the caller's context.
 *
 * A priority that was given up cannot be had back without privileges: hence
 * the thread.  What cannot be lowered stays as it is.
 *
 * Returns:    what function() returns; ERROR_IO when there is no thread to be
 *             had.
 */
int background_run(enum background_degree degree,
                   int (*function)(void *context, struct error *err),
                   void *context, struct error *err) MUST_CHECK NONNULL(2, 4);

#endif
