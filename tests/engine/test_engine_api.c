/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main job through the API, with the whole engine behind it: what a
 * client asks is done, and what it is told is what there is.
 */
#include "api_ask.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"
#include "engine_rig.h"
#include "hv/fake/hv_fake.h"

static struct rig *rig;
static struct api *api;
static char snapshots[2][UUID_TEXT_SIZE];
static char backup[UUID_TEXT_SIZE];

static void
ask(const char *query, struct answer *ret_answer)
{
    api_ask(api, API_ASK_PEER, query, ret_answer);
}

/* Ask for a job, let it run, and ask what came of it. */
static void
do_job(const char *query, struct answer *ret_reply, struct answer *ret_job)
{
    AUTO_FREE char *poll = NULL;
    struct error err = ERROR_INIT;
    const char *job;

    ask(query, ret_reply);
    job = answer_text(ret_reply, "jobid");
    if (job == NULL) {
        printf("# %s: %s\n", query, ret_reply->text);
        job = "";
    }
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    poll = xasprintf("command=queryAsyncJobResult&jobid=%s", job);
    ask(poll, ret_job);
    if (answer_number(ret_job, "jobstatus") != 1)
        printf("# %s: %s\n", query, ret_job->text);
}

/* A job that must succeed; its reply's "id" goes to *ret_id, unless NULL. */
static void
done(const char *query, char *ret_id)
{
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer job = {0};
    const char *id;

    do_job(query, &reply, &job);
    CHECK(reply.status == 200);
    CHECK(answer_number(&job, "jobstatus") == 1);
    CHECK(answer_number(&job, "jobresultcode") == 0);
    id = answer_text(&reply, "id");
    if (ret_id != NULL && id != NULL)
        memcpy(ret_id, id, UUID_TEXT_SIZE);
}

static void
refused(const char *query, int status, const char *text)
{
    AUTO_ANSWER struct answer reply = {0};

    ask(query, &reply);
    CHECK(reply.status == status);
    CHECK(strstr(reply.text, text) != NULL);
    if (reply.status != status || strstr(reply.text, text) == NULL)
        printf("# %s: %s\n", query, reply.text);
}

static void
a_machine_that_libvirt_knows_is_listed(void)
{
    AUTO_ANSWER struct answer vms = {0};
    AUTO_ANSWER struct answer volumes = {0};

    ask("command=listVirtualMachines", &vms);
    CHECK(answer_number(&vms, "count") == 1);
    CHECK_TEXT(answer_text(&vms, "virtualmachine.0.id"), RIG_VM);
    CHECK_TEXT(answer_text(&vms, "virtualmachine.0.name"), "rig");
    CHECK_TEXT(answer_text(&vms, "virtualmachine.0.state"), "Stopped");
    ask("command=listVolumes&virtualmachineid=" RIG_VM, &volumes);
    CHECK(answer_number(&volumes, "count") == 2);
    CHECK_TEXT(answer_text(&volumes, "volume.0.vmname"), "rig");
    /* Nothing was done to it yet, and its disks' sizes are told. */
    CHECK(answer_number(&volumes, "volume.0.size") == RIG_DISK_SIZE);
    CHECK(answer_number(&volumes, "volume.1.size") == RIG_DISK_SIZE);
}

/* "target: reason" of the disks that are told, one a line. */
static void
told_disks(struct answer *answer, struct strbuf *text)
{
    size_t index;
    json_t *disk;

    json_array_foreach(answer_at(answer, "status.disk"), index, disk)
    {
        strbuf_addf(
            text, "%s %s %s: %s\n",
            json_string_value(json_object_get(disk, "virtualmachinename")),
            json_string_value(json_object_get(disk, "target")),
            json_string_value(json_object_get(disk, "device")),
            json_string_value(json_object_get(disk, "reason")));
    }
}

static void
disks_that_cannot_be_kept_are_told_with_the_reason(void)
{
    static const char other[] = "9f1c2a34-1111-4222-8333-444455556666";
    const struct hv_fake_disk disks[] = {
        {.target = "sda", .path = "/nowhere/cd.iso", .device = HV_CDROM},
        {.target = "sdb", .path = "/dev/null", .format = "raw"},
        {.target = "sdc", .path = "/nowhere/gone.raw", .format = "raw"},
        {.target = "sdd", .path = "/nowhere/x.vmdk", .format = "vmdk"},
    };
    AUTO_ANSWER struct answer plain = {0};
    AUTO_ANSWER struct answer none = {0};
    AUTO_ANSWER struct answer some = {0};
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    ask("command=getStatus", &plain);
    CHECK(answer_at(&plain, "status.disk") == NULL);
    ask("command=getStatus&examine=true", &none);
    CHECK(json_array_size(answer_at(&none, "status.disk")) == 0);
    CHECK(json_is_array(answer_at(&none, "status.disk")));
    CHECK_OK(hv_fake_add_machine(rig->hv, other, "odd", disks,
                                 ARRAY_SIZE(disks), &err),
             &err);
    ask("command=getStatus&examine=true", &some);
    CHECK_OK(hv_fake_remove_machine(rig->hv, other, &err), &err);
    told_disks(&some, &text);
    CHECK(strstr(strbuf_text(&text), "odd sda cdrom: a CD-ROM\n") != NULL);
    CHECK(strstr(strbuf_text(&text), "is no regular file") != NULL);
    CHECK(strstr(strbuf_text(&text), "'/nowhere/gone.raw'") != NULL);
    CHECK(strstr(strbuf_text(&text), "vmdk") != NULL);
    CHECK(json_array_size(answer_at(&some, "status.disk")) == 4);
    if (json_array_size(answer_at(&some, "status.disk")) != 4)
        printf("# %s\n", strbuf_text(&text));
}

