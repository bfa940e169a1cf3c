/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flavour.h -- chains made by QEMU in every flavour of the format, for tests
 * of readers.
 *
 * A chain is base <- middle <- top in the current directory, with random
 * writes, zero writes, discards and (where the flavour says so) compressed
 * writes into each.  "expected.raw" is what qemu-img reads through it.
 */
#ifndef TESTS_LIB_FLAVOUR_H
#define TESTS_LIB_FLAVOUR_H

#include "image/blockdev.h"
#include "oracle.h"
#include "sample.h"

struct flavour {
    const char *name;
    const char *options; /* of the qcow2 files, for qemu-img create -o */
    size_t cluster;
    bool raw_base;
    bool compressed;
    const char *base_options; /* further ones, for the base alone */
    bool snapshot;            /* an internal one, in middle and top */
    int top_clusters;         /* that the top is larger (smaller) by */
};

static const struct flavour flavours[] = {
    {"v3 64K", "compat=1.1", 65536, .compressed = true},
    {"v2 64K", "compat=0.10", 65536, .compressed = true},
    {"512", "cluster_size=512", 512, .compressed = true},
    {"v2 512 raw", "compat=0.10,cluster_size=512", 512, .raw_base = true},
    {"4K zstd", "cluster_size=4K,compression_type=zstd", 4096,
     .compressed = true},
    {"64K zstd", "compression_type=zstd", 65536, .compressed = true,
     .raw_base = true},
    {"2M zstd", "cluster_size=2M,compression_type=zstd", 2097152,
     .compressed = true},
    {"1M", "cluster_size=1M", 1048576, .compressed = true},
    {"16K extended", "extended_l2=on,cluster_size=16K", 16384,
     .compressed = true},
    {"128K extended", "extended_l2=on,cluster_size=128K", 131072,
     .raw_base = true},
    {"lazy", "lazy_refcounts=on", .cluster = 65536},
    {"metadata", "compat=1.1", 65536,
     .base_options = ",preallocation=metadata"},
    {"falloc extended", "extended_l2=on", 65536,
     .base_options = ",preallocation=falloc"},
    {"snapshots", "compat=1.1", 65536, .snapshot = true, .compressed = true},
    {"grown", "compat=1.1", 65536, .top_clusters = 7},
    {"shrunk", "cluster_size=4K", 4096, .top_clusters = -9},
    {"grown raw", "extended_l2=on", 65536, .raw_base = true, .top_clusters = 5},
    {"refcount 1", "refcount_bits=1", .cluster = 65536},
    {"refcount 64", "refcount_bits=64", .cluster = 65536},
};

/*
 * Number `index` of `count` compressed writes of one cluster each; QEMU
 * refuses to do it twice in one place.
 */
static inline char *
flavour_compressed(const struct flavour *flavour, struct sample *sample,
                   uint64_t size, size_t index, size_t count)
{
    uint64_t share = size / flavour->cluster / count;
    uint64_t cluster = index * share + sample_below(sample, share);

    return xasprintf("write -c -P %u %llu %llu",
                     (unsigned)sample_below(sample, 255) + 1,
                     (unsigned long long)(cluster * flavour->cluster),
                     (unsigned long long)flavour->cluster);
}

/* One random command for qemu-io. */
static inline char *
flavour_command(const struct flavour *flavour, struct sample *sample,
                uint64_t size)
{
    static const char *const commands[] = {"write -z", "write -z -u",
                                           "discard"};
    uint64_t cluster = flavour->cluster;
    uint64_t offset = sample_below(sample, size / 512) * 512;
    uint64_t length = (sample_below(sample, 3 * cluster / 512) + 1) * 512;
    size_t kind = sample_below(sample, 8);

    if (sample_below(sample, 3) == 0) {
        offset -= offset % cluster;
        length = (sample_below(sample, 3) + 1) * cluster;
    }
    length = length < size - offset ? length : size - offset;
    if (kind < ARRAY_SIZE(commands))
        return xasprintf("%s %llu %llu", commands[kind],
                         (unsigned long long)offset,
                         (unsigned long long)length);
    return xasprintf("write -P %u %llu %llu",
                     (unsigned)sample_below(sample, 255) + 1,
                     (unsigned long long)offset, (unsigned long long)length);
}

