/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"
#include "sample.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/qcow2_writer.h"

#include <dirent.h>
#include <sys/stat.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static struct scratch scratch;

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
open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        (void)closedir(directory);
    return count;
}

/* Write every cluster that differs from `below` (NULL: zeros). */
static int
write_disk(struct qcow2_writer *writer, const uint8_t *disk,
           const uint8_t *below, size_t size, struct error *err)
{
    size_t cluster = qcow2_writer_cluster_size(writer);

    for (size_t at = 0; at < size; at += cluster) {
        size_t part = MIN(cluster, size - at);

        if (below != NULL && memcmp(disk + at, below + at, part) == 0)
            continue;
        if (qcow2_writer_write(writer, disk + at, at, part, err) < 0)
            return -1;
    }
    return 0;
}

static int
make_image(const char *name, const struct qcow2_writer_options *options,
           const uint8_t *disk, const uint8_t *below, struct error *err)
{
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new(name, options, err);
    uint64_t file_size = 0;
    uint64_t real_size = 1;

    if (writer == NULL ||
        write_disk(writer, disk, below, options->size, err) < 0 ||
        qcow2_writer_finish(writer, &file_size, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC);
    CHECK(fd_size(fd, &real_size, name, err) == 0 && real_size == file_size);
    return 0;
}

/* -- flavours ----------------------------------------------------------- */

static const struct qcow2_writer_options flavours[] = {
    {.compress = false},
    {.compress = true, .compression = QCOW2_ZSTD},
    {.compress = true, .compression = QCOW2_ZLIB},
    {.compress = true, .compression = QCOW2_ZSTD, .level = 3, .direct = true},
    {.compress = false, .direct = true},
};

static const uint32_t sizes_of_clusters[] = {9, 12, 16, 18, 21};

static void
an_image_of_any_flavour_is_sound_and_the_same(void)
{
    struct sample sample = sample_start(__func__);

    for (size_t i = 0; i < ARRAY_SIZE(flavours); i++)
        for (size_t k = 0; k < ARRAY_SIZE(sizes_of_clusters); k++) {
            struct qcow2_writer_options options = flavours[i];
            struct error err = ERROR_INIT;
            AUTO_FREE uint8_t *disk = NULL;

            options.cluster_bits = sizes_of_clusters[k];
            options.size = 5 * MIB + 512 * sample_below(&sample, 3000);
            disk = xmalloc(options.size);
            sample_fill(&sample, disk, options.size);
            sample_store("raw", disk, options.size);
            CHECK_OK(make_image("image", &options, disk, NULL, &err), &err);
            CHECK(is_sound("image") && is_same("raw", "image"));
            CHECK(unlink("image") == 0);
        }
}

static void
a_layer_of_any_flavour_rests_on_its_backing_file(void)
{
    struct sample sample = sample_start(__func__);
    size_t size = 6 * MIB + 1536;
    AUTO_FREE uint8_t *base = xmalloc(size);
    AUTO_FREE uint8_t *disk = xmalloc(size);

    sample_fill(&sample, base, size);
    sample_store("base", base, size);
    for (size_t i = 0; i < ARRAY_SIZE(flavours); i++)
        for (size_t k = 0; k < ARRAY_SIZE(sizes_of_clusters); k++) {
            struct qcow2_writer_options options = flavours[i];
            struct error err = ERROR_INIT;

            options.cluster_bits = sizes_of_clusters[k];
            options.size = size;
            options.backing_name = "base";
            options.backing_format = IMAGE_RAW;
            memcpy(disk, base, size);
            sample_change(&sample, disk, size, 12);
            memset(disk + MIB, 0, 300 * KIB); /* zeros hide the base's data */
            sample_store("raw", disk, size);
            CHECK_OK(make_image("image", &options, disk, base, &err), &err);
            CHECK(is_sound("image") && is_same("raw", "image"));
            CHECK(unlink("image") == 0);
        }
}

static void
a_disk_of_zeros_is_only_tables(void)
{
    struct qcow2_writer_options options = {.size = 1536 * MIB};
    struct error err = ERROR_INIT;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new("image", &options, &err);
    uint64_t size = 0;

    REQUIRE(writer != NULL);
    CHECK_OK(qcow2_writer_zero(writer, 0, options.size, &err), &err);
    CHECK_OK(qcow2_writer_finish(writer, &size, &err), &err);
    CHECK(size == 4 * 64 * KIB);
    CHECK(is_sound("image"));
    CHECK(unlink("image") == 0);
}

static void
a_zero_range_hides_the_backing_file(void)
{
    struct qcow2_writer_options options = {.size = 70000 * 512,
                                           .backing_name = "base",
                                           .backing_format = IMAGE_RAW};
    struct error err = ERROR_INIT;
    AUTO_FREE uint8_t *base = xmalloc(options.size);
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new("image", &options, &err);

    REQUIRE(writer != NULL);
    memset(base, 'b', options.size);
    sample_store("base", base, options.size);
    memset(base + MIB, 0, options.size - MIB);
    sample_store("raw", base, options.size);
    CHECK_OK(qcow2_writer_zero(writer, MIB, options.size - MIB, &err), &err);
    CHECK_OK(qcow2_writer_finish(writer, NULL, &err), &err);
    CHECK(is_sound("image") && is_same("raw", "image"));
    CHECK(unlink("image") == 0);
}

/* Clusters far apart: tables leave memory many times before the end. */
static void
a_huge_sparse_disk_is_sound(void)
{
    static const struct {
        uint32_t cluster_bits;
        uint64_t step;
        uint64_t count;
    } cases[] = {{16, (uint64_t)512 * MIB, 150},
                 {12, 2 * MIB, 1100},
                 {9, 40 * KIB, 8500},
                 {21, (uint64_t)512 * 1024 * MIB, 6}};
    struct sample sample = sample_start(__func__);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct qcow2_writer_options options = {
            .size = cases[i].step * cases[i].count,
            .cluster_bits = cases[i].cluster_bits,
            .compress = i % 2 == 0,
            .compression = QCOW2_ZSTD,
        };
        size_t cluster = (size_t)1 << cases[i].cluster_bits;
        struct error err = ERROR_INIT;
        AUTO_FREE uint8_t *bytes = xmalloc(cluster);
        AUTO_QCOW2_WRITER struct qcow2_writer *writer =
            qcow2_writer_new("image", &options, &err);
        AUTO_CLOSE int raw =
            open("raw", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        REQUIRE(writer != NULL && raw >= 0);
        CHECK(ftruncate(raw, (off_t)options.size) == 0);
        for (uint64_t k = 0; k < cases[i].count; k++) {
            uint64_t at = k * cases[i].step / cluster * cluster;

            sample_fill(&sample, bytes, cluster);
            CHECK_OK(fd_pwrite(raw, bytes, cluster, at, "raw", &err), &err);
            CHECK_OK(qcow2_writer_write(writer, bytes, at, cluster, &err),
                     &err);
        }
        CHECK_OK(qcow2_writer_finish(writer, NULL, &err), &err);
        CHECK(is_sound("image") && is_same("raw", "image"));
        CHECK(unlink("image") == 0);
    }
}

/* A table of compressed clusters of 20 bytes each: many share one cluster. */
static void
tiny_frames_are_counted_right(void)
{
    static const enum qcow2_compression kinds[] = {QCOW2_ZLIB, QCOW2_ZSTD};
    size_t size = 16 * MIB;
    AUTO_FREE uint8_t *disk = xmalloc(size);

    memset(disk, 7, size);
    sample_store("raw", disk, size);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct qcow2_writer_options options = {
            .size = size,
            .cluster_bits = i == 0 ? 0 : 12,
            .compress = true,
            .compression = kinds[i],
        };
        struct error err = ERROR_INIT;

        CHECK_OK(make_image("image", &options, disk, NULL, &err), &err);
        CHECK(is_sound("image") && is_same("raw", "image"));
        CHECK(unlink("image") == 0);
    }
}

