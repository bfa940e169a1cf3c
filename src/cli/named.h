/* SPDX-License-Identifier: Apache-2.0 */
/*
 * named.h -- an object by what a person calls it: its name or its id.
 *
 * A name that several objects have is refused, naming them.
 *
 * Ownership:  *ret_object is the caller's.
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND, ERROR_INVALID (an
 *             ambiguous name), and whatever the daemon answers.
 */
#ifndef CLI_NAMED_H
#define CLI_NAMED_H

#include "base/compiler.h"
#include "base/error.h"
#include "cli/cli.h"

#include <jansson.h>

int named_vm(struct cli *cli, const char *name, json_t **ret_object,
             struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* `vm` is a machine's name or id; NULL: of any. */
int named_snapshot(struct cli *cli, const char *name, const char *vm,
                   json_t **ret_object, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);
int named_backup(struct cli *cli, const char *name, const char *vm,
                 json_t **ret_object, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

int named_volume(struct cli *cli, const char *name, const char *vm,
                 json_t **ret_object, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

int named_volume_snapshot(struct cli *cli, const char *name,
                          json_t **ret_object, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

int named_service_offering(struct cli *cli, const char *name,
                           json_t **ret_object, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

int named_offering(struct cli *cli, const char *name, json_t **ret_object,
                   struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

/* NULL: the only one there is. */
int named_zone(struct cli *cli, const char *name, json_t **ret_object,
               struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* The id of an object that was looked up. */
const char *named_id(json_t *object) NONNULL(1);

#endif
