/* SPDX-License-Identifier: Apache-2.0 */
#include "api_fixture.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/accounts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREATED INT64_C(1772360100000) /* 2026-03-01T10:15:00 */

/* Ids of rows, in the order in which they are made. */
static const struct {
    const char *name;
    int64_t domain_id;
    int64_t role;
} accounts[] = {
    {"admin", 1, ROLE_ROOT_ADMIN},
    {"guest", 1, ROLE_USER},
    {"worker", 2, ROLE_USER},
    {"chief", 2, ROLE_DOMAIN_ADMIN},
};
static const struct {
    const char *vm;
    int64_t account_id;
    int64_t domain_id;
} owners[] = {{"web", 1, 1}, {"shop", 2, 1}, {"mill", 3, 2}};

/* "0a0000KK-0000-4000-8000-00000000000N" */
static char *
make_id(const char *kind, size_t number)
{
    return xasprintf("0a0000%s-0000-4000-8000-%012zu", kind, number);
}

/* Insert, or say why not; the row's texts are released. */
#define INSERT(table, ...)                                                     \
    ({                                                                         \
        struct state_##table row_ = {__VA_ARGS__};                             \
        struct error err_ = ERROR_INIT;                                        \
        int result_ = state_##table##_insert(tx, &row_, &err_);                \
                                                                               \
        if (result_ < 0)                                                       \
            printf("# " #table ": %s\n", err_.message);                        \
        state_##table##_release(&row_);                                        \
        result_ == 0;                                                          \
    })

static bool
add_places(struct state_tx *tx)
{
    return INSERT(domain, .uuid = make_id(FIXTURE_DOMAIN, 1),
                  .name = xstrdup("ROOT"), .path = xstrdup("/"),
                  .created = CREATED) &&
           INSERT(domain, .uuid = make_id(FIXTURE_DOMAIN, 2),
                  .name = xstrdup("sub"), .path = xstrdup("/sub/"),
                  .parent_id = 1, .created = CREATED) &&
           INSERT(zone, .uuid = make_id(FIXTURE_ZONE, 1),
                  .name = xstrdup("default"), .created = CREATED) &&
           INSERT(cluster, .uuid = make_id(FIXTURE_CLUSTER, 1), .zone_id = 1,
                  .name = xstrdup("default"), .created = CREATED) &&
           INSERT(host, .uuid = make_id(FIXTURE_HOST, 1), .zone_id = 1,
                  .cluster_id = 1, .name = xstrdup("node1"),
                  .uri = xstrdup("qemu:///system"), .state = xstrdup("Up"),
                  .hypervisor = xstrdup("KVM"),
                  .hypervisor_version = xstrdup("7.2.22"),
                  .created = CREATED) &&
           INSERT(storage_pool, .uuid = make_id(FIXTURE_POOL, 1), .zone_id = 1,
                  .cluster_id = 1, .name = xstrdup("pool"),
                  .type = xstrdup("Filesystem"), .path = xstrdup("/pool"),
                  .state = xstrdup("Up"), .created = CREATED) &&
           INSERT(image_store, .uuid = make_id(FIXTURE_STORE, 1), .zone_id = 1,
                  .name = xstrdup("repository"), .protocol = xstrdup("file"),
                  .path = xstrdup("/tmp"), .created = CREATED);
}

static bool
add_accounts(struct state_tx *tx)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *hash = accounts_hash_password("secret word", &err);

    for (size_t i = 0; i < ARRAY_SIZE(accounts); i++) {
        const char *name = accounts[i].name;

        if (hash == NULL ||
            !INSERT(account, .uuid = make_id(FIXTURE_ACCOUNT, i + 1),
                    .name = xstrdup(name), .type = accounts[i].role,
                    .domain_id = accounts[i].domain_id,
                    .state = xstrdup("enabled"), .created = CREATED) ||
            !INSERT(user, .uuid = make_id(FIXTURE_USER, i + 1),
                    .account_id = (int64_t)i + 1, .username = xstrdup(name),
                    .firstname = xstrdup("First"), .lastname = xstrdup("Last"),
                    .password_hash = xstrdup(hash),
                    .api_key = xasprintf("key-%s", name),
                    .secret_key = xasprintf("secret-%s", name),
                    .state = xstrdup("enabled"), .created = CREATED))
            return false;
    }
    return true;
}

static bool
add_offerings(struct state_tx *tx)
{
    return INSERT(native_backup_offering, .uuid = make_id(FIXTURE_NATIVE, 1),
                  .name = xstrdup("gold"), .compress = 1,
                  .backup_chain_size = 3,
                  .compression_library = xstrdup("zstd"), .created = CREATED) &&
           INSERT(native_backup_offering, .uuid = make_id(FIXTURE_NATIVE, 2),
                  .name = xstrdup("old"), .backup_chain_size = -1,
                  .created = CREATED, .removed = CREATED) &&
           INSERT(backup_offering, .uuid = make_id(FIXTURE_OFFERING, 1),
                  .name = xstrdup("daily"), .description = xstrdup("by day"),
                  .external_id = make_id(FIXTURE_NATIVE, 1), .zone_id = 1,
                  .provider = xstrdup("knib"), .allow_user_driven_backups = 1,
                  .created = CREATED) &&
           INSERT(backup_offering, .uuid = make_id(FIXTURE_OFFERING, 2),
                  .name = xstrdup("private"), .description = xstrdup("admin's"),
                  .external_id = make_id(FIXTURE_NATIVE, 2), .zone_id = 1,
                  .provider = xstrdup("knib"), .created = CREATED);
}

