/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thaw_watchdog.h -- varved --thaw-watchdog URI UUID BUDGET_MS: the process
 * behind engine/thaw_guard.h.
 */
#ifndef DAEMON_THAW_WATCHDOG_H
#define DAEMON_THAW_WATCHDOG_H

#include "base/compiler.h"

#define THAW_WATCHDOG_OPTION "--thaw-watchdog"

/**
 * thaw_watchdog_run(argc, argv):
 * Be the watchdog: argv holds URI, UUID and BUDGET_MS.  Connects, says so on
 * file descriptor 0, and waits there.  A DONE ends it; otherwise it thaws the
 * guest, trying for two minutes while libvirtd or the agent are away, looks
 * once more after the longest time that a freeze can still be under way, and
 * logs one event.
 *
 * Threads:    called by main, before anything else was started.
 * Returns:    the exit status: 0 not needed, 1 it could not get ready, 3 it
 *             acted and the guest is not frozen, 4 it could not find out.
 */
int thaw_watchdog_run(int argc, char *const argv[]) NONNULL(2);

#endif
