/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powercut_tree.h -- what a folder of files may hold after a power cut.
 *
 * While recording, every change below one folder is noted: names that come,
 * go and move, bytes and sizes of files that are new, syncs of files and of
 * folders.  tree_apply() then makes a copy of the folder, as it was before,
 * into what may be found when the power went at some moment:
 *
 *   - of a file, all that was written before its last sync, and of the rest
 *     any sectors;
 *   - of the names in a folder, all changes before its last sync, and of the
 *     rest any first few (a rename is whole or not at all).
 *
 * A sync of a file says nothing about its name, as POSIX has it.  Files that
 * were there before are taken as unchanged: a repository writes files once.
 *
 * Including this header replaces pwrite, ftruncate, fallocate, fsync,
 * fdatasync, rename, renameat2, link, unlink, mkdir and rmdir of the whole
 * program.
 */
#ifndef TESTS_LIB_POWERCUT_TREE_H
#define TESTS_LIB_POWERCUT_TREE_H

#include "base/lock.h"
#include "base/memory.h"
#include "base/vec.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TREE_SECTOR 512u

enum tree_kind {
    TREE_CREATE,
    TREE_WRITE,
    TREE_SIZE,
    TREE_SYNC,
    TREE_MKDIR,
    TREE_RENAME,
    TREE_LINK,
    TREE_UNLINK,
    TREE_RMDIR,
    TREE_SYNC_FOLDER
};

struct tree_event {
    enum tree_kind kind;
    char *path; /* owned; below the folder; of a folder: itself */
    char *from; /* owned; of a rename or link */
    uint64_t inode;
    uint64_t file;   /* which one of that inode: they are used again */
    uint64_t offset; /* or the size */
    uint64_t length;
    uint8_t *bytes; /* owned */
};

static struct {
    struct lock lock;
    const char *folder; /* absolute; recording while set */
    struct {
        struct tree_event *items;
        size_t count;
        size_t capacity;
    } events;
} tree = {.lock = LOCK_INIT};

/* The part behind the folder, or NULL when it lies elsewhere. */
static inline char *
tree_below(const char *path)
{
    size_t length = tree.folder != NULL ? strlen(tree.folder) : 0;

    if (length == 0 || strncmp(path, tree.folder, length) != 0 ||
        (path[length] != '/' && path[length] != '\0'))
        return NULL;
    return xstrdup(path + length);
}

/* The file of an inode; 0 when it is not known, or gone. */
static inline uint64_t
tree_file(uint64_t inode)
{
    for (size_t i = tree.events.count; i-- > 0;) {
        const struct tree_event *event = &tree.events.items[i];

        if (event->inode == inode && event->kind == TREE_CREATE)
            return event->file;
        /* The last of its names; then the inode may be another file's. */
        if (event->inode == inode && event->kind == TREE_UNLINK)
            return 0;
    }
    return 0;
}

static inline void
tree_push(struct tree_event event)
{
    vec_push(&tree.events, event);
}

/* A change of names that has happened. */
static inline void
tree_note_name(enum tree_kind kind, const char *from, const char *path,
               uint64_t gone)
{
    struct stat about = {.st_ino = 0};

    lock_take(&tree.lock);
    if (tree.folder != NULL) {
        struct tree_event event = {.kind = kind, .path = tree_below(path)};

        if (event.path != NULL) {
            (void)lstat(path, &about);
            event.inode = gone != 0 ? gone : about.st_ino;
            event.file = tree_file(event.inode);
            event.from = from != NULL ? tree_below(from) : NULL;
            tree_push(event);
        }
    }
    lock_give(&tree.lock);
}