/* Change one image by `count` random commands, the first ones compressed. */
static inline bool
flavour_scribble(const struct flavour *flavour, struct sample *sample,
                 const char *name, const char *format, uint64_t size,
                 size_t compressed, size_t count)
{
    const char *argv[2 * 64 + 10] = {"qemu-io", "-t", "unsafe", "-d",
                                     "unmap",   "-f", format};
    char *commands[64];
    size_t args = 7;
    bool good;

    if (!flavour->compressed || strcmp(format, "raw") == 0)
        compressed = 0;
    if (compressed > size / flavour->cluster)
        compressed = size / flavour->cluster;
    for (size_t i = 0; i < count && i < 64; i++) {
        commands[i] = i < compressed ? flavour_compressed(flavour, sample, size,
                                                          i, compressed)
                                     : flavour_command(flavour, sample, size);
        argv[args++] = "-c";
        argv[args++] = commands[i];
    }
    argv[args++] = name;
    argv[args] = NULL;
    good = oracle_run(argv, NULL, false);
    for (size_t i = 0; i < count && i < 64; i++)
        free(commands[i]);
    return good;
}

/* Make the three files and expected.raw. */
static inline bool
flavour_make(const struct flavour *flavour, struct sample *sample)
{
    uint64_t cluster = flavour->cluster;
    uint64_t clusters = cluster >= 1048576 ? 9 : cluster <= 512 ? 600 : 70;
    uint64_t size = clusters * cluster + 512 * sample_below(sample, 3);
    uint64_t top = size + (uint64_t)flavour->top_clusters * cluster;
    const char *base_format = flavour->raw_base ? "raw" : "qcow2";
    AUTO_FREE char *size_text = xasprintf("%llu", (unsigned long long)size);
    AUTO_FREE char *top_text = xasprintf("%llu", (unsigned long long)top);
    AUTO_FREE char *base_options =
        xasprintf("%s%s", flavour->options,
                  flavour->base_options != NULL ? flavour->base_options : "");
    bool good;

    good = flavour->raw_base ? oracle("qemu-img", "create", "-q", "-f", "raw",
                                      "base", size_text)
                             : oracle("qemu-img", "create", "-q", "-f", "qcow2",
                                      "-o", base_options, "base", size_text);
    good =
        good &&
        flavour_scribble(flavour, sample, "base", base_format, size, 16, 40) &&
        oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
               flavour->options, "-b", "base", "-F", base_format, "middle",
               size_text) &&
        flavour_scribble(flavour, sample, "middle", "qcow2", size, 10, 25);
    if (good && flavour->snapshot)
        good = oracle("qemu-img", "snapshot", "-c", "one", "middle") &&
               flavour_scribble(flavour, sample, "middle", "qcow2", size, 0, 9);
    good = good && oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                          flavour->options, "-b", "middle", "-F", "qcow2",
                          "top", top_text);
    good =
        good && flavour_scribble(flavour, sample, "top", "qcow2", top, 6, 15);
    if (good && flavour->snapshot)
        good = oracle("qemu-img", "snapshot", "-c", "two", "top") &&
               flavour_scribble(flavour, sample, "top", "qcow2", top, 0, 9);
    return good && oracle("qemu-img", "convert", "-t", "unsafe", "-f", "qcow2",
                          "-O", "raw", "top", "expected.raw");
}

static inline void
flavour_remove(void)
{
    (void)unlink("base");
    (void)unlink("middle");
    (void)unlink("top");
    (void)unlink("expected.raw");
}

#endif
