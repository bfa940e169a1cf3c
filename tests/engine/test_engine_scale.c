/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service offerings: what a machine has, and what becomes of its snapshots.
 */
#include "check.h"
#include "engine_rig.h"

#include "hv/fake/hv_fake.h"

#include <string.h>

static struct error err;

/* What the definition has, and what the record says. */
static void
numbers_are(struct rig *rig, unsigned vcpus, uint64_t memory)
{
    AUTO_HV_MACHINE struct hv_machine *machine = NULL;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(vm) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", rig->vm)};

    CHECK_OK(hv_get(rig->hv, rig->vm, &machine, &err), &err);
    CHECK(machine != NULL && machine->vcpus == vcpus);
    CHECK(machine != NULL && machine->memory_bytes == memory);
    CHECK(tx != NULL && state_vm_find(tx, where, 1, &row, &err) == 1);
    CHECK(row.vcpus == (int64_t)vcpus);
    CHECK(row.memory == (int64_t)memory);
}

static void
has_offering(struct rig *rig, bool any)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(vm) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", rig->vm)};

    CHECK(tx != NULL && state_vm_find(tx, where, 1, &row, &err) == 1);
    CHECK((row.service_offering_id != 0) == any);
}

/* One with disks alone, one with memory. */
static void
take_two(struct rig *rig, char *disk, char *memory)
{
    rig_power(rig, true);
    rig_guest_write(rig);
    CHECK_OK(rig_snapshot(rig, false, disk, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, disk);
    rig_guest_write(rig);
    CHECK_OK(rig_memory_snapshot(rig, memory, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, memory);
    rig_guest_write(rig);
}

static void
memory_is_discarded_and_disks_stay(void)
{
    struct rig *rig = rig_new(2, 3, false);
    char disk[UUID_TEXT_SIZE];
    char memory[UUID_TEXT_SIZE];

    take_two(rig, disk, memory);
    CHECK(rig_scale(rig, 2, &err) == -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, "stop it") != NULL);
    error_clear(&err);
    rig_power(rig, false);
    CHECK_OK(rig_scale(rig, 2, &err), &err);
    numbers_are(rig, 2, (uint64_t)128 << 20);
    has_offering(rig, true);
    CHECK(rig_revert(rig, memory, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    error_clear(&err);
    rig_forget(rig, memory);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_kept_memory_brings_its_numbers_back(void)
{
    struct rig *rig = rig_new(2, 3, false);
    AUTO_HV_MACHINE struct hv_machine *before = NULL;
    char disk[UUID_TEXT_SIZE];
    char memory[UUID_TEXT_SIZE];

    CHECK_OK(hv_get(rig->hv, rig->vm, &before, &err), &err);
    rig_setting(rig, "vmsnapshot.memory.keep.on.scale", "true");
    take_two(rig, disk, memory);
    rig_power(rig, false);
    CHECK_OK(rig_scale(rig, 4, &err), &err);
    numbers_are(rig, 4, (uint64_t)256 << 20);
    CHECK_OK(rig_revert(rig, memory, &err), &err);
    rig_go_back(rig, memory);
    CHECK(rig_is_running(rig));
    rig_power(rig, false);
    numbers_are(rig, before->vcpus, before->memory_bytes);
    has_offering(rig, false);
    CHECK_OK(rig_scale(rig, 4, &err), &err);
    CHECK_OK(rig_revert(rig, disk, &err), &err);
    rig_go_back(rig, disk);
    numbers_are(rig, before->vcpus, before->memory_bytes);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* Libvirt says that it is done, and it is not. */
static void
an_answer_is_not_believed(void)
{
    struct rig *rig = rig_new(1, 3, false);
    AUTO_HV_MACHINE struct hv_machine *before = NULL;

    CHECK_OK(hv_get(rig->hv, rig->vm, &before, &err), &err);
    hv_fake_script(rig->hv, "set_compute", 1, HV_FAKE_NOT_DONE);
    CHECK(rig_scale(rig, 4, &err) == -1);
    CHECK(strstr(err.message, "its definition has others") != NULL);
    error_clear(&err);
    numbers_are(rig, before->vcpus, before->memory_bytes);
    has_offering(rig, false);
    CHECK_OK(rig_check(rig, true, &err), &err);
    CHECK_OK(rig_scale(rig, 4, &err), &err);
    numbers_are(rig, 4, (uint64_t)256 << 20);
    rig_free(rig);
}

/* The scaling stood before it in the queue. */
static void
a_snapshot_has_the_numbers_of_its_moment(void)
{
    const struct request_vm_snapshot args = {.vm = RIG_VM};
    const struct request_service_offering big = {
        .name = "big", .vcpus = 2, .memory = (uint64_t)128 << 20};
    struct rig *rig = rig_new(1, 3, false);
    char offering[UUID_TEXT_SIZE];
    char uuid[UUID_TEXT_SIZE];
    struct ticket ticket;

    CHECK_OK(request_service_offering_create(rig->engine, &rig->caller, &big,
                                             offering, &err),
             &err);
    CHECK_OK(request_vm_scale(rig->engine, &rig->caller, rig->vm, offering,
                              &ticket, &err),
             &err);
    CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                        &ticket, &err),
             &err);
    memcpy(uuid, ticket.object, sizeof(uuid));
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, uuid);
    CHECK_OK(rig_scale(rig, 4, &err), &err);
    CHECK_OK(rig_revert(rig, uuid, &err), &err);
    rig_go_back(rig, uuid);
    numbers_are(rig, 2, (uint64_t)128 << 20);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

int
main(void)
{
    RUN(an_answer_is_not_believed);
    RUN(a_snapshot_has_the_numbers_of_its_moment);
    RUN(memory_is_discarded_and_disks_stay);
    RUN(a_kept_memory_brings_its_numbers_back);
    return check_done();
}
