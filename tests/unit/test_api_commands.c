/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that change something ask of the engine, and how they and
 * the jobs are answered. */
#include "api_fixture.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"
#include "engine/hold.h"
#include "engine/settings.h"

static struct fixture fx;

#define ID FIXTURE_ID
#define VM FIXTURE_ID("10", "1")

/* -- what the engine is asked --------------------------------------------- */

static const struct {
    const char *query;
    const char *asked; /* of user 1 */
    const char *text;  /* the answer */
} requests[] = {
    {"command=startVirtualMachine&id=" VM, "vm_start user=1 vm=" VM,
     "{\"startvirtualmachineresponse\":{\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=stopVirtualMachine&id=" VM, "vm_stop user=1 vm=" VM " forced=0",
     NULL},
    {"command=stopVirtualMachine&forced=True&id=" VM,
     "vm_stop user=1 vm=" VM " forced=1", NULL},
    {"command=rebootVirtualMachine&id=" VM, "vm_reboot user=1 vm=" VM, NULL},
    {"command=releaseVirtualMachine&id=" VM, "vm_release user=1 vm=" VM, NULL},
    {"command=settleVirtualMachine&id=" VM, "vm_settle user=1 vm=" VM, NULL},
    {"command=destroyVirtualMachine&id=" VM,
     "vm_destroy user=1 vm=" VM " expunge=0", NULL},
    {"command=destroyVirtualMachine&expunge=true&id=" VM,
     "vm_destroy user=1 vm=" VM " expunge=1", NULL},
    {"command=recoverVirtualMachine&id=" VM, "vm_recover user=1 vm=" VM, NULL},
    {"command=scaleVirtualMachine&id=" VM "&serviceofferingid=" ID("23", "1"),
     "vm_scale user=1 vm=" VM " service_offering=" ID("23", "1"), NULL},
    {"command=deleteServiceOffering&id=" ID("23", "1"),
     "service_offering_delete user=1 service_offering=" ID("23", "1"),
     "{\"deleteserviceofferingresponse\":{\"success\":true}}"},
    {"command=createVolume&name=data&size=3",
     "volume_create user=1 name=data size=3221225472",
     "{\"createvolumeresponse\":{\"id\":\"" ENGINE_DOUBLE_OBJECT
     "\",\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=attachVolume&id=" VM "&virtualmachineid=" VM,
     "volume_attach user=1 volume=" VM " vm=" VM " device=-1", NULL},
    {"command=attachVolume&deviceid=4&id=" VM "&virtualmachineid=" VM,
     "volume_attach user=1 volume=" VM " vm=" VM " device=4", NULL},
    {"command=detachVolume&id=" VM, "volume_detach user=1 volume=" VM, NULL},
    {"command=resizeVolume&size=2&id=" VM,
     "volume_resize user=1 volume=" VM " size=2147483648", NULL},
    {"command=deleteVolume&id=" VM, "volume_delete user=1 volume=" VM,
     "{\"deletevolumeresponse\":{\"success\":true}}"},
    {"command=createSnapshot&name=a+b&volumeid=" VM,
     "snapshot_create user=1 volume=" VM " name=a b",
     "{\"createsnapshotresponse\":{\"id\":\"" ENGINE_DOUBLE_OBJECT
     "\",\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=deleteSnapshot&id=" VM, "snapshot_delete user=1 snapshot=" VM,
     "{\"deletesnapshotresponse\":{\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=createVMSnapshot&virtualmachineid=" VM,
     "vm_snapshot_create user=1 vm=" VM " memory=0 quiesce=0",
     "{\"createvmsnapshotresponse\":{\"id\":\"" ENGINE_DOUBLE_OBJECT
     "\",\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=createVMSnapshot&virtualmachineid=" VM
     "&name=a+b&description=c&snapshotmemory=true&quiescevm=true",
     "vm_snapshot_create user=1 vm=" VM
     " name=a b description=c memory=1 quiesce=1",
     NULL},
    {"command=revertToVMSnapshot&vmsnapshotid=" VM,
     "vm_snapshot_revert user=1 vm_snapshot=" VM " change_power=0",
     "{\"reverttovmsnapshotresponse\":{\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=deleteVMSnapshot&vmsnapshotid=" VM,
     "vm_snapshot_delete user=1 vm_snapshot=" VM, NULL},
    {"command=importBackupOffering&name=n&description=d&externalid=x"
     "&allowuserdrivenbackups=true&zoneid=" ID("01", "1"),
     "offering_import user=1 name=n description=d external_id=x zone=" ID(
         "01", "1") " user_driven=1",
     "{\"importbackupofferingresponse\":{\"jobid\":\"" ENGINE_DOUBLE_JOB
     "\"}}"},
    {"command=deleteBackupOffering&id=" VM,
     "offering_delete user=1 offering=" VM,
     "{\"deletebackupofferingresponse\":{\"success\":true}}"},
    {"command=deleteNativeBackupOffering&id=" VM,
     "native_offering_delete user=1 native_offering=" VM,
     "{\"deletenativebackupofferingresponse\":{\"success\":true}}"},
    {"command=assignVirtualMachineToBackupOffering&virtualmachineid=" VM
     "&backupofferingid=" ID("19", "1"),
     "offering_assign user=1 vm=" VM " offering=" ID("19", "1"), NULL},
    {"command=removeVirtualMachineFromBackupOffering&forced=true"
     "&virtualmachineid=" VM,
     "offering_remove user=1 vm=" VM " forced=1", NULL},
    {"command=createBackup&name=b&isolated=true&virtualmachineid=" VM,
     "backup_create user=1 vm=" VM " name=b quiesce=0 isolated=1",
     "{\"createbackupresponse\":{\"id\":\"" ENGINE_DOUBLE_OBJECT
     "\",\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=deleteBackup&id=" VM,
     "backup_delete user=1 backup=" VM " forced=0", NULL},
    {"command=restoreBackup&quickRestore=false&id=" VM,
     "backup_restore user=1 backup=" VM, NULL},
    {"command=verifyBackup&id=" VM, "backup_verify user=1 backup=" VM, NULL},
    {"command=foldBackup&id=" VM "&frombackupid=" ID("15", "1") "&verify=true",
     "backup_fold user=1 backup=" VM " oldest=" ID("15", "1") " verify=1",
     NULL},
    {"command=listBackupChanges&id=" VM
     "&sinceid=" ID("15", "1") "&volumeid=" ID("11", "1") "&offset=65536",
     "backup_changes user=1 before=" ID("15", "1") " after=" VM
                                                   " volume=" ID("11", "1"),
     "{\"listbackupchangesresponse\":{\"backupchanges\":{\"id\":\"" VM
     "\",\"sinceid\":\"" ID(
         "15",
         "1") "\",\"blocksize\":65536,"
              "\"algorithm\":\"xxh3-128\",\"volumes\":[{\"volumeid\":\"\","
              "\"presence\":\"added\",\"sizesince\":0,\"size\":1048576,"
              "\"bytes\":65536,\"ranges\":[{\"offset\":65536,\"length\":65536}],"
              "\"next\":196608}]}}}"},
    {"command=selfTest", "self_test user=1",
     "{\"selftestresponse\":{\"jobid\":\"" ENGINE_DOUBLE_JOB "\"}}"},
    {"command=cancelAsyncJob&jobid=" VM, "job_cancel user=1 job=" VM,
     "{\"cancelasyncjobresponse\":{\"success\":true}}"},
};

