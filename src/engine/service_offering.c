/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Service offerings: numbers of CPUs and bytes of memory under a name.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/uuid.h"
#include "engine/engine_internal.h"
#include "engine/lookup.h"
#include "engine/requests.h"

#include <string.h>

#define NAME_MAX_LENGTH 255
#define VCPUS_MAX 4096
#define MEMORY_MIN ((uint64_t)1 << 20)
#define MEMORY_MAX ((uint64_t)1 << 50)

static int
check(const struct request_service_offering *args, struct error *err)
{
    if (args->name == NULL || args->name[0] == '\0' ||
        strlen(args->name) > NAME_MAX_LENGTH ||
        (args->description != NULL &&
         strlen(args->description) > NAME_MAX_LENGTH))
        return error_set(err, ERROR_INVALID,
                         "name and description must have 1 to %d characters",
                         NAME_MAX_LENGTH);
    if (args->vcpus < 1 || args->vcpus > VCPUS_MAX)
        return error_set(err, ERROR_INVALID,
                         "an offering has 1 to %d CPUs, not %lld", VCPUS_MAX,
                         (long long)args->vcpus);
    if (args->memory < MEMORY_MIN || args->memory > MEMORY_MAX)
        return error_set(err, ERROR_INVALID,
                         "an offering has 1 MiB to 1 PiB of memory");
    return 0;
}

int
request_service_offering_create(struct engine *engine,
                                const struct caller *caller,
                                const struct request_service_offering *args,
                                char ret_uuid[UUID_TEXT_SIZE],
                                struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(service_offering)
    row = {.vcpus = args->vcpus,
           .memory = (int64_t)args->memory,
           .created = clock_wall_ms()};
    struct uuid uuid;

    if (lookup_require_root(caller, "create service offerings", err) < 0 ||
        check(args, err) < 0)
        return -1;
    uuid_new(&uuid);
    state_set_text(&row.uuid, uuid.text);
    state_set_text(&row.name, args->name);
    state_set_text(&row.description, args->description);
    tx = state_begin_write(engine->state, err);
    if (tx == NULL || state_service_offering_insert(tx, &row, err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    memcpy(ret_uuid, uuid.text, UUID_TEXT_SIZE);
    return 0;
}

int
request_service_offering_delete(struct engine *engine,
                                const struct caller *caller,
                                const char *service_offering, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(service_offering) row = {0};

    if (lookup_require_root(caller, "delete service offerings", err) < 0)
        return -1;
    tx = state_begin_write(engine->state, err);
    if (tx == NULL ||
        lookup_service_offering(tx, service_offering, &row, err) < 0)
        return -1;
    row.removed = clock_wall_ms();
    if (state_service_offering_update(tx, &row, err) < 0)
        return -1;
    return state_commit(tx, err);
}
