/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a self-test does, in this order.  Where the product has an operation
 * for it, that is what runs, asked for as any caller would ask and carried
 * out by the test's own engine in this thread; what a step adds is the look
 * at the result from outside.
 *
 * Whether KVM works is found out by using it: a /dev/kvm that can be opened
 * may still not run a guest.  So the guest gets a while to write its first
 * mark under KVM, and is else tried again without.
 */
#include "engine/self_test_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "engine/hold.h"
#include "engine/requests.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define KVM_MS 20000 /* for the first mark, under KVM */

const struct self_test_marks self_test_no_marks;

/* -- operations ------------------------------------------------------------ */

static enum error_code
code_of(const char *name)
{
    for (int code = 1; code < ERROR_CODE_COUNT; code++) {
        if (name != NULL &&
            strcmp(error_code_name((enum error_code)code), name) == 0)
            return (enum error_code)code;
    }
    return ERROR_INTERNAL;
}

static int
fail_as(const struct state_job *job, struct error *err)
{
    json_t *result =
        json_loads(job->result != NULL ? job->result : "{}", 0, NULL);
    const char *name = json_string_value(json_object_get(result, "errorname"));
    const char *text = json_string_value(json_object_get(result, "errortext"));

    (void)error_set(err, code_of(name), "%s",
                    text != NULL ? text : "the job has not ended");
    json_decref(result);
    return -1;
}

/* Run what was asked for, to its end. */
int
self_test_finish(struct self_test *test, const struct ticket *ticket,
                 struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(job) job = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", ticket->job)};
    int found;

    if (engine_drain(test->own, err) < 0)
        return -1;
    tx = state_begin_read(test->state, err);
    found = tx != NULL ? state_job_find(tx, where, 1, &job, err) : -1;
    if (found < 0)
        return -1;
    return found > 0 && job.status == 1 ? 0 : fail_as(&job, err);
}

/* -- place, disks, definition ---------------------------------------------- */

static int
run_folder(struct self_test *test, struct strbuf *say, struct error *err)
{
    if (self_test_choose(test, err) < 0 || self_test_make_place(test, err) < 0)
        return -1;
    strbuf_addf(say, "'%s'", test->folder);
    return 0;
}

static int
run_disks(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    return self_test_make_disks(test, err);
}

static int
define(struct self_test *test, bool kvm, struct error *err)
{
    AUTO_FREE char *xml = self_test_xml(test, kvm);

    return hv_define_xml(test->engine->hv, xml, err);
}

/* Why KVM is not used; what went wrong is forgotten. */
static void
give_kvm_up(struct self_test *test, struct error *err)
{
    test->can_kvm = false;
    memcpy(test->why_not, err->message, sizeof(test->why_not));
    error_clear(err);
}

static int
run_define(struct self_test *test, struct strbuf *say, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(vm) vm = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", test->uuid)};
    int found;

    test->can_kvm = define(test, true, err) == 0;
    if (!test->can_kvm) {
        if (err->code == ERROR_UNAVAILABLE)
            return -1;
        give_kvm_up(test, err);
        if (define(test, false, err) < 0)
            return -1;
    }
    if (engine_refresh(test->own, test->uuid, err) < 0)
        return -1;
    tx = state_begin_read(test->state, err);
    found = tx != NULL ? state_vm_find(tx, where, 1, &vm, err) : -1;
    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "machine '%s' was defined, but is not there",
                         test->name);
    if (found < 0)
        return -1;
    test->vm_id = vm.id;
    strbuf_addf(say, "'%s'", test->name);
    return 0;
}

/* -- power ----------------------------------------------------------------- */

int
self_test_power_off(struct self_test *test, struct error *err)
{
    if (hv_destroy(test->engine->hv, test->uuid, err) < 0 &&
        err->code != ERROR_CONFLICT)
        return -1;
    error_clear(err);
    return engine_refresh(test->own, test->uuid, err);
}

/* Held machines must not start; only the attempt shows whether libvirt asks
 * the hook. */
