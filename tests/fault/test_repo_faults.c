/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a repository promises when making or removing a point dies: after
 * settling, a point is there and restores right, or is gone with all its
 * files; and no other point is touched.  It dies by a kill, by a call that
 * fails, or with the power, when whatever was not synced may be lost.
 */
#include "check.h"
#include "density.h"
#include "oracle.h"
#include "points.h"
#include "powercut_tree.h"

#include "base/fault.h"

#include <string.h>

static struct scratch scratch;

/*
 * A repository with a line of three points, copied for each try.  The tries
 * make a fourth on top, or remove one of the three.
 */
struct subject {
    struct points points;
    struct uuid fresh;  /* of the point that is tried to be made */
    const char *remove; /* the point that is tried to be removed, or NULL */
};

static bool
copy_repository(void)
{
    return oracle("rm", "-rf", "repo") &&
           oracle("cp", "-a", "pristine", "repo");
}

static bool
subject_make(struct subject *subject)
{
    AUTO_REPO struct repo *repo =
        points_repo(&scratch, "pristine", REPO_CREATE);

    points_init(&subject->points, 20);
    if (!points_line(&subject->points, repo, 3))
        return false;
    uuid_new(&subject->fresh);
    points_note(&subject->points, &subject->fresh);
    return true;
}

static int
act(struct subject *subject, const struct repo *repo, struct error *err)
{
    struct repo_removed removed;

    if (subject->remove != NULL)
        return repo_remove_point(repo, POINTS_VM, subject->remove, &removed,
                                 err);
    return points_make(&subject->points, repo, &subject->fresh,
                       subject->points.made[2].uuid.text, err);
}

/* The point in question may be there or not; all others are. */
static bool
is_whole(const struct subject *subject, const struct repo *repo,
         bool *ret_there)
{
    const char *tried =
        subject->remove != NULL ? subject->remove : subject->fresh.text;
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;
    struct error err = ERROR_INIT;
    size_t others = 0;

    *ret_there = false;
    if (repo_list_points(repo, NULL, &list, &err) < 0 || list.bad_count > 0)
        return false;
    for (size_t i = 0; i < list.count; i++) {
        if (!points_restores(&subject->points, repo, list.points[i], IMAGE_RAW))
            return false;
        if (strcmp(list.points[i]->uuid.text, tried) == 0)
            *ret_there = true;
        else
            others++;
    }
    return others == (subject->remove != NULL ? 2u : 3u);
}

/* Files below backups/. */
static size_t
count_files(void)
{
    AUTO_FREE char *output =
        oracle_output("find", "repo/backups", "-type", "f");
    size_t count = 0;

    for (const char *at = output; at != NULL && *at != '\0'; at++)
        count += *at == '\n';
    return count;
}

/*
 * After whatever happened: settle, look, and do it again.  A second settling
 * may die as well.
 */
static bool
settles(struct subject *subject, size_t files_before, size_t files_after)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);
    struct repo_settled settled;
    struct error err = ERROR_INIT;
    bool there;

    if (repo == NULL || !is_whole(subject, repo, &there) ||
        repo_settle(repo, NULL, NULL, NULL, &settled, &err) < 0 ||
        !is_whole(subject, repo, &there)) {
        printf("# after it: %s\n", err.message);
        return false;
    }
    if (settled.strays != 0 ||
        count_files() !=
            (there == (subject->remove != NULL) ? files_before : files_after)) {
        printf("# %zu strays, %zu files\n", settled.strays, count_files());
        return false;
    }
    if (there == (subject->remove == NULL))
        return true; /* done already */
    if (act(subject, repo, &err) < 0) {
        printf("# again: %s\n", err.message);
        return false;
    }
    return is_whole(subject, repo, &there) &&
           there == (subject->remove == NULL);
}

/* Run `act` in a child that is killed at the point `n`. */
static bool
die_at(struct subject *subject, uint64_t n, bool settle_only)
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
        _exit(act(subject, repo, &err) < 0);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static uint64_t
count_points(struct subject *subject, size_t *ret_files)
{
    AUTO_REPO struct repo *repo = NULL;
    struct error err = ERROR_INIT;
    uint64_t passes;

    CHECK(copy_repository());
    repo = points_repo(&scratch, "repo", 0);
    fault_arm("*", 0, FAULT_COUNT);
    CHECK_OK(act(subject, repo, &err), &err);
    passes = fault_passes();
    fault_disarm();
    *ret_files = count_files();
    return passes;
}

static bool
try_failure(struct subject *subject, uint64_t n, size_t before, size_t after)
{
    AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);
    struct error err = ERROR_INIT;
    bool there;
    int result;

    fault_arm("*", n, FAULT_FAIL);
    result = act(subject, repo, &err);
    fault_disarm();
    /* What was reported good is good. */
    if (!is_whole(subject, repo, &there) ||
        (result == 0 && there != (subject->remove == NULL))) {
        printf("# '%s' gives %d\n", fault_fired_name(), result);
        return false;
    }
    return settles(subject, before, after);
}

