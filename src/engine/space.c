/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch keeps one level for each file system, by its device number; the
 * first folder that was met there stands for it in texts.  A folder is asked
 * once in a look (prober.h); one that does not answer is unknown, which is
 * told when it becomes so, and keeps nobody from looking at the others.  Jobs
 * for machines that can make room are queued each time that it is found too
 * full, not only when it gets so: a machine whose merging would have needed
 * more room than there was gets its turn, and one that has nothing to give
 * costs nothing.
 */
#include "engine/space.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/vec.h"
#include "engine/accounts.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/settings.h"
#include "engine/submit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND "endBackupChain"
#define RETRY_MS 60000
#define AGAIN_MS INT64_C(21600000)

/* A machine that could give room if there were more of it. */
struct stuck {
    int64_t vm_id;
    int64_t again_ms; /* monotonic: when it is told of again */
    bool seen;        /* in this look */
};

struct place {
    dev_t device;
    char *folder; /* owned */
    struct prober_about about;
    enum space_level level;
    struct VEC(struct stuck) stuck;
    bool seen; /* in this look */
};

struct folder {
    char *path;  /* owned */
    bool asked;  /* in this look */
    bool failed; /* it did not answer when it was asked last */
    struct prober_about about;
};

struct space_watch {
    struct prober *prober; /* owned */
    int64_t again_ms;
    _Atomic int64_t next_ms; /* monotonic */
    struct VEC(struct place) places;
    struct VEC(struct folder) folders;
};

struct limits {
    int64_t warning; /* percent */
    int64_t reserve;
};

/* Layers, in one transaction. */
struct survey {
    struct state_vm_list vms;
    struct state_volume_list volumes;
    struct state_layer_list layers;
    struct state_pin_list pins; /* those of backups */
};

/* -- judging --------------------------------------------------------------- */

static bool
is_below(const struct prober_about *about, int64_t percent, bool was)
{
    double more = was ? 1.0 : 0.0;

    return percent > 0 && about->size > 0 &&
           (double)about->available * 100.0 <
               (double)about->size * ((double)percent + more);
}

enum space_level
space_judge(const struct prober_about *about, int64_t warning, int64_t reserve,
            enum space_level before)
{
    if (is_below(about, reserve, before == SPACE_LOW))
        return SPACE_LOW;
    /* Whoever sets the reserve alone is warned no later than it acts. */
    if (is_below(about, MAX(warning, 0), before >= SPACE_WARNING))
        return SPACE_WARNING;
    return SPACE_OK;
}

static double
percent_free(const struct prober_about *about)
{
    return about->size > 0
               ? (double)about->available * 100.0 / (double)about->size
               : 0.0;
}

struct space_watch *
space_watch_new(prober_probe *probe, int64_t patience_ms, int64_t again_ms)
{
    struct space_watch *watch = xcalloc(1, sizeof(*watch));

    watch->prober = prober_new(probe, patience_ms);
    watch->again_ms = again_ms > 0 ? again_ms : AGAIN_MS;
    return watch;
}

void
space_watch_free(struct space_watch *watch)
{
    if (watch == NULL)
        return;
    vec_for (struct place *, place, &watch->places) {
        free(place->folder);
        vec_release(&place->stuck);
    }
    vec_release(&watch->places);
    vec_for (struct folder *, folder, &watch->folders)
        free(folder->path);
    vec_release(&watch->folders);
    prober_free(watch->prober);
    free(watch);
}

static int
read_limits(struct engine *engine, struct limits *ret, struct error *err)
{
    if (settings_get_int(engine->state, "primary.warning.percent", NULL,
                         &ret->warning, err) < 0)
        return -1;
    return settings_get_int(engine->state, "primary.reserve.percent", NULL,
                            &ret->reserve, err);
}

/* -- where our layers are ---------------------------------------------------
 */

static void
survey_release(struct survey *survey)
{
    state_vm_list_release(&survey->vms);
    state_volume_list_release(&survey->volumes);
    state_layer_list_release(&survey->layers);
    state_pin_list_release(&survey->pins);
}

