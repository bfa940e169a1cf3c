/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The golden texts are dumps of libvirt 9.0, shortened.
 */
#include "check.h"

#include "base/memory.h"
#include "base/strbuf.h"
#include "hv/domain_xml.h"

static const char running[] =
    "<domain type='kvm' id='3'>\n"
    "  <name>web &amp; more</name>\n"
    "  <uuid>4DEA22B3-1D52-D8F3-2516-782E98AB3FA0</uuid>\n"
    "  <memory unit='KiB'>2097152</memory>\n"
    "  <currentMemory unit='KiB'>1048576</currentMemory>\n"
    "  <vcpu placement='static' current='2'>4</vcpu>\n"
    "  <os>\n"
    "    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n"
    "    <loader readonly='yes' type='pflash'>/usr/OVMF_CODE.fd</loader>\n"
    "    <nvram>/var/lib/libvirt/qemu/nvram/web_VARS.fd</nvram>\n"
    "  </os>\n"
    "  <metadata><x:y xmlns:x='urn:x'><disk/></x:y></metadata>\n"
    "  <devices>\n"
    "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>\n"
    "      <source file='/pool/a b&apos;s.qcow2' index='4'/>\n"
    "      <backingStore type='file' index='1'>\n"
    "        <format type='qcow2'/>\n"
    "        <source file='/pool/base.qcow2'/>\n"
    "        <backingStore/>\n"
    "      </backingStore>\n"
    "      <target dev='vda' bus='virtio'/>\n"
    "      <serial>disk0</serial>\n"
    "      <alias name='virtio-disk0'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x03'/>\n"
    "    </disk>\n"
    "    <disk type='block' device='disk'>\n"
    "      <driver name='qemu' type='raw'/>\n"
    "      <source dev='/dev/vg/lv' index='2'/>\n"
    "      <target dev='sda' bus='scsi'/>\n"
    "      <shareable/>\n"
    "      <alias name='scsi0-0-0-0'/>\n"
    "    </disk>\n"
    "    <disk type='network' device='disk'>\n"
    "      <driver name='qemu' type='raw'/>\n"
    "      <source protocol='rbd' name='pool/image'>\n"
    "        <host name='mon1' port='6789'/>\n"
    "      </source>\n"
    "      <target dev='vdb' bus='virtio'/>\n"
    "    </disk>\n"
    "    <disk type='file' device='cdrom'>\n"
    "      <target dev='sdb' bus='sata'/>\n"
    "      <readonly/>\n"
    "    </disk>\n"
    "    <channel type='unix'>\n"
    "      <source mode='bind' path='/run/x.sock'/>\n"
    "      <target type='virtio' name='org.qemu.guest_agent.0'\n"
    "              state='connected'/>\n"
    "    </channel>\n"
    "    <tpm model='tpm-crb'><backend type='emulator'/></tpm>\n"
    "  </devices>\n"
    "</domain>\n";

static struct error err;

static void
a_running_domain_is_read(void)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    const struct hv_disk *disk;

    REQUIRE(domain_xml_parse(running, &machine, &err) == 0);
    CHECK_TEXT(machine->name, "web & more");
    CHECK_TEXT(machine->uuid, "4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
    CHECK(machine->memory_bytes == (uint64_t)2 << 30);
    CHECK(machine->vcpus == 2);
    CHECK_TEXT(machine->nvram, "/var/lib/libvirt/qemu/nvram/web_VARS.fd");
    CHECK(machine->has_tpm);
    CHECK(machine->has_agent_channel && machine->agent_connected);
    REQUIRE(machine->disk_count == 4);

    disk = hv_machine_find_disk(machine, "vda");
    REQUIRE(disk != NULL);
    CHECK_TEXT(disk->source, "/pool/a b's.qcow2");
    CHECK_TEXT(disk->format, "qcow2");
    CHECK_TEXT(disk->bus, "virtio");
    CHECK_TEXT(disk->alias, "virtio-disk0");
    CHECK(disk->device == HV_DISK && !disk->readonly && !disk->block);

    disk = hv_machine_find_disk(machine, "sda");
    REQUIRE(disk != NULL);
    CHECK_TEXT(disk->source, "/dev/vg/lv");
    CHECK(disk->block && disk->shareable);

    disk = hv_machine_find_disk(machine, "vdb");
    REQUIRE(disk != NULL);
    CHECK(disk->source == NULL && disk->network);

    disk = hv_machine_find_disk(machine, "sdb");
    REQUIRE(disk != NULL);
    CHECK(disk->source == NULL && disk->device == HV_CDROM && disk->readonly);
    CHECK(disk->alias == NULL);
}

