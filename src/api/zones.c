/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: zones, clusters, hosts, pools and stores.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"

#include "base/memory.h"
#include "engine/requests.h"

#include <string.h>
#include <strings.h>

void
zones_set_zone(struct refs *refs, json_t *object, int64_t zone_id)
{
    const struct state_zone *zone = refs_zone(refs, zone_id);

    if (zone == NULL)
        return;
    object_set_text(object, "zoneid", zone->uuid);
    object_set_text(object, "zonename", zone->name);
}

static void
set_cluster(struct refs *refs, json_t *object, int64_t cluster_id)
{
    const struct state_cluster *cluster = refs_cluster(refs, cluster_id);

    if (cluster == NULL)
        return;
    object_set_text(object, "clusterid", cluster->uuid);
    object_set_text(object, "clustername", cluster->name);
}

const char *
zones_hypervisor(struct refs *refs, int64_t host_id)
{
    const struct state_host *host = refs_host(refs, host_id);

    return host != NULL && host->hypervisor != NULL ? host->hypervisor : "KVM";
}

/* True when parameter `name` is not given, or is `text`. */
static bool
is_asked(const struct call *call, const char *name, const char *text)
{
    const char *wanted = call_text(call, name);

    return wanted == NULL || (text != NULL && strcasecmp(wanted, text) == 0);
}

/* -- zones --------------------------------------------------------------- */

static json_t *
zone_object(const struct state_zone *zone)
{
    json_t *object = object_new();

    object_set_text(object, "id", zone->uuid);
    object_set_text(object, "name", zone->name);
    object_set_text(object, "networktype", "Basic");
    object_set_bool(object, "securitygroupsenabled", false);
    object_set_bool(object, "localstorageenabled", true);
    object_set_text(object, "allocationstate", "Enabled");
    object_set_text(object, "type", "Core");
    object_set(object, "tags", object_new_array());
    return object;
}

int
zones_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(zone) rows = {0};
    struct state_query query;

    if (filter_by_ids(&filter, call, "id", "ids", find_zone, err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    query = filter_query(&filter);
    if (state_zone_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (is_asked(call, "networktype", "Basic") &&
            listing_wants(listing, rows.items[i].name, NULL))
            listing_add(listing, zone_object(&rows.items[i]));
    }
    return 0;
}

/* -- clusters ------------------------------------------------------------ */

static json_t *
cluster_object(struct refs *refs, const struct state_cluster *cluster)
{
    json_t *object = object_new();

    object_set_text(object, "id", cluster->uuid);
    object_set_text(object, "name", cluster->name);
    zones_set_zone(refs, object, cluster->zone_id);
    object_set_text(object, "hypervisortype", "KVM");
    object_set_text(object, "clustertype", "CloudManaged");
    object_set_text(object, "allocationstate", "Enabled");
    object_set_text(object, "managedstate", "Managed");
    return object;
}

int
clusters_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(cluster) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_cluster, "id", err) < 0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    query = filter_query(&filter);
    if (state_cluster_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        if (is_asked(call, "hypervisor", "KVM") &&
            listing_wants(listing, rows.items[i].name, NULL))
            listing_add(listing, cluster_object(call->refs, &rows.items[i]));
    }
    return 0;
}

/* -- hosts --------------------------------------------------------------- */

static json_t *
host_object(struct refs *refs, const struct state_host *host)
{
    json_t *object = object_new();

    object_set_text(object, "id", host->uuid);
    object_set_text(object, "name", host->name);
    object_set_text(object, "state", host->state);
    object_set_text(object, "type", "Routing");
    zones_set_zone(refs, object, host->zone_id);
    set_cluster(refs, object, host->cluster_id);
    object_set_text(object, "hypervisor", host->hypervisor);
    object_set_text(object, "hypervisorversion", host->hypervisor_version);
    object_set_text(object, "resourcestate", "Enabled");
    object_set_text(object, "uri", host->uri);
    object_set_date(object, "created", host->created);
    return object;
}

/* The host of the machine that parameter virtualmachineid names. */
static int
filter_by_machine(struct filter *filter, struct call *call, struct error *err)
{
    const struct state_vm *vm;
    int64_t id;

    if (!call_has(call, "virtualmachineid"))
        return 0;
    if (find_required(call, "virtualmachineid", find_vm, &id, err) < 0)
        return -1;
    vm = refs_vm(call->refs, id);
    filter_add(filter, (struct state_where)STATE_INT(
                           "id", vm != NULL ? vm->host_id : 0));
    return 0;
}

