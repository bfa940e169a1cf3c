/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.h -- objects by the uuid that a caller gave, if they are the
 * caller's to see.
 *
 * Returns of all: 0, or -1 with *err set to ERROR_NOT_FOUND; the text does not
 * tell whether it exists for somebody else.
 */
#ifndef ENGINE_LOOKUP_H
#define ENGINE_LOOKUP_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "state/state.h"

int lookup_vm(struct state_tx *tx, const struct caller *caller,
              const char *uuid, struct state_vm *ret_row, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_volume(struct state_tx *tx, const struct caller *caller,
                  const char *uuid, struct state_volume *ret_row,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_vm_snapshot(struct state_tx *tx, const struct caller *caller,
                       const char *uuid, struct state_vm_snapshot *ret_row,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_snapshot(struct state_tx *tx, const struct caller *caller,
                    const char *uuid, struct state_snapshot *ret_row,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_backup(struct state_tx *tx, const struct caller *caller,
                  const char *uuid, struct state_backup *ret_row,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_backup_offering(struct state_tx *tx, const struct caller *caller,
                           const char *uuid,
                           struct state_backup_offering *ret_row,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int lookup_service_offering(struct state_tx *tx, const char *uuid,
                            struct state_service_offering *ret_row,
                            struct error *err) MUST_CHECK NONNULL(1, 3, 4);
int lookup_native_offering(struct state_tx *tx, const struct caller *caller,
                           const char *uuid,
                           struct state_native_backup_offering *ret_row,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/* ERROR_DENIED unless the caller is a root admin. */
int lookup_require_root(const struct caller *caller, const char *what,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
