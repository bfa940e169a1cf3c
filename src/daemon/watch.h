/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h -- follow the hypervisor's events: machines that start, stop,
 * appear or change, and the hypervisor's own comings and goings.
 */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/engine.h"
#include "hv/hv.h"

struct watch;

/**
 * watch_start(engine, hv, err):
 * From now on events of `hv` bring the engine's machines up to date, in a
 * thread of its own; after a reconnect what is unfinished is settled.
 */
struct watch *watch_start(struct engine *engine, struct hv *hv,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 3);
void watch_stop(struct watch *watch);

#endif