static void
only_the_named_disks_change(void)
{
    const struct hv_disk_change change = {"vda", "/pool/<new>&.qcow2", "qcow2"};
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;
    const char *rest;

    CHECK_OK(domain_xml_set_disks(running, &change, 1, &xml, &err), &err);
    REQUIRE(xml != NULL);
    CHECK_OK(domain_xml_parse(xml, &machine, &err), &err);
    REQUIRE(machine != NULL);
    CHECK_TEXT(machine->disks[0].source, "/pool/<new>&.qcow2");
    CHECK_TEXT(machine->disks[1].source, "/dev/vg/lv");
    CHECK(strstr(xml, "backingStore") == NULL);
    CHECK(strstr(xml, "base.qcow2") == NULL);
    CHECK(strstr(xml, "index=\"4\"") == NULL);
    CHECK(strstr(xml, "<serial>disk0</serial>") != NULL);
    CHECK(strstr(xml, "cache=\"none\" discard=\"unmap\"") != NULL);
    CHECK(strstr(xml, "<x:y xmlns:x=\"urn:x\">") != NULL);
    /* All behind the first disk is as it was, but for the quotes. */
    rest = strstr(xml, "<disk type=\"block\"");
    REQUIRE(rest != NULL);
    CHECK(strstr(rest, "<source dev=\"/dev/vg/lv\" index=\"2\"/>") != NULL);
    CHECK(strstr(rest, "<host name=\"mon1\" port=\"6789\"/>") != NULL);
}

static void
a_network_disk_becomes_a_file_and_an_empty_drive_is_filled(void)
{
    const struct hv_disk_change changes[] = {{"vdb", "/pool/b", "qcow2"},
                                             {"sdb", "/pool/c", "raw"}};
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;

    CHECK_OK(domain_xml_set_disks(running, changes, 2, &xml, &err), &err);
    REQUIRE(xml != NULL);
    CHECK(strstr(xml, "rbd") == NULL && strstr(xml, "mon1") == NULL);
    CHECK_OK(domain_xml_parse(xml, &machine, &err), &err);
    REQUIRE(machine != NULL);
    CHECK_TEXT(machine->disks[2].source, "/pool/b");
    CHECK_TEXT(machine->disks[2].format, "qcow2");
    CHECK(!machine->disks[2].network);
    CHECK_TEXT(machine->disks[3].source, "/pool/c");
}

