/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"
#include "points.h"

#include "base/fault.h"
#include "base/fd.h"
#include "repo/base64.h"
#include "repo/manifest.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;

static bool
has_file(const struct repo *repo, const struct points *points, size_t n)
{
    AUTO_FREE char *path =
        xasprintf("%s/backups/" POINTS_ACCOUNT "/%s/%s.qcow2", repo_path(repo),
                  points_volumes[0], points->made[n].uuid.text);
    AUTO_FREE char *index =
        xasprintf("%s/backups/" POINTS_ACCOUNT "/%s/%s.idx", repo_path(repo),
                  points_volumes[0], points->made[n].uuid.text);

    return fd_exists(path) && fd_exists(index);
}

static char *
manifest_path(const struct repo *repo, const char *point)
{
    return xasprintf("%s/points/" POINTS_VM "/%s.json", repo_path(repo), point);
}

/* All points that the list has restore right; there are `count`. */
static bool
all_restore(const struct points *points, const struct repo *repo, size_t count)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    struct error err = ERROR_INIT;

    if (repo_list_points(repo, NULL, &list, &err) < 0 || list.count != count) {
        printf("# %zu points, not %zu; %s\n", list.count, count, err.message);
        return false;
    }
    for (size_t i = 0; i < list.count; i++) {
        if (!points_restores(points, repo, list.points[i],
                             i % 2 == 0 ? IMAGE_RAW : IMAGE_QCOW2))
            return false;
    }
    return true;
}

static size_t
remove_point(const struct repo *repo, const char *point)
{
    struct repo_removed removed;
    struct error err = ERROR_INIT;

    CHECK_OK(repo_remove_point(repo, POINTS_VM, point, &removed, &err), &err);
    return removed.files;
}

/* -- the repository ----------------------------------------------------- */

static void
a_directory_becomes_a_repository_once(void)
{
    AUTO_FREE char *path = scratch_file(&scratch, "once");
    AUTO_FREE char *file = xasprintf("%s/varve-repository.json", path);
    AUTO_REPO struct repo *first = NULL;
    AUTO_REPO struct repo *second = NULL;
    struct error err = ERROR_INIT;

    CHECK(repo_open(path, 0, &err) == NULL && err.code == ERROR_NOT_FOUND);
    CHECK(!fd_exists(path));
    first = repo_open(path, REPO_CREATE, &err);
    second = repo_open(path, REPO_CREATE, &err);
    REQUIRE(first != NULL && second != NULL);
    CHECK_TEXT(repo_uuid(second), repo_uuid(first));
    CHECK_TEXT(repo_path(second), path);
    CHECK_OK(repo_require_space(first, 1, &err), &err);
    CHECK(repo_require_space(first, UINT64_MAX, &err) == -1);
    CHECK(err.code == ERROR_NO_SPACE);
    /* The share went away and left the directory it was mounted on. */
    CHECK(rename(file, "elsewhere") == 0);
    CHECK(repo_open(path, 0, &err) == NULL && err.code == ERROR_NOT_FOUND);
}

static void
a_directory_of_something_else_is_left_alone(void)
{
    AUTO_FREE char *path = scratch_file(&scratch, "other");
    AUTO_FREE char *file = xasprintf("%s/varve-repository.json", path);
    const char *newer = "{\"format\":\"varve-repository\",\"version\":2,"
                        "\"uuid\":\"" POINTS_VM "\"}";
    struct error err = ERROR_INIT;

    CHECK_OK(fd_make_directories("other/inside", 0700, &err), &err);
    CHECK(repo_open(path, REPO_CREATE, &err) == NULL);
    CHECK(err.code == ERROR_CONFLICT && !fd_exists(file));
    CHECK_OK(fd_replace_file(file, "{}", 2, 0600, &err), &err);
    CHECK(repo_open(path, 0, &err) == NULL && err.code == ERROR_CORRUPT);
    CHECK_OK(fd_replace_file(file, newer, strlen(newer), 0600, &err), &err);
    CHECK(repo_open(path, 0, &err) == NULL && err.code == ERROR_UNSUPPORTED);
}

