/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FICLONE makes all of a file share its blocks with another one, as one step
 * in the file system: it flushes what is in the page cache, waits for writes
 * under way and keeps new ones out meanwhile.  So that little is left to be
 * flushed while the guest is frozen, preparing flushes once before.
 *
 * How long that takes goes by the number of extents, not by their size: XFS
 * does each in a transaction of its own.
 *
 * The clone is made under a name that ends in ".part", flushed, and renamed:
 * whoever looks into the folder never takes half a snapshot for one.
 */
#include "storage/file/storage_file.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "storage/file/extent_count.h"
#include "storage/file/sparse_copy.h"
#include "storage/storage_kind.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* How much is cloned to find out whether it can be. */
#define PROBE_LENGTH ((uint64_t)65536)

/* XFS cloned files of 5000 to 100000 extents at 30 to 100 microseconds for
 * each, on two busy cores with a virtual disk; a quiet host is faster. */
#define EXTENTS_PER_MS 20

struct file_storage {
    struct storage storage; /* first */
    storage_file_cloner *cloner;
    storage_file_counter *counter;
};

struct file_part {
    char *part; /* owned; the name until it is kept */
    int from;
    int to;
};

struct file_txn {
    struct storage_txn txn;  /* first */
    struct file_part *parts; /* owned; one for each disk */
};

static struct file_storage *
file_of(struct storage *storage)
{
    return (struct file_storage *)storage;
}

static struct file_txn *
txn_of(struct storage_txn *txn)
{
    return (struct file_txn *)txn;
}

static int
clone_by_kernel(int from, int to)
{
    return ioctl(to, FICLONE, from);
}

static int
open_disk(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat about;

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode)) {
        (void)close(fd);
        return error_set(err, ERROR_UNSUPPORTED, "'%s' is no regular file",
                         path);
    }
    return fd;
}

/* A new file with owner and mode of `like`, so that the same QEMU may open
 * it. */
static int
make_file(const char *path, int like, struct error *err)
{
    struct stat about;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "make '%s'", path);
    if (fstat(like, &about) < 0 ||
        (geteuid() == 0 && fchown(fd, about.st_uid, about.st_gid) < 0) ||
        fchmod(fd, about.st_mode & 0777) < 0) {
        (void)error_set_errno(err, errno, "owner and mode of '%s'", path);
        (void)close(fd);
        (void)unlink(path);
        return -1;
    }
    return fd;
}

/* -- what can be done ------------------------------------------------------ */

/* Does this errno of a clone say that blocks cannot be shared there?
 * (ENOTSUP is EOPNOTSUPP on Linux.) */
static bool
says_unable(int number)
{
    return number == EOPNOTSUPP || number == EXDEV || number == EINVAL ||
           number == ENOTTY;
}

/* Does the file system of these share blocks?  Tried with a nameless file.
 * 1 it does, 0 it does not, -1 it cannot be told. */
static int
can_share(int from, const char *path, struct error *err)
{
    AUTO_FREE char *directory = path_parent(path);
    AUTO_CLOSE int to = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat about;
    struct file_clone_range range = {.src_fd = from};

    if (to < 0 && (says_unable(errno) || errno == EISDIR))
        return 0; /* it has no nameless files; none of these shares blocks */
    if (to < 0)
        return error_set_errno(err, errno, "make a nameless file in '%s'",
                               directory);
    if (fstat(from, &about) < 0)
        return error_set_errno(err, errno, "stat '%s'", path);
    if ((uint64_t)about.st_size > PROBE_LENGTH)
        range.src_length = PROBE_LENGTH;
    if (fault_here("storage.probe"))
        return error_set_errno(err, errno, "try a clone in '%s'", directory);
    if (ioctl(to, FICLONERANGE, &range) == 0)
        return 1;
    return says_unable(errno)
               ? 0
               : error_set_errno(err, errno, "try a clone in '%s'", directory);
}

static int
file_capabilities(struct storage *storage, const char *locator, unsigned *ret,
                  struct error *err)
{
    AUTO_CLOSE int from = -1;
    int able = 1;

    if (locator[0] != '/')
        return 0;
    from = open_disk(locator, err);
    if (from < 0) {
        if (err->code != ERROR_UNSUPPORTED)
            return -1;
        error_clear(err); /* a block device is on another storage */
        return 0;
    }
    if (file_of(storage)->cloner == clone_by_kernel)
        able = can_share(from, locator, err);
    if (able < 0)
        return -1;
    *ret = STORAGE_CLONE;
    if (able > 0)
        *ret |= STORAGE_LIVE | STORAGE_INSTANT;
    return 0;
}

