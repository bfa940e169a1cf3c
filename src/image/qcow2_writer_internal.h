/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_writer_internal.h -- what the files of the writer share.
 */
#ifndef IMAGE_QCOW2_WRITER_INTERNAL_H
#define IMAGE_QCOW2_WRITER_INTERNAL_H

#include "base/vec.h"
#include "image/qcow2_layout.h"
#include "image/qcow2_writer.h"

#include <stdatomic.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

/* -- tables (qcow2_writer_tables.c) ------------------------------------- */

/* One refcount block; counts is NULL once it is in the file. */
struct qcow2_writer_refblock {
    uint16_t *counts; /* owned; as on disk, but in the host's byte order */
    uint64_t offset;
};

struct qcow2_writer_tables {
    uint32_t cluster_bits;
    uint64_t *l1; /* owned; as on disk; 0 while the table is not in the file */
    uint64_t *
        *l2; /* owned; as on disk; NULL: all unallocated, or in the file */
    uint64_t l1_entries;
    uint64_t l2_first; /* none below is in memory */
    size_t l2_count;   /* how many are in memory */
    struct VEC(struct qcow2_writer_refblock) refblocks;
};

int qcow2_writer_tables_init(struct qcow2_writer_tables *tables, uint64_t size,
                             uint32_t cluster_bits, struct error *err)
    MUST_CHECK NONNULL(1, 4);
void qcow2_writer_tables_release(struct qcow2_writer_tables *tables) NONNULL(1);

/* Is there no table in memory yet for this guest cluster? */
bool qcow2_writer_tables_is_new(const struct qcow2_writer_tables *tables,
                                uint64_t cluster) NONNULL(1);

/* Make that table. */
void qcow2_writer_tables_add(struct qcow2_writer_tables *tables,
                             uint64_t cluster) NONNULL(1);

/* Set the L2 entry of a guest cluster; its table is in memory. */
void qcow2_writer_tables_set(struct qcow2_writer_tables *tables,
                             uint64_t cluster, uint64_t entry) NONNULL(1);

/* One more reference to every host cluster that the range touches. */
void qcow2_writer_tables_count(struct qcow2_writer_tables *tables,
                               uint64_t offset, uint64_t length) NONNULL(1);

/* -- the writer (qcow2_writer.c) ---------------------------------------- */

/* Data is written in pieces of this size, at multiples of 4 KiB. */
#define QCOW2_WRITER_STAGE ((size_t)4 << 20)
#define QCOW2_WRITER_PLACES 16384u

/* Where in the stage a guest cluster lies. */
struct qcow2_writer_place {
    uint64_t cluster;
    uint32_t offset;
    uint32_t length;
};

/* A piece of the file whose place in the file is not settled yet. */
struct qcow2_writer_stage {
    uint8_t *bytes; /* owned, QCOW2_WRITER_STAGE */
    size_t fill;
    struct qcow2_writer_place *places; /* owned, QCOW2_WRITER_PLACES */
    size_t place_count;
};

enum qcow2_writer_stream {
    QCOW2_WRITER_PACKED, /* compressed, back to back */
    QCOW2_WRITER_PLAIN,  /* whole clusters */
    QCOW2_WRITER_STREAMS
};

struct qcow2_writer {
    /* Constant after qcow2_writer_new. */
    int fd;
    char *path;         /* owned */
    char *backing_name; /* owned, or NULL */
    struct qcow2_layout layout;
    bool compress;
    int level;

    struct qcow2_writer_tables tables;
    struct qcow2_writer_stage stages[QCOW2_WRITER_STREAMS];
    struct qcow2_writer_batch *own; /* owned; of qcow2_writer_write, or NULL */
    uint64_t end;                   /* every place below is given away */
    uint64_t next_cluster;          /* of the guest */
    bool finished;
    _Atomic uint64_t written;
};

/* -- batches (qcow2_writer_batch.c) ------------------------------------- */

enum qcow2_writer_kind {
    QCOW2_WRITER_KIND_ZERO,
    QCOW2_WRITER_KIND_PLAIN,
    QCOW2_WRITER_KIND_COMPRESSED
};

struct qcow2_writer_item {
    uint64_t cluster;
    uint64_t count;       /* of clusters; 1 unless they are zero */
    const uint8_t *bytes; /* borrowed from the batch or its caller */
    uint32_t length;      /* of bytes */
    enum qcow2_writer_kind kind;
};

/* A full stage on its way to the file. */
struct qcow2_writer_full {
    uint8_t *bytes; /* owned */
    size_t length;
    uint64_t offset;
};

/* Plain clusters that go from the caller's memory to the file. */
struct qcow2_writer_run {
    const uint8_t *bytes; /* borrowed */
    size_t length;
    uint64_t offset;
};

/* An append of one batch fills each stream's stage at most once. */
#define QCOW2_WRITER_SPARES 2u

/* How zstd looks for matches: as the level says, or with less effort. */
enum qcow2_writer_gear {
    QCOW2_WRITER_USUAL,
    QCOW2_WRITER_LIGHT,
    QCOW2_WRITER_GEARS
};

struct qcow2_writer_batch {
    struct qcow2_writer *writer;         /* borrowed */
    ZSTD_CCtx *zstd[QCOW2_WRITER_GEARS]; /* owned, or NULL */
    bool light;     /* the last cluster of this batch says: with less effort */
    z_stream *zlib; /* owned, or NULL */
    struct qcow2_writer_item *items;
    size_t item_count;
    size_t encoded;  /* bytes of guest data since the last append */
    uint8_t *packed; /* owned, QCOW2_WRITER_BATCH_MAX */
    size_t packed_fill;
    uint8_t *tail; /* owned; the disk's last cluster, zero-extended; or NULL */
    uint8_t *spares[QCOW2_WRITER_SPARES]; /* owned */
    size_t spare_count;
    struct qcow2_writer_full fulls[QCOW2_WRITER_SPARES];
    size_t full_count;
    struct qcow2_writer_run *runs; /* owned; as many as items */
    size_t run_count;
};

/* Give a stage its place; write it, or leave that to the batch if not NULL. */
int qcow2_writer_close_stage(struct qcow2_writer *writer,
                             enum qcow2_writer_stream stream,
                             struct qcow2_writer_batch *batch,
                             struct error *err) MUST_CHECK NONNULL(1, 4);

/* Where the next close of the stream's stage will put it. */
uint64_t qcow2_writer_stage_base(const struct qcow2_writer *writer,
                                 enum qcow2_writer_stream stream) NONNULL(1);

/* Write one full stage to the file. */
int qcow2_writer_store(struct qcow2_writer *writer, const uint8_t *bytes,
                       size_t length, uint64_t offset, struct error *err)
    MUST_CHECK NONNULL(1, 2, 5);

/* -- the end (qcow2_writer_finish.c) ------------------------------------ */

/**
 * qcow2_writer_spill(writer, batch, err):
 * Put every table that is in memory and will not change into the file, and
 * free it.  No guest cluster below the last one will be set any more.
 */
int qcow2_writer_spill(struct qcow2_writer *writer,
                       struct qcow2_writer_batch *batch, struct error *err)
    MUST_CHECK NONNULL(1, 3);

#endif
