/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One open directory for each level, so that nothing is reached by a path
 * that somebody changes meanwhile.
 */
#include "base/rmtree.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 32

static int empty(int fd, const char *what, unsigned depth, struct error *err)
    MUST_CHECK;

static int
remove_directory(int parent, const char *name, const char *what, unsigned depth,
                 struct error *err)
{
    int fd =
        openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : error_set_errno(err, errno, "open '%s' of '%s'", name,
                                     what);
    if (empty(fd, what, depth, err) < 0)
        return -1;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return error_set_errno(err, errno, "remove '%s' of '%s'", name, what);
    return 0;
}

static int
remove_entry(int parent, const char *name, const char *what, unsigned depth,
             struct error *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return error_set_errno(err, errno, "unlink '%s' in '%s'", name, what);
    return remove_directory(parent, name, what, depth, err);
}

/* Takes over `fd`. */
static int
empty(int fd, const char *what, unsigned depth, struct error *err)
{
    DIR *entries = fdopendir(fd);
    int result = 0;

    if (entries == NULL) {
        result = error_set_errno(err, errno, "read '%s'", what);
        (void)close(fd);
        return result;
    }
    if (depth > DEPTH_MAX)
        result = error_set(err, ERROR_IO, "'%s' is too deep", what);
    for (struct dirent *entry = readdir(entries); entry != NULL && result == 0;
         entry = readdir(entries)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = remove_entry(dirfd(entries), entry->d_name, what,
                                  depth + 1, err);
    }
    (void)closedir(entries);
    return result;
}

int
rmtree(const char *path, struct error *err)
{
    if (!fd_exists(path))
        return 0;
    if (remove_directory(AT_FDCWD, path, path, 0, err) < 0)
        return -1;
    return fd_sync_parent(path, err);
}
