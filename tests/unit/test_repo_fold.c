/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"
#include "points.h"

#include "base/fault.h"
#include "base/fd.h"
#include "repo/repo_scrub.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;
static const struct copy_options copying = {.threads = 2};
static const struct repo_fold_options options = {.copy = &copying};

static bool
has_file(const struct repo *repo, const char *uuid, const char *suffix)
{
    AUTO_FREE char *path =
        xasprintf("%s/backups/" POINTS_ACCOUNT "/%s/%s%s", repo_path(repo),
                  points_volumes[0], uuid, suffix);

    return fd_exists(path);
}

static size_t
chain_length(const struct repo *repo, const char *uuid)
{
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, POINTS_VM, uuid, &err);

    return point == NULL ? 0 : point->volumes[0].chain_count;
}

/* A pass to its end finds nothing wrong. */
static void
check_scrub(struct repo_scrub *scrub)
{
    struct error err = ERROR_INIT;
    int more = 1;

    while (more > 0) {
        AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

        more = repo_scrub_step(scrub, POINTS_SIZE, &copying, &verdict, &err);
        CHECK_OK(more < 0 ? -1 : 0, &err);
        if (verdict.wrong_count > 0)
            printf("# %s: %s\n", verdict.wrong[0].file, verdict.wrong[0].why);
        CHECK(verdict.wrong_count == 0);
    }
}

/* Every point is there, restores, verifies, and nothing is left over. */
static void
check_all(const struct points *points, const struct repo *repo, size_t count)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    AUTO_REPO_SCRUB struct repo_scrub *scrub = NULL;
    struct repo_settled settled = {.strays = 9};
    struct error err = ERROR_INIT;

    CHECK_OK(repo_list_points(repo, NULL, &list, &err), &err);
    CHECK(list.count == count && list.bad_count == 0);
    for (size_t i = 0; i < list.count; i++) {
        AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

        CHECK(points_restores(points, repo, list.points[i],
                              i % 2 == 0 ? IMAGE_RAW : IMAGE_QCOW2));
        CHECK_OK(
            repo_verify_point(repo, list.points[i], &copying, &verdict, &err),
            &err);
        CHECK(verdict.good);
    }
    CHECK_OK(repo_settle(repo, NULL, NULL, NULL, &settled, &err), &err);
    CHECK(settled.strays == 0 && settled.folds == 0);
    scrub = repo_scrub_new(repo, NULL, &err);
    REQUIRE(scrub != NULL);
    check_scrub(scrub);
}

static int
fold(const struct repo *repo, const char *point, const char *oldest,
     struct repo_folded *folded, struct error *err)
{
    return repo_fold(repo, POINTS_VM, point, oldest, &options, folded, err);
}

static bool
remove_point(const struct repo *repo, const char *uuid)
{
    struct repo_removed removed;
    struct error err = ERROR_INIT;

    return repo_remove_point(repo, POINTS_VM, uuid, &removed, &err) == 0;
}

static void
any_part_of_a_line_folds_and_every_point_restores(void)
{
    for (size_t top = 1; top < 5; top++) {
        for (size_t below = 0; below < top; below++) {
            AUTO_FREE char *name = xasprintf("r%zu%zu", top, below);
            AUTO_REPO struct repo *repo =
                points_repo(&scratch, name, REPO_CREATE);
            struct points points;
            struct repo_folded folded = {.moved = 0};
            struct error err = ERROR_INIT;

            REQUIRE(repo != NULL);
            points_init(&points, 10 * top + below + 1);
            REQUIRE(points_line(&points, repo, 5));
            /* Dead ones go with the fold, living ones keep their files. */
            if (below < top - 1)
                CHECK(remove_point(repo, points.made[top - 1].uuid.text));
            CHECK_OK(fold(repo, points.made[top].uuid.text,
                          below > 0 ? points.made[below].uuid.text : NULL,
                          &folded, &err),
                     &err);
            CHECK(folded.moved + folded.plain > 0 && folded.points == 4 - top);
            CHECK(chain_length(repo, points.made[top].uuid.text) == below + 1);
            CHECK(chain_length(repo, points.made[4].uuid.text) ==
                  below + 1 + (4 - top));
            CHECK(has_file(repo, points.made[top - 1].uuid.text, ".qcow2") ==
                  (below == top - 1));
            check_all(&points, repo, below < top - 1 ? 4 : 5);
            points_release(&points);
        }
    }
}

