/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes while a point is published, removed or folded: names that
 * were not synced are there or not, in any mixture.  Every point that was
 * reported good is there and restores, before and after settling.
 */
#include "check.h"
#include "density.h"
#include "namecut.h"
#include "points.h"

#include <string.h>

static struct scratch scratch;
static struct points points;

#define LINE 5u
#define DEAD 2u

static struct uuid fresh;

static bool
make_line(void)
{
    AUTO_REPO struct repo *repo =
        points_repo(&scratch, "pristine", REPO_CREATE);
    struct error err = ERROR_INIT;
    struct repo_removed removed;

    points_init(&points, 78);
    if (!points_line(&points, repo, LINE))
        return false;
    for (size_t i = 0; i < DEAD; i++)
        if (repo_remove_point(repo, POINTS_VM, points.made[i].uuid.text,
                              &removed, &err) < 0)
            return false;
    uuid_new(&fresh);
    points_note(&points, &fresh);
    return true;
}

/* -- what is done -------------------------------------------------------- */

static int
publish(const struct repo *repo, struct error *err)
{
    return points_make(&points, repo, &fresh, points.made[LINE - 1].uuid.text,
                       err);
}

static int
remove_one(const struct repo *repo, struct error *err)
{
    struct repo_removed removed;

    return repo_remove_point(repo, POINTS_VM, points.made[LINE - 1].uuid.text,
                             &removed, err);
}

static int
fold(const struct repo *repo, struct error *err)
{
    const struct copy_options copy = {.threads = 1};
    const struct repo_fold_options options = {.copy = &copy};
    struct repo_folded folded;

    return repo_fold(repo, POINTS_VM, points.made[DEAD].uuid.text, NULL,
                     &options, &folded, err);
}

/* Living points that nothing is done with: they are there always. */
static bool
is_whole(const struct repo *repo, const char *tried)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    struct error err = ERROR_INIT;
    size_t others = 0;

    if (repo_list_points(repo, NULL, &list, &err) < 0 || list.bad_count > 0)
        return false;
    for (size_t i = 0; i < list.count; i++) {
        if (!points_restores(&points, repo, list.points[i], IMAGE_RAW))
            return false;
        others +=
            tried == NULL || strcmp(list.points[i]->uuid.text, tried) != 0;
    }
    return others == LINE - DEAD - (tried != NULL && tried != fresh.text);
}

static bool
is_there(const struct repo *repo, const char *uuid)
{
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, POINTS_VM, uuid, &err);

    return point != NULL;
}

static bool
verifies(const struct repo *repo)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    const struct copy_options copy = {.threads = 1};
    struct error err = ERROR_INIT;
    bool good = repo_list_points(repo, NULL, &list, &err) == 0;

    for (size_t i = 0; good && i < list.count; i++) {
        AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

        good = repo_verify_point(repo, list.points[i], &copy, &verdict, &err) ==
                   0 &&
               verdict.good;
    }
    return good;
}

/* -- cuts ---------------------------------------------------------------- */

static int
remove_file(const char *path, const struct stat *about, int type,
            struct FTW *position)
{
    (void)about;
    (void)position;
    return type == FTW_F ? unlink(path) : 0;
}

/* One cut: whole before and after settling, and the work can be done. */
static bool
survives(size_t moment, uint64_t seed,
         int (*act)(const struct repo *, struct error *), const char *tried)
{
    AUTO_FREE char *to = scratch_file(&scratch, "cut");
    AUTO_REPO struct repo *repo = NULL;
    struct repo_settled settled = {.strays = 0};
    struct error err = ERROR_INIT;
    bool is_end = moment == namecut.events.count;

    if (nftw("cut", remove_file, 16, FTW_PHYS) < 0 ||
        !namecut_apply(to, moment, seed))
        return false;
    repo = points_repo(&scratch, "cut", 0);
    if (repo == NULL || !is_whole(repo, tried)) {
        printf("# not whole\n");
        return false;
    }
    /* What was reported done is done. */
    if (is_end && act == publish && !is_there(repo, fresh.text))
        return false;
    if (is_end && act == remove_one && is_there(repo, tried))
        return false;
    if (repo_settle(repo, NULL, NULL, NULL, &settled, &err) < 0 ||
        !is_whole(repo, tried) || !verifies(repo) || settled.strays != 0) {
        printf("# after settling: %zu strays, %s\n", settled.strays,
               err.message);
        return false;
    }
    if ((act(repo, &err) < 0 && err.code != ERROR_CONFLICT) ||
        !is_whole(repo, tried)) {
        printf("# again: %s\n", err.message);
        return false;
    }
    return true;
}

static void
over_moments(const char *counter,
             int (*act)(const struct repo *, struct error *), const char *tried)
{
    AUTO_FREE char *root = scratch_file(&scratch, "repo");
    AUTO_FREE char *store = scratch_file(&scratch, "store");
    AUTO_REPO struct repo *repo = NULL;
    struct error err = ERROR_INIT;
    uint64_t tried_cuts = 0;
    uint64_t seeds = density_count(2, 40);
    size_t first;

    REQUIRE(oracle("rm", "-rf", "repo", "store") &&
            oracle("cp", "-a", "pristine", "repo") && oracle("mkdir", "store"));
    repo = points_repo(&scratch, "repo", 0);
    REQUIRE(repo != NULL);
    first = namecut_start(root, store);
    CHECK_OK(act(repo, &err), &err);
    namecut_stop();
    CHECK(namecut.events.count > first + 3);
    for (size_t moment = first; moment <= namecut.events.count; moment++) {
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            if (!survives(moment, seed + 97 * moment, act, tried)) {
                printf("# moment %zu of %zu, seed %llu\n", moment - first,
                       namecut.events.count - first,
                       (unsigned long long)(seed + 97 * moment));
                CHECK(false);
                return;
            }
            tried_cuts++;
        }
    }
    printf("# count %s %llu\n", counter, (unsigned long long)tried_cuts);
}

static void
no_point_is_lost_while_one_is_published(void)
{
    over_moments("powercut-publish", publish, fresh.text);
}

static void
no_other_point_is_lost_while_one_is_removed(void)
{
    over_moments("powercut-remove", remove_one,
                 points.made[LINE - 1].uuid.text);
}

static void
no_point_is_lost_while_one_is_folded(void)
{
    over_moments("powercut-fold", fold, NULL);
}

int
main(void)
{
    scratch_enter(&scratch);
    if (!make_line())
        return EXIT_FAILURE;
    /* The same directories. */
    if (!oracle("cp", "-a", "pristine", "cut"))
        return EXIT_FAILURE;
    RUN(no_point_is_lost_while_one_is_published);
    RUN(no_other_point_is_lost_while_one_is_removed);
    RUN(no_point_is_lost_while_one_is_folded);
    namecut_forget();
    points_release(&points);
    scratch_leave(&scratch);
    return check_done();
}