static int
read_survey(struct engine *engine, struct survey *ret, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    const struct state_where living[] = {STATE_LIVING};
    const struct state_where ours[] = {STATE_INT("is_foreign", 0)};
    const struct state_where kept[] = {STATE_TEXT("owner_kind", BACKUP_PIN)};

    if (tx == NULL ||
        state_vm_list(tx, STATE_QUERY(living), &ret->vms, err) < 0 ||
        state_volume_list(tx, STATE_QUERY(living), &ret->volumes, err) < 0 ||
        state_layer_list(tx, STATE_QUERY(ours), &ret->layers, err) < 0 ||
        state_pin_list(tx, STATE_QUERY(kept), &ret->pins, err) < 0)
        return -1;
    return 0;
}

static const struct state_volume *
volume_of(const struct survey *survey, const struct state_layer *layer)
{
    for (size_t i = 0; i < survey->volumes.count; i++) {
        if (survey->volumes.items[i].id == layer->volume_id)
            return &survey->volumes.items[i];
    }
    return NULL;
}

static const struct state_vm *
vm_of(const struct survey *survey, const struct state_volume *volume)
{
    for (size_t i = 0; volume != NULL && i < survey->vms.count; i++) {
        if (survey->vms.items[i].id == volume->vm_id)
            return &survey->vms.items[i];
    }
    return NULL;
}

static const struct state_layer *
layer_of(const struct survey *survey, int64_t id)
{
    for (size_t i = 0; i < survey->layers.count; i++) {
        if (survey->layers.items[i].id == id)
            return &survey->layers.items[i];
    }
    return NULL;
}

/* -- telling ----------------------------------------------------------------
 */

static void
tell(struct engine *engine, const struct place *place, enum space_level before)
{
    static const char *const levels[] = {"INFO", "WARN", "ERROR"};
    static const char *const texts[] = {
        "enough again",
        "more will be taken by snapshots and by what guests write",
        ("below the reserve: layers that only backups need are merged, and no "
         "new ones are made; delete VM snapshots or make room")};
    struct caller root = {.role = ROLE_ROOT_ADMIN};
    struct error ignored = ERROR_INIT;
    AUTO_FREE char *text =
        xasprintf("primary storage '%s' has %.1f %% free (%s)", place->folder,
                  percent_free(&place->about), texts[place->level]);
    struct events_new event = {.type = "ALERT.STORAGE",
                               .level = levels[place->level],
                               .description = text};

    {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_read(engine->state, &ignored);

        if (tx != NULL && accounts_root(tx, &root, &ignored) > 0) {
            event.account_id = root.account_id;
            event.domain_id = root.domain_id;
        }
    }
    if (place->level > before)
        log_warning("primary-low", "folder='%s' free=%.1f level=%s",
                    place->folder, percent_free(&place->about),
                    levels[place->level]);
    else
        log_info("primary-free", "folder='%s' free=%.1f level=%s",
                 place->folder, percent_free(&place->about),
                 levels[place->level]);
    events_record_now(engine->state, &event);
}

/* -- asking -----------------------------------------------------------------
 */

static struct folder *
find_folder(struct space_watch *watch, const char *path)
{
    vec_for (struct folder *, folder, &watch->folders) {
        if (strcmp(folder->path, path) == 0)
            return folder;
    }
    vec_push(&watch->folders, ((struct folder){.path = xstrdup(path)}));
    return &watch->folders.items[watch->folders.count - 1];
}

/* What it answered in this look; NULL: it is unknown. */
static const struct folder *
ask_folder(struct space_watch *watch, const char *path)
{
    struct folder *folder = find_folder(watch, path);
    bool failed;

    if (!folder->asked) {
        failed = prober_ask(watch->prober, path, path, &folder->about) < 0;
        if (failed && !folder->failed)
            log_warning("primary-unknown", "folder='%s' error='%s'", path,
                        strerror(errno));
        if (!failed && folder->failed)
            log_info("primary-known", "folder='%s'", path);
        folder->asked = true;
        folder->failed = failed;
    }
    return folder->failed ? NULL : folder;
}

/* -- making room -------------------------------------------------------------
 */

static int
submit(struct state_tx *tx, const struct state_vm *vm, const char *folder,
       struct error *err)
{
    const struct state_where waiting[] = {STATE_TEXT("command", COMMAND),
                                          STATE_TEXT("queue", vm->uuid),
                                          STATE_INT("status", 0)};
    struct submit job = {.command = COMMAND, .vm = vm};
    uint64_t count = 0;

