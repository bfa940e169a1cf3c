/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"
#include "sample.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/copy.h"
#include "image/qcow2.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static struct scratch scratch;

static const char *const uuids[] = {
    "00000000-0000-4000-8000-000000000000",
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000004",
    "00000000-0000-4000-8000-000000000005",
};

/* -- helpers ------------------------------------------------------------ */

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

static bool
is_same(const char *raw, const char *qcow2)
{
    return oracle("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw,
                  qcow2);
}

static unsigned
count_entries(const char *path)
{
    DIR *directory = opendir(path);
    unsigned count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        (void)closedir(directory);
    return count;
}

/* A chain of images "p0".."pN", newest first in `refs`. */
struct chain {
    char *names[8]; /* owned */
    struct image_ref refs[8];
    size_t count;
};

static void
chain_push(struct chain *chain, const char *name)
{
    for (size_t i = chain->count; i > 0; i--) {
        chain->names[i] = chain->names[i - 1];
        chain->refs[i] = chain->refs[i - 1];
    }
    chain->names[0] = scratch_file(&scratch, name);
    chain->refs[0] = (struct image_ref){chain->names[0], IMAGE_QCOW2};
    chain->count++;
}

static void
chain_release(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        free(chain->names[i]);
}

static struct blockdev *
open_raw(const char *name, struct error *err)
{
    AUTO_FREE char *path = scratch_file(&scratch, name);

    return blockdev_open_raw(path, 0, err);
}

/* Copy a source into image `name` and index "<uuid>.idx"; both finished. */
static int
store(struct blockdev *source, const struct extents *only, const char *name,
      const struct qcow2_writer_options *options, const char *uuid,
      enum digest_algorithm algorithm, struct digest_index *parent,
      const struct copy_options *copying, char *root, struct error *err)
{
    AUTO_FREE char *index = xasprintf("%s.idx", uuid);
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new(name, options, err);
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        writer == NULL ? NULL
                       : digest_builder_new(index, uuid, options->size,
                                            algorithm, parent, err);

    if (writer == NULL || builder == NULL ||
        copy_to_qcow2(source, only, writer, builder, copying, err) < 0 ||
        digest_builder_finish(builder, root, err) < 0 ||
        qcow2_writer_finish(writer, NULL, err) < 0)
        return -1;
    return 0;
}

/* The root of these bytes, computed one leaf after the other. */
static void
plain_root(const uint8_t *disk, uint64_t size, enum digest_algorithm algorithm,
           char *root)
{
    struct error err = ERROR_INIT;
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(NULL, NULL, size, algorithm, NULL, &err);
    AUTO_FREE uint8_t *leaf = xmalloc(DIGEST_LEAF_SIZE);

    REQUIRE(builder != NULL);
    for (uint64_t at = 0; at < size; at += DIGEST_LEAF_SIZE) {
        size_t part = MIN((uint64_t)DIGEST_LEAF_SIZE, size - at);
        struct digest digest;

        memcpy(leaf, disk + at, part);
        memset(leaf + part, 0, DIGEST_LEAF_SIZE - part);
        digest_leaf(algorithm, leaf, &digest);
        CHECK_OK(
            digest_builder_add(builder, at / DIGEST_LEAF_SIZE, &digest, &err),
            &err);
    }
    CHECK_OK(digest_builder_finish(builder, root, &err), &err);
}

static void
remove_all(void)
{
    CHECK(oracle("find", ".", "-mindepth", "1", "-delete"));
}

/* -- copies ------------------------------------------------------------- */

