/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrations.c -- the forms that the database has had.
 *
 * Rules:
 *   1. A step that was released is never changed; a new one is added.
 *   2. Steps add tables, columns and indices; they neither drop nor rename, so
 *      that the previous version's rows keep their meaning and a failed
 *      upgrade can be taken back.
 *   3. Steps run in order, each in one transaction with its row in
 *      schema_migration.
 *   4. After all of them the database has every column of tables.def (checked
 *      at each start), and none besides (checked by a test).
 *
 * Words with "@" stand for what each database or every column spells the same
 * way: @id, @uuid, @text, @int.  An id column that may be 0 for "none" has no
 * foreign key, since 0 is the id of nothing; the others have one.
 */
#include "state/migrations.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/strbuf.h"

#define WAIT_MS 30000

/* clang-format off */
static const char *const steps[] = {
    /* 1: machines, layers, VM snapshots, backups, the journal. */
    "create table domain (id @id, uuid @uuid, name @text, path @text, "
    "parent_id @int, created @int, removed @int);"
    "create table account (id @id, uuid @uuid, name @text, type @int, "
    "domain_id @int references domain, state @text, created @int, "
    "removed @int);"
    "create table \"user\" (id @id, uuid @uuid, "
    "account_id @int references account, username @text, "
    "password_hash @text, firstname @text, lastname @text, "
    "email @text, api_key @text, secret_key @text, state @text, "
    "created @int, removed @int);"
    "create table zone (id @id, uuid @uuid, name @text, created @int, "
    "removed @int);"
    "create table cluster (id @id, uuid @uuid, name @text, "
    "zone_id @int references zone, created @int, removed @int);"
    "create table host (id @id, uuid @uuid, name @text, "
    "zone_id @int references zone, cluster_id @int references cluster, "
    "uri @text, state @text, hypervisor @text, "
    "hypervisor_version @text, created @int, removed @int);"
    "create table storage_pool (id @id, uuid @uuid, name @text, "
    "zone_id @int, cluster_id @int, type @text, path @text, "
    "state @text, created @int, removed @int);"
    "create table image_store (id @id, uuid @uuid, name @text, "
    "zone_id @int references zone, protocol @text, path @text, "
    "created @int, removed @int);"
    "create table vm (id @id, uuid @uuid, name @text, account_id @int, "
    "domain_id @int, host_id @int, zone_id @int, power @text, "
    "state @text, managed @int, memory @int, vcpus @int, "
    "backup_offering_id @int, problem @text, created @int, "
    "removed @int);"
    "create table volume (id @id, uuid @uuid, name @text, vm_id @int, "
    "account_id @int, domain_id @int, zone_id @int, "
    "storage_pool_id @int, type @text, device_id @int, target @text, "
    "size @int, format @text, layer_id @int, state @text, "
    "created @int, removed @int);"
    "create table layer (id @id, uuid @uuid, "
    "volume_id @int references volume, parent_id @int, path @text, "
    "format @text, size @int, is_foreign @int, created @int);"
    "create table pin (id @id, layer_id @int references layer, "
    "owner_kind @text, owner_id @int);"
    "create table vm_snapshot (id @id, uuid @uuid, name @text, "
    "display_name @text, description @text, vm_id @int references vm, "
    "account_id @int, domain_id @int, type @text, state @text, "
    "parent_id @int, is_current @int, quiesced @int, "
    "memory_path @text, nvram_path @text, problem @text, created @int, "
    "removed @int);"
    "create table vm_snapshot_volume (id @id, "
    "vm_snapshot_id @int references vm_snapshot, "
    "volume_id @int references volume, layer_id @int, "
    "virtual_size @int, physical_size @int, root @text);"
    "create table snapshot (id @id, uuid @uuid, name @text, "
    "volume_id @int, account_id @int, domain_id @int, zone_id @int, "
    "image_store_id @int, type @text, state @text, location @text, "
    "parent_id @int, is_end_of_chain @int, file @text, root @text, "
    "reason @text, virtual_size @int, physical_size @int, "
    "policy_id @int, created @int, removed @int);"
    "create table native_backup_offering (id @id, uuid @uuid, "
    "name @text, compress @int, validate @int, validation_steps @text, "
    "allow_quick_restore @int, allow_extract_file @int, "
    "backup_chain_size @int, compression_library @text, created @int, "
    "removed @int);"
    "create table backup_offering (id @id, uuid @uuid, name @text, "
    "description @text, external_id @text, zone_id @int, "
    "provider @text, allow_user_driven_backups @int, created @int, "
    "removed @int);"
    "create table backup (id @id, uuid @uuid, name @text, "
    "description @text, vm_id @int, account_id @int, "
    "domain_id @int, zone_id @int, backup_offering_id @int, "
    "image_store_id @int, type @text, status @text, parent_id @int, "
    "is_current @int, is_end_of_chain @int, is_isolated @int, "
    "quiesced @int, interval_type @text, size @int, virtual_size @int, "
    "uncompressed_size @int, compression_status @text, "
    "validation_status @text, reason @text, bytes_read @int, "
    "bytes_changed @int, created @int, removed @int);"
    "create table backup_volume (id @id, "
    "backup_id @int references backup, volume_uuid @text, "
    "volume_name @text, volume_type @text, device_id @int, "
    "target @text, file_uuid @text, parent_file_uuid @text, "
    "root @text, reason @text, size @int, virtual_size @int, "
    "layer_id @int);"
    "create table job (id @id, uuid @uuid, command @text, "
    "parameters @text, queue @text, account_id @int, domain_id @int, "
    "user_id @int, status @int, started @int, is_cancelled @int, "
    "step @text, bytes_done @int, bytes_total @int, result_code @int, "
    "result @text, instance_type @text, instance_uuid @text, "
    "created @int, completed @int);"
    "create table operation (id @id, uuid @uuid, kind @text, "
    "vm_uuid @text, job_id @int, phase @text, payload @text, "
    "created @int);"
    "create table event (id @id, uuid @uuid, type @text, level @text, "
    "state @text, description @text, account_id @int, domain_id @int, "
    "user_id @int, resource_type @text, resource_uuid @text, "
    "created @int);"
    "create table usage_event (id @id, type @text, account_id @int, "
    "zone_id @int, resource_uuid @text, resource_name @text, "
    "size @int, virtual_size @int, created @int);"
    "create table configuration (id @id, name @text, scope @text, "
    "scope_id @int, value @text);"
    "create unique index user_api_key on \"user\" (api_key);"
    "create unique index configuration_key on configuration (name, scope, scope_id);"
    "create index account_domain on account (domain_id);"
    "create index user_account on \"user\" (account_id);"
    "create index vm_account on vm (account_id);"
    "create index volume_vm on volume (vm_id);"
    "create index layer_volume on layer (volume_id);"
    "create index layer_path on layer (path);"
    "create index pin_layer on pin (layer_id);"
    "create index pin_owner on pin (owner_kind, owner_id);"
    "create index vm_snapshot_vm on vm_snapshot (vm_id);"
    "create index vm_snapshot_volume_owner on vm_snapshot_volume (vm_snapshot_id);"
    "create index vm_snapshot_volume_volume on vm_snapshot_volume (volume_id);"
    "create index snapshot_volume on snapshot (volume_id);"
    "create index backup_vm on backup (vm_id);"
    "create index backup_volume_owner on backup_volume (backup_id);"
    "create index job_queue on job (queue, status);"
    "create index job_status on job (status);"
    "create index operation_vm on operation (vm_uuid);"
    "create index event_created on event (created);"
    "create index usage_event_created on usage_event (created);",

    /* 2: proving what is stored */
    "alter table backup add column verify_status @text;"
    "alter table backup add column verify_problem @text;"
    "alter table backup add column verified @int;"
    "create table scrub (id @id, uuid @uuid, "
    "image_store_id @int references image_store, status @text, "
    "position @text, position_offset @int, files_done @int, "
    "files_total @int, bytes_done @int, bytes_total @int, findings @int, "
    "problem @text, started @int, completed @int);",

    /* 3: how much an account may have */
    "create table resource_limit (id @id, account_id @int, domain_id @int, "
    "type @int, max @int);"
    "create unique index resource_limit_key on resource_limit "
    "(account_id, domain_id, type);",

    /* 4: VM snapshots with memory */
    "alter table vm_snapshot add column memory_size @int;"
    "alter table vm_snapshot add column memory_digest @text;"
    "alter table vm_snapshot add column memory_pause_ms @int;",

    /* 5: what may be done on each kind of hypervisor */
    "create table hypervisor_capability (id @id, uuid @uuid, hypervisor @text, "
    "vm_snapshot_enabled @int);"
    "create unique index hypervisor_capability_key on hypervisor_capability "
    "(hypervisor);",

    /* 6: snapshots by what disks are stored on */
    "alter table layer add column storage @text;",

    /* 7: service offerings */
    "create table service_offering (id @id, uuid @uuid, name @text, "
    "description @text, vcpus @int, memory @int, created @int, "
    "removed @int);"
    "alter table vm add column service_offering_id @int;"
    "alter table vm_snapshot add column service_offering_id @int;"
    "alter table vm_snapshot add column vcpus @int;"
    "alter table vm_snapshot add column memory @int;",

    /* 8: what reading snapshots of volumes again found */
    "alter table snapshot add column verify_status @text;"
    "alter table snapshot add column verify_problem @text;"
    "alter table snapshot add column verified @int;",
};
/* clang-format on */

