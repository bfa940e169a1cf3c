/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

static const struct output_view view = {NULL, "version", "version"};

static json_int_t
number_of(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void
print_line(struct cli *cli, const char *title, const struct strbuf *text)
{
    cli_say(cli, "%-14s %s", title, strbuf_text(text));
}

static void
print_daemon(struct cli *cli, json_t *status)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char time[FORMAT_SIZE];

    strbuf_addf(&text, "version %s, since %s", output_field(status, "version"),
                format_api_time(output_field(status, "started"), time));
    print_line(cli, "varved", &text);
}

static void
print_hypervisor(struct cli *cli, json_t *hypervisor)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    if (hypervisor == NULL)
        return; /* not for us to see */
    if (json_is_false(json_object_get(hypervisor, "reachable")))
        strbuf_adds(&text, "does not answer");
    else
        strbuf_addf(&text, "libvirt %s, QEMU %s, on %s",
                    output_field(hypervisor, "libvirtversion"),
                    output_field(hypervisor, "qemuversion"),
                    output_field(hypervisor, "hostname"));
    print_line(cli, "hypervisor", &text);
}

static void
print_machines(struct cli *cli, json_t *machines)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    const char *state;
    json_t *count;

    strbuf_addf(&text, "%" JSON_INTEGER_FORMAT, number_of(machines, "total"));
    json_object_foreach(json_object_get(machines, "states"), state, count)
    {
        strbuf_addf(&text, ", %" JSON_INTEGER_FORMAT " %s",
                    json_integer_value(count), state);
    }
    strbuf_addf(&text, "; %" JSON_INTEGER_FORMAT " with layers of ours",
                number_of(machines, "managed"));
    print_line(cli, "machines", &text);
}

static void
print_scrub(struct cli *cli, json_t *scrub)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char time[FORMAT_SIZE];
    bool runs = strcmp(output_field(scrub, "status"), "Running") == 0;

    if (scrub == NULL)
        return;
    strbuf_addf(&text,
                "%s, since %s, %" JSON_INTEGER_FORMAT
                " of %" JSON_INTEGER_FORMAT " files, %" JSON_INTEGER_FORMAT
                " damaged",
                runs ? "runs" : output_field(scrub, "status"),
                format_api_time(output_field(scrub, "started"), time),
                number_of(scrub, "filesdone"), number_of(scrub, "filestotal"),
                number_of(scrub, "findings"));
    print_line(cli, "scrub", &text);
}

static void
print_stores(struct cli *cli, const char *title, json_t *stores)
{
    char size[FORMAT_SIZE];
    size_t index;
    json_t *store;

    json_array_foreach(stores, index, store)
    {
        AUTO_STRBUF struct strbuf text = STRBUF_INIT;
        json_int_t free_bytes = number_of(store, "free");

        strbuf_adds(&text, output_field(store, "path"));
        if (json_object_get(store, "free") == NULL)
            strbuf_adds(&text, ", does not answer");
        else
            strbuf_addf(
                &text, ", %s free",
                format_size((uint64_t)MAX(free_bytes, (json_int_t)0), size));
        print_line(cli, title, &text);
        print_scrub(cli, json_object_get(store, "scrub"));
    }
}

static void
print_jobs(struct cli *cli, json_t *jobs)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    strbuf_addf(&text,
                "%" JSON_INTEGER_FORMAT " running, %" JSON_INTEGER_FORMAT
                " waiting",
                number_of(jobs, "running"), number_of(jobs, "queued"));
    print_line(cli, "jobs", &text);
}

static void
print_problems(struct cli *cli, json_t *problems)
{
    static const struct output_field columns[] = {
        {"WHAT", "kind", OUTPUT_TEXT, false},
        {"NAME", "name", OUTPUT_TEXT, true},
        {"PROBLEM", "text", OUTPUT_PROBLEM, false},
        {.title = NULL},
    };
    static const struct output_view problem_view = {columns, "id", "name"};

    if (json_array_size(problems) == 0) {
        cli_say(cli, "%-14s %s", "problems", "none");
        return;
    }
    (void)fputc('\n', cli->out);
    output_table(cli, &problem_view, problems);
}

int
status_show(struct cli *cli, struct error *err)
{
    json_auto_t *answer = NULL;
    json_t *status;

    if (client_call(cli->client, "getStatus", json_object(), &answer, err) < 0)
        return -1;
    status = json_object_get(answer, "status");
    if (!output_is_for_people(cli)) {
        output_object(cli, &view, status);
        return 0;
    }
    print_daemon(cli, status);
    print_hypervisor(cli, json_object_get(status, "hypervisor"));
    print_machines(cli, json_object_get(status, "virtualmachines"));
    print_stores(cli, "primary", json_object_get(status, "storagepool"));
    print_stores(cli, "repository", json_object_get(status, "imagestore"));
    print_jobs(cli, json_object_get(status, "jobs"));
    print_problems(cli, json_object_get(status, "problem"));
    return 0;
}
