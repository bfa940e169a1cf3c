/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack.h -- random stacks of two to six layers with small clusters, made by
 * QEMU's tools from a seed; and what they read as, by QEMU's word.
 *
 * The files "layer0" (the last) to "layer5" lie in the current directory.
 */
#ifndef TESTS_LIB_STACK_H
#define TESTS_LIB_STACK_H

#include "images.h"

#include "base/fd.h"

#define STACK_MAX 6u
#define STACK_WRITES 48u

struct stack {
    struct image_random random;
    struct image_made made[STACK_MAX]; /* top first, as all below */
    char *paths[STACK_MAX];            /* owned */
    struct image_ref refs[STACK_MAX];
    size_t count;
    uint64_t clusters; /* of all layers */
    uint8_t *expected; /* owned; what the top reads as */
    size_t size;
};

static inline void
stack_choose(struct stack *stack, struct image_made *made, uint64_t scale)
{
    static const uint64_t clusters[] = {512,  512,  512,   1024, 2048,
                                        4096, 4096, 16384, 65536};
    struct image_random *random = &stack->random;

    made->format = IMAGE_QCOW2;
    made->cluster = clusters[image_random(random, ARRAY_SIZE(clusters))];
    made->v2 = image_random(random, 4) == 0;
    made->extended = !made->v2 && made->cluster >= 16384;
    (void)snprintf(made->options, sizeof(made->options),
                   "cluster_size=%" PRIu64 ",compat=%s,extended_l2=%s,"
                   "compression_type=%s,refcount_bits=%u",
                   made->cluster, made->v2 ? "0.10" : "1.1",
                   made->extended ? "on" : "off",
                   !made->v2 && image_random(random, 2) == 0 ? "zstd" : "zlib",
                   made->v2 || image_random(random, 3) > 0 ? 16 : 64);
    made->size = scale + image_random(random, scale / 512) * 512;
}

/* Mostly a few sectors, now and then a stretch. */
static inline void
stack_write(struct image_random *random, uint64_t size, struct strbuf *command)
{
    uint64_t units = size / 512;
    uint64_t from = image_random(random, units);
    uint64_t limit = image_random(random, 6) == 0 ? 1 + units / 12 : 48;
    uint64_t length = 1 + image_random(random, MIN(units - from, limit));

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
        strbuf_addf(command, "write -P %u",
                    1 + (unsigned)image_random(random, 250));
    }
    strbuf_addf(command, " %" PRIu64 " %" PRIu64, from * 512, length * 512);
}

static inline bool
stack_fill(struct image_random *random, const struct image_made *made,
           const char *name)
{
    const char *argv[8 + 2 * STACK_WRITES] = {"qemu-io", "-d", "unmap", "-f",
                                              image_format_name(made->format)};
    char *commands[STACK_WRITES];
    unsigned count = 0;
    size_t argc = 5;
    bool good;

    if (made->format == IMAGE_QCOW2 && image_random(random, 2) == 0)
        image_compressed_writes(random, made, commands, &count);
    while (count < STACK_WRITES) {
        struct strbuf command = STRBUF_INIT;

        stack_write(random, made->size, &command);
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
stack_make_layer(struct stack *stack, size_t i, uint64_t scale)
{
    struct image_made *made = &stack->made[i];
    bool last = i + 1 == stack->count;
    char size[32];

    stack_choose(stack, made, scale);
    if (!last && image_random(&stack->random, 2) == 0)
        made->size = stack->made[i + 1].size;
    if (last && image_random(&stack->random, 4) == 0)
        made->format = IMAGE_RAW;
    stack->refs[i] =
        (struct image_ref){.path = stack->paths[i], .format = made->format};
    stack->clusters += made->size / made->cluster;
    (void)snprintf(size, sizeof(size), "%" PRIu64, made->size);
    (void)unlink(stack->paths[i]);
    if (made->format == IMAGE_RAW) {
        if (!oracle("qemu-img", "create", "-q", "-f", "raw", stack->paths[i],
                    size))
            return false;
    } else if (last) {
        if (!oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    made->options, stack->paths[i], size))
            return false;
    } else if (!oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                       made->options, "-b", stack->paths[i + 1], "-F",
                       image_format_name(stack->made[i + 1].format),
                       stack->paths[i], size)) {
        return false;
    }
    return stack_fill(&stack->random, made, stack->paths[i]);
}

/* Disks have `scale` to twice as many bytes. */
static inline bool
stack_make(struct stack *stack, const struct scratch *scratch, uint64_t seed,
           uint64_t scale)
{
    struct error err = ERROR_INIT;
    char *bytes = NULL;

    *stack = (struct stack){.random = {seed * 0x9e3779b97f4a7c15u + 1}};
    for (unsigned i = 0; i < 8; i++)
        (void)image_random(&stack->random, 2);
    stack->count = 2 + image_random(&stack->random, STACK_MAX - 1);
    for (size_t i = 0; i < stack->count; i++)
        stack->paths[i] =
            xasprintf("%s/layer%zu", scratch->path, stack->count - 1 - i);
    for (size_t i = stack->count; i-- > 0;) {
        if (!stack_make_layer(stack, i, scale))
            return false;
    }
    if (!image_flatten(stack->paths[0], IMAGE_QCOW2, "expected") ||
        fd_read_file("expected", (size_t)1 << 30, &bytes, &stack->size, &err) <
            0)
        return false;
    stack->expected = (uint8_t *)bytes;
    return true;
}

static inline void
stack_release(struct stack *stack)
{
    for (size_t i = 0; i < STACK_MAX; i++)
        free(stack->paths[i]);
    free(stack->expected);
}

/* Forget the layer refs[i], which is merged. */
static inline void
stack_drop(struct stack *stack, size_t i)
{
    char *path = stack->paths[i];

    (void)unlink(path);
    for (; i + 1 < stack->count; i++) {
        stack->paths[i] = stack->paths[i + 1];
        stack->refs[i] = stack->refs[i + 1];
        stack->made[i] = stack->made[i + 1];
    }
    stack->paths[i] = NULL;
    stack->count--;
    free(path);
}

static inline void
stack_print(const struct stack *stack, uint64_t seed)
{
    printf("# seed %" PRIu64 "\n", seed);
    for (size_t i = 0; i < stack->count; i++)
        printf("# %s: %s, %" PRIu64 " bytes, %s\n", stack->refs[i].path,
               image_format_name(stack->refs[i].format), stack->made[i].size,
               stack->made[i].options);
}

/* Our reader's word about a chain. */
static inline bool
stack_reads(const struct stack *stack, const struct image_ref *refs,
            size_t count)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(refs, count, 0, &err);
    AUTO_FREE uint8_t *bytes = xmalloc(stack->size);

    if (device == NULL || blockdev_size(device) != stack->size ||
        blockdev_read(device, bytes, stack->size, 0, &err) < 0) {
        printf("# '%s': %s\n", refs[0].path, err.message);
        return false;
    }
    return memcmp(bytes, stack->expected, stack->size) == 0;
}

#endif
