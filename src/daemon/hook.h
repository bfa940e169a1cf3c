/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook.h -- the hook where libvirt finds it.
 *
 * The script of data/hooks is part of the program; it is written into
 * libvirt's directory of hooks with the folder of this daemon's holds in it,
 * and needs nothing of us from then on.
 */
#ifndef DAEMON_HOOK_H
#define DAEMON_HOOK_H

#include "base/compiler.h"
#include "base/error.h"
#include "daemon/config.h"

#include <stdbool.h>

/* <hook-dir>/qemu.d/varve; the caller's to free. */
char *hook_path(const struct config *config) MUST_CHECK NONNULL(1);

/**
 * hook_install(config, ret_is_new, err):
 * Write the hook, or bring it up to date.  *ret_is_new: none was there, so
 * libvirt may not look for it yet.
 *
 * Durability: on 0 it survives a power cut; libvirt never sees half of it.
 * Returns:    0, or -1 with *err set to
 *               ERROR_CONFLICT  the file there is not ours;
 *               ERROR_INVALID   state-dir has characters that a shell takes
 *                               for its own;
 *               ERROR_IO.
 */
int hook_install(const struct config *config, bool *ret_is_new,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Remove it; that there is none is success.  ERROR_CONFLICT as above, and
 * while a machine is held. */
int hook_remove(const struct config *config, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
