/* SPDX-License-Identifier: Apache-2.0 */
/*
 * It ignores the signals that end a daemon: its parent tells it when to go, or
 * dies.  It has its own connection, made before the guest is frozen; when that
 * breaks, the kind reconnects in the background and a try every second finds
 * it again.
 *
 * One look is not enough: a freeze that our parent asked for just before it
 * died may reach the guest after it.  libvirtd gives up on a freeze when the
 * agent's time-out has passed, so the second look comes later than that.
 */
#include "daemon/thaw_watchdog.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "engine/thaw_guard.h"
#include "hv/hv.h"
#include "hv/libvirt/hv_libvirt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum status {
    STATUS_UNUSED = THAW_GUARD_UNUSED,
    STATUS_NOT_READY = 1,
    STATUS_THAWED = 3,
    STATUS_FAILED = 4
};

#define BUDGET_MAX_MS ((uint64_t)3600000)
#define TRY_MS 120000
#define PAUSE_MS 1000
#define SECOND_LOOK_MS 6000

/* What ended the wait; NULL: we were told to go. */
static const char *
wait_for_word(int64_t budget_ms)
{
    int64_t deadline = clock_monotonic_ms() + budget_ms;

    for (;;) {
        struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
        int64_t left = deadline - clock_monotonic_ms();
        char byte;
        ssize_t got;

        if (left <= 0)
            return "budget";
        if (poll(&poll_fd, 1, (int)left) <= 0)
            continue;
        got = read(STDIN_FILENO, &byte, 1);
        if (got == 1 && byte == THAW_GUARD_DONE)
            return NULL;
        if (got == 0 || (got < 0 && errno != EINTR))
            return "parent-died";
    }
}

/* 1 it was frozen and is not any more, 0 it was not, -1 unknown. */
static int
thaw_once(struct hv *hv, const char *uuid, struct error *err)
{
    int frozen = hv_is_frozen(hv, uuid, err);

    if (frozen <= 0)
        return frozen;
    return hv_thaw(hv, uuid, err) < 0 ? -1 : 1;
}

/* The same, for as long as it may take. */
static int
thaw(struct hv *hv, const char *uuid, struct error *err)
{
    int64_t deadline = clock_monotonic_ms() + TRY_MS;
    int result;

    for (;;) {
        error_clear(err);
        result = thaw_once(hv, uuid, err);
        if (result >= 0 || err->code == ERROR_NOT_FOUND ||
            err->code == ERROR_UNSUPPORTED || clock_monotonic_ms() >= deadline)
            return result;
        (void)poll(NULL, 0, PAUSE_MS);
    }
}

static int
act(struct hv *hv, const char *uuid, const char *reason)
{
    struct error err = ERROR_INIT;
    int first = thaw(hv, uuid, &err);
    int second = -1;

    if (first >= 0) {
        (void)poll(NULL, 0, SECOND_LOOK_MS);
        second = thaw(hv, uuid, &err);
    }
    if (second < 0) {
        log_error("thaw-watchdog-failed", "vm=%s reason=%s error='%s'", uuid,
                  reason, err.message);
        return STATUS_FAILED;
    }
    log_warning("thaw-watchdog-acted", "vm=%s reason=%s was-frozen=%s", uuid,
                reason, first + second > 0 ? "yes" : "no");
    return STATUS_THAWED;
}

static int
watch(struct hv *hv, const char *uuid, int64_t budget_ms)
{
    const char ready = THAW_GUARD_READY;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;
    const char *reason;

    if (hv_get(hv, uuid, &machine, &err) < 0 ||
        send(STDIN_FILENO, &ready, 1, MSG_NOSIGNAL) != 1)
        return STATUS_NOT_READY;
    reason = wait_for_word(budget_ms);
    return reason != NULL ? act(hv, uuid, reason) : STATUS_UNUSED;
}

int
thaw_watchdog_run(int argc, char *const argv[])
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    struct error err = ERROR_INIT;
    uint64_t budget_ms;
    struct hv *hv;
    int status;

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        (void)signal(ignored[i], SIG_IGN);
    if (argc != 3 || parse_u64(argv[2], &budget_ms, &err) < 0 ||
        budget_ms > BUDGET_MAX_MS)
        return STATUS_NOT_READY;
    hv = hv_libvirt_open(argv[0], &err);
    if (hv == NULL)
        return STATUS_NOT_READY;
    status = watch(hv, argv[1], (int64_t)budget_ms);
    hv_free(hv);
    return status;
}
