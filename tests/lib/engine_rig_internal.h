/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_rig_internal.h -- what the files of the rig share.
 */
#ifndef TESTS_LIB_ENGINE_RIG_INTERNAL_H
#define TESTS_LIB_ENGINE_RIG_INTERNAL_H

#include "daemon/watch.h"
#include "engine_rig.h"

/* Ends the program when something of the rig itself does not work. */
void rig_must(int result, const struct error *err, const char *what);

/* The fake's images are written by us. */
void rig_attach_images(struct hv *hv);

/* Where the machine's UEFI variables are; owned by the caller. */
char *rig_nvram_path(const struct rig *rig);

int64_t rig_vm_id(struct rig *rig);

#endif
