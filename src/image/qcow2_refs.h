/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_refs.h -- reference counts of an image that is changed in place;
 * internal to src/image.
 *
 * Units:      clusters of the file; offsets in bytes of it.
 * Threads:    one at a time for each image.
 */
#ifndef IMAGE_QCOW2_REFS_H
#define IMAGE_QCOW2_REFS_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct qcow2_rw;

/* Find the end of the file's clusters. */
int qcow2_refs_find_end(struct qcow2_rw *rw, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Take `count` contiguous clusters at the end. */
int qcow2_refs_allocate(struct qcow2_rw *rw, uint64_t count,
                        uint64_t *ret_offset, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

int qcow2_refs_get(struct qcow2_rw *rw, uint64_t cluster, uint64_t *ret_count,
                   struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* ERROR_CORRUPT unless this is a used cluster of the file and no metadata;
 * ERROR_UNSUPPORTED if it must be the only reference and is not. */
int qcow2_refs_check(struct qcow2_rw *rw, uint64_t offset, bool only,
                     struct error *err) MUST_CHECK NONNULL(1, 4);

/* Give up what is in rw->frees: nothing on disk refers to it any more. */
int qcow2_refs_free(struct qcow2_rw *rw, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
