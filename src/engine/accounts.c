/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accounts.c -- who is it.
 *
 * Every way in ends in enabled_caller(), so that a user which was disabled
 * loses its password, its keys and its sessions at once.
 *
 * Keys and passwords come from the kernel's random source: 64 signs of 6 bits
 * for a key, 24 of 5 bits for a password, which leaves out those that people
 * mistake for each other.
 */
#include "engine/accounts.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/uuid.h"
#include "engine/accounts_password.h"

static const struct state_where is_living = STATE_LIVING;

/* 1 with the caller that an enabled user is. */
static int
enabled_caller(struct state_tx *tx, const struct state_user *user,
               struct caller *ret_caller, struct error *err)
{
    const struct state_where where[] = {
        STATE_INT("id", user->account_id),
        STATE_TEXT("state", "enabled"),
        STATE_LIVING,
    };
    AUTO_STATE(account) account = {0};
    int found;

    if (user->removed != 0 || user->state == NULL ||
        strcmp(user->state, "enabled") != 0)
        return 0;
    found = state_account_find(tx, where, ARRAY_SIZE(where), &account, err);
    if (found != 1)
        return found;
    *ret_caller = (struct caller){
        .user_id = user->id,
        .account_id = account.id,
        .domain_id = account.domain_id,
        .role = account.type == ROLE_ROOT_ADMIN     ? ROLE_ROOT_ADMIN
                : account.type == ROLE_DOMAIN_ADMIN ? ROLE_DOMAIN_ADMIN
                                                    : ROLE_USER,
    };
    return 1;
}

int
accounts_caller(struct state_tx *tx, int64_t user_id, struct caller *ret_caller,
                struct error *err)
{
    const struct state_where where = STATE_INT("id", user_id);
    AUTO_STATE(user) user = {0};
    int found = state_user_find(tx, &where, 1, &user, err);

    return found == 1 ? enabled_caller(tx, &user, ret_caller, err) : found;
}

int
accounts_find_key(struct state_tx *tx, const char *api_key,
                  struct caller *ret_caller, char **ret_secret,
                  struct error *err)
{
    const struct state_where where = STATE_TEXT("api_key", api_key);
    AUTO_STATE(user) user = {0};
    int found = state_user_find(tx, &where, 1, &user, err);

    if (found == 1)
        found = enabled_caller(tx, &user, ret_caller, err);
    if (found == 1 && user.secret_key == NULL)
        found = 0;
    if (found == 1)
        *ret_secret = steal(&user.secret_key);
    return found;
}

int
accounts_root(struct state_tx *tx, struct caller *ret_caller, struct error *err)
{
    const struct state_where is_root[] = {STATE_INT("type", ROLE_ROOT_ADMIN),
                                          STATE_LIVING};
    AUTO_STATE_LIST(account) accounts = {0};
    int found = 0;

    if (state_account_list(tx, STATE_QUERY(is_root), &accounts, err) < 0)
        return -1;
    for (size_t i = 0; found == 0 && i < accounts.count; i++) {
        const struct state_where is_its[] = {
            STATE_INT("account_id", accounts.items[i].id), STATE_LIVING};
        AUTO_STATE_LIST(user) users = {0};

        if (state_user_list(tx, STATE_QUERY(is_its), &users, err) < 0)
            return -1;
        for (size_t j = 0; found == 0 && j < users.count; j++)
            found = enabled_caller(tx, &users.items[j], ret_caller, err);
    }
    return found;
}

/* -- logging in --------------------------------------------------------- */

/* "sales/eu" and the like as "/sales/eu/"; the caller frees it. */
static char *
domain_path(const char *text)
{
    size_t length;

    while (*text == '/')
        text++;
    length = strlen(text);
    while (length > 0 && text[length - 1] == '/')
        length--;
    if (length == 0 || (length == 4 && strncmp(text, "ROOT", 4) == 0))
        return xstrdup("/");
    if (length > 5 && strncmp(text, "ROOT/", 5) == 0) {
        text += 5;
        length -= 5;
    }
    return xasprintf("/%.*s/", (int)length, text);
}

