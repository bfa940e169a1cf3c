/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inventory.h -- the hypervisor's machines, in the database.
 *
 * Machines that libvirt knows are found and listed; nothing about them is
 * changed.  The first operation on a machine takes it over (adopts it): the
 * file that its domain names for a disk becomes the volume's first layer,
 * everything below is foreign.  If other images rest on that file too, it is
 * foreign itself and our layers start above it (docs/design/0001).
 */
#ifndef ENGINE_INVENTORY_H
#define ENGINE_INVENTORY_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/tree.h"

/* Look at all machines: new ones appear, vanished ones are marked. */
int inventory_refresh(struct engine *engine, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Look at one. */
int inventory_refresh_machine(struct engine *engine, const char *vm_uuid,
                              struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * inventory_look(engine, vm_uuid, err):
 * Before a request is judged: the machine's power as it is now, not as the
 * last event had it.  A hypervisor that is away is no failure here.
 */
int inventory_look(struct engine *engine, const char *vm_uuid,
                   struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * inventory_adopt(engine, vm_id, err):
 * Take over every disk of the machine that is not ours yet.
 *
 * Returns:    0, or -1 with *err set to ERROR_UNSUPPORTED naming a disk that
 *             varve cannot keep (network, block device, backing file without
 *             a format, json: names) and the remedy.
 */
int inventory_adopt(struct engine *engine, int64_t vm_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/**
 * inventory_guard(engine, layer_id, err):
 * Does an image that is not in our record rest on this layer's file?  Then it
 * becomes foreign: never written, renamed or unlinked again.
 *
 * Returns:    1 it is foreign now, 0 it is ours alone, -1 with *err set.
 */
int inventory_guard(struct engine *engine, int64_t layer_id, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Does an image that is on nobody's record rest on that file, or one of
 * another volume's?  1, 0, -1. */
int inventory_has_dependant(struct engine *engine, const char *path,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Could the disk be taken over?  As inventory_adopt(); only headers are read.
 */
int inventory_check_disk(const struct hv_disk *disk, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Why a disk is left out of snapshots and backups, or NULL if it is not. */
const char *inventory_excluded(const struct hv_disk *disk) NONNULL(1);

#endif