static int
run_hold(struct self_test *test, struct strbuf *say, struct error *err)
{
    const char *directory = test->engine->hold_dir;
    bool has_started;
    bool is_refused;

    if (hold_set(directory, test->uuid, "self-test", err) < 0)
        return -1;
    has_started = hv_start(test->engine->hv, test->uuid, err) == 0;
    is_refused = !has_started && err->code == ERROR_CONFLICT &&
                 strcasestr(err->message, "hook") != NULL;
    if (!has_started && !is_refused)
        strbuf_addf(say, "could not be tried: %s", err->message);
    error_clear(err);
    if (has_started && self_test_power_off(test, err) < 0)
        return -1;
    if (hold_clear(directory, test->uuid, err) < 0)
        return -1;
    if (has_started)
        strbuf_adds(say,
                    "libvirt started a machine that is held: the hook is not "
                    "there, or libvirt has not seen it yet");
    return is_refused ? 0 : 1;
}

/* It runs when it has written something. */
static int
start(struct self_test *test, int64_t timeout_ms, struct error *err)
{
    struct self_test_marks marks;

    if (hv_start(test->engine->hv, test->uuid, err) < 0)
        return -1;
    return self_test_wait(test, &self_test_no_marks, timeout_ms, &marks, err);
}

static int
start_under_kvm(struct self_test *test, struct error *err)
{
    struct error ignored = ERROR_INIT;

    if (!test->can_kvm)
        return 0;
    if (start(test, KVM_MS, err) == 0) {
        test->uses_kvm = true;
        return 1;
    }
    if (err->code == ERROR_UNAVAILABLE || err->code == ERROR_CANCELLED)
        return -1;
    give_kvm_up(test, err);
    if (self_test_power_off(test, &ignored) < 0)
        return error_set(err, ignored.code, "%s", ignored.message);
    return define(test, false, err);
}

static int
look_at_owner(const char *path, struct self_test_owner *ret_owner,
              struct error *err)
{
    struct stat about;
    ssize_t length;

    *ret_owner = (struct self_test_owner){.label = ""};
    if (stat(path, &about) < 0)
        return error_set_errno(err, errno, "'%s'", path);
    ret_owner->uid = about.st_uid;
    ret_owner->gid = about.st_gid;
    ret_owner->mode = about.st_mode & 07777;
    length = getxattr(path, "security.selinux", ret_owner->label,
                      sizeof(ret_owner->label) - 1);
    ret_owner->label[length > 0 ? length : 0] = '\0';
    return 0;
}

static int
run_start(struct self_test *test, struct strbuf *say, struct error *err)
{
    int started = start_under_kvm(test, err);

    if (started < 0 ||
        (started == 0 && start(test, SELF_TEST_GUEST_MS, err) < 0))
        return -1;
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        AUTO_FREE char *path = self_test_disk_path(test, i);

        if (look_at_owner(path, &test->owners[i], err) < 0)
            return -1;
    }
    if (engine_refresh(test->own, test->uuid, err) < 0)
        return -1;
    if (started > 0) {
        strbuf_adds(say, "the guest runs under KVM");
        return 0;
    }
    strbuf_addf(say, "the guest runs under emulation; under KVM: %s",
                test->why_not);
    return 1;
}

/* -- snapshots ------------------------------------------------------------- */

/* The guest goes on from wherever it is now. */
static int
see_it_go_on(struct self_test *test, struct error *err)
{
    struct self_test_marks from;
    struct self_test_marks marks;

    if (self_test_wait(test, &self_test_no_marks, SELF_TEST_GUEST_MS, &from,
                       err) < 0)
        return -1;
    return self_test_wait(test, &from, SELF_TEST_GUEST_MS, &marks, err);
}

static int
snapshot(struct self_test *test, size_t n, struct error *err)
{
    const struct request_vm_snapshot args = {.vm = test->uuid};
    struct ticket ticket;

    if (request_vm_snapshot_create(test->own, &test->caller, &args, &ticket,
                                   err) < 0)
        return -1;
    memcpy(test->snapshots[n], ticket.object, sizeof(test->snapshots[n]));
    return self_test_finish(test, &ticket, err);
}

/* The first one takes the machine over, and its record is there from then
 * on. */
static int
run_snapshot(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    if (snapshot(test, 0, err) < 0)
        return -1;
    test->is_managed = true;
    return see_it_go_on(test, err);
}

