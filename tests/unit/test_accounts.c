/* SPDX-License-Identifier: Apache-2.0 */
/* The promises of accounts.h and bootstrap.h. */
#include "engine/accounts.h"
#include "engine/bootstrap.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "oracle.h"

static struct scratch scratch;
static char *path;
static char *credentials;
static struct state *state;

static const char *const stores[] = {"/srv/first", "/srv/second"};
static struct bootstrap_config config = {
    .endpoint = "http://127.0.0.1:8080/client/api",
    .host_name = "host1",
    .libvirt_uri = "qemu:///system",
    .repositories = stores,
    .repository_count = 1,
};

static void
open_state(void)
{
    struct error err = ERROR_INIT;

    state = state_open(path, &err);
    if (state == NULL) {
        printf("Bail out! %s\n", err.message);
        abort();
    }
}

static struct bootstrap_result
start(void)
{
    struct error err = ERROR_INIT;
    struct bootstrap_result result = {0};

    CHECK_OK(bootstrap_run(state, &config, &result, &err), &err);
    return result;
}

/* A value of the credentials file; the caller frees it. */
static char *
credential(const char *name)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *key = xasprintf("\n%s = ", name);
    char *at;

    if (fd_read_file(credentials, 4096, &text, NULL, &err) < 0)
        return xstrdup(err.message);
    at = strstr(text, key);
    if (at == NULL)
        return xstrdup("(none)");
    at += strlen(key);
    return xstrndup(at, strcspn(at, "\n"));
}

static enum error_code
login(const char *domain, const char *username, const char *password,
      struct caller *ret_caller)
{
    struct error err = ERROR_INIT;

    return accounts_login(state, domain, username, password, ret_caller,
                          &err) == 0
               ? ERROR_NONE
               : err.code;
}

static int
find_key(const char *key, struct caller *ret_caller, char **ret_secret)
{
    char *unwanted = NULL;
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &err);

    return tx != NULL
               ? accounts_find_key(tx, key, ret_caller,
                                   ret_secret != NULL ? ret_secret : &unwanted,
                                   &err)
               : -1;
}

/* -- the first start ----------------------------------------------------- */

