/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accounts.h -- accounts, users, passwords and keys.
 *
 * A user logs in with a password or signs with keys; what it may do is its
 * account's role.  A user that is removed or not enabled, or whose account is,
 * is nobody here.
 *
 * Passwords are kept as yescrypt hashes.  Secret keys are kept as they are,
 * since signatures are made with them.
 *
 * Errors:     as of state.h, besides those named.
 */
#ifndef ENGINE_ACCOUNTS_H
#define ENGINE_ACCOUNTS_H

#include "base/compiler.h"
#include "base/error.h"
#include "engine/access.h"
#include "state/state.h"

#include <stdbool.h>
#include <stdint.h>

#define ACCOUNTS_KEY_SIZE 65
#define ACCOUNTS_PASSWORD_SIZE 25
#define ACCOUNTS_PASSWORD_MAX 256 /* bytes of a password that is accepted */

struct accounts_keys {
    char api_key[ACCOUNTS_KEY_SIZE];
    char secret_key[ACCOUNTS_KEY_SIZE];
};

/* -- passwords ----------------------------------------------------------- */

/**
 * accounts_hash_password(password, err):
 * Its yescrypt hash under a new salt, for the caller to free.
 *
 * Blocks:     some ten milliseconds of work, and 16 MiB.
 * Returns:    the hash, or NULL with *err set to ERROR_INVALID when it is
 *             empty or too long.
 */
char *accounts_hash_password(const char *password, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/**
 * accounts_verify_password(hash, password):
 * Is it the password of that hash?  NULL as hash takes the same time and is
 * false, so that time does not tell which users there are.
 */
bool accounts_verify_password(const char *hash, const char *password)
    MUST_CHECK NONNULL(2);

/* Equal texts?  The time depends on the length of `given` alone. */
bool accounts_is_same_secret(const char *secret, const char *given)
    MUST_CHECK NONNULL(1, 2);

/* -- who is it ----------------------------------------------------------- */

/**
 * accounts_login(state, domain, username, password, ret_caller, err):
 * Who logs in.  `domain` is its path: "/sales/eu", with or without slashes
 * around it; "", "/" or "ROOT" for the root.
 *
 * Blocks:     as accounts_hash_password(); no transaction is held meanwhile.
 * Returns:    0, or -1 with *err set to ERROR_AUTH, whatever it was.
 */
int accounts_login(struct state *state, const char *domain,
                   const char *username, const char *password,
                   struct caller *ret_caller, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);

/**
 * accounts_find_key(tx, api_key, ret_caller, ret_secret, err):
 * Who has that API key, and the secret that its requests are signed with.
 *
 * Ownership:  the caller frees *ret_secret.
 * Returns:    1 found, 0 nobody has it, -1 with *err set.
 */
int accounts_find_key(struct state_tx *tx, const char *api_key,
                      struct caller *ret_caller, char **ret_secret,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* The user of a session: 1 found, 0 gone or not enabled any more, -1 failed. */
int accounts_caller(struct state_tx *tx, int64_t user_id,
                    struct caller *ret_caller, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* The first user of a root admin's account, whom root on this machine acts as:
 * 1 found, 0 there is none, -1 failed. */
int accounts_root(struct state_tx *tx, struct caller *ret_caller,
                  struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- changing ------------------------------------------------------------ */

/**
 * accounts_register_keys(tx, caller, user, ret_keys, err):
 * Give the user of uuid `user` new keys; the old ones end with the commit.
 *
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  no such user, or it is not the caller's to
 *                                see;
 *               ERROR_DENIED     it is the user of another, higher role.
 */
int accounts_register_keys(struct state_tx *tx, const struct caller *caller,
                           const char *user, struct accounts_keys *ret_keys,
                           struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* The first administrator as it was made; for the credentials file alone. */
struct accounts_admin {
    char username[16];
    char password[ACCOUNTS_PASSWORD_SIZE];
    struct accounts_keys keys;
};

/**
 * accounts_make_admin(tx, ret_admin, err):
 * In an empty database: domain ROOT, account admin and its user admin, with a
 * random password and keys.
 *
 * Returns:    1 made, 0 there are domains already, -1 with *err set.
 */
int accounts_make_admin(struct state_tx *tx, struct accounts_admin *ret_admin,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- listing ------------------------------------------------------------- */

/* The living accounts that are in a scope, and the users of these. */
int accounts_list(struct state_tx *tx, const struct access_scope *scope,
                  struct state_account_list *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);
int accounts_list_users(struct state_tx *tx, const struct access_scope *scope,
                        struct state_user_list *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

#endif
