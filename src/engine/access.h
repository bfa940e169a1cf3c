/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h -- who asks, and what is theirs to see.
 */
#ifndef ENGINE_ACCESS_H
#define ENGINE_ACCESS_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum role { ROLE_USER = 0, ROLE_ROOT_ADMIN = 1, ROLE_DOMAIN_ADMIN = 2 };

struct caller {
    int64_t user_id;
    int64_t account_id;
    int64_t domain_id;
    enum role role;
};

#endif