int64_t
migrations_newest(void)
{
    return (int64_t)ARRAY_SIZE(steps);
}

static void
expand(struct strbuf *sql, const char *step, const struct state_driver *driver)
{
    const struct {
        const char *word;
        const char *means;
    } words[] = {
        {"@id", driver->id_type},
        {"@uuid", "text not null unique"},
        {"@text", "text"},
        {"@int", "bigint not null default 0"},
    };

    while (*step != '\0') {
        size_t length = strcspn(step, "@");
        size_t i = 0;

        strbuf_add(sql, step, length);
        step += length;
        if (*step == '\0')
            break;
        while (strncmp(step, words[i].word, strlen(words[i].word)) != 0) {
            i++;
            assert(i < ARRAY_SIZE(words));
        }
        strbuf_adds(sql, words[i].means);
        step += strlen(words[i].word);
    }
}

/* The newest step that the database has; 0 for none. */
static int
read_version(struct state_connection *connection, int64_t *ret_version,
             struct error *err)
{
    const struct state_driver *driver = connection->driver;
    struct state_statement *statement = driver->prepare(
        connection, "select coalesce(max(number), 0) from schema_migration",
        err);
    int found;

    if (statement == NULL)
        return -1;
    found = driver->step(statement, err);
    if (found == 1)
        *ret_version = driver->column_int(statement, 0);
    driver->finish(statement);
    return found == 1 ? 0 : -1;
}