/* A change or sync of a file or folder that is open. */
static inline void
tree_note_fd(enum tree_kind kind, int fd, uint64_t offset, uint64_t length,
             const void *bytes)
{
    struct tree_event event = {
        .kind = kind, .offset = offset, .length = length};
    char link[64];
    char path[PATH_MAX];
    struct stat about;
    ssize_t size;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path) - 1);
    if (size < 0 || fstat(fd, &about) < 0)
        return;
    path[size] = '\0';
    lock_take(&tree.lock);
    event.path = tree.folder != NULL ? tree_below(path) : NULL;
    if (event.path == NULL) {
        lock_give(&tree.lock);
        return;
    }
    event.inode = about.st_ino;
    event.file = tree_file(event.inode);
    if (S_ISDIR(about.st_mode)) {
        event.kind = TREE_SYNC_FOLDER;
    } else if (event.file == 0) {
        event.file = tree.events.count + 1;
        tree_push((struct tree_event){.kind = TREE_CREATE,
                                      .path = xstrdup(event.path),
                                      .inode = event.inode,
                                      .file = event.file});
    }
    if (bytes != NULL) {
        event.bytes = xmalloc(length);
        memcpy(event.bytes, bytes, length);
    }
    tree_push(event);
    lock_give(&tree.lock);
}

/* -- what is replaced --------------------------------------------------- */

ssize_t
pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    ssize_t put = syscall(SYS_pwrite64, fd, bytes, length, offset);

    if (put > 0)
        tree_note_fd(TREE_WRITE, fd, (uint64_t)offset, (uint64_t)put, bytes);
    return put;
}

int
ftruncate64(int fd, off64_t size)
{
    int result = (int)syscall(SYS_ftruncate, fd, size);

    if (result == 0)
        tree_note_fd(TREE_SIZE, fd, (uint64_t)size, 0, NULL);
    return result;
}

int
fsync(int fd)
{
    tree_note_fd(TREE_SYNC, fd, 0, 0, NULL);
    return 0;
}

int
fdatasync(int fd)
{
    tree_note_fd(TREE_SYNC, fd, 0, 0, NULL);
    return 0;
}

int
rename(const char *from, const char *to)
{
    int result = (int)syscall(SYS_rename, from, to);

    if (result == 0)
        tree_note_name(TREE_RENAME, from, to, 0);
    return result;
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to,
          unsigned flags)
{
    int result = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);

    if (result == 0)
        tree_note_name(TREE_RENAME, from, to, 0);
    return result;
}

int
link(const char *from, const char *to)
{
    int result = (int)syscall(SYS_link, from, to);

    if (result == 0)
        tree_note_name(TREE_LINK, from, to, 0);
    return result;
}

int
unlink(const char *path)
{
    struct stat about = {.st_nlink = 0};
    int known = lstat(path, &about);
    int result = (int)syscall(SYS_unlink, path);

    if (result == 0)
        tree_note_name(TREE_UNLINK, NULL, path,
                       known == 0 && about.st_nlink == 1 ? about.st_ino : 0);
    return result;
}

int
mkdir(const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdir, path, mode);

    if (result == 0)
        tree_note_name(TREE_MKDIR, NULL, path, 0);
    return result;
}

int
rmdir(const char *path)
{
    int result = (int)syscall(SYS_rmdir, path);

    if (result == 0)
        tree_note_name(TREE_RMDIR, NULL, path, 0);
    return result;
}

/* -- recording ---------------------------------------------------------- */

static inline void
tree_forget(void)
{
    for (size_t i = 0; i < tree.events.count; i++) {
        free(tree.events.items[i].path);
        free(tree.events.items[i].from);
        free(tree.events.items[i].bytes);
    }
    vec_release(&tree.events);
}

/* `folder` is absolute and borrowed until tree_stop(). */
static inline void
tree_start(const char *folder)
{
    tree_forget();
    tree.folder = folder;
}

static inline void
tree_stop(void)
{
    tree.folder = NULL;
}

/* -- the cut ------------------------------------------------------------ */

