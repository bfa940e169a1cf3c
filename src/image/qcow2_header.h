/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_header.h -- the first cluster of a qcow2, parsed and checked;
 * internal to src/image.
 */
#ifndef IMAGE_QCOW2_HEADER_H
#define IMAGE_QCOW2_HEADER_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/qcow2.h"

#include <stddef.h>
#include <stdint.h>

/* Offsets and sizes are bytes of the file. */
struct qcow2_header {
    struct qcow2_info info;
    uint64_t incompatible; /* feature bits; 0 in version 2 */
    uint64_t compatible;
    uint64_t autoclear;
    uint32_t length; /* of the header; extensions follow it */
    uint32_t refcount_order;
    uint64_t backing_offset; /* where the name stands; 0 for none */
    uint32_t backing_size;
    uint32_t l1_entries; /* as stored; may be more than are needed */
    uint64_t l1_offset;
    uint32_t reftable_clusters;
    uint64_t reftable_offset;
    uint64_t snapshots_offset;
    uint32_t bitmaps; /* 0 when there is no valid directory */
    uint64_t bitmaps_directory_offset;
    uint64_t bitmaps_directory_size;
};

/**
 * qcow2_header_parse(bytes, length, path, ret_header, err):
 * Parse a header from the first `length` bytes of the file `path`: its first
 * cluster, or all there is.  The backing name and all header extensions must
 * lie within.  Places of tables are checked for alignment and bounds, not
 * against the file's size.
 *
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT, ERROR_UNSUPPORTED.
 */
int qcow2_header_parse(const void *bytes, size_t length, const char *path,
                       struct qcow2_header *ret_header, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4, 5);

/**
 * qcow2_header_read(fd, path, ret_header, err):
 * Read and parse the header of an open file.
 */
int qcow2_header_read(int fd, const char *path, struct qcow2_header *ret_header,
                      struct error *err) MUST_CHECK NONNULL(2, 3, 4);

/* Bytes of guest that one L2 table maps. */
uint64_t qcow2_header_l2_coverage(const struct qcow2_header *header) NONNULL(1);

/* L1 entries that the disk's size needs. */
uint64_t qcow2_header_l1_needed(const struct qcow2_header *header) NONNULL(1);

#endif
