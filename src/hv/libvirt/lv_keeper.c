/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection that events come over, and the thread that keeps it.
 *
 * The keeper sleeps on `changed` until the close callback says that the
 * connection has ended, tells everybody (watches, handler, idle connections),
 * and opens the next one: at once, then after pauses that double from 100 ms
 * to 2 s.  There is no event for "libvirtd is back" that would work for every
 * URI, and where systemd listens in libvirtd's place, connecting is what
 * starts it; so it tries.
 *
 * Callbacks run in libvirt's event loop, which all connections of the process
 * share: they take `lock` for a moment, or call the handler, and return.
 * Every callback holds a pointer to `struct lv`; libvirt says by the free
 * function when it lets go of one (a callback that runs at that moment is
 * waited for there), and lv_keeper_stop returns when all are.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 2000
#define RELEASE_MS 5000

void
lv_emit(struct lv *lv, enum hv_event_kind kind, const char *uuid,
        enum hv_state state)
{
    struct hv_event event = {.kind = kind, .state = state};

    (void)snprintf(event.uuid, sizeof(event.uuid), "%s", uuid);
    lock_take(&lv->handler_lock);
    if (lv->handler != NULL)
        lv->handler(&event, lv->handler_context);
    lock_give(&lv->handler_lock);
}

void
lv_set_handler(struct lv *lv, hv_event_handler *handler, void *context)
{
    lock_take(&lv->handler_lock);
    lv->handler = handler;
    lv->handler_context = context;
    lock_give(&lv->handler_lock);
}

/* -- callbacks ---------------------------------------------------------------
 */

static void
on_lifecycle(struct lv *lv, const char *uuid, int event)
{
    switch (event) {
    case VIR_DOMAIN_EVENT_DEFINED:
    case VIR_DOMAIN_EVENT_UNDEFINED:
        lv_emit(lv, HV_EVENT_DEFINED, uuid, HV_STOPPED);
        break;
    case VIR_DOMAIN_EVENT_STARTED:
    case VIR_DOMAIN_EVENT_RESUMED:
        lv_watch_paused(lv, uuid, false);
        lv_emit(lv, HV_EVENT_STATE, uuid, HV_RUNNING);
        break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
    case VIR_DOMAIN_EVENT_CRASHED:
        lv_watch_paused(lv, uuid, true);
        lv_emit(lv, HV_EVENT_STATE, uuid, HV_PAUSED);
        break;
    case VIR_DOMAIN_EVENT_SHUTDOWN:
        lv_emit(lv, HV_EVENT_STATE, uuid, HV_STOPPING);
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        lv_watch_stopped(lv, uuid);
        lv_emit(lv, HV_EVENT_STATE, uuid, HV_STOPPED);
        break;
    default:
        break;
    }
}

static int
lifecycle_callback(virConnectPtr conn, virDomainPtr domain, int event,
                   int detail, void *context)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    (void)conn;
    (void)detail;
    if (virDomainGetUUIDString(domain, uuid) == 0)
        on_lifecycle(context, uuid, event);
    return 0;
}

static void
job_callback(virConnectPtr conn, virDomainPtr domain, const char *target,
             int type, int status, void *context)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    (void)conn;
    if (type == VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP || target == NULL ||
        virDomainGetUUIDString(domain, uuid) < 0)
        return;
    log_debug("libvirt", "block-job", "vm=%s disk=%s type=%d status=%d", uuid,
              target, type, status);
    lv_watch_job(context, uuid, target, status);
}

static void
io_error_callback(virConnectPtr conn, virDomainPtr domain, const char *source,
                  const char *alias, int action, const char *reason,
                  void *context)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    (void)conn;
    (void)source;
    (void)alias;
    (void)reason;
    if (action == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE &&
        virDomainGetUUIDString(domain, uuid) == 0)
        lv_emit(context, HV_EVENT_IO_ERROR, uuid, HV_PAUSED);
}

/* A disk is gone: its watch is under its alias. */
static void
removed_callback(virConnectPtr conn, virDomainPtr domain, const char *alias,
                 void *context)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    (void)conn;
    if (alias != NULL && virDomainGetUUIDString(domain, uuid) == 0)
        lv_watch_job(context, uuid, alias, 0);
}

