/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds' functions behind one face.  What every kind would have to check
 * is checked here: identities are uuids (a kind may use them in file names),
 * and the results start empty, so that a failure leaves nothing to free.
 */
#include "hv/hv.h"

#include "base/memory.h"
#include "base/vec.h"
#include "hv/hv_kind.h"

#include <stdlib.h>
#include <string.h>

const char *
hv_state_name(enum hv_state state)
{
    switch (state) {
    case HV_STOPPED:
        return "stopped";
    case HV_RUNNING:
        return "running";
    case HV_PAUSED:
        return "paused";
    case HV_STOPPING:
        return "stopping";
    }
    return "unknown";
}

static void
disk_release(struct hv_disk *disk)
{
    free(disk->target);
    free(disk->bus);
    free(disk->source);
    free(disk->format);
    free(disk->alias);
}

void
hv_machine_free(struct hv_machine *machine)
{
    if (machine == NULL)
        return;
    for (size_t i = 0; i < machine->disk_count; i++)
        disk_release(&machine->disks[i]);
    free(machine->disks);
    free(machine->name);
    free(machine->nvram);
    free(machine);
}

void
hv_machine_cleanup(struct hv_machine **machine)
{
    hv_machine_free(*machine);
    *machine = NULL;
}

const struct hv_disk *
hv_machine_find_disk(const struct hv_machine *machine, const char *target)
{
    for (size_t i = 0; i < machine->disk_count; i++)
        if (strcmp(machine->disks[i].target, target) == 0)
            return &machine->disks[i];
    return NULL;
}

void
hv_machine_list_release(struct hv_machine_list *list)
{
    vec_for (struct hv_machine **, item, list)
        hv_machine_free(*item);
    vec_release(list);
}

void
hv_disk_view_release(struct hv_disk_view *view)
{
    for (size_t i = 0; i < view->qemu_count; i++)
        free(view->qemu_chain[i]);
    free(view->qemu_chain);
    free(view->live_top);
    free(view->inactive_top);
    *view = (struct hv_disk_view){.qemu_chain = NULL};
}

static int
check_uuid(const char *uuid, struct error *err)
{
    if (!uuid_is_valid(uuid))
        return error_set(err, ERROR_INVALID, "'%s' is not a uuid", uuid);
    return 0;
}

int
hv_list(struct hv *hv, struct hv_machine_list *ret_list, struct error *err)
{
    *ret_list = (struct hv_machine_list)VEC_INIT;
    return hv->kind->list(hv, ret_list, err);
}

int
hv_get(struct hv *hv, const char *uuid, struct hv_machine **ret_machine,
       struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->get(hv, uuid, ret_machine, err);
}

int
hv_xml(struct hv *hv, const char *uuid, char **ret_xml, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->xml(hv, uuid, ret_xml, err);
}

int
hv_facts(struct hv *hv, struct hv_facts *ret_facts, struct error *err)
{
    memset(ret_facts, 0, sizeof(*ret_facts));
    return hv->kind->facts(hv, ret_facts, err);
}

int
hv_view(struct hv *hv, const char *uuid, const char *target,
        struct hv_disk_view *ret_view, struct error *err)
{
    *ret_view = (struct hv_disk_view){.qemu_chain = NULL};
    if (check_uuid(uuid, err) < 0)
        return -1;
    if (hv->kind->view(hv, uuid, target, ret_view, err) < 0) {
        hv_disk_view_release(ret_view);
        return -1;
    }
    return 0;
}

void
hv_look_release(struct hv_look *look)
{
    for (size_t i = 0; look->machine != NULL && i < look->machine->disk_count;
         i++)
        hv_disk_view_release(&look->views[i]);
    free(look->views);
    hv_machine_free(look->machine);
    *look = (struct hv_look){.machine = NULL};
}

const struct hv_disk_view *
hv_look_find(const struct hv_look *look, const char *target)
{
    const struct hv_disk *disk = hv_machine_find_disk(look->machine, target);

    return disk != NULL ? &look->views[disk - look->machine->disks] : NULL;
}

