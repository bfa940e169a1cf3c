/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "engine/merge_pace.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A commit with `rest` to copy, of which so much is copied in each second,
 * while so much is added by so much that the guest writes. */
struct play {
    struct merge_pace pace;
    struct hv_job job;
    int64_t now_ms;
};

static void
begin(struct play *play, int64_t span_ms, uint64_t rest)
{
    merge_pace_init(&play->pace, span_ms);
    play->job = (struct hv_job){.state = HV_JOB_RUNNING, .total = rest};
    play->now_ms = 1000;
    CHECK(!merge_pace_note(&play->pace, play->now_ms, &play->job));
}

static bool
second(struct play *play, uint64_t copied, uint64_t added, uint64_t written)
{
    bool outrun = false;

    for (unsigned i = 0; i < 4; i++) {
        play->now_ms += 250;
        play->job.done += copied / 4;
        play->job.total += added / 4;
        play->job.written += written / 4;
        outrun |= merge_pace_note(&play->pace, play->now_ms, &play->job) &&
                  merge_pace_is_outrun(&play->pace);
    }
    return outrun;
}

static void
a_commit_without_writes_is_never_outrun(void)
{
    struct play play;

    begin(&play, 2000, 1024 * GIB);
    for (unsigned i = 0; i < 100; i++)
        CHECK(!second(&play, MIB, 0, 0));
}

static void
one_that_stands_still_is_not_outrun_by_a_guest_that_does_nothing(void)
{
    struct play play;

    begin(&play, 2000, GIB);
    for (unsigned i = 0; i < 10; i++)
        CHECK(!second(&play, 0, 0, 50 * MIB));
}

static void
one_that_gets_nearer_is_not_outrun(void)
{
    struct play play;

    begin(&play, 2000, GIB);
    for (unsigned i = 0; i < 100; i++)
        CHECK(!second(&play, 80 * MIB, 60 * MIB, 60 * MIB));
}

static void
one_that_is_outrun_is_told_after_a_span(void)
{
    struct play play;

    begin(&play, 3000, GIB);
    CHECK(!second(&play, 80 * MIB, 75 * MIB, 75 * MIB));
    CHECK(!second(&play, 80 * MIB, 75 * MIB, 75 * MIB));
    CHECK(second(&play, 80 * MIB, 75 * MIB, 75 * MIB));
    CHECK(play.pace.copied == 80 * MIB);
    CHECK(play.pace.added == 75 * MIB);
    CHECK(play.pace.rest == GIB - 15 * MIB);
}

static void
a_burst_within_a_span_is_nothing(void)
{
    struct play play;

    begin(&play, 4000, GIB);
    for (unsigned i = 0; i < 20; i++)
        CHECK(!second(&play, 80 * MIB, i % 4 == 1 ? 200 * MIB : 0, 0));
}

static void
what_is_not_known_yet_begins_no_span(void)
{
    struct merge_pace pace;
    const struct hv_job nothing = {.state = HV_JOB_RUNNING};
    const struct hv_job first = {
        .state = HV_JOB_RUNNING, .done = 0, .total = GIB};

    merge_pace_init(&pace, 1000);
    CHECK(!merge_pace_note(&pace, 1, &nothing));
    CHECK(!merge_pace_note(&pace, 5000, &nothing));
    CHECK(!merge_pace_note(&pace, 10000, &first));
    CHECK(!merge_pace_note(&pace, 10999, &first));
}

/* Any limit that is given lets the rest be copied in that time, leaves the
 * guest at least an eighth of what is copied, and at most half. */
static void
a_limit_lets_the_rest_be_copied_in_time(void)
{
    const uint64_t rests[] = {0, 64 * MIB, GIB, 2 * GIB, 4 * GIB, 64 * GIB};

    for (size_t i = 0; i < ARRAY_SIZE(rests); i++) {
        struct merge_pace pace = {.copied = 100 * MIB,
                                  .added = 150 * MIB,
                                  .written = 150 * MIB,
                                  .rest = rests[i]};
        uint64_t limit = merge_pace_limit(&pace, 60);

        if (limit == 0) {
            CHECK(rests[i] > 60 * 60 * MIB);
            continue;
        }
        CHECK(limit <= 50 * MIB && limit >= 12 * MIB);
        CHECK((100 * MIB - limit) * 60 >= rests[i]);
    }
}

static void
a_limit_counts_what_a_write_adds(void)
{
    struct merge_pace small = {
        .copied = 800 * MIB, .added = 1600 * MIB, .written = 100 * MIB};
    struct merge_pace twice = {
        .copied = 100 * MIB, .added = 100 * MIB, .written = 200 * MIB};
    struct merge_pace unseen = {.copied = 100 * MIB, .added = 100 * MIB};

    CHECK(merge_pace_limit(&small, 60) == 25 * MIB);
    /* Rewriting adds nothing only as long as there is much to be copied. */
    CHECK(merge_pace_limit(&twice, 60) == 50 * MIB);
    CHECK(merge_pace_limit(&unseen, 60) == 50 * MIB);
}

static void
the_end_is_foreseen(void)
{
    struct merge_pace pace = {
        .copied = 100 * MIB, .added = 50 * MIB, .rest = GIB};

    CHECK(merge_pace_ends_within(&pace, 21));
    CHECK(!merge_pace_ends_within(&pace, 20));
    CHECK(!merge_pace_ends_within(&pace, 0));
    pace.added = 100 * MIB;
    CHECK(!merge_pace_ends_within(&pace, 1000000));
}

static void
no_guest_is_held_down_to_next_to_nothing(void)
{
    struct merge_pace pace = {
        .copied = 3 * MIB, .added = 3 * MIB, .written = 3 * MIB};

    CHECK(merge_pace_limit(&pace, 60) == 0);
    pace.copied = 4 * MIB;
    CHECK(merge_pace_limit(&pace, 60) >= MERGE_PACE_SLOWEST);
    CHECK(merge_pace_limit(&pace, 0) == 0);
    pace = (struct merge_pace){.copied = 0, .added = MIB};
    CHECK(merge_pace_limit(&pace, 60) == 0);
}

int
main(void)
{
    RUN(a_commit_without_writes_is_never_outrun);
    RUN(one_that_stands_still_is_not_outrun_by_a_guest_that_does_nothing);
    RUN(one_that_gets_nearer_is_not_outrun);
    RUN(one_that_is_outrun_is_told_after_a_span);
    RUN(a_burst_within_a_span_is_nothing);
    RUN(what_is_not_known_yet_begins_no_span);
    RUN(a_limit_lets_the_rest_be_copied_in_time);
    RUN(a_limit_counts_what_a_write_adds);
    RUN(the_end_is_foreseen);
    RUN(no_guest_is_held_down_to_next_to_nothing);
    return check_done();
}
