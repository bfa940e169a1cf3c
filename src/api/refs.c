/* SPDX-License-Identifier: Apache-2.0 */
#include "api/refs.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

struct refs *
refs_new(struct state_tx *tx, const struct caller *caller)
{
    struct refs *refs = xcalloc(1, sizeof(*refs));

    refs->tx = tx;
    refs->caller = *caller;
    return refs;
}

void
refs_free(struct refs *refs)
{
    if (refs == NULL)
        return;
#define REFS_RELEASE(table) state_##table##_release(&refs->table);
    REFS_TABLES(REFS_RELEASE)
#undef REFS_RELEASE
    state_end(refs->tx);
    free(refs);
}

void
refs_keep(struct refs *refs, const struct error *err)
{
    if (err->code != ERROR_NOT_FOUND && refs->err.code == ERROR_NONE)
        refs->err = *err;
}

#define REFS_FUNCTION(table)                                                   \
    const struct state_##table *refs_##table(struct refs *refs, int64_t id)    \
    {                                                                          \
        struct error err = ERROR_INIT;                                         \
                                                                               \
        if (id == 0)                                                           \
            return NULL;                                                       \
        if (refs->table##_asked != id) {                                       \
            state_##table##_release(&refs->table);                             \
            refs->table = (struct state_##table){.id = 0};                     \
            refs->table##_asked = id;                                          \
            if (state_##table##_get(refs->tx, id, &refs->table, &err) < 0)     \
                refs_keep(refs, &err);                                         \
        }                                                                      \
        return refs->table.id != 0 ? &refs->table : NULL;                      \
    }
REFS_TABLES(REFS_FUNCTION)
#undef REFS_FUNCTION