static void
over_points(struct subject *subject, const char *counter)
{
    size_t before;
    size_t after;
    uint64_t count;
    uint64_t step;
    uint64_t tried = 0;

    CHECK(copy_repository());
    before = count_files();
    count = count_points(subject, &after);
    step = density_step(MAX(count / 24, UINT64_C(1)));
    for (uint64_t n = 1; n <= count; n += step) {
        bool good = copy_repository() && die_at(subject, n, false) &&
                    settles(subject, before, after);

        /* Dying again while settling. */
        for (uint64_t k = 1; good && k < 30; k += density_is_all() ? 1 : 7) {
            good = copy_repository() && die_at(subject, n, false);
            if (!good || !die_at(subject, k, true))
                break;
            good = settles(subject, before, after);
            tried++;
        }
        good =
            good && copy_repository() && try_failure(subject, n, before, after);
        tried += 2;
        if (!good) {
            printf("# point %llu of %llu\n", (unsigned long long)n,
                   (unsigned long long)count);
            CHECK(false);
            break;
        }
    }
    printf("# count %s %llu\n", counter, (unsigned long long)tried);
}

/* -- power cuts --------------------------------------------------------- */

/* What the disk may hold when the power goes before the event `moment`. */
static bool
try_power_cut(struct subject *subject, size_t moment, uint64_t luck,
              size_t before, size_t after)
{
    AUTO_FREE char *folder = scratch_file(&scratch, "repo");
    AUTO_FREE char *inodes = scratch_file(&scratch, "inodes");
    bool there;

    if (!copy_repository() || !oracle("rm", "-rf", "inodes") ||
        !oracle("mkdir", "inodes") || !tree_apply(folder, inodes, moment, luck))
        return false;
    /* What was reported good is good. */
    if (moment == tree.events.count) {
        AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);

        if (repo == NULL || !is_whole(subject, repo, &there) ||
            there != (subject->remove == NULL))
            return false;
    }
    return settles(subject, before, after);
}

static void
over_power_cuts(struct subject *subject, const char *counter)
{
    AUTO_FREE char *folder = scratch_file(&scratch, "repo");
    struct error err = ERROR_INIT;
    size_t before;
    size_t after;
    size_t step;
    uint64_t tried = 0;

    CHECK(copy_repository());
    before = count_files();
    {
        AUTO_REPO struct repo *repo = points_repo(&scratch, "repo", 0);

        tree_start(folder);
        CHECK_OK(act(subject, repo, &err), &err);
        tree_stop();
    }
    after = count_files();
    step = density_step(MAX(tree.events.count / 8, UINT64_C(1)));
    for (size_t moment = tree.events.count;; moment -= step) {
        for (uint64_t luck = 0; luck < density_count(2, 5); luck++) {
            tried++;
            if (try_power_cut(subject, moment, luck, before, after))
                continue;
            printf("# moment %zu of %zu, luck %llu\n", moment,
                   tree.events.count, (unsigned long long)luck);
            CHECK(false);
            return;
        }
        if (moment < step)
            break;
    }
    printf("# count %s %llu\n", counter, (unsigned long long)tried);
    tree_forget();
}

/* -- the tests ---------------------------------------------------------- */

static struct subject subject;

static void
making_a_point_is_all_or_nothing(void)
{
    subject.remove = NULL;
    over_points(&subject, "repo-publish");
}

static void
removing_the_last_point_is_all_or_nothing(void)
{
    subject.remove = subject.points.made[2].uuid.text;
    over_points(&subject, "repo-remove");
}

static void
removing_a_needed_point_leaves_its_files(void)
{
    subject.remove = subject.points.made[1].uuid.text;
    over_points(&subject, "repo-remove");
}

static void
a_power_cut_while_making_a_point_loses_nothing(void)
{
    subject.remove = NULL;
    over_power_cuts(&subject, "repo-power-cuts");
}

static void
a_power_cut_while_removing_a_point_loses_no_other(void)
{
    subject.remove = subject.points.made[2].uuid.text;
    over_power_cuts(&subject, "repo-power-cuts");
    subject.remove = subject.points.made[1].uuid.text;
    over_power_cuts(&subject, "repo-power-cuts");
}

int
main(void)
{
    scratch_enter(&scratch);
    if (!subject_make(&subject))
        return EXIT_FAILURE;
    RUN(making_a_point_is_all_or_nothing);
    RUN(removing_the_last_point_is_all_or_nothing);
    RUN(removing_a_needed_point_leaves_its_files);
    RUN(a_power_cut_while_making_a_point_loses_nothing);
    RUN(a_power_cut_while_removing_a_point_loses_no_other);
    points_release(&subject.points);
    scratch_leave(&scratch);
    return check_done();
}
