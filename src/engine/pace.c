/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The buckets belong to the engine, and jobs only borrow them: so the jobs of
 * a host share what there is, whatever their number, and a changed setting
 * reaches them without their knowing.
 */
#include "engine/pace.h"

#include "base/background.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/throttle.h"
#include "engine/engine_internal.h"
#include "engine/settings.h"

#include <stdatomic.h>
#include <stdlib.h>

#define KINDS 2

static const struct {
    const char *rate;
    const char *operations;
} names[KINDS] = {
    [PACE_BACKUP] = {"backup.rate.limit", "backup.operations.limit"},
    [PACE_RESTORE] = {"restore.rate.limit", "restore.operations.limit"},
};

struct pace {
    struct throttle shared[KINDS];
    atomic_bool gives_way;
};

struct pace *
pace_new(void)
{
    struct pace *pace = xcalloc(1, sizeof(*pace));

    for (size_t i = 0; i < KINDS; i++)
        throttle_init(&pace->shared[i], 0, 0);
    return pace;
}

void
pace_free(struct pace *pace)
{
    if (pace == NULL)
        return;
    for (size_t i = 0; i < KINDS; i++)
        throttle_release(&pace->shared[i]);
    free(pace);
}

static int
plan(struct engine *engine, struct error *err)
{
    const struct settings_place place = {.zone_id = engine->zone_id};
    bool gives_way;

    for (size_t i = 0; i < KINDS; i++) {
        int64_t rate;
        int64_t operations;

        if (settings_get_int(engine->state, names[i].rate, &place, &rate, err) <
                0 ||
            settings_get_int(engine->state, names[i].operations, &place,
                             &operations, err) < 0)
            return -1;
        throttle_set(&engine->pace->shared[i],
                     rate > 0 ? (uint64_t)rate << 20 : 0,
                     operations > 0 ? (uint64_t)operations : 0);
    }
    if (settings_get_bool(engine->state, "backup.low.priority", NULL,
                          &gives_way, err) < 0)
        return -1;
    atomic_store(&engine->pace->gives_way, gives_way);
    return 0;
}

void
pace_plan(struct engine *engine)
{
    struct error err = ERROR_INIT;

    if (plan(engine, &err) < 0)
        log_warning("pace-not-planned", "error='%s'", err.message);
}

struct copy_options
pace_options(struct job *job, enum pace_kind kind)
{
    return (struct copy_options){.progress = &job->progress,
                                 .throttle = &job->engine->pace->shared[kind]};
}

int
pace_run(struct engine *engine,
         int (*function)(void *context, struct error *err), void *context,
         struct error *err)
{
    if (!atomic_load(&engine->pace->gives_way))
        return function(context, err);
    return background_run(BACKGROUND_LOW, function, context, err);
}
