/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h -- one line for each event, on standard error, for the journal.
 *
 *     <6>job-finished job=17 vm=web1 bytes=73400320 ms=8123
 *
 * The event name never changes and is listed in docs/guide/log-events.md;
 * key=value pairs follow.  Base, image, repo, hv and state log at debug
 * level only: they return errors, and the edges (engine/job.c, the HTTP
 * layer, daemon/) log each failure once.  Never secrets, never guest data.
 *
 * Threads:    any; a line is written in one write(2).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/compiler.h"

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_ERROR = 3,   /* somebody must act */
    LOG_LEVEL_WARNING = 4, /* went on regardless; the text says so */
    LOG_LEVEL_INFO = 6,    /* a state changed */
    LOG_LEVEL_DEBUG = 7
};

void log_event(enum log_level level, const char *event, const char *fmt, ...)
    NONNULL(2, 3) PRINTF(3, 4);

#define log_error(event, ...) log_event(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) log_event(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_LEVEL_INFO, event, __VA_ARGS__)

/*
 * Debug lines are for a module, switched on by VARVE_DEBUG=chain,copy or
 * VARVE_DEBUG=all.
 */
bool log_debug_is_on(const char *module) NONNULL(1);
#define log_debug(module, event, ...)                                          \
    do {                                                                       \
        if (log_debug_is_on(module))                                           \
            log_event(LOG_LEVEL_DEBUG, event, __VA_ARGS__);                    \
    } while (0)

/*
 * Text that is put into every line of this thread, such as "job=17 vm=web1";
 * "" for none.  Cut at 120 bytes.
 */
void log_set_context(const char *context) NONNULL(1);

/* The text that is set, until it is set again. */
const char *log_context(void);

/* Lines below this level are dropped; LOG_LEVEL_INFO at start. */
void log_set_level(enum log_level level);

#endif
