/* SPDX-License-Identifier: Apache-2.0 */
/* What the list commands show, and to whom. */
#include "api/commands.h"

#include "api_fixture.h"
#include "base/memory.h"
#include "check.h"

static struct fixture fx;

#define ID FIXTURE_ID

static void
count_is(const char *who, const char *query, json_int_t count)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, who, query, &answer);
    CHECK(answer.status == 200);
    CHECK((count == 0) == (json_object_size(answer.body) == 0));
    CHECK(count == 0 || answer_number(&answer, "count") == count);
    if (answer.status != 200 ||
        (count > 0 && answer_number(&answer, "count") != count))
        printf("# %s: %s: %s\n", who, query, answer.text);
}

static void
everybody_sees_their_own_and_with_listall_what_is_below_them(void)
{
    static const char *const lists[] = {
        "command=listVirtualMachines", "command=listVolumes",
        "command=listBackups", "command=listEvents",
        "command=listAsyncJobs&startdate=2026-01-01"};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        AUTO_FREE char *all = xasprintf("%s&listall=true", lists[i]);

        count_is("admin", lists[i], 1);
        count_is("guest", lists[i], 1);
        count_is("worker", lists[i], 1);
        count_is("chief", lists[i], 0);
        count_is(API_ASK_PEER, lists[i], 1);
        count_is("admin", all, 3);
        count_is("guest", all, 1);
        count_is("worker", all, 1);
        count_is("chief", all, 1);
    }
    /* Each has two that are not hidden. */
    count_is("admin", "command=listSnapshots", 1);
    count_is("chief", "command=listSnapshots&listall=true", 1);
    count_is("admin", "command=listSnapshots&snapshottype=RECURRING", 0);
    count_is("admin", "command=listVMSnapshot", 2);
    count_is("admin", "command=listVMSnapshot&listall=true", 6);
    count_is("chief", "command=listVMSnapshot&listall=true", 2);
}

static void
account_and_domain_narrow_a_list(void)
{
    count_is("admin", "command=listVirtualMachines&domainid=" ID("06", "1"), 2);
    count_is(
        "admin",
        "command=listVirtualMachines&isrecursive=true&domainid=" ID("06", "1"),
        3);
    count_is(
        "admin",
        "command=listVirtualMachines&account=guest&domainid=" ID("06", "1"), 1);
    count_is("guest", "command=listVirtualMachines&account=guest", 1);
    count_is("admin", "command=listVirtualMachines&projectid=-1", 1);
}

static void
an_id_of_ones_own_or_below_is_found_without_listall(void)
{
    count_is("admin", "command=listVirtualMachines&id=" ID("10", "3"), 1);
    count_is("chief", "command=listVirtualMachines&id=" ID("10", "3"), 1);
    count_is("guest", "command=listVirtualMachines&id=" ID("10", "2"), 1);
    count_is("guest",
             "command=listVirtualMachines&id="
             "0A000010-0000-4000-8000-000000000002",
             1);
    count_is("admin",
             "command=listVirtualMachines&ids=" ID("10", "3") "," ID("10", "1"),
             2);
}

static void
a_machine_has_its_fields(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "admin", "command=listVirtualMachines", &answer);
    CHECK_TEXT(answer.root, "listvirtualmachinesresponse");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.id"), ID("10", "1"));
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.name"), "web");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.state"), "Running");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.account"), "admin");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.domainid"),
               ID("06", "1"));
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.zoneid"), ID("01", "1"));
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.hostname"), "node1");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.backupofferingname"),
               "daily");
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.created"),
               "2026-03-01T10:15:00+0000");
    CHECK(answer_number(&answer, "virtualmachine.0.memory") == 512);
    CHECK(answer_number(&answer, "virtualmachine.0.cpunumber") == 2);
    CHECK(json_is_true(answer_at(&answer, "virtualmachine.0.managed")));
    CHECK(answer_at(&answer, "virtualmachine.0.problem") == NULL);
}

static void
machines_are_filtered(void)
{
    count_is("admin", "command=listVirtualMachines&listall=true&name=mil", 1);
    count_is("admin", "command=listVirtualMachines&listall=true&keyword=SHO",
             1);
    count_is("admin", "command=listVirtualMachines&listall=true&state=running",
             3);
    count_is("admin", "command=listVirtualMachines&listall=true&state=Stopped",
             0);
    count_is("admin",
             "command=listVirtualMachines&listall=true&hostid=" ID("03", "1"),
             3);
    count_is("admin",
             "command=listVirtualMachines&listall=true&backupofferingid=" ID(
                 "19", "2"),
             0);
    count_is("admin",
             "command=listVirtualMachines&listall=true&hypervisor=VMware", 0);
    count_is("admin", "command=listVirtualMachinesMetrics&listall=true", 3);
}

