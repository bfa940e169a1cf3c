/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A restore writes new files beside the old ones, proves their content roots
 * while writing, and only then switches the machine's definition to them.
 * The old files go afterwards, by the planner's rule.  Volumes are matched by
 * uuid, never by order; one that was detached since is left alone, and a new
 * one is made of what it held (restored_volumes.h).
 */
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/nvram.h"
#include "engine/operation.h"
#include "engine/pace.h"
#include "engine/restored_volumes.h"
#include "engine/retop.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

static int
set_states(struct state_tx *tx, int64_t backup_id, int64_t vm_id,
           const char *status, const char *vm_state, struct error *err)
{
    AUTO_STATE(backup) backup = {0};
    AUTO_STATE(vm) vm = {0};

    if (state_backup_get(tx, backup_id, &backup, err) < 0 ||
        state_vm_get(tx, vm_id, &vm, err) < 0)
        return -1;
    state_set_text(&backup.status, status);
    state_set_text(&vm.state, vm_state);
    if (state_backup_update(tx, &backup, err) < 0)
        return -1;
    return state_vm_update(tx, &vm, err);
}

static int
change_states(struct engine *engine, int64_t backup_id, int64_t vm_id,
              const char *status, const char *vm_state, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(engine->state, err);

    if (tx == NULL ||
        set_states(tx, backup_id, vm_id, status, vm_state, err) < 0)
        return -1;
    return state_commit(tx, err);
}

/* The format that the volume had when it was taken over. */
static const char *
first_format(const struct tree_volume *volume)
{
    return volume->row.format != NULL && strcmp(volume->row.format, "raw") == 0
               ? "raw"
               : "qcow2";
}

/* What the machine has is switched; a data disk that it has not any more is
 * made anew.  Without its root disk it could not be started. */
static int
match_volumes(struct retop *retop, struct restored_volumes *missing,
              struct tree *tree, const struct repo_point *point,
              struct error *err)
{
    for (size_t i = 0; i < point->volume_count; i++) {
        const struct repo_volume *volume = &point->volumes[i];
        struct tree_volume *now = tree_find_uuid(tree, volume->volume.text);

        if (now != NULL) {
            (void)retop_add(retop, now, NULL, first_format(now), volume->size);
            continue;
        }
        if (volume->type == REPO_ROOT)
            return error_set(err, ERROR_UNSUPPORTED,
                             "volume '%s' (%s), the root disk of the backup, "
                             "is not attached to machine '%s'; attach it and "
                             "try again",
                             volume->volume.text,
                             volume->target != NULL ? volume->target : "?",
                             tree->vm.name);
        restored_volumes_add(missing, volume);
    }
    if (retop->count == 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "no volume of the backup is attached to machine '%s'; "
                         "attach one and try again",
                         tree->vm.name);
    return 0;
}

/* What is written, away from the job's own priority; all borrowed. */
struct writing {
    struct job *job;
    const struct retop *retop;
    struct restored_volumes *missing;
    struct tree *tree;
    const struct repo_point *point;
};

