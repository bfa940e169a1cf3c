/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor asks the daemon (getStatus, lists) and judges here; each finding
 * has a level, a text and, unless all is well, the remedy.  What the daemon
 * does not tell (an older one, or a caller who is no administrator) is left
 * out, not guessed.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/wait.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What the live tests run with. */
#define LIBVIRT_TESTED "9.0.0"
#define QEMU_TESTED "7.2."

#define FREE_ERROR ((json_int_t)1 << 30)    /* less room is an error */
#define FREE_WARNING ((json_int_t)10 << 30) /* or a warning */
#define CLOCK_MS 60000                      /* of difference */

enum level { OK, WARNING, FAULT };

struct doctor {
    struct cli *cli;
    json_t *findings; /* owned array */
    enum level worst;
    bool is_told; /* something else was printed instead */
};

static void find_out(struct doctor *doctor, enum level level, const char *check,
                     const char *remedy, const char *fmt, ...) PRINTF(5, 6);

static void
find_out(struct doctor *doctor, enum level level, const char *check,
         const char *remedy, const char *fmt, ...)
{
    static const char *const names[] = {"ok", "warning", "error"};
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    va_list args;

    va_start(args, fmt);
    strbuf_vaddf(&text, fmt, args);
    va_end(args);
    doctor->worst = MAX(doctor->worst, level);
    (void)json_array_append_new(doctor->findings,
                                json_pack("{s:s, s:s, s:s, s:s*}", "check",
                                          check, "level", names[level], "text",
                                          strbuf_text(&text), "remedy",
                                          level == OK ? NULL : remedy));
}

/* -- checks -------------------------------------------------------------- */

static void
check_hypervisor(struct doctor *doctor, json_t *hypervisor)
{
    const char *libvirt = output_field(hypervisor, "libvirtversion");
    const char *qemu = output_field(hypervisor, "qemuversion");
    bool is_tested = strcmp(libvirt, LIBVIRT_TESTED) == 0 &&
                     strncmp(qemu, QEMU_TESTED, strlen(QEMU_TESTED)) == 0;

    if (hypervisor == NULL)
        return; /* only administrators are told */
    if (!json_is_true(json_object_get(hypervisor, "reachable"))) {
        find_out(doctor, FAULT, "hypervisor",
                 "look at libvirt: systemctl status libvirtd, virsh -c "
                 "qemu:///system list; the daemon goes on when it is back",
                 "libvirt does not answer");
        return;
    }
    find_out(doctor, OK, "hypervisor", NULL, "libvirt answers at %s",
             output_field(hypervisor, "uri"));
    find_out(doctor, is_tested ? OK : WARNING, "versions",
             "varve was tested with libvirt " LIBVIRT_TESTED
             " and QEMU 7.2; try 'varve doctor --self-test' before you rely "
             "on others",
             "libvirt %s, QEMU %s%s", libvirt, qemu,
             is_tested ? "" : ": never tested with");
}

static void
check_hook(struct doctor *doctor, json_t *hypervisor)
{
    json_t *installed = json_object_get(hypervisor, "hookinstalled");

    if (!json_is_boolean(installed))
        return;
    find_out(doctor, json_is_true(installed) ? OK : FAULT, "hook",
             "as root: varved --install-hook, then systemctl reload libvirtd, "
             "so that it sees a first hook; 'varve doctor --self-test' tries "
             "it",
             json_is_true(installed)
                 ? "the libvirt hook is installed"
                 : "the libvirt hook is not installed: a machine could be "
                   "started while its disks are being changed");
}

static void
check_room(struct doctor *doctor, const char *check, json_t *store)
{
    json_t *free_bytes = json_object_get(store, "free");
    json_int_t bytes = json_integer_value(free_bytes);
    enum level level = bytes < FREE_ERROR     ? FAULT
                       : bytes < FREE_WARNING ? WARNING
                                              : OK;
    char size[FORMAT_SIZE];

    if (json_is_false(json_object_get(store, "writable"))) {
        find_out(doctor, FAULT, check,
                 "see that it is mounted, and not read-only",
                 "'%s' cannot be written", output_field(store, "path"));
        return;
    }
    if (!json_is_integer(free_bytes)) {
        find_out(doctor, FAULT, check, "see that it is mounted",
                 "'%s' does not answer", output_field(store, "path"));
        return;
    }
    find_out(doctor, level, check,
             "make room: delete snapshots and backups that nobody needs, or "
             "enlarge the file system",
             "'%s' has %s free", output_field(store, "path"),
             format_size((uint64_t)MAX(bytes, (json_int_t)0), size));
}

static void
check_rooms(struct doctor *doctor, const char *check, json_t *stores)
{
    size_t index;
    json_t *store;

    json_array_foreach(stores, index, store)
    {
        check_room(doctor, check, store);
    }
}

struct problem_kind {
    const char *kind; /* as the API has it */
    const char *word; /* as people do */
    const char *remedy;
};

