/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sparse_copy.h -- a file's bytes into another, holes as holes.
 */
#ifndef STORAGE_FILE_SPARSE_COPY_H
#define STORAGE_FILE_SPARSE_COPY_H

#include "base/compiler.h"
#include "base/error.h"

/**
 * sparse_copy(from, to, what, err):
 * Give the empty file `to` size and content of `from`; `what` names `to` in
 * messages.
 *
 * Durability: none; flush it.
 */
int sparse_copy(int from, int to, const char *what, struct error *err)
    MUST_CHECK NONNULL(3, 4);

#endif
