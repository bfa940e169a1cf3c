/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the whole is, on one page, for `varve status` and the console.
 */
#include "api/filter.h"
#include "api/object.h"
#include "api/probe.h"
#include "api/resources.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/hold.h"
#include "engine/requests.h"

#include <string.h>
#include <unistd.h>

#define HOOK_MAX ((size_t)1 << 16)

static void
add_problem(json_t *problems, const char *kind, const char *id,
            const char *name, const char *text)
{
    json_t *object = object_new();

    object_set_text(object, "kind", kind);
    object_set_text(object, "id", id);
    object_set_text(object, "name", name);
    object_set_text(object, "text", text);
    object_append(problems, object);
}

/* -- for everybody, what is theirs --------------------------------------- */

static void
count_one(json_t *counts, const char *key)
{
    object_set_number(counts, key,
                      json_integer_value(json_object_get(counts, key)) + 1);
}

/* A machine that may not be started now. */
static void
add_hold(json_t *holds, const struct state_vm *vm)
{
    json_t *object = object_new();

    object_set_text(object, "id", vm->uuid);
    object_set_text(object, "name", vm->name);
    object_append(holds, object);
}

static int
add_machines(struct call *call, json_t *status, json_t *problems,
             struct error *err)
{
    AUTO_FILTER struct filter filter = {.has_id = true};
    AUTO_STATE_LIST(vm) rows = {0};
    struct state_query query;
    json_t *counts = object_new();
    json_t *states = object_new();
    json_t *holds = object_new_array();

    object_set(status, "hold", holds);
    object_set(status, "virtualmachines", counts);
    object_set(counts, "states", states);
    if (filter_by_caller(&filter, call, err) < 0)
        return -1;
    filter_living(&filter);
    query = filter_query(&filter);
    if (state_vm_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    object_set_number(counts, "total", (int64_t)rows.count);
    object_set_number(counts, "managed", 0);
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_vm *vm = &rows.items[i];

        count_one(states, vms_state(vm));
        if (vm->managed != 0)
            count_one(counts, "managed");
        if (call->api->hold_dir != NULL &&
            hold_is_set(call->api->hold_dir, vm->uuid))
            add_hold(holds, vm);
        if (vm->problem != NULL)
            add_problem(problems, "VirtualMachine", vm->uuid, vm->name,
                        vm->problem);
    }
    return 0;
}