/* -- points ------------------------------------------------------------- */

static void
every_point_restores_what_it_was_made_from(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "restore", REPO_CREATE);
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    struct repo_settled settled;
    struct error err = ERROR_INIT;
    struct points points;

    points_init(&points, 1);
    REQUIRE(points_line(&points, repo, 4));
    CHECK(all_restore(&points, repo, 4));
    CHECK_OK(repo_list_points(repo, POINTS_VM, &list, &err), &err);
    REQUIRE(list.count == 4 && list.bad_count == 0);
    for (size_t i = 0; i < 4; i++) {
        const struct repo_point *point = list.points[i];

        CHECK_TEXT(point->uuid.text, points.made[i].uuid.text);
        CHECK(point->type == (i == 0 ? REPO_FULL : REPO_INCREMENTAL));
        CHECK(point->volumes[0].chain_count == i + 1);
        CHECK(point->volumes[1].stored > 0);
        CHECK((point->volumes[0].full_reason != NULL) == (i == 0));
        CHECK_TEXT(point->volumes[1].target, "vdb");
        CHECK(point->nvram_length == 10 && point->nvram[9] == 0);
        CHECK_TEXT(repo_point_detail(point, "quiesced"), "true");
        CHECK(strstr(point->domain_xml, "w\xc3\xa4hb") != NULL);
    }
    CHECK_OK(repo_settle(repo, NULL, NULL, NULL, &settled, &err), &err);
    CHECK(settled.stages == 0 && settled.removals == 0 && settled.strays == 0);
    points_release(&points);
}

/* No lock-in: qemu-img finds the whole chain by itself. */
static void
qemu_reads_a_point_without_us(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "qemu", REPO_CREATE);
    AUTO_REPO_POINT struct repo_point *point = NULL;
    struct error err = ERROR_INIT;
    struct points points;

    points_init(&points, 2);
    REQUIRE(points_line(&points, repo, 3));
    point = repo_read_point(repo, POINTS_VM, points.made[2].uuid.text, &err);
    REQUIRE(point != NULL);
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        AUTO_FREE char *image =
            repo_image_path(repo, point, &point->volumes[i]);

        sample_store("expected.raw", points.made[2].disks[i], POINTS_SIZE);
        CHECK(oracle("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw",
                     image, "expected.raw"));
        CHECK(oracle("qemu-img", "check", "-q", image));
        (void)unlink("expected.raw");
    }
    points_release(&points);
}

static void
files_stay_while_a_living_point_needs_them(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "remove", REPO_CREATE);
    struct points points;

    points_init(&points, 3);
    REQUIRE(points_line(&points, repo, 4));
    /* In the middle: nothing may go. */
    CHECK(remove_point(repo, points.made[1].uuid.text) == 0);
    CHECK(has_file(repo, &points, 1) && all_restore(&points, repo, 3));
    /* The top: its files go, and only they. */
    CHECK(remove_point(repo, points.made[3].uuid.text) == POINTS_VOLUMES);
    CHECK(!has_file(repo, &points, 3) && has_file(repo, &points, 2));
    CHECK(all_restore(&points, repo, 2));
    /* The next: it takes the dead one under it along. */
    CHECK(remove_point(repo, points.made[2].uuid.text) == 2 * POINTS_VOLUMES);
    CHECK(!has_file(repo, &points, 1) && has_file(repo, &points, 0));
    CHECK(all_restore(&points, repo, 1));
    CHECK(remove_point(repo, points.made[0].uuid.text) == POINTS_VOLUMES);
    CHECK(all_restore(&points, repo, 0));
    /* Again: nothing to do is success. */
    CHECK(remove_point(repo, points.made[0].uuid.text) == 0);
    points_release(&points);
}

