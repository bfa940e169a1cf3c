/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "density.h"
#include "images.h"
#include "oracle.h"
#include "sample.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/copy.h"
#include "image/fold.h"
#include "image/qcow2.h"

#include <sys/stat.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#define DEPTH_MAX 6u

static struct scratch scratch;

static const char *const uuids[] = {
    "00000000-0000-4000-8000-000000000000",
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000004",
    "00000000-0000-4000-8000-000000000005",
};

/* -- chains made by our own writer ---------------------------------------- */

/* Layers "l0" (the lowest) to "l<depth - 1>", and what they read as. */
struct stack {
    struct sample *sample;
    char *paths[DEPTH_MAX]; /* owned */
    size_t depth;
    uint8_t *disk; /* owned; of the top, `room` bytes */
    size_t room;
    uint64_t size;
    uint64_t clusters; /* of all layers */
};

static void
stack_release(struct stack *stack)
{
    for (size_t i = 0; i < stack->depth; i++) {
        CHECK(unlink(stack->paths[i]) == 0);
        free(stack->paths[i]);
    }
    free(stack->disk);
}

/* The chain as it is opened, top first; `top` instead of the first `skip`. */
static size_t
stack_refs(const struct stack *stack, const char *top, size_t skip,
           struct image_ref refs[DEPTH_MAX + 1])
{
    size_t count = 0;

    if (top != NULL)
        refs[count++] = (struct image_ref){top, IMAGE_QCOW2};
    for (size_t i = stack->depth - skip; i-- > 0;)
        refs[count++] = (struct image_ref){stack->paths[i], IMAGE_QCOW2};
    return count;
}

/* One more layer: clusters that are left, zeroed, or written. */
static bool
stack_push(struct stack *stack, const struct qcow2_writer_options *options,
           unsigned written_percent)
{
    char name[] = {'l', (char)('0' + stack->depth), '\0'};
    char below[] = {'l', (char)('0' + stack->depth - 1), '\0'};
    struct qcow2_writer_options how = *options;
    struct error err = ERROR_INIT;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer = NULL;
    size_t cluster = (size_t)1 << how.cluster_bits;

    how.backing_name = stack->depth > 0 ? below : NULL;
    how.backing_format = IMAGE_QCOW2;
    /* What a longer layer below holds behind a shorter one is not seen. */
    if (how.size < stack->size)
        memset(stack->disk + how.size, 0, stack->size - how.size);
    stack->paths[stack->depth++] = scratch_file(&scratch, name);
    writer = qcow2_writer_new(name, &how, &err);
    if (writer == NULL)
        return false;
    for (uint64_t at = 0; at < how.size; at += cluster) {
        size_t part = MIN(cluster, how.size - at);
        uint64_t luck = sample_below(stack->sample, 100);

        if (luck < 10) {
            memset(stack->disk + at, 0, part);
            if (qcow2_writer_zero(writer, at, part, &err) < 0)
                return false;
        } else if (luck < 10 + written_percent) {
            if (sample_below(stack->sample, 3) == 0)
                sample_fill_noise(stack->sample, stack->disk + at, part);
            else
                sample_fill_text(stack->sample, stack->disk + at, part);
            if (qcow2_writer_write(writer, stack->disk + at, at, part, &err) <
                0)
                return false;
        }
        stack->clusters++;
    }
    stack->size = how.size;
    return qcow2_writer_finish(writer, NULL, &err) == 0;
}

static bool
is_sound(const char *name)
{
    AUTO_FREE char *said =
        oracle_output("qemu-img", "check", "-f", "qcow2", name);
    bool sound = said != NULL && strstr(said, "No errors were found") != NULL;

    if (!sound)
        printf("# %s: %s\n", name, said != NULL ? said : "refused");
    return sound;
}

