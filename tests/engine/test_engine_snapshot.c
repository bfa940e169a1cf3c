/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of volumes beside those of machines: who keeps whom waiting, what
 * forbids what, and what a snapshot outlives.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"

#include <string.h>

static struct error err;
static struct ticket ticket;

/* The state of a volume's snapshot, "" when it is gone. */
static void
state_of(struct rig *rig, const char *uuid, char state[32])
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid), STATE_LIVING};

    state[0] = '\0';
    if (tx != NULL && state_snapshot_find(tx, where, 2, &row, &err) > 0)
        (void)snprintf(state, 32, "%s", row.state);
}

static int
ask_volume_snapshot(struct rig *rig, size_t i)
{
    char volume[UUID_TEXT_SIZE];
    const struct request_snapshot args = {.volume = volume};

    error_clear(&err);
    rig_volume(rig, i, volume);
    return request_snapshot_create(rig->engine, &rig->caller, &args, &ticket,
                                   &err);
}

static int
ask_vm_snapshot(struct rig *rig)
{
    const struct request_vm_snapshot args = {.vm = rig->vm};

    error_clear(&err);
    return request_vm_snapshot_create(rig->engine, &rig->caller, &args, &ticket,
                                      &err);
}

static void
is_refused(int result, enum error_code code, const char *named)
{
    CHECK(result == -1);
    CHECK(err.code == code);
    CHECK(strstr(err.message, named) != NULL);
    error_clear(&err);
}

