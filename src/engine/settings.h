/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h -- what can be set while the daemon runs (settings.def).
 *
 * A setting has a default, perhaps a global value, and perhaps values of
 * narrower places: a zone, and a cluster, account or storage pool.  The
 * narrowest one counts.
 *
 * To ask for a setting that settings.def does not have, or as another kind
 * than it has, is our own mistake and asserts; names from outside go through
 * settings_find() or settings_set().
 *
 * Blocks:     on the database.
 * Returns:    0, or -1 with *err set as by state.h; ERROR_CORRUPT when a value
 *             in the database is not of its setting's kind.
 */
#ifndef ENGINE_SETTINGS_H
#define ENGINE_SETTINGS_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum settings_kind {
    SETTINGS_BOOL,
    SETTINGS_INT,
    SETTINGS_REAL,
    SETTINGS_TEXT
};

enum settings_scope {
    SETTINGS_DEFAULT, /* only as the origin of a value */
    SETTINGS_GLOBAL,
    SETTINGS_ZONE,
    SETTINGS_CLUSTER,
    SETTINGS_ACCOUNT,
    SETTINGS_STORAGE_POOL
};

struct setting {
    const char *name;
    const char *default_value;
    enum settings_scope scope; /* the narrowest that may have a value */
    enum settings_kind kind;
    const char *meaning;
};

/* Where an effective value is asked for; 0 for "no such place". */
struct settings_place {
    int64_t zone_id;
    int64_t cluster_id;
    int64_t account_id;
    int64_t storage_pool_id;
};

/* The setting of that name, also of another version's name for it; or NULL. */
const struct setting *settings_find(const char *name) NONNULL(1);

/* All settings in the order of settings.def, from 0; NULL behind the last. */
const struct setting *settings_at(size_t index);

const char *settings_kind_name(enum settings_kind kind);
/* "default", "global", "zone", "cluster", "account", "storagepool". */
const char *settings_scope_name(enum settings_scope scope);

/* The effective value in `place`, or the global one when that is NULL.  A
 * text is the caller's to free. */
int settings_get_bool(struct state *state, const char *name,
                      const struct settings_place *place, bool *ret_value,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int settings_get_int(struct state *state, const char *name,
                     const struct settings_place *place, int64_t *ret_value,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int settings_get_real(struct state *state, const char *name,
                      const struct settings_place *place, double *ret_value,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);
int settings_get_text(struct state *state, const char *name,
                      const struct settings_place *place, char **ret_value,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * settings_set(tx, name, scope, scope_id, value, err):
 * Give `name` a value for everything (SETTINGS_GLOBAL, scope_id 0) or for one
 * zone, cluster, account or storage pool; NULL gives the value up.
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  no setting has this name;
 *               ERROR_INVALID    the value is not of the setting's kind or
 *                                range, or it cannot be set for that scope.
 */
int settings_set(struct state_tx *tx, const char *name,
                 enum settings_scope scope, int64_t scope_id, const char *value,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 6);

struct settings_value {
    const struct setting *setting;
    char *value;                /* owned */
    enum settings_scope origin; /* where it comes from */
};
struct settings_list {
    struct settings_value *items; /* owned */
    size_t count;
};

/**
 * settings_list(tx, place, ret_list, err):
 * Every setting by name, with what is effective in `place` (NULL: globally).
 */
int settings_list(struct state_tx *tx, const struct settings_place *place,
                  struct settings_list *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);
void settings_list_release(struct settings_list *list) NONNULL(1);
#define AUTO_SETTINGS_LIST CLEANUP(settings_list_release)

#endif