static void
a_copy_of_any_flavour_is_sound_and_the_same(void)
{
    static const struct qcow2_writer_options flavours[] = {
        {.cluster_bits = 16, .compress = true, .compression = QCOW2_ZSTD},
        {.cluster_bits = 16, .direct = true},
        {.cluster_bits = 9, .compress = true, .compression = QCOW2_ZLIB},
        {.cluster_bits = 12, .compress = true, .compression = QCOW2_ZSTD},
        {.cluster_bits = 18, .compress = true, .compression = QCOW2_ZLIB},
        {.cluster_bits = 21, .compress = true, .compression = QCOW2_ZSTD},
    };
    struct sample sample = sample_start(__func__);

    for (size_t i = 0; i < ARRAY_SIZE(flavours); i++) {
        struct qcow2_writer_options options = flavours[i];
        struct copy_progress progress = {.total = 0};
        struct copy_options copying = {.threads = (unsigned)(1 + i % 5),
                                       .progress = &progress};
        enum digest_algorithm algorithm =
            i % 2 == 0 ? DIGEST_XXH3_128 : DIGEST_SHA256;
        /* Sources need not be whole sectors. */
        size_t size = 7 * MIB + sample_below(&sample, MIB);
        AUTO_FREE uint8_t *disk = xcalloc(1, size + 512);
        AUTO_BLOCKDEV struct blockdev *source = NULL;
        struct error err = ERROR_INIT;
        char expected[DIGEST_ROOT_TEXT] = "";
        char root[DIGEST_ROOT_TEXT] = "-";

        sample_fill(&sample, disk, size);
        sample_store("raw", disk, size);
        source = open_raw("raw", &err);
        REQUIRE(source != NULL);
        options.size = (size + 511) / 512 * 512;
        CHECK_OK(store(source, NULL, "image", &options, uuids[0], algorithm,
                       NULL, &copying, root, &err),
                 &err);
        CHECK(is_sound("image") && is_same("raw", "image"));
        plain_root(disk, options.size, algorithm, expected);
        CHECK_TEXT(root, expected);
        CHECK(progress.total == size && progress.done == size);
        CHECK(progress.read > 0 && progress.written > 0 &&
              progress.zero < size);
        remove_all();
    }
}

static void
threads_do_not_change_the_file(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {
        .size = 40 * MIB, .compress = true, .compression = QCOW2_ZSTD};
    struct error err = ERROR_INIT;
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    AUTO_BLOCKDEV struct blockdev *source = NULL;

    sample_fill(&sample, disk, options.size);
    memset(disk + 9 * MIB, 0, 6 * MIB);
    sample_store("raw", disk, options.size);
    source = open_raw("raw", &err);
    REQUIRE(source != NULL);
    for (unsigned threads = 1; threads <= 5; threads++) {
        struct copy_options copying = {.threads = threads};
        char root[DIGEST_ROOT_TEXT];

        CHECK_OK(store(source, NULL, "image", &options, uuids[0],
                       DIGEST_XXH3_128, NULL, &copying, root, &err),
                 &err);
        if (threads == 1) {
            CHECK(is_sound("image"));
            CHECK(rename("image", "first") == 0 &&
                  rename("00000000-0000-4000-8000-000000000000.idx",
                         "first.idx") == 0);
            continue;
        }
        CHECK(oracle("cmp", "image", "first"));
        CHECK(oracle("cmp", "00000000-0000-4000-8000-000000000000.idx",
                     "first.idx"));
        CHECK(
            oracle("rm", "image", "00000000-0000-4000-8000-000000000000.idx"));
    }
    remove_all();
}

/* -- chains ------------------------------------------------------------- */

/* The ranges in which two disks differ, to the sector. */
static void
changed_sectors(const uint8_t *old, uint64_t old_size, const uint8_t *new,
                uint64_t new_size, struct extents *set)
{
    static const uint8_t zeros[512];

    for (uint64_t at = 0; at < new_size; at += 512) {
        const uint8_t *before = at < old_size ? old + at : zeros;

        if (memcmp(before, new + at, 512) != 0)
            extents_add(set, at, 512);
    }
}

