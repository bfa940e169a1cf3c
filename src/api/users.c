/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who there is: domains, accounts, users, and the keys of users.
 */
#include "api/filter.h"
#include "api/listing.h"
#include "api/object.h"
#include "api/resources.h"
#include "engine/accounts.h"
#include "engine/limits.h"

#include <string.h>
#include <strings.h>

void
users_set_owner(struct refs *refs, json_t *object, int64_t account_id,
                int64_t domain_id)
{
    const struct state_account *account = refs_account(refs, account_id);
    const struct state_domain *domain = refs_domain(refs, domain_id);

    if (account != NULL)
        object_set_text(object, "account", account->name);
    if (domain == NULL)
        return;
    object_set_text(object, "domainid", domain->uuid);
    object_set_text(object, "domain", domain->name);
    object_set_text(object, "domainpath", domain->path);
}

static void
set_role(json_t *object, int64_t type)
{
    static const struct {
        const char *type;
        const char *name;
    } roles[] = {
        [ROLE_USER] = {"User", "User"},
        [ROLE_ROOT_ADMIN] = {"Admin", "Root Admin"},
        [ROLE_DOMAIN_ADMIN] = {"DomainAdmin", "Domain Admin"},
    };

    object_set_number(object, "accounttype", type);
    if (type < 0 || (size_t)type >= ARRAY_SIZE(roles))
        return;
    object_set_text(object, "roletype", roles[type].type);
    object_set_text(object, "rolename", roles[type].name);
}

static void
set_domain(struct refs *refs, json_t *object, int64_t domain_id)
{
    const struct state_domain *domain = refs_domain(refs, domain_id);

    if (domain == NULL)
        return;
    object_set_text(object, "domainid", domain->uuid);
    object_set_text(object, "domain", domain->name);
    object_set_text(object, "domainpath", domain->path);
}

/* True when parameter `name` is not given, or is `text`. */
static bool
is_asked(const struct call *call, const char *name, const char *text)
{
    const char *wanted = call_text(call, name);

    return wanted == NULL || (text != NULL && strcasecmp(wanted, text) == 0);
}

static bool
is_asked_type(const struct call *call, const struct state_account *account)
{
    return !call_has(call, "accounttype") ||
           call_number(call, "accounttype", 0) == account->type;
}

/* -- users --------------------------------------------------------------- */

static json_t *
user_object(struct refs *refs, const struct state_user *user)
{
    json_t *object = object_new();
    const struct state_account *account = refs_account(refs, user->account_id);

    object_set_text(object, "id", user->uuid);
    object_set_text(object, "username", user->username);
    object_set_text(object, "firstname", user->firstname);
    object_set_text(object, "lastname", user->lastname);
    object_set_text(object, "email", user->email);
    object_set_text(object, "state", user->state);
    if (account != NULL) {
        object_set_text(object, "accountid", account->uuid);
        object_set_text(object, "account", account->name);
        set_role(object, account->type);
        set_domain(refs, object, account->domain_id);
    }
    if (refs->caller.role == ROLE_ROOT_ADMIN ||
        refs->caller.user_id == user->id)
        object_set_text(object, "apikey", user->api_key);
    object_set_date(object, "created", user->created);
    return object;
}

/* The id that parameter "id" names; 0 when it is not given. */
static int
find_asked(struct call *call, find_function *find, int64_t *ret_id,
           struct error *err)
{
    *ret_id = 0;
    if (!call_has(call, "id"))
        return 0;
    return find_required(call, "id", find, ret_id, err);
}

static bool
is_asked_user(struct call *call, const struct state_user *user, int64_t id)
{
    const struct state_account *account =
        refs_account(call->refs, user->account_id);

    return (id == 0 || user->id == id) &&
           is_asked(call, "username", user->username) &&
           is_asked(call, "state", user->state) && account != NULL &&
           is_asked_type(call, account);
}

