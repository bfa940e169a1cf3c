/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What events have told, kept until somebody asks.
 *
 * A job's end may come before the call that started it has returned, and on
 * another connection; so its watch is reset before the call and remembers.
 * Whoever waits looks at the watch, sleeps on `changed` and looks again.
 * A watch is made for each disk that ever had a job, and for each machine
 * that was ever waited for (target ""); it is a few bytes and stays.
 *
 * A loss of the events' connection marks all watches: what was not told by
 * then may never be.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lv_watch *
lv_watch_get_locked(struct lv *lv, const char *uuid, const char *target)
{
    AUTO_FREE char *key = xasprintf("%s/%s", uuid, target);
    struct lv_watch *watch = map_find(lv->watches, key);

    if (watch != NULL)
        return watch;
    watch = xcalloc(1, sizeof(*watch));
    (void)snprintf(watch->uuid, sizeof(watch->uuid), "%s", uuid);
    watch->ended = -1;
    map_set(lv->watches, key, watch);
    return watch;
}

void
lv_watch_reset(struct lv *lv, struct lv_watch *watch, bool started)
{
    lock_take(&lv->lock);
    watch->ended = -1;
    watch->started = started;
    watch->stopped = watch->disconnected = false;
    watch->paused_at = watch->resumed_at = 0;
    lock_give(&lv->lock);
}

void
lv_watch_job(struct lv *lv, const char *uuid, const char *target, int status)
{
    AUTO_FREE char *key = xasprintf("%s/%s", uuid, target);
    struct lv_watch *watch;

    lock_take(&lv->lock);
    watch = map_find(lv->watches, key);
    if (watch != NULL)
        watch->ended = status;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static void
mark_stopped(const char *key, void *value, void *context)
{
    struct lv_watch *watch = value;

    (void)key;
    if (strcmp(watch->uuid, context) == 0)
        watch->stopped = true;
}

void
lv_watch_stopped(struct lv *lv, const char *uuid)
{
    char copy[UUID_TEXT_SIZE];

    (void)snprintf(copy, sizeof(copy), "%s", uuid);
    lock_take(&lv->lock);
    map_walk(lv->watches, mark_stopped, copy);
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

void
lv_watch_paused(struct lv *lv, const char *uuid, bool paused)
{
    AUTO_FREE char *key = xasprintf("%s/", uuid);
    int64_t now = clock_monotonic_ms();
    struct lv_watch *watch;

    lock_take(&lv->lock);
    watch = map_find(lv->watches, key);
    if (watch != NULL && paused)
        watch->paused_at = now;
    else if (watch != NULL)
        watch->resumed_at = now;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static void
mark_disconnected(const char *key, void *value, void *context)
{
    struct lv_watch *watch = value;

    (void)key;
    (void)context;
    watch->disconnected = true;
    watch->started = false;
}

void
lv_watch_disconnected(struct lv *lv)
{
    lock_take(&lv->lock);
    map_walk(lv->watches, mark_disconnected, NULL);
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static void
free_one(const char *key, void *value, void *context)
{
    (void)key;
    (void)context;
    free(value);
}

void
lv_watches_free(struct lv *lv)
{
    map_walk(lv->watches, free_one, NULL);
    map_free(lv->watches);
}
