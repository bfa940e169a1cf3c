/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many machines at once, and many snapshots of one machine.
 */
#include "check.h"
#include "engine_rig.h"

#include "api_ask.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "hv/fake/hv_fake.h"
#include "image/qcow2.h"

#include <stdio.h>
#include <string.h>

#define MACHINES 20
#define SNAPSHOTS 1000

struct machine {
    char uuid[UUID_TEXT_SIZE];
    char name[16];
    char snapshot[UUID_TEXT_SIZE];
    uint8_t now[65536]; /* what its disk begins with */
};

static struct machine machines[MACHINES];

static void
add_machine(struct rig *rig, struct machine *machine, size_t number)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *path =
        xasprintf("%s/work/pool/other-%zu.qcow2", rig->directory, number);
    const struct hv_fake_disk disk = {.target = "vda", .path = path};
    struct uuid uuid;

    uuid_new(&uuid);
    memcpy(machine->uuid, uuid.text, sizeof(machine->uuid));
    (void)snprintf(machine->name, sizeof(machine->name), "m%zu", number);
    CHECK_OK(qcow2_create_overlay(path, RIG_DISK_SIZE, NULL, IMAGE_QCOW2, NULL,
                                  &err),
             &err);
    CHECK_OK(hv_fake_add_machine(rig->hv, machine->uuid, machine->name, &disk,
                                 1, &err),
             &err);
    CHECK_OK(hv_fake_power(rig->hv, machine->uuid, HV_RUNNING, &err), &err);
}

static void
write_in(struct rig *rig, struct machine *machine, int value)
{
    struct error err = ERROR_INIT;

    memset(machine->now, value, sizeof(machine->now));
    CHECK_OK(hv_fake_guest_write(rig->hv, machine->uuid, "vda", machine->now, 0,
                                 sizeof(machine->now), &err),
             &err);
}

static uint64_t
unfinished_jobs(struct rig *rig)
{
    const struct state_where where[] = {STATE_INT("status", 0)};
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    uint64_t count = 1;

    if (tx == NULL || state_job_count(tx, STATE_QUERY(where), &count, &err) < 0)
        return 1;
    return count;
}

static void
wait_for_jobs(struct rig *rig)
{
    int64_t deadline = clock_monotonic_ms() + 60000;
    struct lock lock = LOCK_INIT;
    struct signal never;

    signal_init(&never);
    lock_take(&lock);
    while (unfinished_jobs(rig) > 0 && clock_monotonic_ms() < deadline)
        (void)signal_wait_until(&never, &lock, clock_monotonic_ms() + 20);
    lock_give(&lock);
    signal_release(&never);
}

static void
check_machine(struct rig *rig, struct machine *machine)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {0};
    struct error err = ERROR_INIT;
    static uint8_t found[sizeof(machine->now)];

    CHECK_OK(hv_view(rig->hv, machine->uuid, "vda", &view, &err), &err);
    CHECK(view.qemu_count == 1);
    if (view.qemu_count == 1) {
        const struct image_ref ref = {view.qemu_chain[0], IMAGE_QCOW2};
        AUTO_BLOCKDEV struct blockdev *device =
            blockdev_open_chain(&ref, 1, 0, &err);

        CHECK(device != NULL &&
              blockdev_read(device, found, sizeof(found), 0, &err) == 0 &&
              memcmp(found, machine->now, sizeof(found)) == 0);
    }
}

