/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rmtree.h -- remove a directory with all that is in it.
 */
#ifndef BASE_RMTREE_H
#define BASE_RMTREE_H

#include "base/compiler.h"
#include "base/error.h"

/**
 * rmtree(path, err):
 * Unlink everything below the directory `path`, and it.  Links are unlinked,
 * never followed; that it is gone already is success.
 *
 * Blocks:     on the file system.
 * Durability: on 0 the removal survives a power cut; otherwise some of it is
 *             left, and doing it again goes on.
 * Returns:    0, or -1 with *err set to ERROR_IO (also when `path` is no
 *             directory).
 */
int rmtree(const char *path, struct error *err) MUST_CHECK NONNULL(1, 2);

#endif
