/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of everything against a model of the guest's bytes.
 *
 *     test_engine_model [STEPS [SEED]]
 *
 * After every step the disks, every snapshot and every backup must read as
 * the model says, the files on disk must be those on record, and nothing may
 * be held, journalled or staged.  The seed is printed; giving it again
 * repeats the run.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t steps = 150;
static uint64_t seed;

struct run {
    struct rig *rig;
    unsigned snapshots;
    unsigned backups;
    unsigned done[16];
};

static const struct rig_point *
pick(struct run *run, enum rig_kind kind)
{
    size_t count = 0;
    size_t chosen;

    for (size_t i = 0; i < run->rig->point_count; i++)
        count += run->rig->points[i].kind == kind;
    if (count == 0)
        return NULL;
    chosen = rig_random(run->rig, count);
    for (size_t i = 0; i < run->rig->point_count; i++) {
        if (run->rig->points[i].kind == kind && chosen-- == 0)
            return &run->rig->points[i];
    }
    return NULL;
}

/* Start the machine, let the guest write, and perhaps stop it again. */
static int
live(struct run *run, struct error *err)
{
    struct rig *rig = run->rig;
    size_t writes = 1 + rig_random(rig, 4);

    (void)err;
    if (!rig_is_running(rig))
        rig_power(rig, true);
    for (size_t i = 0; i < writes; i++)
        rig_guest_write(rig);
    if (rig_random(rig, 2) == 0)
        rig_power(rig, false);
    return 0;
}

static int
snapshot(struct run *run, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    if (run->snapshots >= 6)
        return 0;
    if (rig_snapshot(run->rig, rig_random(run->rig, 2) == 0, uuid, err) < 0)
        return -1;
    rig_learn(run->rig, RIG_SNAPSHOT, uuid);
    run->snapshots++;
    return 0;
}

static int
revert(struct run *run, struct error *err)
{
    const struct rig_point *point = pick(run, RIG_SNAPSHOT);

    if (point == NULL)
        return 0;
    if (rig_is_running(run->rig))
        rig_power(run->rig, false);
    if (rig_revert(run->rig, point->uuid, err) < 0)
        return -1;
    rig_go_back(run->rig, point->uuid);
    return 0;
}

static int
delete_snapshot(struct run *run, struct error *err)
{
    const struct rig_point *point = pick(run, RIG_SNAPSHOT);

    if (point == NULL)
        return 0;
    if (rig_delete_snapshot(run->rig, point->uuid, err) < 0)
        return -1;
    rig_forget(run->rig, point->uuid);
    run->snapshots--;
    return 0;
}

static int
backup(struct run *run, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    if (rig_backup(run->rig, rig_random(run->rig, 8) == 0, uuid, err) < 0)
        return -1;
    rig_learn(run->rig, RIG_BACKUP, uuid);
    run->backups++;
    return 0;
}

static int
delete_backup(struct run *run, struct error *err)
{
    const struct rig_point *point = pick(run, RIG_BACKUP);

    if (point == NULL)
        return 0;
    if (rig_delete_backup(run->rig, point->uuid, err) < 0)
        return -1;
    rig_forget(run->rig, point->uuid);
    run->backups--;
    return 0;
}

static int
restore(struct run *run, struct error *err)
{
    const struct rig_point *point = pick(run, RIG_BACKUP);

    /* Refused while there are VM snapshots: the rule is tested elsewhere. */
    if (point == NULL || run->snapshots > 0)
        return 0;
    if (rig_is_running(run->rig))
        rig_power(run->rig, false);
    if (rig_restore(run->rig, point->uuid, err) < 0)
        return -1;
    rig_go_back(run->rig, point->uuid);
    return 0;
}

static int
resize(struct run *run, struct error *err)
{
    struct rig *rig = run->rig;
    size_t volume = rig_random(rig, rig->volumes);

    (void)err;
    if (rig_is_running(rig))
        rig_power(rig, false);
    if (rig->now.sizes[volume] < 4 * RIG_DISK_SIZE)
        rig_resize(rig, volume,
                   rig->now.sizes[volume] + 512 * (1 + rig_random(rig, 900)));
    return 0;
}

static int
restart(struct run *run, struct error *err)
{
    rig_close(run->rig);
    return rig_open(run->rig, err);
}

static const struct {
    const char *name;
    int (*act)(struct run *run, struct error *err);
    unsigned weight;
} acts[] = {
    {"guest", live, 8},      {"snapshot", snapshot, 4},
    {"revert", revert, 2},   {"delete snapshot", delete_snapshot, 3},
    {"backup", backup, 4},   {"delete backup", delete_backup, 2},
    {"restore", restore, 1}, {"resize", resize, 1},
    {"restart", restart, 1},
};

static size_t
choose(struct rig *rig)
{
    unsigned total = 0;
    uint64_t at;

    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        total += acts[i].weight;
    at = rig_random(rig, total);
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
        if (at < acts[i].weight)
            return i;
        at -= acts[i].weight;
    }
    return 0;
}

static void
play(size_t volumes, int64_t chain_size, bool foreign)
{
    struct run run = {.rig = rig_new(volumes, chain_size, foreign)};
    struct error err = ERROR_INIT;
    uint64_t step;

    run.rig->seed = seed + volumes;
    for (step = 0; step < steps; step++) {
        size_t act = choose(run.rig);
        int result = acts[act].act(&run, &err);

        run.done[act]++;
        if (result == 0)
            result = rig_check(run.rig, NULL, step % 40 == 39, &err);
        if (result < 0) {
            printf("# step %llu (%s): %s\n", (unsigned long long)step,
                   acts[act].name, err.message);
            CHECK(result == 0);
            break;
        }
    }
    printf("# %zu volumes:", volumes);
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++)
        printf(" %s %u,", acts[i].name, run.done[i]);
    printf(" seed %llu\n", (unsigned long long)seed);
    printf("# count model-steps %llu\n", (unsigned long long)step);
    rig_free(run.rig);
}

static void
one_volume_always_reads_as_the_model(void)
{
    play(1, 4, false);
}

static void
three_volumes_always_read_as_the_model(void)
{
    play(3, 3, false);
}

static void
a_shared_template_never_changes(void)
{
    play(2, 5, true);
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;

    seed = (uint64_t)clock_wall_ms() % 1000000;
    if ((argc > 1 && parse_u64(argv[1], &steps, &err) < 0) ||
        (argc > 2 && parse_u64(argv[2], &seed, &err) < 0)) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (getenv("VARVE_TEST_ALL") != NULL)
        steps = 3000;
    printf("# seed %llu, %llu steps each\n", (unsigned long long)seed,
           (unsigned long long)steps);
    RUN(one_volume_always_reads_as_the_model);
    RUN(three_volumes_always_read_as_the_model);
    RUN(a_shared_template_never_changes);
    return check_done();
}
