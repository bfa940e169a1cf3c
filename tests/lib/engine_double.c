/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_double.h"

#include "base/lock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/vec.h"
#include "engine/backup_changes.h"
#include "engine/lookup.h"
#include "engine/requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct watcher {
    engine_job_ended *ended;
    void *context;
};

struct engine {
    struct state *state;
    struct hv *hv;
    struct strbuf last;
    char *taken;
    struct error armed;
    char answer[UUID_TEXT_SIZE];
    bool looks;
    struct lock lock;
    struct VEC(struct watcher) watchers; /* under lock */
};

struct engine *
engine_double_new(struct state *state, struct hv *hv)
{
    struct engine *engine = xcalloc(1, sizeof(*engine));

    engine->state = state;
    engine->hv = hv;
    strbuf_init(&engine->last, STRBUF_MAX_DEFAULT);
    lock_init(&engine->lock);
    return engine;
}

void
engine_free(struct engine *engine)
{
    if (engine == NULL)
        return;
    strbuf_release(&engine->last);
    free(engine->taken);
    vec_release(&engine->watchers);
    lock_release(&engine->lock);
    free(engine);
}

const char *
engine_double_last(struct engine *engine)
{
    free(engine->taken);
    engine->taken = strbuf_take(&engine->last);
    return engine->taken;
}

void
engine_double_fail(struct engine *engine, enum error_code code,
                   const char *text)
{
    (void)error_set(&engine->armed, code, "%s", text);
}

void
engine_double_answer(struct engine *engine, const char *uuid)
{
    (void)snprintf(engine->answer, sizeof(engine->answer), "%s", uuid);
}

void
engine_double_look(struct engine *engine)
{
    engine->looks = true;
}

struct state *
engine_state(struct engine *engine)
{
    return engine->state;
}

struct hv *
engine_hv(struct engine *engine)
{
    return engine->hv;
}

/* -- jobs ---------------------------------------------------------------- */

void
engine_watch_jobs(struct engine *engine, engine_job_ended *ended, void *context)
{
    lock_take(&engine->lock);
    vec_push(&engine->watchers,
             ((struct watcher){.ended = ended, .context = context}));
    lock_give(&engine->lock);
}

void
engine_unwatch_jobs(struct engine *engine, const void *context)
{
    lock_take(&engine->lock);
    for (size_t i = engine->watchers.count; i-- > 0;) {
        if (engine->watchers.items[i].context == context)
            engine->watchers.items[i] =
                engine->watchers.items[--engine->watchers.count];
    }
    lock_give(&engine->lock);
}

void
engine_double_end_job(struct engine *engine, const char *uuid)
{
    lock_take(&engine->lock);
    for (size_t i = 0; i < engine->watchers.count; i++)
        engine->watchers.items[i].ended(engine->watchers.items[i].context,
                                        uuid);
    lock_give(&engine->lock);
}

/* -- writing down -------------------------------------------------------- */

static void
note(struct engine *engine, const char *name, const struct caller *caller)
{
    strbuf_clear(&engine->last);
    strbuf_addf(&engine->last, "%s user=%lld", name,
                (long long)caller->user_id);
}

static void
note_text(struct engine *engine, const char *name, const char *value)
{
    if (value != NULL)
        strbuf_addf(&engine->last, " %s=%s", name, value);
}

static void
note_flag(struct engine *engine, const char *name, bool value)
{
    strbuf_addf(&engine->last, " %s=%d", name, (int)value);
}

static int
end(struct engine *engine, struct ticket *ret_ticket, struct error *err)
{
    if (engine->armed.code != ERROR_NONE) {
        *err = engine->armed;
        error_clear(&engine->armed);
        return -1;
    }
    if (ret_ticket != NULL)
        *ret_ticket = (struct ticket){.job = ENGINE_DOUBLE_JOB,
                                      .object = ENGINE_DOUBLE_OBJECT};
    return 0;
}

/* -- looking up ---------------------------------------------------------- */

/* find_vm(engine, caller, uuid, err), ...: 0 when it is there. */
#define FIND(name, table)                                                      \
    static int find_##name(struct engine *engine, const struct caller *caller, \
                           const char *uuid, struct error *err)                \
    {                                                                          \
        AUTO_STATE_TX struct state_tx *tx = NULL;                              \
        AUTO_STATE(table) row = {0};                                           \
                                                                               \
        if (!engine->looks)                                                    \
            return 0;                                                          \
        tx = state_begin_read(engine->state, err);                             \
        return tx == NULL ? -1 : lookup_##table(tx, caller, uuid, &row, err);  \
    }