static void
twenty_machines_delete_their_snapshots_at_once(void)
{
    struct rig *rig = rig_new(1, 3, false);
    const struct request_vm_snapshot named = {.name = "s"};
    struct error err = ERROR_INIT;
    struct ticket ticket;
    int64_t began;

    for (size_t i = 0; i < MACHINES; i++)
        add_machine(rig, &machines[i], i);
    CHECK_OK(engine_refresh(rig->engine, NULL, &err), &err);
    for (size_t i = 0; i < MACHINES; i++) {
        struct request_vm_snapshot args = named;

        args.vm = machines[i].uuid;
        write_in(rig, &machines[i], 1 + (int)i);
        CHECK_OK(request_vm_snapshot_create(rig->engine, &rig->caller, &args,
                                            &ticket, &err),
                 &err);
        memcpy(machines[i].snapshot, ticket.object, UUID_TEXT_SIZE);
    }
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    began = clock_monotonic_ms();
    for (size_t i = 0; i < MACHINES; i++) {
        write_in(rig, &machines[i], 101 + (int)i);
        CHECK_OK(request_vm_snapshot_delete(rig->engine, &rig->caller,
                                            machines[i].snapshot, &ticket,
                                            &err),
                 &err);
    }
    CHECK_OK(engine_start(rig->engine, &err), &err);
    wait_for_jobs(rig);
    printf("# %d deletions in %lld ms\n", MACHINES,
           (long long)(clock_monotonic_ms() - began));
    CHECK(unfinished_jobs(rig) == 0);
    engine_stop(rig->engine);
    for (size_t i = 0; i < MACHINES; i++)
        check_machine(rig, &machines[i]);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

/* -- a thousand snapshots ---------------------------------------------------
 */

/* One row each of a snapshot, its layer and its pin; a tree of four branches
 * at every node. */
static int
insert_snapshot(struct state_tx *tx, int64_t number, int64_t volume,
                int64_t *snapshots, int64_t *layers, struct error *err)
{
    int64_t up = number > 0 ? (number - 1) / 4 : 0;
    AUTO_STATE(layer)
    layer = {.volume_id = volume,
             .parent_id = number > 0 ? layers[up] : 0,
             .size = 1 << 20};
    AUTO_STATE(vm_snapshot)
    row = {.vm_id = 1,
           .account_id = 1,
           .domain_id = 1,
           .parent_id = number > 0 ? snapshots[up] : 0,
           .is_current = number == SNAPSHOTS - 1,
           .created = clock_wall_ms() + number};
    AUTO_STATE(pin) pin = {0};
    AUTO_STATE(vm_snapshot_volume) member = {.volume_id = volume};
    AUTO_FREE char *text = xasprintf("s%lld", (long long)number);
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(&layer.uuid, uuid.text);
    state_set_text(&layer.path, uuid.text);
    state_set_text(&layer.format, "qcow2");
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, text);
    state_set_text(&row.display_name, text);
    state_set_text(&row.type, "Disk");
    state_set_text(&row.state, "Ready");
    if (state_layer_insert(tx, &layer, err) < 0 ||
        state_vm_snapshot_insert(tx, &row, err) < 0)
        return -1;
    layers[number] = layer.id;
    snapshots[number] = row.id;
    state_set_text(&pin.owner_kind, "vmsnapshot");
    pin.owner_id = member.vm_snapshot_id = row.id;
    pin.layer_id = member.layer_id = layer.id;
    return state_pin_insert(tx, &pin, err) < 0
               ? -1
               : state_vm_snapshot_volume_insert(tx, &member, err);
}

static int
insert_tree(struct rig *rig, struct error *err)
{
    static int64_t snapshots[SNAPSHOTS];
    static int64_t layers[SNAPSHOTS];
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(rig->state, err);
    AUTO_STATE(volume) volume = {0};
    const struct state_where where[] = {STATE_INT("vm_id", 1)};

    if (tx == NULL || state_volume_find(tx, where, 1, &volume, err) <= 0)
        return -1;
    for (int64_t i = 0; i < SNAPSHOTS; i++) {
        if (insert_snapshot(tx, i, volume.id, snapshots, layers, err) < 0)
            return -1;
    }
    volume.layer_id = layers[SNAPSHOTS - 1];
    if (state_volume_update(tx, &volume, err) < 0)
        return -1;
    return state_commit(tx, err);
}

static void
a_thousand_snapshots_are_listed(struct rig *rig)
{
    struct api *api =
        api_new(&(struct api_config){.engine = rig->engine, .version = "0"});
    AUTO_ANSWER struct answer answer = {0};
    int64_t began = clock_monotonic_ms();

    api_ask(api, API_ASK_PEER,
            "command=listVMSnapshot&listall=true&page=1&pagesize=1000",
            &answer);
    CHECK(answer.status == 200);
    CHECK(answer_number(&answer, "count") == SNAPSHOTS);
    CHECK(json_array_size(answer_at(&answer, "vmSnapshot")) == SNAPSHOTS);
    printf("# %d snapshots listed in %lld ms\n", SNAPSHOTS,
           (long long)(clock_monotonic_ms() - began));
    api_free(api);
}

static void
a_thousand_snapshots_are_listed_and_planned(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    AUTO_TREE struct tree *tree = NULL;
    struct planner_tree plan;
    uint64_t looks = 0;
    int64_t began;

    CHECK_OK(insert_tree(rig, &err), &err);
    a_thousand_snapshots_are_listed(rig);
    began = clock_monotonic_ms();
    CHECK_OK(tree_read(rig->state, 1, &tree, &err), &err);
    plan = tree_plan(&tree->volumes[0]);
    plan.looks = &looks;
    CHECK(plan.count == SNAPSHOTS);
    CHECK(planner_next(&plan).kind == PLANNER_NOTHING);
    CHECK(looks <= (uint64_t)SNAPSHOTS * 14);
    printf("# read and planned with %llu looks in %lld ms\n",
           (unsigned long long)looks,
           (long long)(clock_monotonic_ms() - began));
    rig_free(rig);
}

int
main(void)
{
    RUN(twenty_machines_delete_their_snapshots_at_once);
    RUN(a_thousand_snapshots_are_listed_and_planned);
    return check_done();
}
