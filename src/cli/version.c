/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/output.h"

int
version_show(struct cli *cli, struct error *err)
{
    static const struct output_field lines[] = {
        {"varve", "varve", OUTPUT_TEXT, true},
        {"varved", "varved", OUTPUT_TEXT, true},
        {"libvirt", "libvirt", OUTPUT_TEXT, true},
        {"qemu", "qemu", OUTPUT_TEXT, true},
        {.title = NULL},
    };
    static const struct output_view view = {lines, "varve", "varve"};
    struct error away = ERROR_INIT;
    json_auto_t *answer = NULL;
    json_auto_t *object = NULL;
    json_t *status = NULL;
    json_t *hypervisor;

    (void)err; /* a daemon that does not answer is an answer here */
    if (client_call(cli->client, "getStatus", json_object(), &answer, &away) ==
        0)
        status = json_object_get(answer, "status");
    hypervisor = json_object_get(status, "hypervisor");
    object = json_pack(
        "{s:s, s:s*, s:s*, s:s*}", "varve", VARVE_VERSION, "varved",
        json_string_value(json_object_get(status, "version")), "libvirt",
        json_string_value(json_object_get(hypervisor, "libvirtversion")),
        "qemu", json_string_value(json_object_get(hypervisor, "qemuversion")));
    output_object(cli, &view, object);
    if (status == NULL)
        cli_say(cli, "%-14s %s", "varved", away.message);
    return 0;
}
