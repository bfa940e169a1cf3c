/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we read and write, against others: QEMU's tools, and libqcow where it
 * knows the flavour.  Random stacks of layers with clusters from 512 bytes on;
 * the first seed is printed, VARVE_SEED sets it.  VARVE_TEST_ALL goes over a
 * million clusters of stacks that nobody has seen yet; the usual run says the
 * same every time.
 */
#include "check.h"
#include "density.h"
#include "libqcow.h"
#include "stack.h"

#include "base/clock.h"
#include "base/parse.h"
#include "image/commit.h"
#include "image/copy.h"
#include "image/fold.h"

static struct scratch scratch;
static struct libqcow qcow;
static bool has_qcow;
static uint64_t first_seed = 20260301;
static uint64_t by_libqcow; /* how often it was asked */

/* A chain reads as expected: by our reader, QEMU's, and libqcow. */
static bool
all_agree(const struct stack *stack, const struct image_ref *refs, size_t count)
{
    if (!stack_reads(stack, refs, count) ||
        !image_is_same(refs[0].path, refs[0].format, "expected"))
        return false;
    if (!has_qcow || !libqcow_knows(refs, count))
        return true;
    by_libqcow++;
    return libqcow_is_same(&qcow, refs, count, stack->expected, stack->size);
}

static bool
is_sound(const struct image_ref *ref)
{
    return ref->format == IMAGE_RAW || image_check(ref->path) == 0;
}

/* Calls `check` with stacks until enough clusters were seen. */
static void
over_stacks(uint64_t number, void (*check)(struct stack *stack))
{
    uint64_t wanted = density_count(10000, 250000);
    uint64_t scale = (uint64_t)(density_is_all() ? 6 << 20 : 512 << 10);
    uint64_t clusters = 0;

    for (uint64_t i = 0; clusters < wanted; i++) {
        uint64_t seed = first_seed + number * 1000 + i;
        struct stack stack;
        int before = check_failures;

        CHECK(stack_make(&stack, &scratch, seed, scale));
        clusters += stack.clusters;
        if (check_failures == before)
            check(&stack);
        if (check_failures > before) {
            stack_print(&stack, seed);
            stack_release(&stack);
            break;
        }
        stack_release(&stack);
    }
    printf("# count cross-clusters %" PRIu64 "\n", clusters);
}

/* -- reading ------------------------------------------------------------ */

static bool
pieces_are_right(struct stack *stack, struct blockdev *device)
{
    uint8_t *buffer = xmalloc(stack->size);
    struct error err = ERROR_INIT;
    bool good = true;

    for (unsigned i = 0; good && i < 50; i++) {
        uint64_t offset = image_random(&stack->random, stack->size);
        size_t length =
            1 + (size_t)image_random(&stack->random, stack->size - offset);

        if (i % 2 == 0)
            length = MIN(length, (size_t)5000);
        good = blockdev_read(device, buffer, length, offset, &err) == 0 &&
               memcmp(buffer, stack->expected + offset, length) == 0;
    }
    free(buffer);
    return good;
}

static bool
map_is_right(const struct stack *stack, struct blockdev *device)
{
    uint64_t at = 0;

    while (at < stack->size) {
        struct error err = ERROR_INIT;
        struct block_range range;

        if (blockdev_map(device, at, &range, &err) < 0 || range.length == 0)
            return false;
        range.length = MIN(range.length, stack->size - at);
        for (uint64_t i = 0; range.kind == BLOCK_ZERO && i < range.length; i++)
            if (stack->expected[at + i] != 0)
                return false;
        at += range.length;
    }
    return true;
}

static void
check_reading(struct stack *stack)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(stack->refs, stack->count, 0, &err);

    REQUIRE(device != NULL);
    CHECK(all_agree(stack, stack->refs, stack->count));
    CHECK(pieces_are_right(stack, device));
    CHECK(map_is_right(stack, device));
}

static void
random_stacks_read_as_others_read_them(void)
{
    over_stacks(1, check_reading);
}

