/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_internal.h -- what the engine's own files share.
 */
#ifndef ENGINE_ENGINE_INTERNAL_H
#define ENGINE_ENGINE_INTERNAL_H

#include "engine/engine.h"
#include "repo/repo.h"

struct job_queue;

struct engine {
    struct state *state;     /* borrowed */
    struct hv *hv;           /* borrowed */
    struct repo *repo;       /* owned */
    struct job_queue *queue; /* owned */
    char *hold_dir;          /* owned */
    char *libvirt_uri;       /* owned; NULL without a watchdog */
    int64_t image_store_id;  /* of `repo` */
    int64_t host_id;         /* of the hypervisor */
    int64_t zone_id;
};

#endif