    if (state_job_count(tx, STATE_QUERY(waiting), &count, err) < 0)
        return -1;
    if (count > 0)
        return 0;
    job.parameters = json_pack("{s:s}", "folder", folder);
    return submit_as_root(tx, &job, err);
}

/* Is a new file of this folder on that file system? */
static bool
is_on(struct engine *engine, const char *path, dev_t device)
{
    AUTO_FREE char *name = path_parent(path);
    const struct folder *folder = ask_folder(engine->space, name);

    return folder != NULL && folder->about.device == device;
}

/* UINT64_MAX: unknown. */
static uint64_t
allocated(struct engine *engine, const char *path)
{
    AUTO_FREE char *folder = path_parent(path);
    struct prober_about about;

    if (prober_ask(engine->space->prober, folder, path, &about) == 0)
        return about.allocated;
    return errno == ENOENT ? 0 : UINT64_MAX;
}

/*
 * A merge writes into the lower file before the upper one goes.  What all the
 * machine's upper files hold is the most that it may take for a while.
 */
static uint64_t
most_for_merging(struct engine *engine, const struct survey *survey,
                 const struct state_vm *vm)
{
    uint64_t most = 0;

    for (size_t i = 0; i < survey->layers.count; i++) {
        const struct state_layer *layer = &survey->layers.items[i];
        uint64_t more;

        if (layer->parent_id == 0 ||
            vm_of(survey, volume_of(survey, layer)) != vm)
            continue;
        more = allocated(engine, layer->path);
        if (more == UINT64_MAX)
            return UINT64_MAX;
        most += more;
    }
    return most;
}

/* Told when it begins, and seldom after that. */
static void
note_stuck(struct space_watch *watch, struct place *place,
           const struct state_vm *vm)
{
    int64_t now = clock_monotonic_ms();
    struct stuck *stuck = NULL;

    for (size_t i = 0; i < place->stuck.count && stuck == NULL; i++) {
        if (place->stuck.items[i].vm_id == vm->id)
            stuck = &place->stuck.items[i];
    }
    if (stuck == NULL) {
        vec_push(&place->stuck, ((struct stuck){.vm_id = vm->id}));
        stuck = &place->stuck.items[place->stuck.count - 1];
    }
    if (stuck->seen) /* told, or not, for another disk of it */
        return;
    stuck->seen = true;
    if (stuck->again_ms != 0 && now < stuck->again_ms)
        return;
    stuck->again_ms = now + watch->again_ms;
    log_warning("primary-too-full", "vm=%s folder='%s'", vm->name,
                place->folder);
}

static void
forget_stuck(struct place *place)
{
    size_t kept = 0;

    for (size_t i = 0; i < place->stuck.count; i++) {
        struct stuck stuck = place->stuck.items[i];

        if (!stuck.seen)
            continue;
        stuck.seen = false;
        place->stuck.items[kept++] = stuck;
    }
    place->stuck.count = kept;
}

/* The machines with layers there that only backups need, if there is room to
 * merge them; an owned array of *ret_count. */
static const struct state_vm **
who_can_give(struct engine *engine, const struct survey *survey,
             struct place *place, size_t *ret_count)
{
    struct givers VEC(const struct state_vm *);
    struct givers givers = VEC_INIT;
    uint64_t margin = place->about.size / 200;

    for (size_t i = 0; i < survey->pins.count; i++) {
        const struct state_layer *layer =
            layer_of(survey, survey->pins.items[i].layer_id);
        const struct state_vm *vm =
            layer != NULL ? vm_of(survey, volume_of(survey, layer)) : NULL;
        bool known = false;
        uint64_t most;

        for (size_t k = 0; k < givers.count; k++)
            known |= givers.items[k] == vm;
        if (vm == NULL || known || !is_on(engine, layer->path, place->device))
            continue;
        most = most_for_merging(engine, survey, vm);
        if (most > place->about.available ||
            place->about.available - most < margin)
            note_stuck(engine->space, place, vm);
        else
            vec_push(&givers, vm);
    }
    *ret_count = givers.count;
    return givers.items;
}

/* A job for each of them.  File systems are asked before the database is. */
static int
relieve(struct engine *engine, const struct survey *survey, struct place *place,
        struct error *err)
{
    size_t count = 0;
    AUTO_FREE const struct state_vm **givers =
        who_can_give(engine, survey, place, &count);
    AUTO_STATE_TX struct state_tx *tx = NULL;