static void
two_lines_share_what_is_below_both(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "lines", REPO_CREATE);
    struct points points;
    struct uuid uuid;
    struct error err = ERROR_INIT;

    points_init(&points, 4);
    REQUIRE(points_line(&points, repo, 3));
    uuid_new(&uuid);
    CHECK_OK(points_make(&points, repo, &uuid, points.made[0].uuid.text, &err),
             &err);
    points_note(&points, &uuid);
    CHECK(all_restore(&points, repo, 4));
    CHECK(remove_point(repo, points.made[0].uuid.text) == 0);
    CHECK(remove_point(repo, points.made[2].uuid.text) == POINTS_VOLUMES);
    CHECK(remove_point(repo, points.made[1].uuid.text) == POINTS_VOLUMES);
    CHECK(has_file(repo, &points, 0) && all_restore(&points, repo, 1));
    points_release(&points);
}

/* -- damage ------------------------------------------------------------- */

static void
a_damaged_manifest_is_told_and_blocks_unlinking(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "damaged", REPO_CREATE);
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = NULL;
    struct repo_removed removed;
    struct error err = ERROR_INIT;
    struct points points;
    size_t length;

    points_init(&points, 5);
    REQUIRE(points_line(&points, repo, 3));
    path = manifest_path(repo, points.made[1].uuid.text);
    CHECK_OK(fd_read_file(path, REPO_MANIFEST_MAX, &text, &length, &err), &err);
    *strstr(text, "web1") = 'W';
    CHECK_OK(fd_replace_file(path, text, length, 0600, &err), &err);
    CHECK_OK(repo_list_points(repo, NULL, &list, &err), &err);
    REQUIRE(list.count == 2 && list.bad_count == 1);
    CHECK_TEXT(list.bad[0].path, path);
    CHECK(strstr(list.bad[0].reason, "checksum") != NULL);
    CHECK(repo_read_point(repo, POINTS_VM, points.made[1].uuid.text, &err) ==
              NULL &&
          err.code == ERROR_CORRUPT);

    CHECK_OK(repo_remove_point(repo, POINTS_VM, points.made[2].uuid.text,
                               &removed, &err),
             &err);
    CHECK(removed.files == 0 && strstr(removed.blocked, "checksum") != NULL);
    CHECK(has_file(repo, &points, 2) && all_restore(&points, repo, 1));
    /* Removing the damaged one sets it aside; then the rest can go. */
    CHECK(remove_point(repo, points.made[1].uuid.text) == 0);
    CHECK(repo_settle_point(repo, POINTS_VM, points.made[2].uuid.text, &err) ==
          0);
    CHECK(!has_file(repo, &points, 2) && all_restore(&points, repo, 1));
    points_release(&points);
}

/* -- stages ------------------------------------------------------------- */