static void
power_is_switched(void)
{
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer job = {0};

    do_job("command=startVirtualMachine&id=" RIG_VM, &reply, &job);
    CHECK_TEXT(answer_text(&job, "jobresult.virtualmachine.state"), "Running");
    CHECK_TEXT(answer_text(&job, "jobinstancetype"), "VirtualMachine");
    CHECK(rig_is_running(rig));
}

static void
snapshots_are_taken_and_listed_as_a_tree(void)
{
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer job = {0};
    AUTO_ANSWER struct answer list = {0};
    AUTO_ANSWER struct answer volumes = {0};

    rig_guest_write(rig);
    do_job("command=createVMSnapshot&name=first&virtualmachineid=" RIG_VM,
           &reply, &job);
    REQUIRE(answer_text(&reply, "id") != NULL);
    memcpy(snapshots[0], answer_text(&reply, "id"), UUID_TEXT_SIZE);
    rig_learn(rig, RIG_SNAPSHOT, snapshots[0]);
    CHECK_TEXT(answer_text(&job, "jobresult.vmsnapshot.id"), snapshots[0]);
    CHECK_TEXT(answer_text(&job, "jobresult.vmsnapshot.displayname"), "first");
    CHECK_TEXT(answer_text(&job, "jobresult.vmsnapshot.state"), "Ready");
    CHECK_TEXT(answer_text(&job, "jobinstancetype"), "VmSnapshot");
    rig_guest_write(rig);
    done("command=createVMSnapshot&name=second&virtualmachineid=" RIG_VM,
         snapshots[1]);
    rig_learn(rig, RIG_SNAPSHOT, snapshots[1]);
    /* Its disks were taken over: now we know what they are. */
    ask("command=listVolumes&virtualmachineid=" RIG_VM, &volumes);
    CHECK(answer_number(&volumes, "volume.0.size") == RIG_DISK_SIZE);
    CHECK(answer_number(&volumes, "volume.0.chainsize") == 3);
    ask("command=listVMSnapshot&name=second", &list);
    CHECK_TEXT(answer_text(&list, "vmSnapshot.0.parent"), snapshots[0]);
    CHECK_TEXT(answer_text(&list, "vmSnapshot.0.parentName"), "first");
    CHECK(json_is_true(answer_at(&list, "vmSnapshot.0.current")));
}

static void
a_running_machine_is_not_reverted(void)
{
    AUTO_FREE char *query =
        xasprintf("command=revertToVMSnapshot&vmsnapshotid=%s", snapshots[0]);

    refused(query, 431, "unning");
}

static void
a_stopped_machine_is_reverted(void)
{
    AUTO_FREE char *query =
        xasprintf("command=revertToVMSnapshot&vmsnapshotid=%s", snapshots[0]);
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer job = {0};

    done("command=stopVirtualMachine&forced=true&id=" RIG_VM, NULL);
    do_job(query, &reply, &job);
    CHECK_TEXT(answer_text(&job, "jobresult.virtualmachine.id"), RIG_VM);
    CHECK(answer_number(&job, "jobstatus") == 1);
    rig_go_back(rig, snapshots[0]);
}

static void
a_snapshot_is_deleted_and_then_unknown(void)
{
    AUTO_FREE char *query =
        xasprintf("command=deleteVMSnapshot&vmsnapshotid=%s", snapshots[1]);
    AUTO_FREE char *list =
        xasprintf("command=listVMSnapshot&vmsnapshotid=%s", snapshots[1]);
    struct error err = ERROR_INIT;

    done(query, NULL);
    rig_forget(rig, snapshots[1]);
    refused(query, 431, "id");
    refused(list, 431, "id");
    CHECK_OK(rig_check(rig, true, &err), &err);
}

