/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storages.h -- the storages that the engine was given (storage.h), and which
 * of them keeps what.
 *
 * A layer with a text in `storage` is a snapshot that a storage of that kind
 * made; its `path` is the snapshot's locator.  Nothing rests on it and nobody
 * writes to it: reverting makes a clone.  Other layers are files of ours.
 */
#ifndef ENGINE_STORAGES_H
#define ENGINE_STORAGES_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"

#include <jansson.h>

/**
 * storages_find(engine, locator, ret_capabilities, err):
 * Who keeps that disk.
 *
 * Ownership:  *ret_storage is borrowed.
 * Returns:    1 found, 0 nobody does, -1 with *err set.
 */
int storages_find(struct engine *engine, const char *locator,
                  struct storage **ret_storage, unsigned *ret_capabilities,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* By kind, borrowed; NULL with *err set when there is none of it. */
struct storage *storages_named(struct engine *engine, const char *kind,
                               struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* What the journal says of a layer's file that goes (OPERATION_UNLINK). */
json_t *storages_unlink_payload(const struct state_layer *layer)
    MUST_CHECK NONNULL(1);

/* Remove the file or snapshot that it names, `path`; durable on 0.  NULL: a
 * file of ours. */
int storages_unlink(struct engine *engine, const json_t *payload,
                    const char *path, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

#endif
