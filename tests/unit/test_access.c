/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises of access.h and events.h, on this tree of tenants:
 *
 *     ROOT /            root (1)
 *       sales           admin of sales (2), anna (3)
 *         eu            berta (4)
 *       sales2          carl (5)
 */
#include "engine/access.h"
#include "engine/events.h"

#include "base/memory.h"

#include "check.h"
#include "oracle.h"

static struct scratch scratch;
static struct state *state;

static const struct {
    const char *name;
    const char *path;
    int64_t parent;
} domains[] = {
    {"ROOT", "/", 0},
    {"sales", "/sales/", 1},
    {"eu", "/sales/eu/", 2},
    {"sales2", "/sales2/", 1},
};

static const struct {
    const char *name;
    int64_t domain;
    enum role role;
} accounts[] = {
    {"root", 1, ROLE_ROOT_ADMIN}, {"admin", 2, ROLE_DOMAIN_ADMIN},
    {"anna", 2, ROLE_USER},       {"berta", 3, ROLE_USER},
    {"carl", 4, ROLE_USER},
};
#define ACCOUNTS ARRAY_SIZE(accounts)
enum { ROOT = 1, ADMIN, ANNA, BERTA, CARL };

static void
plant(void)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);

    REQUIRE(tx != NULL);
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
        AUTO_STATE(domain) row = {.parent_id = domains[i].parent};

        row.uuid = xasprintf("domain-%zu", i + 1);
        state_set_text(&row.name, domains[i].name);
        state_set_text(&row.path, domains[i].path);
        CHECK_OK(state_domain_insert(tx, &row, &err), &err);
    }
    for (size_t i = 0; i < ACCOUNTS; i++) {
        AUTO_STATE(account)
        row = {.domain_id = accounts[i].domain, .type = accounts[i].role};
        AUTO_STATE(vm)
        vm = {.account_id = (int64_t)i + 1, .domain_id = accounts[i].domain};

        row.uuid = xasprintf("account-%zu", i + 1);
        state_set_text(&row.name, accounts[i].name);
        CHECK_OK(state_account_insert(tx, &row, &err), &err);
        vm.uuid = xasprintf("vm-%zu", i + 1);
        CHECK_OK(state_vm_insert(tx, &vm, &err), &err);
    }
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
}

static struct caller
caller_of(int64_t account)
{
    return (struct caller){.user_id = account,
                           .account_id = account,
                           .domain_id = accounts[account - 1].domain,
                           .role = accounts[account - 1].role};
}

static void
objects_are_seen_by_owner_and_admins_above(void)
{
    static const char *const sees[] = {
        [ROOT] = "11111",  [ADMIN] = "01110", [ANNA] = "00100",
        [BERTA] = "00010", [CARL] = "00001",
    };
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &err);

    REQUIRE(tx != NULL);
    for (int64_t who = ROOT; who <= CARL; who++)
        for (int64_t whose = ROOT; whose <= CARL; whose++) {
            struct caller caller = caller_of(who);
            int may = access_may_see(tx, &caller, whose,
                                     accounts[whose - 1].domain, &err);

            if (may != sees[who][whose - 1] - '0')
                printf("# %s and %s\n", accounts[who - 1].name,
                       accounts[whose - 1].name);
            CHECK(may == sees[who][whose - 1] - '0');
        }
}

static void
nobody_sees_nothing(void)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &err);
    const struct caller nobody = {0};
    const struct caller forged = {.role = ROLE_ROOT_ADMIN};
    const struct access_filter all = {.list_all = true};
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};

    REQUIRE(tx != NULL);
    CHECK(access_may_see(tx, &nobody, 0, 0, &err) == 0);
    CHECK(access_may_see(tx, &nobody, ANNA, 2, &err) == 0);
    CHECK(access_may_see(tx, &forged, ANNA, 2, &err) == 0);
    CHECK(access_scope_init(&scope, tx, &nobody, &all, &err) < 0);
    CHECK(err.code == ERROR_AUTH);
}

/* Whose machines a list shows, as "1 3", or the name of the error. */
static const char *
shown(int64_t who, struct access_filter filter)
{
    static char text[64];
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(state, &err);
    AUTO_ACCESS_SCOPE struct access_scope scope = {0};
    AUTO_STATE_LIST(vm) list = {0};
    AUTO_STATE_LIST(vm) all = {0};
    struct caller caller = caller_of(who);
    struct state_query query = {.where = scope.where};
    size_t length = 0;
    size_t matching = 0;

    if (tx == NULL || access_scope_init(&scope, tx, &caller, &filter, &err) < 0)
        return error_code_name(err.code);
    query.where_count = scope.count;
    CHECK_OK(state_vm_list(tx, &query, &list, &err), &err);
    CHECK_OK(state_vm_list(tx, STATE_ALL, &all, &err), &err);
    text[0] = '\0';
    for (size_t i = 0; i < list.count; i++) {
        CHECK(access_scope_has(&scope, list.items[i].account_id,
                               list.items[i].domain_id));
        length +=
            (size_t)snprintf(text + length, sizeof(text) - length, "%s%d",
                             i > 0 ? " " : "", (int)list.items[i].account_id);
    }
    for (size_t i = 0; i < all.count; i++)
        matching += access_scope_has(&scope, all.items[i].account_id,
                                     all.items[i].domain_id);
    CHECK(matching == list.count);
    return text;
}

#define SHOWN(who, ...) shown(who, (struct access_filter){__VA_ARGS__})