static void
where_a_machine_runs_is_for_root_admins(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "guest", "command=listVirtualMachines", &answer);
    CHECK_TEXT(answer_text(&answer, "virtualmachine.0.name"), "shop");
    CHECK(answer_at(&answer, "virtualmachine.0.hostid") == NULL);
}

static void
a_volume_has_its_fields(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "admin",
                "command=listVolumes&virtualmachineid=" ID("10", "1"), &answer);
    CHECK_TEXT(answer_text(&answer, "volume.0.id"), ID("11", "1"));
    CHECK_TEXT(answer_text(&answer, "volume.0.type"), "ROOT");
    CHECK_TEXT(answer_text(&answer, "volume.0.vmname"), "web");
    CHECK_TEXT(answer_text(&answer, "volume.0.vmstate"), "Running");
    CHECK_TEXT(answer_text(&answer, "volume.0.storage"), "pool");
    CHECK_TEXT(answer_text(&answer, "volume.0.path"), "web-top.qcow2");
    CHECK(answer_number(&answer, "volume.0.size") == INT64_C(5) << 30);
    CHECK(answer_number(&answer, "volume.0.chainsize") == 2);
    CHECK(answer_number(&answer, "volume.0.deviceid") == 0);
    count_is("admin", "command=listVolumes&listall=true&type=DATADISK", 0);
    count_is("admin", "command=listVolumes&listall=true&hostid=" ID("03", "1"),
             3);
}

static void
a_vm_snapshot_has_its_fields_and_no_hidden_parent(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "admin",
                "command=listVMSnapshot&vmsnapshotid=" ID("12", "1"), &answer);
    CHECK_TEXT(answer.root, "listvmsnapshotresponse");
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.id"), ID("12", "1"));
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.displayname"), "second");
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.type"), "Disk");
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.state"), "Ready");
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.parent"), ID("13", "1"));
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.parentName"), "first");
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.treeparent"), ID("14", "1"));
    CHECK_TEXT(answer_text(&answer, "vmSnapshot.0.virtualmachineid"),
               ID("10", "1"));
    CHECK(json_is_true(answer_at(&answer, "vmSnapshot.0.current")));
}

static void
vm_snapshots_are_filtered(void)
{
    count_is("admin", "command=listVMSnapshot&state=Hidden", 1);
    count_is("admin", "command=listVMSnapshot&state=Removed", 0);
    count_is("admin", "command=listVMSnapshot&state=ready", 2);
    count_is("admin", "command=listVMSnapshot&state=Creating", 0);
    count_is("admin", "command=listVMSnapshot&name=first", 1);
    count_is("admin", "command=listVMSnapshot&name=fir", 0);
    count_is("admin", "command=listVMSnapshot&keyword=ABOUT+SEC", 1);
    count_is("admin", "command=listVMSnapshot&keyword=_VS_", 2);
    count_is("admin", "command=listVMSnapshot&virtualmachineid=" ID("10", "3"),
             0);
    count_is(
        "admin",
        "command=listVMSnapshot&listall=true&virtualmachineid=" ID("10", "3"),
        2);
    count_is(
        "admin",
        "command=listVMSnapshot&vmsnapshotids=" ID("12", "1") "," ID("13", "1"),
        2);
    count_is("admin", "command=listVMSnapshot&tags[0].key=a&tags[0].value=b",
             2);
    /* Hidden is not shown by its id alone. */
    count_is("admin", "command=listVMSnapshot&vmsnapshotid=" ID("14", "1"), 0);
}

static void
a_backup_has_its_fields(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "admin", "command=listBackups&listvmdetails=true",
                &answer);
    CHECK_TEXT(answer_text(&answer, "backup.0.id"), ID("15", "1"));
    CHECK_TEXT(answer_text(&answer, "backup.0.type"), "FULL");
    CHECK_TEXT(answer_text(&answer, "backup.0.status"), "BackedUp");
    CHECK_TEXT(answer_text(&answer, "backup.0.virtualmachinename"), "web");
    CHECK_TEXT(answer_text(&answer, "backup.0.reason"),
               "the first of its chain");
    CHECK(answer_number(&answer, "backup.0.size") == INT64_C(1) << 40);
    CHECK(answer_number(&answer, "backup.0.bytesread") == 4096);
    CHECK(answer_number(&answer, "backup.0.byteschanged") == 2048);
    CHECK_TEXT(
        answer_text(&answer, "backup.0.volumes"),
        "[{\"uuid\":\"" ID(
            "11", "1") "\",\"name\":\"ROOT-1\","
                       "\"type\":\"ROOT\",\"size\":5368709120,\"path\":\"" ID(
                           "32", "1") "\",\"deviceId\":0}]");
    CHECK_TEXT(answer_text(&answer, "backup.0.contentroots.0.root"), "xxh3:12");
    CHECK(json_is_false(answer_at(&answer, "backup.0.isolated")));
    CHECK(answer_number(&answer, "backup.0.vmdetails.memory") == 512);
}

