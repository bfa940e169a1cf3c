/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.h -- random chains of images, made by QEMU's tools in every flavour
 * that they have, from a seed.
 *
 * The files lie in the current directory: "below" (sometimes), "base", "top".
 */
#ifndef TESTS_LIB_IMAGES_H
#define TESTS_LIB_IMAGES_H

#include "oracle.h"

#include "base/strbuf.h"
#include "image/blockdev.h"
#include "image/qcow2.h"

#include <inttypes.h>
#include <string.h>

struct image_random {
    uint64_t state;
};

static inline uint64_t
image_random(struct image_random *random, uint64_t below)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return (random->state >> 11) % below;
}

/* One image as it was made. */
struct image_made {
    bool present;
    enum image_format format;
    bool v2;
    bool extended;
    uint64_t size;
    uint64_t cluster;
    char options[160];
};

/* top, base, below; as blockdev_open_chain() wants them. */
struct image_chain {
    struct image_made made[3];
    char *paths[3];
    struct image_ref refs[3];
    size_t count;
};

static const char *const image_chain_names[3] = {"top", "base", "below"};

static inline void
image_choose_flavour(struct image_random *random, struct image_made *made)
{
    static const uint64_t clusters[] = {512, 4096, 65536, 65536, 2097152};
    static const unsigned refcounts[] = {1, 2, 4, 8, 16, 16, 16, 32, 64};

    made->format = IMAGE_QCOW2;
    made->cluster = clusters[image_random(random, ARRAY_SIZE(clusters))];
    made->v2 = image_random(random, 5) == 0;
    made->extended =
        !made->v2 && made->cluster >= 16384 && image_random(random, 3) == 0;
    (void)snprintf(
        made->options, sizeof(made->options),
        "cluster_size=%" PRIu64 ",compat=%s,extended_l2=%s,refcount_bits=%u,"
        "compression_type=%s,lazy_refcounts=%s",
        made->cluster, made->v2 ? "0.10" : "1.1", made->extended ? "on" : "off",
        made->v2 ? 16 : refcounts[image_random(random, ARRAY_SIZE(refcounts))],
        !made->v2 && image_random(random, 2) == 0 ? "zstd" : "zlib",
        !made->v2 && image_random(random, 4) == 0 ? "on" : "off");
}

static inline uint64_t
image_choose_size(struct image_random *random)
{
    uint64_t size = (1 + image_random(random, 8)) << 20;

    if (image_random(random, 3) == 0)
        size += image_random(random, 2048) * 512;
    return size;
}

/* One write of random kind as a command of qemu-io. */
static inline void
image_random_write(struct image_random *random, const struct image_made *made,
                   struct strbuf *command)
{
    uint64_t units = made->size / 512;
    uint64_t from = image_random(random, units);
    uint64_t limit = (uint64_t)1 << (4 + image_random(random, 9));
    uint64_t length = 1 + image_random(random, MIN(units - from, limit));
    unsigned pattern = 1 + (unsigned)image_random(random, 250);

    switch (image_random(random, 8)) {
    case 0:
        strbuf_adds(command, "discard");
        break;
    case 1:
        strbuf_adds(command, "write -z -u");
        break;
    case 2:
        strbuf_adds(command, "write -z");
        break;
    default:
        strbuf_addf(command, "write -P %u", pattern);
    }
    strbuf_addf(command, " %" PRIu64 " %" PRIu64, from * 512, length * 512);
}

/* Compressed clusters can only be written where nothing is yet. */
static inline void
image_compressed_writes(struct image_random *random,
                        const struct image_made *made, char *commands[],
                        unsigned *count)
{
    uint64_t clusters = made->size / made->cluster;
    uint64_t next = image_random(random, 4);

    for (unsigned i = 0; i < 3 && next < clusters; i++) {
        uint64_t length = MIN(clusters - next, 1 + image_random(random, 3));

        commands[(*count)++] =
            xasprintf("write -c -P %u %" PRIu64 " %" PRIu64,
                      1 + (unsigned)image_random(random, 250),
                      next * made->cluster, length * made->cluster);
        next += length + image_random(random, clusters);
    }
}

#define IMAGE_WRITES_MAX 32

