/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domain XML by libxml2, walked by hand: the few elements that we need are
 * at fixed places, and a helper for "the child of that name" is shorter than
 * XPath with its contexts.
 *
 * Hostile text: libxml2 is told not to use the network, and a document type
 * (the only way to entities) is refused before parsing; the encoding is fixed
 * to UTF-8, so that it cannot be hidden from that look.  libxml2's own limits
 * bound depth and the length of names.
 *
 * Changing works on the parsed tree and prints it again, so that everything
 * that we do not know survives.
 */
#include "hv/domain_xml.h"

#include "base/memory.h"
#include "base/parse.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const xmlChar *
xml_text(const char *text)
{
    return (const xmlChar *)text;
}

static void
doc_cleanup(xmlDoc **doc)
{
    if (*doc != NULL)
        xmlFreeDoc(*doc);
}
#define AUTO_DOC CLEANUP(doc_cleanup)

static void
xml_string_cleanup(xmlChar **text)
{
    if (*text != NULL)
        xmlFree(*text);
}
#define AUTO_XML_STRING CLEANUP(xml_string_cleanup)

/* -- walking --------------------------------------------------------------- */

static bool
is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE &&
           xmlStrEqual(node->name, xml_text(name));
}

/* The first child of that name; NULL also when `node` is NULL. */
static xmlNode *
child(const xmlNode *node, const char *name)
{
    xmlNode *at = node != NULL ? node->children : NULL;

    while (at != NULL && !is_element(at, name))
        at = at->next;
    return at;
}

static xmlNode *
next_of(const xmlNode *node, const char *name)
{
    xmlNode *at = node->next;

    while (at != NULL && !is_element(at, name))
        at = at->next;
    return at;
}

/* An attribute's value; NULL when it is not there. */
static char *
attribute(const xmlNode *node, const char *name)
{
    AUTO_XML_STRING xmlChar *value =
        node != NULL ? xmlGetProp(node, xml_text(name)) : NULL;

    return xstrdup_null((const char *)value);
}

static bool
attribute_is(const xmlNode *node, const char *name, const char *value)
{
    AUTO_FREE char *actual = attribute(node, name);

    return actual != NULL && strcmp(actual, value) == 0;
}

/* An element's text without the white space around it; NULL when empty. */
static char *
content(const xmlNode *node)
{
    AUTO_XML_STRING xmlChar *value =
        node != NULL ? xmlNodeGetContent(node) : NULL;
    const char *text = (const char *)value;
    size_t length;

    if (text == NULL)
        return NULL;
    text += strspn(text, " \t\r\n");
    length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    return length > 0 ? xstrndup(text, length) : NULL;
}

static xmlDoc *
read_domain(const char *xml, xmlNode **ret_root, struct error *err)
{
    AUTO_DOC xmlDoc *doc = NULL;
    size_t length = strnlen(xml, DOMAIN_XML_MAX + 1);

    if (length > DOMAIN_XML_MAX) {
        (void)error_set(err, ERROR_INVALID,
                        "domain XML is longer than %zu bytes", DOMAIN_XML_MAX);
        return NULL;
    }
    if (strstr(xml, "<!DOCTYPE") != NULL || strstr(xml, "<!ENTITY") != NULL) {
        (void)error_set(err, ERROR_INVALID, "domain XML has a document type");
        return NULL;
    }
    doc = xmlReadMemory(xml, (int)length, "domain.xml", "UTF-8",
                        XML_PARSE_NONET | XML_PARSE_NOERROR |
                            XML_PARSE_NOWARNING);
    *ret_root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;
    if (*ret_root == NULL || doc->intSubset != NULL ||
        !is_element(*ret_root, "domain")) {
        (void)error_set(err, ERROR_INVALID, "this is not domain XML");
        return NULL;
    }
    return steal(&doc);
}

/* -- values ---------------------------------------------------------------- */