static void
what_is_asked_reaches_the_engine_as_it_was_meant(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        AUTO_ANSWER struct answer answer = {0};

        fixture_ask(&fx, "admin", requests[i].query, &answer);
        CHECK(answer.status == 200);
        CHECK_TEXT(engine_double_last(fx.engine), requests[i].asked);
        if (requests[i].text != NULL)
            CHECK_TEXT(answer.text, requests[i].text);
    }
}

static void
the_engine_s_refusals_are_answered_with_their_code(void)
{
    static const struct {
        enum error_code code;
        int status;
        json_int_t cloudstack;
    } refusals[] = {
        {ERROR_NOT_FOUND, 431, 4350},   {ERROR_CONFLICT, 431, 4350},
        {ERROR_DENIED, 531, 4365},      {ERROR_LIMIT, 532, 4370},
        {ERROR_BUSY, 536, 4375},        {ERROR_UNSUPPORTED, 432, 9999},
        {ERROR_UNAVAILABLE, 534, 4380}, {ERROR_NO_SPACE, 533, 4340},
        {ERROR_TIMEOUT, 530, 4250},
    };

    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        AUTO_ANSWER struct answer answer = {0};

        engine_double_fail(fx.engine, refusals[i].code, "machine 'web' ...");
        fixture_ask(&fx, "guest", "command=createBackup&virtualmachineid=" VM,
                    &answer);
        CHECK(answer.status == refusals[i].status);
        CHECK(answer_number(&answer, "errorcode") == refusals[i].status);
        CHECK(answer_number(&answer, "cserrorcode") == refusals[i].cloudstack);
        CHECK_TEXT(answer_text(&answer, "errortext"), "machine 'web' ...");
        CHECK_TEXT(answer.description, "machine 'web' ...");
        CHECK_TEXT(answer.root, "createbackupresponse");
    }
}