/* A living user of that name in one of the domain's accounts. */
static int
find_user(struct state_tx *tx, const char *path, const char *username,
          struct state_user *ret_user, struct error *err)
{
    const struct state_where is_domain[] = {STATE_TEXT("path", path),
                                            STATE_LIVING};
    const struct state_where is_user[] = {STATE_TEXT("username", username),
                                          STATE_LIVING};
    AUTO_STATE(domain) domain = {0};
    AUTO_STATE_LIST(user) users = {0};
    int found;

    found =
        state_domain_find(tx, is_domain, ARRAY_SIZE(is_domain), &domain, err);
    if (found != 1)
        return found;
    if (state_user_list(tx, STATE_QUERY(is_user), &users, err) < 0)
        return -1;
    found = 0;
    for (size_t i = 0; found == 0 && i < users.count; i++) {
        const struct state_where is_account[] = {
            STATE_INT("id", users.items[i].account_id),
            STATE_INT("domain_id", domain.id), STATE_LIVING};
        AUTO_STATE(account) account = {0};

        found = state_account_find(tx, is_account, ARRAY_SIZE(is_account),
                                   &account, err);
        if (found == 1)
            state_user_copy(ret_user, &users.items[i]);
    }
    return found;
}

int
accounts_login(struct state *state, const char *domain, const char *username,
               const char *password, struct caller *ret_caller,
               struct error *err)
{
    AUTO_FREE char *path = domain_path(domain);
    AUTO_STATE(user) user = {0};
    struct caller caller = {0};
    bool is_right;
    int found;

    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, err);

        if (tx == NULL)
            return -1;
        found = find_user(tx, path, username, &user, err);
        if (found == 1)
            found = enabled_caller(tx, &user, &caller, err);
        if (found < 0)
            return -1;
    }
    is_right = accounts_verify_password(found == 1 ? user.password_hash : NULL,
                                        password);
    if (!is_right)
        return error_set(err, ERROR_AUTH,
                         "user name, domain or password are wrong");
    *ret_caller = caller;
    return 0;
}

/* -- keys --------------------------------------------------------------- */

static void
new_keys(struct accounts_keys *ret_keys)
{
    accounts_password_random(ret_keys->api_key, sizeof(ret_keys->api_key),
                             ACCOUNTS_PASSWORD_KEY_SIGNS);
    accounts_password_random(ret_keys->secret_key, sizeof(ret_keys->secret_key),
                             ACCOUNTS_PASSWORD_KEY_SIGNS);
}

/* Who can sign as a user can do what it can: nobody gains a role that way. */
static int
check_role(const struct caller *caller, const struct state_user *user,
           const struct state_account *account, struct error *err)
{
    bool is_allowed = caller->user_id == user->id ||
                      caller->role == ROLE_ROOT_ADMIN ||
                      account->type == ROLE_USER ||
                      (caller->role == ROLE_DOMAIN_ADMIN &&
                       account->type == ROLE_DOMAIN_ADMIN);

    if (!is_allowed)
        return error_set(err, ERROR_DENIED,
                         "the keys of user '%s' are not yours to change",
                         user->username);
    return 0;
}

int
accounts_register_keys(struct state_tx *tx, const struct caller *caller,
                       const char *user, struct accounts_keys *ret_keys,
                       struct error *err)
{
    const struct state_where where[] = {STATE_TEXT("uuid", user), STATE_LIVING};
    AUTO_STATE(user) row = {0};
    AUTO_STATE(account) account = {0};
    struct accounts_keys keys;
    int found = state_user_find(tx, where, ARRAY_SIZE(where), &row, err);

    if (found < 0 || (found == 1 &&
                      state_account_get(tx, row.account_id, &account, err) < 0))
        return -1;
    if (found == 1)
        found = access_may_see(tx, caller, account.id, account.domain_id, err);
    if (found == 0)
        return error_set(err, ERROR_NOT_FOUND,
                         "there is no user with id '%.80s'", user);
    if (found < 0 || check_role(caller, &row, &account, err) < 0)
        return -1;
    new_keys(&keys);
    state_set_text(&row.api_key, keys.api_key);
    state_set_text(&row.secret_key, keys.secret_key);
    if (state_user_update(tx, &row, err) < 0)
        return -1;
    *ret_keys = keys;
    return 0;
}

