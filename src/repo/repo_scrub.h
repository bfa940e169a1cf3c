/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo_scrub.h -- read a whole repository, each file once.
 *
 * Reading every point by itself would read a file once for each point that
 * rests on it.  Here each file is compared with its own index where it decides
 * the disk itself, and its index with that of the file below: if every file of
 * a chain passes, so does every point on it.
 *
 * It goes step by step, and where it is can be kept and gone back to, in
 * another process too; what was published or removed meanwhile is seen then.
 * Whatever happens to the repository at the same time wins.
 *
 * Threads:    one at a time for each struct repo_scrub.
 * Blocks:     on the repository's file system.
 */
#ifndef REPO_REPO_SCRUB_H
#define REPO_REPO_SCRUB_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/copy.h"
#include "repo/repo.h"

#include <stddef.h>
#include <stdint.h>

struct repo_scrub;

/* Where it goes on. */
#define REPO_SCRUB_KEY_SIZE 512
struct repo_scrub_position {
    char key[REPO_SCRUB_KEY_SIZE]; /* of the file; "" at the beginning */
    uint64_t offset;               /* how much of its disk was compared */
};

struct repo_scrub_progress {
    uint64_t files_done;
    uint64_t files_total;
    uint64_t bytes_done; /* of the files, as stored */
    uint64_t bytes_total;
};

/**
 * repo_scrub_new(repo, position, err):
 * Find all files of all points, and go to `position` (NULL: the beginning).
 *
 * Ownership:  repo is borrowed until it is freed.
 * Returns:    the scrub, or NULL with *err set to ERROR_IO.
 */
struct repo_scrub *repo_scrub_new(const struct repo *repo,
                                  const struct repo_scrub_position *position,
                                  struct error *err) MUST_CHECK NONNULL(1, 3);
void repo_scrub_free(struct repo_scrub *scrub);
void repo_scrub_cleanup(struct repo_scrub **scrub);
#define AUTO_REPO_SCRUB CLEANUP(repo_scrub_cleanup)

/* The points that were there when it was made, and damaged manifests. */
const struct repo_list *repo_scrub_points(const struct repo_scrub *scrub)
    NONNULL(1);

/**
 * repo_scrub_step(scrub, length, options, ret_verdict, err):
 * Compare the next `length` bytes of the disk of the file that it is at, or
 * what is left of it.
 *
 * Ownership:  *ret_verdict is the caller's to release, also when there is
 *             nothing more.
 * Returns:    1, 0 when there is nothing more, or -1 with *err set as
 *             repo_verify_point(); then it stands where it stood.
 */
int repo_scrub_step(struct repo_scrub *scrub, uint64_t length,
                    const struct copy_options *options,
                    struct repo_verdict *ret_verdict, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5);

/* Where it is, and how far that is. */
void repo_scrub_where(const struct repo_scrub *scrub,
                      struct repo_scrub_position *ret_position,
                      struct repo_scrub_progress *ret_progress)
    NONNULL(1, 2, 3);

#endif
