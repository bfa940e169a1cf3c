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
 * views_check(engine, tree, ret_look, err):
 * Compare all four for every volume of the machine; and the backing names in
 * the headers of our layers with the record.  An inactive XML that lags
 * behind a QEMU that agrees with our record is brought up to date (under a
 * hold).
 *
 * Ownership:  *ret_look is what the hypervisor showed, of our volumes' disks;
 *             the caller's when 0 was returned.
 * Returns:    0 when they agree; -1 with *err set to
 *               ERROR_CONFLICT     they do not; the message names machine,
 *                                  disk, both files and the remedy;
 *               ERROR_UNAVAILABLE  it cannot be asked now.
 */
int views_check(struct engine *engine, struct tree *tree,
                struct hv_look *ret_look, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Whether QEMU's own view, or either XML, of the machine names this file: 1, 0,
 * or -1 when it cannot be told now (*err is set).  `look` as below. */
int views_is_named(struct engine *engine, const char *vm_uuid,
                   const struct hv_look *look, const char *path,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * views_is_used(engine, vm_uuid, look, path, err):
 * Whether QEMU's own view, or either XML, of the machine names this file, or
 * somebody holds its image lock.  `look` is one of this moment; NULL, or one
 * that lacks a disk: they are asked for.
 *
 * Returns:    1 used, 0 not, -1 it cannot be told now (*err is set).
 */
int views_is_used(struct engine *engine, const char *vm_uuid,
                  const struct hv_look *look, const char *path,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

#endif
