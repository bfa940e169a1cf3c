/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h -- disks with content like a guest's, from a seed.
 *
 * A sample is cut into pieces of 4 KiB to 256 KiB: nothing, text (compresses
 * well), noise (does not), or one repeated byte.  Every test prints its seed;
 * VARVE_SEED=n runs it again with that one.
 */
#ifndef TESTS_LIB_SAMPLE_H
#define TESTS_LIB_SAMPLE_H

#include "base/parse.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sample {
    uint64_t state;
};

/* xorshift64*: small, and the same everywhere. */
static inline uint64_t
sample_next(struct sample *sample)
{
    sample->state ^= sample->state >> 12;
    sample->state ^= sample->state << 25;
    sample->state ^= sample->state >> 27;
    return sample->state * 2685821657736338717u;
}

/* Below `limit`, which is not 0. */
static inline uint64_t
sample_below(struct sample *sample, uint64_t limit)
{
    return sample_next(sample) % limit;
}

/* A fresh seed, or the one of VARVE_SEED; printed. */
static inline struct sample
sample_start(const char *what)
{
    const char *text = getenv("VARVE_SEED");
    struct error err = ERROR_INIT;
    struct timespec now;
    uint64_t seed;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
    if (text != NULL && parse_u64(text, &seed, &err) < 0)
        abort();
    seed = seed != 0 ? seed : 1;
    printf("# %s: VARVE_SEED=%llu\n", what, (unsigned long long)seed);
    return (struct sample){.state = seed};
}

static inline void
sample_fill_text(struct sample *sample, uint8_t *bytes, size_t length)
{
    static const char words[] = "the lake keeps a layer for each season and ";

    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)words[i % (sizeof(words) - 1)];
    for (size_t i = 0; i + 16 < length; i += 16 + sample_below(sample, 64))
        bytes[i] = (uint8_t)sample_next(sample);
}

static inline void
sample_fill_noise(struct sample *sample, uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(sample_next(sample) >> 32);
}

/* Write content of all kinds over `length` bytes. */
static inline void
sample_fill(struct sample *sample, uint8_t *bytes, size_t length)
{
    while (length > 0) {
        size_t part = (size_t)4096 << sample_below(sample, 7);

        part = part < length ? part : length;
        switch (sample_below(sample, 5)) {
        case 0:
        case 1:
            sample_fill_text(sample, bytes, part);
            break;
        case 2:
            sample_fill_noise(sample, bytes, part);
            break;
        case 3:
            memset(bytes, (int)sample_below(sample, 256), part);
            break;
        default:
            memset(bytes, 0, part);
            break;
        }
        bytes += part;
        length -= part;
    }
}

/* Change some places of a disk, as a guest would between two backups. */
static inline void
sample_change(struct sample *sample, uint8_t *disk, size_t size,
              unsigned places)
{
    while (places-- > 0) {
        size_t offset = sample_below(sample, size / 512) * 512;
        size_t length = (size_t)512 << sample_below(sample, 9);

        length = length < size - offset ? length : size - offset;
        sample_fill(sample, disk + offset, length);
    }
}

/* A raw file with these bytes; zeros become holes. */
static inline void
sample_store(const char *name, const uint8_t *bytes, size_t length)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)length) < 0)
        abort();
    for (size_t at = 0; at < length; at += 4096) {
        size_t part = length - at < 4096 ? length - at : 4096;
        bool zero = true;

        for (size_t i = 0; i < part && zero; i++)
            zero = bytes[at + i] == 0;
        if (!zero && pwrite(fd, bytes + at, part, (off_t)at) != (ssize_t)part)
            abort();
    }
    (void)close(fd);
}

#endif