bool
hv_look_wants(const struct hv_disk *disk, const char *const *targets,
              size_t count)
{
    if (targets == NULL)
        return disk->device == HV_DISK && disk->source != NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(disk->target, targets[i]) == 0)
            return true;
    }
    return false;
}

int
hv_look_at(struct hv_look *look, struct hv_machine **machine,
           const char *const *targets, size_t count, struct error *err)
{
    look->machine = *machine;
    *machine = NULL;
    look->views = xcalloc(look->machine->disk_count + 1, sizeof(*look->views));
    for (size_t i = 0; targets != NULL && i < count; i++) {
        if (hv_machine_find_disk(look->machine, targets[i]) == NULL)
            return error_set(err, ERROR_NOT_FOUND,
                             "machine '%s' has no disk '%s'",
                             look->machine->name, targets[i]);
    }
    return 0;
}

int
hv_look(struct hv *hv, const char *uuid, const char *const *targets,
        size_t count, struct hv_look *ret_look, struct error *err)
{
    struct hv_look look = {.machine = NULL};

    if (check_uuid(uuid, err) < 0)
        return -1;
    if (hv->kind->look(hv, uuid, targets, count, &look, err) < 0) {
        hv_look_release(&look);
        return -1;
    }
    *ret_look = look;
    return 0;
}

int
hv_start(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->start(hv, uuid, err);
}

int
hv_shutdown(struct hv *hv, const char *uuid, int64_t timeout_ms,
            struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->shutdown(hv, uuid, timeout_ms, err);
}

int
hv_destroy(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->destroy(hv, uuid, err);
}

int
hv_reboot(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->reboot(hv, uuid, err);
}

static int
check_changes(const struct hv_disk_change *changes, size_t count,
              struct error *err)
{
    if (count == 0)
        return error_set(err, ERROR_INVALID, "no disks given");
    for (size_t i = 0; i < count; i++) {
        if (changes[i].path[0] != '/')
            return error_set(err, ERROR_INVALID,
                             "disk '%s': path '%s' is not absolute",
                             changes[i].target, changes[i].path);
        for (size_t j = 0; j < i; j++)
            if (strcmp(changes[i].target, changes[j].target) == 0)
                return error_set(err, ERROR_INVALID, "disk '%s' given twice",
                                 changes[i].target);
    }
    return 0;
}

int
hv_snapshot(struct hv *hv, const char *uuid,
            const struct hv_disk_change *changes, size_t count, bool quiesce,
            struct error *err)
{
    if (check_uuid(uuid, err) < 0 || check_changes(changes, count, err) < 0)
        return -1;
    return hv->kind->snapshot(hv, uuid, changes, count, quiesce, err);
}

int
hv_snapshot_memory(struct hv *hv, const char *uuid,
                   const struct hv_disk_change *changes, size_t count,
                   struct hv_memory *memory, struct error *err)
{
    memory->pause_ms = -1;
    if (check_uuid(uuid, err) < 0 || check_changes(changes, count, err) < 0)
        return -1;
    if (memory->path[0] != '/')
        return error_set(err, ERROR_INVALID, "path '%s' is not absolute",
                         memory->path);
    return hv->kind->snapshot_memory(hv, uuid, changes, count, memory, err);
}

int
hv_check_memory(struct hv *hv, const char *uuid, const char *path,
                struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->check_memory(hv, uuid, path, err);
}

int
hv_restore_memory(struct hv *hv, const char *uuid, const char *path,
                  const struct hv_disk_change *changes, size_t count,
                  struct error *err)
{
    if (check_uuid(uuid, err) < 0 || check_changes(changes, count, err) < 0)
        return -1;
    return hv->kind->restore_memory(hv, uuid, path, changes, count, err);
}

int
hv_define_disks(struct hv *hv, const char *uuid,
                const struct hv_disk_change *changes, size_t count,
                struct error *err)
{
    if (check_uuid(uuid, err) < 0 || check_changes(changes, count, err) < 0)
        return -1;
    return hv->kind->define_disks(hv, uuid, changes, count, err);
}

