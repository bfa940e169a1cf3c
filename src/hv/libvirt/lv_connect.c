/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections for calls.
 *
 * A call takes an idle connection or opens one, up to LV_CONNECTIONS_MAX; the
 * next one waits.  A connection whose call ended in ERROR_UNAVAILABLE, or
 * that is older than the last loss, is closed instead of kept: a dead
 * virConnect never comes back to life.
 *
 * virConnectOpen has no time-out, and keepalive works only once it is open: a
 * libvirtd that hangs would hang us.  It therefore runs in a thread of its
 * own, which is left behind when it takes too long and closes what it got;
 * while one is left behind, no other is sent after it.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/clock.h"
#include "base/memory.h"

#include <libvirt/virterror.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WAIT_MS 60000
#define KEEPALIVE_SECONDS 5
#define KEEPALIVE_COUNT 3

/* -- the process -------------------------------------------------------------
 */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_initialised;

/* Connections that are being opened although nobody waits any more. */
static atomic_uint left_behind;

static void
ignore_error(void *context, virErrorPtr error)
{
    (void)context;
    (void)error;
}

static void *
run_events(void *context)
{
    (void)context;
    for (;;)
        (void)virEventRunDefaultImpl();
    return NULL;
}

static void
initialise(void)
{
    struct sigaction old;
    pthread_t thread;

    /* libvirt writes to sockets whose other end may have died. */
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
    virSetErrorFunc(NULL, ignore_error);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0 ||
        pthread_create(&thread, NULL, run_events, NULL) != 0)
        return;
    (void)pthread_detach(thread);
    is_initialised = true;
}

int
lv_process_init(struct error *err)
{
    (void)pthread_once(&once, initialise);
    if (!is_initialised)
        return error_set(err, ERROR_INTERNAL, "libvirt cannot be initialised");
    return 0;
}

/* -- opening -----------------------------------------------------------------
 */

struct opening {
    struct lock lock;
    struct signal done_signal;
    char *uri;
    /* Under lock: */
    virConnectPtr conn;
    struct error err;
    bool done;
    bool left; /* nobody waits; the thread frees it */
};

static void
opening_free(struct opening *opening)
{
    signal_release(&opening->done_signal);
    lock_release(&opening->lock);
    free(opening->uri);
    free(opening);
}

static virConnectPtr
open_now(const char *uri, struct error *err)
{
    virConnectPtr conn = virConnectOpen(uri);

    if (conn == NULL) {
        (void)lv_fail(err, "connect to '%s'", uri);
        /* Whatever it was, it may be over the next time. */
        if (err->code != ERROR_DENIED)
            err->code = ERROR_UNAVAILABLE;
        return NULL;
    }
    /* Remote drivers only; others live in this process. */
    (void)virConnectSetKeepAlive(conn, KEEPALIVE_SECONDS, KEEPALIVE_COUNT);
    return conn;
}

static void *
open_thread(void *context)
{
    struct opening *opening = context;
    struct error err = ERROR_INIT;
    virConnectPtr conn = open_now(opening->uri, &err);
    bool left;

    lock_take(&opening->lock);
    opening->conn = conn;
    opening->err = err;
    opening->done = true;
    left = opening->left;
    signal_wake_all(&opening->done_signal);
    lock_give(&opening->lock);
    if (left) {
        lv_close(conn);
        opening_free(opening);
        atomic_fetch_sub(&left_behind, 1);
    }
    return NULL;
}

/* True when the thread has ended in time; otherwise it owns `opening`. */
static bool
wait_until_open(struct opening *opening)
{
    int64_t deadline = clock_monotonic_ms() + LV_OPEN_MS;
    bool done;

    lock_take(&opening->lock);
    while (!opening->done && clock_monotonic_ms() < deadline)
        (void)signal_wait_until(&opening->done_signal, &opening->lock,
                                deadline);
    done = opening->done;
    if (!done) {
        opening->left = true;
        atomic_fetch_add(&left_behind, 1);
    }
    lock_give(&opening->lock);
    return done;
}