/* -- batches ------------------------------------------------------------ */

static int
write_by_batches(const char *name, const struct qcow2_writer_options *options,
                 const uint8_t *disk, size_t piece, struct error *err)
{
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new(name, options, err);
    struct qcow2_writer_batch *batches[3] = {NULL};
    int result = -1;
    size_t turn = 0;

    if (writer == NULL)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++)
        if ((batches[i] = qcow2_writer_batch_new(writer, err)) == NULL)
            goto out;
    for (size_t at = 0; at < options->size; at += piece, turn++) {
        struct qcow2_writer_batch *batch = batches[turn % ARRAY_SIZE(batches)];
        size_t part = MIN(piece, options->size - at);

        if (qcow2_writer_encode(batch, disk + at, at, part, err) < 0 ||
            qcow2_writer_append(batch, err) < 0 ||
            qcow2_writer_flush(batch, err) < 0)
            goto out;
    }
    result = qcow2_writer_finish(writer, NULL, err);
out:
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++)
        qcow2_writer_batch_free(batches[i]);
    return result;
}

static void
the_file_does_not_depend_on_who_wrote_which_piece(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {
        .size = 24 * MIB, .compress = true, .compression = QCOW2_ZSTD};
    struct error err = ERROR_INIT;
    AUTO_FREE uint8_t *disk = xmalloc(options.size);

    sample_fill(&sample, disk, options.size);
    CHECK_OK(make_image("one", &options, disk, NULL, &err), &err);
    CHECK_OK(write_by_batches("two", &options, disk, MIB, &err), &err);
    CHECK_OK(write_by_batches("three", &options, disk, 192 * KIB, &err), &err);
    CHECK(is_sound("one"));
    CHECK(oracle("cmp", "one", "two") && oracle("cmp", "one", "three"));
    CHECK(unlink("one") == 0 && unlink("two") == 0 && unlink("three") == 0);
}

