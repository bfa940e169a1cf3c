/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refs.h -- rows that other rows point at, and what a caller may see.
 *
 * An object that is answered shows names from half a dozen tables.  `struct
 * refs` remembers the last row of each, which is nearly always the one that the
 * next object asks for.  An id that leads nowhere gives NULL: a list must not
 * break over an orphan.
 *
 * Ownership:  rows are borrowed until the next call for the same table.
 * Threads:    it belongs to the thread of its transaction.
 */
#ifndef API_REFS_H
#define API_REFS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "state/state.h"

#include <stdbool.h>
#include <stdint.h>

#define REFS_TABLES(X)                                                         \
    X(account)                                                                 \
    X(domain)                                                                  \
    X(user)                                                                    \
    X(zone)                                                                    \
    X(cluster)                                                                 \
    X(host)                                                                    \
    X(storage_pool)                                                            \
    X(vm)                                                                      \
    X(volume)                                                                  \
    X(layer)                                                                   \
    X(vm_snapshot)                                                             \
    X(backup)                                                                  \
    X(service_offering)                                                        \
    X(backup_offering)

struct refs {
    struct state_tx *tx;  /* owned */
    struct caller caller; /* who asks */
    struct error err;     /* the first failure; code ERROR_NONE: none */
#define REFS_FIELD(table)                                                      \
    struct state_##table table; /* owned; the last one */                      \
    int64_t table##_asked;      /* the id that it was asked for */
    REFS_TABLES(REFS_FIELD)
#undef REFS_FIELD
};

/* `tx` is handed over. */
struct refs *refs_new(struct state_tx *tx, const struct caller *caller)
    MUST_CHECK NONNULL(1, 2);
void refs_free(struct refs *refs);

/* refs_vm(refs, id), ...: the row, or NULL for 0 and for one that is not
 * there.  A failure to read is NULL too, and kept in refs->err. */
#define REFS_PROTOTYPE(table)                                                  \
    const struct state_##table *refs_##table(struct refs *refs, int64_t id)    \
        NONNULL(1);
REFS_TABLES(REFS_PROTOTYPE)
#undef REFS_PROTOTYPE

/* Keep a failure to read, if it is the first; the call fails with it when the
 * handler is done.  That a row is not there is none. */
void refs_keep(struct refs *refs, const struct error *err) NONNULL(1, 2);

#endif
