/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit_open.h -- the files of a chain of which one is to be changed: locked
 * against QEMU, and open for reading as a whole; internal to src/image.
 */
#ifndef IMAGE_COMMIT_OPEN_H
#define IMAGE_COMMIT_OPEN_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/commit_raw.h"
#include "image/commit_refusal.h"
#include "image/qcow2_rw.h"

#include <stddef.h>
#include <stdint.h>

#define COMMIT_CHAIN_MAX 1024u /* files */

struct commit_chain {
    const struct image_ref *refs; /* borrowed */
    size_t count;
    struct blockdev *view; /* owned; what the chain reads as */
    int *locks;            /* owned; a descriptor for each file, or -1 */
};

#define COMMIT_CHAIN_INIT                                                      \
    {                                                                          \
        .refs = NULL                                                           \
    }

/**
 * commit_chain_open(chain, refs, count, target, err):
 * Take READ locks of all files but refs[target], whose WRITE lock is taken by
 * whoever opens it for writing, and open the chain.
 *
 * Ownership:  refs are borrowed until commit_chain_release.
 */
int commit_chain_open(struct commit_chain *chain, const struct image_ref *refs,
                      size_t count, size_t target, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);
void commit_chain_release(struct commit_chain *chain) NONNULL(1);
#define AUTO_COMMIT_CHAIN CLEANUP(commit_chain_release)

/**
 * commit_chain_top(chain, ret_set, ret_zeros, err):
 * As qcow2_contents() of the top layer, which rests on another; the tables are
 * those that the view reads, and stay for it.
 */
int commit_chain_top(const struct commit_chain *chain, struct extents *ret_set,
                     struct extents *ret_zeros, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* The disk size of the chain from refs[first] down; 0 when there is none. */
int commit_chain_size(const struct commit_chain *chain, size_t first,
                      uint64_t *ret_size, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* ERROR_INVALID unless there is a layer over another image. */
int commit_check_layers(const struct image_ref *refs, size_t count,
                        struct error *err) MUST_CHECK NONNULL(1, 3);

/*
 * The file to be changed, opened and locked before the chain is opened for
 * reading, so that what is read is what stays.
 */
struct commit_target {
    struct qcow2_rw *rw;   /* owned; NULL for a raw file */
    struct commit_raw raw; /* owned */
    struct commit_chain chain;
    enum commit_refusal refusal; /* when it could not be opened */
};

#define COMMIT_TARGET_INIT                                                     \
    {                                                                          \
        .raw = COMMIT_RAW_INIT                                                 \
    }

int commit_target_open(struct commit_target *target,
                       const struct image_ref *refs, size_t count, size_t which,
                       enum commit_use use, struct error *err)
    MUST_CHECK NONNULL(1, 2, 6);
void commit_target_release(struct commit_target *target) NONNULL(1);
#define AUTO_COMMIT_TARGET CLEANUP(commit_target_release)

/* Why something failed, if it is one of those reasons. */
enum commit_refusal commit_target_refusal(const struct commit_target *target)
    NONNULL(1);

/* As commit_source.read; the context is the chain's view. */
int commit_read_view(void *context, void *buffer, size_t length,
                     uint64_t offset, struct error *err) MUST_CHECK;

#endif