/* -- copying ------------------------------------------------------------ */

/* The whole disk, or the top layer over the rest, in a random flavour. */
static void
check_copy(struct stack *stack, bool whole)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(stack->refs, stack->count, 0, &err);
    struct copy_options how = {.threads = 2};
    unsigned kind = (unsigned)image_random(&stack->random, 3);
    struct qcow2_writer_options options = {
        .size = stack->size,
        .cluster_bits = 9 + (uint32_t)image_random(&stack->random, 13),
        .backing_name = whole ? NULL : stack->refs[1].path,
        .backing_format = stack->refs[1].format,
        .compress = kind > 0,
        .compression = kind == 1 ? QCOW2_ZLIB : QCOW2_ZSTD};
    AUTO_EXTENTS struct extents top = EXTENTS_INIT;
    struct qcow2_writer *writer;
    struct image_ref refs[STACK_MAX];
    uint64_t bytes;

    REQUIRE(device != NULL);
    memcpy(refs, stack->refs, sizeof(refs));
    refs[0].path = "copied";
    (void)unlink("copied");
    CHECK_OK(qcow2_allocated(stack->refs[0].path, &top, &err), &err);
    /* What lies past the end of the layers below is zero in the top. */
    if (stack->size > stack->made[1].size)
        extents_add(&top, stack->made[1].size,
                    stack->size - stack->made[1].size);
    writer = qcow2_writer_new("copied", &options, &err);
    REQUIRE(writer != NULL);
    CHECK_OK(
        copy_to_qcow2(device, whole ? NULL : &top, writer, NULL, &how, &err),
        &err);
    CHECK_OK(qcow2_writer_finish(writer, &bytes, &err), &err);
    qcow2_writer_free(writer);
    CHECK(all_agree(stack, refs, whole ? 1 : stack->count));
    CHECK(image_check("copied") == 0);
}

static void
check_copies(struct stack *stack)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(stack->refs, stack->count, 0, &err);
    struct copy_options how = {.threads = 2};

    REQUIRE(device != NULL);
    (void)unlink("raw");
    CHECK_OK(copy_to_raw(device, "raw", NULL, &how, &err), &err);
    CHECK(image_is_same("raw", IMAGE_RAW, "expected"));
    check_copy(stack, true);
    check_copy(stack, false);
}

static void
copies_in_every_flavour_read_as_their_source(void)
{
    over_stacks(2, check_copies);
}

/* -- merging ------------------------------------------------------------ */

/* Merge two neighbours; in which direction is left to luck and law. */
static void
merge_two(struct stack *stack, size_t upper)
{
    const struct image_ref *refs = stack->refs + upper;
    size_t count = stack->count - upper;
    enum commit_refusal refusal;
    struct error err = ERROR_INIT;

    if (image_random(&stack->random, 2) == 0) {
        if (commit_pull(refs, count, NULL, &refusal, &err) == 0) {
            CHECK(is_sound(&refs[0]));
            stack_drop(stack, upper + 1);
            return;
        }
        CHECK(refusal == COMMIT_REFUSAL_HEADER_ROOM);
        error_clear(&err);
    }
    CHECK_OK(commit_layer(refs, count, NULL, &refusal, &err), &err);
    CHECK(is_sound(&refs[1]));
    if (upper > 0)
        CHECK_OK(qcow2_rebase_unsafe(stack->refs[upper - 1].path, refs[1].path,
                                     refs[1].format, &err),
                 &err);
    stack_drop(stack, upper);
}

static void
check_merging(struct stack *stack)
{
    int before = check_failures;

    while (stack->count > 1 && check_failures == before) {
        merge_two(stack, image_random(&stack->random, stack->count - 1));
        if (stack->refs[0].format == IMAGE_RAW)
            CHECK(image_is_same(stack->refs[0].path, IMAGE_RAW, "expected"));
        else
            CHECK(all_agree(stack, stack->refs, stack->count));
    }
}