static const struct unit {
    const char *name;
    uint64_t bytes;
} units[] = {
    {"b", 1},
    {"bytes", 1},
    {"KB", 1000},
    {"k", 1 << 10},
    {"KiB", 1 << 10},
    {"MB", 1000000},
    {"M", 1 << 20},
    {"MiB", 1 << 20},
    {"GB", 1000000000},
    {"G", 1 << 30},
    {"GiB", 1 << 30},
    {"TB", 1000000000000},
    {"T", (uint64_t)1 << 40},
    {"TiB", (uint64_t)1 << 40},
};

static int
read_memory(const xmlNode *node, uint64_t *ret_bytes, struct error *err)
{
    AUTO_FREE char *text = content(node);
    AUTO_FREE char *unit = attribute(node, "unit");
    uint64_t factor = 1 << 10;
    uint64_t value;

    if (text == NULL)
        return 0;
    if (unit != NULL) {
        factor = 0;
        for (size_t i = 0; i < ARRAY_SIZE(units); i++)
            if (strcmp(units[i].name, unit) == 0)
                factor = units[i].bytes;
    }
    if (parse_u64(text, &value, err) < 0)
        return error_prefix(err, "domain XML: memory");
    if (factor == 0 || __builtin_mul_overflow(value, factor, ret_bytes))
        return error_set(err, ERROR_INVALID, "domain XML: memory '%s'", text);
    return 0;
}

static int
read_vcpus(const xmlNode *node, unsigned *ret_vcpus, struct error *err)
{
    AUTO_FREE char *text = attribute(node, "current");
    uint64_t value;

    if (text == NULL)
        text = content(node);
    if (text == NULL)
        return 0;
    if (parse_u64(text, &value, err) < 0)
        return error_prefix(err, "domain XML: vcpu");
    if (value > UINT16_MAX)
        return error_set(err, ERROR_INVALID, "domain XML: %s vcpus", text);
    *ret_vcpus = (unsigned)value;
    return 0;
}

static int
read_uuid(const xmlNode *root, char uuid[UUID_TEXT_SIZE], struct error *err)
{
    AUTO_FREE char *text = content(child(root, "uuid"));

    if (text == NULL || !uuid_is_valid(text))
        return error_set(err, ERROR_INVALID, "domain XML has no uuid");
    for (size_t i = 0; i < UUID_TEXT_SIZE; i++)
        uuid[i] = (char)tolower((unsigned char)text[i]);
    return 0;
}

/* The variable store: text before libvirt 8.5, also a <source> since. */
static char *
read_nvram(const xmlNode *root)
{
    const xmlNode *nvram = child(child(root, "os"), "nvram");
    char *path = attribute(child(nvram, "source"), "file");

    return path != NULL ? path : content(nvram);
}

static void
read_agent(const xmlNode *devices, struct hv_machine *machine)
{
    for (const xmlNode *channel = child(devices, "channel"); channel != NULL;
         channel = next_of(channel, "channel")) {
        const xmlNode *target = child(channel, "target");

        if (!attribute_is(target, "name", "org.qemu.guest_agent.0"))
            continue;
        machine->has_agent_channel = true;
        machine->agent_connected = attribute_is(target, "state", "connected");
    }
}

static enum hv_device
read_device(const xmlNode *node)
{
    if (attribute_is(node, "device", "cdrom"))
        return HV_CDROM;
    if (attribute_is(node, "device", "floppy"))
        return HV_FLOPPY;
    if (attribute_is(node, "device", "lun"))
        return HV_LUN;
    return HV_DISK;
}

