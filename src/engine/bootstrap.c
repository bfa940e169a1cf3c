/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.c -- the first rows.
 *
 * Everything is one transaction.  The credentials file is written inside it,
 * just before the commit, against the rule that no file is waited for while
 * the database is written: at the first start nobody else is there to wait,
 * and in this order no administrator exists whose keys nobody has.
 */
#include "engine/bootstrap.h"
#include "engine/hypervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/uuid.h"
#include "engine/accounts.h"

static void
set_new_uuid(char **field)
{
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(field, uuid.text);
}

/* -- the administrator -------------------------------------------------- */

static int
write_credentials(const char *path, const char *endpoint,
                  const struct accounts_admin *admin, struct error *err)
{
    char made[CLOCK_TEXT_SIZE];
    char *text = xasprintf("# varve's first administrator, made %s.\n"
                           "# CloudStack's clients read this file: "
                           "export CLOUDSTACK_CONFIG=%s\n"
                           "[cloudstack]\n"
                           "endpoint = %s\n"
                           "key = %s\n"
                           "secret = %s\n"
                           "username = %s\n"
                           "password = %s\n",
                           clock_format(clock_wall_ms(), made), path, endpoint,
                           admin->keys.api_key, admin->keys.secret_key,
                           admin->username, admin->password);
    int result = fd_replace_file(path, text, strlen(text), 0600, err);

    explicit_bzero(text, strlen(text));
    free(text);
    return result;
}

static int
make_admin(struct state_tx *tx, const struct bootstrap_config *config,
           const char *path, bool *ret_has_made, struct error *err)
{
    struct accounts_admin admin;
    int made = accounts_make_admin(tx, &admin, err);

    if (made < 0)
        return -1;
    if (made == 1 && path != NULL) {
        int result = write_credentials(path, config->endpoint, &admin, err);

        explicit_bzero(&admin, sizeof(admin));
        if (result < 0)
            return error_prefix(err, "credentials of the administrator");
        if (fault_here("bootstrap.credentials"))
            return error_set_errno(err, errno, "write '%s'", path);
    }
    *ret_has_made = made == 1;
    return 0;
}

/* -- places ------------------------------------------------------------- */

static int
ensure_zone(struct state_tx *tx, int64_t *ret_id, struct error *err)
{
    const struct state_where living[] = {STATE_LIVING};
    AUTO_STATE(zone) zone = {0};
    int found = state_zone_find(tx, living, 1, &zone, err);

    if (found == 0) {
        set_new_uuid(&zone.uuid);
        state_set_text(&zone.name, "default");
        zone.created = clock_wall_ms();
        found = state_zone_insert(tx, &zone, err);
    }
    *ret_id = zone.id;
    return found < 0 ? -1 : 0;
}

static int
ensure_cluster(struct state_tx *tx, int64_t zone_id, int64_t *ret_id,
               struct error *err)
{
    const struct state_where where[] = {STATE_INT("zone_id", zone_id),
                                        STATE_LIVING};
    AUTO_STATE(cluster) cluster = {0};
    int found = state_cluster_find(tx, where, ARRAY_SIZE(where), &cluster, err);

    if (found == 0) {
        set_new_uuid(&cluster.uuid);
        state_set_text(&cluster.name, "default");
        cluster.zone_id = zone_id;
        cluster.created = clock_wall_ms();
        found = state_cluster_insert(tx, &cluster, err);
    }
    *ret_id = cluster.id;
    return found < 0 ? -1 : 0;
}

/* By URI, or else by name: whichever of the two was changed is brought up to
 * date, and machines keep their host. */
static int
find_host(struct state_tx *tx, const char *name, const char *uri,
          struct state_host *ret_host, struct error *err)
{
    const struct state_where by_uri[] = {STATE_TEXT("uri", uri), STATE_LIVING};
    const struct state_where by_name[] = {STATE_TEXT("name", name),
                                          STATE_LIVING};
    int found = state_host_find(tx, by_uri, ARRAY_SIZE(by_uri), ret_host, err);

    return found != 0 ? found
                      : state_host_find(tx, by_name, ARRAY_SIZE(by_name),
                                        ret_host, err);
}

static int
ensure_host(struct state_tx *tx, const struct bootstrap_config *config,
            struct bootstrap_result *result, struct error *err)
{
    AUTO_STATE(host) host = {0};
    char own_name[256] = "localhost";
    const char *name = config->host_name;
    int found;

    if (name == NULL && gethostname(own_name, sizeof(own_name)) == 0)
        own_name[sizeof(own_name) - 1] = '\0';
    if (name == NULL)
        name = own_name;
    found = find_host(tx, name, config->libvirt_uri, &host, err);
    if (found < 0)
        return -1;
    state_set_text(&host.name, name);
    state_set_text(&host.uri, config->libvirt_uri);
    if (found == 0) {
        set_new_uuid(&host.uuid);
        state_set_text(&host.state, "Disconnected");
        state_set_text(&host.hypervisor, "KVM");
        host.zone_id = result->zone_id;
        host.cluster_id = result->cluster_id;
        host.created = clock_wall_ms();
    }
    if ((found == 0 ? state_host_insert(tx, &host, err)
                    : state_host_update(tx, &host, err)) < 0)
        return -1;
    result->host_id = host.id;
    return 0;
}

static int
ensure_store(struct state_tx *tx, const char *path, int64_t zone_id,
             int64_t *ret_id, struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("path", path), STATE_LIVING};
    AUTO_STATE(image_store) store = {0};
    int found =
        state_image_store_find(tx, where, ARRAY_SIZE(where), &store, err);

    if (found == 0) {
        set_new_uuid(&store.uuid);
        state_set_text(&store.name, path_name(path));
        state_set_text(&store.protocol, "file");
        state_set_text(&store.path, path);
        store.zone_id = zone_id;
        store.created = clock_wall_ms();
        found = state_image_store_insert(tx, &store, err);
    }
    *ret_id = store.id;
    return found < 0 ? -1 : 0;
}

static int
ensure_places(struct state_tx *tx, const struct bootstrap_config *config,
              struct bootstrap_result *result, struct error *err)
{
    if (ensure_zone(tx, &result->zone_id, err) < 0 ||
        ensure_cluster(tx, result->zone_id, &result->cluster_id, err) < 0 ||
        hypervisor_ensure(tx, "KVM", err) < 0 ||
        ensure_host(tx, config, result, err) < 0)
        return -1;
    for (size_t i = 0; i < config->repository_count; i++) {
        int64_t id = 0;

        if (ensure_store(tx, config->repositories[i], result->zone_id, &id,
                         err) < 0)
            return -1;
        if (i == 0)
            result->image_store_id = id;
    }
    return 0;
}

int
bootstrap_run(struct state *state, const struct bootstrap_config *config,
              struct bootstrap_result *ret_result, struct error *err)
{
    AUTO_FREE char *path =
        config->state_dir != NULL
            ? path_join(config->state_dir, BOOTSTRAP_CREDENTIALS)
            : NULL;
    struct bootstrap_result result = {0};

    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, err);

        if (tx == NULL || ensure_places(tx, config, &result, err) < 0 ||
            make_admin(tx, config, path, &result.has_made_admin, err) < 0 ||
            state_commit(tx, err) < 0)
            return -1;
    }
    if (result.has_made_admin && path != NULL)
        log_info("administrator-made", "credentials='%s'", path);
    *ret_result = result;
    return 0;
}
