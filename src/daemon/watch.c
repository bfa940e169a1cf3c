/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's event thread only notes which machine changed; many events
 * about one machine become one look.
 */
#include "daemon/watch.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define PENDING_MAX 256

struct watch {
    struct engine *engine; /* borrowed */
    struct hv *hv;         /* borrowed */
    pthread_t thread;
    struct lock lock;
    struct signal changed;
    char pending[PENDING_MAX][UUID_TEXT_SIZE]; /* under lock */
    size_t count;                              /* under lock */
    bool all;       /* under lock: look at every machine */
    bool connected; /* under lock: the hypervisor came back */
    bool stopping;  /* under lock */
};

static void
note_locked(struct watch *watch, const char *uuid)
{
    for (size_t i = 0; i < watch->count; i++) {
        if (strcmp(watch->pending[i], uuid) == 0)
            return;
    }
    if (watch->count == PENDING_MAX)
        watch->all = true;
    else
        memcpy(watch->pending[watch->count++], uuid, UUID_TEXT_SIZE);
}

static void
on_event(const struct hv_event *event, void *context)
{
    struct watch *watch = context;

    lock_take(&watch->lock);
    switch (event->kind) {
    case HV_EVENT_STATE:
    case HV_EVENT_DEFINED:
    case HV_EVENT_IO_ERROR:
        note_locked(watch, event->uuid);
        break;
    case HV_EVENT_CONNECTED:
        watch->all = watch->connected = true;
        break;
    case HV_EVENT_DISCONNECTED:
        break;
    }
    signal_wake_one(&watch->changed);
    lock_give(&watch->lock);
    if (event->kind == HV_EVENT_DISCONNECTED)
        log_warning("hypervisor-lost", "reason='connection closed'");
    if (event->kind == HV_EVENT_IO_ERROR)
        log_error("guest-io-error", "vm=%s", event->uuid);
}

/* What there is to do; false when it is time to end. */
static bool
take(struct watch *watch, char uuids[PENDING_MAX][UUID_TEXT_SIZE],
     size_t *ret_count, bool *ret_all, bool *ret_connected)
{
    bool go_on;

    lock_take(&watch->lock);
    while (!watch->stopping && !watch->all && watch->count == 0)
        signal_wait(&watch->changed, &watch->lock);
    memcpy(uuids, watch->pending, watch->count * UUID_TEXT_SIZE);
    *ret_count = watch->count;
    *ret_all = watch->all;
    *ret_connected = watch->connected;
    watch->count = 0;
    watch->all = watch->connected = false;
    go_on = !watch->stopping;
    lock_give(&watch->lock);
    return go_on;
}

static void
look(struct watch *watch, const char *uuid)
{
    struct error err = ERROR_INIT;

    if (engine_refresh(watch->engine, uuid, &err) < 0)
        log_warning("refresh-failed", "vm=%s error='%s'",
                    uuid != NULL ? uuid : "all", err.message);
    else if (uuid != NULL &&
             engine_request_settle(watch->engine, uuid, &err) < 0)
        log_error("settle-failed", "vm=%s error='%s'", uuid, err.message);
}

static void
come_back(struct watch *watch)
{
    struct error err = ERROR_INIT;

    log_info("hypervisor-back", "settling=true");
    if (engine_request_settle(watch->engine, NULL, &err) < 0)
        log_error("settle-failed", "error='%s'", err.message);
}

static void *
follow(void *context)
{
    struct watch *watch = context;
    char(*uuids)[UUID_TEXT_SIZE] = xcalloc(PENDING_MAX, UUID_TEXT_SIZE);
    size_t count;
    bool all;
    bool connected;

    while (take(watch, uuids, &count, &all, &connected)) {
        if (all)
            look(watch, NULL);
        for (size_t i = 0; !all && i < count; i++)
            look(watch, uuids[i]);
        if (connected)
            come_back(watch);
    }
    free(uuids);
    return NULL;
}

struct watch *
watch_start(struct engine *engine, struct hv *hv, struct error *err)
{
    struct watch *watch = xcalloc(1, sizeof(*watch));
    int failed;

    watch->engine = engine;
    watch->hv = hv;
    lock_init(&watch->lock);
    signal_init(&watch->changed);
    failed = pthread_create(&watch->thread, NULL, follow, watch);
    if (failed != 0) {
        (void)error_set_errno(err, failed, "start the event thread");
        free(watch);
        return NULL;
    }
    hv_set_event_handler(hv, on_event, watch);
    return watch;
}

void
watch_stop(struct watch *watch)
{
    if (watch == NULL)
        return;
    hv_set_event_handler(watch->hv, NULL, NULL);
    lock_take(&watch->lock);
    watch->stopping = true;
    signal_wake_all(&watch->changed);
    lock_give(&watch->lock);
    (void)pthread_join(watch->thread, NULL);
    signal_release(&watch->changed);
    lock_release(&watch->lock);
    free(watch);
}
