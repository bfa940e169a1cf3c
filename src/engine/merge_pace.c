/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/merge_pace.h"

#include "base/memory.h"

void
merge_pace_init(struct merge_pace *pace, int64_t span_ms)
{
    *pace = (struct merge_pace){.span_ms = MAX(span_ms, 1)};
}

/* QEMU's numbers go back a little when a job starts over. */
static uint64_t
grown(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

static uint64_t
in_a_second(uint64_t bytes, int64_t ms)
{
    return (uint64_t)((double)bytes * 1000.0 / (double)ms);
}

bool
merge_pace_note(struct merge_pace *pace, int64_t now_ms,
                const struct hv_job *job)
{
    int64_t ms = now_ms - pace->since_ms;
    bool has_begun = pace->since_ms != 0;

    if (has_begun && ms < pace->span_ms)
        return false;
    if (has_begun) {
        pace->copied = in_a_second(grown(pace->first.done, job->done), ms);
        pace->added = in_a_second(grown(pace->first.total, job->total), ms);
        pace->written =
            in_a_second(grown(pace->first.written, job->written), ms);
        pace->rest = grown(job->done, job->total);
    }
    pace->first = *job;
    /* The first span begins when it is known what is to be copied. */
    pace->since_ms = has_begun || job->total > 0 ? now_ms : 0;
    return has_begun;
}

bool
merge_pace_is_outrun(const struct merge_pace *pace)
{
    return pace->added > 0 && pace->added >= pace->copied / 8 * 7;
}

bool
merge_pace_ends_within(const struct merge_pace *pace, int64_t seconds)
{
    uint64_t nearer = grown(pace->added, pace->copied);

    return seconds > 0 && pace->rest / (uint64_t)seconds < nearer;
}

uint64_t
merge_pace_limit(const struct merge_pace *pace, int64_t seconds)
{
    uint64_t needed;
    uint64_t limit = pace->copied / 2;

    if (seconds <= 0)
        return 0;
    /* A quarter more than just enough. */
    needed = pace->rest / (uint64_t)seconds;
    needed += needed / 4;
    if (needed > pace->copied - pace->copied / 8)
        return 0;
    limit = MIN(limit, pace->copied - needed);
    /* A write of 4 KiB adds a whole cluster to what is to be copied. */
    if (pace->written > 0 && pace->written < pace->added)
        limit = (uint64_t)((double)limit * (double)pace->written /
                           (double)pace->added);
    return limit >= MERGE_PACE_SLOWEST ? limit : 0;
}