/* The content of a chain of images is the disk, for us and for QEMU. */
static void
check_restores(const struct chain *chain, const uint8_t *disk, uint64_t size,
               const char *expected_root)
{
    struct copy_options copying = {.threads = 3};
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *source =
        blockdev_open_chain(chain->refs, chain->count, 0, &err);
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(NULL, NULL, size, DIGEST_XXH3_128, NULL, &err);
    char root[DIGEST_ROOT_TEXT] = "-";

    CHECK_OK(source == NULL ? -1 : 0, &err);
    REQUIRE(source != NULL && builder != NULL);
    CHECK_OK(copy_to_raw(source, "restored", builder, &copying, &err), &err);
    CHECK_OK(digest_builder_finish(builder, root, &err), &err);
    CHECK_TEXT(root, expected_root);
    sample_store("raw", disk, size);
    CHECK(oracle("cmp", "raw", "restored"));
    CHECK(is_sound(chain->names[0]) && is_same("raw", chain->names[0]));
    CHECK(unlink("restored") == 0);
}

static void
check_verifies(const struct chain *chain, const char *uuid)
{
    AUTO_FREE char *name = xasprintf("%s.idx", uuid);
    struct copy_options copying = {.threads = 2};
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = {.found = true};
    struct error err = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index =
        digest_index_open(name, &err);
    AUTO_BLOCKDEV struct blockdev *source =
        blockdev_open_chain(chain->refs, chain->count, 0, &err);

    REQUIRE(index != NULL && source != NULL);
    CHECK_OK(copy_verify(source, NULL, index, &copying, &mismatch, &err), &err);
    CHECK(!mismatch.found && mismatch.leaves == 0);
}

/* Whatever is changed, zeroed, grown or cut between backups. */
static void
every_point_of_a_chain_restores(void)
{
    static const uint32_t cluster_bits[] = {16, 16, 16, 9, 14, 19, 21};
    struct sample sample = sample_start(__func__);
    size_t room = 16 * MIB;
    AUTO_FREE uint8_t *disk = xcalloc(1, room);
    AUTO_FREE uint8_t *old = xcalloc(1, room);
    uint64_t size = 9 * MIB;
    uint64_t old_size = 0;
    struct chain chain = {.count = 0};
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;

    sample_fill(&sample, disk, size);
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        AUTO_EXTENTS struct extents changed = EXTENTS_INIT;
        AUTO_BLOCKDEV struct blockdev *source = NULL;
        AUTO_FREE char *index = xasprintf("%s.idx", uuids[i]);
        char name[] = {'p', (char)('0' + i), '\0'};
        char below[] = {'p', (char)('0' + i - 1), '\0'};
        struct qcow2_writer_options options = {
            .backing_name = i > 0 ? below : NULL,
            .backing_format = IMAGE_QCOW2,
            .compress = i % 3 != 2,
            .compression = i % 2 == 0 ? QCOW2_ZSTD : QCOW2_ZLIB,
            .cluster_bits =
                cluster_bits[sample_below(&sample, ARRAY_SIZE(cluster_bits))],
        };
        struct copy_options copying = {.threads = 3};
        struct error err = ERROR_INIT;
        char expected[DIGEST_ROOT_TEXT] = "";
        char root[DIGEST_ROOT_TEXT] = "-";

        if (i > 0) {
            sample_change(&sample, disk, size, 20);
            memset(disk + 3 * MIB, 0, i * 200 * KIB);
            if (i % 2 == 0) {
                uint64_t next =
                    4 * MIB + sample_below(&sample, 12 * MIB / 512) * 512;

                if (next < size) /* what is cut off does not come back */
                    memset(disk + next, 0, size - next);
                size = next;
            }
            changed_sectors(old, old_size, disk, size, &changed);
        }
        options.size = size;
        sample_store("source", disk, size);
        source = open_raw("source", &err);
        REQUIRE(source != NULL);
        CHECK_OK(store(source, i > 0 ? &changed : NULL, name, &options,
                       uuids[i], DIGEST_XXH3_128, parent, &copying, root, &err),
                 &err);
        plain_root(disk, size, DIGEST_XXH3_128, expected);
        CHECK_TEXT(root, expected);
        chain_push(&chain, name);
        check_restores(&chain, disk, size, expected);
        check_verifies(&chain, uuids[i]);

        digest_index_free(parent);
        parent = digest_index_open(index, &err);
        memcpy(old, disk, room);
        old_size = size;
    }
    chain_release(&chain);
    remove_all();
}

