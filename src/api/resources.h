/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources.h -- the objects of one resource that others answer with, too.
 *
 * A handler's name begins with its file's; its prototype is in commands.h.
 *
 * Ownership:  the result is the caller's.
 */
#ifndef API_RESOURCES_H
#define API_RESOURCES_H

#include "api/refs.h"
#include "base/compiler.h"
#include "state/state.h"

#include <jansson.h>

json_t *vms_object(struct refs *refs, const struct state_vm *vm)
    MUST_CHECK NONNULL(1, 2);

/* What a machine is doing: its state, or else its power state. */
const char *vms_state(const struct state_vm *vm) NONNULL(1);

json_t *volumes_object(struct refs *refs, const struct state_volume *volume)
    MUST_CHECK NONNULL(1, 2);

json_t *snapshots_object(struct refs *refs,
                         const struct state_snapshot *snapshot)
    MUST_CHECK NONNULL(1, 2);

json_t *vm_snapshots_object(struct refs *refs,
                            const struct state_vm_snapshot *snapshot)
    MUST_CHECK NONNULL(1, 2);

json_t *offerings_object(struct refs *refs,
                         const struct state_backup_offering *offering)
    MUST_CHECK NONNULL(1, 2);

/* account, domainid, domain, domainpath: whose an object is. */
void users_set_owner(struct refs *refs, json_t *object, int64_t account_id,
                     int64_t domain_id) NONNULL(1, 2);

/* zoneid and zonename. */
void zones_set_zone(struct refs *refs, json_t *object, int64_t zone_id)
    NONNULL(1, 2);

/* "KVM", or what the host says. */
const char *zones_hypervisor(struct refs *refs, int64_t host_id) NONNULL(1);

#endif
