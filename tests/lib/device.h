/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h -- compare a block device with the bytes that it should hold.
 */
#ifndef TESTS_LIB_DEVICE_H
#define TESTS_LIB_DEVICE_H

#include "base/fd.h"
#include "check.h"
#include "image/blockdev.h"
#include "oracle.h"
#include "sample.h"

#include <pthread.h>

static inline char *
device_load(const char *name, size_t *ret_size)
{
    struct error err = ERROR_INIT;
    char *bytes = NULL;

    if (fd_read_file(name, (size_t)256 << 20, &bytes, ret_size, &err) < 0) {
        printf("# %s\n", err.message);
        abort();
    }
    return bytes;
}

static inline bool
device_is_zero(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

/* One read at a random place, also past the end, also misaligned. */
static inline bool
device_reads_alike(struct blockdev *device, struct sample *sample,
                   const char *bytes, size_t size, char *buffer,
                   size_t capacity)
{
    struct error err = ERROR_INIT;
    size_t offset = sample_below(sample, size + size / 16);
    size_t length = sample_below(sample, capacity - 64) + 1;
    size_t shift = sample_below(sample, 64);
    size_t inside;

    if (sample_below(sample, 2) == 0) {
        offset &= ~(size_t)4095;
        length = MIN((length + 4095) & ~(size_t)4095, capacity - 4096);
        shift = 0;
    }
    memset(buffer, 0xa5, capacity);
    if (blockdev_read(device, buffer + shift, length, offset, &err) < 0) {
        printf("# read %zu at %zu: %s\n", length, offset, err.message);
        return false;
    }
    inside = offset < size ? MIN(length, size - offset) : 0;
    if ((inside == 0 || memcmp(buffer + shift, bytes + offset, inside) == 0) &&
        device_is_zero(buffer + shift + inside, length - inside) &&
        (unsigned char)buffer[shift + length] == 0xa5)
        return true;
    printf("# read %zu at %zu differs\n", length, offset);
    return false;
}

static inline bool
device_is_alike(struct blockdev *device, const char *bytes, size_t size,
                size_t step)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *buffer = xaligned(4096, step);

    for (size_t at = 0; at < size; at += step) {
        size_t inside = MIN(step, size - at);

        if (blockdev_read(device, buffer, step, at, &err) < 0) {
            printf("# read at %zu: %s\n", at, err.message);
            return false;
        }
        if (memcmp(buffer, bytes + at, inside) != 0 ||
            !device_is_zero(buffer + inside, step - inside)) {
            printf("# %zu bytes at %zu differ\n", step, at);
            return false;
        }
    }
    return true;
}

/* The map covers the disk without gaps, zeros are zero, data() is the same. */
static inline bool
device_map_is_true(struct blockdev *device, const char *bytes, size_t size)
{
    struct error err = ERROR_INIT;
    AUTO_EXTENTS struct extents by_map = EXTENTS_INIT;
    AUTO_EXTENTS struct extents data = EXTENTS_INIT;

    for (uint64_t at = 0; at < size;) {
        struct block_range range;

        if (blockdev_map(device, at, &range, &err) < 0) {
            printf("# map at %llu: %s\n", (unsigned long long)at, err.message);
            return false;
        }
        if (range.offset != at || range.length == 0 || range.length > size - at)
            return false;
        if (range.kind == BLOCK_ZERO &&
            !device_is_zero(bytes + at, range.length)) {
            printf("# zero range %llu + %llu is not\n", (unsigned long long)at,
                   (unsigned long long)range.length);
            return false;
        }
        if (range.kind == BLOCK_DATA)
            extents_add(&by_map, at, range.length);
        at += range.length;
    }
    if (blockdev_data(device, &data, &err) < 0) {
        printf("# data: %s\n", err.message);
        return false;
    }
    return data.count == by_map.count &&
           (data.count == 0 || memcmp(data.items, by_map.items,
                                      data.count * sizeof(*data.items)) == 0);
}

static inline void
device_check(struct blockdev *device, struct sample *sample)
{
    size_t size = 0;
    AUTO_FREE char *bytes = device_load("expected.raw", &size);
    size_t capacity = MIN((size_t)3 << 20, size + 8192);
    AUTO_FREE char *buffer = xaligned(4096, capacity);

    REQUIRE(blockdev_size(device) == size);
    CHECK(device_is_alike(device, bytes, size, (size_t)64 << 10));
    CHECK(device_is_alike(device, bytes, size, (size_t)1 << 20));
    CHECK(device_map_is_true(device, bytes, size));
    for (unsigned i = 0; i < 40; i++) {
        if (!device_reads_alike(device, sample, bytes, size, buffer,
                                capacity)) {
            CHECK(false);
            break;
        }
    }
}

/* A thread that reads and maps at random. */
struct device_racer {
    pthread_t thread;
    struct blockdev *device;
    const char *bytes;
    size_t size;
    struct sample sample;
    bool good;
};

static inline void *
device_race(void *context)
{
    struct device_racer *racer = context;
    size_t capacity = 300000;
    AUTO_FREE char *buffer = xaligned(4096, capacity);

    racer->good = true;
    for (unsigned i = 0; i < 150 && racer->good; i++) {
        struct error err = ERROR_INIT;
        struct block_range range;

        racer->good =
            device_reads_alike(racer->device, &racer->sample, racer->bytes,
                               racer->size, buffer, capacity) &&
            blockdev_map(racer->device,
                         sample_below(&racer->sample, racer->size), &range,
                         &err) == 0;
    }
    return NULL;
}

/* Several threads at once; all must read what `bytes` says. */
static inline void
device_check_threads(struct blockdev *device, struct sample *sample,
                     const char *bytes, size_t size)
{
    struct device_racer racers[5];

    for (size_t t = 0; t < ARRAY_SIZE(racers); t++) {
        racers[t] =
            (struct device_racer){.device = device,
                                  .bytes = bytes,
                                  .size = size,
                                  .sample = {.state = sample_next(sample) | 1}};
        if (pthread_create(&racers[t].thread, NULL, device_race, &racers[t]) !=
            0)
            abort();
    }
    for (size_t t = 0; t < ARRAY_SIZE(racers); t++) {
        (void)pthread_join(racers[t].thread, NULL);
        CHECK(racers[t].good);
    }
}

#endif
