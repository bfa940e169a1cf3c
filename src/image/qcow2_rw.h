/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_rw.h -- one existing qcow2 file, changed in place; internal to
 * src/image.  commit.h is what others call.
 *
 * Changes are collected for many clusters and put on disk by
 * qcow2_rw_flush(), in an order that leaves at worst leaked clusters when the
 * machine dies at any moment (qcow2_rw.c has the order and why).
 *
 * Units:      bytes of the guest's disk ("guest") or of the file ("host");
 *             `cluster` and `unit` are numbers.  A unit is what can be
 *             allocated by itself: a subcluster with extended L2 entries,
 *             else a whole cluster.
 * Threads:    one at a time for each image.
 */
#ifndef IMAGE_QCOW2_RW_H
#define IMAGE_QCOW2_RW_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/commit_copy.h"
#include "image/commit_refusal.h"
#include "image/extents.h"
#include "image/qcow2_tables.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qcow2_rw {
    int fd; /* owned; holds the image lock */
    char *path;
    uint32_t version;
    unsigned cluster_bits;
    uint64_t cluster_size;
    uint64_t size; /* of the guest's disk, as the header says */
    unsigned refcount_order;
    uint64_t autoclear; /* feature bits, as the header says */
    bool has_backing;
    bool has_bitmaps;   /* disabled or worthless ones */
    bool extended;      /* 128-bit L2 entries */
    unsigned units;     /* in a cluster: 1 or 32 */
    uint64_t unit_size; /* bytes */
    uint32_t all_units; /* mask */
    uint64_t end;       /* first cluster of the file that is free for good */
    uint64_t file_size; /* bytes */
    struct extents metadata; /* host; as found when opened */
    uint64_t clear_from;     /* host; known to be free of them */
    uint64_t clear_to;
    struct qcow2_tables l2;
    struct qcow2_tables refs;
    struct commit_runs runs; /* data to be written */
    struct {
        uint64_t *items;
        size_t count;
        size_t capacity;
    } frees; /* host clusters to be given up, once each reference */
    bool failed;
    enum commit_use use;         /* not COMMIT_USE_READ */
    enum commit_refusal refusal; /* why a change failed, if it is one */
};

/**
 * qcow2_rw_open(path, use, ret_refusal, err):
 * Open for writing and take the image lock.  *ret_refusal is changed only if
 * that is why it failed.
 *
 * Returns:    the image, or NULL with *err set to ERROR_BUSY,
 *             ERROR_UNSUPPORTED (with the reason), ERROR_CORRUPT,
 *             ERROR_NOT_FOUND, ERROR_IO.
 */
struct qcow2_rw *qcow2_rw_open(const char *path, enum commit_use use,
                               enum commit_refusal *ret_refusal,
                               struct error *err) MUST_CHECK NONNULL(1, 3, 4);
void qcow2_rw_free(struct qcow2_rw *rw);
void qcow2_rw_cleanup(struct qcow2_rw **rw);
#define AUTO_QCOW2_RW CLEANUP(qcow2_rw_cleanup)

/* How one cluster is to read. */
struct qcow2_change {
    uint64_t cluster; /* of the guest's disk */
    uint32_t data;    /* units that hold what the source says */
    uint32_t zero;    /* units that read as zero; never also in data */
    uint64_t start;   /* of what really changes, guest bytes; units that are */
    uint64_t end;     /* allocated are written only within */
    bool discard;     /* forget all of it: past the disk's end */
};

/**
 * qcow2_rw_change(rw, change, err):
 * Plan one change; nothing on disk refers to it before qcow2_rw_flush().
 * A cluster is changed once between two flushes.
 */
int qcow2_rw_change(struct qcow2_rw *rw, const struct qcow2_change *change,
                    struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* True when enough was planned for a flush. */
bool qcow2_rw_is_full(const struct qcow2_rw *rw) NONNULL(1);

/**
 * qcow2_rw_flush(rw, source, err):
 * Put on disk what was planned.  Data that only overwrite clusters in place
 * may still be in the page cache afterwards; see qcow2_rw_sync().
 */
int qcow2_rw_flush(struct qcow2_rw *rw, const struct commit_source *source,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* All that was flushed survives a power cut. */
int qcow2_rw_sync(struct qcow2_rw *rw, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Room in L1 for a disk of `size` bytes, done by the next flush; or
 * ERROR_UNSUPPORTED when the image cannot get another size. */
int qcow2_rw_reserve(struct qcow2_rw *rw, uint64_t size, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* Plan to forget every cluster that lies wholly at or past `size`; flushes
 * when full. */
int qcow2_rw_discard_from(struct qcow2_rw *rw, uint64_t size,
                          const struct commit_source *source, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* Change the header's disk size, durably. */
int qcow2_rw_set_size(struct qcow2_rw *rw, uint64_t size, struct error *err)
    MUST_CHECK NONNULL(1, 3);

/* -- between the files of this module ----------------------------------- */

/* Write metadata; `point` is a fault point. */
int qcow2_rw_write(struct qcow2_rw *rw, const void *bytes, size_t length,
                   uint64_t offset, const char *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5, 6);

/* L1 entries that a disk of `size` bytes takes. */
uint64_t qcow2_rw_l1_entries(const struct qcow2_rw *rw, uint64_t size)
    NONNULL(1);

#endif