int
hosts_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(host) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_host, "id", err) < 0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0 ||
        filter_by_id(&filter, call, "clusterid", find_cluster, "cluster_id",
                     err) < 0 ||
        filter_by_machine(&filter, call, err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    query = filter_query(&filter);
    if (state_host_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_host *host = &rows.items[i];

        if (is_asked(call, "type", "Routing") &&
            is_asked(call, "state", host->state) &&
            is_asked(call, "hypervisor", host->hypervisor) &&
            listing_wants(listing, host->name, NULL))
            listing_add(listing, host_object(call->refs, host));
    }
    return 0;
}

int
hypervisors_list(struct call *call, json_t *body, struct error *err)
{
    json_t *object;
    json_t *list;
    int64_t zone_id;

    if (call_read(call, err) < 0 ||
        (call_has(call, "zoneid") &&
         find_required(call, "zoneid", find_zone, &zone_id, err) < 0))
        return -1;
    object = object_new();
    list = object_new_array();
    object_set_text(object, "name", "KVM");
    object_append(list, object);
    object_set_number(body, "count", 1);
    object_set(body, "hypervisor", list);
    return 0;
}

/* -- primary storage ----------------------------------------------------- */

static json_t *
pool_object(struct refs *refs, const struct state_storage_pool *pool)
{
    json_t *object = object_new();

    object_set_text(object, "id", pool->uuid);
    object_set_text(object, "name", pool->name);
    zones_set_zone(refs, object, pool->zone_id);
    set_cluster(refs, object, pool->cluster_id);
    object_set_text(object, "type", pool->type);
    object_set_text(object, "path", pool->path);
    object_set_text(object, "state", pool->state);
    object_set_text(object, "scope", "HOST");
    object_set_text(object, "hypervisor", "KVM");
    object_set_date(object, "created", pool->created);
    return object;
}

int
storage_pools_list(struct call *call, struct listing *listing,
                   struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(storage_pool) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_storage_pool, "id", err) < 0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0 ||
        filter_by_id(&filter, call, "clusterid", find_cluster, "cluster_id",
                     err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    filter_text(&filter, call, "path", "path");
    query = filter_query(&filter);
    if (state_storage_pool_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_storage_pool *pool = &rows.items[i];

        if (listing_wants(listing, pool->name != NULL ? pool->name : "", NULL))
            listing_add(listing, pool_object(call->refs, pool));
    }
    return 0;
}

/* -- repositories -------------------------------------------------------- */

static json_t *
store_object(struct refs *refs, const struct state_image_store *store)
{
    json_t *object = object_new();
    AUTO_FREE char *url =
        xasprintf("%s://%s", store->protocol != NULL ? store->protocol : "file",
                  store->path != NULL ? store->path : "");

    object_set_text(object, "id", store->uuid);
    object_set_text(object, "name", store->name);
    zones_set_zone(refs, object, store->zone_id);
    object_set_text(object, "protocol", store->protocol);
    object_set_text(object, "providername", "varve");
    object_set_text(object, "url", url);
    object_set_text(object, "scope", "ZONE");
    object_set_bool(object, "readonly", false);
    object_set_date(object, "created", store->created);
    return object;
}

int
image_stores_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_FILTER struct filter filter = {.count = 0};
    AUTO_STATE_LIST(image_store) rows = {0};
    struct state_query query;

    if (filter_by_id(&filter, call, "id", find_image_store, "id", err) < 0 ||
        filter_by_id(&filter, call, "zoneid", find_zone, "zone_id", err) < 0)
        return -1;
    filter_living(&filter);
    filter_text(&filter, call, "name", "name");
    filter_text(&filter, call, "protocol", "protocol");
    query = filter_query(&filter);
    if (state_image_store_list(call_tx(call), &query, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_image_store *store = &rows.items[i];

        if (listing_wants(listing, store->name != NULL ? store->name : "",
                          NULL))
            listing_add(listing, store_object(call->refs, store));
    }
    return 0;
}

int
image_stores_scrub(struct call *call, struct ticket *ret_ticket,
                   struct error *err)
{
    int64_t id = 0;

    if (call_read(call, err) < 0 ||
        find_required(call, "id", find_image_store, &id, err) < 0)
        return -1;
    return request_scrub(call->engine, &call->caller, call_text(call, "id"),
                         ret_ticket, err);
}
