/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve.h -- primary storage never fills because of us.
 */
#ifndef ENGINE_RESERVE_H
#define ENGINE_RESERVE_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/retop.h"

/**
 * reserve_check(engine, retop, err):
 * ERROR_NO_SPACE unless every file system that gets a new layer has more than
 * the setting `primary.reserve.percent` of its space free.
 */
int reserve_check(struct engine *engine, const struct retop *retop,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The same, of the file system on which `path` lies. */
int reserve_check_beside(struct engine *engine, const char *path,
                         struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
