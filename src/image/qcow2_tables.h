/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qcow2_tables.h -- the tables of an image that is changed in place: L1 with
 * its L2 tables, the refcount table with its blocks; internal to src/image.
 *
 * Threads:    one at a time for each image.
 */
#ifndef IMAGE_QCOW2_TABLES_H
#define IMAGE_QCOW2_TABLES_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qcow2_rw;

/* An L2 table or refcount block in memory. */
struct qcow2_table {
    uint64_t index;    /* in L1 or in the refcount table */
    uint64_t offset;   /* host */
    uint8_t *bytes;    /* owned; one cluster */
    size_t dirty_from; /* bytes that are not on disk yet; */
    size_t dirty_to;   /* from >= to: none */
    bool fresh;        /* nothing on disk refers to it yet */
};

/* All tables of one kind: a top array of host offsets, and what is loaded. */
struct qcow2_tables {
    uint64_t *top; /* owned; L1 or refcount table, in host byte order */
    size_t count;
    uint64_t top_offset;         /* host; where it shall be */
    uint64_t top_clusters;       /* that it takes there */
    size_t dirty_from;           /* entries that are not on disk yet */
    size_t dirty_to;             /* from >= to: none */
    bool moved;                  /* the header still names the old place */
    uint64_t old_offset;         /* when moved: what the header names; */
    uint64_t old_clusters;       /* freed when it does no more */
    struct qcow2_table **loaded; /* owned, as the tables; `count` slots */
    struct {
        struct qcow2_table **items;
        size_t count;
        size_t capacity;
    } held; /* all that is loaded, in order of loading */
};

int qcow2_tables_load_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                          uint64_t offset, size_t entries, const char *what,
                          struct error *err) MUST_CHECK NONNULL(1, 2, 5, 6);
void qcow2_tables_release(struct qcow2_tables *tables) NONNULL(1);

/* One past the last entry of the top that is not 0. */
size_t qcow2_tables_used(const struct qcow2_tables *tables) NONNULL(1);

/* The table `index`, from memory or disk; its top entry is not 0. */
struct qcow2_table *
qcow2_tables_get(struct qcow2_rw *rw, struct qcow2_tables *tables,
                 uint64_t index, const char *what, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/* A new, zeroed table at `offset`; the top entry is the caller's to set. */
struct qcow2_table *qcow2_tables_add(struct qcow2_rw *rw,
                                     struct qcow2_tables *tables,
                                     uint64_t index, uint64_t offset)
    NONNULL(1, 2);
void qcow2_table_touch(struct qcow2_table *table, size_t from, size_t to)
    NONNULL(1);
void qcow2_tables_touch_top(struct qcow2_tables *tables, size_t entry)
    NONNULL(1);

/* Make the top array longer, at a new place in the file. */
int qcow2_tables_grow_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                          size_t entries, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/* Write the dirty bytes of all tables, or of those that are (not) fresh. */
enum qcow2_which { QCOW2_ALL, QCOW2_FRESH, QCOW2_KNOWN };
int qcow2_tables_write(struct qcow2_rw *rw, struct qcow2_tables *tables,
                       enum qcow2_which which, const char *point,
                       struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/* Write the dirty entries of the top array, or all of it when it moved. */
int qcow2_tables_write_top(struct qcow2_rw *rw, struct qcow2_tables *tables,
                           const char *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Forget all loaded tables; none is dirty. */
void qcow2_tables_drop(struct qcow2_tables *tables) NONNULL(1);

#endif