static void
a_stage_refuses_what_is_not_what_it_should_be(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "stage", REPO_CREATE);
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    struct error err = ERROR_INIT;
    char root[DIGEST_ROOT_TEXT];
    char other[DIGEST_ROOT_TEXT];
    struct points points;
    struct uuid uuid;

    points_init(&points, 8);
    uuid_new(&uuid);
    point = points_describe(&uuid, NULL);
    stage = repo_stage_begin(repo, &point, &err);
    REQUIRE(stage != NULL && point == NULL);
    CHECK(repo_stage_volume_done(stage, 0, "xxh3-128:00", &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    CHECK_OK(points_store(stage, 0, points.disks[0], NULL, root, &err), &err);
    CHECK_OK(points_store(stage, 1, points.disks[1], NULL, other, &err), &err);
    CHECK(repo_stage_volume_done(stage, 0, other, &err) == -1);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK_OK(repo_stage_volume_done(stage, 0, root, &err), &err);
    CHECK(repo_stage_publish(stage, &err) == -1 && err.code == ERROR_INVALID);
    CHECK(oracle("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "x", "-F",
                 "raw", repo_stage_image(stage, 1)));
    CHECK(repo_stage_volume_done(stage, 1, other, &err) == -1);
    CHECK(err.code == ERROR_CORRUPT);

    /* The same point a second time. */
    point = points_describe(&uuid, NULL);
    CHECK(repo_stage_begin(repo, &point, &err) == NULL);
    CHECK(err.code == ERROR_CONFLICT && point == NULL);
    CHECK_OK(repo_stage_discard(stage, &err), &err);
    CHECK(all_restore(&points, repo, 0));
    points_release(&points);
}

static void
names_from_outside_stay_inside(void)
{
    static const char *const accounts[] = {"..", "a/b", "", ".hidden", "a\nb"};
    AUTO_REPO struct repo *repo = points_repo(&scratch, "names", REPO_CREATE);
    struct repo_removed removed;
    struct error err = ERROR_INIT;
    struct uuid uuid;

    uuid_new(&uuid);
    for (size_t i = 0; i < ARRAY_SIZE(accounts); i++) {
        AUTO_REPO_POINT struct repo_point *point = points_describe(&uuid, NULL);

        free(point->account);
        point->account = xstrdup(accounts[i]);
        CHECK(repo_stage_begin(repo, &point, &err) == NULL);
        CHECK(err.code == ERROR_INVALID);
    }
    {
        AUTO_REPO_POINT struct repo_point *point = points_describe(&uuid, NULL);

        (void)repo_point_add_volume(point, "../../etc", 512, NULL);
        CHECK(repo_stage_begin(repo, &point, &err) == NULL);
        CHECK(err.code == ERROR_INVALID);
    }
    CHECK(repo_read_point(repo, "..", uuid.text, &err) == NULL);
    CHECK(err.code == ERROR_INVALID);
    CHECK(repo_remove_point(repo, POINTS_VM, "../x", &removed, &err) == -1);
    CHECK(repo_settle_point(repo, "x", uuid.text, &err) == -1);
}

static int
is_it(const char *point, void *context, struct error *err)
{
    (void)err;
    return strcmp(point, context) == 0;
}

static void
what_a_dead_stage_left_is_settled_unless_it_is_kept(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "settle", REPO_CREATE);
    struct repo_settled settled;
    struct error err = ERROR_INIT;
    struct points points;
    struct uuid uuid;

    points_init(&points, 9);
    REQUIRE(points_line(&points, repo, 1));
    uuid_new(&uuid);
    fault_arm("repo.link", 2, FAULT_FAIL);
    CHECK(points_make(&points, repo, &uuid, points.made[0].uuid.text, &err) ==
          -1);
    fault_disarm();
    CHECK_OK(repo_settle(repo, NULL, is_it, uuid.text, &settled, &err), &err);
    CHECK(settled.stages == 0 && settled.strays == 0);
    CHECK_OK(repo_settle(repo, NULL, NULL, NULL, &settled, &err), &err);
    CHECK(settled.stages == 1 && settled.strays == 0);
    CHECK(all_restore(&points, repo, 1));
    /* The same uuid is free again. */
    CHECK_OK(points_make(&points, repo, &uuid, points.made[0].uuid.text, &err),
             &err);
    points_note(&points, &uuid);
    CHECK(all_restore(&points, repo, 2));
    points_release(&points);
}

/* How often a published point unlinks; the last one is of its marker. */
static uint64_t
count_unlinks(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "count", REPO_CREATE);
    struct points points;
    uint64_t passes = 0;

    points_init(&points, 10);
    fault_arm("fd.unlink", 0, FAULT_COUNT);
    if (repo != NULL && points_line(&points, repo, 1))
        passes = fault_passes();
    fault_disarm();
    points_release(&points);
    return passes;
}

/*
 * The unlinking of a published point's marker failed.  Whatever happens to the
 * point then, the one that rests on it is not touched.
 */
static void
a_marker_that_stayed_takes_nothing_along(void)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "stayed", REPO_CREATE);
    AUTO_FREE char *marker = NULL;
    AUTO_FREE char *text = NULL;
    uint64_t last = count_unlinks();
    struct repo_settled settled;
    struct error err = ERROR_INIT;
    struct points points;
    size_t length;

    points_init(&points, 10);
    fault_arm("fd.unlink", last, FAULT_FAIL);
    REQUIRE(points_line(&points, repo, 1));
    fault_disarm();
    marker = xasprintf("%s/points/" POINTS_VM "/%s.stage", repo_path(repo),
                       points.made[0].uuid.text);
    CHECK_OK(fd_read_file(marker, 1 << 20, &text, &length, &err), &err);
    REQUIRE(text != NULL && points_line(&points, repo, 1));
    CHECK(remove_point(repo, points.made[0].uuid.text) == 0);
    CHECK(!fd_exists(marker) && all_restore(&points, repo, 1));
    /* One that is there all the same. */
    sample_store(marker, (const uint8_t *)text, length);
    CHECK_OK(repo_settle(repo, NULL, NULL, NULL, &settled, &err), &err);
    CHECK(settled.strays == 0 && !fd_exists(marker));
    CHECK(all_restore(&points, repo, 1));
    points_release(&points);
}

