/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namecut.h -- what a folder may hold after a power cut: which names, and
 * which files behind them.
 *
 * While recording, every rename, link and unlink of this process below one
 * folder is noted, and every fsync of a file or directory.  namecut_apply()
 * then makes a folder as it may be found when the power went at some moment:
 * names of a directory as they were at its last sync, and of what was done
 * since any part; files that were never synced are torn.
 *
 * Files are write-once here: what is in one is what it had in the end.
 * Including this header replaces rename, link, unlink and fsync of the whole
 * program; directories themselves do not come and go while recording.
 */
#ifndef TESTS_LIB_NAMECUT_H
#define TESTS_LIB_NAMECUT_H

#include "oracle.h"

#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum namecut_kind { NAMECUT_NAME, NAMECUT_GONE, NAMECUT_SYNC };

struct namecut_event {
    enum namecut_kind kind;
    char *path; /* owned; of SYNC a directory */
    char *gone; /* owned; the name that it had before, in the same directory */
    size_t file;
};

/* One file, kept by another name. */
struct namecut_file {
    ino_t inode;
    size_t synced; /* the event before which it was; SIZE_MAX: never */
};

static struct {
    char *root;  /* owned; of what is recorded */
    char *store; /* owned; where files are kept */
    bool recording;
    struct VEC(struct namecut_event) events;
    struct VEC(struct namecut_file) files;
} namecut;

static inline char *
namecut_kept(size_t file)
{
    return xasprintf("%s/%zu", namecut.store, file);
}

/* The number of a file, which is kept from now on. */
static inline size_t
namecut_file(const char *path)
{
    struct namecut_file file = {.synced = SIZE_MAX};
    AUTO_FREE char *kept = namecut_kept(namecut.files.count);
    struct stat about;

    if (lstat(path, &about) < 0)
        return SIZE_MAX;
    for (size_t i = 0; i < namecut.files.count; i++) {
        if (namecut.files.items[i].inode == about.st_ino)
            return i;
    }
    file.inode = about.st_ino;
    if (syscall(SYS_link, path, kept) < 0)
        abort();
    vec_push(&namecut.files, file);
    return namecut.files.count - 1;
}

