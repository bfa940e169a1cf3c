/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/parse.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool fault_enabled;

static struct {
    pthread_mutex_t lock;
    char name[64]; /* under lock, as all below */
    uint64_t nth;
    uint64_t passes;
    enum fault_action action;
    bool fired;
    char fired_name[64];
} armed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool
has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name);
    size_t tail = strlen(suffix);

    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

bool
fault_hit(const char *name)
{
    bool fire = false;
    enum fault_action action;

    (void)pthread_mutex_lock(&armed.lock);
    action = armed.action;
    if (strcmp(armed.name, "*") == 0 || strcmp(armed.name, name) == 0) {
        armed.passes++;
        if (action != FAULT_COUNT && armed.passes == armed.nth) {
            fire = armed.fired = true;
            (void)snprintf(armed.fired_name, sizeof(armed.fired_name), "%s",
                           name);
        }
    }
    (void)pthread_mutex_unlock(&armed.lock);
    log_debug("fault", "fault-point", "name=%s", name);
    if (!fire)
        return false;
    if (action == FAULT_STOP) {
        (void)kill(getpid(), SIGSTOP);
        return false;
    }
    if (action == FAULT_KILL) {
        (void)kill(getpid(), SIGKILL);
        for (;;)
            (void)pause();
    }
    errno = has_suffix(name, ".space") ? ENOSPC : EIO;
    return true;
}

void
fault_arm(const char *name, uint64_t nth, enum fault_action action)
{
    (void)pthread_mutex_lock(&armed.lock);
    (void)snprintf(armed.name, sizeof(armed.name), "%s", name);
    armed.nth = nth;
    armed.action = action;
    armed.passes = 0;
    armed.fired = false;
    armed.fired_name[0] = '\0';
    (void)pthread_mutex_unlock(&armed.lock);
    fault_enabled = true;
}

void
fault_disarm(void)
{
    fault_enabled = false;
}

uint64_t
fault_passes(void)
{
    uint64_t passes;

    (void)pthread_mutex_lock(&armed.lock);
    passes = armed.passes;
    (void)pthread_mutex_unlock(&armed.lock);
    return passes;
}

bool
fault_fired(void)
{
    bool fired;

    (void)pthread_mutex_lock(&armed.lock);
    fired = armed.fired;
    (void)pthread_mutex_unlock(&armed.lock);
    return fired;
}

const char *
fault_fired_name(void)
{
    return fault_fired() ? armed.fired_name : NULL;
}

static int
malformed(const char *text, const char *why, struct error *err)
{
    return error_set(err, ERROR_INVALID, "VARVE_FAULT '%s': %s", text, why);
}

/* What stands behind the name: ":n", ":action", or both in this order. */
static int
parse_rest(const char *text, const char *rest, uint64_t *ret_nth,
           enum fault_action *ret_action, struct error *err)
{
    static const struct {
        const char *text;
        enum fault_action action;
    } actions[] = {
        {":kill", FAULT_KILL}, {":stop", FAULT_STOP}, {":count", FAULT_COUNT}};
    size_t length = strlen(rest);
    char number[24];

    *ret_nth = 1;
    *ret_action = FAULT_FAIL;
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
        if (has_suffix(rest, actions[i].text)) {
            *ret_action = actions[i].action;
            length -= strlen(actions[i].text);
        }
    }
    if (length == 0)
        return 0;
    if (length > sizeof(number))
        return malformed(text, "bad number", err);
    (void)snprintf(number, sizeof(number), "%.*s", (int)length - 1, rest + 1);
    if (parse_u64(number, ret_nth, err) < 0)
        return error_prefix(err, "VARVE_FAULT '%s'", text);
    return 0;
}

int
fault_init(struct error *err)
{
    const char *text = getenv("VARVE_FAULT");
    char name[64];
    const char *colon;
    uint64_t nth;
    enum fault_action action;

    if (text == NULL || *text == '\0')
        return 0;
    colon = strchrnul(text, ':');
    if (colon == text || (size_t)(colon - text) >= sizeof(name))
        return malformed(text, "bad name", err);
    memcpy(name, text, (size_t)(colon - text));
    name[colon - text] = '\0';
    if (parse_rest(text, colon, &nth, &action, err) < 0)
        return -1;
    fault_arm(name, nth, action);
    return 0;
}