static bool
add_machine(struct state_tx *tx, size_t i)
{
    int64_t id = (int64_t)i + 1;
    int64_t top = 2 * id;

    return INSERT(vm, .uuid = make_id(FIXTURE_VM, i + 1),
                  .name = xstrdup(owners[i].vm),
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id, .host_id = 1, .zone_id = 1,
                  .power = xstrdup("Running"), .managed = 1,
                  .memory = INT64_C(512) << 20, .vcpus = 2,
                  .backup_offering_id = 1, .created = CREATED) &&
           INSERT(volume, .uuid = make_id(FIXTURE_VOLUME, i + 1),
                  .name = xasprintf("ROOT-%zu", i + 1), .vm_id = id,
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id, .zone_id = 1,
                  .storage_pool_id = 1, .type = xstrdup("ROOT"),
                  .target = xstrdup("vda"), .size = INT64_C(5) << 30,
                  .format = xstrdup("qcow2"), .layer_id = top,
                  .state = xstrdup("Ready"), .created = CREATED) &&
           INSERT(layer, .uuid = make_id("30", i + 1), .volume_id = id,
                  .path = xasprintf("/pool/%s-base.qcow2", owners[i].vm),
                  .format = xstrdup("qcow2"), .created = CREATED) &&
           INSERT(layer, .uuid = make_id("31", i + 1), .volume_id = id,
                  .parent_id = top - 1,
                  .path = xasprintf("/pool/%s-top.qcow2", owners[i].vm),
                  .format = xstrdup("qcow2"), .created = CREATED);
}

static bool
add_snapshot(struct state_tx *tx, size_t i, const char *kind, const char *name,
             const char *state, int64_t parent_id)
{
    return INSERT(vm_snapshot, .uuid = make_id(kind, i + 1),
                  .name = xasprintf("i-%zu_VS_%s", i + 1, name),
                  .display_name = xstrdup(name),
                  .description = xasprintf("about %s", name),
                  .vm_id = (int64_t)i + 1, .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id, .type = xstrdup("Disk"),
                  .state = xstrdup(state), .parent_id = parent_id,
                  .is_current = strcmp(name, "second") == 0,
                  .created = CREATED);
}

static bool
add_points(struct state_tx *tx, size_t i)
{
    int64_t first = 3 * (int64_t)i + 1;

    return add_snapshot(tx, i, FIXTURE_SNAPSHOT_PARENT, "first", "Ready", 0) &&
           add_snapshot(tx, i, FIXTURE_SNAPSHOT_HIDDEN, "between", "Hidden",
                        first) &&
           add_snapshot(tx, i, FIXTURE_SNAPSHOT, "second", "Ready",
                        first + 1) &&
           INSERT(snapshot, .uuid = make_id(FIXTURE_VOLUME_SNAPSHOT, i + 1),
                  .name = xstrdup("v1"), .volume_id = (int64_t)i + 1,
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id, .zone_id = 1,
                  .type = xstrdup("MANUAL"), .state = xstrdup("BackedUp"),
                  .location = xstrdup("SECONDARY"), .root = xstrdup("xxh3:1"),
                  .virtual_size = 1 << 30, .physical_size = 1 << 20,
                  .created = CREATED) &&
           INSERT(backup, .uuid = make_id(FIXTURE_BACKUP, i + 1),
                  .name = xstrdup("b1"), .vm_id = (int64_t)i + 1,
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id, .zone_id = 1,
                  .backup_offering_id = 1, .image_store_id = 1,
                  .type = xstrdup("FULL"), .status = xstrdup("BackedUp"),
                  .size = INT64_C(1) << 40, .virtual_size = INT64_C(5) << 30,
                  .reason = xstrdup("the first of its chain"),
                  .bytes_read = 4096, .bytes_changed = 2048,
                  .created = CREATED) &&
           INSERT(backup_volume, .backup_id = (int64_t)i + 1,
                  .volume_uuid = make_id(FIXTURE_VOLUME, i + 1),
                  .volume_name = xasprintf("ROOT-%zu", i + 1),
                  .volume_type = xstrdup("ROOT"), .target = xstrdup("vda"),
                  .file_uuid = make_id("32", i + 1), .root = xstrdup("xxh3:12"),
                  .virtual_size = INT64_C(5) << 30);
}