static inline bool
namecut_is_inside(const char *path)
{
    size_t length = namecut.root != NULL ? strlen(namecut.root) : 0;

    return namecut.recording && strncmp(path, namecut.root, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

static inline void
namecut_note(enum namecut_kind kind, const char *path, const char *gone,
             size_t file)
{
    struct namecut_event event = {.kind = kind,
                                  .path = xstrdup(path),
                                  .gone = xstrdup_null(gone),
                                  .file = file};

    vec_push(&namecut.events, event);
}

int
rename(const char *from, const char *to)
{
    size_t file = namecut_is_inside(to) ? namecut_file(from) : SIZE_MAX;
    int result = (int)syscall(SYS_rename, from, to);

    if (result == 0 && file != SIZE_MAX)
        namecut_note(NAMECUT_NAME, to, from, file);
    return result;
}

int
link(const char *from, const char *to)
{
    size_t file = namecut_is_inside(to) ? namecut_file(from) : SIZE_MAX;
    int result = (int)syscall(SYS_link, from, to);

    if (result == 0 && file != SIZE_MAX)
        namecut_note(NAMECUT_NAME, to, NULL, file);
    return result;
}

int
unlink(const char *path)
{
    int result = (int)syscall(SYS_unlink, path);

    if (result == 0 && namecut_is_inside(path))
        namecut_note(NAMECUT_GONE, path, NULL, SIZE_MAX);
    return result;
}

/* A file gets its name in the record when it is first synced. */
int
fsync(int fd)
{
    char link_path[64];
    char path[4096];
    struct stat about;
    ssize_t length;

    (void)snprintf(link_path, sizeof(link_path), "/proc/self/fd/%d", fd);
    length = readlink(link_path, path, sizeof(path) - 1);
    if (length < 0 || fstat(fd, &about) < 0)
        abort();
    path[length] = '\0';
    if (namecut_is_inside(path) && S_ISDIR(about.st_mode)) {
        namecut_note(NAMECUT_SYNC, path, NULL, SIZE_MAX);
    } else if (namecut_is_inside(path)) {
        size_t count = namecut.files.count;
        size_t file = namecut_file(path);

        if (file == count)
            namecut_note(NAMECUT_NAME, path, NULL, file);
        if (namecut.files.items[file].synced == SIZE_MAX)
            namecut.files.items[file].synced = namecut.events.count;
    }
    return 0; /* the order is what is tested, not the disk */
}

static inline int
namecut_take_one(const char *path, const struct stat *about, int type,
                 struct FTW *position)
{
    (void)about;
    (void)position;
    if (type == FTW_F) {
        size_t file = namecut_file(path);

        namecut.files.items[file].synced = 0;
        namecut_note(NAMECUT_NAME, path, NULL, file);
    } else {
        namecut_note(NAMECUT_SYNC, path, NULL, SIZE_MAX);
    }
    return 0;
}

static inline void
namecut_forget(void)
{
    vec_for (struct namecut_event *, event, &namecut.events) {
        free(event->path);
        free(event->gone);
    }
    vec_release(&namecut.events);
    vec_release(&namecut.files);
    free(namecut.root);
    free(namecut.store);
    namecut.root = namecut.store = NULL;
}

/* Record what happens below `root`; `store` is an empty folder beside it.
 * Returns the number of the first event that is not what was there before. */
static inline size_t
namecut_start(const char *root, const char *store)
{
    namecut_forget();
    namecut.root = xstrdup(root);
    namecut.store = xstrdup(store);
    namecut.recording = true;
    /* Depth first: a directory is synced after all that is in it. */
    if (nftw(root, namecut_take_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
        abort();
    return namecut.events.count;
}

static inline void
namecut_stop(void)
{
    namecut.recording = false;
}

static inline uint64_t
namecut_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 20;
}

/* Is the event durable at `moment`: was its directory synced since? */
static inline bool
namecut_is_durable(size_t i, size_t moment)
{
    AUTO_FREE char *parent = path_parent(namecut.events.items[i].path);

    for (size_t k = i + 1; k < moment; k++) {
        if (namecut.events.items[k].kind == NAMECUT_SYNC &&
            strcmp(namecut.events.items[k].path, parent) == 0)
            return true;
    }
    return false;
}

/* The name below `to` that stands for one below the root. */
static inline char *
namecut_translate(const char *path, const char *to)
{
    return xasprintf("%s%s", to, path + strlen(namecut.root));
}

static inline bool
namecut_put(const struct namecut_event *event, const char *to, size_t moment)
{
    AUTO_FREE char *name = namecut_translate(event->path, to);
    AUTO_FREE char *kept = namecut_kept(event->file);
    int fd;

    (void)syscall(SYS_unlink, name);
    if (namecut.files.items[event->file].synced <= moment)
        return syscall(SYS_link, kept, name) == 0;
    fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    (void)close(fd);
    return true;
}

/*
 * Make the folder `to` (its directories are there, no files) what may be found
 * when the power went before event `moment`.
 */
static inline bool
namecut_apply(const char *to, size_t moment, uint64_t seed)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
    /* Nothing of what is not durable, all of it, or any part. */
    uint64_t mode = namecut_random(&random) % 4;

    for (size_t i = 0; i < moment; i++) {
        const struct namecut_event *event = &namecut.events.items[i];
        bool lucky = mode == 1 || (mode > 1 && namecut_random(&random) % 2);

        if (event->kind == NAMECUT_SYNC ||
            (!namecut_is_durable(i, moment) && !lucky))
            continue;
        if (event->kind == NAMECUT_NAME) {
            if (!namecut_put(event, to, moment))
                return false;
        } else {
            AUTO_FREE char *name = namecut_translate(event->path, to);

            (void)syscall(SYS_unlink, name);
        }
        if (event->gone != NULL) {
            AUTO_FREE char *name = namecut_translate(event->gone, to);

            (void)syscall(SYS_unlink, name);
        }
    }
    return true;
}

#endif
