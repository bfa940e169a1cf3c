/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "engine_rig.h"

#include "base/memory.h"
#include "hv/fake/hv_fake.h"

#include <string.h>

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
    CHECK_OK(rig_check(rig, NULL, false, &err), &err);
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
    CHECK_OK(rig_check(rig, NULL, true, &err), &err);
    rig_free(rig);
}

static void
a_revert_of_a_running_machine_is_refused(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char snapshot[UUID_TEXT_SIZE];

    rig_power(rig, true);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    CHECK(rig_revert(rig, snapshot, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(rig_check(rig, NULL, false, &err), &err);
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
    hv_fake_script(rig->hv, "job_wait", 2, HV_FAKE_JOB_FAILS);
    CHECK(rig_delete_snapshot(rig, snapshot, &err) == -1);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "Error");
    hv_fake_script_clear(rig->hv);
    CHECK_OK(rig_delete_snapshot(rig, snapshot, &err), &err);
    state_of(rig, snapshot, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, NULL, false, &err), &err);
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
    CHECK_OK(rig_check(rig, NULL, true, &err), &err);
    rig_free(rig);
}

int
main(void)
{
    RUN(a_cancelled_request_blocks_nothing);
    RUN(a_restore_is_refused_while_there_are_snapshots);
    RUN(a_hidden_snapshot_does_not_forbid_a_restore);
    RUN(a_revert_of_a_running_machine_is_refused);
    RUN(a_failed_deletion_can_be_repeated);
    RUN(a_lost_reply_is_asked_for);
    return check_done();
}
