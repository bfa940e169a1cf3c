/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is there.  A machine is its live XML (the inactive one when it is
 * stopped) and a few calls for what the XML does not say.
 */
#include "hv/libvirt/libvirt_internal.h"

#include "base/memory.h"

#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum hv_state
state_of(int state)
{
    switch (state) {
    case VIR_DOMAIN_SHUTOFF:
        return HV_STOPPED;
    case VIR_DOMAIN_SHUTDOWN:
        return HV_STOPPING;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
    case VIR_DOMAIN_CRASHED: /* and kept; else it is shut off */
        return HV_PAUSED;
    default:
        return HV_RUNNING;
    }
}

static int
describe(virDomainPtr domain, struct hv_machine **ret_machine,
         struct error *err)
{
    const char *name = virDomainGetName(domain);
    AUTO_FREE char *xml = virDomainGetXMLDesc(domain, 0);
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    int state;
    int persistent;

    if (xml == NULL)
        return lv_fail(err, "XML of machine '%s'", name);
    if (domain_xml_parse(xml, &machine, err) < 0)
        return error_prefix(err, "machine '%s'", name);
    persistent = virDomainIsPersistent(domain);
    if (persistent < 0 || virDomainGetState(domain, &state, NULL, 0) < 0)
        return lv_fail(err, "state of machine '%s'", name);
    machine->state = state_of(state);
    machine->persistent = persistent == 1;
    if (machine->state == HV_STOPPED)
        machine->agent_connected = false;
    *ret_machine = steal(&machine);
    return 0;
}

int
lv_machine(const struct lv_call *call, struct hv_machine **ret_machine,
           struct error *err)
{
    return describe(call->domain, ret_machine, err);
}

int
lv_require_running_disk(const struct lv_call *call, const char *target,
                        struct error *err)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    if (lv_machine(call, &machine, err) < 0)
        return -1;
    if (hv_machine_find_disk(machine, target) == NULL)
        return error_set(err, ERROR_NOT_FOUND, "machine '%s' has no disk '%s'",
                         machine->name, target);
    if (machine->state == HV_STOPPED)
        return error_set(err, ERROR_CONFLICT, "machine '%s' does not run",
                         machine->name);
    return 0;
}

/* The definition of a persistent machine, with its passwords: without them a
 * define would take them away. */
char *
lv_inactive_xml(const struct lv_call *call, struct error *err)
{
    unsigned flags = VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE;
    char *xml = virDomainGetXMLDesc(call->domain, flags);

    if (xml == NULL)
        (void)lv_fail(err, "inactive XML of machine '%s'", call->name);
    return xml;
}

static int
describe_all(virDomainPtr *domains, size_t count, struct hv_machine_list *ret,
             struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct hv_machine *machine = NULL;

        if (describe(domains[i], &machine, err) < 0) {
            /* One that vanishes meanwhile is not listed. */
            if (err->code != ERROR_NOT_FOUND)
                return -1;
            error_clear(err);
            continue;
        }
        vec_push(ret, machine);
    }
    return 0;
}

int
lv_op_list(struct hv *hv, struct hv_machine_list *ret, struct error *err)
{
    struct lv_call call;
    virDomainPtr *domains = NULL;
    int count;
    int result;

    if (lv_begin(hv, NULL, &call, err) < 0)
        return -1;
    count = virConnectListAllDomains(call.conn, &domains, 0);
    if (count < 0) {
        (void)lv_fail(err, "list machines");
        return lv_end(&call, -1, err);
    }
    result = describe_all(domains, (size_t)count, ret, err);
    for (int i = 0; i < count; i++)
        (void)virDomainFree(domains[i]);
    free(domains);
    if (result < 0)
        hv_machine_list_release(ret);
    return lv_end(&call, result, err);
}

int
lv_op_get(struct hv *hv, const char *uuid, struct hv_machine **ret,
          struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    return lv_end(&call, lv_machine(&call, ret, err), err);
}

int
lv_op_xml(struct hv *hv, const char *uuid, char **ret, struct error *err)
{
    struct lv_call call;
    char *xml;

    if (lv_begin(hv, uuid, &call, err) < 0)
        return -1;
    xml = lv_inactive_xml(&call, err);
    if (xml != NULL)
        *ret = xml;
    return lv_end(&call, xml != NULL ? 0 : -1, err);
}

static void
print_version(char *text, size_t size, unsigned long version)
{
    (void)snprintf(text, size, "%lu.%lu.%lu", version / 1000000,
                   version / 1000 % 1000, version % 1000);
}

static int
facts(virConnectPtr conn, struct hv_facts *ret, struct error *err)
{
    AUTO_FREE char *hostname = virConnectGetHostname(conn);
    AUTO_FREE char *uri = virConnectGetURI(conn);
    unsigned long libvirt;
    unsigned long qemu;

    if (hostname == NULL || uri == NULL ||
        virConnectGetLibVersion(conn, &libvirt) < 0 ||
        virConnectGetVersion(conn, &qemu) < 0)
        return lv_fail(err, "facts about the hypervisor");
    (void)snprintf(ret->kind, sizeof(ret->kind), "KVM");
    (void)snprintf(ret->hostname, sizeof(ret->hostname), "%s", hostname);
    (void)snprintf(ret->uri, sizeof(ret->uri), "%s", uri);
    print_version(ret->libvirt_version, sizeof(ret->libvirt_version), libvirt);
    print_version(ret->qemu_version, sizeof(ret->qemu_version), qemu);
    return 0;
}

int
lv_op_facts(struct hv *hv, struct hv_facts *ret, struct error *err)
{
    struct lv_call call;

    if (lv_begin(hv, NULL, &call, err) < 0)
        return -1;
    return lv_end(&call, facts(call.conn, ret, err), err);
}
