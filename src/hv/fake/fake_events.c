/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events come from a thread of their own, as libvirt's do: a handler that
 * takes a lock which the caller holds shows here.  The thread lives while
 * there is a handler.
 */
#include "hv/fake/fake_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* The next one that may go; false to end. */
static bool next_locked(struct fake *fake, struct hv_event *ret_event)
    REQUIRES(fake->lock);

static bool
next_locked(struct fake *fake, struct hv_event *ret_event)
{
    while (!fake->stop && (fake->held || fake->events.count == 0))
        signal_wait(&fake->wake, &fake->lock);
    if (fake->stop)
        return false;
    *ret_event = fake->events.items[0];
    fake->events.count--;
    memmove(&fake->events.items[0], &fake->events.items[1],
            fake->events.count * sizeof(fake->events.items[0]));
    fake->busy = true;
    return true;
}

static void *
deliver(void *context)
{
    struct fake *fake = context;
    struct hv_event event;

    lock_take(&fake->lock);
    while (next_locked(fake, &event)) {
        lock_give(&fake->lock);
        fake->hv.handler(&event, fake->hv.handler_context);
        lock_take(&fake->lock);
        fake->busy = false;
        signal_wake_all(&fake->wake);
    }
    lock_give(&fake->lock);
    return NULL;
}

static void
end_thread(struct fake *fake)
{
    if (!fake->has_thread)
        return;
    lock_take(&fake->lock);
    fake->stop = true;
    signal_wake_all(&fake->wake);
    lock_give(&fake->lock);
    (void)pthread_join(fake->thread, NULL);
    fake->has_thread = fake->stop = false;
}

void
fake_events_init(struct fake *fake)
{
    end_thread(fake);
    if (fake->hv.handler == NULL)
        return;
    fake->has_thread = pthread_create(&fake->thread, NULL, deliver, fake) == 0;
    assert(fake->has_thread);
}

void
fake_events_release(struct fake *fake)
{
    end_thread(fake);
    vec_release(&fake->events);
}

void
fake_emit(struct fake *fake, enum hv_event_kind kind, const char *uuid,
          enum hv_state state)
{
    struct hv_event event = {.kind = kind, .state = state};

    (void)snprintf(event.uuid, sizeof(event.uuid), "%s", uuid);
    lock_take(&fake->lock);
    if (fake->has_thread) {
        vec_push(&fake->events, event);
        signal_wake_all(&fake->wake);
    }
    lock_give(&fake->lock);
}

void
hv_fake_hold_events(struct hv *hv)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    fake->held = true;
    lock_give(&fake->lock);
}

void
hv_fake_release_events(struct hv *hv, bool reversed)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    for (size_t i = 0; reversed && i < fake->events.count / 2; i++) {
        struct hv_event *low = &fake->events.items[i];
        struct hv_event *high = &fake->events.items[fake->events.count - 1 - i];
        struct hv_event swap = *low;

        *low = *high;
        *high = swap;
    }
    fake->held = false;
    signal_wake_all(&fake->wake);
    lock_give(&fake->lock);
}

void
hv_fake_drain_events(struct hv *hv)
{
    struct fake *fake = fake_of(hv);

    lock_take(&fake->lock);
    while (fake->has_thread && !fake->held &&
           (fake->busy || fake->events.count > 0))
        signal_wait(&fake->wake, &fake->lock);
    lock_give(&fake->lock);
}
