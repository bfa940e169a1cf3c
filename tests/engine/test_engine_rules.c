/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "engine_rig.h"
#include "oracle.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/limits.h"
#include "engine/operation.h"
#include "hv/fake/hv_fake.h"
#include "image/imagelock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* The snapshot's state, or "" when it is no longer living. */
static void
state_of(struct rig *rig, const char *uuid, char state[32])
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(vm_snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};

    state[0] = '\0';
    if (tx != NULL && state_vm_snapshot_find(tx, where, 2, &row, &err) > 0)
        (void)snprintf(state, 32, "%s", row.state);
}

static void
a_cancelled_request_blocks_nothing(void)
{
    struct rig *rig = rig_new(1, 3, false);
    const struct request_vm_snapshot args = {.vm = RIG_VM, .name = "one"};
    struct error err = ERROR_INIT;
    struct ticket ticket;
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                        &ticket, &err),
             &err);
    CHECK_OK(request_job_cancel(rig->engine, &rig->caller, ticket.job, &err),
             &err);
    state_of(rig, ticket.object, state);
    CHECK_TEXT(state, "Error");
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

struct seen {
    struct rig *rig;
    char job[UUID_TEXT_SIZE];
    int64_t status; /* its row's, when we were told */
    size_t count;
};

static void
see_ended(void *context, const char *job)
{
    struct seen *seen = context;
    const struct state_where where[] = {STATE_TEXT("uuid", job)};
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(seen->rig->state, &err);
    AUTO_STATE(job) row = {0};

    CHECK(tx != NULL && state_job_find(tx, where, 1, &row, &err) > 0);
    (void)snprintf(seen->job, sizeof(seen->job), "%s", job);
    seen->status = row.status;
    seen->count++;
}

static void
who_watches_jobs_is_told_of_ends_that_are_recorded(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct seen seen = {.rig = rig};
    const struct request_vm_snapshot args = {.vm = RIG_VM, .name = "one"};
    struct error err = ERROR_INIT;
    struct ticket ticket;

    engine_watch_jobs(rig->engine, see_ended, &seen);
    CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                        &ticket, &err),
             &err);
    CHECK(seen.count == 0);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK(seen.count == 1 && seen.status == 1);
    CHECK_TEXT(seen.job, ticket.job);
    CHECK_OK(
        request_vm_settle(rig->engine, &rig->caller, rig->vm, &ticket, &err),
        &err);
    CHECK_OK(request_job_cancel(rig->engine, &rig->caller, ticket.job, &err),
             &err);
    CHECK(seen.count == 2 && seen.status == 3);
    CHECK_TEXT(seen.job, ticket.job);
    engine_unwatch_jobs(rig->engine, &seen);
    CHECK_OK(
        request_vm_settle(rig->engine, &rig->caller, rig->vm, &ticket, &err),
        &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK(seen.count == 2);
    rig_free(rig);
}

struct tidied {
    struct rig *rig;
    const char *backup;   /* the job of it */
    uint64_t layers;      /* when that had ended */
    uint64_t waiting;     /* jobs that nobody asked for, then */
    uint64_t last_layers; /* when the last job had ended */
};

static void
count_layers(void *context, const char *job)
{
    struct tidied *tidied = context;
    const struct state_where follow[] = {
        STATE_TEXT("command", "settleVirtualMachine"), STATE_INT("status", 0)};
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_read(tidied->rig->state, &err);

    CHECK(tx != NULL &&
          state_layer_count(tx, STATE_ALL, &tidied->last_layers, &err) == 0);
    if (strcmp(job, tidied->backup) != 0)
        return;
    tidied->layers = tidied->last_layers;
    CHECK_OK(state_job_count(tx, STATE_QUERY(follow), &tidied->waiting, &err),
             &err);
}

/* While it runs, and then it is stopped again unless it is to run on. */
static void
let_guest_write(struct rig *rig, bool runs_on)
{
    if (!rig_is_running(rig))
        rig_power(rig, true);
    rig_guest_write(rig);
    if (!runs_on)
        rig_power(rig, false);
}

/* A running machine's backup does not wait for a merge; what stood in the queue
 * before that merge works on the layers as they are.  A stopped machine may be
 * started when it is told to be done. */