static int
file_estimate(struct storage *storage, const char *locator, int64_t most_ms,
              int64_t *ret_ms, struct error *err)
{
    AUTO_CLOSE int fd = open_disk(locator, err);
    uint64_t count = 0;

    if (fd < 0)
        return -1;
    if (file_of(storage)->counter(fd, (uint64_t)most_ms * EXTENTS_PER_MS,
                                  &count) < 0 ||
        fault_here("storage.estimate"))
        return error_set_errno(err, errno, "extents of '%s'", locator);
    *ret_ms = (int64_t)(count / EXTENTS_PER_MS);
    return 0;
}

static char *
file_snapshot_name(struct storage *storage, const char *locator,
                   const char *txid, const char *volume)
{
    AUTO_FREE char *directory = path_parent(locator);

    (void)storage;
    return xasprintf("%s/%s_%s.raw", directory, txid, volume);
}

static char *
part_name(const char *snapshot)
{
    return xasprintf("%s.part", snapshot);
}

/* -- taking them ----------------------------------------------------------- */

static void
file_txn_free(struct storage_txn *base)
{
    struct file_txn *txn = txn_of(base);

    for (size_t i = 0; i < base->count; i++) {
        free(txn->parts[i].part);
        if (txn->parts[i].from >= 0)
            (void)close(txn->parts[i].from);
        if (txn->parts[i].to >= 0)
            (void)close(txn->parts[i].to);
    }
    free(txn->parts);
    free(txn);
}

static int
prepare_disk(const struct storage_disk *disk, struct file_part *part,
             struct error *err)
{
    part->part = part_name(disk->snapshot);
    part->from = open_disk(disk->locator, err);
    if (part->from < 0 || fd_sync(part->from, disk->locator, err) < 0)
        return -1;
    if (fd_exists(disk->snapshot))
        return error_set(err, ERROR_CONFLICT, "'%s' exists already",
                         disk->snapshot);
    if (fault_here("storage.prepare"))
        return error_set_errno(err, errno, "make '%s'", part->part);
    part->to = make_file(part->part, part->from, err);
    return part->to < 0 ? -1 : 0;
}

static int
file_prepare(struct storage *storage, const struct storage_disk *disks,
             size_t count, struct storage_txn **ret, struct error *err)
{
    struct file_txn *txn = xcalloc(1, sizeof(*txn));

    txn->txn = (struct storage_txn){
        .storage = storage, .disks = disks, .count = count};
    txn->parts = xcalloc(count, sizeof(*txn->parts));
    for (size_t i = 0; i < count; i++)
        txn->parts[i] = (struct file_part){.from = -1, .to = -1};
    for (size_t i = 0; i < count; i++) {
        if (prepare_disk(&disks[i], &txn->parts[i], err) < 0) {
            file_txn_free(&txn->txn);
            return error_prefix(err, "disk '%s'", disks[i].target);
        }
    }
    *ret = &txn->txn;
    return 0;
}

static int
commit_disk(struct file_storage *storage, const struct storage_disk *disk,
            const struct file_part *part, int64_t deadline_ms,
            struct error *err)
{
    if (deadline_ms != 0 && clock_monotonic_ms() >= deadline_ms)
        return error_set(err, ERROR_TIMEOUT,
                         "disk '%s': there was no time left for its snapshot",
                         disk->target);
    if (storage->cloner(part->from, part->to) < 0 ||
        fault_here("storage.clone"))
        return error_set_errno(err, errno, "disk '%s': clone of '%s'",
                               disk->target, disk->locator);
    return 0;
}

static int
file_commit(struct storage_txn *base, int64_t deadline_ms, struct error *err)
{
    struct file_txn *txn = txn_of(base);

    for (size_t i = 0; i < base->count; i++) {
        if (commit_disk(file_of(base->storage), &base->disks[i], &txn->parts[i],
                        deadline_ms, err) < 0)
            return -1;
    }
    return 0;
}

static int
keep_disk(const struct storage_disk *disk, const struct file_part *part,
          struct error *err)
{
    if (fd_sync(part->to, part->part, err) < 0)
        return -1;
    if (fault_here("storage.sync"))
        return error_set_errno(err, errno, "flush '%s'", part->part);
    if (renameat2(AT_FDCWD, part->part, AT_FDCWD, disk->snapshot,
                  RENAME_NOREPLACE) < 0 ||
        fault_here("storage.rename"))
        return error_set_errno(err, errno, "rename '%s'", part->part);
    if (fd_sync_parent(disk->snapshot, err) < 0)
        return -1;
    if (fault_here("storage.directory"))
        return error_set_errno(err, errno, "flush the folder of '%s'",
                               disk->snapshot);
    return 0;
}