static const struct problem_kind problem_kinds[] = {
    {"VirtualMachine", "machine",
     "do what the text says, then 'varve vm settle' the machine"},
    {"VmSnapshot", "snapshot",
     "'varve snapshot delete' it, or 'varve vm settle' its machine"},
    {"Backup", "backup",
     "what it holds cannot be trusted: 'varve backup verify' tells how much is "
     "lost; take a new one"},
    {"Snapshot", "volume snapshot",
     "what it holds cannot be trusted: take a new one, then 'varve volume "
     "snapshot delete' it"},
};

static void
check_problem(struct doctor *doctor, json_t *problem)
{
    const char *kind = output_field(problem, "kind");
    struct problem_kind found = {
        kind, kind, "see the text, and the daemon's log: journalctl -u varved"};

    for (size_t i = 0; i < ARRAY_SIZE(problem_kinds); i++) {
        if (strcmp(kind, problem_kinds[i].kind) == 0)
            found = problem_kinds[i];
    }
    find_out(doctor, WARNING, "problem", found.remedy, "%s '%s': %s",
             found.word, output_field(problem, "name"),
             output_field(problem, "text"));
}

static void
check_problems(struct doctor *doctor, json_t *problems)
{
    bool has_problem = false;
    size_t index;
    json_t *problem;

    json_array_foreach(problems, index, problem)
    {
        const char *kind = output_field(problem, "kind");

        if (strcmp(kind, "Host") == 0 || strcmp(kind, "ImageStore") == 0 ||
            strcmp(kind, "StoragePool") == 0)
            continue; /* told above */
        has_problem = true;
        check_problem(doctor, problem);
    }
    if (!has_problem)
        find_out(doctor, OK, "problems", NULL, "no machine has a problem");
}

static void
check_holds(struct doctor *doctor, json_t *holds)
{
    size_t index;
    json_t *hold;

    json_array_foreach(holds, index, hold)
    {
        find_out(doctor, WARNING, "hold",
                 "wait for its job, if one runs (varve job list); else 'varve "
                 "vm settle' it",
                 "machine '%s' is held: it cannot be started until its disks "
                 "are settled",
                 output_field(hold, "name"));
    }
}

/* Disks of machines that no point can be taken of. */
static void
check_disks(struct doctor *doctor, json_t *disks)
{
    bool has_warned = false;
    size_t index;
    json_t *disk;

    json_array_foreach(disks, index, disk)
    {
        const char *device = output_field(disk, "device");

        /* Nobody expects these in a backup; they are named, no more. */
        if (strcmp(device, "cdrom") == 0 || strcmp(device, "floppy") == 0) {
            find_out(doctor, OK, "disk", NULL,
                     "'%s' of machine '%s' is left out: %s",
                     output_field(disk, "target"),
                     output_field(disk, "virtualmachinename"),
                     output_field(disk, "reason"));
            continue;
        }
        has_warned = true;
        find_out(doctor, WARNING, "disk",
                 "leave it out of what you rely on, or give the machine a "
                 "disk in a qcow2 or raw file",
                 "disk '%s' of machine '%s' cannot be kept: %s",
                 output_field(disk, "target"),
                 output_field(disk, "virtualmachinename"),
                 output_field(disk, "reason"));
    }
    if (json_is_array(disks) && !has_warned)
        find_out(doctor, OK, "disks", NULL,
                 "every disk of every machine can be kept");
}

static void
check_clock(struct doctor *doctor, json_t *status)
{
    static const char remedy[] =
        "run a time service, such as systemd-timesyncd or chrony";
    json_t *synchronized = json_object_get(status, "clocksynchronized");
    struct error ignored = ERROR_INIT;
    int64_t theirs_ms;

    if (clock_parse(output_field(status, "now"), &theirs_ms, &ignored) == 0 &&
        llabs(theirs_ms - clock_wall_ms()) > CLOCK_MS)
        find_out(doctor, WARNING, "clock", remedy,
                 "the daemon's clock and this one differ by more than a "
                 "minute");
    else if (json_is_false(synchronized))
        find_out(doctor, WARNING, "clock", remedy,
                 "nothing keeps the clock of the daemon's host right");
    else if (json_is_true(synchronized))
        find_out(doctor, OK, "clock", NULL, "the clock is synchronized");
}

/* -- what was found ------------------------------------------------------ */

static void
print_findings(struct doctor *doctor)
{
    FILE *out = doctor->cli->out;
    bool has_colour = terminal_has_colour(out);
    size_t index;
    json_t *finding;

    json_array_foreach(doctor->findings, index, finding)
    {
        AUTO_STRBUF struct strbuf text = STRBUF_INIT;
        const char *level = output_field(finding, "level");
        const char *remedy = output_field(finding, "remedy");
        enum terminal_style style = strcmp(level, "ok") == 0 ? TERMINAL_GREEN
                                    : strcmp(level, "warning") == 0
                                        ? TERMINAL_YELLOW
                                        : TERMINAL_RED;

        terminal_add(&text, output_field(finding, "text"));
        (void)fprintf(out, "%s%-8s%s %s\n", terminal_begin(style, has_colour),
                      level, terminal_end(style, has_colour),
                      strbuf_text(&text));
        if (*remedy != '\0')
            (void)fprintf(out, "%-8s remedy: %s\n", "", remedy);
    }
}

