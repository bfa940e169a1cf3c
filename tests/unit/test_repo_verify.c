/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "points.h"

#include "repo/repo_scrub.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;

static void
flip_byte(const char *path, uint64_t offset)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    CHECK_OK(fd_pread(fd, &byte, 1, offset, path, &err), &err);
    byte ^= 0x40;
    CHECK_OK(fd_pwrite(fd, &byte, 1, offset, path, &err), &err);
}

static void
a_flipped_bit_is_found_and_its_dependants_named(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "flip", REPO_CREATE);
    AUTO_REPO_POINT struct repo_point *full = NULL;
    AUTO_REPO_POINT struct repo_point *top = NULL;
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *image = NULL;
    struct copy_options options = {.threads = 1};
    struct error err = ERROR_INIT;
    struct points points;

    points_init(&points, 6);
    memset(points.disks[1], 7, POINTS_SIZE);
    REQUIRE(points_line(&points, repo, 2));
    full = repo_read_point(repo, POINTS_VM, points.made[0].uuid.text, &err);
    top = repo_read_point(repo, POINTS_VM, points.made[1].uuid.text, &err);
    REQUIRE(full != NULL && top != NULL);
    CHECK_OK(repo_verify_point(repo, full, &options, &verdict, &err), &err);
    CHECK(verdict.good && verdict.bytes == POINTS_VOLUMES * POINTS_SIZE);
    repo_verdict_release(&verdict);

    /* The volume 1 is not compressed: its data start in the second cluster. */
    image = repo_image_path(repo, full, &full->volumes[1]);
    flip_byte(image, 65536 + 100);
    CHECK_OK(repo_verify_point(repo, full, &options, &verdict, &err), &err);
    REQUIRE(!verdict.good && verdict.wrong_count == 1);
    CHECK_TEXT(verdict.wrong[0].volume.text, points_volumes[1]);
    CHECK(verdict.wrong[0].leaves == 1 && verdict.wrong[0].unreadable == 0);
    CHECK_TEXT(verdict.wrong[0].file, image);
    CHECK(verdict.wrong[0].point_count == 2);
    CHECK_TEXT(verdict.wrong[0].points[0].point.text, points.made[0].uuid.text);
    CHECK_TEXT(verdict.wrong[0].points[1].point.text, points.made[1].uuid.text);

    /* Nothing is restored from it. */
    CHECK(repo_restore_volume(repo, full, &full->volumes[1], "never", IMAGE_RAW,
                              NULL, &options, &err) == -1);
    CHECK(err.code == ERROR_CORRUPT && !fd_exists("never"));
    CHECK(repo_restore_volume(repo, full, &full->volumes[1], "never",
                              IMAGE_QCOW2, NULL, &options, &err) == -1);
    CHECK(!fd_exists("never"));
    CHECK_OK(repo_restore_volume(repo, full, &full->volumes[0], "good",
                                 IMAGE_RAW, NULL, &options, &err),
             &err);
    (void)unlink("good");
    points_release(&points);
}

/* A line of three points; in volume 0 the leaf 0 is new in the point 1, and
 * the leaf 3 is the same in all of them. */
static bool
make_layered_line(struct points *points, const struct repo *repo)
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < 3; i++) {
        struct uuid uuid;

        uuid_new(&uuid);
        if (points_make(points, repo, &uuid,
                        i > 0 ? points->made[i - 1].uuid.text : NULL,
                        &err) < 0) {
            printf("# %s\n", err.message);
            return false;
        }
        points_note(points, &uuid);
        if (i == 0)
            sample_fill_noise(&points->sample, points->disks[0],
                              DIGEST_LEAF_SIZE);
        else
            points->disks[0][POINTS_SIZE - 1] ^= 1;
    }
    return true;
}

/* Damage the compressed cluster that starts as these bytes do. */
static void
damage_file(const char *path, uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        flip_byte(path, offset + i);
}

