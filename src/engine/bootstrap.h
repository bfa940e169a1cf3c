/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bootstrap.h -- what must be in the database before anything else can be.
 */
#ifndef ENGINE_BOOTSTRAP_H
#define ENGINE_BOOTSTRAP_H

#include "base/compiler.h"
#include "base/error.h"
#include "state/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All borrowed. */
struct bootstrap_config {
    const char *state_dir;   /* where admin.key is written; NULL: nowhere,
                                nobody will log in */
    const char *endpoint;    /* "http://127.0.0.1:8080/client/api" */
    const char *host_name;   /* of this machine; NULL: as the system has it */
    const char *libvirt_uri; /* "qemu:///system" */
    const char *const *repositories; /* directories; the first is the default */
    size_t repository_count;
};

struct bootstrap_result {
    int64_t zone_id;
    int64_t cluster_id;
    int64_t host_id;
    int64_t image_store_id; /* of the first repository; 0 without one */
    bool has_made_admin;    /* at the first start */
};

#define BOOTSTRAP_CREDENTIALS "admin.key" /* in state_dir */

/**
 * bootstrap_run(state, config, ret_result, err):
 * The first start makes domain ROOT, account and user admin with a random
 * password and keys, and writes them to admin.key (mode 0600), once.  Every
 * start makes what is missing of zone "default", cluster "default", this
 * machine's host and an image store for each repository.
 *
 * The file is in INI form as CloudStack's clients read it: section
 * [cloudstack] with endpoint, key, secret, username, password.
 *
 * Durability: all or nothing.  The file is there before the administrator is;
 *             after a crash between the two, the next start makes both anew.
 */
int bootstrap_run(struct state *state, const struct bootstrap_config *config,
                  struct bootstrap_result *ret_result, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
