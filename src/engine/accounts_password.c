/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accounts_password.c -- hashes and random texts.
 *
 * yescrypt with libcrypt's default cost: about 16 MiB of memory and some ten
 * milliseconds for each guess.  The system's own libcrypt is used, which also
 * hashes the passwords in /etc/shadow, instead of one more library.
 */
#include "engine/accounts_password.h"

#include <assert.h>
#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/uuid.h"
#include "engine/accounts.h"

void
accounts_password_random(char *ret_text, size_t size, const char *signs)
{
    size_t mask = strlen(signs) - 1;

    assert(size > 0 && (mask & (mask + 1)) == 0);
    random_bytes(ret_text, size - 1);
    for (size_t i = 0; i < size - 1; i++)
        ret_text[i] = signs[(unsigned char)ret_text[i] & mask];
    ret_text[size - 1] = '\0';
}

/* The hash of a password under a setting or an older hash; NULL when the
 * setting is none.  The caller frees it. */
static char *
hash_with(const char *setting, const char *password)
{
    void *data = NULL;
    int size = 0;
    const char *hash = crypt_ra(password, setting, &data, &size);
    char *copy = NULL;

    /* A failure may also be a text that is no hash: "*0" or "*1". */
    if (hash != NULL && *hash != '*')
        copy = xstrdup(hash);
    if (data != NULL)
        explicit_bzero(data, (size_t)size);
    free(data);
    return copy;
}

static char *
hash_new(const char *password)
{
    AUTO_FREE char *setting = crypt_gensalt_ra("$y$", 0, NULL, 0);

    return setting != NULL ? hash_with(setting, password) : NULL;
}

char *
accounts_hash_password(const char *password, struct error *err)
{
    char *hash;

    if (*password == '\0' || strlen(password) > ACCOUNTS_PASSWORD_MAX) {
        (void)error_set(err, ERROR_INVALID, "a password has 1 to %d bytes",
                        ACCOUNTS_PASSWORD_MAX);
        return NULL;
    }
    hash = hash_new(password);
    if (hash == NULL)
        (void)error_set_errno(err, errno, "hash a password");
    return hash;
}

bool
accounts_is_same_secret(const char *secret, const char *given)
{
    size_t length = strlen(given);
    size_t wanted = strlen(secret);
    unsigned char differs = length != wanted;

    for (size_t i = 0; i < length; i++) {
        unsigned char have = wanted > 0 ? (unsigned char)secret[i % wanted] : 0;

        differs |= (unsigned char)(have ^ (unsigned char)given[i]);
    }
    return differs == 0;
}

bool
accounts_verify_password(const char *hash, const char *password)
{
    AUTO_FREE char *again = NULL;

    if (strlen(password) > ACCOUNTS_PASSWORD_MAX)
        return false;
    if (hash == NULL || *hash == '\0') {
        again = hash_new(password);
        return false;
    }
    again = hash_with(hash, password);
    return again != NULL && accounts_is_same_secret(hash, again);
}