static void
offerings_are_listed(void)
{
    AUTO_ANSWER struct answer answer = {0};

    count_is("admin", "command=listNativeBackupOfferings", 1);
    count_is("admin", "command=listNativeBackupOfferings&showremoved=true", 2);
    count_is(
        "admin",
        "command=listNativeBackupOfferings&showremoved=true&id=" ID("18", "2"),
        1);
    count_is("admin", "command=listNativeBackupOfferings&compress=true", 1);
    count_is("admin", "command=listNativeBackupOfferings&compress=false", 0);
    count_is("admin", "command=listNativeBackupOfferings&validate=true", 0);
    count_is("admin", "command=listNativeBackupOfferings&name=gold", 1);
    count_is("admin", "command=listBackupOfferings", 2);
    count_is("guest", "command=listBackupOfferings", 1);
    count_is("guest", "command=listBackupProviders", 1);
    count_is("guest", "command=listBackupProviders&name=veeam", 0);
    fixture_ask(&fx, "admin",
                "command=listBackupProviderOfferings&zoneid=" ID("01", "1"),
                &answer);
    CHECK_TEXT(answer_text(&answer, "backupoffering.0.externalid"),
               ID("18", "1"));
}

static void
places_are_listed(void)
{
    AUTO_ANSWER struct answer answer = {0};

    count_is("guest", "command=listZones", 1);
    count_is("guest", "command=listZones&name=default&available=true", 1);
    count_is("guest", "command=listZones&id=" ID("01", "1"), 1);
    count_is("admin", "command=listClusters&zoneid=" ID("01", "1"), 1);
    count_is("admin", "command=listHosts&type=Routing&state=Up", 1);
    count_is("admin", "command=listHosts&type=SecondaryStorage", 0);
    count_is("admin", "command=listHosts&virtualmachineid=" ID("10", "1"), 1);
    count_is("admin", "command=listStoragePools&path=%2Fpool", 1);
    count_is("guest", "command=listHypervisors", 1);
    fixture_ask(&fx, "admin", "command=listImageStores", &answer);
    CHECK_TEXT(answer_text(&answer, "imagestore.0.url"), "file:///tmp");
}

static void
accounts_and_users_are_listed(void)
{
    AUTO_ANSWER struct answer answer = {0};

    count_is("admin", "command=listAccounts", 1);
    count_is("admin", "command=listAccounts&listall=true", 4);
    count_is("guest", "command=listAccounts&listall=true", 1);
    count_is("chief", "command=listAccounts&listall=true", 2);
    count_is("admin", "command=listAccounts&listall=true&accounttype=0", 2);
    count_is("admin", "command=listUsers&listall=true", 4);
    count_is("admin", "command=listUsers&listall=true&username=chief", 1);
    count_is("chief", "command=listUsers&id=" ID("08", "3"), 1);
    count_is("admin", "command=listDomains", 2);
    count_is("admin", "command=listDomains&level=1", 1);
    count_is("guest", "command=listDomains", 1);
    count_is("chief", "command=listDomains&listall=true", 1);
    fixture_ask(&fx, "admin", "command=listAccounts&name=admin", &answer);
    CHECK_TEXT(answer_text(&answer, "account.0.user.0.username"), "admin");
    CHECK_TEXT(answer_text(&answer, "account.0.roletype"), "Admin");
}

static void
an_api_key_is_shown_to_its_user_and_root_admins_only(void)
{
    AUTO_ANSWER struct answer own = {0};
    AUTO_ANSWER struct answer below = {0};

    fixture_ask(&fx, "guest", "command=listUsers", &own);
    CHECK_TEXT(answer_text(&own, "user.0.apikey"), "key-guest");
    CHECK(strstr(own.text, "secret-") == NULL);
    fixture_ask(&fx, "chief", "command=listUsers&id=" ID("08", "3"), &below);
    CHECK_TEXT(answer_text(&below, "user.0.username"), "worker");
    CHECK(answer_at(&below, "user.0.apikey") == NULL);
}