static void
a_backup_is_taken_described_and_proved(void)
{
    AUTO_FREE char *list = NULL;
    AUTO_FREE char *verify = NULL;
    AUTO_ANSWER struct answer backups = {0};
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer job = {0};

    done("command=createBackup&name=b1&virtualmachineid=" RIG_VM, backup);
    rig_learn(rig, RIG_BACKUP, backup);
    list = xasprintf("command=listBackups&id=%s", backup);
    ask(list, &backups);
    CHECK_TEXT(answer_text(&backups, "backup.0.status"), "BackedUp");
    CHECK_TEXT(answer_text(&backups, "backup.0.type"), "FULL");
    CHECK_TEXT(answer_text(&backups, "backup.0.name"), "b1");
    CHECK(answer_text(&backups, "backup.0.reason") != NULL);
    CHECK(json_array_size(answer_at(&backups, "backup.0.contentroots")) == 2);
    CHECK(answer_number(&backups, "backup.0.virtualsize") == 2 * RIG_DISK_SIZE);
    CHECK(strstr(answer_text(&backups, "backup.0.volumes"), "\"deviceId\":1") !=
          NULL);
    verify = xasprintf("command=verifyBackup&id=%s", backup);
    do_job(verify, &reply, &job);
    CHECK(json_is_true(answer_at(&job, "jobresult.success")));
    CHECK(json_is_true(answer_at(&job, "jobresult.valid")));
    CHECK(json_array_size(answer_at(&job, "jobresult.mismatches")) == 0);
}

static void
a_backup_is_restored_when_the_snapshots_are_gone(void)
{
    AUTO_FREE char *restore = xasprintf("command=restoreBackup&id=%s", backup);
    AUTO_FREE char *delete =
        xasprintf("command=deleteVMSnapshot&vmsnapshotid=%s", snapshots[0]);
    struct error err = ERROR_INIT;

    refused(restore, 431, "snapshot");
    done(delete, NULL);
    rig_forget(rig, snapshots[0]);
    rig_power(rig, true);
    rig_guest_write(rig);
    rig_power(rig, false);
    done(restore, NULL);
    rig_go_back(rig, backup);
    CHECK_OK(rig_check(rig, true, &err), &err);
}

static void
what_was_done_is_told_as_events(void)
{
    AUTO_ANSWER struct answer events = {0};
    AUTO_ANSWER struct answer jobs = {0};

    ask("command=listEvents&resourcetype=VmSnapshot", &events);
    CHECK(answer_number(&events, "count") >= 4);
    ask("command=listAsyncJobs", &jobs);
    CHECK(json_object_size(jobs.body) == 0); /* none is under way */
}

static void
a_job_that_waits_can_be_cancelled(void)
{
    AUTO_ANSWER struct answer reply = {0};
    AUTO_ANSWER struct answer cancelled = {0};
    AUTO_ANSWER struct answer job = {0};
    AUTO_FREE char *cancel = NULL;
    AUTO_FREE char *poll = NULL;
    struct error err = ERROR_INIT;

    ask("command=startVirtualMachine&id=" RIG_VM, &reply);
    REQUIRE(answer_text(&reply, "jobid") != NULL);
    cancel = xasprintf("command=cancelAsyncJob&jobid=%s",
                       answer_text(&reply, "jobid"));
    ask(cancel, &cancelled);
    CHECK_TEXT(cancelled.text,
               "{\"cancelasyncjobresponse\":{\"success\":true}}");
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    poll = xasprintf("command=queryAsyncJobResult&jobid=%s",
                     answer_text(&reply, "jobid"));
    ask(poll, &job);
    CHECK(answer_number(&job, "jobstatus") == 3);
    CHECK(answer_number(&job, "jobresultcode") == 530);
    CHECK(answer_number(&job, "jobresult.errorcode") == 530);
    CHECK_TEXT(answer_text(&job, "jobresult.errorname"), "CANCELLED");
    CHECK(!rig_is_running(rig));
}

static void
a_machine_is_released(void)
{
    AUTO_ANSWER struct answer vms = {0};
    AUTO_FREE char *delete = xasprintf("command=deleteBackup&id=%s", backup);

    done(delete, NULL);
    rig_forget(rig, backup);
    done(
        "command=removeVirtualMachineFromBackupOffering&virtualmachineid=" RIG_VM,
        NULL);
    done("command=releaseVirtualMachine&id=" RIG_VM, NULL);
    ask("command=listVirtualMachines", &vms);
    CHECK(json_is_false(answer_at(&vms, "virtualmachine.0.managed")));
    CHECK(answer_at(&vms, "virtualmachine.0.backupofferingid") == NULL);
}

int
main(void)
{
    rig = rig_new(2, 3, false);
    api = api_new(&(struct api_config){.engine = rig->engine, .version = "0"});
    RUN(a_machine_that_libvirt_knows_is_listed);
    RUN(disks_that_cannot_be_kept_are_told_with_the_reason);
    RUN(power_is_switched);
    RUN(snapshots_are_taken_and_listed_as_a_tree);
    RUN(a_running_machine_is_not_reverted);
    RUN(a_stopped_machine_is_reverted);
    RUN(a_snapshot_is_deleted_and_then_unknown);
    RUN(a_backup_is_taken_described_and_proved);
    RUN(a_backup_is_restored_when_the_snapshots_are_gone);
    RUN(what_was_done_is_told_as_events);
    RUN(a_job_that_waits_can_be_cancelled);
    RUN(a_machine_is_released);
    api_free(api);
    rig_free(rig);
    return check_done();
}
