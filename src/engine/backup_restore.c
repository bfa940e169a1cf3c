/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A restore writes new files beside the old ones, proves their content roots
 * while writing, and only then switches the machine's definition to them.
 * The old files go afterwards, by the planner's rule.  Volumes are matched by
 * uuid, never by order.
 */
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/backup.h"
#include "engine/converge.h"
#include "engine/events.h"
#include "engine/nvram.h"
#include "engine/pace.h"
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

static int
match_volumes(struct retop *retop, struct tree *tree,
              const struct repo_point *point, struct error *err)
{
    for (size_t i = 0; i < point->volume_count; i++) {
        const struct repo_volume *volume = &point->volumes[i];
        struct tree_volume *now = tree_find_uuid(tree, volume->volume.text);

        if (now == NULL)
            return error_set(err, ERROR_UNSUPPORTED,
                             "volume '%s' (%s) of the backup is not attached "
                             "to machine '%s'; attach it and try again",
                             volume->volume.text,
                             volume->target != NULL ? volume->target : "?",
                             tree->vm.name);
        (void)retop_add(retop, now, NULL, first_format(now), volume->size);
    }
    return 0;
}

/* What is written, away from the job's own priority; all borrowed. */
struct writing {
    struct job *job;
    const struct retop *retop;
    const struct repo_point *point;
};

static int
write_volumes(void *context, struct error *err)
{
    const struct writing *writing = context;
    struct job *job = writing->job;
    const struct retop *retop = writing->retop;
    const struct repo_point *point = writing->point;
    const struct copy_options options = pace_options(job, PACE_RESTORE);

    for (size_t i = 0; i < retop->count; i++) {
        const struct retop_disk *disk = &retop->disks[i];
        enum image_format format;

        if (image_format_parse(disk->format, &format, err) < 0)
            return -1;
        if (fault_here("restore.volume"))
            return error_set_errno(err, errno, "restore '%s'", disk->target);
        if (repo_restore_volume(job->engine->repo, point, &point->volumes[i],
                                disk->path, format, disk->old_path, &options,
                                err) < 0)
            return error_prefix(err, "disk '%s'", disk->target);
    }
    return 0;
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

static int
restore(struct job *job, const struct state_backup *backup, struct error *err)
{
    struct engine *engine = job->engine;
    AUTO_TREE struct tree *tree = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_RETOP struct retop *retop = NULL;
    struct writing writing;
    struct error why;

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
    if (match_volumes(retop, tree, point, err) < 0)
        return -1;
    if (point->nvram != NULL)
        retop_put_nvram(retop, machine, NULL);
    if (change_states(engine, backup->id, backup->vm_id, "Restoring",
                      "Restoring", err) < 0 ||
        retop_prepare(engine, retop, err) < 0)
        return -1;
    job_step(job, "writing volumes");
    writing = (struct writing){.job = job, .retop = retop, .point = point};
    if (pace_run(engine, write_volumes, &writing, err) < 0 ||
        write_nvram(retop, point, err) < 0) {
        why = *err;
        if (retop_undo(engine, retop, &why, err) == 0)
            *err = why;
        return -1;
    }
    job_step(job, "switching disks");
    return retop_commit(engine, retop, err);
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
    if (converge_begin(engine, job, vm_id, err) < 0 ||
        restore(job, &backup, err) < 0) {
        if (err->code != ERROR_UNAVAILABLE &&
            change_states(engine, backup.id, vm_id, "BackedUp", NULL,
                          &ignored) < 0)
            log_warning("restore-not-tidied", "error='%s'", ignored.message);
        job_event(job, "BACKUP.RESTORE", "ERROR", err->message);
        return -1;
    }
    job_event(job, "BACKUP.RESTORE", "INFO", backup.name);
    converge_tidy(engine, job, vm_id);
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