static void
details_of_internal_faults_are_for_root_admins(void)
{
    AUTO_ANSWER struct answer admin = {0};
    AUTO_ANSWER struct answer guest = {0};

    engine_double_fail(fx.engine, ERROR_CORRUPT,
                       "/pool/secret.qcow2 is broken");
    fixture_ask(&fx, "admin", "command=startVirtualMachine&id=" VM, &admin);
    CHECK_TEXT(answer_text(&admin, "errortext"),
               "/pool/secret.qcow2 is broken");
    engine_double_fail(fx.engine, ERROR_CORRUPT,
                       "/pool/secret.qcow2 is broken");
    fixture_ask(&fx, "guest", "command=startVirtualMachine&id=" VM, &guest);
    CHECK(guest.status == 530);
    CHECK(strstr(guest.text, "secret") == NULL);
    CHECK(strstr(guest.description, "secret") == NULL);
}

static void
a_native_offering_is_answered_as_it_was_made(void)
{
    AUTO_ANSWER struct answer answer = {0};

    engine_double_answer(fx.engine, ID("18", "1"));
    fixture_ask(&fx, "admin",
                "command=createNativeBackupOffering&name=gold&compress=true"
                "&backupChainSize=-1&allowExtractFile=true",
                &answer);
    CHECK_TEXT(engine_double_last(fx.engine),
               "native_offering_create user=1 name=gold compress=1 validate=0 "
               "quick=0 extract=1 chain=-1");
    CHECK_TEXT(answer_text(&answer, "nativebackupoffering.id"), ID("18", "1"));
    CHECK(answer_number(&answer, "nativebackupoffering.backupchainsize") == 3);
}

static void
what_is_not_done_yet_is_refused_and_not_ignored(void)
{
    AUTO_ANSWER struct answer quick = {0};
    AUTO_ANSWER struct answer host = {0};

    (void)engine_double_last(fx.engine);
    fixture_ask(&fx, "admin", "command=restoreBackup&quickRestore=true&id=" VM,
                &quick);
    CHECK(quick.status == 432);
    fixture_ask(&fx, "admin",
                "command=restoreBackup&id=" VM "&hostId=" ID("03", "1"), &host);
    CHECK(host.status == 431);
    CHECK_TEXT(engine_double_last(fx.engine), "");
}

