/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instead of counting tokens each limit keeps one time: that at which the
 * next one could start if everybody before used the whole rate.  Reserving
 * moves it on by what the reservation costs; while it lies in the past,
 * nobody waits; it is never further in the past than the burst.  No rounding
 * error is carried on, and nothing has to be filled up regularly.
 */
#include "base/throttle.h"

#define US INT64_C(1000000)

/* Nothing was reserved yet: the bucket is empty. */
#define NEVER INT64_MIN

void
throttle_init(struct throttle *throttle, uint64_t bytes, uint64_t operations)
{
    *throttle = (struct throttle){.bytes = bytes,
                                  .operations = operations,
                                  .bytes_at = NEVER,
                                  .operations_at = NEVER};
    lock_init(&throttle->lock);
}

void
throttle_release(struct throttle *throttle)
{
    lock_release(&throttle->lock);
}

void
throttle_set(struct throttle *throttle, uint64_t bytes, uint64_t operations)
{
    lock_take(&throttle->lock);
    if (throttle->bytes != bytes || throttle->operations != operations) {
        throttle->bytes = bytes;
        throttle->operations = operations;
        throttle->bytes_at = throttle->operations_at = NEVER;
        throttle->changes++;
    }
    lock_give(&throttle->lock);
}

unsigned
throttle_changes(struct throttle *throttle)
{
    unsigned changes;

    lock_take(&throttle->lock);
    changes = throttle->changes;
    lock_give(&throttle->lock);
    return changes;
}

/* Reserve `amount` of one limit, *at being its time. */
static int64_t
reserve(int64_t *at, uint64_t amount, uint64_t rate, int64_t now_us)
{
    __extension__ unsigned __int128 cost;
    int64_t start;

    if (rate == 0)
        return now_us;
    cost = amount;
    cost = cost * (uint64_t)US / rate;
    if (cost > INT64_MAX / 4)
        cost = INT64_MAX / 4;
    start = *at == NEVER ? now_us : MAX(*at, now_us - THROTTLE_BURST_US);
    start = MIN(start, INT64_MAX / 2);
    *at = start + (int64_t)cost;
    return MAX(start, now_us);
}

int64_t
throttle_reserve(struct throttle *throttle, uint64_t bytes, uint64_t operations,
                 int64_t now_us)
{
    int64_t bytes_start;
    int64_t operations_start;

    lock_take(&throttle->lock);
    bytes_start = reserve(&throttle->bytes_at, bytes, throttle->bytes, now_us);
    operations_start = reserve(&throttle->operations_at, operations,
                               throttle->operations, now_us);
    lock_give(&throttle->lock);
    return MAX(bytes_start, operations_start);
}
