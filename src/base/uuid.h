/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uuid.h -- identities, as lower-case text of 36 characters.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

#define UUID_TEXT_SIZE 37

struct uuid {
    char text[UUID_TEXT_SIZE];
};

/* A new random uuid (version 4). */
void uuid_new(struct uuid *ret_uuid) NONNULL(1);

/* True when `text` is a uuid in any case. */
bool uuid_is_valid(const char *text) NONNULL(1);

/* Fill `bytes` from the kernel's random source; ends the process if it
 * cannot. */
void random_bytes(void *bytes, size_t length) NONNULL(1);

#endif