static void
a_crash_at_the_first_start_is_made_good_by_the_next(void)
{
    pid_t pid;
    int status = 0;
    AUTO_FREE char *before = NULL;
    AUTO_FREE char *after = NULL;
    struct caller caller;

    state_close(state);
    pid = fork();
    if (pid == 0) {
        open_state();
        fault_arm("bootstrap.credentials", 1, FAULT_KILL);
        (void)start();
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_state();
    before = credential("key");
    CHECK(strlen(before) == 64);
    CHECK(find_key(before, &caller, NULL) == 0);
    CHECK(start().has_made_admin);
    after = credential("key");
    CHECK(strcmp(before, after) != 0);
}

static void
the_first_start_makes_an_administrator_with_credentials(void)
{
    AUTO_FREE char *key = credential("key");
    AUTO_FREE char *secret = credential("secret");
    AUTO_FREE char *username = credential("username");
    AUTO_FREE char *password = credential("password");
    AUTO_FREE char *endpoint = credential("endpoint");
    AUTO_FREE char *stored = NULL;
    struct stat about;
    struct caller caller = {0};

    CHECK(stat(credentials, &about) == 0 && (about.st_mode & 0777) == 0600);
    CHECK(strlen(key) == 64 && strlen(secret) == 64);
    CHECK(strcmp(key, secret) != 0);
    CHECK(strlen(password) == ACCOUNTS_PASSWORD_SIZE - 1);
    CHECK_TEXT(username, "admin");
    CHECK_TEXT(endpoint, config.endpoint);
    CHECK(login("/", username, password, &caller) == ERROR_NONE);
    CHECK(caller.role == ROLE_ROOT_ADMIN && caller.account_id == 1);
    CHECK(find_key(key, &caller, &stored) == 1);
    CHECK_TEXT(stored, secret);
    CHECK(caller.user_id == 1 && caller.domain_id == 1);
}

static void
clients_of_cloudstack_can_read_the_credentials(void)
{
    AUTO_FREE char *output =
        oracle_output("python3", "-c",
                      "import configparser, sys\n"
                      "c = configparser.ConfigParser()\n"
                      "c.read(sys.argv[1])\n"
                      "print(sorted(c['cloudstack'].keys()))\n",
                      credentials);

    CHECK_TEXT(output,
               "['endpoint', 'key', 'password', 'secret', 'username']\n");
}

static void
later_starts_change_nothing(void)
{
    AUTO_FREE char *before = credential("key");
    struct bootstrap_result first = start();
    struct bootstrap_result second;
    AUTO_FREE char *after = NULL;

    CHECK(!first.has_made_admin);
    CHECK(first.zone_id == 1 && first.cluster_id == 1);
    CHECK(first.host_id == 1 && first.image_store_id == 1);
    CHECK(unlink(credentials) == 0);
    second = start();
    CHECK(memcmp(&first, &second, sizeof(first)) == 0);
    after = credential("key");
    CHECK(strcmp(before, after) != 0);
    CHECK(!fd_exists(credentials)); /* written once, not again */
}

static void
a_new_repository_gets_a_store_and_the_old_one_stays(void)
{
    struct error err = ERROR_INIT;
    uint64_t count = 0;
    struct state_tx *tx;

    config.repository_count = 2;
    CHECK(start().image_store_id == 1);
    config.repositories = stores + 1;
    config.repository_count = 1;
    CHECK(start().image_store_id == 2);
    config.repositories = stores;
    tx = state_begin_read(state, &err);
    REQUIRE(tx != NULL);
    CHECK_OK(state_image_store_count(tx, STATE_ALL, &count, &err), &err);
    CHECK(count == 2);
    state_end(tx);
}

static void
a_host_that_was_renamed_or_moved_stays_the_same_host(void)
{
    config.host_name = "host2";
    CHECK(start().host_id == 1);
    config.libvirt_uri = "qemu+unix:///system";
    CHECK(start().host_id == 1);
    config.host_name = NULL;
    CHECK(start().host_id == 1);
    config.host_name = "other";
    config.libvirt_uri = "qemu:///session";
    CHECK(start().host_id == 2);
}

/* -- passwords ------------------------------------------------------------ */

static void
a_hash_is_yescrypt_and_fits_its_password_only(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *hash = accounts_hash_password("correct horse", &err);
    AUTO_FREE char *again = accounts_hash_password("correct horse", &err);

    REQUIRE(hash != NULL && again != NULL);
    CHECK(strncmp(hash, "$y$", 3) == 0);
    CHECK(strcmp(hash, again) != 0); /* the salt */
    CHECK(accounts_verify_password(hash, "correct horse"));
    CHECK(!accounts_verify_password(hash, "correct hors"));
    CHECK(!accounts_verify_password(hash, ""));
    CHECK(!accounts_verify_password(NULL, "correct horse"));
    CHECK(!accounts_verify_password("", ""));
    CHECK(!accounts_verify_password("!", "!"));
    CHECK(!accounts_verify_password("*", "*"));
    CHECK(!accounts_verify_password("*0", "x"));
    CHECK(!accounts_verify_password(hash, hash));
}

static void
passwords_out_of_bounds_are_refused(void)
{
    struct error err = ERROR_INIT;
    char huge[ACCOUNTS_PASSWORD_MAX + 2];

    memset(huge, 'x', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    CHECK(accounts_hash_password(huge, &err) == NULL);
    CHECK(err.code == ERROR_INVALID);
    CHECK(accounts_hash_password("", &err) == NULL);
    CHECK(!accounts_verify_password(NULL, huge));
}

static void
secrets_are_compared_whole(void)
{
    CHECK(accounts_is_same_secret("abc", "abc"));
    CHECK(accounts_is_same_secret("", ""));
    CHECK(!accounts_is_same_secret("abc", "abd"));
    CHECK(!accounts_is_same_secret("abc", "ab"));
    CHECK(!accounts_is_same_secret("abc", "abcabc"));
    CHECK(!accounts_is_same_secret("abc", ""));
    CHECK(!accounts_is_same_secret("", "abc"));
}

/* -- users ---------------------------------------------------------------- */

/* Domain "d" below ROOT, an account of that role in it, a user of that name;
 * all with the same id where they are the first. */
static int64_t
add_user(struct state_tx *tx, int64_t domain_id, enum role role,
         const char *name)
{
    struct error err = ERROR_INIT;
    AUTO_STATE(account) account = {.domain_id = domain_id, .type = role};
    AUTO_STATE(user) user = {0};

    account.uuid = xasprintf("account-%s", name);
    state_set_text(&account.name, name);
    state_set_text(&account.state, "enabled");
    CHECK_OK(state_account_insert(tx, &account, &err), &err);
    user.uuid = xasprintf("user-%s", name);
    user.account_id = account.id;
    state_set_text(&user.username, name);
    state_set_text(&user.state, "enabled");
    user.api_key = xasprintf("key-%s", name);
    state_set_text(&user.secret_key, "secret");
    user.password_hash = accounts_hash_password(name, &err);
    CHECK_OK(state_user_insert(tx, &user, &err), &err);
    return user.id;
}

static struct {
    int64_t boss; /* domain admin of /d/ */
    int64_t anna; /* users of /d/ */
    int64_t berta;
} people;

static void
add_people(void)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE(domain) domain = {.parent_id = 1};

    REQUIRE(tx != NULL);
    state_set_text(&domain.uuid, "domain-d");
    state_set_text(&domain.path, "/d/");
    CHECK_OK(state_domain_insert(tx, &domain, &err), &err);
    people.boss = add_user(tx, domain.id, ROLE_DOMAIN_ADMIN, "boss");
    people.anna = add_user(tx, domain.id, ROLE_USER, "anna");
    people.berta = add_user(tx, domain.id, ROLE_USER, "berta");
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
}

static void
a_login_names_the_domain_in_any_usual_way(void)
{
    static const char *const right[] = {"/d", "d", "/d/", "ROOT/d", "d/"};
    static const char *const wrong[] = {"", "/", "ROOT", "/e", "//", "/d/d"};
    struct caller caller = {0};

    for (size_t i = 0; i < ARRAY_SIZE(right); i++)
        CHECK(login(right[i], "anna", "anna", &caller) == ERROR_NONE);
    CHECK(caller.role == ROLE_USER && caller.user_id == people.anna);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        CHECK(login(wrong[i], "anna", "anna", &caller) == ERROR_AUTH);
    CHECK(login("/d", "anna", "berta", &caller) == ERROR_AUTH);
    CHECK(login("/d", "nobody", "anna", &caller) == ERROR_AUTH);
    CHECK(login("/d", "", "", &caller) == ERROR_AUTH);
}

static void
update_user(int64_t id, const char *new_state, int64_t removed)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE(user) user = {0};

    REQUIRE(tx != NULL);
    CHECK_OK(state_user_get(tx, id, &user, &err), &err);
    state_set_text(&user.state, new_state);
    user.removed = removed;
    CHECK_OK(state_user_update(tx, &user, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

static void
update_account(int64_t user_id, const char *new_state)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE(user) user = {0};
    AUTO_STATE(account) account = {0};

    REQUIRE(tx != NULL);
    CHECK_OK(state_user_get(tx, user_id, &user, &err), &err);
    CHECK_OK(state_account_get(tx, user.account_id, &account, &err), &err);
    state_set_text(&account.state, new_state);
    CHECK_OK(state_account_update(tx, &account, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

/* The ways in that are open to anna: p password, k key, s session. */
static const char *
ways_in(void)
{
    static char ways[4];
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_FREE char *secret = NULL;
    struct caller caller;
    size_t count = 0;

    if (login("/d", "anna", "anna", &caller) == ERROR_NONE)
        ways[count++] = 'p';
    if (find_key("key-anna", &caller, &secret) == 1)
        ways[count++] = 'k';
    tx = state_begin_read(state, &err);
    if (tx != NULL && accounts_caller(tx, people.anna, &caller, &err) == 1)
        ways[count++] = 's';
    ways[count] = '\0';
    return ways;
}

static void
who_is_not_enabled_gets_in_no_way(void)
{
    CHECK_TEXT(ways_in(), "pks");
    update_user(people.anna, "disabled", 0);
    CHECK_TEXT(ways_in(), "");
    update_user(people.anna, "enabled", 5);
    CHECK_TEXT(ways_in(), "");
    update_user(people.anna, "enabled", 0);
    update_account(people.anna, "locked");
    CHECK_TEXT(ways_in(), "");
    update_account(people.anna, "enabled");
    CHECK_TEXT(ways_in(), "pks");
}

static void
root_of_the_machine_acts_as_the_administrator(void)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_read(state, &err);
    struct caller caller = {0};

    REQUIRE(tx != NULL);
    CHECK(accounts_root(tx, &caller, &err) == 1);
    CHECK(caller.role == ROLE_ROOT_ADMIN && caller.user_id == 1);
    state_end(tx);
    update_user(1, "disabled", 0);
    tx = state_begin_read(state, &err);
    REQUIRE(tx != NULL);
    CHECK(accounts_root(tx, &caller, &err) == 0);
    state_end(tx);
    update_user(1, "enabled", 0);
}

static enum error_code
register_keys(int64_t who, const char *user, struct accounts_keys *ret_keys)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(state, &err);
    struct caller caller;

    if (tx == NULL || accounts_caller(tx, who, &caller, &err) != 1 ||
        accounts_register_keys(tx, &caller, user, ret_keys, &err) < 0 ||
        state_commit(tx, &err) < 0)
        return err.code;
    return ERROR_NONE;
}

static void
new_keys_end_the_old_ones(void)
{
    struct accounts_keys keys = {0};
    struct caller caller = {0};
    AUTO_FREE char *secret = NULL;

    CHECK(register_keys(people.anna, "user-anna", &keys) == ERROR_NONE);
    CHECK(strlen(keys.api_key) == 64 && strlen(keys.secret_key) == 64);
    CHECK(find_key("key-anna", &caller, NULL) == 0);
    CHECK(find_key(keys.api_key, &caller, &secret) == 1);
    CHECK_TEXT(secret, keys.secret_key);
    CHECK(caller.user_id == people.anna);
}

static void
keys_are_given_to_whom_one_may_see_and_to_no_higher_role(void)
{
    struct accounts_keys keys;
    AUTO_FREE char *admin = NULL;
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_read(state, &err);
    AUTO_STATE(user) user = {0};

    REQUIRE(tx != NULL);
    CHECK_OK(state_user_get(tx, 1, &user, &err), &err);
    admin = xstrdup(user.uuid);
    state_end(tx);
    CHECK(register_keys(people.anna, "user-berta", &keys) == ERROR_NOT_FOUND);
    CHECK(register_keys(people.anna, "user-boss", &keys) == ERROR_NOT_FOUND);
    CHECK(register_keys(people.boss, "user-anna", &keys) == ERROR_NONE);
    CHECK(register_keys(people.boss, "user-boss", &keys) == ERROR_NONE);
    CHECK(register_keys(people.boss, admin, &keys) == ERROR_NOT_FOUND);
    CHECK(register_keys(1, "user-anna", &keys) == ERROR_NONE);
    CHECK(register_keys(1, "no-such-user", &keys) == ERROR_NOT_FOUND);
}

static void
another_user_of_the_own_account_has_the_same_role(void)
{
    struct error err = ERROR_INIT;
    struct accounts_keys keys;
    struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE(account) account = {.domain_id = 2, .type = ROLE_ROOT_ADMIN};
    AUTO_STATE(user) user = {0};

    /* A root admin's account inside the domain of a domain admin. */
    REQUIRE(tx != NULL);
    state_set_text(&account.uuid, "account-high");
    state_set_text(&account.state, "enabled");
    CHECK_OK(state_account_insert(tx, &account, &err), &err);
    user.account_id = account.id;
    state_set_text(&user.uuid, "user-high");
    state_set_text(&user.username, "high");
    CHECK_OK(state_user_insert(tx, &user, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    CHECK(register_keys(people.boss, "user-high", &keys) == ERROR_DENIED);
    CHECK(register_keys(1, "user-high", &keys) == ERROR_NONE);
}

static void
lists_show_accounts_and_users_of_the_scope(void)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &err);
    static const struct {
        int64_t who;
        bool all;
        size_t count;
    } cases[] = {{1, true, 5}, {1, false, 1}, {2, true, 4}, {3, true, 1}};

    REQUIRE(tx != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct access_filter filter = {.list_all = cases[i].all};
        AUTO_ACCESS_SCOPE struct access_scope scope = {0};
        AUTO_STATE_LIST(account) accounts = {0};
        AUTO_STATE_LIST(user) users = {0};
        struct caller caller;

        REQUIRE(accounts_caller(tx, cases[i].who, &caller, &err) == 1);
        CHECK_OK(access_scope_init(&scope, tx, &caller, &filter, &err), &err);
        CHECK_OK(accounts_list(tx, &scope, &accounts, &err), &err);
        CHECK_OK(accounts_list_users(tx, &scope, &users, &err), &err);
        CHECK(accounts.count == cases[i].count);
        CHECK(users.count == cases[i].count);
    }
}

int
main(void)
{
    log_set_level(LOG_LEVEL_WARNING);
    scratch_enter(&scratch);
    config.state_dir = scratch.path;
    path = scratch_file(&scratch, "varve.db");
    credentials = scratch_file(&scratch, BOOTSTRAP_CREDENTIALS);
    open_state();
    RUN(a_crash_at_the_first_start_is_made_good_by_the_next);
    RUN(the_first_start_makes_an_administrator_with_credentials);
    RUN(clients_of_cloudstack_can_read_the_credentials);
    RUN(later_starts_change_nothing);
    RUN(a_new_repository_gets_a_store_and_the_old_one_stays);
    RUN(a_host_that_was_renamed_or_moved_stays_the_same_host);
    RUN(a_hash_is_yescrypt_and_fits_its_password_only);
    RUN(passwords_out_of_bounds_are_refused);
    RUN(secrets_are_compared_whole);
    add_people();
    RUN(a_login_names_the_domain_in_any_usual_way);
    RUN(who_is_not_enabled_gets_in_no_way);
    RUN(root_of_the_machine_acts_as_the_administrator);
    RUN(new_keys_end_the_old_ones);
    RUN(keys_are_given_to_whom_one_may_see_and_to_no_higher_role);
    RUN(another_user_of_the_own_account_has_the_same_role);
    RUN(lists_show_accounts_and_users_of_the_scope);
    state_close(state);
    free(path);
    free(credentials);
    scratch_leave(&scratch);
    return check_done();
}
