/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_domain_xml.c -- domain XML from a manifest or a user.
 *
 * Beyond not crashing: a disk that was given a new source has it when the
 * result is read again, and the others are as before.
 */
#include "base/error.h"
#include "base/memory.h"
#include "hv/domain_xml.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
change_first(const char *xml, const struct hv_machine *machine)
{
    const struct hv_disk_change change = {machine->disks[0].target, "/new/<&>",
                                          "qcow2"};
    AUTO_HV_MACHINE struct hv_machine *again = NULL;
    AUTO_FREE char *changed = NULL;
    struct error err = ERROR_INIT;

    if (domain_xml_set_disks(xml, &change, 1, &changed, &err) < 0 ||
        domain_xml_parse(changed, &again, &err) < 0)
        abort();
    assert(again->disk_count == machine->disk_count);
    assert(strcmp(again->disks[0].source, "/new/<&>") == 0);
    for (size_t i = 1; i < machine->disk_count; i++)
        assert(strcmp(again->disks[i].target, machine->disks[i].target) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    AUTO_FREE char *xml = NULL;
    AUTO_FREE char *snapshot = NULL;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    if (length > INPUT_MAX)
        return 0;
    xml = xstrndup((const char *)bytes, length);
    if (domain_xml_parse(xml, &machine, &err) < 0)
        return 0;
    if (domain_xml_snapshot(machine, NULL, 0, NULL, &snapshot, &err) < 0)
        abort();
    if (machine->disk_count > 0)
        change_first(xml, machine);
    return 0;
}