static void
a_list_shows_own_objects_unless_asked_for_all(void)
{
    CHECK_TEXT(SHOWN(ROOT, .account = NULL), "1");
    CHECK_TEXT(SHOWN(ADMIN, .account = NULL), "2");
    CHECK_TEXT(SHOWN(ANNA, .account = NULL), "3");
    CHECK_TEXT(SHOWN(ROOT, .list_all = true), "1 2 3 4 5");
    CHECK_TEXT(SHOWN(ADMIN, .list_all = true), "2 3 4");
    CHECK_TEXT(SHOWN(ANNA, .list_all = true), "3");
    CHECK_TEXT(SHOWN(ROOT, .is_by_id = true), "1 2 3 4 5");
    CHECK_TEXT(SHOWN(ADMIN, .is_by_id = true), "2 3 4");
    CHECK_TEXT(SHOWN(ANNA, .is_by_id = true), "3");
}

static void
a_domain_limits_the_list_to_itself_or_what_is_below(void)
{
    CHECK_TEXT(SHOWN(ROOT, .domain = "domain-2"), "2 3");
    CHECK_TEXT(SHOWN(ROOT, .domain = "domain-2", .is_recursive = true),
               "2 3 4");
    CHECK_TEXT(SHOWN(ROOT, .domain = "domain-1", .is_recursive = true),
               "1 2 3 4 5");
    CHECK_TEXT(SHOWN(ROOT, .domain = "domain-4", .list_all = true), "5");
    CHECK_TEXT(SHOWN(ADMIN, .domain = "domain-3"), "4");
    CHECK_TEXT(SHOWN(ADMIN, .domain = "domain-4"), "DENIED");
    CHECK_TEXT(SHOWN(ADMIN, .domain = "domain-1"), "DENIED");
    CHECK_TEXT(SHOWN(ANNA, .domain = "domain-2"), "3");
    CHECK_TEXT(SHOWN(ANNA, .domain = "domain-3"), "DENIED");
    CHECK_TEXT(SHOWN(ROOT, .domain = "domain-9"), "NOT_FOUND");
}

static void
an_account_is_looked_for_in_its_domain(void)
{
    CHECK_TEXT(SHOWN(ROOT, .account = "anna", .domain = "domain-2"), "3");
    CHECK_TEXT(SHOWN(ROOT, .account = "anna"), "NOT_FOUND");
    CHECK_TEXT(SHOWN(ROOT, .account = "root"), "1");
    CHECK_TEXT(SHOWN(ADMIN, .account = "anna"), "3");
    CHECK_TEXT(SHOWN(ADMIN, .account = "berta", .domain = "domain-3"), "4");
    CHECK_TEXT(SHOWN(ADMIN, .account = "carl", .domain = "domain-4"), "DENIED");
    CHECK_TEXT(SHOWN(ANNA, .account = "anna"), "3");
    CHECK_TEXT(SHOWN(ANNA, .account = "admin"), "DENIED");
}

static void
an_event_keeps_what_it_is_told(void)
{
    struct error err = ERROR_INIT;
    struct state_tx *tx = state_begin_write(state, &err);
    AUTO_STATE_LIST(event) list = {0};
    AUTO_STATE_LIST(usage_event) usage = {0};
    const struct events_new failed = {
        .type = "VMSNAPSHOT.CREATE",
        .level = "ERROR",
        .description = "no space",
        .account_id = ANNA,
        .domain_id = 2,
        .user_id = 9,
        .resource_type = "VmSnapshot",
        .resource_uuid = "u",
    };
    const struct events_new bare = {.type = "X", .account_id = ANNA};

    REQUIRE(tx != NULL);
    CHECK_OK(events_record(tx, &failed, &err), &err);
    CHECK_OK(events_usage(tx, "SNAPSHOT.CREATE", ANNA, "u", "n", 5, 10, &err),
             &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    events_record_now(state, &bare);
    tx = state_begin_read(state, &err);
    REQUIRE(tx != NULL);
    CHECK_OK(state_event_list(tx, STATE_ALL, &list, &err), &err);
    CHECK_OK(state_usage_event_list(tx, STATE_ALL, &usage, &err), &err);
    state_end(tx);
    REQUIRE(list.count == 2 && usage.count == 1);
    CHECK_TEXT(list.items[0].type, "VMSNAPSHOT.CREATE");
    CHECK_TEXT(list.items[0].level, "ERROR");
    CHECK_TEXT(list.items[0].state, "Completed");
    CHECK_TEXT(list.items[0].resource_uuid, "u");
    CHECK(list.items[0].created > 0 && list.items[0].user_id == 9);
    CHECK_TEXT(list.items[1].level, "INFO");
    CHECK(list.items[1].description == NULL);
    CHECK(usage.items[0].size == 5 && usage.items[0].virtual_size == 10);
}

int
main(void)
{
    struct error err = ERROR_INIT;
    char *path;

    scratch_enter(&scratch);
    path = scratch_file(&scratch, "varve.db");
    state = state_open(path, &err);
    if (state == NULL) {
        printf("Bail out! %s\n", err.message);
        return 1;
    }
    plant();
    RUN(objects_are_seen_by_owner_and_admins_above);
    RUN(nobody_sees_nothing);
    RUN(a_list_shows_own_objects_unless_asked_for_all);
    RUN(a_domain_limits_the_list_to_itself_or_what_is_below);
    RUN(an_account_is_looked_for_in_its_domain);
    RUN(an_event_keeps_what_it_is_told);
    state_close(state);
    free(path);
    scratch_leave(&scratch);
    return check_done();
}
