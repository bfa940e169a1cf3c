/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to a machine beside its disks: its memory, and the store of
 * its UEFI variables.
 *
 * A snapshot makes two more files beside the layers.  The variables are copied
 * right before the switch, the memory is written by the hypervisor in the
 * same moment.  It is complete when the switch has happened (hv.h), but not
 * flushed: it is flushed and its digest taken before the switch is recorded.
 * If that cannot be done any more, because the host went down in between, the
 * snapshot is not reported good.
 *
 * A revert ends the machine if it runs, keeps its variables aside, and puts
 * the snapshot's in their place; all of it after the hold, so that nothing
 * starts in between, and before the switch, since a machine that goes on from
 * its memory opens the store at once.  If the switch does not happen the kept
 * ones come back.  The hold lets a machine start with the first new file
 * alone: that is how it is restored while held.
 */
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "engine/hold.h"
#include "engine/nvram.h"
#include "engine/retop_internal.h"
#include "engine/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static void
read_boot_id(char ret_id[UUID_TEXT_SIZE])
{
    AUTO_FREE char *text = NULL;
    struct error err = ERROR_INIT;

    memset(ret_id, 0, UUID_TEXT_SIZE);
    if (fd_read_file(BOOT_ID, 128, &text, NULL, &err) == 0 &&
        strlen(text) >= UUID_TEXT_SIZE - 1)
        memcpy(ret_id, text, UUID_TEXT_SIZE - 1);
}

/* A new name beside the layers of the first disk. */
static char *
new_name(const struct retop *retop, const char *suffix)
{
    AUTO_FREE char *directory = path_parent(retop->disks[0].path);
    struct uuid uuid;

    uuid_new(&uuid);
    return xasprintf("%s/%s.%s", directory, uuid.text, suffix);
}

int
retop_check_vtpm(struct engine *engine, const struct hv_machine *machine,
                 struct error *err)
{
    bool excluded = false;

    if (!machine->has_tpm)
        return 0;
    if (settings_get_bool(engine->state, "vm.vtpm.excluded", NULL, &excluded,
                          err) < 0)
        return -1;
    if (excluded)
        return 0;
    return error_set(err, ERROR_UNSUPPORTED,
                     "machine '%s' has a vTPM, whose state cannot be kept; "
                     "the setting vm.vtpm.excluded leaves it out",
                     machine->name);
}

int
retop_keep_guest(struct engine *engine, struct retop *retop,
                 const struct hv_machine *machine, bool memory,
                 int64_t timeout_ms, struct error *err)
{
    struct retop_guest *guest = &retop->guest;

    if (retop_check_vtpm(engine, machine, err) < 0)
        return -1;
    if (memory) {
        guest->memory = new_name(retop, "memory");
        guest->bytes = machine->memory_bytes;
        guest->timeout_ms = timeout_ms;
        read_boot_id(guest->boot_id);
    }
    /* A machine that was never started has no store yet. */
    if (machine->nvram != NULL && fd_exists(machine->nvram)) {
        guest->nvram = xstrdup(machine->nvram);
        guest->nvram_copy = new_name(retop, "nvram");
    }
    return 0;
}

void
retop_put_nvram(struct retop *retop, const struct hv_machine *machine,
                const char *copy)
{
    if (machine->nvram == NULL)
        return;
    retop->guest.nvram = xstrdup(machine->nvram);
    retop->guest.nvram_copy =
        copy != NULL ? xstrdup(copy) : new_name(retop, "nvram");
    retop->guest.nvram_old = new_name(retop, "nvram-old");
}

int
retop_make_guest(const struct retop *retop, struct error *err)
{
    const struct retop_guest *guest = &retop->guest;

    if (guest->memory != NULL &&
        saved_memory_make(guest->memory, guest->bytes, err) < 0)
        return -1;
    if (guest->nvram_copy != NULL &&
        nvram_keep(guest->nvram, guest->nvram_copy, err) < 0)
        return error_prefix(err, "machine '%s'", retop->vm_name);
    return 0;
}

/* -- in the journal ---------------------------------------------------------
 */

void
retop_guest_release(struct retop *retop)
{
    free(retop->guest.memory);
    free(retop->guest.nvram);
    free(retop->guest.nvram_copy);
    free(retop->guest.nvram_old);
}

json_t *
retop_guest_to_json(const struct retop *retop)
{
    const struct retop_guest *guest = &retop->guest;

    return json_pack("{s:s?, s:s?, s:s?, s:s?, s:b, s:s}", "memory",
                     guest->memory, "nvram", guest->nvram, "nvramCopy",
                     guest->nvram_copy, "nvramOld", guest->nvram_old, "mustEnd",
                     (int)guest->must_end, "bootId", guest->boot_id);
}

static char *
text_of(json_t *object, const char *key)
{
    return xstrdup_null(json_string_value(json_object_get(object, key)));
}