int
lv_open(const char *uri, virConnectPtr *ret_conn, struct error *err)
{
    struct opening *opening;
    pthread_t thread;

    if (atomic_load(&left_behind) > 0)
        return error_set(err, ERROR_UNAVAILABLE,
                         "'%s' still does not answer the last attempt", uri);
    opening = xcalloc(1, sizeof(*opening));
    lock_init(&opening->lock);
    signal_init(&opening->done_signal);
    opening->uri = xstrdup(uri);
    if (pthread_create(&thread, NULL, open_thread, opening) != 0) {
        opening_free(opening);
        return error_set(err, ERROR_INTERNAL, "no thread to connect with");
    }
    if (!wait_until_open(opening)) {
        (void)pthread_detach(thread);
        return error_set(err, ERROR_UNAVAILABLE,
                         "'%s' does not answer within %d ms", uri, LV_OPEN_MS);
    }
    (void)pthread_join(thread, NULL);
    *ret_conn = opening->conn;
    *err = opening->err;
    opening_free(opening);
    return *ret_conn != NULL ? 0 : -1;
}

void
lv_close(virConnectPtr conn)
{
    if (conn != NULL)
        (void)virConnectClose(conn);
}

/* -- the pool ----------------------------------------------------------------
 */

/* An idle connection, or NULL and the right to open one; false when the time
 * is up. */
static bool take_locked(struct lv *lv, virConnectPtr *ret_conn)
    REQUIRES(lv->lock);

static bool
take_locked(struct lv *lv, virConnectPtr *ret_conn)
{
    int64_t deadline = clock_monotonic_ms() + WAIT_MS;

    while (lv->idle.count == 0 && lv->connections >= LV_CONNECTIONS_MAX)
        if (!signal_wait_until(&lv->changed, &lv->lock, deadline))
            return false;
    *ret_conn = NULL;
    if (lv->idle.count > 0)
        *ret_conn = lv->idle.items[--lv->idle.count];
    else
        lv->connections++;
    return true;
}

static void
forget_connection(struct lv *lv)
{
    lock_take(&lv->lock);
    lv->connections--;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
}

static int
take(struct lv_call *call, struct error *err)
{
    struct lv *lv = call->lv;
    bool taken;

    lock_take(&lv->lock);
    taken = take_locked(lv, &call->conn);
    call->generation = lv->generation;
    lock_give(&lv->lock);
    if (!taken)
        return error_set(err, ERROR_BUSY,
                         "%d calls to '%s' are under way for %d ms",
                         LV_CONNECTIONS_MAX, lv->uri, WAIT_MS);
    if (call->conn != NULL && virConnectIsAlive(call->conn) == 1)
        return 0;
    lv_close(call->conn);
    call->conn = NULL;
    if (lv_open(lv->uri, &call->conn, err) < 0) {
        forget_connection(lv);
        return -1;
    }
    return 0;
}

int
lv_end(struct lv_call *call, int result, const struct error *err)
{
    struct lv *lv = call->lv;
    virConnectPtr conn = call->conn;
    bool keep;

    if (call->domain != NULL)
        (void)virDomainFree(call->domain);
    keep = (result >= 0 || err->code != ERROR_UNAVAILABLE) &&
           virConnectIsAlive(conn) == 1;
    lock_take(&lv->lock);
    keep = keep && call->generation == lv->generation && !lv->stop;
    if (keep)
        vec_push(&lv->idle, conn);
    else
        lv->connections--;
    signal_wake_all(&lv->changed);
    lock_give(&lv->lock);
    if (!keep)
        lv_close(conn);
    *call = (struct lv_call){.lv = lv};
    return result;
}

int
lv_begin(struct hv *hv, const char *uuid, struct lv_call *call,
         struct error *err)
{
    *call = (struct lv_call){.lv = lv_of(hv)};
    if (take(call, err) < 0)
        return -1;
    if (uuid == NULL)
        return 0;
    call->domain = virDomainLookupByUUIDString(call->conn, uuid);
    if (call->domain == NULL) {
        (void)lv_fail(err, "machine '%s'", uuid);
        return lv_end(call, -1, err);
    }
    call->name = virDomainGetName(call->domain);
    return 0;
}