static inline bool
image_fill(struct image_random *random, const struct image_made *made,
           const char *name, unsigned writes)
{
    const char *argv[8 + 2 * IMAGE_WRITES_MAX] = {
        "qemu-io", "-d", "unmap", "-f", image_format_name(made->format)};
    char *commands[IMAGE_WRITES_MAX];
    unsigned count = 0;
    size_t argc = 5;
    bool good;

    if (made->format == IMAGE_QCOW2 && image_random(random, 2) == 0)
        image_compressed_writes(random, made, commands, &count);
    while (count < writes && count < IMAGE_WRITES_MAX) {
        struct strbuf command = STRBUF_INIT;

        image_random_write(random, made, &command);
        commands[count++] = strbuf_take(&command);
    }
    for (unsigned i = 0; i < count; i++) {
        argv[argc++] = "-c";
        argv[argc++] = commands[i];
    }
    argv[argc++] = name;
    argv[argc] = NULL;
    good = oracle_run(argv, NULL, false);
    for (unsigned i = 0; i < count; i++)
        free(commands[i]);
    return good;
}

static inline bool
image_make(struct image_random *random, const struct image_made *made,
           const char *name, const char *backing,
           const struct image_made *backing_made)
{
    char size[32];
    const char *format = image_format_name(made->format);

    (void)unlink(name);
    (void)snprintf(size, sizeof(size), "%" PRIu64, made->size);
    if (made->format == IMAGE_RAW) {
        if (!oracle("qemu-img", "create", "-q", "-f", "raw", name, size))
            return false;
    } else if (backing == NULL) {
        if (!oracle("qemu-img", "create", "-q", "-f", format, "-o",
                    made->options, name, size))
            return false;
    } else if (!oracle("qemu-img", "create", "-q", "-f", format, "-o",
                       made->options, "-b", backing, "-F",
                       image_format_name(backing_made->format), name, size)) {
        return false;
    }
    return image_fill(random, made, name,
                      1 + (unsigned)image_random(random, 16));
}

/* Make a chain of two or three images; the base may be raw. */
static inline bool
image_chain_make(struct image_chain *chain, uint64_t seed)
{
    struct image_random random = {seed * 0x9e3779b97f4a7c15u + 1};
    struct image_made *top = &chain->made[0];
    struct image_made *base = &chain->made[1];
    struct image_made *below = &chain->made[2];

    memset(chain->made, 0, sizeof(chain->made));
    for (unsigned i = 0; i < 8; i++)
        (void)image_random(&random, 2);
    image_choose_flavour(&random, top);
    image_choose_flavour(&random, base);
    image_choose_flavour(&random, below);
    base->size = image_choose_size(&random);
    top->size =
        image_random(&random, 2) == 0 ? base->size : image_choose_size(&random);
    below->size =
        image_random(&random, 2) == 0 ? base->size : image_choose_size(&random);
    below->present = image_random(&random, 2) == 0;
    if (image_random(&random, 3) == 0)
        below->format = IMAGE_RAW;
    if (!below->present && image_random(&random, 4) == 0)
        base->format = IMAGE_RAW;
    chain->count = below->present ? 3 : 2;
    for (size_t i = 0; i < chain->count; i++)
        chain->refs[i].format = chain->made[i].format;
    if (below->present && !image_make(&random, below, "below", NULL, NULL))
        return false;
    return image_make(&random, base, "base", below->present ? "below" : NULL,
                      below) &&
           image_make(&random, top, "top", "base", base);
}

static inline void
image_chain_init(struct image_chain *chain, const struct scratch *scratch)
{
    *chain = (struct image_chain){.count = 0};
    for (size_t i = 0; i < 3; i++) {
        chain->paths[i] = scratch_file(scratch, image_chain_names[i]);
        chain->refs[i].path = chain->paths[i];
    }
}

static inline void
image_chain_release(struct image_chain *chain)
{
    for (size_t i = 0; i < 3; i++)
        free(chain->paths[i]);
}

/* What the chain reads as, by QEMU's word. */
static inline bool
image_flatten(const char *name, enum image_format format, const char *raw)
{
    return oracle("qemu-img", "convert", "-q", "-f", image_format_name(format),
                  "-O", "raw", name, raw);
}

static inline bool
image_is_same(const char *name, enum image_format format, const char *raw)
{
    return oracle("qemu-img", "compare", "-q", "-f", image_format_name(format),
                  "-F", "raw", name, raw);
}

/* `qemu-img check`: 0 all is well, 3 clusters are leaked, else damaged. */
static inline int
image_check(const char *name)
{
    const char *const argv[] = {"qemu-img", "check", "-q", "-f",
                                "qcow2",    name,    NULL};
    struct error err = ERROR_INIT;

    if (spawn_run(argv, 60000, NULL, &err) == 0)
        return 0;
    if (strstr(err.message, "status 3:") != NULL)
        return 3;
    printf("# check '%s': %s\n", name, err.message);
    return -1;
}

#endif
