/* SPDX-License-Identifier: Apache-2.0 */
/*
 * background.h -- work that takes only what nobody else wants.
 */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

#include "base/compiler.h"
#include "base/error.h"

/**
 * background_run(function, context, err):
 * Run function(context) in a thread of its own that gets the processor
 * (SCHED_IDLE) and the disk (idle I/O class) when nobody else wants them, and
 * wait for its end.  Threads that it starts are like it.
 *
 * A priority that was given up cannot be had back without privileges: hence
 * the thread.  What cannot be lowered stays as it is.
 *
 * Returns:    what function() returns; ERROR_IO when there is no thread to be
 *             had.
 */
int background_run(int (*function)(void *context, struct error *err),
                   void *context, struct error *err) MUST_CHECK NONNULL(1, 3);

#endif