    if (count == 0)
        return 0;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (submit(tx, givers[i], place->folder, err) < 0)
            return -1;
    }
    if (state_commit(tx, err) < 0)
        return -1;
    job_wake(engine);
    return 0;
}

int
space_run_relief(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    int64_t vm_id = job_number(job, "vm");
    const char *folder = job_text(job, "folder");
    struct prober_about about;
    struct limits limits;

    if (read_limits(engine, &limits, err) < 0)
        return -1;
    if (folder != NULL &&
        prober_ask(engine->space->prober, folder, folder, &about) == 0 &&
        space_judge(&about, limits.warning, limits.reserve, SPACE_LOW) !=
            SPACE_LOW)
        return 0; /* somebody has made room */
    if (converge_begin(engine, job, vm_id, NULL, err) < 0)
        return -1;
    {
        AUTO_STATE_TX struct state_tx *tx =
            state_begin_write(engine->state, err);

        if (fault_here("space.end-chain"))
            return error_set_errno(err, errno, "end the chain of backups");
        if (tx == NULL || backup_end_chain(tx, vm_id, err) < 0 ||
            state_commit(tx, err) < 0)
            return -1;
    }
    job_event(job, "BACKUP.CHAIN.END", "WARN",
              "primary storage is below its reserve; the next backup is a "
              "full one");
    return converge_machine(engine, job, vm_id, NULL, err);
}

/* -- looking -----------------------------------------------------------------
 */

/* The place of that file system. */
static struct place *
find_place(struct space_watch *watch, const struct folder *folder)
{
    vec_for (struct place *, place, &watch->places) {
        if (place->device != folder->about.device)
            continue;
        place->about = folder->about;
        return place;
    }
    vec_push(&watch->places, ((struct place){.device = folder->about.device,
                                             .folder = xstrdup(folder->path),
                                             .about = folder->about}));
    return &watch->places.items[watch->places.count - 1];
}

static int
look_at(struct engine *engine, const struct survey *survey,
        const struct limits *limits, struct place *place, struct error *err)
{
    enum space_level before = place->level;

    place->seen = true;
    place->level =
        space_judge(&place->about, limits->warning, limits->reserve, before);
    if (place->level != before)
        tell(engine, place, before);
    if (place->level == SPACE_LOW && relieve(engine, survey, place, err) < 0)
        return -1;
    forget_stuck(place);
    return 0;
}

int
space_look(struct engine *engine, struct error *err)
{
    CLEANUP(survey_release) struct survey survey = {.vms = {0}};
    struct limits limits;

    if (read_limits(engine, &limits, err) < 0 ||
        read_survey(engine, &survey, err) < 0)
        return -1;
    vec_for (struct place *, place, &engine->space->places)
        place->seen = false;
    vec_for (struct folder *, folder, &engine->space->folders)
        folder->asked = false;
    for (size_t i = 0; i < survey.layers.count; i++) {
        AUTO_FREE char *name = path_parent(survey.layers.items[i].path);
        const struct folder *folder = ask_folder(engine->space, name);
        struct place *place =
            folder != NULL ? find_place(engine->space, folder) : NULL;

        if (place == NULL || place->seen)
            continue;
        if (look_at(engine, &survey, &limits, place, err) < 0)
            return -1;
    }
    return 0;
}

void
space_tick(struct engine *engine)
{
    struct space_watch *watch = engine->space;
    struct error err = ERROR_INIT;
    int64_t seconds = 0;

    if (clock_monotonic_ms() < atomic_load(&watch->next_ms))
        return;
    atomic_store(&watch->next_ms, clock_monotonic_ms() + RETRY_MS);
    if (settings_get_int(engine->state, "primary.check.interval", NULL,
                         &seconds, &err) < 0 ||
        (seconds > 0 && space_look(engine, &err) < 0))
        log_warning("primary-not-checked", "error='%s'", err.message);
    else if (seconds > 0)
        atomic_store(&watch->next_ms, clock_monotonic_ms() + seconds * 1000);
}

void
space_plan(struct engine *engine)
{
    atomic_store(&engine->space->next_ms, 0);
}