static bool
add_history(struct state_tx *tx, size_t i)
{
    return INSERT(job, .uuid = make_id(FIXTURE_JOB, i + 1),
                  .command = xstrdup("createVMSnapshot"),
                  .queue = make_id(FIXTURE_VM, i + 1),
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id,
                  .user_id = owners[i].account_id, .status = 1,
                  .instance_type = xstrdup("VmSnapshot"),
                  .instance_uuid = make_id(FIXTURE_SNAPSHOT, i + 1),
                  .result = xstrdup("{}"), .created = CREATED,
                  .completed = CREATED + 1000) &&
           INSERT(event, .uuid = make_id(FIXTURE_EVENT, i + 1),
                  .type = xstrdup("VMSNAPSHOT.CREATE"),
                  .level = xstrdup("INFO"), .state = xstrdup("Completed"),
                  .description = xstrdup("took a snapshot"),
                  .account_id = owners[i].account_id,
                  .domain_id = owners[i].domain_id,
                  .user_id = owners[i].account_id,
                  .resource_type = xstrdup("VmSnapshot"),
                  .resource_uuid = make_id(FIXTURE_SNAPSHOT, i + 1),
                  .created = CREATED) &&
           (i > 0 || INSERT(service_offering,
                            .uuid = make_id(FIXTURE_SERVICE_OFFERING, 1),
                            .name = xstrdup("small"), .vcpus = 1,
                            .memory = 1 << 30, .created = CREATED)) &&
           (i > 0 ||
            INSERT(hypervisor_capability, .uuid = make_id(FIXTURE_EVENT, 100),
                   .hypervisor = xstrdup("KVM"), .vm_snapshot_enabled = 1)) &&
           INSERT(usage_event, .type = xstrdup("VMSNAPSHOT.CREATE"),
                  .account_id = owners[i].account_id, .zone_id = 1,
                  .resource_uuid = make_id(FIXTURE_SNAPSHOT, i + 1),
                  .resource_name = xstrdup("s"), .size = 1 << 20,
                  .virtual_size = 1 << 30, .created = CREATED);
}

static bool
add_removed(struct state_tx *tx)
{
    return INSERT(vm, .uuid = make_id(FIXTURE_REMOVED, 1),
                  .name = xstrdup("gone"), .account_id = 1, .domain_id = 1,
                  .zone_id = 1, .power = xstrdup("Stopped"), .created = CREATED,
                  .removed = CREATED) &&
           INSERT(backup, .uuid = make_id(FIXTURE_REMOVED, 2),
                  .name = xstrdup("b0"), .vm_id = 1, .account_id = 1,
                  .domain_id = 1, .zone_id = 1, .type = xstrdup("FULL"),
                  .status = xstrdup("Removed"), .created = CREATED,
                  .removed = CREATED) &&
           INSERT(vm_snapshot, .uuid = make_id(FIXTURE_REMOVED, 3),
                  .name = xstrdup("s0"), .vm_id = 1, .account_id = 1,
                  .domain_id = 1, .type = xstrdup("Disk"),
                  .state = xstrdup("Removed"), .created = CREATED,
                  .removed = CREATED);
}

static bool
fill(struct state *state)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);

    if (tx == NULL || !add_places(tx) || !add_accounts(tx) ||
        !add_offerings(tx))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        if (!add_machine(tx, i) || !add_points(tx, i) || !add_history(tx, i))
            return false;
    }
    return add_removed(tx) && state_commit(tx, &err) == 0;
}

bool
fixture_start(struct fixture *fixture, struct hv *hv)
{
    AUTO_FREE char *hook = NULL;
    AUTO_FREE char *path = NULL;
    struct error err = ERROR_INIT;

    *fixture = (struct fixture){.state = NULL};
    /* What the API logs of refused requests is not what is tested. */
    log_set_level(LOG_LEVEL_ERROR);
    (void)snprintf(fixture->directory, sizeof(fixture->directory),
                   "/tmp/varve-api-XXXXXX");
    if (mkdtemp(fixture->directory) == NULL)
        return false;
    path = xasprintf("%s/state.db", fixture->directory);
    fixture->state = state_open(path, &err);
    if (fixture->state == NULL) {
        printf("# %s\n", err.message);
        return false;
    }
    fixture->engine = engine_double_new(fixture->state, hv);
    hook = xasprintf("%s/hook", fixture->directory);
    if (fd_replace_file(hook, fixture->directory, strlen(fixture->directory),
                        0700, &err) < 0)
        return false;
    fixture->api = api_new(&(struct api_config){
        .engine = fixture->engine,
        .version = "1.2.3",
        .hold_dir = fixture->directory,
        .hook = hook,
    });
    return fill(fixture->state);
}

void
fixture_stop(struct fixture *fixture)
{
    static const char *const names[] = {"state.db", "state.db-wal",
                                        "state.db-shm", "hook"};

    api_free(fixture->api);
    engine_free(fixture->engine);
    state_close(fixture->state);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        AUTO_FREE char *path = xasprintf("%s/%s", fixture->directory, names[i]);

        (void)unlink(path);
    }
    (void)rmdir(fixture->directory);
}

void
fixture_ask(struct fixture *fixture, const char *who, const char *query,
            struct answer *ret_answer)
{
    api_ask(fixture->api, who, query, ret_answer);
}
