/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a repository promises when a fold dies: at every moment, settled or
 * not, every point is there and restores; after settling nothing is left over;
 * and doing it again does it.
 */
#include "check.h"
#include "density.h"
#include "oracle.h"
#include "points.h"

#include "base/fault.h"

#include <string.h>

static struct scratch scratch;
static struct points points;

/* Of a line of five the two oldest are dead; the third is folded. */
#define LINE 5u
#define DEAD 2u

static const char *
folded_point(void)
{
    return points.made[DEAD].uuid.text;
}

static bool
copy_repository(void)
{
    return oracle("rm", "-rf", "repo") &&
           oracle("cp", "-a", "pristine", "repo");
}

static bool
make_line(void)
{
    AUTO_REPO struct repo *repo =
        points_repo(&scratch, "pristine", REPO_CREATE);
    struct error err = ERROR_INIT;
    struct repo_removed removed;

    points_init(&points, 77);
    if (!points_line(&points, repo, LINE))
        return false;
    for (size_t i = 0; i < DEAD; i++)
        if (repo_remove_point(repo, POINTS_VM, points.made[i].uuid.text,
                              &removed, &err) < 0)
            return false;
    return true;
}

static int
act(const struct repo *repo, struct error *err)
{
    const struct copy_options copy = {.threads = 1};
    const struct repo_fold_options options = {.copy = &copy};
    struct repo_folded folded;

    return repo_fold(repo, POINTS_VM, folded_point(), NULL, &options, &folded,
                     err);
}

/* All points are there and restore. */
static bool
is_whole(const struct repo *repo)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    struct error err = ERROR_INIT;

    if (repo_list_points(repo, NULL, &list, &err) < 0 || list.bad_count > 0)
        return false;
    for (size_t i = 0; i < list.count; i++) {
        if (!points_restores(&points, repo, list.points[i], IMAGE_RAW))
            return false;
    }
    return list.count == LINE - DEAD;
}

static bool
is_folded(const struct repo *repo)
{
    struct error err = ERROR_INIT;
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(repo, POINTS_VM, folded_point(), &err);

    return point != NULL && point->type == REPO_FULL;
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

/* Files anywhere in the repository. */
static size_t
count_files(void)
{
    AUTO_FREE char *output = oracle_output("find", "repo", "-type", "f");
    size_t count = 0;

    for (const char *at = output; at != NULL && *at != '\0'; at++)
        count += *at == '\n';
    return count;
}

static bool
settles(size_t before, size_t after)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);
    struct repo_settled settled = {.stages = 0};
    struct error err = ERROR_INIT;

    if (repo == NULL || !is_whole(repo)) {
        printf("# not whole before settling\n");
        return false;
    }
    if (repo_settle(repo, NULL, NULL, NULL, &settled, &err) < 0 ||
        !is_whole(repo) || !verifies(repo)) {
        printf("# not whole after settling: %s\n", err.message);
        return false;
    }
    if (settled.strays != 0 ||
        count_files() != (is_folded(repo) ? after : before)) {
        printf("# %zu strays, %zu files\n", settled.strays, count_files());
        return false;
    }
    if (is_folded(repo))
        return true;
    if (act(repo, &err) < 0) {
        printf("# again: %s\n", err.message);
        return false;
    }
    return is_whole(repo) && is_folded(repo) && count_files() == after;
}

/* Fold (or settle) in a child that is killed at the point `n`. */
static bool
die_at(uint64_t n, bool settle_only)
{
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);
        struct repo_settled settled;

        fault_arm("*", n, FAULT_KILL);
        if (settle_only)
            _exit(repo_settle(repo, NULL, NULL, NULL, &settled, &err) < 0);
        _exit(act(repo, &err) < 0);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static bool
try_failure(uint64_t n, size_t before, size_t after)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);
    struct error err = ERROR_INIT;
    int result;

    fault_arm("*", n, FAULT_FAIL);
    result = act(repo, &err);
    fault_disarm();
    if (!is_whole(repo) || (result == 0 && !is_folded(repo))) {
        printf("# '%s' gives %d\n", fault_fired_name(), result);
        return false;
    }
    return settles(before, after);
}

static void
folding_is_all_or_nothing_and_no_point_is_ever_gone(void)
{
    struct error err = ERROR_INIT;
    AUTO_REPO struct repo *repo = NULL;
    size_t before;
    size_t after;
    uint64_t count;
    uint64_t step;
    uint64_t tried = 0;

    CHECK(copy_repository());
    before = count_files();
    repo = points_repo(&scratch, "repo", 0);
    REQUIRE(repo != NULL);
    fault_arm("*", 0, FAULT_COUNT);
    CHECK_OK(act(repo, &err), &err);
    count = fault_passes();
    fault_disarm();
    after = count_files();
    CHECK(is_whole(repo) && is_folded(repo) && after < before);

    step = density_step(MAX(count / 24, UINT64_C(1)));
    for (uint64_t n = 1; n <= count; n += step) {
        bool good =
            copy_repository() && die_at(n, false) && settles(before, after);

        /* Dying again while settling. */
        for (uint64_t k = 1; good && k < 60; k += density_is_all() ? 1 : 13) {
            good = copy_repository() && die_at(n, false);
            if (!good || !die_at(k, true))
                break;
            good = settles(before, after);
            tried++;
        }
        good = good && copy_repository() && try_failure(n, before, after);
        tried += 2;
        if (!good) {
            printf("# point %llu of %llu\n", (unsigned long long)n,
                   (unsigned long long)count);
            CHECK(false);
            break;
        }
    }
    printf("# count repo-fold %llu\n", (unsigned long long)tried);
}

int
main(void)
{
    scratch_enter(&scratch);
    if (!make_line())
        return EXIT_FAILURE;
    RUN(folding_is_all_or_nothing_and_no_point_is_ever_gone);
    points_release(&points);
    scratch_leave(&scratch);
    return check_done();
}