static void
finish(struct doctor *doctor)
{
    static const struct output_view view = {NULL, "check", "check"};

    if (output_is_for_people(doctor->cli))
        print_findings(doctor);
    else
        output_list(doctor->cli, &view, doctor->findings);
    doctor->cli->exit_status = doctor->worst == FAULT     ? 1
                               : doctor->worst == WARNING ? CLI_EXIT_WARNING
                                                          : 0;
}

/* -- a throw-away guest -------------------------------------------------- */

/* A line of the daemon's report as a finding; what was skipped because of
 * another step is none. */
static void
find_step(struct doctor *doctor, json_t *step)
{
    const char *state = output_field(step, "state");
    const char *text = output_field(step, "text");
    json_int_t ms = json_integer_value(json_object_get(step, "milliseconds"));
    enum level level = strcmp(state, "failed") == 0    ? FAULT
                       : strcmp(state, "warning") == 0 ? WARNING
                                                       : OK;
    char duration[FORMAT_SIZE];
    json_t *finding;

    if (strcmp(state, "skipped") == 0)
        return;
    find_out(doctor, level, "self-test", output_field(step, "remedy"),
             "self-test, %s (%s)%s%s", output_field(step, "name"),
             format_duration(ms, duration), *text != '\0' ? ": " : "", text);
    finding =
        json_array_get(doctor->findings, json_array_size(doctor->findings) - 1);
    (void)json_object_set_new(finding, "step",
                              json_string(output_field(step, "name")));
    (void)json_object_set_new(finding, "milliseconds", json_integer(ms));
}

/* What the job said of its steps; false when it never came to them. */
static bool
find_steps(struct doctor *doctor, json_t *result)
{
    json_t *steps =
        json_object_get(json_object_get(result, "selftest"), "step");
    size_t index;
    json_t *step;

    json_array_foreach(steps, index, step)
    {
        find_step(doctor, step);
    }
    return json_array_size(steps) > 0;
}

/* The steps of a test that failed: the one that did is among them. */
static bool
find_failed_steps(struct doctor *doctor, const char *job)
{
    json_auto_t *answer = NULL;
    struct error ignored = ERROR_INIT;

    return *job != '\0' &&
           client_call(doctor->cli->client, "queryAsyncJobResult",
                       json_pack("{s:s}", "jobid", job), &answer,
                       &ignored) == 0 &&
           find_steps(doctor, json_object_get(answer, "jobresult"));
}

static int
self_test(struct doctor *doctor, struct error *err)
{
    AUTO_OUTCOME struct wait_outcome outcome = {.result = NULL};
    int ended = wait_run(doctor->cli, "selfTest", json_object(), &outcome, err);

    doctor->is_told = ended == 0; /* --no-wait */
    if (ended == 0)
        return 0;
    if (ended > 0) {
        (void)find_steps(doctor, outcome.result);
        return 0;
    }
    if (find_failed_steps(doctor, outcome.job)) {
        error_clear(err);
        return 0;
    }
    if (err->code != ERROR_UNSUPPORTED || *outcome.job != '\0')
        return -1;
    error_clear(err);
    find_out(doctor, WARNING, "self-test",
             "update varved; until then, try with a machine that does not "
             "matter",
             "this daemon cannot test itself");
    return 0;
}

static int
examine(struct doctor *doctor, struct error *err)
{
    json_auto_t *answer = NULL;
    json_t *status;
    json_t *hypervisor;

    if (client_call(doctor->cli->client, "getStatus",
                    json_pack("{s:s}", "examine", "true"), &answer, err) < 0) {
        if (err->code != ERROR_UNAVAILABLE)
            return -1;
        find_out(doctor, FAULT, "daemon",
                 "start it: systemctl start varved; its log: journalctl -u "
                 "varved",
                 "%s", err->message);
        error_clear(err);
        return 0;
    }
    status = json_object_get(answer, "status");
    hypervisor = json_object_get(status, "hypervisor");
    find_out(doctor, OK, "daemon", NULL, "varved %s answers",
             output_field(status, "version"));
    check_hypervisor(doctor, hypervisor);
    check_hook(doctor, hypervisor);
    check_rooms(doctor, "primary", json_object_get(status, "storagepool"));
    check_rooms(doctor, "repository", json_object_get(status, "imagestore"));
    check_disks(doctor, json_object_get(status, "disk"));
    check_holds(doctor, json_object_get(status, "hold"));
    check_problems(doctor, json_object_get(status, "problem"));
    check_clock(doctor, status);
    return cli_flag(doctor->cli, "--self-test") ? self_test(doctor, err) : 0;
}

int
doctor_run(struct cli *cli, struct error *err)
{
    struct doctor doctor = {.cli = cli, .findings = json_array()};
    int result = examine(&doctor, err);

    if (result == 0 && !doctor.is_told)
        finish(&doctor);
    json_decref(doctor.findings);
    return result;
}