static inline uint64_t
tree_hash(uint64_t seed, const char *text)
{
    uint64_t hash = seed * 0x9e3779b97f4a7c15u + 0xcbf29ce484222325u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static inline char *
tree_parent(const char *path)
{
    const char *slash = strrchr(path, '/');

    return xstrndup(path, slash != NULL ? (size_t)(slash - path) : 0);
}

static inline bool
tree_is_name(const struct tree_event *event)
{
    return event->kind != TREE_WRITE && event->kind != TREE_SIZE &&
           event->kind != TREE_SYNC && event->kind != TREE_SYNC_FOLDER;
}

/* Is there a sync behind event i, and before the moment? */
static inline bool
tree_is_synced(size_t i, size_t moment)
{
    const struct tree_event *event = &tree.events.items[i];
    AUTO_FREE char *parent = tree_parent(event->path);

    for (size_t k = i + 1; k < moment; k++) {
        const struct tree_event *later = &tree.events.items[k];

        if (tree_is_name(event)
                ? later->kind == TREE_SYNC_FOLDER &&
                      strcmp(later->path, parent) == 0
                : later->kind == TREE_SYNC && later->file == event->file)
            return true;
    }
    return false;
}

/* Names of one folder get through up to some moment, chosen by the seed. */
static inline bool
tree_gets_through(size_t i, size_t moment, uint64_t seed)
{
    const struct tree_event *event = &tree.events.items[i];
    AUTO_FREE char *parent = tree_parent(event->path);

    if (tree_is_synced(i, moment))
        return true;
    if (seed == 0)
        return false;
    return i < tree_hash(seed, parent) % (moment + 1);
}

static inline bool
tree_apply_bytes(const char *file, const struct tree_event *event, bool all,
                 uint64_t seed)
{
    AUTO_CLOSE int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint64_t random = tree_hash(seed, file) + event->offset;

    if (fd < 0)
        return false;
    if (event->kind == TREE_SIZE)
        return !(all || (seed != 0 && random % 2 == 0)) ||
               syscall(SYS_ftruncate, fd, event->offset) == 0;
    for (uint64_t done = 0; done < event->length;) {
        uint64_t at = event->offset + done;
        uint64_t piece =
            MIN(TREE_SECTOR - at % TREE_SECTOR, event->length - done);

        random = random * 6364136223846793005u + 1442695040888963407u;
        if ((all || (seed != 0 && (random >> 40) % 2 == 0)) &&
            syscall(SYS_pwrite64, fd, event->bytes + done, piece, at) !=
                (long)piece)
            return false;
        done += piece;
    }
    return true;
}

/* What cannot be done (its folder never came) is left out. */
static inline void
tree_apply_name(const char *to, const char *inodes,
                const struct tree_event *event)
{
    AUTO_FREE char *path = xasprintf("%s%s", to, event->path);
    AUTO_FREE char *file =
        xasprintf("%s/%llu", inodes, (unsigned long long)event->file);
    AUTO_FREE char *from =
        xasprintf("%s%s", to, event->from != NULL ? event->from : "");

    switch (event->kind) {
    case TREE_MKDIR:
        (void)syscall(SYS_mkdir, path, 0700);
        break;
    case TREE_UNLINK:
        (void)syscall(SYS_unlink, path);
        break;
    case TREE_RMDIR:
        (void)syscall(SYS_rmdir, path);
        break;
    case TREE_RENAME:
        /* The old name may never have been there. */
        if (syscall(SYS_rename, from, path) < 0) {
            (void)syscall(SYS_unlink, path);
            (void)syscall(SYS_link, file, path);
        }
        break;
    case TREE_CREATE:
    case TREE_LINK:
        (void)syscall(SYS_link, file, path);
        break;
    case TREE_WRITE:
    case TREE_SIZE:
    case TREE_SYNC:
    case TREE_SYNC_FOLDER:
        break;
    }
}

/*
 * Make `to`, a copy of the folder as it was before recording, into what may
 * be found when the power went before the event `moment`.  `inodes` is an
 * empty folder beside it.  With seed 0 everything is lost that was not synced.
 */
static inline bool
tree_apply(const char *to, const char *inodes, size_t moment, uint64_t seed)
{
    for (size_t i = 0; i < moment; i++) {
        const struct tree_event *event = &tree.events.items[i];
        AUTO_FREE char *file =
            xasprintf("%s/%llu", inodes, (unsigned long long)event->file);

        if ((event->kind == TREE_WRITE || event->kind == TREE_SIZE ||
             event->kind == TREE_CREATE) &&
            !tree_apply_bytes(file, event, tree_is_synced(i, moment), seed))
            return false;
        if (tree_is_name(event) && tree_gets_through(i, moment, seed))
            tree_apply_name(to, inodes, event);
    }
    return true;
}

#endif
