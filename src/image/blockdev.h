/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blockdev.h -- what a guest would read from a disk: raw files, qcow2 chains,
 * NBD exports.
 *
 * Offsets and lengths are bytes of the guest's disk.  Formats are told by the
 * caller, never probed; a backing file is opened only when the caller named
 * it, and only if the name in the image's header leads to that very file.
 *
 * Threads:    blockdev_read, blockdev_map and blockdev_data may be
 *             called by any number of threads at once.
 * Blocks:     on the disk or the network.
 */
#ifndef IMAGE_BLOCKDEV_H
#define IMAGE_BLOCKDEV_H

#include "base/compiler.h"
#include "base/error.h"
#include "image/extents.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_format { IMAGE_RAW, IMAGE_QCOW2 };

/* "raw", "qcow2". */
const char *image_format_name(enum image_format format);
int image_format_parse(const char *text, enum image_format *ret_format,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* One file of a chain. */
struct image_ref {
    const char *path; /* absolute; borrowed */
    enum image_format format;
};

/* How a range reads. */
enum block_kind {
    BLOCK_DATA, /* stored bytes */
    BLOCK_ZERO  /* reads as zero: zero clusters, holes, past a short backing */
};

struct block_range {
    uint64_t offset;
    uint64_t length;
    enum block_kind kind;
};

struct blockdev;

/* Flags for opening. */
#define BLOCKDEV_DIRECT 0x1u /* O_DIRECT where the file system has it */
/*
 * A running QEMU may have the images open.  Layers below the top are frozen
 * and read as ever; a dirty bit in them, which is about refcounts, is
 * tolerated.  The top may be the active layer: then only its size and backing
 * name can be trusted, and a corrupt bit is tolerated too.  Without the flag,
 * a dirty or corrupt bit in a qcow2 header refuses the image.
 */
#define BLOCKDEV_LIVE 0x2u

/**
 * blockdev_open_raw(path, flags, err):
 * Open one raw file or block device, for reading.
 */
struct blockdev *blockdev_open_raw(const char *path, unsigned flags,
                                   struct error *err) MUST_CHECK NONNULL(1, 3);

/**
 * blockdev_open_chain(refs, count, flags, err):
 * Open a chain for reading; refs[0] is the top, refs[count - 1] has no
 * backing file.  Metadata of all layers is resolved lazily and cached within
 * a bound of 8 MiB for each layer.
 *
 * Ownership:  refs are borrowed for the call; free with blockdev_free.
 * Returns:    the device, or NULL with *err set to
 *               ERROR_CORRUPT      a layer is damaged or hostile (named, with
 *                                  the reason), or backing names lead
 *                                  elsewhere than to the next of `refs`;
 *               ERROR_UNSUPPORTED  encryption, data files, unknown
 *                                  incompatible features;
 *               ERROR_NOT_FOUND, ERROR_IO.
 */
struct blockdev *blockdev_open_chain(const struct image_ref *refs, size_t count,
                                     unsigned flags, struct error *err)
    MUST_CHECK NONNULL(1, 4);

/**
 * blockdev_open_nbd(uri, export_name, err):
 * Connect to an NBD server ("nbd+unix:///?socket=PATH", "nbd://127.0.0.1:N").
 * export_name may be NULL for the one that the URI names, or the default.
 * The export must not change while it is open.
 *
 * Blocks:     on the server, at most two minutes for each request.
 * Returns:    the device, or NULL with *err set to ERROR_UNAVAILABLE,
 *             ERROR_TIMEOUT, ERROR_CORRUPT (the server says what cannot be).
 */
struct blockdev *blockdev_open_nbd(const char *uri, const char *export_name,
                                   struct error *err) MUST_CHECK NONNULL(1, 3);

void blockdev_free(struct blockdev *device);
void blockdev_cleanup(struct blockdev **device);
#define AUTO_BLOCKDEV CLEANUP(blockdev_cleanup)

/* The guest's disk size in bytes. */
uint64_t blockdev_size(const struct blockdev *device) NONNULL(1);

/* A name for messages: the top file's path or the URI. */
const char *blockdev_name(const struct blockdev *device) NONNULL(1);

/**
 * blockdev_read(device, buffer, length, offset, err):
 * What the guest would read.  Bytes past the disk's end read as zero (so that
 * the last 64 KiB leaf can be read whole).
 *
 * Returns:    0, or -1 with *err set to ERROR_IO, ERROR_CORRUPT (a cluster
 *             that cannot be decompressed, an offset past the file's end),
 *             ERROR_UNAVAILABLE, ERROR_TIMEOUT (NBD).  What the buffer holds
 *             then is not said.
 */
int blockdev_read(struct blockdev *device, void *buffer, size_t length,
                  uint64_t offset, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/**
 * blockdev_map(device, offset, ret_range, err):
 * The longest range that can be told cheaply, starting at `offset` (below the
 * size), and how it reads.  BLOCK_DATA may still hold zeros.
 */
int blockdev_map(struct blockdev *device, uint64_t offset,
                 struct block_range *ret_range, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * blockdev_data(device, ret_set, err):
 * Every range of the disk that is not known to read as zero.
 */
int blockdev_data(struct blockdev *device, struct extents *ret_set,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/**
 * blockdev_stats: how much was read from storage so far, for job reports.
 */
uint64_t blockdev_bytes_read(const struct blockdev *device) NONNULL(1);

#endif