static int
read_disk(const xmlNode *node, struct hv_disk *disk, struct error *err)
{
    const xmlNode *source = child(node, "source");
    const xmlNode *target = child(node, "target");
    AUTO_FREE char *path = NULL;

    disk->target = attribute(target, "dev");
    if (disk->target == NULL)
        return error_set(err, ERROR_INVALID,
                         "domain XML has a disk without target");
    disk->bus = attribute(target, "bus");
    if (disk->bus == NULL)
        disk->bus = xstrdup("");
    disk->format = attribute(child(node, "driver"), "type");
    if (disk->format == NULL)
        disk->format = xstrdup("raw");
    disk->alias = attribute(child(node, "alias"), "name");
    disk->device = read_device(node);
    disk->readonly = child(node, "readonly") != NULL;
    disk->shareable = child(node, "shareable") != NULL;
    disk->block = attribute_is(node, "type", "block");
    disk->network = attribute_is(node, "type", "network");
    if (disk->block)
        path = attribute(source, "dev");
    else if (!disk->network)
        path = attribute(source, "file");
    if (path != NULL && path[0] == '/')
        disk->source = steal(&path);
    return 0;
}

static int
read_disks(const xmlNode *devices, struct hv_machine *machine,
           struct error *err)
{
    size_t count = 0;

    for (const xmlNode *node = child(devices, "disk"); node != NULL;
         node = next_of(node, "disk"))
        count++;
    if (count > DOMAIN_XML_DISKS_MAX)
        return error_set(err, ERROR_INVALID, "domain XML has %zu disks", count);
    machine->disks = xcalloc(count + 1, sizeof(struct hv_disk));
    for (const xmlNode *node = child(devices, "disk"); node != NULL;
         node = next_of(node, "disk"))
        if (read_disk(node, &machine->disks[machine->disk_count++], err) < 0)
            return -1;
    return 0;
}

int
domain_xml_parse(const char *xml, struct hv_machine **ret_machine,
                 struct error *err)
{
    xmlNode *root;
    AUTO_DOC xmlDoc *doc = read_domain(xml, &root, err);
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    const xmlNode *devices;

    if (doc == NULL)
        return -1;
    devices = child(root, "devices");
    machine = xcalloc(1, sizeof(*machine));
    machine->name = content(child(root, "name"));
    if (machine->name == NULL)
        return error_set(err, ERROR_INVALID, "domain XML has no name");
    machine->nvram = read_nvram(root);
    machine->has_tpm = child(devices, "tpm") != NULL;
    read_agent(devices, machine);
    if (read_uuid(root, machine->uuid, err) < 0 ||
        read_memory(child(root, "memory"), &machine->memory_bytes, err) < 0 ||
        read_vcpus(child(root, "vcpu"), &machine->vcpus, err) < 0 ||
        read_disks(devices, machine, err) < 0)
        return -1;
    *ret_machine = steal(&machine);
    return 0;
}

/* -- changing -------------------------------------------------------------- */

static void
set_attribute(xmlNode *node, const char *name, const char *value)
{
    (void)xmlSetProp(node, xml_text(name), xml_text(value));
}

static void
drop_children(xmlNode *node, const char *name)
{
    xmlNode *at;

    while ((at = child(node, name)) != NULL) {
        xmlUnlinkNode(at);
        xmlFreeNode(at);
    }
}

static bool
is_block_device(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISBLK(about.st_mode);
}

static void
set_source(xmlNode *disk, const char *path)
{
    bool block = is_block_device(path);
    xmlNode *source;

    /* What else stood in the source of an rbd or a pool's volume describes
     * that one alone. */
    if (!attribute_is(disk, "type", "file") &&
        !attribute_is(disk, "type", "block"))
        drop_children(disk, "source");
    source = child(disk, "source");
    if (source == NULL)
        source = xmlNewChild(disk, NULL, xml_text("source"), NULL);
    set_attribute(disk, "type", block ? "block" : "file");
    (void)xmlUnsetProp(source, xml_text("file"));
    (void)xmlUnsetProp(source, xml_text("dev"));
    (void)xmlUnsetProp(source, xml_text("index"));
    set_attribute(source, block ? "dev" : "file", path);
}

static xmlNode *
find_disk(const xmlNode *root, const char *target)
{
    xmlNode *disk = child(child(root, "devices"), "disk");

    while (disk != NULL && !attribute_is(child(disk, "target"), "dev", target))
        disk = next_of(disk, "disk");
    return disk;
}

