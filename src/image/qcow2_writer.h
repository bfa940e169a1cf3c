/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_writer.h -- write a new qcow2 from beginning to end, once.
 *
 * Data first, tables after, header last: until qcow2_writer_finish() returned
 * 0 the file is not a qcow2 at all, so a torn one can never be taken for a
 * good one.  Refcounts are exact; `qemu-img check` finds nothing.
 *
 * Threads:    qcow2_writer_encode() by any number at once, everything else by
 *             one at a time.
 */
#ifndef IMAGE_QCOW2_WRITER_H
#define IMAGE_QCOW2_WRITER_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/blockdev.h"
#include "image/qcow2.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qcow2_writer;

struct qcow2_writer_options {
    uint64_t size;            /* of the guest's disk */
    uint32_t cluster_bits;    /* 0 for the default, at most 21 */
    const char *backing_name; /* NULL for none; borrowed */
    enum image_format backing_format;
    bool compress;
    enum qcow2_compression compression;
    int level; /* 0 for the default: zstd 1, zlib 6 */
    bool direct;
    const char *mode_like; /* owner and mode are taken from it; or NULL: 0600 */
};

/**
 * qcow2_writer_new(path, options, err):
 * Create `path` with O_EXCL.
 */
struct qcow2_writer *
qcow2_writer_new(const char *path, const struct qcow2_writer_options *options,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Gives up: closes and removes the file unless it was finished. */
void qcow2_writer_free(struct qcow2_writer *writer);

/**
 * qcow2_writer_write(writer, buffer, offset, length, err):
 * Append guest data; offset is a multiple of the cluster size and greater
 * than every offset written before; length too is a multiple, but for the
 * disk's end.  Clusters that are all zero become zero clusters (or holes when
 * there is no backing file).
 */
int qcow2_writer_write(struct qcow2_writer *writer, const void *buffer,
                       uint64_t offset, size_t length, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* A range that reads as zero; no-op when there is no backing file. */
int qcow2_writer_zero(struct qcow2_writer *writer, uint64_t offset,
                      uint64_t length, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/**
 * qcow2_writer_finish(writer, ret_file_size, err):
 * Write tables and header and sync the file.
 *
 * Durability: on 0 the file's content survives a power cut; its name is the
 *             caller's to sync.
 */
int qcow2_writer_finish(struct qcow2_writer *writer, uint64_t *ret_file_size,
                        struct error *err) MUST_CHECK NONNULL(1, 3);

#endif