/* -- sparse disks ------------------------------------------------------- */

static void
a_terabyte_of_nothing_costs_nothing(void)
{
    static const uint64_t size = (uint64_t)1 << 40;
    struct qcow2_writer_options options = {
        .size = size, .compress = true, .compression = QCOW2_ZSTD};
    struct copy_progress progress = {.total = 0};
    struct copy_options copying = {.progress = &progress};
    struct error err = ERROR_INIT;
    struct chain chain = {.count = 0};
    char root[DIGEST_ROOT_TEXT];
    int64_t start = clock_monotonic_ms();
    struct stat about;

    CHECK_OK(qcow2_create_overlay("empty", size, NULL, IMAGE_RAW, NULL, &err),
             &err);
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 700G 128k",
                 "empty"));
    chain_push(&chain, "empty");
    {
        AUTO_BLOCKDEV struct blockdev *source =
            blockdev_open_chain(chain.refs, 1, 0, &err);

        REQUIRE(source != NULL);
        CHECK_OK(store(source, NULL, "image", &options, uuids[0],
                       DIGEST_XXH3_128, NULL, &copying, root, &err),
                 &err);
        CHECK_OK(copy_to_raw(source, "restored", NULL, &copying, &err), &err);
    }
    CHECK(stat("image", &about) == 0 && about.st_size < (off_t)(2 * MIB));
    CHECK(stat("restored", &about) == 0 && about.st_size == (off_t)size &&
          about.st_blocks < 2048);
    CHECK(is_sound("image"));
    CHECK(progress.done == size && progress.zero == size - 128 * KIB);
    chain_release(&chain);
    chain.count = 0;
    chain_push(&chain, "image");
    check_verifies(&chain, uuids[0]);
    printf("# %lld ms\n", (long long)(clock_monotonic_ms() - start));
    CHECK(clock_monotonic_ms() - start < 5000);
    chain_release(&chain);
    remove_all();
}

/* A guest that discards a whole disk: the backup hides all that was. */
static void
a_discarded_range_hides_the_parent(void)
{
    uint64_t size = 3 * 512 * MIB;
    struct qcow2_writer_options options = {.size = size};
    struct copy_options copying = {.threads = 2};
    AUTO_EXTENTS struct extents all = EXTENTS_INIT;
    AUTO_FREE uint8_t *disk = xcalloc(1, 8 * MIB);
    struct error err = ERROR_INIT;
    struct chain chain = {.count = 0};
    char roots[2][DIGEST_ROOT_TEXT];
    char zero[DIGEST_ROOT_TEXT];

    memset(disk + MIB, 'x', 3 * MIB);
    sample_store("raw", disk, 8 * MIB);
    CHECK(truncate("raw", (off_t)size) == 0);
    extents_add(&all, 0, size);
    for (size_t i = 0; i < 2; i++) {
        AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
        AUTO_BLOCKDEV struct blockdev *source = NULL;

        if (i > 0) {
            parent = digest_index_open(
                "00000000-0000-4000-8000-000000000000.idx", &err);
            CHECK(truncate("raw", 0) == 0 && truncate("raw", (off_t)size) == 0);
            options.backing_name = "p0";
            options.backing_format = IMAGE_QCOW2;
        }
        source = open_raw("raw", &err);
        REQUIRE(source != NULL);
        CHECK_OK(store(source, &all, i == 0 ? "p0" : "p1", &options, uuids[i],
                       DIGEST_XXH3_128, parent, &copying, roots[i], &err),
                 &err);
        chain_push(&chain, i == 0 ? "p0" : "p1");
    }
    {
        AUTO_DIGEST_BUILDER struct digest_builder *builder =
            digest_builder_new(NULL, NULL, size, DIGEST_XXH3_128, NULL, &err);

        REQUIRE(builder != NULL);
        CHECK_OK(digest_builder_finish(builder, zero, &err), &err);
    }
    CHECK_TEXT(roots[1], zero);
    CHECK(strcmp(roots[0], zero) != 0);
    CHECK(is_sound("p1") && is_same("raw", "p1"));
    check_verifies(&chain, uuids[1]);
    chain_release(&chain);
    remove_all();
}

