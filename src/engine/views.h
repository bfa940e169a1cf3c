/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views.h -- the four views of a chain, compared: QEMU's own, the live XML,
 * the inactive XML and our record.
 *
 * Only QEMU's own view shows a libvirtd that died between the switch in QEMU
 * and its own bookkeeping (docs/internals/libvirt.md).
 */
#ifndef ENGINE_VIEWS_H
#define ENGINE_VIEWS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/tree.h"

/* True when both name the same file (by text, else by device and inode). */
bool views_same_file(const char *a, const char *b) NONNULL(1, 2);

/**
 * views_check(engine, tree, ret_state, err):
 * Compare all four for every volume of the machine; and the backing names in
 * the headers of our layers with the record.  An inactive XML that lags
 * behind a QEMU that agrees with our record is brought up to date (under a
 * hold).
 *
 * Returns:    0 when they agree; -1 with *err set to
 *               ERROR_CONFLICT     they do not; the message names machine,
 *                                  disk, both files and the remedy;
 *               ERROR_UNAVAILABLE  it cannot be asked now.
 */
int views_check(struct engine *engine, struct tree *tree,
                enum hv_state *ret_state, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/**
 * views_is_used(engine, vm_uuid, path, err):
 * Whether QEMU's own view, or either XML, of the machine names this file, or
 * somebody holds its image lock.
 *
 * Returns:    1 used, 0 not, -1 it cannot be told now (*err is set).
 */
int views_is_used(struct engine *engine, const char *vm_uuid, const char *path,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