static void
a_folded_line_goes_on_and_folds_again(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "again", REPO_CREATE);
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;

    REQUIRE(repo != NULL);
    points_init(&points, 91);
    REQUIRE(points_line(&points, repo, 3));
    /* For ever incremental: the oldest goes, the next becomes the full. */
    for (size_t i = 0; i < 8; i++) {
        CHECK_OK(fold(repo, points.made[i + 1].uuid.text, NULL, &folded, &err),
                 &err);
        CHECK(remove_point(repo, points.made[i].uuid.text));
        CHECK(!has_file(repo, points.made[i].uuid.text, ".qcow2"));
        CHECK(!has_file(repo, points.made[i].uuid.text, ".idx"));
        CHECK(points_push(&points, repo, points.made[i + 2].uuid.text));
        CHECK(chain_length(repo, points.made[i + 3].uuid.text) == 3);
        if (i % 3 == 0)
            check_all(&points, repo, 3);
    }
    check_all(&points, repo, 3);
    points_release(&points);
}

static void
lines_that_share_what_is_folded_go_on(void)
{
    AUTO_REPO struct repo *repo =
        points_repo(&scratch, "branches", REPO_CREATE);
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;

    REQUIRE(repo != NULL);
    points_init(&points, 92);
    REQUIRE(points_line(&points, repo, 3));
    /* Another line from the second, and one from the third. */
    for (size_t from = 1; from < 3; from++) {
        for (size_t i = 0; i < POINTS_VOLUMES; i++)
            memcpy(points.disks[i], points.made[from].disks[i], POINTS_SIZE);
        points_change(&points);
        REQUIRE(points_push(&points, repo, points.made[from].uuid.text));
        REQUIRE(points_push(&points, repo,
                            points.made[points.count - 1].uuid.text));
    }
    CHECK_OK(fold(repo, points.made[2].uuid.text, NULL, &folded, &err), &err);
    CHECK(folded.points == 2 && folded.kept == 4);
    check_all(&points, repo, 7);
    CHECK_OK(fold(repo, points.made[4].uuid.text, points.made[1].uuid.text,
                  &folded, &err),
             &err);
    check_all(&points, repo, 7);
    points_release(&points);
}

static void
qemu_reads_what_was_folded_and_what_rests_on_it(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "qemu", REPO_CREATE);
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;

    REQUIRE(repo != NULL);
    points_init(&points, 93);
    REQUIRE(points_line(&points, repo, 4));
    CHECK_OK(fold(repo, points.made[2].uuid.text, NULL, &folded, &err), &err);
    for (size_t i = 0; i < 4; i++) {
        AUTO_FREE char *path = xasprintf(
            "%s/backups/" POINTS_ACCOUNT "/%s/%s.qcow2", repo_path(repo),
            points_volumes[1], points.made[i].uuid.text);

        CHECK(oracle("qemu-img", "check", "-q", path));
        (void)unlink("raw");
        sample_store("raw", points.made[i].disks[1], POINTS_SIZE);
        CHECK(oracle("qemu-img", "compare", "-q", path, "raw"));
    }
    points_release(&points);
}