FIND(vm, vm)
FIND(snapshot, snapshot)
FIND(vm_snapshot, vm_snapshot)
FIND(volume, volume)
FIND(backup, backup)
FIND(offering, backup_offering)

/* Everybody's. */
static int
find_service_offering(struct engine *engine, const char *uuid,
                      struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(service_offering) row = {0};

    if (!engine->looks)
        return 0;
    tx = state_begin_read(engine->state, err);
    return tx == NULL ? -1 : lookup_service_offering(tx, uuid, &row, err);
}

static int
find_native_offering(struct engine *engine, const struct caller *caller,
                     const char *uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(native_backup_offering) row = {0};

    if (!engine->looks)
        return 0;
    tx = state_begin_read(engine->state, err);
    return tx == NULL ? -1
                      : lookup_native_offering(tx, caller, uuid, &row, err);
}

static int
find_zone(struct engine *engine, const char *uuid, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(zone) row = {0};

    if (!engine->looks)
        return 0;
    tx = state_begin_read(engine->state, err);
    if (tx == NULL || state_zone_find(tx, where, 2, &row, err) <= 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no zone with id '%s'",
                         uuid);
    return 0;
}

static int
find_job(struct engine *engine, const struct caller *caller, const char *uuid,
         struct error *err)
{
    const struct state_where where[] = {
        STATE_TEXT("uuid", uuid), STATE_INT("account_id", caller->account_id)};
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(job) row = {0};

    if (!engine->looks)
        return 0;
    tx = state_begin_read(engine->state, err);
    if (tx == NULL || state_job_find(tx, where, 2, &row, err) <= 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no job with id '%s'",
                         uuid);
    return 0;
}

void
engine_findings_release(struct engine_findings *list)
{
    vec_release(list);
}

int
engine_examine_disks(struct engine *engine, struct engine_findings *ret_list,
                     struct error *err)
{
    static char name[] = "web1", target[] = "sda", reason[] = "a CD-ROM";
    struct engine_finding found = {
        .vm_name = name, .target = target, .device = "cdrom", .reason = reason};

    (void)engine;
    (void)err;
    *ret_list = (struct engine_findings)VEC_INIT;
    vec_push(ret_list, found);
    return 0;
}

/* -- requests ------------------------------------------------------------ */