int
hv_define_xml(struct hv *hv, const char *xml, struct error *err)
{
    return hv->kind->define_xml(hv, xml, err);
}

int
hv_undefine(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->undefine(hv, uuid, err);
}

int
hv_commit_start(struct hv *hv, const char *uuid, const char *target,
                const char *top, const char *base, uint64_t bytes_per_second,
                struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->commit_start(hv, uuid, target, top, base, bytes_per_second,
                                  err);
}

int
hv_job_query(struct hv *hv, const char *uuid, const char *target,
             struct hv_job *ret_job, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->job_query(hv, uuid, target, ret_job, err);
}

int
hv_job_wait(struct hv *hv, const char *uuid, const char *target,
            int64_t timeout_ms, hv_job_progress *progress, void *context,
            struct hv_job *ret_job, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->job_wait(hv, uuid, target, timeout_ms, progress, context,
                              ret_job, err);
}

int
hv_pivot(struct hv *hv, const char *uuid, const char *target, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->pivot(hv, uuid, target, err);
}

int
hv_job_abort(struct hv *hv, const char *uuid, const char *target,
             struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->job_abort(hv, uuid, target, err);
}

int
hv_job_set_speed(struct hv *hv, const char *uuid, const char *target,
                 uint64_t bytes_per_second, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->job_set_speed(hv, uuid, target, bytes_per_second, err);
}

int
hv_limits(struct hv *hv, const char *uuid, const char *target,
          char **ret_limits, struct error *err)
{
    *ret_limits = NULL;
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->limits(hv, uuid, target, ret_limits, err);
}

int
hv_limits_lower(struct hv *hv, const char *uuid, const char *target,
                const char *limits, uint64_t bytes_per_second,
                struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    if (bytes_per_second == 0)
        return error_set(err, ERROR_INVALID, "a limit of nothing a second");
    return hv->kind->limits_lower(hv, uuid, target, limits, bytes_per_second,
                                  err);
}

int
hv_limits_restore(struct hv *hv, const char *uuid, const char *target,
                  const char *limits, uint64_t bytes_per_second,
                  struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->limits_restore(hv, uuid, target, limits, bytes_per_second,
                                    err);
}

int
hv_resize(struct hv *hv, const char *uuid, const char *target, uint64_t bytes,
          struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->resize(hv, uuid, target, bytes, err);
}

int
hv_attach_disk(struct hv *hv, const char *uuid, const struct hv_new_disk *disk,
               struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->attach_disk(hv, uuid, disk, err);
}

int
hv_detach_disk(struct hv *hv, const char *uuid, const char *target,
               int64_t timeout_ms, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->detach_disk(hv, uuid, target, timeout_ms, err);
}

int
hv_set_compute(struct hv *hv, const char *uuid, unsigned vcpus,
               uint64_t memory_bytes, bool may_run, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->set_compute(hv, uuid, vcpus, memory_bytes, may_run, err);
}

int
hv_freeze(struct hv *hv, const char *uuid, int64_t timeout_ms,
          struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->freeze(hv, uuid, timeout_ms, err);
}

int
hv_thaw(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->thaw(hv, uuid, err);
}

int
hv_is_frozen(struct hv *hv, const char *uuid, struct error *err)
{
    if (check_uuid(uuid, err) < 0)
        return -1;
    return hv->kind->is_frozen(hv, uuid, err);
}

void
hv_set_event_handler(struct hv *hv, hv_event_handler *handler, void *context)
{
    hv->handler = handler;
    hv->handler_context = context;
    if (hv->kind->watch != NULL)
        hv->kind->watch(hv);
}

void
hv_free(struct hv *hv)
{
    if (hv != NULL)
        hv->kind->free(hv);
}

void
hv_cleanup(struct hv **hv)
{
    hv_free(*hv);
    *hv = NULL;
}
