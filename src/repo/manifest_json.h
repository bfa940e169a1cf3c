/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest_json.h -- what writing and parsing manifests share; for
 * manifest*.c alone.
 */
#ifndef REPO_MANIFEST_JSON_H
#define REPO_MANIFEST_JSON_H

#include "base/compiler.h"
#include "repo/repo.h"

#include <jansson.h>

#define MANIFEST_JSON_FORMAT "varve-point"

void manifest_json_cleanup(json_t **object);
#define AUTO_JSON CLEANUP(manifest_json_cleanup)

/* "sha256:<hex>" over the object without its checksum; the caller frees it.
 * NULL when a text in it cannot be written. */
char *manifest_json_checksum(const json_t *object) MUST_CHECK NONNULL(1);

/* "backups/<account>/<volume>/<uuid>.qcow2"; the caller frees it. */
char *manifest_json_file(const struct repo_point *point,
                         const struct repo_volume *volume)
    MUST_CHECK NONNULL(1, 2);

#endif