/* -- the first administrator -------------------------------------------- */

static int
insert_root(struct state_tx *tx, int64_t *ret_account_id, struct error *err)
{
    AUTO_STATE(domain) domain = {.created = clock_wall_ms()};
    AUTO_STATE(account)
    account = {.type = ROLE_ROOT_ADMIN, .created = clock_wall_ms()};
    struct uuid uuid;

    uuid_new(&uuid);
    state_set_text(&domain.uuid, uuid.text);
    state_set_text(&domain.name, "ROOT");
    state_set_text(&domain.path, "/");
    if (state_domain_insert(tx, &domain, err) < 0)
        return -1;
    uuid_new(&uuid);
    state_set_text(&account.uuid, uuid.text);
    state_set_text(&account.name, "admin");
    state_set_text(&account.state, "enabled");
    account.domain_id = domain.id;
    if (state_account_insert(tx, &account, err) < 0)
        return -1;
    *ret_account_id = account.id;
    return 0;
}

static int
insert_admin(struct state_tx *tx, int64_t account_id,
             const struct accounts_admin *admin, struct error *err)
{
    AUTO_STATE(user)
    user = {.account_id = account_id, .created = clock_wall_ms()};
    struct uuid uuid;

    user.password_hash = accounts_hash_password(admin->password, err);
    if (user.password_hash == NULL)
        return -1;
    uuid_new(&uuid);
    state_set_text(&user.uuid, uuid.text);
    state_set_text(&user.username, admin->username);
    state_set_text(&user.firstname, "varve");
    state_set_text(&user.lastname, "administrator");
    state_set_text(&user.email, "");
    state_set_text(&user.api_key, admin->keys.api_key);
    state_set_text(&user.secret_key, admin->keys.secret_key);
    state_set_text(&user.state, "enabled");
    return state_user_insert(tx, &user, err);
}

int
accounts_make_admin(struct state_tx *tx, struct accounts_admin *ret_admin,
                    struct error *err)
{
    struct accounts_admin admin = {.username = "admin"};
    int64_t account_id = 0;
    uint64_t domains = 0;

    if (state_domain_count(tx, STATE_ALL, &domains, err) < 0)
        return -1;
    if (domains > 0)
        return 0;
    accounts_password_random(admin.password, sizeof(admin.password),
                             ACCOUNTS_PASSWORD_SIGNS);
    new_keys(&admin.keys);
    if (insert_root(tx, &account_id, err) < 0 ||
        insert_admin(tx, account_id, &admin, err) < 0)
        return -1;
    *ret_admin = admin;
    explicit_bzero(&admin, sizeof(admin));
    return 1;
}

/* -- listing ------------------------------------------------------------ */

int
accounts_list(struct state_tx *tx, const struct access_scope *scope,
              struct state_account_list *ret_list, struct error *err)
{
    struct state_where where[2] = {is_living};
    struct state_query query = {.where = where, .where_count = 1};

    if (!scope->is_everything) {
        where[1] = scope->where[0];
        if (scope->account_id != 0)
            where[1].column = "id";
        query.where_count = 2;
    }
    return state_account_list(tx, &query, ret_list, err);
}

int
accounts_list_users(struct state_tx *tx, const struct access_scope *scope,
                    struct state_user_list *ret_list, struct error *err)
{
    AUTO_STATE_LIST(account) accounts = {0};
    AUTO_FREE int64_t *ids = NULL;

    if (accounts_list(tx, scope, &accounts, err) < 0)
        return -1;
    ids = xcalloc(accounts.count + 1, sizeof(*ids));
    for (size_t i = 0; i < accounts.count; i++)
        ids[i] = accounts.items[i].id;
    const struct state_where where[] = {
        is_living,
        {.column = "account_id",
         .op = STATE_IN_INT,
         .ints = ids,
         .count = accounts.count},
    };
    return state_user_list(tx, STATE_QUERY(where), ret_list, err);
}