static void
events_are_filtered_and_paged(void)
{
    AUTO_ANSWER struct answer answer = {0};
    AUTO_ANSWER struct answer past = {0};

    count_is("admin", "command=listEvents&listall=true&level=INFO", 3);
    count_is("admin", "command=listEvents&listall=true&level=ERROR", 0);
    count_is("admin", "command=listEvents&type=VMSNAPSHOT.CREATE", 1);
    count_is("admin", "command=listEvents&keyword=TOOK", 1);
    count_is("admin", "command=listEvents&startdate=2026-03-01", 1);
    count_is("admin", "command=listEvents&enddate=2026-03-01", 1);
    count_is("admin", "command=listEvents&enddate=2026-02-28", 0);
    count_is("admin", "command=listEvents&resourceid=" ID("12", "1"), 1);
    count_is("admin", "command=listEvents&id=" ID("17", "3"), 1);
    fixture_ask(&fx, "admin",
                "command=listEvents&listall=true&page=2&pagesize=2", &answer);
    CHECK(answer_number(&answer, "count") == 3);
    CHECK(json_array_size(answer_at(&answer, "event")) == 1);
    CHECK_TEXT(answer_text(&answer, "event.0.id"), ID("17", "1"));
    fixture_ask(&fx, "admin",
                "command=listEvents&listall=true&page=3&pagesize=2", &past);
    CHECK_TEXT(past.text, "{\"listeventsresponse\":{\"count\":3}}");
}

static void
a_list_is_paged(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(&fx, "admin",
                "command=listVirtualMachines&listall=true&page=2&pageSize=2",
                &answer);
    CHECK(answer_number(&answer, "count") == 3);
    CHECK(json_array_size(answer_at(&answer, "virtualmachine")) == 1);
}

static void
an_empty_list_is_an_empty_object(void)
{
    AUTO_ANSWER struct answer answer = {0};
    AUTO_ANSWER struct answer ldap = {0};

    fixture_ask(&fx, "guest", "command=listPublicIpAddresses", &answer);
    CHECK_TEXT(answer.text, "{\"listpublicipaddressesresponse\":{}}");
    fixture_ask(&fx, "guest", "command=listLdapConfigurations", &ldap);
    CHECK_TEXT(ldap.text, "{\"ldapconfigurationresponse\":{}}");
}

/* -- the table and the answers agree ------------------------------------- */

static bool
is_documented(const struct command *command, const char *name)
{
    for (const struct command_field *f = command->object->fields;
         f->name != NULL; f++) {
        if (strcmp(f->name, name) == 0)
            return true;
    }
    return false;
}

static void
every_field_of_an_object_is_in_the_table(void)
{
    for (const struct command *c = command_table; c->name != NULL; c++) {
        AUTO_FREE char *query = xasprintf(
            "command=%s&listall=true&showremoved=true&listvmdetails=true"
            "&startdate=2026-01-01&enddate=2030-01-01&zoneid=" ID("01", "1"),
            c->name);
        AUTO_ANSWER struct answer answer = {0};
        const char *key;
        json_t *value;

        if (c->kind != COMMAND_LIST || strcmp(c->object->name, "nothing") == 0)
            continue;
        fixture_ask(&fx, "admin", query, &answer);
        CHECK(answer.status == 200);
        CHECK(json_array_size(answer_at(&answer, c->key)) > 0);
        json_object_foreach(json_array_get(answer_at(&answer, c->key), 0), key,
                            value)
        {
            CHECK(is_documented(c, key));
            if (!is_documented(c, key))
                printf("# %s: %s\n", c->name, key);
        }
    }
}

int
main(void)
{
    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    RUN(everybody_sees_their_own_and_with_listall_what_is_below_them);
    RUN(account_and_domain_narrow_a_list);
    RUN(an_id_of_ones_own_or_below_is_found_without_listall);
    RUN(a_machine_has_its_fields);
    RUN(machines_are_filtered);
    RUN(where_a_machine_runs_is_for_root_admins);
    RUN(a_volume_has_its_fields);
    RUN(a_vm_snapshot_has_its_fields_and_no_hidden_parent);
    RUN(vm_snapshots_are_filtered);
    RUN(a_backup_has_its_fields);
    RUN(offerings_are_listed);
    RUN(places_are_listed);
    RUN(accounts_and_users_are_listed);
    RUN(an_api_key_is_shown_to_its_user_and_root_admins_only);
    RUN(events_are_filtered_and_paged);
    RUN(a_list_is_paged);
    RUN(an_empty_list_is_an_empty_object);
    RUN(every_field_of_an_object_is_in_the_table);
    fixture_stop(&fx);
    return check_done();
}
