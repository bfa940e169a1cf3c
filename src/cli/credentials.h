/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h -- an API key and its secret, from a file.
 *
 * The file has the form of CloudStack's clients (cloudstack.ini), which is
 * what the daemon writes for its first administrator:
 *
 *     [cloudstack]
 *     endpoint = http://127.0.0.1:8080/client/api
 *     key = ...
 *     secret = ...
 */
#ifndef CLI_CREDENTIALS_H
#define CLI_CREDENTIALS_H

#include "base/compiler.h"
#include "base/error.h"

struct credentials {
    char *endpoint; /* owned; NULL when the file names none */
    char *key;      /* owned */
    char *secret;   /* owned; wiped when released */
};

void credentials_release(struct credentials *credentials) NONNULL(1);

/**
 * credentials_load(path, credentials, err):
 * Read section [cloudstack], or what stands before the first section.
 *
 * Returns:    0, or -1 with *err set to ERROR_AUTH: the file cannot be read,
 *             or holds no key and secret.
 */
int credentials_load(const char *path, struct credentials *credentials,
                     struct error *err) MUST_CHECK NONNULL(1, 2, 3);

#endif