static void
clusters_that_shrink_to_any_length_come_back(void)
{
    struct qcow2_writer_options options = {
        .size = 16 * MIB,
        .compress = true,
        .compression = QCOW2_ZSTD,
        .level = 3,
    };
    struct sample sample = sample_start(__func__);
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    size_t cluster = 64 * KIB;
    struct error err = ERROR_INIT;

    for (size_t at = 0; at < options.size; at += cluster) {
        size_t noise = cluster / 32 * sample_below(&sample, 33);

        sample_fill_noise(&sample, disk + at, noise);
        sample_fill_text(&sample, disk + at + noise, cluster - noise);
    }
    sample_store("raw", disk, options.size);
    CHECK_OK(write_by_batches("image", &options, disk, MIB, &err), &err);
    CHECK(is_sound("image") && is_same("raw", "image"));
    CHECK(unlink("image") == 0);
}

/* -- refusals and failures ---------------------------------------------- */

static void
absurd_options_are_refused(void)
{
    static const struct qcow2_writer_options bad[] = {
        {.size = 1000},
        {.size = QCOW2_SIZE_MAX + 512},
        {.size = MIB, .cluster_bits = 8},
        {.size = MIB, .cluster_bits = 22},
        {.size = QCOW2_SIZE_MAX, .cluster_bits = 9},
        {.size = MIB, .backing_name = ""},
        {.size = 512, .compress = true, .level = 99, .compression = QCOW2_ZLIB},
    };
    uint8_t sector[512] = {1};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error err = ERROR_INIT;
        AUTO_QCOW2_WRITER struct qcow2_writer *writer =
            qcow2_writer_new("image", &bad[i], &err);

        CHECK(writer == NULL ||
              qcow2_writer_write(writer, sector, 0, 512, &err) == -1);
        CHECK(err.code == ERROR_INVALID);
    }
    CHECK(!fd_exists("image"));
}