/* The result over what lies under the part reads as the model. */
static bool
reads_as(const struct stack *stack, const char *result, size_t folded)
{
    struct image_ref refs[DEPTH_MAX + 1];
    size_t count = stack_refs(stack, result, folded, refs);
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(refs, count, 0, &err);
    AUTO_FREE uint8_t *bytes = xmalloc(stack->size + 1);

    if (device == NULL ||
        blockdev_read(device, bytes, stack->size, 0, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    return blockdev_size(device) == stack->size &&
           memcmp(bytes, stack->disk, stack->size) == 0;
}

static int
fold(const struct stack *stack, size_t folded, unsigned threads,
     const char *path, struct fold_counts *counts, struct error *err)
{
    struct image_ref refs[DEPTH_MAX + 1];
    size_t count = stack_refs(stack, NULL, 0, refs);
    char below[] = {'l', (char)('0' + stack->depth - folded - 1), '\0'};
    struct fold_options options = {
        .backing_name = folded < stack->depth ? below : NULL,
        .backing_format = IMAGE_QCOW2,
        .threads = threads,
    };

    return fold_layers(refs, count, folded, path, &options, counts, err);
}

static void
random_chains_of_small_clusters_read_the_same(void)
{
    struct sample sample = sample_start(__func__);
    uint64_t clusters = 0;
    uint64_t want = density_count(60000, 1000000);

    for (unsigned round = 0; clusters < want; round++) {
        struct stack stack = {.sample = &sample, .room = 4 * MIB};
        size_t depth = 1 + sample_below(&sample, DEPTH_MAX);
        bool alike = sample_below(&sample, 3) > 0;
        struct qcow2_writer_options options = {.cluster_bits = 12};
        AUTO_FREE char *result = scratch_file(&scratch, "result");
        struct fold_counts counts;
        struct error err = ERROR_INIT;
        size_t folded = 1 + sample_below(&sample, depth);

        stack.disk = xcalloc(1, stack.room);
        options.size = (1 + sample_below(&sample, 2048)) * 512;
        for (size_t i = 0; i < depth; i++) {
            if (i == 0 || !alike) {
                options.cluster_bits = (uint32_t)(9 + sample_below(&sample, 5));
                options.compression =
                    sample_below(&sample, 2) == 0 ? QCOW2_ZSTD : QCOW2_ZLIB;
            }
            if (sample_below(&sample, 3) == 0)
                options.size = (1 + sample_below(&sample, 2048)) * 512;
            options.compress = sample_below(&sample, 4) > 0;
            REQUIRE(stack_push(&stack, &options,
                               (unsigned)sample_below(&sample, 80)));
        }
        CHECK_OK(
            fold(&stack, folded, (unsigned)(round % 4), result, &counts, &err),
            &err);
        CHECK(reads_as(&stack, result, folded));
        if (round % 4 == 0) {
            CHECK(is_sound("result"));
            sample_store("raw", stack.disk, stack.size);
            CHECK(image_is_same("result", IMAGE_QCOW2, "raw"));
        }
        clusters += stack.clusters;
        (void)unlink(result);
        stack_release(&stack);
        if (check_failures > 0)
            return;
    }
    printf("# clusters %llu\n", (unsigned long long)clusters);
}

static void
chains_of_every_flavour_read_the_same(void)
{
    struct sample sample = sample_start(__func__);
    unsigned rounds = (unsigned)density_count(12, 200);

    for (unsigned round = 0; round < rounds; round++) {
        struct image_chain chain;
        uint64_t seed = sample_next(&sample);
        AUTO_FREE char *result = scratch_file(&scratch, "result");
        size_t folded;

        image_chain_init(&chain, &scratch);
        REQUIRE(image_chain_make(&chain, seed));
        CHECK(image_flatten("top", IMAGE_QCOW2, "flat"));
        for (folded = 1; folded <= chain.count; folded++) {
            const char *below =
                folded < chain.count ? image_chain_names[folded] : NULL;
            struct fold_options options = {
                .backing_name = below,
                .backing_format =
                    below != NULL ? chain.refs[folded].format : IMAGE_RAW,
                .direct = round % 2 == 1};
            struct fold_counts counts;
            struct error err = ERROR_INIT;

            CHECK_OK(fold_layers(chain.refs, chain.count, folded, result,
                                 &options, &counts, &err),
                     &err);
            CHECK(is_sound("result"));
            CHECK(image_is_same("result", IMAGE_QCOW2, "flat"));
            (void)unlink(result);
        }
        image_chain_release(&chain);
        if (check_failures > 0) {
            printf("# seed %llu\n", (unsigned long long)seed);
            return;
        }
    }
}

/* -- moving --------------------------------------------------------------- */

/* A full and deltas as backups make them. */
static bool
stack_backups(struct stack *stack, size_t depth, uint64_t size)
{
    struct qcow2_writer_options options = {.size = size,
                                           .cluster_bits = 16,
                                           .compress = true,
                                           .compression = QCOW2_ZSTD};

    stack->room = size;
    stack->disk = xcalloc(1, stack->room);
    for (size_t i = 0; i < depth; i++)
        if (!stack_push(stack, &options, i == 0 ? 80 : 10))
            return false;
    return true;
}

static void
what_is_compressed_is_moved_byte_for_byte(void)
{
    struct sample sample = sample_start(__func__);
    struct stack stack = {.sample = &sample};
    AUTO_FREE char *result = scratch_file(&scratch, "result");
    struct fold_counts counts;
    struct error err = ERROR_INIT;

    REQUIRE(stack_backups(&stack, 1, 20 * MIB));
    /* Our own file, moved in the order that it was written in, is itself. */
    CHECK_OK(fold(&stack, 1, 0, result, &counts, &err), &err);
    CHECK(oracle("cmp", "l0", "result"));
    CHECK(counts.moved > 0 && counts.plain > 0 && counts.encoded == 0);
    (void)unlink(result);
    stack_release(&stack);
}

static void
backups_fold_without_encoding_and_threads_do_not_matter(void)
{
    struct sample sample = sample_start(__func__);
    struct stack stack = {.sample = &sample};
    AUTO_FREE char *result = scratch_file(&scratch, "r1");
    struct fold_counts counts;
    struct error err = ERROR_INIT;

    REQUIRE(stack_backups(&stack, 5, 30 * MIB));
    for (size_t folded = 2; folded <= 5; folded++) {
        for (unsigned threads = 1; threads < 6; threads += 2) {
            char name[] = {'r', (char)('0' + threads), '\0'};

            CHECK_OK(fold(&stack, folded, threads, name, &counts, &err), &err);
            CHECK(counts.encoded == 0 && counts.moved > 0);
            if (threads > 1)
                CHECK(oracle("cmp", "r1", name));
        }
        CHECK(is_sound("r1") && reads_as(&stack, result, folded));
        CHECK(oracle("rm", "r1", "r3", "r5"));
    }
    stack_release(&stack);
}

/* Where the first zstd stream of a file starts. */
static long
find_stream(const char *name)
{
    static const uint8_t magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    AUTO_FREE uint8_t *bytes = xmalloc(MIB);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : pread(fd, bytes, MIB, 65536);

    (void)close(fd);
    for (ssize_t i = 0; i + 4 <= got; i++)
        if (memcmp(bytes + i, magic, 4) == 0)
            return 65536 + i;
    return -1;
}

static bool
overwrite(const char *name, long at)
{
    static const uint8_t noise[4] = {1, 2, 3, 4};
    int fd = open(name, O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && pwrite(fd, noise, sizeof(noise), at) == 4;

    (void)close(fd);
    return done;
}

static void
a_damaged_stream_is_named_or_stays_damaged(void)
{
    struct sample sample = sample_start(__func__);
    struct stack stack = {.sample = &sample};
    AUTO_FREE char *result = scratch_file(&scratch, "result");
    struct fold_counts counts;
    struct error err = ERROR_INIT;
    long at;

    REQUIRE(stack_backups(&stack, 1, 4 * MIB));
    at = find_stream("l0");
    REQUIRE(at > 0);
    CHECK(overwrite("l0", at + 200));
    CHECK_OK(fold(&stack, 1, 0, result, &counts, &err), &err);
    CHECK(!reads_as(&stack, result, 1));
    CHECK(oracle("cmp", "l0", "result"));
    CHECK(unlink(result) == 0);

    CHECK(overwrite("l0", at));
    CHECK(fold(&stack, 1, 0, result, &counts, &err) < 0);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(strstr(err.message, stack.paths[0]) != NULL);
    CHECK(access(result, F_OK) < 0);
    stack_release(&stack);
}

/* -- ends ----------------------------------------------------------------- */

static void
any_fault_leaves_no_file(void)
{
    struct sample sample = sample_start(__func__);
    struct stack stack = {.sample = &sample};
    AUTO_FREE char *result = scratch_file(&scratch, "result");
    struct fold_counts counts;
    unsigned place = 1;

    REQUIRE(stack_backups(&stack, 3, 5 * MIB));
    for (; place < 200; place++) {
        struct error err = ERROR_INIT;
        int done;

        fault_arm("*", place, FAULT_FAIL);
        done = fold(&stack, 3, 2, result, &counts, &err);
        fault_disarm();
        if (done == 0)
            break;
        CHECK(access(result, F_OK) < 0);
    }
    CHECK(place > 5 && place < 200);
    CHECK(reads_as(&stack, result, 3));
    (void)unlink(result);
    stack_release(&stack);
}

static void
a_fold_can_be_cancelled_and_keeps_its_rate(void)
{
    struct sample sample = sample_start(__func__);
    struct stack stack = {.sample = &sample};
    AUTO_FREE char *result = scratch_file(&scratch, "result");
    struct copy_progress progress = {.total = 0};
    struct fold_options options = {.progress = &progress};
    struct image_ref refs[DEPTH_MAX + 1];
    struct fold_counts counts;
    struct error err = ERROR_INIT;
    int64_t started;
    size_t count;

    REQUIRE(stack_backups(&stack, 2, 16 * MIB));
    count = stack_refs(&stack, NULL, 0, refs);
    atomic_store(&progress.cancel, true);
    CHECK(fold_layers(refs, count, 2, result, &options, &counts, &err) < 0);
    CHECK(err.code == ERROR_CANCELLED && access(result, F_OK) < 0);

    atomic_store(&progress.cancel, false);
    options.rate_limit = 20 * MIB;
    started = clock_monotonic_ms();
    CHECK_OK(fold_layers(refs, count, 2, result, &options, &counts, &err),
             &err);
    CHECK(clock_monotonic_ms() - started >= 100);
    CHECK(progress.total == 16 * MIB && progress.done == 16 * MIB);
    CHECK(progress.read > 0 && progress.written > 0);
    error_clear(&err);
    CHECK(fold_layers(refs, count, 2, result, &options, &counts, &err) < 0);
    CHECK(err.code == ERROR_CONFLICT);
    (void)unlink(result);
    stack_release(&stack);
}

/* -- indexes -------------------------------------------------------------- */

static struct digest_index *
open_index(const char *uuid)
{
    AUTO_FREE char *name = xasprintf("%s.idx", uuid);
    struct error err = ERROR_INIT;

    return digest_index_open(name, &err);
}

/* Index `n` of a disk, over the one before. */
static void
make_index(size_t n, const uint8_t *disk, uint64_t size)
{
    AUTO_DIGEST_INDEX struct digest_index *parent =
        n > 0 ? open_index(uuids[n - 1]) : NULL;
    AUTO_FREE char *name = xasprintf("%s.idx", uuids[n]);
    struct error err = ERROR_INIT;
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(name, uuids[n], size, DIGEST_XXH3_128, parent, &err);
    char root[DIGEST_ROOT_TEXT];

    REQUIRE(builder != NULL);
    for (uint64_t at = 0; at < size; at += DIGEST_LEAF_SIZE) {
        struct digest digest;

        digest_leaf(DIGEST_XXH3_128, disk + at, &digest);
        CHECK_OK(
            digest_builder_add(builder, at / DIGEST_LEAF_SIZE, &digest, &err),
            &err);
    }
    CHECK_OK(digest_builder_finish(builder, root, &err), &err);
}

static void
an_index_has_the_same_root_over_another_one(void)
{
    struct sample sample = sample_start(__func__);
    static const uint64_t sizes[] = {40 * MIB, 40 * MIB, 21 * MIB + 4096,
                                     48 * MIB, 48 * MIB};
    static const char *const fresh = "00000000-0000-4000-8000-00000000000f";
    AUTO_FREE uint8_t *disk = xcalloc(1, 49 * MIB);
    AUTO_FREE char *name = xasprintf("%s.idx", fresh);

    sample_fill(&sample, disk, sizes[0]);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (i > 0)
            sample_change(&sample, disk, sizes[i], 10);
        if (i == 2)
            memset(disk + sizes[i], 0, 48 * MIB - sizes[i]);
        make_index(i, disk, sizes[i]);
    }
    /* Every one, over every one below it and over none. */
    for (size_t top = 0; top < ARRAY_SIZE(sizes); top++) {
        for (size_t below = 0; below <= top; below++) {
            AUTO_DIGEST_INDEX struct digest_index *content =
                open_index(uuids[top]);
            AUTO_DIGEST_INDEX struct digest_index *parent =
                below < top ? open_index(uuids[below]) : NULL;
            AUTO_DIGEST_INDEX struct digest_index *made = NULL;
            AUTO_EXTENTS struct extents differ = EXTENTS_INIT;
            const struct uuid *references;
            char root[DIGEST_ROOT_TEXT] = "-";
            struct error err = ERROR_INIT;

            REQUIRE(content != NULL);
            CHECK_OK(fold_index(content, parent, name, fresh, root, &err),
                     &err);
            CHECK_TEXT(root, digest_index_root(content));
            made = open_index(fresh);
            REQUIRE(made != NULL);
            CHECK(digest_index_references(made, &references) ==
                  (parent == NULL ? 0 : below + 1));
            CHECK_OK(digest_index_diff(made, content, &differ, &err), &err);
            CHECK(differ.count == 0);
            CHECK(unlink(name) == 0);
        }
    }
    CHECK(oracle("find", ".", "-name", "*.idx", "-delete"));
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(what_is_compressed_is_moved_byte_for_byte);
    RUN(backups_fold_without_encoding_and_threads_do_not_matter);
    RUN(random_chains_of_small_clusters_read_the_same);
    RUN(chains_of_every_flavour_read_the_same);
    RUN(a_damaged_stream_is_named_or_stays_damaged);
    RUN(any_fault_leaves_no_file);
    RUN(a_fold_can_be_cancelled_and_keeps_its_rate);
    RUN(an_index_has_the_same_root_over_another_one);
    scratch_leave(&scratch);
    return check_done();
}
