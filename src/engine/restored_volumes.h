/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restored_volumes.h -- volumes of a backup that its machine does not have now.
 *
 * A volume that was detached, or deleted, since the backup was taken is not
 * touched by restoring it: a new one is made, with a uuid of its own, filled
 * from the backup and attached in its place (semantics 5.8).
 *
 *     restored_volumes_make     while the machine is as it was
 *     (the others are switched to their restored files)
 *     restored_volumes_attach   each by an attach like any other
 *
 * Until it is attached each has a journal entry (OPERATION_VOLUME, "restore"),
 * by which settling removes it again: what is half restored stays nowhere.
 */
#ifndef ENGINE_RESTORED_VOLUMES_H
#define ENGINE_RESTORED_VOLUMES_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/job.h"
#include "engine/tree.h"
#include "engine/volume.h"
#include "repo/repo.h"

struct restored_volume {
    const struct repo_volume *volume; /* borrowed from the point */
    struct volume_change change;
    char *file; /* owned */
};

struct restored_volumes {
    struct restored_volume *items; /* owned */
    size_t count;
    size_t capacity;
};
void restored_volumes_release(struct restored_volumes *volumes) NONNULL(1);
#define AUTO_RESTORED_VOLUMES CLEANUP(restored_volumes_release)

/* Note that this volume of the point has to be made; all borrowed. */
void restored_volumes_add(struct restored_volumes *volumes,
                          const struct repo_volume *volume) NONNULL(1, 2);

/**
 * restored_volumes_make(job, volumes, tree, point, err):
 * Make them all, filled and proved, beside the first disk of the machine;
 * attached to nothing.
 *
 * Durability: on 0 they survive a power cut, with their journal entries.
 * Returns:    0; or -1 with *err set: restored_volumes_drop() must follow.
 */
int restored_volumes_make(struct job *job, struct restored_volumes *volumes,
                          const struct tree *tree,
                          const struct repo_point *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* Remove those that were made and are not attached. */
int restored_volumes_drop(struct engine *engine,
                          const struct restored_volumes *volumes,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * restored_volumes_attach(job, volumes, err):
 * Attach them all, with the device id and target that they had, or others when
 * these are taken.
 *
 * Returns:    0; or -1 with *err set, naming the volume: it is there and
 *             detached, and those after it are removed when what the job left
 *             is settled.
 */
int restored_volumes_attach(struct job *job,
                            const struct restored_volumes *volumes,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Of settling: a "restore" that nobody is working on is undone. */
int restored_volumes_settle(struct engine *engine,
                            const struct volume_change *change,
                            struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