static void
a_running_backup_is_done_before_its_layers_are_merged(void)
{
    for (int running = 0; running < 2; running++) {
        struct rig *rig = rig_new(1, 8, false);
        const struct request_backup args = {.vm = RIG_VM};
        const struct request_vm_snapshot snapshot = {.vm = RIG_VM,
                                                     .name = "next"};
        struct tidied tidied = {.rig = rig};
        struct error err = ERROR_INIT;
        struct ticket ticket;
        struct ticket next;
        char uuid[UUID_TEXT_SIZE];

        let_guest_write(rig, running != 0);
        CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
        rig_learn(rig, RIG_BACKUP, uuid);
        let_guest_write(rig, running != 0);
        engine_watch_jobs(rig->engine, count_layers, &tidied);
        CHECK_OK(request_backup_create(rig->engine, &rig->caller, &args,
                                       &ticket, &err),
                 &err);
        CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller,
                                            &snapshot, &next, &err),
                 &err);
        tidied.backup = ticket.job;
        CHECK_OK(engine_drain(rig->engine, &err), &err);
        rig_learn(rig, RIG_BACKUP, ticket.object);
        rig_learn(rig, RIG_SNAPSHOT, next.object);
        CHECK(tidied.waiting == (uint64_t)running);
        /* The snapshot's is one more. */
        CHECK(tidied.last_layers <= tidied.layers + !running);
        engine_unwatch_jobs(rig->engine, &tidied);
        let_guest_write(rig, running != 0);
        CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
        rig_learn(rig, RIG_BACKUP, uuid);
        CHECK_OK(rig_check(rig, true, &err), &err);
        rig_free(rig);
    }
}

static void
owe(struct rig *rig, const char *kind, const char *path)
{
    struct error err = ERROR_INIT;
    json_auto_t *payload = json_pack("{s:s}", "path", path);
    int64_t id = 0;

    CHECK_OK(operation_begin(rig->state, kind, RIG_VM, OPERATION_FINISH,
                             payload, &id, &err),
             &err);
}

/* Perhaps until the machine stops; and the next one may have it removed. */
static void
what_cannot_be_ended_now_makes_no_operation_merge(void)
{
    static const char *const kinds[] = {OPERATION_UNLINK, OPERATION_THAW};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct rig *rig = rig_new(1, 8, false);
        AUTO_FREE char *path = xasprintf("%s/kept", rig->directory);
        struct error err = ERROR_INIT;
        char uuid[UUID_TEXT_SIZE];
        unsigned commits;
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        REQUIRE(fd >= 0);
        CHECK_OK(imagelock_take(fd, IMAGELOCK_WRITE, path, &err), &err);
        rig_power(rig, true);
        rig_guest_write(rig);
        CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
        rig_guest_write(rig);
        fault_arm("converge.tidy-later", 1, FAULT_FAIL);
        CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
        CHECK(fault_fired()); /* there is something to merge */
        fault_disarm();
        owe(rig, kinds[i], path);
        commits = hv_fake_calls(rig->hv, "commit_start");
        CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
        CHECK(hv_fake_calls(rig->hv, "commit_start") == commits);
        CHECK(fd_exists(path));
        (void)close(fd);
        CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
        CHECK(fd_exists(path) == (i == 1));
        CHECK(hv_fake_calls(rig->hv, "commit_start") == commits);
        CHECK_OK(rig_settle(rig, &err), &err);
        CHECK(hv_fake_calls(rig->hv, "commit_start") > commits);
        rig_free(rig);
    }
}

static char *
top_of_disk(struct rig *rig)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    struct error err = ERROR_INIT;

    if (hv_get(rig->hv, RIG_VM, &machine, &err) < 0)
        return xstrdup(err.message);
    return xstrdup(hv_machine_find_disk(machine, "vda")->source);
}

/* An overlay that a failed snapshot left open in QEMU rests on the disk: it is
 * no other image's base for that. */
