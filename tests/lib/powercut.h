/* SPDX-License-Identifier: Apache-2.0 */
/*
 * powercut.h -- what a disk may hold after a power cut.
 *
 * While recording, every write of this process to one file is noted, with the
 * syncs between.  powercut_apply() then makes a file as it may be found when
 * the power went at some moment: all that was synced before, and of the rest
 * any part, sector by sector.
 *
 * Including this header replaces pwrite, ftruncate, fallocate and fdatasync
 * of the whole program; fdatasync only notes (the order is what is tested,
 * not the disk).
 */
#ifndef TESTS_LIB_POWERCUT_H
#define TESTS_LIB_POWERCUT_H

#include "base/lock.h"
#include "base/memory.h"
#include "base/vec.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POWERCUT_SECTOR 512u

enum powercut_kind {
    POWERCUT_WRITE,
    POWERCUT_SIZE,
    POWERCUT_PUNCH,
    POWERCUT_SYNC
};

struct powercut_event {
    enum powercut_kind kind;
    uint64_t offset;
    uint64_t length;
    uint8_t *bytes; /* owned; of a write */
};

static struct {
    struct lock lock;
    void (*hook)(void); /* called after each step, before it is noted */
    bool recording;
    struct {
        struct powercut_event *items;
        size_t count;
        size_t capacity;
    } events;
} powercut = {.lock = LOCK_INIT};

static inline void
powercut_note(enum powercut_kind kind, uint64_t offset, uint64_t length,
              const void *bytes)
{
    struct powercut_event event = {
        .kind = kind, .offset = offset, .length = length};

    if (powercut.hook != NULL)
        powercut.hook();
    lock_take(&powercut.lock);
    if (powercut.recording) {
        if (bytes != NULL) {
            event.bytes = xmalloc(length);
            memcpy(event.bytes, bytes, length);
        }
        vec_push(&powercut.events, event);
    }
    lock_give(&powercut.lock);
}

ssize_t
pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    ssize_t put = syscall(SYS_pwrite64, fd, bytes, length, offset);

    if (put > 0)
        powercut_note(POWERCUT_WRITE, (uint64_t)offset, (uint64_t)put, bytes);
    return put;
}

int
ftruncate64(int fd, off64_t size)
{
    powercut_note(POWERCUT_SIZE, (uint64_t)size, 0, NULL);
    return (int)syscall(SYS_ftruncate, fd, size);
}

int
fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    if (mode & FALLOC_FL_PUNCH_HOLE)
        powercut_note(POWERCUT_PUNCH, (uint64_t)offset, (uint64_t)length, NULL);
    else
        powercut_note(POWERCUT_SIZE, (uint64_t)(offset + length), 0, NULL);
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

int
fdatasync(int fd)
{
    (void)fd;
    powercut_note(POWERCUT_SYNC, 0, 0, NULL);
    return 0;
}

static inline void
powercut_forget(void)
{
    for (size_t i = 0; i < powercut.events.count; i++)
        free(powercut.events.items[i].bytes);
    vec_release(&powercut.events);
}

static inline void
powercut_start(void)
{
    powercut_forget();
    powercut.recording = true;
}

static inline void
powercut_stop(void)
{
    powercut.recording = false;
}

static inline uint64_t
powercut_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 20;
}

/* Write some of the sectors of one event; `all`: every one. */
static inline bool
powercut_apply_write(int fd, const struct powercut_event *event, bool all,
                     uint64_t *random)
{
    for (uint64_t done = 0; done < event->length;) {
        uint64_t at = event->offset + done;
        uint64_t piece = POWERCUT_SECTOR - at % POWERCUT_SECTOR;

        piece = MIN(piece, event->length - done);
        if ((all || powercut_random(random) % 2 == 0) &&
            syscall(SYS_pwrite64, fd, event->bytes + done, piece, at) !=
                (long)piece)
            return false;
        done += piece;
    }
    return true;
}

static inline bool
powercut_apply_one(int fd, const struct powercut_event *event, bool all,
                   uint64_t *random)
{
    struct stat about;
    /* Whole, not at all, or in part. */
    uint64_t luck = powercut_random(random) % 3;

    if (!all && luck == 0)
        return true;
    switch (event->kind) {
    case POWERCUT_WRITE:
        return powercut_apply_write(fd, event, all || luck == 1, random);
    case POWERCUT_SIZE:
        /* Shrinking behind a write that got through would undo it. */
        if (fstat(fd, &about) < 0 ||
            (!all && (uint64_t)about.st_size > event->offset))
            return true;
        return syscall(SYS_ftruncate, fd, event->offset) == 0;
    case POWERCUT_PUNCH:
        return syscall(SYS_fallocate, fd,
                       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       event->offset, event->length) == 0;
    case POWERCUT_SYNC:
        return true;
    }
    return false;
}

/*
 * Turn the file, as it was before recording, into what may be found when the
 * power went before the event `moment`.
 */
static inline bool
powercut_apply(int fd, size_t moment, uint64_t seed)
{
    size_t synced = 0;
    uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < moment; i++) {
        if (powercut.events.items[i].kind == POWERCUT_SYNC)
            synced = i;
    }
    for (size_t i = 0; i < moment; i++) {
        if (!powercut_apply_one(fd, &powercut.events.items[i], i < synced,
                                &random))
            return false;
    }
    return true;
}

/* True for a write into the header, and for the last event before a sync. */
static inline bool
powercut_is_worst(size_t i)
{
    const struct powercut_event *event = &powercut.events.items[i];

    if (event->kind == POWERCUT_SYNC)
        return false;
    return (event->kind == POWERCUT_WRITE && event->offset < 512) ||
           i + 1 == powercut.events.count ||
           powercut.events.items[i + 1].kind == POWERCUT_SYNC;
}

#endif
