/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h -- how far work has come: a bar, the rate, the time that is left.
 *
 * Times are milliseconds of the monotonic clock.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "base/compiler.h"
#include "base/strbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    int64_t began_ms;
    int64_t rated_ms; /* when the rate was last worked out */
    uint64_t rated_done;
    double rate;    /* bytes a second; 0: not known yet */
    uint64_t done;  /* bytes */
    uint64_t total; /* bytes; 0: not known */
};

void progress_begin(struct progress *progress, int64_t now_ms) NONNULL(1);

/* So much is done now.  Work that begins anew (the next disk) may have less
 * done than before. */
void progress_set(struct progress *progress, uint64_t done, uint64_t total,
                  int64_t now_ms) NONNULL(1);

/**
 * progress_line(progress, step, width, has_boxes, now_ms, ret_line):
 * One line of at most `width` columns that ends with what is being done:
 *
 *     [########------------]  40%  1.2 GiB of 3.0 GiB  310 MiB/s  6 s left  x
 *
 * What does not fit is left out: the bar gets shorter and goes, then the step
 * is cut, then it goes, and last the numbers go, from the right.
 */
void progress_line(const struct progress *progress, const char *step,
                   size_t width, bool has_boxes, int64_t now_ms,
                   struct strbuf *ret_line) NONNULL(1, 2, 6);

#endif