static void
a_reader_goes_on_with_what_it_has_open(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "reader", REPO_CREATE);
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    AUTO_BLOCKDEV struct blockdev *later = NULL;
    AUTO_FREE uint8_t *bytes = xmalloc(POINTS_SIZE);

    REQUIRE(repo != NULL);
    points_init(&points, 94);
    REQUIRE(points_line(&points, repo, 4));
    point = repo_read_point(repo, POINTS_VM, points.made[3].uuid.text, &err);
    REQUIRE(point != NULL);
    device = repo_open_volume(repo, point, &point->volumes[0], 0, &err);
    REQUIRE(device != NULL);
    for (size_t i = 0; i < 2; i++)
        CHECK(remove_point(repo, points.made[i].uuid.text));
    CHECK_OK(fold(repo, points.made[2].uuid.text, NULL, &folded, &err), &err);
    CHECK(folded.removed.files == 4 && folded.kept == 0);
    CHECK_OK(blockdev_read(device, bytes, POINTS_SIZE, 0, &err), &err);
    CHECK(memcmp(bytes, points.made[3].disks[0], POINTS_SIZE) == 0);
    /* Who has read the manifest before opens what is there now. */
    later = repo_open_volume(repo, point, &point->volumes[0], 0, &err);
    REQUIRE(later != NULL);
    CHECK_OK(blockdev_read(later, bytes, POINTS_SIZE, 0, &err), &err);
    CHECK(memcmp(bytes, points.made[3].disks[0], POINTS_SIZE) == 0);
    points_release(&points);
}

static void
a_pass_that_a_fold_overtakes_calls_nothing_damaged(void)
{
    AUTO_REPO struct repo *repo =
        points_repo(&scratch, "overtaken", REPO_CREATE);
    struct points points;
    struct error err = ERROR_INIT;

    REQUIRE(repo != NULL);
    points_init(&points, 97);
    REQUIRE(points_line(&points, repo, 5));
    for (size_t i = 0; i < 2; i++)
        CHECK(remove_point(repo, points.made[i].uuid.text));
    for (size_t i = 2; i < 5; i++) {
        AUTO_REPO_SCRUB struct repo_scrub *scrub =
            repo_scrub_new(repo, NULL, &err);
        struct repo_folded folded;

        REQUIRE(scrub != NULL);
        CHECK_OK(fold(repo, points.made[i].uuid.text, NULL, &folded, &err),
                 &err);
        check_scrub(scrub);
    }
    check_all(&points, repo, 3);
    points_release(&points);
}

static void
damage_stays_damage_and_is_not_folded_when_asked(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "damaged", REPO_CREATE);
    AUTO_FREE char *path = NULL;
    const struct repo_fold_options proved = {.copy = &copying, .verify = true};
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;
    int fd;

    REQUIRE(repo != NULL);
    points_init(&points, 95);
    /* The second volume is plain: a flipped byte is a wrong byte. */
    memset(points.disks[1], 7, POINTS_SIZE);
    REQUIRE(points_line(&points, repo, 2));
    CHECK_OK(repo_fold(repo, POINTS_VM, points.made[1].uuid.text, NULL, &proved,
                       &folded, &err),
             &err);
    REQUIRE(points_push(&points, repo, points.made[1].uuid.text));
    path =
        xasprintf("%s/backups/" POINTS_ACCOUNT "/%s/%s.qcow2", repo_path(repo),
                  points_volumes[1], points.made[1].uuid.text);
    fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    for (off_t at = 65536; at < 65536 + (off_t)POINTS_SIZE; at += 65536)
        CHECK(pwrite(fd, "\x55", 1, at) == 1);
    (void)close(fd);

    CHECK(repo_fold(repo, POINTS_VM, points.made[2].uuid.text, NULL, &proved,
                    &folded, &err) < 0);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(chain_length(repo, points.made[2].uuid.text) == 2);
    error_clear(&err);
    CHECK_OK(fold(repo, points.made[2].uuid.text, NULL, &folded, &err), &err);
    point = repo_read_point(repo, POINTS_VM, points.made[2].uuid.text, &err);
    REQUIRE(point != NULL);
    CHECK_OK(repo_verify_point(repo, point, &copying, &verdict, &err), &err);
    CHECK(!verdict.good);
    points_release(&points);
}

