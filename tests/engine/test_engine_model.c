/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of everything against a model of the guest's bytes.
 *
 *     test_engine_model [STEPS [SEED [quiet | disturbed]]]
 *
 * After every step the disks, every snapshot and every backup must read as
 * the model says, the files on disk must be those on record, and nothing may
 * be held, journalled or staged.  In the disturbed plays half of the
 * operations meet failures, lost replies or deaths (engine_play.h).  The seed
 * is printed (0 asks for a fresh one); giving it again repeats the run.
 */
#include "check.h"
#include "density.h"
#include "engine_play.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t steps = 150;
static uint64_t seed;

/* `rig` is freed. */
static void
run_in(struct rig *rig, bool disturbed)
{
    struct play play = {.rig = rig, .disturbed = disturbed};
    struct error err = ERROR_INIT;

    play_prepare(play.rig);
    play.rig->seed = seed + rig->volumes;
    play.rig->may_leak = disturbed;
    while (play.steps < steps) {
        int result = play_step(&play, play.steps % 40 == 39, &err);

        if (result < 0) {
            printf("# step %llu (%s), seed %llu: %s\n",
                   (unsigned long long)play.steps, play.last,
                   (unsigned long long)seed, err.message);
            CHECK(result == 0);
            break;
        }
    }
    play_report(&play);
    printf("# count model-steps %llu\n", (unsigned long long)play.steps);
    printf("# count model-kills %u\n", play.kills);
    printf("# count model-faults %u\n", play.faults);
    printf("# count model-scripts %u\n", play.scripts);
    rig_free(play.rig);
}

static void
run(size_t volumes, int64_t chain_size, bool foreign, bool disturbed)
{
    run_in(rig_new(volumes, chain_size, foreign), disturbed);
}

static void
one_volume_always_reads_as_the_model(void)
{
    run(1, 4, false, false);
}

static void
three_volumes_always_read_as_the_model(void)
{
    run(3, 3, false, false);
}

static void
a_shared_template_never_changes(void)
{
    run(2, 5, true, false);
}

/* Snapshots by their storage, and layers of backups over them. */
static void
raw_disks_always_read_as_the_model(void)
{
    run_in(rig_new_raw(2, 4), false);
}

static void
raw_disks_survive_every_disturbance(void)
{
    run_in(rig_new_raw(2, 4), true);
}

static void
one_volume_survives_every_disturbance(void)
{
    run(1, 3, false, true);
}

static void
three_volumes_survive_every_disturbance(void)
{
    run(3, 4, false, true);
}

static void
a_shared_template_never_changes_in_any_disturbance(void)
{
    run(2, 5, true, true);
}

int
main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    const char *only = argc > 3 ? argv[3] : NULL;

    if ((argc > 1 && parse_u64(argv[1], &steps, &err) < 0) ||
        (argc > 2 && parse_u64(argv[2], &seed, &err) < 0)) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    if (seed == 0)
        seed = (uint64_t)clock_wall_ms() % 1000000;
    steps = density_count(steps, 3000);
    log_set_level(LOG_LEVEL_ERROR);
    printf("# seed %llu, %llu steps each\n", (unsigned long long)seed,
           (unsigned long long)steps);
    if (only == NULL || strcmp(only, "quiet") == 0) {
        RUN(one_volume_always_reads_as_the_model);
        RUN(three_volumes_always_read_as_the_model);
        RUN(a_shared_template_never_changes);
        RUN(raw_disks_always_read_as_the_model);
    }
    if (only == NULL || strcmp(only, "disturbed") == 0) {
        RUN(one_volume_survives_every_disturbance);
        RUN(three_volumes_survive_every_disturbance);
        RUN(a_shared_template_never_changes_in_any_disturbance);
        RUN(raw_disks_survive_every_disturbance);
    }
    return check_done();
}