/* -- verify ------------------------------------------------------------- */

static void
a_wrong_leaf_is_found_and_named(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {.size = 12 * MIB + 512};
    struct copy_options copying = {.threads = 3};
    struct error err = ERROR_INIT;
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    AUTO_DIGEST_INDEX struct digest_index *index = NULL;
    char root[DIGEST_ROOT_TEXT];

    sample_fill(&sample, disk, options.size);
    memset(disk + 4 * MIB, 0, 4 * MIB);
    sample_store("raw", disk, options.size);
    {
        AUTO_BLOCKDEV struct blockdev *source = open_raw("raw", &err);

        REQUIRE(source != NULL);
        CHECK_OK(store(source, NULL, "image", &options, uuids[0],
                       DIGEST_XXH3_128, NULL, &copying, root, &err),
                 &err);
    }
    index = digest_index_open("00000000-0000-4000-8000-000000000000.idx", &err);
    REQUIRE(index != NULL);
    for (unsigned i = 0; i < 12; i++) {
        AUTO_BLOCKDEV struct blockdev *source = NULL;
        AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
        uint64_t at = i == 0   ? options.size - 1
                      : i == 1 ? 5 * MIB /* zeros no more */
                               : sample_below(&sample, options.size);

        disk[at] ^= 1;
        sample_store("raw", disk, options.size);
        source = open_raw("raw", &err);
        REQUIRE(source != NULL);
        CHECK_OK(copy_verify(source, NULL, index, &copying, &mismatch, &err),
                 &err);
        CHECK(mismatch.found && mismatch.leaves == 1);
        CHECK(mismatch.offset == at / DIGEST_LEAF_SIZE * DIGEST_LEAF_SIZE);
        disk[at] ^= 1;
    }
    for (unsigned i = 0; i < 2; i++) { /* lost data, another size */
        AUTO_BLOCKDEV struct blockdev *source = NULL;
        AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;

        sample_store("raw", disk, i == 0 ? 10 * MIB : options.size - 512);
        CHECK(truncate("raw", (off_t)(options.size - 512 * i)) == 0);
        source = open_raw("raw", &err);
        REQUIRE(source != NULL);
        CHECK_OK(copy_verify(source, NULL, index, &copying, &mismatch, &err),
                 &err);
        CHECK(mismatch.found && mismatch.offset >= 10 * MIB);
    }
    remove_all();
}

/* -- the ways out ------------------------------------------------------- */

static void
any_single_fault_leaves_no_file(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {
        .size = 12 * MIB, .compress = true, .compression = QCOW2_ZSTD};
    struct copy_options copying = {.threads = 3};
    struct error err = ERROR_INIT;
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    AUTO_FREE char *index = xasprintf("%s.idx", uuids[0]);
    unsigned files;
    uint64_t points = 0;

    sample_fill(&sample, disk, options.size);
    sample_store("raw", disk, options.size);
    source = open_raw("raw", &err);
    REQUIRE(source != NULL);
    files = count_entries("/proc/self/fd");
    for (unsigned raw = 0; raw < 2; raw++)
        for (uint64_t nth = 1;; nth++) {
            char root[DIGEST_ROOT_TEXT];
            bool fired;
            int result;

            error_clear(&err);
            fault_arm("*", nth, FAULT_FAIL);
            if (raw == 1)
                result = copy_to_raw(source, "image", NULL, &copying, &err);
            else
                result = store(source, NULL, "image", &options, uuids[0],
                               DIGEST_XXH3_128, NULL, &copying, root, &err);
            fault_disarm();
            fired = fault_fired();
            points += fired;
            CHECK(result == (fired ? -1 : 0));
            CHECK(err.code == (!fired ? ERROR_NONE
                               : strstr(fault_fired_name(), ".space") != NULL
                                   ? ERROR_NO_SPACE
                                   : ERROR_IO));
            CHECK(fd_exists("image") == !fired);
            if (raw == 0) /* the image comes last */
                CHECK(fd_exists(index) || fired);
            (void)unlink(index);
            (void)unlink("image");
            CHECK(count_entries("/proc/self/fd") == files);
            if (!fired)
                break;
        }
    printf("# %llu fault points\n", (unsigned long long)points);
    CHECK(points > 40);
    remove_all();
}