static void
a_layer_that_will_be_unlinked_is_nobody_elses(void)
{
    struct rig *rig = rig_new(1, 8, false);
    AUTO_FREE char *base = top_of_disk(rig);
    AUTO_FREE char *kept = xasprintf("%s.kept", base);
    AUTO_FREE char *top = NULL;
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    int fd;

    CHECK(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
                 base, kept));
    fd = open(kept, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK_OK(imagelock_take(fd, IMAGELOCK_WRITE, kept, &err), &err);
    owe(rig, OPERATION_UNLINK, kept);
    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(rig_delete_snapshot(rig, uuid, &err), &err);
    top = top_of_disk(rig);
    CHECK_TEXT(top, base);
    CHECK(fd_exists(kept));
    (void)close(fd);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK(!fd_exists(kept));
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* The commit by which a job is taken came through, its reply did not. */
static void
a_job_that_was_taken_in_doubt_is_taken_again(void)
{
    struct rig *rig = rig_new(1, 3, false);
    const struct request_vm_snapshot args = {.vm = RIG_VM, .name = "one"};
    struct error err = ERROR_INIT;
    struct ticket ticket;
    char state[32];

    CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                        &ticket, &err),
             &err);
    fault_arm("state.commit.after", 1, FAULT_FAIL);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK(fault_fired());
    fault_disarm();
    state_of(rig, ticket.object, state);
    CHECK_TEXT(state, "Allocated");
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    state_of(rig, ticket.object, state);
    CHECK_TEXT(state, "Ready");
    rig_free(rig);
}

static void
a_restore_is_refused_while_there_are_snapshots(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char backup[UUID_TEXT_SIZE];
    char snapshot[UUID_TEXT_SIZE];

    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    CHECK(rig_restore(rig, backup, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, snapshot) != NULL);
    rig_free(rig);
}

/* Snapshot, backup, back to the snapshot, snapshot deleted: its layer stays
 * Hidden below the backup's and the active one.  Nobody sees it, so it must
 * not forbid a restore; and the restore ends it. */