/* The disks stand in the order of the point's volumes that the machine has. */
static int
write_disks(const struct writing *writing, struct error *err)
{
    const struct repo_point *point = writing->point;
    const struct copy_options options =
        pace_options(writing->job, PACE_RESTORE);
    size_t at = 0;

    for (size_t i = 0; i < point->volume_count; i++) {
        const struct retop_disk *disk = &writing->retop->disks[at];
        enum image_format format;

        if (tree_find_uuid(writing->tree, point->volumes[i].volume.text) ==
            NULL)
            continue;
        at++;
        if (image_format_parse(disk->format, &format, err) < 0)
            return -1;
        if (fault_here("restore.volume"))
            return error_set_errno(err, errno, "restore '%s'", disk->target);
        if (repo_restore_volume(writing->job->engine->repo, point,
                                &point->volumes[i], disk->path, format,
                                disk->old_path, &options, err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
    }
    return 0;
}

/* Everything that takes long, and may fail freely. */
static int
write_volumes(void *context, struct error *err)
{
    const struct writing *writing = context;

    if (write_disks(writing, err) < 0)
        return -1;
    return restored_volumes_make(writing->job, writing->missing, writing->tree,
                                 writing->point, err);
}

static int
write_nvram(const struct retop *retop, const struct repo_point *point,
            struct error *err)
{
    if (retop->guest.nvram_copy == NULL)
        return 0;
    return nvram_write(point->nvram, point->nvram_length,
                       retop->guest.nvram_copy, err);
}

/* After a failure with *err: what was made goes.  While the journal holds the
 * switch, settling decides, and removes them then. */
static void
give_up(struct engine *engine, const struct retop *retop,
        const struct restored_volumes *missing)
{
    struct error ignored = ERROR_INIT;

    if (operation_is_switching(engine->state, retop->vm_uuid))
        return;
    if (restored_volumes_drop(engine, missing, &ignored) < 0)
        log_warning("restore-not-tidied", "error='%s'", ignored.message);
}

/* The machine is held: what a guest wrote meanwhile would be lost. */
static int
write_files(struct writing *writing, struct error *err)
{
    struct engine *engine = writing->job->engine;
    const struct retop *retop = writing->retop;

    if (fault_here("restore.before-hold"))
        return error_set_errno(err, errno, "restore '%s'", retop->vm_name);
    if (retop_hold(engine, retop, err) < 0 ||
        pace_run(engine, write_volumes, writing, err) < 0)
        return -1;
    return write_nvram(retop, writing->point, err);
}

static int
write_and_switch(struct writing *writing, struct retop *retop,
                 struct error *err)
{
    struct engine *engine = writing->job->engine;
    struct error why;

    job_step(writing->job, "writing volumes");
    if (write_files(writing, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        give_up(engine, retop, writing->missing);
        return -1;
    }
    job_step(writing->job, "switching disks");
    if (retop_commit(engine, retop, err) == 0)
        return restored_volumes_attach(writing->job, writing->missing, err);
    give_up(engine, retop, writing->missing);
    return -1;
}

static int
restore(struct job *job, const struct state_backup *backup, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    AUTO_RESTORED_VOLUMES struct restored_volumes missing = {NULL, 0, 0};
    struct writing writing;

    if (tree_read(engine->state, backup->vm_id, &tree, err) < 0 ||
        hv_get(engine->hv, tree->vm.uuid, &machine, err) < 0)
        return -1;
    if (machine->state != HV_STOPPED)
        return error_set(err, ERROR_CONFLICT,
                         "machine '%s' is %s; stop it before restoring",
                         tree->vm.name, hv_state_name(machine->state));
    point = repo_read_point(engine->repo, tree->vm.uuid, backup->uuid, err);
    if (point == NULL)
        return -1;
    retop = retop_new(RETOP_RESTORE, backup->id, tree, false);
    if (match_volumes(retop, &missing, tree, point, err) < 0)
        return -1;
    if (point->nvram != NULL)
        retop_put_nvram(retop, machine, NULL);
    if (change_states(engine, backup->id, backup->vm_id, "Restoring",
                      "Restoring", err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    writing = (struct writing){.job = job,
                               .retop = retop,
                               .missing = &missing,
                               .tree = tree,
                               .point = point};
    return write_and_switch(&writing, retop, err);
}

int
backup_run_restore(struct job *job, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(engine->state, err);
    AUTO_STATE(backup) backup = {0};
    struct error ignored = ERROR_INIT;
    int64_t vm_id = job_number(job, "vm");

    if (tx == NULL ||
        state_backup_get(tx, job_number(job, "backup"), &backup, err) < 0)
        return -1;
    state_end(steal(&tx));
    if (converge_begin(engine, job, vm_id, NULL, err) < 0 ||
        restore(job, &backup, err) < 0) {
        if (err->code != ERROR_UNAVAILABLE &&
            change_states(engine, backup.id, vm_id, "BackedUp", NULL,
                          &ignored) < 0)
            log_warning("restore-not-tidied", "error='%s'", ignored.message);
        job_event(job, "BACKUP.RESTORE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "BACKUP.RESTORE", "INFO", backup.name);
    converge_tidy_later(engine, job, vm_id);
    return 0;
}

static int
finish_restore(struct engine *engine, struct state_tx *tx,
               const struct retop *retop, const int64_t *layers,
               struct error *err)
{
    (void)engine;
    (void)layers;
    /* Restoring ends the chain (semantics 5.5). */
    if (set_states(tx, retop->owner, retop->vm_id, "BackedUp", NULL, err) < 0)
        return -1;
    return backup_end_chain(tx, retop->vm_id, err);
}

static int
undo_restore(struct engine *engine, struct state_tx *tx,
             const struct retop *retop, const struct error *why,
             struct error *err)
{
    (void)engine;
    (void)why;
    return set_states(tx, retop->owner, retop->vm_id, "BackedUp", NULL, err);
}

const struct retop_owner retop_owner_restore = {
    .name = "restore", .finish = finish_restore, .undo = undo_restore};
