/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h -- what happened, for listEvents, and what is charged for.
 */
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "state/state.h"

#include <stdint.h>

/* Texts are borrowed; NULL for "not set". */
struct events_new {
    const char *type;  /* "VMSNAPSHOT.CREATE" */
    const char *level; /* "INFO", "WARN", "ERROR"; NULL: INFO */
    const char *state; /* "Created", "Scheduled", "Started", "Completed";
                          NULL: Completed */
    const char *description;
    int64_t time_ms;    /* wall clock; 0: now */
    int64_t account_id; /* whose event it is */
    int64_t domain_id;
    int64_t user_id;           /* who made it happen; 0: varve itself */
    const char *resource_type; /* "VmSnapshot" */
    const char *resource_uuid;
};

/**
 * events_record(tx, event, err):
 * Insert an event.
 */
int events_record(struct state_tx *tx, const struct events_new *event,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * events_record_now(state, event):
 * The same in a transaction of its own.  For events of failures: one that
 * cannot be written is logged and forgotten, since the operation is over.
 */
void events_record_now(struct state *state, const struct events_new *event)
    NONNULL(1, 2);

/**
 * events_usage(tx, type, account_id, uuid, name, size, virtual_size, err):
 * Insert a usage record about a resource of the only zone.
 *
 * Units:      sizes in bytes: as stored, and as the guest sees it.
 */
int events_usage(struct state_tx *tx, const char *type, int64_t account_id,
                 const char *uuid, const char *name, int64_t size,
                 int64_t virtual_size, struct error *err)
    MUST_CHECK NONNULL(1, 2, 8);

#endif
