/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's rule, in its order:
 *
 *   1. put a shared lock on byte 100 + n for each permission n that we use,
 *      and on byte 200 + n for each that we do not grant to others;
 *   2. ask whether an exclusive lock could be had on 200 + n for each n that
 *      we use (no one forbids it), and on 100 + n for each that we do not
 *      grant (no one uses it).
 *
 * All locks that anyone holds are shared, so step 1 always succeeds; of two
 * that come together at least one sees the other in step 2.  The exclusive
 * lock of step 2 is only tested (F_OFD_GETLK), never taken.
 *
 * The sets below are what QEMU 7.2 was seen to hold (/proc/locks) for an
 * image opened for writing, and for one opened read-only or as a backing
 * file: write-unchanged is neither used nor forbidden by either.
 */
#include "image/imagelock.h"

#include "base/fault.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#define USES_BASE 100
#define FORBIDS_BASE 200

enum permission {
    CONSISTENT_READ = 0,
    WRITE = 1,
    WRITE_UNCHANGED = 2,
    RESIZE = 3,
    PERMISSIONS
};

#define BIT(n) (1u << (n))

static const struct {
    unsigned uses;
    unsigned forbids;
} modes[] = {
    [IMAGELOCK_READ] = {BIT(CONSISTENT_READ), BIT(WRITE) | BIT(RESIZE)},
    [IMAGELOCK_WRITE] = {BIT(CONSISTENT_READ) | BIT(WRITE) | BIT(RESIZE),
                         BIT(WRITE) | BIT(RESIZE)},
};

static const char *const permission_names[PERMISSIONS] = {
    "consistent read", "write", "write unchanged", "resize"};

static int
lock_byte(int fd, int command, short type, int byte, struct flock *ret_lock)
{
    *ret_lock = (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    for (;;) {
        if (fcntl(fd, command, ret_lock) == 0)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

void
imagelock_drop(int fd)
{
    struct flock lock;

    for (int n = 0; n < PERMISSIONS; n++) {
        /* Giving up a lock that is not held is no error. */
        (void)lock_byte(fd, F_OFD_SETLK, F_UNLCK, USES_BASE + n, &lock);
        (void)lock_byte(fd, F_OFD_SETLK, F_UNLCK, FORBIDS_BASE + n, &lock);
    }
}

static int
put_locks(int fd, enum imagelock_mode mode, const char *path, struct error *err)
{
    struct flock lock;

    for (int n = 0; n < PERMISSIONS; n++) {
        if ((modes[mode].uses & BIT(n)) != 0 &&
            lock_byte(fd, F_OFD_SETLK, F_RDLCK, USES_BASE + n, &lock) < 0)
            goto fail;
        if ((modes[mode].forbids & BIT(n)) != 0 &&
            lock_byte(fd, F_OFD_SETLK, F_RDLCK, FORBIDS_BASE + n, &lock) < 0)
            goto fail;
    }
    if (fault_here("imagelock.take"))
        goto fail;
    return 0;
fail:
    /* Somebody who locks exclusively is no QEMU, but is there. */
    if (errno == EAGAIN || errno == EACCES)
        return error_set(err, ERROR_BUSY, "'%s' is locked by another program",
                         path);
    return error_set_errno(err, errno, "lock '%s'", path);
}

/* 1 another holds a lock on this byte, 0 nobody does, -1 with errno. */
static int
byte_is_held(int fd, int byte)
{
    struct flock lock;

    if (lock_byte(fd, F_OFD_GETLK, F_WRLCK, byte, &lock) < 0)
        return -1;
    return lock.l_type != F_UNLCK;
}

/* 1 another forbids `mode` (which, in *ret_why), 0 nobody does, -1. */
static int
is_forbidden(int fd, enum imagelock_mode mode, const char *path,
             const char **ret_why, struct error *err)
{
    for (int n = 0; n < PERMISSIONS; n++) {
        int held = 0;

        if ((modes[mode].uses & BIT(n)) != 0)
            held = byte_is_held(fd, FORBIDS_BASE + n);
        if (held == 0 && (modes[mode].forbids & BIT(n)) != 0)
            held = byte_is_held(fd, USES_BASE + n);
        if (held < 0)
            return error_set_errno(err, errno, "ask for locks of '%s'", path);
        if (held > 0) {
            *ret_why = permission_names[n];
            return 1;
        }
    }
    return 0;
}

int
imagelock_take(int fd, enum imagelock_mode mode, const char *path,
               struct error *err)
{
    const char *why = NULL;
    int forbidden;

    if (put_locks(fd, mode, path, err) < 0) {
        imagelock_drop(fd);
        return -1;
    }
    forbidden = is_forbidden(fd, mode, path, &why, err);
    if (forbidden == 0)
        return 0;
    imagelock_drop(fd);
    if (forbidden < 0)
        return -1;
    return error_set(err, ERROR_BUSY,
                     "'%s' is in use by another program (its \"%s\" lock is "
                     "held); stop the machine that uses it",
                     path, why);
}

int
imagelock_probe(const char *path, enum imagelock_mode mode, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *why = NULL;

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    return is_forbidden(fd, mode, path, &why, err);
}