static void
some_commands_are_for_root_admins(void)
{
    static const char *const queries[] = {
        "command=createNativeBackupOffering&name=x",
        "command=listNativeBackupOfferings",
        "command=deleteBackupOffering&id=" VM,
        "command=listConfigurations",
        "command=updateConfiguration&name=backup.chain.size&value=3",
        "command=listHosts",
        "command=listStoragePools",
        "command=listImageStores"};

    for (size_t i = 0; i < ARRAY_SIZE(queries); i++) {
        AUTO_ANSWER struct answer guest = {0};
        AUTO_ANSWER struct answer chief = {0};

        fixture_ask(&fx, "guest", queries[i], &guest);
        CHECK(guest.status == 531);
        fixture_ask(&fx, "chief", queries[i], &chief);
        CHECK(chief.status == 531);
    }
}

/* -- jobs ---------------------------------------------------------------- */

struct job_row {
    const char *command;
    const char *instance_type;
    const char *instance;
    int64_t status;
    int64_t code;
    const char *result;
};

/* Make job 1 that of `row`, ask for it as `who`. */
static void
ask_job(const char *who, const struct job_row *row, struct answer *ret_answer)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(fx.state, &err);
    AUTO_STATE(job) job = {0};

    CHECK_OK(state_job_get(tx, 1, &job, &err), &err);
    state_set_text(&job.command, row->command);
    state_set_text(&job.instance_type, row->instance_type);
    state_set_text(&job.instance_uuid, row->instance);
    state_set_text(&job.result, row->result);
    job.account_id = 2; /* the guest's */
    job.domain_id = 1;
    job.user_id = 2;
    job.status = row->status;
    job.result_code = row->code;
    job.completed = row->status == 0 ? 0 : job.created + 1000;
    job.bytes_done = 5;
    job.bytes_total = row->status == 0 ? 10 : 5;
    CHECK_OK(state_job_update(tx, &job, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    fixture_ask(&fx, who, "command=queryAsyncJobResult&jobId=" ID("16", "1"),
                ret_answer);
}

static void
a_running_job_has_no_result_but_progress(void)
{
    AUTO_ANSWER struct answer answer = {0};

    ask_job(
        "guest",
        &(struct job_row){"createBackup", "Backup", ID("15", "1"), 0, 0, NULL},
        &answer);
    CHECK_TEXT(answer.root, "queryasyncjobresultresponse");
    CHECK(answer_number(&answer, "jobstatus") == 0);
    CHECK(answer_number(&answer, "jobprocstatus") == 0);
    CHECK(answer_number(&answer, "jobresultcode") == 0);
    CHECK(answer_at(&answer, "jobresult") == NULL);
    CHECK(answer_at(&answer, "completed") == NULL);
    CHECK(answer_number(&answer, "bytesdone") == 5);
    CHECK(answer_number(&answer, "bytestotal") == 10);
    CHECK_TEXT(answer_text(&answer, "cmd"), "createBackup");
    CHECK_TEXT(answer_text(&answer, "jobid"), ID("16", "1"));
    CHECK_TEXT(answer_text(&answer, "jobinstancetype"), "Backup");
    CHECK_TEXT(answer_text(&answer, "jobinstanceid"), ID("15", "1"));
    CHECK_TEXT(answer_text(&answer, "accountid"), ID("07", "2"));
    CHECK_TEXT(answer_text(&answer, "userid"), ID("08", "2"));
    CHECK_TEXT(answer_text(&answer, "created"), "2026-03-01T10:15:00+0000");
}

static const struct {
    struct job_row row;
    const char *path;
    const char *text; /* NULL: true */
} results[] = {
    {{"createVMSnapshot", "VmSnapshot", ID("12", "1"), 1, 0, "{}"},
     "jobresult.vmsnapshot.id",
     ID("12", "1")},
    {{"createVMSnapshot", "VmSnapshot", ID("12", "1"), 1, 0, "{}"},
     "jobresult.vmsnapshot.parent",
     ID("13", "1")},
    {{"revertToVMSnapshot", "VmSnapshot", ID("12", "1"), 1, 0, "{}"},
     "jobresult.virtualmachine.id",
     VM},
    {{"startVirtualMachine", "VirtualMachine", VM, 1, 0, "{}"},
     "jobresult.virtualmachine.state",
     "Running"},
    {{"importBackupOffering", "BackupOffering", ID("19", "1"), 1, 0, "{}"},
     "jobresult.backupoffering.name",
     "daily"},
    {{"deleteVMSnapshot", "VmSnapshot", ID("20", "3"), 1, 0, "{}"},
     "jobresult.success",
     NULL},
    {{"createBackup", "Backup", ID("15", "1"), 1, 0, "{}"},
     "jobresult.success",
     NULL},
    {{"releaseVirtualMachine", "VirtualMachine", VM, 1, 0, NULL},
     "jobresult.success",
     NULL},
    {{"verifyBackup", "Backup", ID("15", "1"), 1, 0,
      "{\"valid\":true,\"mismatches\":[]}"},
     "jobresult.valid",
     NULL},
    {{"selfTest", "Host", NULL, 1, 0,
      "{\"selftest\":{\"accelerator\":\"kvm\",\"step\":[]}}"},
     "jobresult.selftest.accelerator",
     "kvm"},
    {{"unknownCommand", NULL, NULL, 1, 0, "not json"},
     "jobresult.success",
     NULL},
};

static void
a_job_that_is_done_shows_what_came_of_it(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        AUTO_ANSWER struct answer answer = {0};

        ask_job("guest", &results[i].row, &answer);
        CHECK(answer_number(&answer, "jobstatus") == 1);
        CHECK(answer_number(&answer, "jobresultcode") == 0);
        CHECK_TEXT(answer_text(&answer, "jobresulttype"), "object");
        CHECK(answer_text(&answer, "completed") != NULL);
        if (results[i].text != NULL)
            CHECK_TEXT(answer_text(&answer, results[i].path), results[i].text);
        else
            CHECK(json_is_true(answer_at(&answer, results[i].path)));
    }
}

