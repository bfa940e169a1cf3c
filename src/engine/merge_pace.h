/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge_pace.h -- does an active commit get nearer to its end, or does the
 * guest write as much as is copied?  Pure: it is told and it counts.
 *
 * Time is looked at in spans, one after another.  In one of them a commit is
 * outrun when the guest has added, of what is to be copied, seven eighths or
 * more of what was copied: then it would take eight times as long as without
 * the guest, or for ever.
 */
#ifndef ENGINE_MERGE_PACE_H
#define ENGINE_MERGE_PACE_H

#include "base/compiler.h"
#include "hv/hv.h"

/* A guest is never held down to fewer bytes a second than this: what its
 * queue may hold must be written before its driver loses patience. */
#define MERGE_PACE_SLOWEST ((uint64_t)2 << 20)

struct merge_pace {
    int64_t span_ms;
    int64_t since_ms; /* of the present span; 0: none has begun */
    struct hv_job first;
    /* Of the last whole span: bytes, in a second. */
    uint64_t copied;
    uint64_t added;
    uint64_t written;
    uint64_t rest; /* bytes that were still to be copied at its end */
};

/* Spans of `span_ms`, at least 1. */
void merge_pace_init(struct merge_pace *pace, int64_t span_ms) NONNULL(1);

/* How the job stands at `now_ms` (of the monotonic clock).  True when a span
 * ended with it. */
bool merge_pace_note(struct merge_pace *pace, int64_t now_ms,
                     const struct hv_job *job) NONNULL(1, 3);

/* Was the commit outrun in the last whole span? */
bool merge_pace_is_outrun(const struct merge_pace *pace) NONNULL(1);

/* Going on as in the last whole span, is it over after so many seconds? */
bool merge_pace_ends_within(const struct merge_pace *pace, int64_t seconds)
    NONNULL(1);

/**
 * merge_pace_limit(pace, seconds):
 * To how many bytes a second the guest must be held for the rest, measured by
 * the last whole span, to be copied in so many seconds.  It is left as much as
 * it can be: between an eighth and half of what the copying does.
 *
 * How much a write adds is known only roughly: while the guest rewrites what is
 * to be copied anyway it adds nothing, and that ends when less of it is left.
 *
 * Returns:    0 when no limit does that, or none that a guest can live with.
 */
uint64_t merge_pace_limit(const struct merge_pace *pace, int64_t seconds)
    MUST_CHECK NONNULL(1);

#endif
