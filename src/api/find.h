/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find.h -- from the ids that a caller gives to those of the database.
 */
#ifndef API_FIND_H
#define API_FIND_H

#include "api/call.h"
#include "base/compiler.h"
#include "base/error.h"

#include <stdint.h>

/**
 * find_vm(call, name, uuid, ret_id, err), ...:
 * The row of that uuid, which came as parameter `name`.
 *
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND when there is none,
 *             when it was removed, or when it is not the caller's to see, all
 *             with the same text.
 */
typedef int find_function(struct call *call, const char *name, const char *uuid,
                          int64_t *ret_id, struct error *err);

find_function find_zone MUST_CHECK;
find_function find_cluster MUST_CHECK;
find_function find_host MUST_CHECK;
find_function find_storage_pool MUST_CHECK;
find_function find_image_store MUST_CHECK;
find_function find_domain MUST_CHECK;
find_function find_account MUST_CHECK;
find_function find_user MUST_CHECK;
find_function find_vm MUST_CHECK;
find_function find_volume MUST_CHECK;
find_function find_snapshot MUST_CHECK;
find_function find_vm_snapshot MUST_CHECK;
/* With parameter "showremoved", removed ones too. */
find_function find_native_offering MUST_CHECK;
find_function find_service_offering MUST_CHECK;
find_function find_offering MUST_CHECK;
find_function find_backup MUST_CHECK;
find_function find_job MUST_CHECK;
find_function find_event MUST_CHECK;
find_function find_hypervisor_capability MUST_CHECK;

/* The row that a required parameter names. */
int find_required(struct call *call, const char *name, find_function *find,
                  int64_t *ret_id, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

#endif