static void
an_unknown_disk_changes_nothing(void)
{
    const struct hv_disk_change change = {"vdz", "/pool/b", "qcow2"};
    AUTO_FREE char *xml = NULL;

    CHECK(domain_xml_set_disks(running, &change, 1, &xml, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND && xml == NULL);
}

static void
a_snapshot_names_every_disk(void)
{
    const struct hv_disk_change change = {"vda", "/pool/n&w", "qcow2"};
    const struct hv_disk_change wrong = {"vdz", "/pool/n", "qcow2"};
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *xml = NULL;

    REQUIRE(domain_xml_parse(running, &machine, &err) == 0);
    CHECK_OK(domain_xml_snapshot(machine, &change, 1, NULL, &xml, &err), &err);
    CHECK_TEXT(xml,
               "<domainsnapshot><disks>"
               "<disk name=\"vda\" snapshot=\"external\" type=\"file\">"
               "<driver type=\"qcow2\"/><source file=\"/pool/n&amp;w\"/></disk>"
               "<disk name=\"sda\" snapshot=\"no\"/>"
               "<disk name=\"vdb\" snapshot=\"no\"/>"
               "<disk name=\"sdb\" snapshot=\"no\"/>"
               "</disks></domainsnapshot>");
    CHECK(domain_xml_snapshot(machine, &wrong, 1, NULL, &xml, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
}

#define HEAD                                                                   \
    "<domain><name>x</name>"                                                   \
    "<uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>"

static void
bad_text_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "<",
        "<domain>",
        "<notdomain/>",
        "<domain><name>x</name></domain>",
        "<domain><name>x</name><uuid>../../etc</uuid></domain>",
        "<domain><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid></domain>",
        HEAD "<memory unit='parsec'>1</memory></domain>",
        HEAD "<memory unit='TiB'>99999999999</memory></domain>",
        HEAD "<memory>-1</memory></domain>",
        HEAD "<vcpu>70000</vcpu></domain>",
        HEAD "<devices><disk/></devices></domain>",
        "<!DOCTYPE domain [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>" HEAD
        "<title>&a;</title></domain>",
        HEAD "<title>&undefined;</title></domain>",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO_HV_MACHINE struct hv_machine *machine = NULL;

        error_clear(&err);
        CHECK(domain_xml_parse(bad[i], &machine, &err) == -1);
        CHECK(err.code == ERROR_INVALID || err.code == ERROR_MALFORMED);
    }
}

static void
sizes_from_outside_are_bounded(void)
{
    AUTO_STRBUF struct strbuf xml = STRBUF_INIT;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    strbuf_adds(&xml, HEAD "<devices>");
    for (size_t i = 0; i <= DOMAIN_XML_DISKS_MAX; i++)
        strbuf_adds(&xml, "<disk><target dev='vda'/></disk>");
    strbuf_adds(&xml, "</devices></domain>");
    CHECK(domain_xml_parse(strbuf_text(&xml), &machine, &err) == -1);
    CHECK(err.code == ERROR_INVALID);

    strbuf_clear(&xml);
    for (size_t i = 0; i <= DOMAIN_XML_MAX / 16; i++)
        strbuf_adds(&xml, "<domain></domain");
    CHECK(domain_xml_parse(strbuf_text(&xml), &machine, &err) == -1);
    CHECK(err.code == ERROR_INVALID);

    strbuf_clear(&xml);
    for (size_t i = 0; i < 100000; i++)
        strbuf_adds(&xml, "<a>");
    CHECK(domain_xml_parse(strbuf_text(&xml), &machine, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
}

static void
an_active_commit_is_read_from_its_mirror(void)
{
    static const struct {
        const char *mirror;
        enum domain_xml_mirror wanted;
    } cases[] = {
        {"", DOMAIN_XML_MIRROR_NONE},
        {"<mirror/>", DOMAIN_XML_MIRROR_RUNNING},
        {"<mirror ready='yes'/>", DOMAIN_XML_MIRROR_READY},
        {"<mirror ready='pivot'/>", DOMAIN_XML_MIRROR_PIVOTING},
        {"<mirror ready='abort'/>", DOMAIN_XML_MIRROR_RUNNING},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        AUTO_FREE char *xml =
            xasprintf(HEAD "<devices><disk><target dev='vda'/>%s</disk>"
                           "</devices></domain>",
                      cases[i].mirror);
        enum domain_xml_mirror found = DOMAIN_XML_MIRROR_NONE;

        CHECK_OK(domain_xml_mirror(xml, "vda", &found, &err), &err);
        CHECK(found == cases[i].wanted);
        CHECK(domain_xml_mirror(xml, "vdb", &found, &err) == -1);
        CHECK(err.code == ERROR_NOT_FOUND);
    }
}

#define DISK_IN(target, group)                                                 \
    "<disk><target dev='" target "'/><iotune><group_name>" group               \
    "</group_name></iotune></disk>"

static void
disks_of_one_throttle_group_share_their_limits(void)
{
    static const char xml[] =
        HEAD "<devices>" DISK_IN("vda", "one") DISK_IN("vdb", "two")
            DISK_IN("vdc", "one") "<disk><target dev='vdd'/></disk>"
                                  "</devices></domain>";
    bool shares = false;

    CHECK_OK(domain_xml_shares_limits(xml, "vda", &shares, &err), &err);
    CHECK(shares);
    CHECK_OK(domain_xml_shares_limits(xml, "vdb", &shares, &err), &err);
    CHECK(!shares);
    CHECK_OK(domain_xml_shares_limits(xml, "vdd", &shares, &err), &err);
    CHECK(!shares);
    CHECK(domain_xml_shares_limits(xml, "vde", &shares, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
}

int
main(void)
{
    RUN(a_running_domain_is_read);
    RUN(only_the_named_disks_change);
    RUN(a_network_disk_becomes_a_file_and_an_empty_drive_is_filled);
    RUN(an_unknown_disk_changes_nothing);
    RUN(a_snapshot_names_every_disk);
    RUN(an_active_commit_is_read_from_its_mirror);
    RUN(disks_of_one_throttle_group_share_their_limits);
    RUN(bad_text_is_refused);
    RUN(sizes_from_outside_are_bounded);
    return check_done();
}
