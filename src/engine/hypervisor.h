/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hypervisor.h -- what may be done on machines of each kind of hypervisor.
 */
#ifndef ENGINE_HYPERVISOR_H
#define ENGINE_HYPERVISOR_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <stdbool.h>

/* There is a row for the kind; a new one allows everything. */
int hypervisor_ensure(struct state_tx *tx, const char *name, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/**
 * hypervisor_check_vm_snapshots(tx, vm, err):
 * May machines of this one's kind have new VM snapshots?
 *
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED, which names the
 *             remedy, when they may not.
 */
int hypervisor_check_vm_snapshots(struct state_tx *tx,
                                  const struct state_vm *vm, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
