/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h -- questions to the world outside whose answer may not come.
 *
 * A hypervisor that hangs, or a store on a server that is gone, must not hold
 * a request: they are asked by a thread of their own, and who wants to know
 * waits a short while for it, and otherwise hears that nothing is known.
 *
 * Threads:    any.
 */
#ifndef API_PROBE_H
#define API_PROBE_H

#include "base/compiler.h"
#include "engine/engine.h"
#include "hv/hv.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROBE_STORES_MAX 16

struct probe_store {
    int64_t id; /* of its table */
    bool known;
    bool is_writable;
    uint64_t free_bytes;
};

struct probe_stores {
    struct probe_store items[PROBE_STORES_MAX];
    size_t count;
};

struct probe_facts {
    bool known; /* the hypervisor has answered */
    struct hv_facts hypervisor;
    struct probe_stores image_stores;
    struct probe_stores pools;
    json_t *disks;      /* owned; those that cannot be kept; NULL: not asked */
    bool clock_known;   /* somebody could be asked about the clock */
    bool clock_is_kept; /* and something keeps it right */
};
void probe_facts_release(struct probe_facts *facts) NONNULL(1);
#define AUTO_PROBE_FACTS CLEANUP(probe_facts_release)

struct probe;

/* `engine` is borrowed for the probe's life. */
struct probe *probe_new(struct engine *engine) MUST_CHECK NONNULL(1);

/* Blocks until a question that is under way has been answered. */
void probe_free(struct probe *probe);

/* Ask again and wait for it, 2 seconds at most, or with `examine` (every disk
 * is looked at) 20; what was not answered in time is not known. */
void probe_ask(struct probe *probe, bool examine, struct probe_facts *ret_facts)
    NONNULL(1, 3);

#endif
