/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo_verify.h -- look for damage in one chain of files, and say whose fault
 * it is.  Internal to src/repo.
 */
#ifndef REPO_REPO_VERIFY_H
#define REPO_REPO_VERIFY_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/copy.h"
#include "image/extents.h"
#include "repo/repo.h"

#include <stdbool.h>
#include <stddef.h>

/* The chain that is looked at. */
struct repo_look {
    const struct repo *repo;
    const char *account;
    const struct repo_volume *volume; /* chain[0] is the point's own file; a
                                         root "" is not compared */
    struct repo_verdict *verdict;     /* what was found is added here */
    struct repo_list list;            /* owned; all points, once needed */
    bool is_listed;
};

void repo_look_release(struct repo_look *look) NONNULL(1);
#define AUTO_REPO_LOOK CLEANUP(repo_look_release)

/**
 * repo_look_run(look, only, options, err):
 * Compare the content of the chain (or the ranges in `only`) with its index.
 *
 * Returns:    0 when all was tried, -1 as repo_verify_point().
 */
int repo_look_run(struct repo_look *look, const struct extents *only,
                  const struct copy_options *options, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The file of a link, its image or its index; the caller frees it. */
char *repo_look_file(const struct repo_look *look, size_t link, bool is_index)
    MUST_CHECK NONNULL(1);

/* -- repo_blame.c: whose fault it is ------------------------------------ */

/* The chain cannot be opened: `why` says why. */
int repo_blame_image(struct repo_look *look, const struct error *why,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* The index cannot be read, or not all of it (`leaves`). */
int repo_blame_index(struct repo_look *look, uint64_t leaves,
                     const struct error *why, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* These leaves are wrong. */
int repo_blame_leaves(struct repo_look *look,
                      const struct copy_mismatch *mismatch, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

#endif