static void
a_job_that_failed_shows_code_and_text(void)
{
    AUTO_ANSWER struct answer answer = {0};

    ask_job("guest",
            &(struct job_row){"createBackup", "Backup", ID("15", "1"), 2, 533,
                              "{\"errortext\":\"the repository is full\"}"},
            &answer);
    CHECK(answer.status == 200);
    CHECK(answer_number(&answer, "jobstatus") == 2);
    CHECK(answer_number(&answer, "jobresultcode") == 533);
    CHECK_TEXT(answer_text(&answer, "jobresulttype"), "object");
    CHECK(answer_number(&answer, "jobresult.errorcode") == 533);
    CHECK_TEXT(answer_text(&answer, "jobresult.errortext"),
               "the repository is full");
}

static void
a_job_s_internal_details_are_for_root_admins(void)
{
    const struct job_row row = {
        "verifyBackup",
        "Backup",
        ID("15", "1"),
        2,
        530,
        "{\"errortext\":\"/secret is broken\",\"valid\":false}"};
    AUTO_ANSWER struct answer guest = {0};
    AUTO_ANSWER struct answer admin = {0};

    ask_job("guest", &row, &guest);
    CHECK(strstr(guest.text, "secret") == NULL);
    CHECK(json_is_false(answer_at(&guest, "jobresult.valid")));
    ask_job("admin", &row, &admin);
    CHECK_TEXT(answer_text(&admin, "jobresult.errortext"), "/secret is broken");
}

