/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prober.h -- ask file systems that may not answer.
 *
 * stat(2) and statvfs(2) of a network file system whose server is gone hang
 * until it is back, and cannot be ended.  So each question is asked by a
 * thread of its own, which is waited for only for a while and then left alone;
 * as long as it hangs, nobody asks that folder again.
 *
 * Threads:    any number ask at once.
 */
#ifndef ENGINE_PROBER_H
#define ENGINE_PROBER_H

#include "base/compiler.h"

#include <stdint.h>
#include <sys/types.h>

/* A path and its file system as they are now; sizes in bytes. */
struct prober_about {
    dev_t device;
    uint64_t size;
    uint64_t available; /* to us */
    uint64_t allocated; /* what the file itself takes */
};

/* What is known of a path: 0, or -1 with errno. */
typedef int prober_probe(const char *path, struct prober_about *ret);

struct prober;

/* `probe` NULL: the host's.  `patience_ms`: how long an answer is waited for;
 * 0: two seconds. */
struct prober *prober_new(prober_probe *probe, int64_t patience_ms) MUST_CHECK;

/* Threads that hang live on; they touch nothing of it, but call the probe. */
void prober_free(struct prober *prober);

/**
 * prober_ask(prober, folder, path, ret):
 * Ask about `path`, which lies in `folder` or is it.
 *
 * Blocks:     for the patience at most, and not at all while an earlier
 *             question about that folder hangs.
 * Returns:    0; or -1 with errno, ETIMEDOUT when it is not known now, EAGAIN
 *             when so many folders hang that no more are asked.
 */
int prober_ask(struct prober *prober, const char *folder, const char *path,
               struct prober_about *ret) MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