static void
close_callback(virConnectPtr conn, int reason, void *context)
{
    struct lv *lv = context;

    (void)conn;
    log_debug("libvirt", "connection-closed", "reason=%d", reason);
    lock_take(&lv->lock);
    lv->lost = true;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static void
release_callback(void *context)
{
    struct lv *lv = context;

    lock_take(&lv->lock);
    lv->registered--;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static void
count_registration(struct lv *lv)
{
    lock_take(&lv->lock);
    lv->registered++;
    lock_give(&lv->lock);
}

static int
listen_to(struct lv *lv, virConnectPtr conn, int id,
          virConnectDomainEventGenericCallback callback, struct error *err)
{
    int registration;

    count_registration(lv);
    registration = virConnectDomainEventRegisterAny(conn, NULL, id, callback,
                                                    lv, release_callback);
    if (registration < 0) {
        release_callback(lv);
        return lv_fail(err, "register for events of '%s'", lv->uri);
    }
    vec_push(&lv->registrations, registration);
    return 0;
}

/* void (*)(void) is the one type that may be cast to any other silently. */
#define CALLBACK(function)                                                     \
    ((virConnectDomainEventGenericCallback)(void (*)(void))(function))

static int
listen_to_all(struct lv *lv, virConnectPtr conn, struct error *err)
{
    count_registration(lv);
    if (virConnectRegisterCloseCallback(conn, close_callback, lv,
                                        release_callback) < 0) {
        release_callback(lv);
        return lv_fail(err, "register with '%s'", lv->uri);
    }
    if (listen_to(lv, conn, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                  CALLBACK(lifecycle_callback), err) < 0 ||
        listen_to(lv, conn, VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
                  CALLBACK(job_callback), err) < 0 ||
        listen_to(lv, conn, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                  CALLBACK(removed_callback), err) < 0 ||
        listen_to(lv, conn, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
                  CALLBACK(io_error_callback), err) < 0)
        return -1;
    return 0;
}

/* -- the thread --------------------------------------------------------------
 */

/* Every registration holds the connection open, also a dead one. */
static void
close_events(struct lv *lv, virConnectPtr conn)
{
    if (conn == NULL)
        return;
    (void)virConnectUnregisterCloseCallback(conn, close_callback);
    vec_for (int *, registration, &lv->registrations)
        (void)virConnectDomainEventDeregisterAny(conn, *registration);
    vec_release(&lv->registrations);
    lv_close(conn);
}

static bool
connect_events(struct lv *lv)
{
    struct error err = ERROR_INIT;
    virConnectPtr conn = NULL;

    lock_take(&lv->lock);
    lv->lost = false;
    lock_give(&lv->lock);
    if (lv_open(lv->uri, &conn, &err) < 0 ||
        listen_to_all(lv, conn, &err) < 0) {
        log_debug("libvirt", "connect-failed", "error='%s'", err.message);
        close_events(lv, conn);
        return false;
    }
    lock_take(&lv->lock);
    lv->events = conn;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
    return true;
}

/* Sleep; true when it was told to stop. */
static bool
pause_for(struct lv *lv, int64_t pause_ms)
{
    int64_t deadline = clock_monotonic_ms() + pause_ms;
    bool stop;

    lock_take(&lv->lock);
    while (!lv->stop && clock_monotonic_ms() < deadline)
        (void)signal_wait_until(&lv->changed, &lv->lock, deadline);
    stop = lv->stop;
    lock_give(&lv->lock);
    return stop;
}

/* Sleep until the connection has ended; true when it was told to stop. */
static bool
wait_for_loss(struct lv *lv)
{
    bool stop;

    lock_take(&lv->lock);
    while (!lv->stop && !lv->lost)
        signal_wait(&lv->changed, &lv->lock);
    stop = lv->stop;
    lock_give(&lv->lock);
    return stop;
}

static void
drop_connections(struct lv *lv)
{
    struct VEC(virConnectPtr) idle;
    virConnectPtr events;

    lock_take(&lv->lock);
    events = lv->events;
    lv->events = NULL;
    lv->generation++;
    idle.items = lv->idle.items;
    idle.count = lv->idle.count;
    lv->idle.items = NULL;
    lv->idle.count = lv->idle.capacity = 0;
    lv->connections -= (unsigned)idle.count;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
    close_events(lv, events);
    for (size_t i = 0; i < idle.count; i++)
        lv_close(idle.items[i]);
    free(idle.items);
}

static void *
keep(void *context)
{
    struct lv *lv = context;
    int64_t pause_ms = PAUSE_FIRST_MS;
    bool connected = lv_has_events(lv);

    for (;;) {
        if (connected) {
            pause_ms = PAUSE_FIRST_MS;
            if (wait_for_loss(lv))
                return NULL;
            drop_connections(lv);
            lv_watch_disconnected(lv);
            lv_emit(lv, HV_EVENT_DISCONNECTED, "", HV_STOPPED);
        } else {
            if (pause_for(lv, pause_ms))
                return NULL;
            pause_ms = MIN(pause_ms * 2, (int64_t)PAUSE_MAX_MS);
        }
        connected = connect_events(lv);
        if (connected)
            lv_emit(lv, HV_EVENT_CONNECTED, "", HV_STOPPED);
    }
}

bool
lv_has_events(struct lv *lv)
{
    bool has;

    lock_take(&lv->lock);
    has = lv->events != NULL && !lv->lost;
    lock_give(&lv->lock);
    return has;
}

int
lv_keeper_start(struct lv *lv, struct error *err)
{
    (void)connect_events(lv);
    lv->has_keeper = pthread_create(&lv->keeper, NULL, keep, lv) == 0;
    if (!lv->has_keeper)
        return error_set(err, ERROR_INTERNAL, "no thread for '%s'", lv->uri);
    return 0;
}

void
lv_keeper_stop(struct lv *lv)
{
    int64_t deadline = clock_monotonic_ms() + RELEASE_MS;

    lock_take(&lv->lock);
    lv->stop = true;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
    if (lv->has_keeper)
        (void)pthread_join(lv->keeper, NULL);
    drop_connections(lv);
    lock_take(&lv->lock);
    while (lv->registered > 0 && clock_monotonic_ms() < deadline)
        (void)signal_wait_until(&lv->changed, &lv->lock, deadline);
    lock_give(&lv->lock);
}
