/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/storages.h"

#include "base/fd.h"

#include <string.h>

int
storages_find(struct engine *engine, const char *locator,
              struct storage **ret_storage, unsigned *ret_capabilities,
              struct error *err)
{
    for (size_t i = 0; i < engine->storage_count; i++) {
        if (storage_capabilities(engine->storages[i], locator, ret_capabilities,
                                 err) < 0)
            return -1;
        if (*ret_capabilities == STORAGE_NOTHING)
            continue;
        *ret_storage = engine->storages[i];
        return 1;
    }
    return 0;
}

struct storage *
storages_named(struct engine *engine, const char *kind, struct error *err)
{
    for (size_t i = 0; i < engine->storage_count; i++) {
        if (strcmp(storage_kind(engine->storages[i]), kind) == 0)
            return engine->storages[i];
    }
    (void)error_set(err, ERROR_UNSUPPORTED,
                    "there is no storage of the kind '%s' here", kind);
    return NULL;
}

json_t *
storages_unlink_payload(const struct state_layer *layer)
{
    return json_pack("{s:s, s:s*}", "path", layer->path, "storage",
                     layer->storage);
}

int
storages_unlink(struct engine *engine, const json_t *payload, const char *path,
                struct error *err)
{
    const char *kind = json_string_value(json_object_get(payload, "storage"));
    struct storage *storage =
        kind != NULL ? storages_named(engine, kind, err) : NULL;

    if (kind == NULL)
        return fd_unlink(path, err);
    return storage != NULL ? storage_remove(storage, path, err) : -1;
}
