/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_play.h -- random operations on a rig, against its model, in quiet or
 * with everything failing.
 *
 * A disturbed operation meets one of: hypervisor calls that fail, time out or
 * whose reply is lost, block jobs that fail, a machine that ends by itself, a
 * failure at any fault point, or the death of the process at any of them,
 * followed by more deaths while settling.  Then it may have been done or not,
 * but nothing in between, and nothing else may have happened.
 *
 * Threads:    one for each play; several plays may share an engine that has
 *             workers.
 */
#ifndef TESTS_LIB_ENGINE_PLAY_H
#define TESTS_LIB_ENGINE_PLAY_H

#include "engine_rig.h"

enum play_act {
    PLAY_GUEST,
    PLAY_SNAPSHOT,
    PLAY_REVERT,
    PLAY_DELETE_SNAPSHOT,
    PLAY_BACKUP,
    PLAY_DELETE_BACKUP,
    PLAY_FOLD,
    PLAY_RESTORE,
    PLAY_VOLUME_SNAPSHOT,
    PLAY_DELETE_VOLUME_SNAPSHOT,
    PLAY_RESIZE,
    PLAY_RESTART,
    PLAY_ACT_COUNT
};

struct play {
    struct rig *rig; /* borrowed */
    bool disturbed;
    bool has_company; /* others use the engine, and may make anything fail */
    uint64_t steps;
    unsigned done[PLAY_ACT_COUNT];
    unsigned failed[PLAY_ACT_COUNT];
    unsigned kills;
    unsigned scripts;
    unsigned faults;
    unsigned remedies; /* machines stopped because a view was stale */
    const char *last;  /* the last step's name */
};

/* Once for a new rig: what is played is allowed. */
void play_prepare(struct rig *rig);

/* One step, and then every invariant; `deep` as for rig_check(). */
int play_step(struct play *play, bool deep, struct error *err);

/* "# guest 12, snapshot 3 (1 failed), ..." */
void play_report(const struct play *play);

#endif
