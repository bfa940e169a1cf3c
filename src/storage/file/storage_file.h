/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage_file.h -- disks that are raw files; a snapshot is a clone of the
 * file, on file systems that let files share blocks (XFS, btrfs).
 *
 * A locator is an absolute path.  The snapshot of a volume by transaction
 * <txid> lies beside the disk as <txid>_<volume>.raw; until it is kept its
 * name ends in ".part".  One clone is one moment of one file, also while it
 * is written to; several files are several moments (no GROUP_ATOMIC).
 *
 * Fault points: storage.probe, .estimate, .prepare, .clone (each disk), .sync,
 * .rename, .directory, .undo, .remove, .copy.
 */
#ifndef STORAGE_FILE_STORAGE_FILE_H
#define STORAGE_FILE_STORAGE_FILE_H

#include "storage/storage.h"

struct storage *storage_file_new(void) MUST_CHECK
    __attribute__((returns_nonnull));

/* Let the file `to` read as `from`: 0, or -1 and errno. */
typedef int storage_file_cloner(int from, int to);

/* For tests on file systems that cannot clone: this is done instead of the
 * FICLONE request, and every file system can.  NULL: as at the start. */
void storage_file_set_cloner(struct storage *storage,
                             storage_file_cloner *cloner) NONNULL(1);

/* Count the extents of the file, no further than `most`: 0, or -1 and errno. */
typedef int storage_file_counter(int fd, uint64_t most, uint64_t *ret_count);

/* For tests: this is done instead of asking the file system.  NULL: as at the
 * start. */
void storage_file_set_counter(struct storage *storage,
                              storage_file_counter *counter) NONNULL(1);

#endif