static int
set_disk(const xmlNode *root, const struct hv_disk_change *change,
         struct error *err)
{
    xmlNode *disk = find_disk(root, change->target);
    xmlNode *driver;

    if (disk == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no disk '%s'", change->target);
    driver = child(disk, "driver");
    if (driver == NULL) {
        driver = xmlNewChild(disk, NULL, xml_text("driver"), NULL);
        set_attribute(driver, "name", "qemu");
    }
    set_attribute(driver, "type", change->format);
    set_source(disk, change->path);
    drop_children(disk, "backingStore");
    drop_children(disk, "mirror");
    return 0;
}

static char *
print_node(xmlDoc *doc, xmlNode *root)
{
    xmlBuffer *buffer = xmlBufferCreate();
    char *text;

    (void)xmlNodeDump(buffer, doc, root, 0, 0);
    text = xstrdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

int
domain_xml_set_disks(const char *xml, const struct hv_disk_change *changes,
                     size_t count, char **ret_xml, struct error *err)
{
    xmlNode *root;
    AUTO_DOC xmlDoc *doc = read_domain(xml, &root, err);

    if (doc == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (set_disk(root, &changes[i], err) < 0)
            return -1;
    *ret_xml = print_node(doc, root);
    return 0;
}

static void
set_number(xmlNode *root, const char *name, const char *unit, uint64_t number)
{
    AUTO_FREE char *text = xasprintf("%llu", (unsigned long long)number);
    xmlNode *node = child(root, name);

    if (node == NULL)
        node = xmlNewChild(root, NULL, xml_text(name), NULL);
    xmlNodeSetContent(node, xml_text(text));
    if (unit != NULL)
        set_attribute(node, "unit", unit);
}

int
domain_xml_set_compute(const char *xml, unsigned vcpus, uint64_t memory_bytes,
                       char **ret_xml, struct error *err)
{
    xmlNode *root;
    AUTO_DOC xmlDoc *doc = read_domain(xml, &root, err);

    if (doc == NULL)
        return -1;
    if (memory_bytes != 0) {
        set_number(root, "memory", "KiB", memory_bytes >> 10);
        set_number(root, "currentMemory", "KiB", memory_bytes >> 10);
    }
    if (vcpus != 0) {
        set_number(root, "vcpu", NULL, vcpus);
        (void)xmlUnsetProp(child(root, "vcpu"), xml_text("current"));
        drop_children(root, "vcpus");
        if (child(root, "cpu") != NULL)
            drop_children(child(root, "cpu"), "topology");
    }
    *ret_xml = print_node(doc, root);
    return 0;
}

int
domain_xml_disk(const struct hv_new_disk *disk, char **ret_xml,
                struct error *err)
{
    AUTO_DOC xmlDoc *doc = xmlNewDoc(xml_text("1.0"));
    xmlNode *root = xmlNewNode(NULL, xml_text("disk"));
    xmlNode *node;

    (void)xmlDocSetRootElement(doc, root);
    if (disk->path[0] != '/')
        return error_set(err, ERROR_INVALID, "'%s' is no absolute path",
                         disk->path);
    set_attribute(root, "type", "file");
    set_attribute(root, "device", "disk");
    node = xmlNewChild(root, NULL, xml_text("driver"), NULL);
    set_attribute(node, "name", "qemu");
    set_attribute(node, "type", disk->format);
    set_attribute(node, "discard", "unmap");
    node = xmlNewChild(root, NULL, xml_text("source"), NULL);
    set_attribute(node, "file", disk->path);
    node = xmlNewChild(root, NULL, xml_text("target"), NULL);
    set_attribute(node, "dev", disk->target);
    set_attribute(node, "bus", disk->bus);
    if (disk->serial != NULL)
        (void)xmlNewTextChild(root, NULL, xml_text("serial"),
                              xml_text(disk->serial));
    *ret_xml = print_node(doc, root);
    return 0;
}

int
domain_xml_mirror(const char *xml, const char *target,
                  enum domain_xml_mirror *ret_mirror, struct error *err)
{
    xmlNode *root;
    AUTO_DOC xmlDoc *doc = read_domain(xml, &root, err);
    const xmlNode *mirror;
    const xmlNode *disk;

    if (doc == NULL)
        return -1;
    disk = find_disk(root, target);
    if (disk == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no disk '%s'", target);
    mirror = child(disk, "mirror");
    *ret_mirror =
        mirror != NULL ? DOMAIN_XML_MIRROR_RUNNING : DOMAIN_XML_MIRROR_NONE;
    if (attribute_is(mirror, "ready", "yes"))
        *ret_mirror = DOMAIN_XML_MIRROR_READY;
    if (attribute_is(mirror, "ready", "pivot"))
        *ret_mirror = DOMAIN_XML_MIRROR_PIVOTING;
    return 0;
}

/* The disk's throttle group; NULL when it has none. */
static char *
limits_group(const xmlNode *disk)
{
    const xmlNode *iotune = child(disk, "iotune");

    return content(child(iotune, "group_name"));
}

int
domain_xml_shares_limits(const char *xml, const char *target, bool *ret_shares,
                         struct error *err)
{
    xmlNode *root;
    AUTO_DOC xmlDoc *doc = read_domain(xml, &root, err);
    AUTO_FREE char *group = NULL;
    const xmlNode *disk;

    if (doc == NULL)
        return -1;
    disk = find_disk(root, target);
    if (disk == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no disk '%s'", target);
    *ret_shares = false;
    group = limits_group(disk);
    for (const xmlNode *other = child(child(root, "devices"), "disk");
         group != NULL && other != NULL; other = next_of(other, "disk")) {
        AUTO_FREE char *of_other = limits_group(other);

        *ret_shares |=
            other != disk && of_other != NULL && strcmp(of_other, group) == 0;
    }
    return 0;
}

/* -- snapshots ------------------------------------------------------------- */

static const struct hv_disk_change *
find_change(const struct hv_disk_change *changes, size_t count,
            const char *target)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(changes[i].target, target) == 0)
            return &changes[i];
    return NULL;
}

static void
add_snapshot_disk(xmlNode *disks, const char *target,
                  const struct hv_disk_change *change)
{
    xmlNode *disk = xmlNewChild(disks, NULL, xml_text("disk"), NULL);
    xmlNode *node;

    set_attribute(disk, "name", target);
    set_attribute(disk, "snapshot", change != NULL ? "external" : "no");
    if (change == NULL)
        return;
    set_attribute(disk, "type", "file");
    node = xmlNewChild(disk, NULL, xml_text("driver"), NULL);
    set_attribute(node, "type", change->format);
    node = xmlNewChild(disk, NULL, xml_text("source"), NULL);
    set_attribute(node, "file", change->path);
}

int
domain_xml_snapshot(const struct hv_machine *machine,
                    const struct hv_disk_change *changes, size_t count,
                    const char *memory, char **ret_xml, struct error *err)
{
    AUTO_DOC xmlDoc *doc = xmlNewDoc(xml_text("1.0"));
    xmlNode *root = xmlNewNode(NULL, xml_text("domainsnapshot"));
    xmlNode *disks = xmlNewChild(root, NULL, xml_text("disks"), NULL);

    (void)xmlDocSetRootElement(doc, root);
    if (memory != NULL) {
        xmlNode *node = xmlNewChild(root, NULL, xml_text("memory"), NULL);

        set_attribute(node, "snapshot", "external");
        set_attribute(node, "file", memory);
    }
    for (size_t i = 0; i < count; i++)
        if (hv_machine_find_disk(machine, changes[i].target) == NULL)
            return error_set(err, ERROR_NOT_FOUND,
                             "machine '%s' has no disk '%s'", machine->name,
                             changes[i].target);
    for (size_t i = 0; i < machine->disk_count; i++) {
        const char *target = machine->disks[i].target;

        add_snapshot_disk(disks, target, find_change(changes, count, target));
    }
    *ret_xml = print_node(doc, root);
    return 0;
}