static char *
file_of(const struct repo *repo, const struct points *points, size_t point,
        size_t volume, const char *suffix)
{
    return xasprintf("%s/backups/" POINTS_ACCOUNT "/%s/%s%s", repo_path(repo),
                     points_volumes[volume], points->made[point].uuid.text,
                     suffix);
}

static bool
verify(const struct repo *repo, const struct points *points, size_t n,
       struct repo_verdict *verdict)
{
    struct copy_options options = {.threads = 2};
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, POINTS_VM, points->made[n].uuid.text, &err);

    repo_verdict_release(verdict);
    if (point == NULL ||
        repo_verify_point(repo, point, &options, verdict, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    return true;
}

static void
what_cannot_be_decompressed_is_found_and_the_rest_is_read(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "packed", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *image = NULL;
    AUTO_FREE char *other = NULL;
    struct points points;

    points_init(&points, 31);
    sample_fill_text(&points.sample, points.disks[0], POINTS_SIZE);
    memset(points.disks[1], 7, POINTS_SIZE);
    REQUIRE(make_layered_line(&points, repo));
    image = file_of(repo, &points, 0, 0, ".qcow2");
    other = file_of(repo, &points, 0, 1, ".qcow2");
    /* Compressed clusters, and in the other volume plain ones. */
    damage_file(image, 65536, 8);
    flip_byte(other, 5 * 65536 + 100);
    REQUIRE(verify(repo, &points, 0, &verdict));
    REQUIRE(!verdict.good && verdict.wrong_count == 2);
    CHECK(verdict.bytes == POINTS_VOLUMES * POINTS_SIZE);
    CHECK_TEXT(verdict.wrong[0].file, image);
    CHECK(verdict.wrong[0].unreadable == 1 && verdict.wrong[0].leaves == 1);
    CHECK(verdict.wrong[0].why[0] != '\0');
    CHECK(verdict.wrong[0].points[1].is_spared);
    CHECK_TEXT(verdict.wrong[1].file, other);
    CHECK(verdict.wrong[1].offset == 4 * DIGEST_LEAF_SIZE);
    CHECK(!verdict.wrong[1].points[1].is_spared);
    CHECK(verdict.wrong[1].unreadable == 0 && verdict.wrong[1].leaves == 1);
    points_release(&points);
}

static void
points_with_newer_data_there_are_spared(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "spared", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *image = NULL;
    struct points points;

    points_init(&points, 32);
    for (size_t i = 0; i < POINTS_SIZE; i += DIGEST_LEAF_SIZE)
        sample_fill_noise(&points.sample, points.disks[0] + i,
                          DIGEST_LEAF_SIZE);
    REQUIRE(make_layered_line(&points, repo));
    image = file_of(repo, &points, 0, 0, ".qcow2");
    /* The random leaf 0 is stored as it is, first in the file. */
    flip_byte(image, 65536 + 100);
    REQUIRE(verify(repo, &points, 0, &verdict));
    REQUIRE(verdict.wrong_count == 1 && verdict.wrong[0].point_count == 3);
    CHECK(verdict.wrong[0].offset == 0 && verdict.wrong[0].leaves == 1);
    CHECK(!verdict.wrong[0].points[0].is_spared);
    CHECK(verdict.wrong[0].points[1].is_spared);
    CHECK(verdict.wrong[0].points[2].is_spared);
    REQUIRE(verify(repo, &points, 1, &verdict) && verdict.good);
    points_release(&points);
}

static void
a_missing_or_broken_file_is_named(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "missing", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *image = NULL;
    AUTO_FREE char *away = NULL;
    struct error err = ERROR_INIT;
    struct points points;
    struct uuid uuid;

    points_init(&points, 7);
    REQUIRE(points_line(&points, repo, 3));
    image = file_of(repo, &points, 1, 0, ".qcow2");
    away = xasprintf("%s.away", image);
    CHECK(rename(image, away) == 0);
    REQUIRE(verify(repo, &points, 2, &verdict));
    REQUIRE(verdict.wrong_count == 1);
    CHECK_TEXT(verdict.wrong[0].file, image);
    CHECK(verdict.wrong[0].leaves == POINTS_SIZE / DIGEST_LEAF_SIZE);
    CHECK(verdict.wrong[0].unreadable == verdict.wrong[0].leaves);
    CHECK(verdict.wrong[0].point_count == 2 &&
          !verdict.wrong[0].points[1].is_spared);
    REQUIRE(verify(repo, &points, 0, &verdict) && verdict.good);
    /* Nothing can build on it either. */
    uuid_new(&uuid);
    CHECK(points_make(&points, repo, &uuid, points.made[2].uuid.text, &err) ==
          -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK(rename(away, image) == 0);

    flip_byte(image, 1); /* the magic number */
    REQUIRE(verify(repo, &points, 2, &verdict));
    REQUIRE(verdict.wrong_count == 1);
    CHECK_TEXT(verdict.wrong[0].file, image);
    points_release(&points);
}

static void
a_damaged_index_is_named_and_the_content_called_unproved(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "index", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *index = NULL;
    struct points points;

    points_init(&points, 9);
    memset(points.disks[0], 7, POINTS_SIZE);
    REQUIRE(points_line(&points, repo, 2));
    index = file_of(repo, &points, 0, 0, ".idx");
    flip_byte(index, 256 + 40); /* the lowest node, behind the header */
    REQUIRE(verify(repo, &points, 0, &verdict));
    REQUIRE(verdict.wrong_count == 1);
    CHECK(verdict.wrong[0].is_index && verdict.wrong[0].leaves > 0);
    CHECK_TEXT(verdict.wrong[0].file, index);
    CHECK(verdict.wrong[0].why[0] != '\0');
    CHECK(unlink(index) == 0);
    REQUIRE(verify(repo, &points, 0, &verdict));
    REQUIRE(verdict.wrong_count == 1);
    CHECK_TEXT(verdict.wrong[0].file, index);
    points_release(&points);
}

static void
a_point_removed_meanwhile_has_no_verdict(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "removed", REPO_CREATE);
    struct repo_removed removed;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    struct copy_options options = {.threads = 1};
    struct error err = ERROR_INIT;
    struct points points;

    points_init(&points, 10);
    REQUIRE(points_line(&points, repo, 1));
    point = repo_read_point(repo, POINTS_VM, points.made[0].uuid.text, &err);
    REQUIRE(point != NULL);
    CHECK_OK(repo_remove_point(repo, POINTS_VM, points.made[0].uuid.text,
                               &removed, &err),
             &err);
    CHECK(repo_verify_point(repo, point, &options, &verdict, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    points_release(&points);
}

/* -- scrubbing ----------------------------------------------------------- */

/* Run a pass to its end, with a new object for each step; what was found
 * first goes to ret_verdict. */
static unsigned
scrub_all(const struct repo *repo, uint64_t length,
          struct copy_progress *ret_sum, struct repo_verdict *ret_verdict)
{
    struct repo_scrub_position position = {.key = ""};
    struct repo_scrub_progress progress = {.files_done = 0};
    struct error err = ERROR_INIT;
    unsigned steps = 0;
    int more;

    repo_verdict_release(ret_verdict);
    do {
        struct copy_progress watched = {.total = 0};
        struct copy_options options = {.threads = 1, .progress = &watched};
        AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
        AUTO_REPO_SCRUB struct repo_scrub *pass =
            repo_scrub_new(repo, &position, &err);

        more = pass == NULL
                   ? -1
                   : repo_scrub_step(pass, length, &options, &verdict, &err);
        CHECK_OK(more < 0 ? -1 : 0, &err);
        if (more < 0)
            return 0;
        repo_scrub_where(pass, &position, &progress);
        if (position.key[0] == '\0')
            (void)snprintf(position.key, sizeof(position.key), "~");
        ret_sum->read += watched.read;
        ret_sum->done += watched.done;
        steps += more > 0;
        if (ret_verdict->wrong_count == 0 && verdict.wrong_count > 0) {
            *ret_verdict = verdict;
            verdict = (struct repo_verdict)REPO_VERDICT_INIT;
        }
    } while (more > 0 && steps < 10000);
    CHECK(progress.files_done == progress.files_total);
    return steps;
}

static void
a_pass_reads_each_file_once(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "pass", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    struct copy_progress sum = {.total = 0};
    struct copy_progress slices = {.total = 0};
    struct repo_removed removed;
    struct error err = ERROR_INIT;
    struct points points;

    points_init(&points, 41);
    for (size_t i = 0; i < POINTS_VOLUMES; i++)
        sample_fill_noise(&points.sample, points.disks[i], POINTS_SIZE);
    REQUIRE(points_line(&points, repo, 8));
    CHECK(scrub_all(repo, UINT64_MAX, &sum, &verdict) == 8 * POINTS_VOLUMES);
    CHECK(verdict.wrong_count == 0);
    /* The whole disks once, and what changed; not eight times all. */
    CHECK(sum.done >= POINTS_VOLUMES * POINTS_SIZE &&
          sum.done < 3 * POINTS_VOLUMES * POINTS_SIZE);
    CHECK(scrub_all(repo, 3 * DIGEST_LEAF_SIZE, &slices, &verdict) >
          8 * POINTS_VOLUMES);
    CHECK(verdict.wrong_count == 0 && slices.done == sum.done);
    /* A point without a manifest: its file is read for those who need it. */
    CHECK_OK(repo_remove_point(repo, POINTS_VM, points.made[3].uuid.text,
                               &removed, &err),
             &err);
    CHECK(scrub_all(repo, UINT64_MAX, &sum, &verdict) == 8 * POINTS_VOLUMES);
    CHECK(verdict.wrong_count == 0);
    points_release(&points);
}

static void
a_pass_finds_what_a_verification_finds(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "finds", REPO_CREATE);
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    AUTO_FREE char *image = NULL;
    AUTO_FREE char *index = NULL;
    struct copy_progress sum = {.total = 0};
    struct points points;

    points_init(&points, 42);
    for (size_t i = 0; i < POINTS_SIZE; i += DIGEST_LEAF_SIZE)
        sample_fill_noise(&points.sample, points.disks[0] + i,
                          DIGEST_LEAF_SIZE);
    REQUIRE(make_layered_line(&points, repo));
    image = file_of(repo, &points, 0, 0, ".qcow2");
    index = file_of(repo, &points, 2, 1, ".idx");
    flip_byte(image, 65536 + 100);
    (void)scrub_all(repo, 2 * DIGEST_LEAF_SIZE, &sum, &verdict);
    REQUIRE(verdict.wrong_count == 1 && verdict.wrong[0].point_count == 3);
    CHECK_TEXT(verdict.wrong[0].file, image);
    CHECK(!verdict.wrong[0].points[0].is_spared &&
          verdict.wrong[0].points[1].is_spared);
    flip_byte(image, 65536 + 100);
    (void)scrub_all(repo, UINT64_MAX, &sum, &verdict);
    CHECK(verdict.wrong_count == 0);

    flip_byte(index, 5);
    (void)scrub_all(repo, UINT64_MAX, &sum, &verdict);
    REQUIRE(verdict.wrong_count == 1 && verdict.wrong[0].is_index);
    CHECK_TEXT(verdict.wrong[0].file, index);
    CHECK(unlink(image) == 0);
    flip_byte(index, 5);
    (void)scrub_all(repo, UINT64_MAX, &sum, &verdict);
    REQUIRE(verdict.wrong_count == 1);
    CHECK_TEXT(verdict.wrong[0].file, image);
    points_release(&points);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_flipped_bit_is_found_and_its_dependants_named);
    RUN(what_cannot_be_decompressed_is_found_and_the_rest_is_read);
    RUN(points_with_newer_data_there_are_spared);
    RUN(a_missing_or_broken_file_is_named);
    RUN(a_damaged_index_is_named_and_the_content_called_unproved);
    RUN(a_point_removed_meanwhile_has_no_verdict);
    RUN(a_pass_reads_each_file_once);
    RUN(a_pass_finds_what_a_verification_finds);
    scratch_leave(&scratch);
    return check_done();
}