/* Requests that name one object. */
#define SIMPLE(function, argument)                                             \
    int request_##function(struct engine *engine, const struct caller *caller, \
                           const char *argument, struct ticket *ret_ticket,    \
                           struct error *err)                                  \
    {                                                                          \
        note(engine, #function, caller);                                       \
        note_text(engine, #argument, argument);                                \
        if (find_##argument(engine, caller, argument, err) < 0)                \
            return -1;                                                         \
        return end(engine, ret_ticket, err);                                   \
    }
SIMPLE(vm_start, vm)
SIMPLE(vm_reboot, vm)
SIMPLE(vm_release, vm)
SIMPLE(vm_settle, vm)
SIMPLE(volume_detach, volume)
SIMPLE(volume_delete, volume)
SIMPLE(snapshot_delete, snapshot)
SIMPLE(vm_snapshot_delete, vm_snapshot)
SIMPLE(backup_restore, backup)
SIMPLE(backup_verify, backup)

int
request_backup_fold(struct engine *engine, const struct caller *caller,
                    const struct request_fold *args, struct ticket *ret_ticket,
                    struct error *err)
{
    note(engine, "backup_fold", caller);
    note_text(engine, "backup", args->backup);
    note_text(engine, "oldest", args->oldest);
    note_flag(engine, "verify", args->verify);
    if (find_backup(engine, caller, args->backup, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
backup_changes_find(struct engine *engine, const struct caller *caller,
                    const struct backup_changes_query *query,
                    struct backup_changes *ret_changes, struct error *err)
{
    note(engine, "backup_changes", caller);
    note_text(engine, "before", query->before);
    note_text(engine, "after", query->after);
    note_text(engine, "volume", query->volume);
    *ret_changes = (struct backup_changes){.items = NULL};
    if (find_backup(engine, caller, query->after, err) < 0)
        return -1;
    ret_changes->algorithm = "xxh3-128";
    ret_changes->items = xcalloc(1, sizeof(*ret_changes->items));
    ret_changes->count = 1;
    ret_changes->items[0] =
        (struct backup_changes_volume){.presence = BACKUP_CHANGES_ADDED,
                                       .size_after = 1 << 20,
                                       .bytes = 65536,
                                       .is_cut = true,
                                       .next = query->offset + 131072};
    extents_add(&ret_changes->items[0].ranges, query->offset, 65536);
    return 0;
}

void
backup_changes_release(struct backup_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++)
        extents_release(&changes->items[i].ranges);
    free(changes->items);
}

int
request_scrub(struct engine *engine, const struct caller *caller,
              const char *image_store, struct ticket *ret_ticket,
              struct error *err)
{
    note(engine, "scrub", caller);
    note_text(engine, "image_store", image_store);
    return end(engine, ret_ticket, err);
}

int
request_self_test(struct engine *engine, const struct caller *caller,
                  struct ticket *ret_ticket, struct error *err)
{
    note(engine, "self_test", caller);
    return end(engine, ret_ticket, err);
}

int
request_vm_destroy(struct engine *engine, const struct caller *caller,
                   const char *vm, bool expunge, struct ticket *ret_ticket,
                   struct error *err)
{
    note(engine, "vm_destroy", caller);
    note_text(engine, "vm", vm);
    note_flag(engine, "expunge", expunge);
    if (find_vm(engine, caller, vm, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_vm_recover(struct engine *engine, const struct caller *caller,
                   const char *vm, struct error *err)
{
    note(engine, "vm_recover", caller);
    note_text(engine, "vm", vm);
    if (find_vm(engine, caller, vm, err) < 0)
        return -1;
    return end(engine, NULL, err);
}

int
request_volume_create(struct engine *engine, const struct caller *caller,
                      const struct request_volume *args,
                      struct ticket *ret_ticket, struct error *err)
{
    note(engine, "volume_create", caller);
    note_text(engine, "name", args->name);
    strbuf_addf(&engine->last, " size=%llu", (unsigned long long)args->size);
    return end(engine, ret_ticket, err);
}

int
request_volume_attach(struct engine *engine, const struct caller *caller,
                      const char *volume, const char *vm, int64_t device_id,
                      struct ticket *ret_ticket, struct error *err)
{
    note(engine, "volume_attach", caller);
    note_text(engine, "volume", volume);
    note_text(engine, "vm", vm);
    strbuf_addf(&engine->last, " device=%lld", (long long)device_id);
    if (find_volume(engine, caller, volume, err) < 0 ||
        find_vm(engine, caller, vm, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_volume_resize(struct engine *engine, const struct caller *caller,
                      const char *volume, uint64_t size,
                      struct ticket *ret_ticket, struct error *err)
{
    note(engine, "volume_resize", caller);
    note_text(engine, "volume", volume);
    strbuf_addf(&engine->last, " size=%llu", (unsigned long long)size);
    if (find_volume(engine, caller, volume, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

/* And those with a flag. */
#define FLAGGED(function, argument, flag)                                      \
    int request_##function(struct engine *engine, const struct caller *caller, \
                           const char *argument, bool flag,                    \
                           struct ticket *ret_ticket, struct error *err)       \
    {                                                                          \
        note(engine, #function, caller);                                       \
        note_text(engine, #argument, argument);                                \
        note_flag(engine, #flag, flag);                                        \
        if (find_##argument(engine, caller, argument, err) < 0)                \
            return -1;                                                         \
        return end(engine, ret_ticket, err);                                   \
    }
FLAGGED(vm_stop, vm, forced)
FLAGGED(vm_snapshot_revert, vm_snapshot, change_power)
FLAGGED(offering_remove, vm, forced)
FLAGGED(backup_delete, backup, forced)

/* And those that are done at once. */
#define AT_ONCE(function, argument)                                            \
    int request_##function(struct engine *engine, const struct caller *caller, \
                           const char *argument, struct error *err)            \
    {                                                                          \
        note(engine, #function, caller);                                       \
        note_text(engine, #argument, argument);                                \
        if (find_##argument(engine, caller, argument, err) < 0)                \
            return -1;                                                         \
        return end(engine, NULL, err);                                         \
    }
AT_ONCE(native_offering_delete, native_offering)
AT_ONCE(offering_delete, offering)
AT_ONCE(job_cancel, job)

int
request_offering_assign(struct engine *engine, const struct caller *caller,
                        const char *vm, const char *offering,
                        struct ticket *ret_ticket, struct error *err)
{
    note(engine, "offering_assign", caller);
    note_text(engine, "vm", vm);
    note_text(engine, "offering", offering);
    if (find_vm(engine, caller, vm, err) < 0 ||
        find_offering(engine, caller, offering, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_snapshot_create(struct engine *engine, const struct caller *caller,
                        const struct request_snapshot *args,
                        struct ticket *ret_ticket, struct error *err)
{
    note(engine, "snapshot_create", caller);
    note_text(engine, "volume", args->volume);
    note_text(engine, "name", args->name);
    if (find_volume(engine, caller, args->volume, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_vm_snapshot_create(struct engine *engine, const struct caller *caller,
                           const struct request_vm_snapshot *args,
                           struct ticket *ret_ticket, struct error *err)
{
    note(engine, "vm_snapshot_create", caller);
    note_text(engine, "vm", args->vm);
    note_text(engine, "name", args->name);
    note_text(engine, "description", args->description);
    note_flag(engine, "memory", args->memory);
    note_flag(engine, "quiesce", args->quiesce);
    if (find_vm(engine, caller, args->vm, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_service_offering_create(struct engine *engine,
                                const struct caller *caller,
                                const struct request_service_offering *args,
                                char ret_uuid[UUID_TEXT_SIZE],
                                struct error *err)
{
    note(engine, "service_offering_create", caller);
    note_text(engine, "name", args->name);
    note_text(engine, "description", args->description);
    strbuf_addf(&engine->last, " vcpus=%lld memory=%llu",
                (long long)args->vcpus, (unsigned long long)args->memory);
    memcpy(ret_uuid, engine->answer, UUID_TEXT_SIZE);
    return end(engine, NULL, err);
}

int
request_service_offering_delete(struct engine *engine,
                                const struct caller *caller,
                                const char *service_offering, struct error *err)
{
    note(engine, "service_offering_delete", caller);
    note_text(engine, "service_offering", service_offering);
    if (find_service_offering(engine, service_offering, err) < 0)
        return -1;
    return end(engine, NULL, err);
}

int
request_vm_scale(struct engine *engine, const struct caller *caller,
                 const char *vm, const char *service_offering,
                 struct ticket *ret_ticket, struct error *err)
{
    note(engine, "vm_scale", caller);
    note_text(engine, "vm", vm);
    note_text(engine, "service_offering", service_offering);
    if (find_vm(engine, caller, vm, err) < 0 ||
        find_service_offering(engine, service_offering, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_native_offering_create(struct engine *engine,
                               const struct caller *caller,
                               const struct request_native_offering *args,
                               char ret_uuid[UUID_TEXT_SIZE], struct error *err)
{
    note(engine, "native_offering_create", caller);
    note_text(engine, "name", args->name);
    note_flag(engine, "compress", args->compress);
    note_flag(engine, "validate", args->validate);
    note_text(engine, "validation_steps", args->validation_steps);
    note_flag(engine, "quick", args->allow_quick_restore);
    note_flag(engine, "extract", args->allow_extract_file);
    if (args->has_chain_size)
        strbuf_addf(&engine->last, " chain=%lld", (long long)args->chain_size);
    note_text(engine, "library", args->compression_library);
    memcpy(ret_uuid, engine->answer, UUID_TEXT_SIZE);
    return end(engine, NULL, err);
}

int
request_offering_import(struct engine *engine, const struct caller *caller,
                        const struct request_offering_import *args,
                        struct ticket *ret_ticket, struct error *err)
{
    note(engine, "offering_import", caller);
    note_text(engine, "name", args->name);
    note_text(engine, "description", args->description);
    note_text(engine, "external_id", args->external_id);
    note_text(engine, "zone", args->zone);
    note_flag(engine, "user_driven", args->allow_user_driven_backups);
    if (find_zone(engine, args->zone, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

int
request_backup_create(struct engine *engine, const struct caller *caller,
                      const struct request_backup *args,
                      struct ticket *ret_ticket, struct error *err)
{
    note(engine, "backup_create", caller);
    note_text(engine, "vm", args->vm);
    note_text(engine, "name", args->name);
    note_text(engine, "description", args->description);
    note_flag(engine, "quiesce", args->quiesce);
    note_flag(engine, "isolated", args->isolated);
    if (find_vm(engine, caller, args->vm, err) < 0)
        return -1;
    return end(engine, ret_ticket, err);
}

void
engine_settings_changed(struct engine *engine)
{
    (void)engine;
}
