/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits hold when a job starts, too: requests that were each within them may
 * wait in queues together, and limits may change meanwhile.
 */
#include "check.h"
#include "engine_rig.h"

#include "engine/limits.h"

#include <string.h>

static struct error err;

/* Make the rig's administrator somebody whom limits bind. */
static void
become_ordinary(struct rig *rig)
{
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
set_limit(struct rig *rig, enum limit_kind kind, int64_t max)
{
    const struct limits_request limit = {
        .account = "admin", .kind = kind, .max = max};
    AUTO_STATE(resource_limit) row = {0};

    CHECK_OK(limits_set(rig->state, &rig->caller, &limit, &row, &err), &err);
}

/* 0, or -1 and why. */
static int
ended(struct rig *rig, const struct ticket *ticket)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_TEXT("uuid", ticket->job)};
    AUTO_STATE(job) row = {0};

    if (tx == NULL || state_job_find(tx, where, 1, &row, &err) <= 0)
        return -1;
    return row.status == 1 ? 0
                           : error_set(&err, ERROR_IO, "%s",
                                       row.result != NULL ? row.result : "");
}

static void
failed_for_the_limit(struct rig *rig, const struct ticket *ticket,
                     const char *text)
{
    CHECK(ended(rig, ticket) == -1);
    CHECK(strstr(err.message, "\"errorname\":\"LIMIT\"") != NULL);
    CHECK(strstr(err.message, text) != NULL);
    error_clear(&err);
}

static unsigned
vcpus_of(struct rig *rig)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;

    CHECK_OK(hv_get(rig->hv, rig->vm, &machine, &err), &err);
    return machine != NULL ? machine->vcpus : 0;
}

static void
two_scalings_do_not_pass_it_together(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct rig *other = rig_new_beside(rig, 0, 1);
    const struct request_service_offering args = {
        .name = "big", .vcpus = 4, .memory = (uint64_t)256 << 20};
    char offering[UUID_TEXT_SIZE];
    struct ticket first;
    struct ticket second;
    unsigned before = vcpus_of(other);

    set_limit(rig, LIMIT_CPU, (int64_t)(4 + before));
    CHECK_OK(request_service_offering_create(rig->engine, &rig->caller, &args,
                                             offering, &err),
             &err);
    become_ordinary(rig);
    CHECK_OK(request_vm_scale(rig->engine, &rig->caller, rig->vm, offering,
                              &first, &err),
             &err);
    CHECK_OK(request_vm_scale(rig->engine, &rig->caller, other->vm, offering,
                              &second, &err),
             &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(ended(rig, &first), &err);
    failed_for_the_limit(rig, &second, "of resource cpu");
    CHECK(vcpus_of(rig) == 4);
    CHECK(vcpus_of(other) == before);
    rig_free_beside(other);
    rig_free(rig);
}

static void
two_volumes_do_not_grow_past_it_together(void)
{
    const uint64_t gib = (uint64_t)1 << 30;
    struct rig *rig = rig_new(2, 3, false);
    char volume[UUID_TEXT_SIZE];
    char detached[UUID_TEXT_SIZE];
    struct ticket tickets[2];

    CHECK_OK(rig_create_volume(rig, detached, &err), &err);
    set_limit(rig, LIMIT_PRIMARY_STORAGE, 2);
    become_ordinary(rig);
    rig_volume(rig, 0, volume);
    CHECK_OK(request_volume_resize(rig->engine, &rig->caller, volume, gib,
                                   &tickets[0], &err),
             &err);
    CHECK_OK(request_volume_resize(rig->engine, &rig->caller, detached, gib,
                                   &tickets[1], &err),
             &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(ended(rig, &tickets[0]), &err);
    failed_for_the_limit(rig, &tickets[1], "primary_storage");
    rig_volume(rig, 1, volume);
    set_limit(rig, LIMIT_PRIMARY_STORAGE, 3);
    CHECK_OK(request_volume_resize(rig->engine, &rig->caller, detached, gib,
                                   &tickets[0], &err),
             &err);
    CHECK_OK(request_volume_resize(rig->engine, &rig->caller, volume, gib + 512,
                                   &tickets[1], &err),
             &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(ended(rig, &tickets[0]), &err);
    failed_for_the_limit(rig, &tickets[1], "primary_storage");
    rig_free(rig);
}

static void
a_vm_snapshot_that_waited_is_counted_again(void)
{
    const struct request_vm_snapshot args = {.vm = RIG_VM};
    struct rig *rig = rig_new(1, 3, false);
    char uuid[UUID_TEXT_SIZE];
    struct ticket ticket;

    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                        &ticket, &err),
             &err);
    rig_setting(rig, "vmsnapshot.max", "1");
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    failed_for_the_limit(rig, &ticket, "vmsnapshot.max is 1");
    CHECK_OK(rig_check(rig, true, &err), &err); /* and no row is left */
    rig_setting(rig, "vmsnapshot.max", "2");
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    rig_free(rig);
}

static void
a_volume_snapshot_that_waited_is_counted_again(void)
{
    char volume[UUID_TEXT_SIZE];
    const struct request_snapshot args = {.volume = volume};
    struct rig *rig = rig_new(1, 3, false);
    char uuid[UUID_TEXT_SIZE];
    struct ticket ticket;

    CHECK_OK(rig_volume_snapshot(rig, 0, uuid, &err), &err);
    rig_volume(rig, 0, volume);
    become_ordinary(rig);
    CHECK_OK(request_snapshot_create(rig->engine, &rig->caller, &args, &ticket,
                                     &err),
             &err);
    set_limit(rig, LIMIT_SNAPSHOT, 1);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    failed_for_the_limit(rig, &ticket, "of resource snapshot");
    rig_free(rig);
}

int
main(void)
{
    RUN(two_scalings_do_not_pass_it_together);
    RUN(two_volumes_do_not_grow_past_it_together);
    RUN(a_vm_snapshot_that_waited_is_counted_again);
    RUN(a_volume_snapshot_that_waited_is_counted_again);
    return check_done();
}