int
retop_guest_from_json(json_t *object, struct retop *retop)
{
    const char *boot_id = json_string_value(json_object_get(object, "bootId"));

    if (boot_id == NULL || strlen(boot_id) >= UUID_TEXT_SIZE)
        return -1;
    retop->guest = (struct retop_guest){
        .memory = text_of(object, "memory"),
        .nvram = text_of(object, "nvram"),
        .nvram_copy = text_of(object, "nvramCopy"),
        .nvram_old = text_of(object, "nvramOld"),
        .must_end = json_is_true(json_object_get(object, "mustEnd")),
        .pause_ms = -1,
    };
    memcpy(retop->guest.boot_id, boot_id, strlen(boot_id));
    return 0;
}

/* -- around the switch ------------------------------------------------------
 */

bool
retop_guest_goes_forward(const struct retop *retop)
{
    return retop->guest.must_end;
}

static int
end_machine(struct engine *engine, const struct retop *retop, struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (hv_get(engine->hv, retop->vm_uuid, &machine, err) < 0)
        return -1;
    if (machine->state == HV_STOPPED)
        return 0;
    if (hv_destroy(engine->hv, retop->vm_uuid, err) == 0)
        return 0;
    if (err->code != ERROR_CONFLICT)
        return -1;
    error_clear(err); /* it ended by itself */
    return 0;
}

static int
put_nvram(const struct retop_guest *guest, struct error *err)
{
    /* Kept once: the second time the store is not the old one any more. */
    if (!fd_exists(guest->nvram_old) && fd_exists(guest->nvram) &&
        nvram_keep(guest->nvram, guest->nvram_old, err) < 0)
        return -1;
    return nvram_put(guest->nvram_copy, guest->nvram, err);
}

int
retop_guest_begin(struct engine *engine, const struct retop *retop,
                  struct error *err)
{
    const struct retop_guest *guest = &retop->guest;

    if (retop->is_live)
        return 0;
    if (guest->must_end && end_machine(engine, retop, err) < 0)
        return -1;
    if (fault_here("retop.ended"))
        return error_set_errno(err, errno, "end of '%s'", retop->vm_name);
    if (guest->nvram_old != NULL && put_nvram(guest, err) < 0)
        return error_prefix(err, "machine '%s'", retop->vm_name);
    if (guest->memory == NULL)
        return 0;
    return hold_set_but(engine->hold_dir, retop->vm_uuid,
                        "varve is restoring its memory",
                        path_name(retop->disks[0].path), err);
}

/* A memory that is not good is no reason to fail: the disks were switched. */
static void
seal_memory(struct engine *engine, struct retop *retop)
{
    struct retop_guest *guest = &retop->guest;
    struct error err = ERROR_INIT;
    char boot_id[UUID_TEXT_SIZE];

    read_boot_id(boot_id);
    if (strcmp(boot_id, guest->boot_id) != 0)
        (void)error_set(&err, ERROR_IO, "the host went down meanwhile");
    else if (hv_check_memory(engine->hv, retop->vm_uuid, guest->memory, &err) ==
                 0 &&
             saved_memory_seal(guest->memory, &guest->saved, &err) == 0)
        guest->is_saved = true;
    if (!guest->is_saved)
        log_warning("memory-not-saved", "vm=%s error='%s'", retop->vm_name,
                    err.message);
    else
        log_info("memory-saved", "vm=%s bytes=%llu pause-ms=%lld",
                 retop->vm_name, (unsigned long long)guest->saved.size,
                 (long long)guest->pause_ms);
}

int
retop_guest_finish(struct engine *engine, struct retop *retop,
                   struct error *err)
{
    struct retop_guest *guest = &retop->guest;

    if (guest->memory != NULL && retop->is_live)
        seal_memory(engine, retop);
    if (guest->nvram_old == NULL)
        return 0;
    if (nvram_drop(guest->nvram_old, err) < 0)
        return -1;
    /* A restore's copy came out of the repository for this. */
    return retop->purpose == RETOP_RESTORE ? nvram_drop(guest->nvram_copy, err)
                                           : 0;
}

static int
put_nvram_back(const struct retop_guest *guest, struct error *err)
{
    if (fd_exists(guest->nvram_old) &&
        nvram_put(guest->nvram_old, guest->nvram, err) < 0)
        return -1;
    return nvram_drop(guest->nvram_old, err);
}

int
retop_guest_undo(struct engine *engine, const struct retop *retop,
                 struct error *err)
{
    const struct retop_guest *guest = &retop->guest;
    bool makes = retop->purpose == RETOP_VM_SNAPSHOT;

    (void)engine;
    if (makes && guest->memory != NULL && fd_unlink(guest->memory, err) < 0)
        return -1;
    if (guest->nvram_old != NULL && put_nvram_back(guest, err) < 0)
        return -1;
    if (guest->nvram_copy != NULL && (makes || retop->purpose == RETOP_RESTORE))
        return nvram_drop(guest->nvram_copy, err);
    return 0;
}