static void
an_existing_file_is_left_alone(void)
{
    struct qcow2_writer_options options = {.size = MIB};
    struct error err = ERROR_INIT;
    AUTO_FREE char *text = NULL;

    CHECK_OK(fd_replace_file("image", "kept", 4, 0600, &err), &err);
    CHECK(qcow2_writer_new("image", &options, &err) == NULL);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(fd_read_file("image", 100, &text, NULL, &err), &err);
    CHECK_TEXT(text, "kept");
    CHECK(unlink("image") == 0);
}

static void
an_unfinished_file_goes(void)
{
    struct qcow2_writer_options options = {.size = MIB};
    struct error err = ERROR_INIT;
    struct qcow2_writer *writer = qcow2_writer_new("image", &options, &err);

    CHECK(writer != NULL && fd_exists("image"));
    qcow2_writer_free(writer);
    CHECK(!fd_exists("image"));
}

static void
any_single_fault_leaves_no_file(void)
{
    struct sample sample = sample_start(__func__);
    struct qcow2_writer_options options = {.size = 20 * MIB,
                                           .compress = true,
                                           .compression = QCOW2_ZSTD,
                                           .mode_like = "like"};
    AUTO_FREE uint8_t *disk = xmalloc(options.size);
    struct error err = ERROR_INIT;
    unsigned files = open_files();
    uint64_t nth = 0;

    sample_fill(&sample, disk, options.size);
    CHECK_OK(fd_replace_file("like", "", 0, 0640, &err), &err);
    for (bool fired = true; fired;) {
        int result;

        error_clear(&err);
        fault_arm("*", ++nth, FAULT_FAIL);
        result = make_image("image", &options, disk, NULL, &err);
        fault_disarm();
        fired = fault_fired();
        CHECK(result == (fired ? -1 : 0) && fd_exists("image") == !fired);
        if (fired) {
            const char *name = fault_fired_name();
            bool space = strstr(name, ".space") != NULL;

            CHECK(err.code == (space ? ERROR_NO_SPACE : ERROR_IO));
        }
        CHECK(open_files() == files);
    }
    printf("# %llu fault points\n", (unsigned long long)nth - 1);
    CHECK(nth > 8);
    CHECK(unlink("image") == 0);
}

static void
owner_and_mode_are_those_of_the_other_file(void)
{
    struct qcow2_writer_options options = {.size = MIB, .mode_like = "like"};
    struct error err = ERROR_INIT;
    uint8_t *disk = xcalloc(1, MIB);
    struct stat about;

    CHECK_OK(fd_replace_file("like", "", 0, 0640, &err), &err);
    if (geteuid() == 0)
        CHECK(chown("like", 12345, 23456) == 0);
    CHECK_OK(make_image("image", &options, disk, NULL, &err), &err);
    CHECK(stat("image", &about) == 0 && (about.st_mode & 07777) == 0640);
    if (geteuid() == 0)
        CHECK(about.st_uid == 12345 && about.st_gid == 23456);
    CHECK(unlink("image") == 0);
    free(disk);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(an_image_of_any_flavour_is_sound_and_the_same);
    RUN(a_layer_of_any_flavour_rests_on_its_backing_file);
    RUN(a_disk_of_zeros_is_only_tables);
    RUN(a_zero_range_hides_the_backing_file);
    RUN(a_huge_sparse_disk_is_sound);
    RUN(tiny_frames_are_counted_right);
    RUN(the_file_does_not_depend_on_who_wrote_which_piece);
    RUN(clusters_that_shrink_to_any_length_come_back);
    RUN(absurd_options_are_refused);
    RUN(an_existing_file_is_left_alone);
    RUN(an_unfinished_file_goes);
    RUN(any_single_fault_leaves_no_file);
    RUN(owner_and_mode_are_those_of_the_other_file);
    scratch_leave(&scratch);
    return check_done();
}
