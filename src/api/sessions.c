/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sessions.h"

#include "api/mac.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slot {
    struct session session;
    int64_t used_ms; /* 0: free */
};

struct sessions {
    struct lock lock;
    struct slot *slots; /* under lock; owned */
    size_t max;
    int64_t timeout_ms;
};

struct sessions *
sessions_new(size_t max, int64_t timeout_ms)
{
    struct sessions *sessions = xcalloc(1, sizeof(*sessions));

    lock_init(&sessions->lock);
    sessions->slots = xcalloc(max, sizeof(*sessions->slots));
    sessions->max = max;
    sessions->timeout_ms = timeout_ms;
    return sessions;
}

void
sessions_free(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    mac_wipe(sessions->slots, sessions->max * sizeof(struct slot));
    free(sessions->slots);
    lock_release(&sessions->lock);
    free(sessions);
}

/* Fill `text` of `size` bytes with random hexadecimal digits. */
static void
random_text(char *text, size_t size)
{
    uint8_t bytes[SESSIONS_KEY_SIZE];

    random_bytes(bytes, size / 2);
    for (size_t i = 0; i < size / 2; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* A free place, or the one that was not used for longest. */
static struct slot *
find_place_locked(struct sessions *sessions) REQUIRES(sessions->lock)
{
    struct slot *place = &sessions->slots[0];

    for (size_t i = 0; i < sessions->max; i++) {
        if (sessions->slots[i].used_ms < place->used_ms)
            place = &sessions->slots[i];
    }
    return place;
}

void
sessions_begin(struct sessions *sessions, int64_t user_id, int64_t now_ms,
               struct session *ret_session)
{
    struct slot slot = {.session = {.user_id = user_id}, .used_ms = now_ms};

    random_text(slot.session.id, sizeof(slot.session.id));
    random_text(slot.session.key, sizeof(slot.session.key));
    lock_take(&sessions->lock);
    *find_place_locked(sessions) = slot;
    lock_give(&sessions->lock);
    *ret_session = slot.session;
}

/* Every session is compared in full, so that time tells nothing. */
static struct slot *
find_locked(struct sessions *sessions, const char *id) REQUIRES(sessions->lock)
{
    struct slot *found = NULL;

    if (strlen(id) != SESSIONS_ID_SIZE - 1)
        return NULL;
    for (size_t i = 0; i < sessions->max; i++) {
        struct slot *slot = &sessions->slots[i];

        if (slot->used_ms != 0 &&
            mac_is_equal(slot->session.id, id, SESSIONS_ID_SIZE))
            found = slot;
    }
    return found;
}

static int64_t
use_locked(struct sessions *sessions, const char *id, const char *key,
           int64_t now_ms) REQUIRES(sessions->lock)
{
    struct slot *slot = find_locked(sessions, id);

    if (slot == NULL)
        return 0;
    if (now_ms - slot->used_ms > sessions->timeout_ms) {
        *slot = (struct slot){.used_ms = 0};
        return 0;
    }
    if (strlen(key) != SESSIONS_KEY_SIZE - 1 ||
        !mac_is_equal(slot->session.key, key, SESSIONS_KEY_SIZE))
        return 0;
    slot->used_ms = now_ms;
    return slot->session.user_id;
}

int64_t
sessions_use(struct sessions *sessions, const char *id, const char *key,
             int64_t now_ms)
{
    int64_t user_id;

    lock_take(&sessions->lock);
    user_id = use_locked(sessions, id, key, now_ms);
    lock_give(&sessions->lock);
    return user_id;
}

void
sessions_end(struct sessions *sessions, const char *id)
{
    struct slot *slot;

    lock_take(&sessions->lock);
    slot = find_locked(sessions, id);
    if (slot != NULL)
        *slot = (struct slot){.used_ms = 0};
    lock_give(&sessions->lock);
}

void
sessions_end_user(struct sessions *sessions, int64_t user_id)
{
    lock_take(&sessions->lock);
    for (size_t i = 0; i < sessions->max; i++) {
        if (sessions->slots[i].session.user_id == user_id)
            sessions->slots[i] = (struct slot){.used_ms = 0};
    }
    lock_give(&sessions->lock);
}