static int
file_keep(struct storage_txn *base, struct error *err)
{
    struct file_txn *txn = txn_of(base);

    for (size_t i = 0; i < base->count; i++) {
        if (keep_disk(&base->disks[i], &txn->parts[i], err) < 0)
            return error_prefix(err, "disk '%s'", base->disks[i].target);
    }
    return 0;
}

/* What is not there may be somewhere else: in a folder under a mount point
 * that nothing is mounted on, every unlink is a success. */
static int
check_is_there(const struct storage_disk *disk, struct error *err)
{
    if (fd_exists(disk->locator))
        return 0;
    return error_set(err, ERROR_UNAVAILABLE,
                     "disk '%s': '%s' is not there; is its file system "
                     "mounted?",
                     disk->target, disk->locator);
}

static int
file_undo(struct storage *storage, const struct storage_disk *disks,
          size_t count, struct error *err)
{
    (void)storage;
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *part = part_name(disks[i].snapshot);

        if (check_is_there(&disks[i], err) < 0)
            return -1;
        if (fault_here("storage.undo"))
            return error_set_errno(err, errno, "unlink '%s'", part);
        if (fd_unlink(part, err) < 0 || fd_unlink(disks[i].snapshot, err) < 0)
            return error_prefix(err, "disk '%s'", disks[i].target);
    }
    return 0;
}

/* -- afterwards ------------------------------------------------------------ */

static int
file_remove(struct storage *storage, const char *snapshot, struct error *err)
{
    (void)storage;
    if (fault_here("storage.remove"))
        return error_set_errno(err, errno, "unlink '%s'", snapshot);
    return fd_unlink(snapshot, err);
}

static bool
ends_in(const char *name, const char *end)
{
    size_t length = strlen(name);

    return length > strlen(end) &&
           strcmp(name + length - strlen(end), end) == 0;
}

static int
file_list(struct storage *storage, const char *locator, const char *volume,
          struct storage_list *ret, struct error *err)
{
    AUTO_FREE char *directory = path_parent(locator);
    AUTO_FREE char *end = xasprintf("_%s.raw", volume);
    DIR *entries = opendir(directory);

    (void)storage;
    if (entries == NULL)
        return error_set_errno(err, errno, "directory '%s'", directory);
    for (struct dirent *entry = readdir(entries); entry != NULL;
         entry = readdir(entries)) {
        if (ends_in(entry->d_name, end))
            vec_push(ret, path_join(directory, entry->d_name));
    }
    (void)closedir(entries);
    return 0;
}

/* Share the blocks, or where that cannot be, copy them. */
static int
fill(struct file_storage *storage, int from, int to, const char *path,
     struct error *err)
{
    if (storage->cloner(from, to) < 0) {
        if (!says_unable(errno))
            return error_set_errno(err, errno, "clone to '%s'", path);
        if (sparse_copy(from, to, path, err) < 0)
            return -1;
    }
    if (fault_here("storage.copy"))
        return error_set_errno(err, errno, "clone to '%s'", path);
    if (fd_sync(to, path, err) < 0)
        return -1;
    return fd_sync_parent(path, err);
}

static int
file_clone(struct storage *storage, const char *snapshot, const char *locator,
           struct error *err)
{
    AUTO_CLOSE int from = open_disk(snapshot, err);
    AUTO_CLOSE int to = from >= 0 ? make_file(locator, from, err) : -1;

    if (to < 0)
        return -1;
    if (fill(file_of(storage), from, to, locator, err) == 0)
        return 0;
    (void)unlink(locator);
    return -1;
}

/* -- life ------------------------------------------------------------------ */

static void
file_free(struct storage *storage)
{
    free(file_of(storage));
}

static const struct storage_kind kind = {
    .name = "file",
    .free = file_free,
    .capabilities = file_capabilities,
    .estimate = file_estimate,
    .snapshot_name = file_snapshot_name,
    .prepare = file_prepare,
    .commit = file_commit,
    .keep = file_keep,
    .txn_free = file_txn_free,
    .undo = file_undo,
    .remove = file_remove,
    .list = file_list,
    .clone = file_clone,
};

struct storage *
storage_file_new(void)
{
    struct file_storage *storage = xcalloc(1, sizeof(*storage));

    storage->storage.kind = &kind;
    storage->cloner = clone_by_kernel;
    storage->counter = extent_count;
    return &storage->storage;
}

void
storage_file_set_cloner(struct storage *storage, storage_file_cloner *cloner)
{
    file_of(storage)->cloner = cloner != NULL ? cloner : clone_by_kernel;
}

void
storage_file_set_counter(struct storage *storage, storage_file_counter *counter)
{
    file_of(storage)->counter = counter != NULL ? counter : extent_count;
}