static int
apply(struct state_connection *connection, int64_t number, struct error *err)
{
    AUTO_STRBUF struct strbuf sql = STRBUF_INIT;

    expand(&sql, steps[number - 1], connection->driver);
    strbuf_addf(&sql,
                ";insert into schema_migration (number, applied) "
                "values (%" PRId64 ", %" PRId64 ")",
                number, clock_wall_ms());
    if (connection->driver->exec(connection, strbuf_text(&sql), err) < 0)
        return error_prefix(err, "migration %" PRId64, number);
    if (fault_here("state.migrate"))
        return error_set_errno(err, errno, "migration %" PRId64, number);
    return 0;
}

/* One step: 1 done, 0 there is nothing left to do. */
static int
advance(struct state_connection *connection, struct error *err)
{
    int64_t version = 0;

    if (connection->driver->exec(
            connection,
            "create table if not exists schema_migration ("
            "number bigint primary key, applied bigint not null)",
            err) < 0 ||
        read_version(connection, &version, err) < 0)
        return -1;
    if (version > migrations_newest())
        return error_set(err, ERROR_UNSUPPORTED,
                         "the database has form %" PRId64
                         ", this version knows %" PRId64
                         ": it was written by a newer version",
                         version, migrations_newest());
    if (version == migrations_newest())
        return 0;
    return apply(connection, version + 1, err) < 0 ? -1 : 1;
}

int
migrations_run(struct state_connection *connection, struct error *err)
{
    const struct state_driver *driver = connection->driver;
    int more = 1;

    while (more == 1) {
        if (driver->begin(connection, true, WAIT_MS, err) < 0)
            return -1;
        more = advance(connection, err);
        if (more == 1 && driver->commit(connection, err) < 0)
            more = -1;
        driver->rollback(connection);
    }
    return more;
}