static void
operations_of_both_kinds_exclude_each_other(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct rig *other = rig_new_beside(rig, 0, 1);
    char first[UUID_TEXT_SIZE];
    char vm_snapshot[UUID_TEXT_SIZE];
    char uuid[UUID_TEXT_SIZE];

    rig_setting(rig, "snapshot.beside.vmsnapshots", "true");
    CHECK_OK(rig_volume_snapshot(rig, 0, first, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, vm_snapshot, &err), &err);

    CHECK_OK(ask_volume_snapshot(rig, 1), &err);
    memcpy(uuid, ticket.object, sizeof(uuid));
    is_refused(ask_volume_snapshot(rig, 0), ERROR_BUSY, uuid);
    is_refused(ask_vm_snapshot(rig), ERROR_BUSY, uuid);
    is_refused(request_vm_snapshot_revert(rig->engine, &rig->caller,
                                          vm_snapshot, true, &ticket, &err),
               ERROR_BUSY, uuid);
    is_refused(request_vm_snapshot_delete(rig->engine, &rig->caller,
                                          vm_snapshot, &ticket, &err),
               ERROR_BUSY, uuid);
    CHECK_OK(ask_vm_snapshot(other), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);

    CHECK_OK(
        request_snapshot_delete(rig->engine, &rig->caller, uuid, &ticket, &err),
        &err);
    is_refused(ask_vm_snapshot(rig), ERROR_BUSY, uuid);
    CHECK_OK(engine_drain(rig->engine, &err), &err);

    CHECK_OK(ask_vm_snapshot(rig), &err);
    memcpy(uuid, ticket.object, sizeof(uuid));
    is_refused(ask_vm_snapshot(rig), ERROR_BUSY, uuid);
    is_refused(ask_volume_snapshot(rig, 1), ERROR_BUSY, uuid);
    is_refused(request_snapshot_delete(rig->engine, &rig->caller, first,
                                       &ticket, &err),
               ERROR_BUSY, uuid);
    CHECK_OK(ask_volume_snapshot(other, 0), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free_beside(other);
    rig_free(rig);
}

static void
a_machine_has_one_kind_unless_the_setting_allows_both(void)
{
    struct rig *rig = rig_new(1, 3, false);
    char volume_snapshot[UUID_TEXT_SIZE];
    char vm_snapshot[UUID_TEXT_SIZE];

    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_volume_snapshot(rig, 0, volume_snapshot, &err), &err);
    rig_learn(rig, RIG_VOLUME_SNAPSHOT, volume_snapshot);
    is_refused(ask_vm_snapshot(rig), ERROR_CONFLICT, volume_snapshot);
    CHECK_OK(rig_memory_snapshot(rig, vm_snapshot, &err), &err);
    CHECK_OK(rig_delete_snapshot(rig, vm_snapshot, &err), &err);
    rig_setting(rig, "snapshot.beside.vmsnapshots", "true");
    CHECK_OK(rig_snapshot(rig, false, vm_snapshot, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, vm_snapshot);
    rig_setting(rig, "snapshot.beside.vmsnapshots", "false");
    is_refused(ask_volume_snapshot(rig, 0), ERROR_CONFLICT, vm_snapshot);
    rig_guest_write(rig);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_cancelled_request_blocks_nothing(void)
{
    struct rig *rig = rig_new(1, 3, false);
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    CHECK_OK(ask_volume_snapshot(rig, 0), &err);
    memcpy(uuid, ticket.object, sizeof(uuid));
    CHECK_OK(request_job_cancel(rig->engine, &rig->caller, ticket.job, &err),
             &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "Error");
    CHECK_OK(ask_vm_snapshot(rig), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(rig_delete_volume_snapshot(rig, uuid, &err), &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "");
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

static void
two_deletions_are_one(void)
{
    struct rig *rig = rig_new(1, 3, false);
    char uuid[UUID_TEXT_SIZE];
    struct ticket second;

    CHECK_OK(rig_volume_snapshot(rig, 0, uuid, &err), &err);
    CHECK_OK(
        request_snapshot_delete(rig->engine, &rig->caller, uuid, &ticket, &err),
        &err);
    CHECK_OK(
        request_snapshot_delete(rig->engine, &rig->caller, uuid, &second, &err),
        &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
        AUTO_STATE(job) job = {0};
        const struct state_where where[] = {STATE_TEXT("uuid", second.job)};
        const struct state_where deleted[] = {
            STATE_TEXT("type", "SNAPSHOT.DELETE")};
        uint64_t charged = 0;

        CHECK(state_job_find(tx, where, 1, &job, &err) == 1);
        CHECK(job.status == 1);
        CHECK_OK(
            state_usage_event_count(tx, STATE_QUERY(deleted), &charged, &err),
            &err);
        CHECK(charged == 1);
    }
    CHECK(rig_delete_volume_snapshot(rig, uuid, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    error_clear(&err);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

/* Its points lie under the volume; the machine's queue is gone. */
static void
a_snapshot_outlives_its_volume(void)
{
    struct rig *rig = rig_new(1, 3, false);
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    CHECK_OK(rig_volume_snapshot(rig, 0, uuid, &err), &err);
    CHECK_OK(rig_destroy(rig, true, &err), &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "BackedUp");
    CHECK_OK(rig_delete_volume_snapshot(rig, uuid, &err), &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "");
    rig_free(rig);
}

/* A deletion that fails is in the journal under the volume, whose own deletion
 * looks there, too; and the daemon starts whatever is left. */
static void
a_failed_deletion_does_not_forbid_the_volumes_own(void)
{
    struct rig *rig = rig_new(2, 3, false);
    char volume[UUID_TEXT_SIZE];
    char uuid[UUID_TEXT_SIZE];
    char state[32];

    error_clear(&err);
    rig_volume(rig, 1, volume);
    CHECK_OK(rig_volume_snapshot(rig, 1, uuid, &err), &err);
    rig_setting(rig, "backup.enable.attach.detach.of.volumes", "true");
    CHECK_OK(rig_detach(rig, volume, &err), &err);
    fault_arm("snapshot.expunge", 1, FAULT_FAIL);
    CHECK(rig_delete_volume_snapshot(rig, uuid, &err) == -1);
    CHECK(fault_fired());
    fault_disarm();
    error_clear(&err);
    CHECK_OK(
        request_volume_delete(rig->engine, &rig->caller, volume, &ticket, &err),
        &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    fault_arm("snapshot.expunge", 1, FAULT_FAIL);
    rig_close(rig);
    CHECK_OK(rig_open(rig, &err), &err);
    fault_disarm();
    rig_close(rig);
    CHECK_OK(rig_open(rig, &err), &err);
    state_of(rig, uuid, state);
    CHECK_TEXT(state, "");
    rig_free(rig);
}

static void
what_the_settings_ask_for_is_not_done_in_another_way(void)
{
    struct rig *rig = rig_new(1, 3, false);

    rig_setting(rig, "kvm.incremental.snapshot", "true");
    is_refused(ask_volume_snapshot(rig, 0), ERROR_UNSUPPORTED,
               "kvm.incremental.snapshot");
    rig_setting(rig, "kvm.incremental.snapshot", "false");
    rig_setting(rig, "snapshot.backup.to.secondary", "false");
    is_refused(ask_volume_snapshot(rig, 0), ERROR_UNSUPPORTED,
               "snapshot.backup.to.secondary");
    rig_setting(rig, "snapshot.backup.to.secondary", "true");
    rig_setting(rig, "kvm.snapshot.enabled", "false");
    rig_power(rig, true);
    is_refused(ask_volume_snapshot(rig, 0), ERROR_CONFLICT,
               "kvm.snapshot.enabled");
    rig_power(rig, false);
    CHECK_OK(ask_volume_snapshot(rig, 0), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    rig_free(rig);
}

int
main(void)
{
    RUN(operations_of_both_kinds_exclude_each_other);
    RUN(a_machine_has_one_kind_unless_the_setting_allows_both);
    RUN(a_cancelled_request_blocks_nothing);
    RUN(two_deletions_are_one);
    RUN(a_snapshot_outlives_its_volume);
    RUN(a_failed_deletion_does_not_forbid_the_volumes_own);
    RUN(what_the_settings_ask_for_is_not_done_in_another_way);
    return check_done();
}