struct canceller {
    struct copy_progress *progress;
    uint64_t after;
};

static void *
cancel_later(void *argument)
{
    struct canceller *canceller = argument;

    while (atomic_load(&canceller->progress->done) < canceller->after)
        (void)poll(NULL, 0, 1);
    atomic_store(&canceller->progress->cancel, true);
    return NULL;
}

static void
a_cancelled_copy_ends_soon_and_leaves_nothing(void)
{
    struct sample sample = sample_start(__func__);
    size_t size = 8 * MIB;
    AUTO_FREE uint8_t *disk = xmalloc(size);
    struct copy_progress progress = {.total = 0};
    struct copy_options copying = {
        .threads = 3, .progress = &progress, .rate_limit = 2 * MIB};
    struct canceller canceller = {.progress = &progress, .after = 1};
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    int64_t start = clock_monotonic_ms();
    pthread_t thread;

    sample_fill_noise(&sample, disk, size);
    sample_store("raw", disk, size);
    source = open_raw("raw", &err);
    REQUIRE(source != NULL);
    REQUIRE(pthread_create(&thread, NULL, cancel_later, &canceller) == 0);
    CHECK(copy_to_raw(source, "image", NULL, &copying, &err) == -1);
    CHECK(err.code == ERROR_CANCELLED && !fd_exists("image"));
    CHECK(clock_monotonic_ms() - start < 2000);
    CHECK(pthread_join(thread, NULL) == 0);
    remove_all();
}

static void
the_rate_is_not_exceeded(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {.size = 5 * MIB};
    struct copy_options copying = {.threads = 4, .rate_limit = 10 * MIB};
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    char root[DIGEST_ROOT_TEXT];
    int64_t start;
    int64_t took;

    sample_fill_noise(&sample, disk, options.size);
    sample_store("raw", disk, options.size);
    source = open_raw("raw", &err);
    REQUIRE(source != NULL);
    start = clock_monotonic_ms();
    CHECK_OK(store(source, NULL, "image", &options, uuids[0], DIGEST_XXH3_128,
                   NULL, &copying, root, &err),
             &err);
    took = clock_monotonic_ms() - start;
    /* The first window is free, the four others are due 100 ms apart. */
    CHECK(took >= 399);
    CHECK(took < 3000);
    CHECK(is_same("raw", "image"));
    remove_all();
}

static void
sizes_that_differ_are_refused(void)
{
    struct qcow2_writer_options options = {.size = MIB};
    struct copy_options copying = {.threads = 1};
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new("image", &options, &err);

    sample_store("raw", (const uint8_t *)"", 0);
    source = open_raw("raw", &err);
    REQUIRE(writer != NULL && source != NULL);
    CHECK(copy_to_qcow2(source, NULL, writer, NULL, &copying, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
    /* A disk of no bytes is a disk. */
    CHECK_OK(copy_to_raw(source, "restored", NULL, &copying, &err), &err);
    CHECK(oracle("cmp", "raw", "restored"));
    remove_all();
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_copy_of_any_flavour_is_sound_and_the_same);
    RUN(threads_do_not_change_the_file);
    RUN(every_point_of_a_chain_restores);
    RUN(a_terabyte_of_nothing_costs_nothing);
    RUN(a_discarded_range_hides_the_parent);
    RUN(a_wrong_leaf_is_found_and_named);
    RUN(any_single_fault_leaves_no_file);
    RUN(a_cancelled_copy_ends_soon_and_leaves_nothing);
    RUN(the_rate_is_not_exceeded);
    RUN(sizes_that_differ_are_refused);
    scratch_leave(&scratch);
    return check_done();
}