int
users_list(struct call *call, struct listing *listing, struct error *err)
{
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    AUTO_STATE_LIST(user) rows = {0};
    int64_t id;

    if (find_asked(call, find_user, &id, err) < 0 ||
        filter_scope(call, id != 0, &scope, err) < 0 ||
        accounts_list_users(call_tx(call), &scope, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_user *user = &rows.items[i];

        if (is_asked_user(call, user, id) &&
            listing_wants(listing, user->username,
                          user->firstname != NULL ? user->firstname : "",
                          user->lastname != NULL ? user->lastname : "", NULL))
            listing_add(listing, user_object(call->refs, user));
    }
    return 0;
}

/* -- accounts ------------------------------------------------------------ */

static json_t *
account_users(struct refs *refs, int64_t account_id)
{
    const struct state_where where[] = {STATE_INT("account_id", account_id),
                                        STATE_LIVING};
    AUTO_STATE_LIST(user) rows = {0};
    struct error err = ERROR_INIT;
    json_t *list = object_new_array();

    if (state_user_list(refs->tx, STATE_QUERY(where), &rows, &err) < 0)
        refs_keep(refs, &err);
    for (size_t i = 0; i < rows.count; i++)
        object_append(list, user_object(refs, &rows.items[i]));
    return list;
}

static int64_t
count_of(struct refs *refs, int64_t account_id, enum limit_kind kind)
{
    struct error err = ERROR_INIT;
    int64_t count = 0;

    if (limits_count(refs->tx, account_id, kind, &count, &err) < 0)
        refs_keep(refs, &err);
    return count;
}

/* What it has, as its limits count. */
static void
set_totals(struct refs *refs, json_t *object, int64_t account_id)
{
    double bytes = (double)count_of(refs, account_id, LIMIT_PRIMARY_STORAGE);

    object_set_number(object, "vmtotal", count_of(refs, account_id, LIMIT_VM));
    object_set_number(object, "volumetotal",
                      count_of(refs, account_id, LIMIT_VOLUME));
    object_set(object, "primarystoragetotal",
               json_real(bytes / (double)((int64_t)1 << 30)));
}

static json_t *
account_object(struct refs *refs, const struct state_account *account)
{
    json_t *object = object_new();

    object_set_text(object, "id", account->uuid);
    object_set_text(object, "name", account->name);
    set_role(object, account->type);
    set_domain(refs, object, account->domain_id);
    object_set_text(object, "state", account->state);
    object_set_date(object, "created", account->created);
    object_set(object, "user", account_users(refs, account->id));
    set_totals(refs, object, account->id);
    return object;
}

int
users_list_accounts(struct call *call, struct listing *listing,
                    struct error *err)
{
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    AUTO_STATE_LIST(account) rows = {0};
    int64_t id;

    if (find_asked(call, find_account, &id, err) < 0 ||
        filter_scope(call, id != 0, &scope, err) < 0 ||
        accounts_list(call_tx(call), &scope, &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_account *account = &rows.items[i];

        if ((id == 0 || account->id == id) &&
            is_asked(call, "name", account->name) &&
            is_asked(call, "state", account->state) &&
            is_asked_type(call, account) &&
            listing_wants(listing, account->name, NULL))
            listing_add(listing, account_object(call->refs, account));
    }
    return 0;
}

/* -- domains ------------------------------------------------------------- */

static int64_t
level_of(struct refs *refs, int64_t parent_id)
{
    int64_t level = 0;

    /* The tree is shallow; the limit is for a database that was edited. */
    while (parent_id != 0 && level < 64) {
        const struct state_domain *parent = refs_domain(refs, parent_id);

        level++;
        parent_id = parent != NULL ? parent->parent_id : 0;
    }
    return level;
}

static bool
has_child(struct refs *refs, int64_t domain_id)
{
    const struct state_where where[] = {STATE_INT("parent_id", domain_id),
                                        STATE_LIVING};
    uint64_t count = 0;
    struct error err = ERROR_INIT;

    if (state_domain_count(refs->tx, STATE_QUERY(where), &count, &err) < 0)
        refs_keep(refs, &err);
    return count > 0;
}

static json_t *
domain_object(struct refs *refs, const struct state_domain *domain)
{
    json_t *object = object_new();
    const struct state_domain *parent;

    object_set_text(object, "id", domain->uuid);
    object_set_text(object, "name", domain->name);
    object_set_text(object, "path", domain->path);
    object_set_number(object, "level", level_of(refs, domain->parent_id));
    object_set_bool(object, "haschild", has_child(refs, domain->id));
    parent = refs_domain(refs, domain->parent_id);
    if (parent != NULL) {
        object_set_text(object, "parentdomainid", parent->uuid);
        object_set_text(object, "parentdomainname", parent->name);
    }
    object_set_text(object, "state", "Active");
    object_set_date(object, "created", domain->created);
    return object;
}

/* 1 yes, 0 no, -1 failed. */
static int
is_asked_domain(struct call *call, const struct state_domain *domain,
                int64_t id, struct error *err)
{
    bool all = id != 0 || call_flag(call, "listall", false) ||
               call->caller.role == ROLE_ROOT_ADMIN;

    if ((id != 0 && domain->id != id) ||
        !is_asked(call, "name", domain->name) ||
        (call_has(call, "level") &&
         call_number(call, "level", 0) !=
             level_of(call->refs, domain->parent_id)))
        return 0;
    if (domain->id == call->caller.domain_id)
        return 1;
    return !all ? 0
                : access_may_see(call_tx(call), &call->caller, 0, domain->id,
                                 err);
}

int
users_list_domains(struct call *call, struct listing *listing,
                   struct error *err)
{
    const struct state_where where[] = {STATE_LIVING};
    AUTO_STATE_LIST(domain) rows = {0};
    int64_t id;

    if (find_asked(call, find_domain, &id, err) < 0 ||
        state_domain_list(call_tx(call), STATE_QUERY(where), &rows, err) < 0)
        return -1;
    for (size_t i = 0; i < rows.count; i++) {
        const struct state_domain *domain = &rows.items[i];
        int asked = is_asked_domain(call, domain, id, err);

        if (asked < 0)
            return -1;
        if (asked > 0 && listing_wants(listing, domain->name, NULL))
            listing_add(listing, domain_object(call->refs, domain));
    }
    return 0;
}

/* -- keys ---------------------------------------------------------------- */

static void
answer_keys(json_t *body, const char *api_key, const char *secret_key)
{
    json_t *object = object_new();

    object_set_text(object, "apikey", api_key);
    object_set_text(object, "secretkey", secret_key);
    object_set(body, "userkeys", object);
}

int
users_register_keys(struct call *call, json_t *body, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx =
        state_begin_write(engine_state(call->engine), err);
    struct accounts_keys keys;

    if (tx == NULL ||
        accounts_register_keys(tx, &call->caller, call_text(call, "id"), &keys,
                               err) < 0 ||
        state_commit(tx, err) < 0)
        return -1;
    answer_keys(body, keys.api_key, keys.secret_key);
    return 0;
}

/* The own ones, or those of somebody below: a secret key is as good as its
 * user. */
static bool
may_have_keys(struct call *call, const struct state_user *user)
{
    const struct state_account *account =
        refs_account(call->refs, user->account_id);

    return user->id == call->caller.user_id || call_is_root(call) ||
           (call->caller.role == ROLE_DOMAIN_ADMIN && account != NULL &&
            account->type == ROLE_USER);
}

int
users_get_keys(struct call *call, json_t *body, struct error *err)
{
    const struct state_user *user;
    int64_t id;

    if (call_read(call, err) < 0 ||
        find_required(call, "id", find_user, &id, err) < 0)
        return -1;
    user = refs_user(call->refs, id);
    if (user == NULL || !may_have_keys(call, user))
        return error_set(err, ERROR_DENIED,
                         "the keys of user '%s' are not yours to see",
                         call_text(call, "id"));
    answer_keys(body, user->api_key, user->secret_key);
    return 0;
}