static void
merging_a_stack_down_in_any_order_changes_nothing(void)
{
    over_stacks(3, check_merging);
}

/* -- folding ------------------------------------------------------------ */

static void
check_folding(struct stack *stack)
{
    size_t folded = 1 + image_random(&stack->random, stack->count);
    size_t rest = stack->count - folded;
    struct fold_options options = {.threads = 2};
    struct fold_counts counts;
    struct image_ref refs[STACK_MAX] = {{"folded", IMAGE_QCOW2}};
    struct error err = ERROR_INIT;

    if (rest > 0) {
        options.backing_name = stack->refs[folded].path;
        options.backing_format = stack->refs[folded].format;
        memcpy(refs + 1, stack->refs + folded, rest * sizeof(refs[0]));
    }
    (void)unlink("folded");
    CHECK_OK(fold_layers(stack->refs, stack->count, folded, "folded", &options,
                         &counts, &err),
             &err);
    CHECK(all_agree(stack, refs, 1 + rest));
    CHECK(image_check("folded") == 0);
}

static void
folding_any_part_of_a_stack_changes_nothing(void)
{
    over_stacks(4, check_folding);
}

/* -- libqcow ------------------------------------------------------------ */

/* The flavours that the product writes: 64 KiB to 2 MiB, plain and zlib. */
static void
check_written(struct stack *stack)
{
    for (uint32_t i = 0; i < 12; i++) {
        struct error err = ERROR_INIT;
        AUTO_BLOCKDEV struct blockdev *device =
            blockdev_open_chain(stack->refs, stack->count, 0, &err);
        struct copy_options how = {.threads = 2};
        struct qcow2_writer_options options = {.size = stack->size,
                                               .cluster_bits = 16 + i / 2,
                                               .compress = i % 2 == 1,
                                               .compression = QCOW2_ZLIB};
        AUTO_QCOW2_WRITER struct qcow2_writer *writer = NULL;
        const struct image_ref ref = {"written", IMAGE_QCOW2};
        uint64_t bytes;

        (void)unlink("written");
        writer = qcow2_writer_new("written", &options, &err);
        REQUIRE(device != NULL && writer != NULL);
        CHECK_OK(copy_to_qcow2(device, NULL, writer, NULL, &how, &err), &err);
        CHECK_OK(qcow2_writer_finish(writer, &bytes, &err), &err);
        CHECK(!has_qcow || libqcow_knows(&ref, 1));
        CHECK(all_agree(stack, &ref, 1));
    }
}

static void
every_cluster_size_is_read_by_others(void)
{
    struct stack stack;

    if (stack_make(&stack, &scratch, first_seed, (uint64_t)3 << 20))
        check_written(&stack);
    else
        CHECK(false);
    stack_release(&stack);
}

static void
an_independent_reader_was_asked(void)
{
    if (!has_qcow) {
        printf("# libqcow is not installed: it was not asked\n");
        return;
    }
    printf("# count cross-libqcow %" PRIu64 "\n", by_libqcow);
    CHECK(by_libqcow > 0);
}

int
main(void)
{
    const char *seed = getenv("VARVE_SEED");
    struct error err = ERROR_INIT;

    has_qcow = libqcow_load(&qcow);
    if (density_is_all())
        first_seed = (uint64_t)clock_wall_ms();
    if (seed != NULL)
        CHECK_OK(parse_u64(seed, &first_seed, &err), &err);
    printf("# VARVE_SEED=%" PRIu64 "\n", first_seed);
    scratch_enter(&scratch);
    RUN(random_stacks_read_as_others_read_them);
    RUN(copies_in_every_flavour_read_as_their_source);
    RUN(merging_a_stack_down_in_any_order_changes_nothing);
    RUN(folding_any_part_of_a_stack_changes_nothing);
    RUN(every_cluster_size_is_read_by_others);
    RUN(an_independent_reader_was_asked);
    scratch_leave(&scratch);
    return check_done();
}
