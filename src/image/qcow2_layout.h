/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_layout.h -- the header of an image that we make ourselves.  Internal
 * to src/image.
 */
#ifndef IMAGE_QCOW2_LAYOUT_H
#define IMAGE_QCOW2_LAYOUT_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/qcow2.h"

#include <stddef.h>
#include <stdint.h>

struct qcow2_layout {
    uint64_t size; /* of the guest's disk */
    uint32_t cluster_bits;
    const char *backing_name; /* borrowed; NULL for none */
    enum image_format backing_format;
    enum qcow2_compression compression;
    uint64_t l1_offset;
    uint64_t l1_entries;
    uint64_t reftable_offset;
    uint64_t reftable_clusters;
};

/**
 * qcow2_layout_check(layout, err):
 * Can there be such an image?  Looks at size, cluster bits and backing name.
 *
 * Returns:    0, or -1 with *err set to ERROR_INVALID.
 */
int qcow2_layout_check(const struct qcow2_layout *layout, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* How many L1 entries a disk takes. */
uint64_t qcow2_layout_l1_entries(uint64_t size, uint32_t cluster_bits);

/* Write a header that was checked into the zeroed buffer of one cluster. */
void qcow2_layout_header(const struct qcow2_layout *layout, void *cluster)
    NONNULL(1, 2);

#endif