/* -- manifests ---------------------------------------------------------- */

static void
a_manifest_survives_the_way_out_and_in(void)
{
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_POINT struct repo_point *back = NULL;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *second = NULL;
    struct error err = ERROR_INIT;
    struct uuid uuid;

    uuid_new(&uuid);
    point = points_describe(&uuid, NULL);
    for (size_t i = 0; i < POINTS_VOLUMES; i++)
        (void)snprintf(point->volumes[i].root, DIGEST_ROOT_TEXT,
                       "xxh3-128:%032d", 7);
    text = manifest_encode(point, &err);
    REQUIRE(text != NULL);
    back = manifest_parse(text, strlen(text), true, &err);
    REQUIRE(back != NULL);
    second = manifest_encode(back, &err);
    CHECK_TEXT(second, text);
    /* Every byte counts, but for spaces between members. */
    for (size_t i = 0; i < strlen(text); i++) {
        AUTO_FREE char *changed = xstrdup(text);
        struct repo_point *wrong;

        if (strchr(" \n\t", text[i]) != NULL)
            continue;
        changed[i] = changed[i] == '3' ? '4' : '3';
        wrong = manifest_parse(changed, strlen(changed), true, &err);
        if (wrong != NULL)
            printf("# byte %zu, '%c', may be changed\n", i, text[i]);
        CHECK(wrong == NULL);
        repo_point_free(wrong);
    }
}

static void
a_newer_manifest_is_refused_as_such(void)
{
    const char *text = "{\"format\":\"varve-point\",\"version\":2,"
                       "\"checksum\":\"\"}";
    struct error err = ERROR_INIT;

    CHECK(manifest_parse(text, strlen(text), true, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(manifest_parse("[]", 2, true, &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
}

static void
base64_takes_what_it_gave_and_nothing_else(void)
{
    static const char *const wrong[] = {
        "A", "AA", "AAA", "AA=A", "A===", "AB==", "AAB=", "AA==AAAA", "A AA"};
    struct error err = ERROR_INIT;
    uint8_t bytes[70];

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i <= sizeof(bytes); i++) {
        AUTO_FREE char *text = base64_encode(bytes, i);
        AUTO_FREE uint8_t *back = NULL;
        size_t length = 0;

        CHECK_OK(base64_decode(text, sizeof(bytes), &back, &length, &err),
                 &err);
        CHECK(length == i && memcmp(back, bytes, i) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        AUTO_FREE uint8_t *back = NULL;
        size_t length;

        CHECK(base64_decode(wrong[i], 100, &back, &length, &err) == -1);
    }
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_directory_becomes_a_repository_once);
    RUN(a_directory_of_something_else_is_left_alone);
    RUN(every_point_restores_what_it_was_made_from);
    RUN(qemu_reads_a_point_without_us);
    RUN(files_stay_while_a_living_point_needs_them);
    RUN(two_lines_share_what_is_below_both);
    RUN(a_damaged_manifest_is_told_and_blocks_unlinking);
    RUN(a_stage_refuses_what_is_not_what_it_should_be);
    RUN(names_from_outside_stay_inside);
    RUN(what_a_dead_stage_left_is_settled_unless_it_is_kept);
    RUN(a_marker_that_stayed_takes_nothing_along);
    RUN(a_manifest_survives_the_way_out_and_in);
    RUN(a_newer_manifest_is_refused_as_such);
    RUN(base64_takes_what_it_gave_and_nothing_else);
    scratch_leave(&scratch);
    return check_done();
}