static int
check_owner(struct self_test *test, size_t disk, struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    AUTO_FREE struct image_ref *refs = NULL;
    const struct self_test_owner *old = &test->owners[disk];
    struct self_test_owner new;
    size_t count;

    refs = self_test_chain(test, disk, &tree, &count, err);
    if (refs == NULL || look_at_owner(refs[0].path, &new, err) < 0)
        return -1;
    if (new.uid == old->uid &&new.gid == old->gid &&new.mode == old->mode &&
        strcmp(new.label, old->label) == 0)
        return 0;
    return error_set(err, ERROR_CONFLICT,
                     "disk '%s': the new layer '%s' is %u:%u %03o '%s', the "
                     "old one was %u:%u %03o '%s'",
                     self_test_targets[disk], refs[0].path, new.uid, new.gid,
                     (unsigned)new.mode, new.label, old->uid, old->gid,
                     (unsigned)old->mode, old->label);
}

static int
run_ownership(struct self_test *test, struct strbuf *say, struct error *err)
{
    const struct self_test_owner *owner = &test->owners[0];

    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (check_owner(test, i, err) < 0)
            return -1;
    }
    strbuf_addf(say, "%u:%u %03o%s%s", owner->uid, owner->gid,
                (unsigned)owner->mode, owner->label[0] != '\0' ? " " : "",
                owner->label);
    return 0;
}

static int
run_snapshot_again(struct self_test *test, struct strbuf *say,
                   struct error *err)
{
    (void)say;
    if (snapshot(test, 1, err) < 0)
        return -1;
    return see_it_go_on(test, err);
}

static int
run_commit(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    /* The first is a merge below the active layer, the second one of it. */
    for (size_t i = 0; i < ARRAY_SIZE(test->snapshots); i++) {
        struct ticket ticket;

        if (request_vm_snapshot_delete(test->own, &test->caller,
                                       test->snapshots[i], &ticket, err) < 0 ||
            self_test_finish(test, &ticket, err) < 0 ||
            see_it_go_on(test, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        AUTO_TREE struct tree *tree = NULL;
        AUTO_FREE struct image_ref *refs = NULL;
        size_t count;

        refs = self_test_chain(test, i, &tree, &count, err);
        if (refs == NULL)
            return -1;
        if (count != 1)
            return error_set(err, ERROR_CONFLICT,
                             "disk '%s' has %zu layers after its snapshots "
                             "were deleted",
                             self_test_targets[i], count);
    }
    return 0;
}

static int
run_stop(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    return self_test_power_off(test, err);
}

/* -- the list -------------------------------------------------------------- */

#define SEE_LIBVIRT                                                                \
    "the text is libvirt's or QEMU's: see /var/log/libvirt/qemu/" SELF_TEST_PREFIX \
    "*.log and 'journalctl -u libvirtd'; a denial of the security driver "         \
    "stands in the kernel's log"
#define SEE_STORAGE                                                            \
    "see that the folder and the repository can be written, have room, and "   \
    "return what was written ('dmesg')"

const struct self_test_step self_test_steps[] = {
    {"folder", "choosing a folder", run_folder,
     "give it a folder that the hypervisor may use: varve config set "
     "selftest.folder PATH"},
    {"disks", "making disks", run_disks, SEE_STORAGE},
    {"define", "defining the guest", run_define, SEE_LIBVIRT},
    {"hold", "starting it while it is held", run_hold,
     "as root: varved --install-hook, then systemctl reload libvirtd (or "
     "virtqemud)"},
    {"start", "starting the guest", run_start,
     "without KVM guests run, but slowly: 'virt-host-validate qemu' tells "
     "what is missing; " SEE_LIBVIRT},
    {"snapshot", "snapshot while it runs", run_snapshot, SEE_LIBVIRT},
    {"ownership", "comparing owners and labels", run_ownership,
     "see user, group and dynamic_ownership in /etc/libvirt/qemu.conf, and "
     "the rights of the folder"},
    {"snapshot-again", "snapshot on a snapshot", run_snapshot_again,
     SEE_LIBVIRT},
    {"commit", "merging both while it runs", run_commit, SEE_LIBVIRT},
    {"backup-full", "full backup", self_test_backup_full, SEE_STORAGE},
    {"backup-incremental", "incremental backup", self_test_backup_incremental,
     SEE_STORAGE},
    {"verify", "reading both backups", self_test_verify, SEE_STORAGE},
    {"stop", "stopping the guest", run_stop, SEE_LIBVIRT},
    {"restore-full", "restoring the full backup", self_test_restore_full,
     SEE_STORAGE},
    {"restore-incremental", "restoring the incremental backup",
     self_test_restore_incremental, SEE_STORAGE},
    {"boot", "starting what was restored", self_test_boot, SEE_LIBVIRT},
};
const size_t self_test_step_count = ARRAY_SIZE(self_test_steps);
