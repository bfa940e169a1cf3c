/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.h -- a durable mark on a machine whose chain is being changed.
 *
 * While the file <state-dir>/hold/<uuid> exists, the libvirt hook
 * (data/hooks/varve-hook) refuses to start, restore or receive the machine,
 * also with varved dead: neither autostart nor `virsh start` can boot an old
 * layer.  It is written before a chain is changed and removed when the four
 * views agree.
 */
#ifndef ENGINE_HOLD_H
#define ENGINE_HOLD_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>

/**
 * hold_set(directory, vm_uuid, why, err):
 * Hold the machine; `why` is shown to whoever is refused.
 *
 * Durability: on 0 the hold survives a power cut.
 */
int hold_set(const char *directory, const char *vm_uuid, const char *why,
             struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* hold_set(), but with `file` as its first disk's file the machine may start:
 * a plain name, without a directory. */
int hold_set_but(const char *directory, const char *vm_uuid, const char *why,
                 const char *file, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* Remove the hold; that there is none is success. */
int hold_clear(const char *directory, const char *vm_uuid, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

bool hold_is_set(const char *directory, const char *vm_uuid) NONNULL(1, 2);

/* Remove what a death in the middle of hold_set() left: no hold, but a file.
 * Nobody may be setting one. */
int hold_discard_unfinished(const char *directory, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