static void
a_job_s_time_out_is_told_to_everybody(void)
{
    AUTO_ANSWER struct answer guest = {0};

    ask_job("guest",
            &(struct job_row){"deleteVMSnapshot", "VmSnapshot", NULL, 2, 530,
                              "{\"errorname\":\"TIMEOUT\","
                              "\"errortext\":\"the merge goes on\"}"},
            &guest);
    CHECK_TEXT(answer_text(&guest, "jobresult.errortext"), "the merge goes on");
    CHECK_TEXT(answer_text(&guest, "jobresult.errorname"), "TIMEOUT");
}

static void
a_job_is_shown_to_its_owner_and_those_above(void)
{
    AUTO_ANSWER struct answer worker = {0};

    ask_job("worker",
            &(struct job_row){"createBackup", "Backup", NULL, 0, 0, NULL},
            &worker);
    CHECK(worker.status == 431);
    CHECK(strstr(answer_text(&worker, "errortext"), "jobid") != NULL);
}

/* -- keys, settings, status ---------------------------------------------- */

static void
keys_are_shown_and_renewed(void)
{
    AUTO_ANSWER struct answer shown = {0};
    AUTO_ANSWER struct answer made = {0};
    AUTO_ANSWER struct answer old = {0};
    AUTO_ANSWER struct answer foreign = {0};
    AUTO_ANSWER struct answer below = {0};

    fixture_ask(&fx, "chief", "command=getUserKeys&id=" ID("08", "3"), &below);
    CHECK_TEXT(answer_text(&below, "userkeys.secretkey"), "secret-worker");
    fixture_ask(&fx, "worker", "command=getUserKeys&id=" ID("08", "3"), &shown);
    CHECK_TEXT(shown.text, "{\"getuserkeysresponse\":{\"userkeys\":{\"apikey\":"
                           "\"key-worker\",\"secretkey\":\"secret-worker\"}}}");
    fixture_ask(&fx, "worker", "command=getUserKeys&id=" ID("08", "1"),
                &foreign);
    CHECK(foreign.status == 431);
    fixture_ask(&fx, "worker", "command=registerUserKeys&id=" ID("08", "3"),
                &made);
    CHECK(made.status == 200);
    CHECK(answer_text(&made, "userkeys.apikey") != NULL);
    CHECK(strlen(answer_text(&made, "userkeys.secretkey")) >= 40);
    fixture_ask(&fx, "worker", "command=listZones", &old);
    CHECK(old.status == 401);
}

static void
settings_are_listed_and_changed(void)
{
    AUTO_ANSWER struct answer all = {0};
    AUTO_ANSWER struct answer set = {0};
    AUTO_ANSWER struct answer zone = {0};
    AUTO_ANSWER struct answer reset = {0};
    AUTO_ANSWER struct answer event = {0};

    fixture_ask(&fx, "admin", "command=listConfigurations", &all);
    CHECK(answer_number(&all, "count") > 50);
    fixture_ask(&fx, "admin",
                "command=updateConfiguration&name=backup.chain.size&value=3",
                &set);
    CHECK_TEXT(answer_text(&set, "configuration.name"), "backup.chain.size");
    CHECK_TEXT(answer_text(&set, "configuration.value"), "3");
    CHECK_TEXT(answer_text(&set, "configuration.origin"), "global");
    fixture_ask(&fx, "admin",
                "command=updateConfiguration&name=backup.chain.size&value=5"
                "&zoneid=" ID("01", "1"),
                &zone);
    CHECK_TEXT(answer_text(&zone, "configuration.value"), "5");
    CHECK_TEXT(answer_text(&zone, "configuration.origin"), "zone");
    fixture_ask(&fx, "admin",
                "command=updateConfiguration&name=backup.chain.size", &reset);
    CHECK_TEXT(answer_text(&reset, "configuration.value"), "8");
    CHECK_TEXT(answer_text(&reset, "configuration.origin"), "default");
    fixture_ask(&fx, "admin",
                "command=listEvents&type=CONFIGURATION.VALUE.EDIT", &event);
    CHECK(answer_number(&event, "count") == 3);
}