static void
what_cannot_be_folded_is_refused_by_name(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "refused", REPO_CREATE);
    AUTO_REPO_POINT struct repo_point *parent = NULL;
    AUTO_REPO_POINT struct repo_point *next = NULL;
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    AUTO_FREE char *bad = NULL;
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;
    struct uuid other;

    REQUIRE(repo != NULL);
    points_init(&points, 96);
    REQUIRE(points_line(&points, repo, 2));
    uuid_new(&other);
    CHECK(fold(repo, other.text, NULL, &folded, &err) < 0 &&
          err.code == ERROR_NOT_FOUND);
    CHECK(fold(repo, points.made[0].uuid.text, NULL, &folded, &err) < 0 &&
          err.code == ERROR_CONFLICT);
    CHECK(fold(repo, points.made[1].uuid.text, other.text, &folded, &err) < 0 &&
          err.code == ERROR_INVALID);
    CHECK(fold(repo, points.made[1].uuid.text, points.made[1].uuid.text,
               &folded, &err) < 0 &&
          err.code == ERROR_CONFLICT);

    parent = repo_read_point(repo, POINTS_VM, points.made[1].uuid.text, &err);
    next = points_describe(&other, parent);
    stage = repo_stage_begin(repo, &next, &err);
    REQUIRE(stage != NULL);
    CHECK(fold(repo, points.made[1].uuid.text, NULL, &folded, &err) < 0 &&
          err.code == ERROR_BUSY);
    CHECK(strstr(err.message, other.text) != NULL);
    CHECK_OK(repo_stage_discard(stage, &err), &err);

    bad = xasprintf("%s/points/" POINTS_VM "/%s.json", repo_path(repo),
                    other.text);
    sample_store(bad, (const uint8_t *)"{}", 2);
    CHECK(fold(repo, points.made[1].uuid.text, NULL, &folded, &err) < 0 &&
          err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, bad) != NULL);
    CHECK(unlink(bad) == 0);
    error_clear(&err);
    CHECK_OK(fold(repo, points.made[1].uuid.text, NULL, &folded, &err), &err);
    check_all(&points, repo, 2);
    points_release(&points);
}

/* A stage whose last step, the unlinking of its marker, failed. */
static void
what_a_publishing_left_is_tidied_first(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "left", REPO_CREATE);
    struct points points;
    struct repo_folded folded;
    struct error err = ERROR_INIT;
    AUTO_FREE char *marker = NULL;
    uint64_t passes;

    REQUIRE(repo != NULL);
    points_init(&points, 95);
    REQUIRE(points_line(&points, repo, 1));
    fault_arm("fd.unlink", 0, FAULT_COUNT);
    REQUIRE(points_push(&points, repo, points.made[0].uuid.text));
    passes = fault_passes();
    fault_arm("fd.unlink", passes, FAULT_FAIL);
    REQUIRE(points_push(&points, repo, points.made[1].uuid.text));
    fault_disarm();
    marker = xasprintf("%s/points/" POINTS_VM "/%s.stage", repo_path(repo),
                       points.made[2].uuid.text);
    CHECK(fd_exists(marker));
    CHECK_OK(fold(repo, points.made[2].uuid.text, NULL, &folded, &err), &err);
    CHECK(!fd_exists(marker));
    check_all(&points, repo, 3);
    points_release(&points);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(any_part_of_a_line_folds_and_every_point_restores);
    RUN(a_folded_line_goes_on_and_folds_again);
    RUN(lines_that_share_what_is_folded_go_on);
    RUN(qemu_reads_what_was_folded_and_what_rests_on_it);
    RUN(a_reader_goes_on_with_what_it_has_open);
    RUN(a_pass_that_a_fold_overtakes_calls_nothing_damaged);
    RUN(damage_stays_damage_and_is_not_folded_when_asked);
    RUN(what_cannot_be_folded_is_refused_by_name);
    RUN(what_a_publishing_left_is_tidied_first);
    scratch_leave(&scratch);
    return check_done();
}
