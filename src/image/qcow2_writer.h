/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_writer.h -- write a new qcow2 from beginning to end, once.
 *
 * Data first, tables after, header last: until qcow2_writer_finish() returned
 * 0 the file is not a qcow2 at all, so a torn one can never be taken for a
 * good one.  Refcounts are exact; `qemu-img check` finds nothing.
 *
 * Two ways to write: qcow2_writer_write() alone, or, for many threads, a
 * batch for each thread: encode (in parallel), append (in order of offsets),
 * flush (in parallel).  The file's bytes depend on the data and the options
 * only, not on the number of threads or the size of the batches' pieces.
 *
 * Memory is bounded whatever the disk's size: 13 MiB, 16 for each L1 entry,
 * and 10 MiB for each batch.
 *
 * Threads:    encode and flush of different batches by any number at once;
 *             append and everything else by one at a time.
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
    uint64_t size;            /* of the guest's disk, a multiple of 512 */
    uint32_t cluster_bits;    /* 9 to 21; 0 for the default */
    const char *backing_name; /* NULL for none; borrowed for the call */
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
 *
 * Returns:    the writer, or NULL with *err set to
 *               ERROR_INVALID   there can be no image with such options;
 *               ERROR_CONFLICT  the path exists;
 *               ERROR_NO_SPACE, ERROR_IO.
 */
struct qcow2_writer *
qcow2_writer_new(const char *path, const struct qcow2_writer_options *options,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* Gives up: closes and removes the file unless it was finished. */
void qcow2_writer_free(struct qcow2_writer *writer);
void qcow2_writer_cleanup(struct qcow2_writer **writer);
#define AUTO_QCOW2_WRITER CLEANUP(qcow2_writer_cleanup)

/* What was asked for: bytes of the disk, bytes of one cluster, is there a
 * backing file. */
uint64_t qcow2_writer_size(const struct qcow2_writer *writer) NONNULL(1);
size_t qcow2_writer_cluster_size(const struct qcow2_writer *writer) NONNULL(1);
bool qcow2_writer_has_backing(const struct qcow2_writer *writer) NONNULL(1);

/* Bytes of data that have a place so far, as they are stored.  Any thread. */
uint64_t qcow2_writer_written(const struct qcow2_writer *writer) NONNULL(1);

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

/* A range that reads as zero; no-op when there is no backing file.  The same
 * rules for offset and length. */
int qcow2_writer_zero(struct qcow2_writer *writer, uint64_t offset,
                      uint64_t length, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/**
 * qcow2_writer_finish(writer, ret_file_size, err):
 * Write tables and header and sync the file.  Every batch was flushed before.
 *
 * Durability: on 0 the file's content survives a power cut; its name is the
 *             caller's to sync.
 */
int qcow2_writer_finish(struct qcow2_writer *writer, uint64_t *ret_file_size,
                        struct error *err) MUST_CHECK NONNULL(1, 3);

/* -- for many threads --------------------------------------------------- */

/* At most this much is encoded between two appends. */
#define QCOW2_WRITER_BATCH_MAX ((size_t)2 << 20)

/* One thread's side of a writer: a codec, what it made, buffers to write. */
struct qcow2_writer_batch;

/* The writer is borrowed until the batch is freed. */
struct qcow2_writer_batch *qcow2_writer_batch_new(struct qcow2_writer *writer,
                                                  struct error *err)
    MUST_CHECK NONNULL(1, 2);
void qcow2_writer_batch_free(struct qcow2_writer_batch *batch);

/**
 * qcow2_writer_encode(batch, buffer, offset, length, err):
 * Add guest data to the batch; offset and length as in qcow2_writer_write,
 * ascending within the batch.  The buffer is borrowed until the flush.
 */
int qcow2_writer_encode(struct qcow2_writer_batch *batch, const void *buffer,
                        uint64_t offset, size_t length, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* A range that reads as zero, as in qcow2_writer_zero; at most
 * QCOW2_WRITER_ZEROS_MAX that do not touch between two appends. */
#define QCOW2_WRITER_ZEROS_MAX 64
void qcow2_writer_encode_zero(struct qcow2_writer_batch *batch, uint64_t offset,
                              uint64_t length) NONNULL(1);

/* At least so long, or a host cluster would hold more streams than a refcount
 * can count. */
#define QCOW2_WRITER_PACKED_MIN(cluster_size) ((cluster_size) / 65533u + 1)

/* At most so long, or an entry could not count its sectors wherever it lies. */
#define QCOW2_WRITER_PACKED_MAX(cluster_size) (2 * (cluster_size)-511)

/**
 * qcow2_writer_add_packed(batch, bytes, length, offset):
 * Add one cluster of guest data that is compressed already, as the writer's
 * compression is; the writer was made with `compress`.  It has from
 * QCOW2_WRITER_PACKED_MIN to _MAX bytes; what is behind the
 * stream's end is stored, too.  Otherwise as qcow2_writer_encode; nothing is
 * looked at.
 */
void qcow2_writer_add_packed(struct qcow2_writer_batch *batch,
                             const void *bytes, size_t length, uint64_t offset)
    NONNULL(1, 2);

/* Add one whole cluster of guest data as it is, unless it is all zero. */
void qcow2_writer_add_plain(struct qcow2_writer_batch *batch, const void *bytes,
                            uint64_t offset) NONNULL(1, 2);

/**
 * qcow2_writer_append(batch, err):
 * Give everything in the batch its place in the file, and empty the batch.
 * Batches are appended in ascending order of their offsets.
 *
 * Blocks:     nearly never: data is written by the flush; tables only once
 *             for many GiB.
 */
int qcow2_writer_append(struct qcow2_writer_batch *batch, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Write what an append has filled.  Called after every append. */
int qcow2_writer_flush(struct qcow2_writer_batch *batch, struct error *err)
    MUST_CHECK NONNULL(1, 2);

#endif