static void
the_largest_page_follows_its_setting(void)
{
    AUTO_ANSWER struct answer set = {0};
    AUTO_ANSWER struct answer page = {0};
    AUTO_ANSWER struct answer guest = {0};
    AUTO_ANSWER struct answer reset = {0};

    fixture_ask(&fx, "admin",
                "command=updateConfiguration&name=default.page.size&value=2",
                &set);
    fixture_ask(&fx, "admin", "command=listVirtualMachines&listall=true",
                &page);
    CHECK(answer_number(&page, "count") == 3);
    CHECK(json_array_size(answer_at(&page, "virtualmachine")) == 2);
    fixture_ask(&fx, "guest", "command=listZones&page=1&pagesize=3", &guest);
    CHECK(guest.status == 431);
    fixture_ask(&fx, "admin",
                "command=updateConfiguration&name=default.page.size", &reset);
}

static void
changes_need_post_and_an_early_end_where_that_is_enforced(void)
{
    AUTO_ANSWER struct answer set = {0};
    AUTO_ANSWER struct answer plain = {0};
    AUTO_ANSWER struct answer late = {0};
    AUTO_ANSWER struct answer peer = {0};

    fixture_ask(&fx, API_ASK_PEER,
                "command=updateConfiguration"
                "&name=enforce.post.requests.and.timestamps&value=true",
                &set);
    CHECK(set.status == 200);
    fixture_ask(&fx, "guest", "command=listZones", &plain);
    CHECK(plain.status == 401);
    fixture_ask(&fx, "guest",
                "command=listZones&signatureVersion=3"
                "&expires=2999-01-01T00:00:00Z",
                &late);
    CHECK(late.status == 401);
    fixture_ask(&fx, API_ASK_PEER,
                "command=updateConfiguration"
                "&name=enforce.post.requests.and.timestamps",
                &peer);
    CHECK(peer.status == 200);
}

static void
the_status_tells_what_is_there_and_what_is_wrong(void)
{
    AUTO_ANSWER struct answer admin = {0};
    AUTO_ANSWER struct answer guest = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(hold_set(fx.directory, FIXTURE_ID("10", "3"), "a merge", &err),
             &err);
    fixture_ask(&fx, "admin", "command=getStatus", &admin);
    CHECK_OK(hold_clear(fx.directory, FIXTURE_ID("10", "3"), &err), &err);
    CHECK_TEXT(answer_text(&admin, "status.version"), "1.2.3");
    CHECK(answer_number(&admin, "status.virtualmachines.total") == 3);
    CHECK(answer_number(&admin, "status.virtualmachines.managed") == 3);
    CHECK(answer_number(&admin, "status.virtualmachines.states.Running") == 3);
    CHECK(json_is_false(answer_at(&admin, "status.hypervisor.reachable")));
    CHECK_TEXT(answer_text(&admin, "status.problem.0.text"),
               "the hypervisor does not answer");
    CHECK(answer_number(&admin, "status.imagestore.0.free") > 0);
    CHECK(json_is_true(answer_at(&admin, "status.imagestore.0.writable")));
    CHECK(answer_at(&admin, "status.storagepool.0.free") == NULL);
    CHECK(json_is_true(answer_at(&admin, "status.hypervisor.hookinstalled")));
    CHECK(json_array_size(answer_at(&admin, "status.hold")) == 1);
    CHECK_TEXT(answer_text(&admin, "status.hold.0.name"), "mill");
    fixture_ask(&fx, "guest", "command=getStatus", &guest);
    CHECK(answer_number(&guest, "status.virtualmachines.total") == 1);
    CHECK(answer_at(&guest, "status.hypervisor") == NULL);
    CHECK(answer_at(&guest, "status.imagestore") == NULL);
}