static int
add_snapshots(struct call *call, json_t *problems, struct error *err)
{
    AUTO_FILTER struct filter filter = {.has_id = true};
    AUTO_STATE_LIST(vm_snapshot) rows = {0};
    struct state_query query;

    if (filter_by_caller(&filter, call, err) < 0)
        return -1;
    filter_living(&filter);
    filter_add(&filter,
               (struct state_where){.column = "problem", .op = STATE_NE});
    query = filter_query(&filter);
    if (state_vm_snapshot_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        add_problem(problems, "VmSnapshot", rows.items[i].uuid,
                    rows.items[i].display_name, rows.items[i].problem);
    return 0;
}

static int
add_backups(struct call *call, json_t *problems, struct error *err)
{
    AUTO_FILTER struct filter filter = {.has_id = true};
    AUTO_STATE_LIST(backup) rows = {0};
    struct state_query query;

    if (filter_by_caller(&filter, call, err) < 0)
        return -1;
    filter_add(&filter, (struct state_where)STATE_TEXT("status", "BackedUp"));
    filter_add(&filter,
               (struct state_where)STATE_TEXT("verify_status", "Damaged"));
    query = filter_query(&filter);
    if (state_backup_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        add_problem(problems, "Backup", rows.items[i].uuid, rows.items[i].name,
                    rows.items[i].verify_problem);
    return 0;
}

static int
add_snapshots_of_volumes(struct call *call, json_t *problems, struct error *err)
{
    AUTO_FILTER struct filter filter = {.has_id = true};
    AUTO_STATE_LIST(snapshot) rows = {0};
    struct state_query query;

    if (filter_by_caller(&filter, call, err) < 0)
        return -1;
    filter_living(&filter);
    filter_add(&filter,
               (struct state_where)STATE_TEXT("verify_status", "Damaged"));
    query = filter_query(&filter);
    if (state_snapshot_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        add_problem(problems, "Snapshot", rows.items[i].uuid,
                    rows.items[i].name, rows.items[i].verify_problem);
    return 0;
}

static int
add_jobs(struct call *call, json_t *status, struct error *err)
{
    AUTO_FILTER struct filter filter = {.has_id = true};
    AUTO_STATE_LIST(job) rows = {0};
    struct state_query query;
    int64_t running = 0;
    json_t *counts = object_new();

    object_set(status, "jobs", counts);
    if (filter_by_caller(&filter, call, err) < 0)
        return -1;
    filter_add(&filter, (struct state_where)STATE_INT("status", 0));
    query = filter_query(&filter);
    if (state_job_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++)
        running += rows.items[i].started != 0;
    object_set_number(counts, "running", running);
    object_set_number(counts, "queued", (int64_t)rows.count - running);
    return 0;
}

/* -- for administrators -------------------------------------------------- */

/* The hook is there when libvirt can run it and it looks at our holds. */
static bool
has_hook(const struct api *api)
{
    AUTO_FREE char *text = NULL;
    struct error ignored = ERROR_INIT;

    return access(api->hook, X_OK) == 0 &&
           fd_read_file(api->hook, HOOK_MAX, &text, NULL, &ignored) == 0 &&
           (api->hold_dir == NULL || strstr(text, api->hold_dir) != NULL);
}

static void
add_hypervisor(struct call *call, const struct probe_facts *facts,
               json_t *status, json_t *problems)
{
    const struct hv_facts *hv = &facts->hypervisor;
    json_t *object = object_new();

    object_set(status, "hypervisor", object);
    object_set_bool(object, "reachable", facts->known);
    if (call->api->hook != NULL)
        object_set_bool(object, "hookinstalled", has_hook(call->api));
    if (!facts->known) {
        add_problem(problems, "Host", NULL, NULL,
                    "the hypervisor does not answer");
        return;
    }
    object_set_text(object, "kind", hv->kind);
    object_set_text(object, "hostname", hv->hostname);
    object_set_text(object, "libvirtversion", hv->libvirt_version);
    object_set_text(object, "qemuversion", hv->qemu_version);
    object_set_text(object, "uri", hv->uri);
}

static const struct probe_store *
find_store(const struct probe_stores *stores, int64_t id)
{
    for (size_t i = 0; i < stores->count; i++) {
        if (stores->items[i].id == id)
            return &stores->items[i];
    }
    return NULL;
}

/* What pools and image stores have in common. */
struct place {
    int64_t id;
    const char *uuid;
    const char *name;
    const char *path;
};

static void
add_place(json_t *list, json_t *problems, const char *kind,
          const struct place *place, const struct probe_stores *stores)
{
    const struct probe_store *store = find_store(stores, place->id);
    json_t *object = object_new();

    object_set_text(object, "id", place->uuid);
    object_set_text(object, "name", place->name);
    object_set_text(object, "path", place->path);
    object_append(list, object);
    if (store == NULL || !store->known) {
        add_problem(problems, kind, place->uuid, place->name,
                    "the directory does not answer");
        return;
    }
    object_set_number(object, "free", (int64_t)store->free_bytes);
    object_set_bool(object, "writable", store->is_writable);
}

/* The last pass over a store, or the one that runs. */
static int
add_scrub(struct call *call, json_t *list, int64_t store_id, struct error *err)
{
    AUTO_STATE(scrub) row = {0};
    const struct state_where where[] = {STATE_INT("image_store_id", store_id)};
    int found = state_scrub_find(call_tx(call), where, 1, &row, err);
    json_t *object;

    if (found <= 0)
        return found;
    object = object_new();
    object_set(json_array_get(list, json_array_size(list) - 1), "scrub",
               object);
    object_set_text(object, "status", row.status);
    object_set_date(object, "started", row.started);
    if (row.completed != 0)
        object_set_date(object, "completed", row.completed);
    object_set_number(object, "filesdone", row.files_done);
    object_set_number(object, "filestotal", row.files_total);
    object_set_number(object, "bytesdone", row.bytes_done);
    object_set_number(object, "bytestotal", row.bytes_total);
    object_set_number(object, "findings", row.findings);
    object_set_text(object, "problem", row.problem);
    return 0;
}

static int
add_stores(struct call *call, const struct probe_facts *facts, json_t *status,
           json_t *problems, struct error *err)
{
    const struct state_where where[] = {STATE_LIVING};
    AUTO_STATE_LIST(image_store) rows = {0};
    json_t *list = object_new_array();

    object_set(status, "imagestore", list);
    if (state_image_store_list(call_tx(call), STATE_QUERY(where), &rows, err) <
        0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_image_store *row = &rows.items[i];

        add_place(list, problems, "ImageStore",
                  &(struct place){row->id, row->uuid, row->name, row->path},
                  &facts->image_stores);
        if (add_scrub(call, list, row->id, err) < 0)
            return -1;
    }
    return 0;
}

static int
add_pools(struct call *call, const struct probe_facts *facts, json_t *status,
          json_t *problems, struct error *err)
{
    const struct state_where where[] = {STATE_LIVING};
    AUTO_STATE_LIST(storage_pool) rows = {0};
    json_t *list = object_new_array();

    object_set(status, "storagepool", list);
    if (state_storage_pool_list(call_tx(call), STATE_QUERY(where), &rows, err) <
        0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_storage_pool *row = &rows.items[i];

        add_place(list, problems, "StoragePool",
                  &(struct place){row->id, row->uuid, row->name, row->path},
                  &facts->pools);
    }
    return 0;
}

static int
add_world(struct call *call, const struct probe_facts *facts, json_t *status,
          json_t *problems, struct error *err)
{
    if (!call_is_root(call))
        return 0;
    add_hypervisor(call, facts, status, problems);
    if (facts->disks != NULL)
        object_set(status, "disk", json_incref(facts->disks));
    if (facts->clock_known)
        object_set_bool(status, "clocksynchronized", facts->clock_is_kept);
    if (add_stores(call, facts, status, problems, err) < 0)
        return -1;
    return add_pools(call, facts, status, problems, err);
}

int
status_get(struct call *call, json_t *body, struct error *err)
{
    AUTO_JSON json_t *problems = object_new_array();
    json_t *status = object_new();
    AUTO_PROBE_FACTS struct probe_facts facts = {.known = false};

    /* Nothing of the database is held while the world is asked. */
    if (call_is_root(call))
        probe_ask(call->api->probe, call_flag(call, "examine", false), &facts);
    object_set(body, "status", status);
    object_set_text(status, "version", call->api->version);
    object_set_date(status, "started", call->api->started);
    object_set_date(status, "now", clock_wall_ms());
    if (call_read(call, err) < 0 ||
        add_world(call, &facts, status, problems, err) < 0 ||
        add_machines(call, status, problems, err) < 0 ||
        add_snapshots(call, problems, err) < 0 ||
        add_backups(call, problems, err) < 0 ||
        add_snapshots_of_volumes(call, problems, err) < 0 ||
        add_jobs(call, status, err) < 0)
        return -1;
    object_set(status, "problem", json_incref(problems));
    return 0;
}

int
status_self_test(struct call *call, struct ticket *ret_ticket,
                 struct error *err)
{
    return request_self_test(call->engine, &call->caller, ret_ticket, err);
}