static void
a_hidden_snapshot_does_not_forbid_a_restore(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char backup[UUID_TEXT_SIZE];
    char snapshot[UUID_TEXT_SIZE];
    char state[32];

    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    rig_learn(rig, RIG_BACKUP, backup);
    rig_power(rig, false);
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "Hidden");
    CHECK_OK(rig_restore(rig, backup, &err), &err);
    rig_go_back(rig, backup);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_revert_that_changes_the_power_state_is_refused(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    struct ticket ticket;
    char snapshot[UUID_TEXT_SIZE];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    CHECK(request_vm_snapshot_revert(rig->engine, &rig->caller, snapshot, false,
                                     &ticket, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(rig_check(rig, false, &err), &err);
    error_clear(&err);
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    CHECK(!rig_is_running(rig));
    rig_free(rig);
}

/* A merge that QEMU gave up leaves an Error that can be deleted again. */
static void
a_failed_deletion_can_be_repeated(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char snapshot[UUID_TEXT_SIZE];
    char state[32];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    rig_guest_write(rig);
    hv_fake_script(rig->hv, "job_wait", 1, HV_FAKE_JOB_FAILS);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "Error");
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

/* A merge that somebody aborted is given up: nothing is held, nothing is left
 * in the journal, and the next merge on the machine does that one too. */
static void
an_aborted_merge_leaves_a_machine_in_order(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;
    char one[UUID_TEXT_SIZE];
    char two[UUID_TEXT_SIZE];
    char state[32];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, one, &err), &err);
    rig_guest_write(rig);
    hv_fake_script(rig->hv, "job_wait", 2, HV_FAKE_JOB_CANCELLED);
    CHECK(rig_delete_snapshot(rig, one, &err) == -1);
    CHECK(strstr(err.message, "nothing is lost") != NULL);
    state_of(rig, one, state);
    CHECK_TEXT(state, "Error");
    CHECK_OK(rig_check(rig, true, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, two, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(rig_delete_snapshot(rig, two, &err), &err);
    state_of(rig, two, state);
    CHECK_TEXT(state, "");
    state_of(rig, one, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* The request ends with an error, and a job of its own sees the merge through;
 * deleting once more is then no error. */
static void
a_merge_that_was_not_waited_for_is_followed(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char snapshot[UUID_TEXT_SIZE];
    char state[32];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    rig_guest_write(rig);
    hv_fake_script(rig->hv, "job_wait", 1, HV_FAKE_TIMEOUT);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    CHECK(strstr(err.message, "snapshot.merge.timeout") != NULL);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_merge_needs_no_events(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char one[UUID_TEXT_SIZE];
    char two[UUID_TEXT_SIZE];

    rig_setting(rig, "libvirt.events.enabled", "false");
    rig_setting(rig, "snapshot.merge.timeout", "1");
    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, one, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(rig_snapshot(rig, false, two, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(rig_delete_snapshot(rig, one, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, two, &err), &err);
    CHECK(hv_fake_calls(rig->hv, "job_wait") == 0);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* A hypervisor that is away when it matters: nothing is guessed, all is
 * settled when it is back. */
static void
a_lost_reply_is_asked_for(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;
    char snapshot[UUID_TEXT_SIZE];

    rig_power(rig, true);
    rig_guest_write(rig);
    hv_fake_script(rig->hv, "snapshot", 1, HV_FAKE_FAIL_AFTER);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, snapshot);
    rig_guest_write(rig);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* The hypervisor goes away before anything is in the journal: no event will
 * come that says so, and the request's rows must not wait for one. */
static void
a_request_that_met_no_hypervisor_blocks_nothing(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    for (unsigned i = 1; i <= 6; i++) {
        hv_fake_script(rig->hv, "get", i, HV_FAKE_LOST_BEFORE);
        (void)!rig_snapshot(rig, false, uuid, &err);
        hv_fake_script_clear(rig->hv);
        state_of(rig, uuid, state);
        CHECK(strcmp(state, "Creating") != 0 &&
              strcmp(state, "Allocated") != 0);
        (void)!rig_backup(rig, false, uuid, &err);
        error_clear(&err);
        CHECK_OK(rig_check(rig, false, &err), &err);
    }
    rig_free(rig);
}

/* What the journal holds is not for a cancelled job's tidying to decide. */
static void
a_cancelled_job_leaves_the_journal_alone(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    struct ticket ticket;
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    rig_power(rig, true);
    for (unsigned i = 1; i <= 40; i++)
        hv_fake_script(rig->hv, "view", i + 1, HV_FAKE_LOST_BEFORE);
    hv_fake_script(rig->hv, "snapshot", 1, HV_FAKE_FAIL_AFTER);
    CHECK(rig_snapshot(rig, false, uuid, &err) == -1);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "Creating");
    error_clear(&err);
    CHECK_OK(
        request_vm_settle(rig->engine, &rig->caller, rig->vm, &ticket, &err),
        &err);
    CHECK_OK(request_job_cancel(rig->engine, &rig->caller, ticket.job, &err),
             &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "Creating");
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_settle(rig, &err), &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "Ready");
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

/* libvirtd dies while it holds the guest frozen for us. */
static void
no_guest_stays_frozen(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    rig_power(rig, true);
    fault_arm("fake.snapshot.frozen", 1, FAULT_FAIL);
    CHECK(rig_snapshot(rig, true, uuid, &err) == -1);
    CHECK(fault_fired());
    fault_disarm();
    CHECK(hv_is_frozen(rig->hv, RIG_VM, &err) == 0);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

/* What a job's end could not be written to is written a little later: nobody
 * waits for ever for it, nor is refused because of it. */
static void
a_job_whose_end_was_not_recorded_is_not_under_way_for_ever(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    for (uint64_t nth = 1; nth < 200; nth++) {
        bool fired;

        fault_arm("state.begin", nth, FAULT_FAIL);
        (void)!rig_snapshot(rig, false, uuid, &err);
        fired = fault_fired();
        fault_disarm();
        /* One that could not even be taken still waits. */
        CHECK_OK(engine_drain(rig->engine, &err), &err);
        CHECK_OK(rig_check(rig, false, &err), &err);
        if (!fired)
            break;
        CHECK_OK(rig_settle(rig, &err), &err);
    }
    rig_free(rig);
}

/* Of how many events there is another one like it. */
static unsigned
told_twice(struct rig *rig)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE_LIST(event) rows = {0};
    const struct state_where where[] = {STATE_TEXT("type", "VMSNAPSHOT.CREATE"),
                                        STATE_TEXT("level", "INFO")};
    unsigned count = 0;

    CHECK(tx != NULL &&
          state_event_list(tx, STATE_QUERY(where), &rows, &err) == 0);
    CHECK(rows.count > 0);
    for (size_t i = 0; i < rows.count; i++)
        for (size_t j = 0; j < i; j++)
            count += strcmp(rows.items[i].state, rows.items[j].state) == 0 &&
                     strcmp(rows.items[i].resource_uuid,
                            rows.items[j].resource_uuid) == 0;
    return count;
}

/* With the reply of any commit lost, also of that which records the end. */
static void
a_job_in_doubt_tells_what_it_did_once(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    bool fired = true;

    for (uint64_t nth = 1; fired && nth < 200; nth++) {
        fault_arm("state.commit.after", nth, FAULT_FAIL);
        (void)!rig_snapshot(rig, false, uuid, &err);
        fired = fault_fired();
        fault_disarm();
        CHECK_OK(engine_drain(rig->engine, &err), &err);
        CHECK_OK(rig_settle(rig, &err), &err);
    }
    CHECK(!fired);
    CHECK(told_twice(rig) == 0);
    rig_free(rig);
}

static void
a_volume_stays_while_there_are_snapshots_but_may_grow(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;
    char snapshot[UUID_TEXT_SIZE];
    char data[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];

    rig_setting(rig, "backup.enable.attach.detach.of.volumes", "true");
    rig_volume(rig, 1, second);
    CHECK_OK(rig_create_volume(rig, data, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    CHECK(rig_attach(rig, data, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, snapshot) != NULL);
    error_clear(&err);
    CHECK(rig_detach(rig, second, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, snapshot) != NULL);
    error_clear(&err);
    CHECK(rig_grow(rig, second, RIG_DISK_SIZE / 2, &err) == -1);
    CHECK(err.code == ERROR_UNSUPPORTED);
    error_clear(&err);
    CHECK_OK(rig_grow(rig, second, RIG_DISK_SIZE * 2, &err), &err);
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
    CHECK_OK(rig_detach(rig, second, &err), &err);
    CHECK_OK(rig_attach(rig, second, &err), &err);
    CHECK_OK(rig_detach(rig, second, &err), &err);
    CHECK_OK(rig_delete_volume(rig, second, &err), &err);
    CHECK_OK(rig_delete_volume(rig, data, &err), &err);
    rig_free(rig);
}

static void
a_machine_with_an_offering_keeps_its_volumes(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;
    char second[UUID_TEXT_SIZE];

    rig_volume(rig, 1, second);
    CHECK(rig_detach(rig, second, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, "backup.enable.attach.detach") != NULL);
    rig_free(rig);
}

static void
a_destroyed_machine_can_be_had_back_until_it_is_expunged(void)
{
    struct rig *rig = rig_new(2, 3, true);
    struct error err = ERROR_INIT;
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_FREE char *pool = xasprintf("%s/work/pool", rig->directory);
    AUTO_FREE char *disk = xasprintf("%s/vda.qcow2", pool);
    AUTO_FREE char *template = xasprintf("%s/template-vda.qcow2", pool);
    struct ticket ticket;
    char uuid[UUID_TEXT_SIZE];
    char backup[UUID_TEXT_SIZE];
    char state[32];

    rig_power(rig, true);
    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    CHECK_OK(rig_destroy(rig, false, &err), &err);
    CHECK(!rig_is_running(rig));
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, true, &err), &err);
    CHECK(request_vm_start(rig->engine, &rig->caller, RIG_VM, &ticket, &err) ==
          -1);
    CHECK(err.code == ERROR_CONFLICT);
    error_clear(&err);
    CHECK_OK(engine_settle(rig->engine, &err), &err); /* it stays so */
    CHECK_OK(request_vm_recover(rig->engine, &rig->caller, RIG_VM, &err), &err);
    CHECK(request_vm_recover(rig->engine, &rig->caller, RIG_VM, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    error_clear(&err);
    CHECK(fd_exists(disk));
    CHECK_OK(rig_destroy(rig, true, &err), &err);
    CHECK(!fd_exists(disk));
    CHECK(fd_exists(template));
    CHECK(hv_get(rig->hv, RIG_VM, &machine, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    rig_free(rig);
}

/* Make the rig's administrator somebody whom limits bind. */
static void
become_ordinary(struct rig *rig)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(rig->state, &err);
    AUTO_STATE(account) account = {0};

    REQUIRE(tx != NULL);
    CHECK_OK(state_account_get(tx, rig->caller.account_id, &account, &err),
             &err);
    account.type = ROLE_USER;
    CHECK_OK(state_account_update(tx, &account, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

static void
limits_of_an_account_and_its_domain_are_kept(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(resource_limit) row = {0};
    AUTO_STATE(resource_limit) domain = {0};
    struct limits_request limit = {
        .account = "admin", .kind = LIMIT_VOLUME, .max = 2};
    char uuid[UUID_TEXT_SIZE];

    CHECK_OK(limits_set(rig->state, &rig->caller, &limit, &row, &err), &err);
    become_ordinary(rig);
    CHECK_OK(rig_create_volume(rig, uuid, &err), &err);
    CHECK(rig_create_volume(rig, uuid, &err) == -1);
    CHECK(err.code == ERROR_LIMIT);
    CHECK(strstr(err.message, "admin") != NULL);
    error_clear(&err);
    limit = (struct limits_request){.kind = LIMIT_VOLUME, .max = 2};
    CHECK_OK(limits_set(rig->state, &rig->caller, &limit, &domain, &err), &err);
    CHECK_OK(rig_delete_volume(rig, uuid, &err), &err);
    CHECK_OK(rig_create_volume(rig, uuid, &err), &err);
    rig_free(rig);
}

/* QEMU rewrites a header, its sync fails, the job fails: what was begun there
 * has to be gone on with. */
static void
a_merge_that_failed_half_way_is_done_again(void)
{
    struct rig *rig = rig_new(1, 3, false);
    bool fired = true;

    rig_power(rig, true);
    for (uint64_t nth = 1; fired && nth < 50; nth++) {
        struct error err = ERROR_INIT;
        char one[UUID_TEXT_SIZE];
        char two[UUID_TEXT_SIZE];

        CHECK_OK(rig_snapshot(rig, false, one, &err), &err);
        rig_guest_write(rig);
        CHECK_OK(rig_snapshot(rig, false, two, &err), &err);
        rig_guest_write(rig);
        fault_arm("fd.sync", nth, FAULT_FAIL);
        (void)!rig_delete_snapshot(rig, one, &err);
        fired = fault_fired();
        fault_disarm();
        CHECK_OK(rig_settle(rig, &err), &err);
        CHECK_OK(rig_check(rig, false, &err), &err);
        (void)!rig_delete_snapshot(rig, one, &err);
        CHECK_OK(rig_delete_snapshot(rig, two, &err), &err);
    }
    rig_free(rig);
}

/* libvirtd dies in the pivot: the machine says what is to be done about it. */
static void
a_libvirt_that_lost_track_is_told(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    rig_guest_write(rig);
    fault_arm("fake.pivot.between-qemu-and-live", 1, FAULT_FAIL);
    (void)!rig_delete_snapshot(rig, uuid, &err);
    CHECK(fault_fired());
    fault_disarm();
    (void)!rig_settle(rig, &err);
    CHECK(rig_needs_stop(rig));
    rig_power(rig, false);
    CHECK_OK(rig_settle(rig, &err), &err);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

int
main(void)
{
    RUN(a_cancelled_request_blocks_nothing);
    RUN(who_watches_jobs_is_told_of_ends_that_are_recorded);
    RUN(a_running_backup_is_done_before_its_layers_are_merged);
    RUN(what_cannot_be_ended_now_makes_no_operation_merge);
    RUN(a_layer_that_will_be_unlinked_is_nobody_elses);
    RUN(a_job_that_was_taken_in_doubt_is_taken_again);
    RUN(a_restore_is_refused_while_there_are_snapshots);
    RUN(a_hidden_snapshot_does_not_forbid_a_restore);
    RUN(a_revert_that_changes_the_power_state_is_refused);
    RUN(a_failed_deletion_can_be_repeated);
    RUN(an_aborted_merge_leaves_a_machine_in_order);
    RUN(a_merge_that_was_not_waited_for_is_followed);
    RUN(a_merge_needs_no_events);
    RUN(a_lost_reply_is_asked_for);
    RUN(a_volume_stays_while_there_are_snapshots_but_may_grow);
    RUN(a_machine_with_an_offering_keeps_its_volumes);
    RUN(a_destroyed_machine_can_be_had_back_until_it_is_expunged);
    RUN(limits_of_an_account_and_its_domain_are_kept);
    RUN(a_request_that_met_no_hypervisor_blocks_nothing);
    RUN(a_cancelled_job_leaves_the_journal_alone);
    RUN(no_guest_stays_frozen);
    RUN(a_merge_that_failed_half_way_is_done_again);
    RUN(a_libvirt_that_lost_track_is_told);
    RUN(a_job_whose_end_was_not_recorded_is_not_under_way_for_ever);
    RUN(a_job_in_doubt_tells_what_it_did_once);
    return check_done();
}
