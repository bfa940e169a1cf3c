/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine as JSON: "<uuid>.json", written beside and renamed over, without
 * fsync (only processes die here, not the power) and without fault points of
 * its own (a hypervisor's memory does not fail to be written).  The lock is
 * flock(2) on "<uuid>.lock": it ends with the process that holds it, and each
 * call opens its own descriptor, so that it also works between threads.
 */
#include "hv/fake/fake_internal.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATE_MAX ((size_t)1 << 20)

static void
json_cleanup(json_t **value)
{
    json_decref(*value);
}
#define AUTO_JSON CLEANUP(json_cleanup)

struct fake_disk *
fake_find_disk(struct fake_machine *machine, const char *target,
               struct error *err)
{
    for (size_t i = 0; i < machine->disk_count; i++)
        if (strcmp(machine->disks[i].target, target) == 0)
            return &machine->disks[i];
    (void)error_set(err, ERROR_NOT_FOUND, "machine '%s' has no disk '%s'",
                    machine->name, target);
    return NULL;
}

void
fake_paths_clear(struct fake_paths *paths)
{
    vec_for (char **, path, paths)
        free(*path);
    vec_release(paths);
}

void
fake_job_clear(struct fake_job *job)
{
    free(job->top);
    free(job->base);
    *job = (struct fake_job){.exists = false};
}

void
fake_machine_release(struct fake_machine *machine)
{
    for (size_t i = 0; i < machine->disk_count; i++) {
        struct fake_disk *disk = &machine->disks[i];

        free(disk->target);
        free(disk->format);
        free(disk->live);
        free(disk->inactive);
        fake_paths_clear(&disk->qemu);
        fake_job_clear(&disk->job);
    }
    free(machine->disks);
    free(machine->name);
    free(machine->xml);
    *machine = (struct fake_machine){.disks = NULL};
}

static char *
file_of(const char *directory, const char *uuid, const char *suffix)
{
    return xasprintf("%s/%s%s", directory, uuid, suffix);
}

int
fake_lock(const char *directory, const char *uuid, struct error *err)
{
    AUTO_FREE char *path = file_of(directory, uuid, ".lock");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return error_set_errno(err, errno, "lock '%s'", path);
    return steal_fd(&fd);
}

int
fake_list(const char *directory, struct fake_paths *ret_uuids,
          struct error *err)
{
    DIR *entries = opendir(directory);
    const struct dirent *entry;

    if (entries == NULL)
        return error_set_errno(err, errno, "open directory '%s'", directory);
    while ((entry = readdir(entries)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length == UUID_TEXT_SIZE - 1 + 5 &&
            strcmp(entry->d_name + length - 5, ".json") == 0)
            vec_push(ret_uuids, xstrndup(entry->d_name, length - 5));
    }
    (void)closedir(entries);
    return 0;
}

/* -- reading --------------------------------------------------------------- */

static char *
text_of(const json_t *object, const char *key)
{
    return xstrdup_null(json_string_value(json_object_get(object, key)));
}

static bool
flag_of(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static int
number_of(const json_t *object, const char *key)
{
    return (int)json_integer_value(json_object_get(object, key));
}

static uint64_t
count_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void
read_disk(const json_t *object, struct fake_disk *disk)
{
    const json_t *chain = json_object_get(object, "qemu");
    const json_t *job = json_object_get(object, "job");

    disk->target = text_of(object, "target");
    disk->format = text_of(object, "format");
    disk->device = (enum hv_device)number_of(object, "device");
    disk->readonly = flag_of(object, "readonly");
    disk->live = text_of(object, "live");
    disk->inactive = text_of(object, "inactive");
    disk->limit = count_of(object, "limit");
    disk->outrun = count_of(object, "outrun");
    for (size_t i = 0; i < json_array_size(chain); i++)
        vec_push(&disk->qemu,
                 xstrdup_null(json_string_value(json_array_get(chain, i))));
    if (!json_is_object(job))
        return;
    disk->job = (struct fake_job){
        .exists = true,
        .ready = flag_of(job, "ready"),
        .dirty = flag_of(job, "dirty"),
        .active = flag_of(job, "active"),
        .top = text_of(job, "top"),
        .base = text_of(job, "base"),
        .speed = count_of(job, "speed"),
        .asked = count_of(job, "asked"),
    };
}

int
fake_load(const char *directory, const char *uuid,
          struct fake_machine *ret_machine, struct error *err)
{
    AUTO_FREE char *path = file_of(directory, uuid, ".json");
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *object = NULL;
    const json_t *disks;

    if (fd_read_file(path, STATE_MAX, &text, NULL, err) < 0) {
        if (err->code == ERROR_NOT_FOUND)
            return error_set(err, ERROR_NOT_FOUND, "no machine '%s'", uuid);
        return -1;
    }
    object = json_loads(text, 0, NULL);
    disks = json_object_get(object, "disks");
    if (!json_is_array(disks))
        return error_set(err, ERROR_INTERNAL, "'%s' is damaged", path);
    *ret_machine = (struct fake_machine){
        .name = text_of(object, "name"),
        .xml = text_of(object, "xml"),
        .state = (enum hv_state)number_of(object, "state"),
        .agent_channel = flag_of(object, "agent_channel"),
        .agent_connected = flag_of(object, "agent_connected"),
        .frozen = flag_of(object, "frozen"),
        .boots = count_of(object, "boots"),
        .memory = count_of(object, "memory"),
        .disks = xcalloc(json_array_size(disks) + 1, sizeof(struct fake_disk)),
        .disk_count = json_array_size(disks),
    };
    (void)snprintf(ret_machine->uuid, sizeof(ret_machine->uuid), "%s", uuid);
    for (size_t i = 0; i < ret_machine->disk_count; i++)
        read_disk(json_array_get(disks, i), &ret_machine->disks[i]);
    return 0;
}

/* -- writing --------------------------------------------------------------- */

static json_t *
text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *
job_as_json(const struct fake_job *job)
{
    if (!job->exists)
        return json_null();
    return json_pack("{sb sb sb so so sI sI}", "ready", job->ready, "dirty",
                     job->dirty, "active", job->active, "top",
                     text_or_null(job->top), "base", text_or_null(job->base),
                     "speed", (json_int_t)job->speed, "asked",
                     (json_int_t)job->asked);
}

static json_t *
disk_as_json(const struct fake_disk *disk)
{
    json_t *chain = json_array();

    for (size_t i = 0; i < disk->qemu.count; i++)
        (void)json_array_append_new(chain, json_string(disk->qemu.items[i]));
    return json_pack("{ss ss si sb so so so so sI sI}", "target", disk->target,
                     "format", disk->format, "device", (int)disk->device,
                     "readonly", disk->readonly, "live",
                     text_or_null(disk->live), "inactive",
                     text_or_null(disk->inactive), "qemu", chain, "job",
                     job_as_json(&disk->job), "limit", (json_int_t)disk->limit,
                     "outrun", (json_int_t)disk->outrun);
}

static int
replace(const char *path, const char *text, struct error *err)
{
    AUTO_FREE char *temporary = xasprintf("%s.%ld.tmp", path, (long)getpid());
    AUTO_CLOSE int fd =
        open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_set_errno(err, errno, "create '%s'", temporary);
    if (fd_pwrite(fd, text, strlen(text), 0, temporary, err) < 0)
        return -1;
    if (rename(temporary, path) < 0)
        return error_set_errno(err, errno, "rename '%s'", temporary);
    return 0;
}

int
fake_save(const char *directory, const struct fake_machine *machine,
          struct error *err)
{
    AUTO_FREE char *path = file_of(directory, machine->uuid, ".json");
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *object = NULL;
    json_t *disks = json_array();

    for (size_t i = 0; i < machine->disk_count; i++)
        (void)json_array_append_new(disks, disk_as_json(&machine->disks[i]));
    object =
        json_pack("{ss so si sb sb sb sI sI so}", "name", machine->name, "xml",
                  text_or_null(machine->xml), "state", (int)machine->state,
                  "agent_channel", machine->agent_channel, "agent_connected",
                  machine->agent_connected, "frozen", machine->frozen, "boots",
                  (json_int_t)machine->boots, "memory",
                  (json_int_t)machine->memory, "disks", disks);
    text = json_dumps(object, JSON_INDENT(1));
    if (text == NULL)
        return error_set(err, ERROR_INVALID,
                         "machine '%s' has a name that is not UTF-8",
                         machine->uuid);
    return replace(path, text, err);
}

int
fake_forget(const char *directory, const char *uuid, struct error *err)
{
    AUTO_FREE char *path = file_of(directory, uuid, ".json");

    if (unlink(path) < 0)
        return error_set_errno(err, errno, "remove '%s'", path);
    return 0;
}
