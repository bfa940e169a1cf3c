/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread, which begins with the first question and asks one round at a
 * time.  Everybody who waits gets the same round's facts; while a round hangs
 * nobody starts a second one.
 */
#include "api/probe.h"

#include "api/object.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "state/state.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <unistd.h>

#define WAIT_MS 2000
#define EXAMINE_MS 20000

struct probe {
    struct engine *engine; /* borrowed */
    struct lock lock;
    struct signal changed;
    /* All under lock. */
    bool has_thread;
    bool is_ending;
    pthread_t thread;
    uint64_t asked;           /* the newest round that somebody wants */
    uint64_t answered;        /* the newest round that is done */
    uint64_t examined;        /* the newest round that looks at disks */
    struct probe_facts facts; /* of that round */
};

/* -- one round ----------------------------------------------------------- */

/* What is to be looked at, from the database: nothing of it is held while
 * anything may hang. */
struct places {
    struct state_image_store_list stores; /* owned */
    struct state_storage_pool_list pools; /* owned */
};

static void
load_places(struct engine *engine, struct places *places)
{
    const struct state_where where[] = {STATE_LIVING};
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(engine_state(engine), &err);

    if (tx == NULL ||
        state_image_store_list(tx, STATE_QUERY(where), &places->stores, &err) <
            0 ||
        state_storage_pool_list(tx, STATE_QUERY(where), &places->pools, &err) <
            0)
        log_debug("api", "probe-failed", "error='%s'", err.message);
}

static void
ask_store(struct probe_stores *stores, int64_t id, const char *path)
{
    struct error err = ERROR_INIT;
    struct probe_store *store;

    if (stores->count >= PROBE_STORES_MAX)
        return;
    store = &stores->items[stores->count++];
    store->id = id;
    store->known =
        path != NULL && fd_free_space(path, &store->free_bytes, &err) == 0;
    store->is_writable = store->known && access(path, W_OK) == 0;
}

static json_t *
make_disk(const struct engine_finding *found)
{
    json_t *object = object_new();

    object_set_text(object, "virtualmachineid", found->vm_uuid);
    object_set_text(object, "virtualmachinename", found->vm_name);
    object_set_text(object, "target", found->target);
    object_set_text(object, "device", found->device);
    object_set_text(object, "path", found->path);
    object_set_text(object, "reason", found->reason);
    return object;
}

/* NULL when they cannot be looked at. */
static json_t *
examine_disks(struct engine *engine)
{
    AUTO_ENGINE_FINDINGS struct engine_findings list = {0};
    struct error err = ERROR_INIT;
    json_t *disks;

    if (engine_examine_disks(engine, &list, &err) < 0) {
        log_debug("api", "examine-failed", "error='%s'", err.message);
        return NULL;
    }
    disks = object_new_array();
    for (size_t i = 0; i < list.count; i++)
        object_append(disks, make_disk(&list.items[i]));
    return disks;
}

/* Only the kernel is asked: it is told by whoever keeps the clock. */
static void
ask_clock(struct probe_facts *facts)
{
    struct timex now = {.modes = 0};
    int state = adjtimex(&now);

    facts->clock_known = state >= 0;
    facts->clock_is_kept = state >= 0 && (now.status & STA_UNSYNC) == 0;
}

static void
ask_world(struct engine *engine, bool examine, struct probe_facts *facts)
{
    struct places places = {.stores = {0}};
    struct error err = ERROR_INIT;
    struct hv *hv = engine_hv(engine);

    load_places(engine, &places);
    facts->known = hv != NULL && hv_facts(hv, &facts->hypervisor, &err) == 0;
    for (size_t i = 0; i < places.stores.count; i++)
        ask_store(&facts->image_stores, places.stores.items[i].id,
                  places.stores.items[i].path);
    for (size_t i = 0; i < places.pools.count; i++)
        ask_store(&facts->pools, places.pools.items[i].id,
                  places.pools.items[i].path);
    if (examine && facts->known)
        facts->disks = examine_disks(engine);
    ask_clock(facts);
    state_image_store_list_release(&places.stores);
    state_storage_pool_list_release(&places.pools);
}

/* -- the thread ---------------------------------------------------------- */

/* Wait for a question; false at the end. */
static bool
take_round_locked(struct probe *probe, uint64_t *ret_round, bool *ret_examine)
    REQUIRES(probe->lock)
{
    while (!probe->is_ending && probe->asked == probe->answered)
        signal_wait(&probe->changed, &probe->lock);
    *ret_round = probe->asked;
    *ret_examine = probe->examined > probe->answered;
    return !probe->is_ending;
}

static void *
ask_forever(void *context)
{
    struct probe *probe = context;

    for (;;) {
        struct probe_facts facts = {.known = false};
        uint64_t round;
        bool examine;
        bool go_on;

        lock_take(&probe->lock);
        go_on = take_round_locked(probe, &round, &examine);
        lock_give(&probe->lock);
        if (!go_on)
            return NULL;
        ask_world(probe->engine, examine, &facts);
        lock_take(&probe->lock);
        probe_facts_release(&probe->facts);
        probe->facts = facts;
        probe->answered = round;
        signal_wake_all(&probe->changed);
        lock_give(&probe->lock);
    }
}

struct probe *
probe_new(struct engine *engine)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));

    probe->engine = engine;
    lock_init(&probe->lock);
    signal_init(&probe->changed);
    return probe;
}

void
probe_free(struct probe *probe)
{
    bool has_thread;

    if (probe == NULL)
        return;
    lock_take(&probe->lock);
    probe->is_ending = true;
    has_thread = probe->has_thread;
    signal_wake_all(&probe->changed);
    lock_give(&probe->lock);
    if (has_thread)
        (void)pthread_join(probe->thread, NULL); /* it is ours and joinable */
    probe_facts_release(&probe->facts);
    signal_release(&probe->changed);
    lock_release(&probe->lock);
    free(probe);
}

void
probe_facts_release(struct probe_facts *facts)
{
    json_decref(facts->disks);
    facts->disks = NULL;
}

static void
ask_locked(struct probe *probe, bool examine, struct probe_facts *ret_facts)
    REQUIRES(probe->lock)
{
    int64_t deadline_ms =
        clock_monotonic_ms() + (examine ? EXAMINE_MS : WAIT_MS);
    uint64_t round;

    if (!probe->has_thread)
        probe->has_thread =
            pthread_create(&probe->thread, NULL, ask_forever, probe) == 0;
    if (!probe->has_thread)
        return;
    /* A round that is under way began before us: only the next is ours. */
    round = ++probe->asked;
    if (examine)
        probe->examined = round;
    signal_wake_all(&probe->changed);
    while (probe->answered < round) {
        if (!signal_wait_until(&probe->changed, &probe->lock, deadline_ms))
            break;
    }
    if (probe->answered < round)
        return;
    /* Each has disks of its own: their counts of references are not shared. */
    *ret_facts = probe->facts;
    ret_facts->disks = examine ? json_deep_copy(probe->facts.disks) : NULL;
}

void
probe_ask(struct probe *probe, bool examine, struct probe_facts *ret_facts)
{
    *ret_facts = (struct probe_facts){.known = false};
    lock_take(&probe->lock);
    ask_locked(probe, examine, ret_facts);
    lock_give(&probe->lock);
}