static void
capabilities_are_told(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "guest", "command=listCapabilities", &answer);
    CHECK_TEXT(answer_text(&answer, "capability.cloudstackversion"),
               "4.22.0.0");
    CHECK_TEXT(answer_text(&answer, "capability.varveversion"), "1.2.3");
}

/* -- listApis ------------------------------------------------------------ */

static void
every_api_is_described_in_full(void)
{
    AUTO_ANSWER struct answer answer = {0};
    json_t *api;
    json_t *param;
    size_t i;
    size_t n;

    fixture_ask(&fx, "admin", "command=listApis&listall=true", &answer);
    CHECK(strchr(answer.text, '\n') == NULL);
    CHECK(json_array_size(answer_at(&answer, "api")) ==
          (size_t)answer_number(&answer, "count"));
    json_array_foreach(answer_at(&answer, "api"), i, api)
    {
        CHECK(json_is_string(json_object_get(api, "name")));
        CHECK(json_is_string(json_object_get(api, "description")));
        CHECK(json_is_boolean(json_object_get(api, "isasync")));
        CHECK(json_is_array(json_object_get(api, "response")));
        json_array_foreach(json_object_get(api, "params"), n, param)
        {
            CHECK(json_is_string(json_object_get(param, "name")));
            CHECK(json_is_string(json_object_get(param, "type")));
            CHECK(json_is_string(json_object_get(param, "description")));
            CHECK(json_is_boolean(json_object_get(param, "required")));
            CHECK(json_is_integer(json_object_get(param, "length")));
        }
    }
}

static void
users_are_shown_the_commands_that_are_theirs(void)
{
    AUTO_ANSWER struct answer admin = {0};
    AUTO_ANSWER struct answer guest = {0};
    AUTO_ANSWER struct answer one = {0};

    fixture_ask(&fx, "admin", "command=listApis", &admin);
    fixture_ask(&fx, "guest", "command=listApis", &guest);
    CHECK(answer_number(&guest, "count") < answer_number(&admin, "count"));
    CHECK(strstr(guest.text, "updateConfiguration") == NULL);
    fixture_ask(&fx, "guest", "command=listApis&name=createVMSnapshot", &one);
    CHECK(answer_number(&one, "count") == 1);
    CHECK(json_is_true(answer_at(&one, "api.0.isasync")));
    CHECK_TEXT(answer_text(&one, "api.0.params.0.name"), "virtualmachineid");
    CHECK_TEXT(answer_text(&one, "api.0.params.0.related"),
               "listVirtualMachines");
}

int
main(void)
{
    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    RUN(what_is_asked_reaches_the_engine_as_it_was_meant);
    RUN(the_engine_s_refusals_are_answered_with_their_code);
    RUN(details_of_internal_faults_are_for_root_admins);
    RUN(a_native_offering_is_answered_as_it_was_made);
    RUN(what_is_not_done_yet_is_refused_and_not_ignored);
    RUN(some_commands_are_for_root_admins);
    RUN(a_running_job_has_no_result_but_progress);
    RUN(a_job_that_is_done_shows_what_came_of_it);
    RUN(a_job_that_failed_shows_code_and_text);
    RUN(a_job_s_internal_details_are_for_root_admins);
    RUN(a_job_s_time_out_is_told_to_everybody);
    RUN(a_job_is_shown_to_its_owner_and_those_above);
    RUN(settings_are_listed_and_changed);
    RUN(the_largest_page_follows_its_setting);
    RUN(changes_need_post_and_an_early_end_where_that_is_enforced);
    RUN(the_status_tells_what_is_there_and_what_is_wrong);
    RUN(capabilities_are_told);
    RUN(every_api_is_described_in_full);
    RUN(users_are_shown_the_commands_that_are_theirs);
    RUN(keys_are_shown_and_renewed); /* ends the worker's keys */
    fixture_stop(&fx);
    return check_done();
}
