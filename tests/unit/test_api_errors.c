/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bad input: every command of the table with parameters that are missing,
 * malformed, too long, unknown, removed or somebody else's.
 */
#include "api/commands.h"

#include "api_fixture.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"

static struct fixture fx;

#define ID FIXTURE_ID

/* Ask as `who`: the status must be `status`, and the text of the error must
 * hold `text`, unless that is NULL. */
static void
refused(const char *who, const char *query, int status, const char *text)
{
    AUTO_ANSWER struct answer answer = {0};
    const char *got;

    fixture_ask(&fx, who, query, &answer);
    got = answer_text(&answer, "errortext");
    CHECK(answer.status == status);
    CHECK(got != NULL);
    CHECK(answer_number(&answer, "errorcode") == status);
    CHECK(json_is_array(answer_at(&answer, "uuidList")));
    CHECK(answer_at(&answer, "cserrorcode") != NULL);
    if (text != NULL)
        CHECK(got != NULL && strstr(got, text) != NULL);
    if (answer.status != status ||
        (text != NULL && (got == NULL || strstr(got, text) == NULL)))
        printf("# %s: %s: %s\n", who, query, answer.text);
}

/* -- from the table ------------------------------------------------------ */

/* A value that is written as it should be. */
static const char *
good_value(const struct command_param *param)
{
    switch (param->type) {
    case PARAMS_UUID:
    case PARAMS_UUIDS:
        return strcmp(param->name, "zoneid") == 0 ? ID("01", "1")
                                                  : FIXTURE_NOBODY;
    case PARAMS_BOOL:
        return "true";
    case PARAMS_INT:
    case PARAMS_LONG:
        return "1";
    case PARAMS_DATE:
        return "2026-03-01";
    case PARAMS_STRING:
    case PARAMS_TEXT:
    case PARAMS_LIST:
    case PARAMS_MAP:
    default:
        return "x";
    }
}

/* The command with every required parameter but `without`. */
static void
start_query(struct strbuf *query, const struct command *command,
            const char *without)
{
    strbuf_clear(query);
    strbuf_addf(query, "command=%s", command->name);
    for (const struct command_param *p = command->params; p->name != NULL;
         p++) {
        if (p->required && strcmp(p->name, without) != 0)
            strbuf_addf(query, "&%s=%s", p->name, good_value(p));
    }
}

static bool
needs_no_login(const struct command *command)
{
    return command->role == COMMAND_ANYONE;
}

static void
a_required_parameter_that_is_missing_is_431_and_named(void)
{
    AUTO_STRBUF struct strbuf query = STRBUF_INIT;
    unsigned tried = 0;

    for (const struct command *c = command_table; c->name != NULL; c++) {
        for (const struct command_param *p = c->params; p->name != NULL; p++) {
            if (!p->required || needs_no_login(c))
                continue;
            start_query(&query, c, p->name);
            refused("admin", strbuf_text(&query), 431, p->name);
            /* An empty one is none. */
            strbuf_addf(&query, "&%s=", p->name);
            refused("admin", strbuf_text(&query), 431, p->name);
            tried++;
        }
    }
    CHECK(tried > 25);
}

static void
try_bad(const struct command *command, const struct command_param *param,
        const char *value, int status)
{
    AUTO_STRBUF struct strbuf query = STRBUF_INIT;

    if (needs_no_login(command))
        return;
    start_query(&query, command, param->name);
    strbuf_addf(&query, "&%s=%s", param->name, value);
    refused("admin", strbuf_text(&query), status, param->name);
}

static void
try_type(const struct command *command, const struct command_param *param)
{
    AUTO_STRBUF struct strbuf longer = STRBUF_INIT;

    for (int i = 0; i <= PARAMS_LONG_TEXT_MAX; i++)
        strbuf_addc(&longer, 'x');
    switch (param->type) {
    case PARAMS_UUID:
    case PARAMS_UUIDS:
        try_bad(command, param, "17", 431);
        try_bad(command, param, "'+or+1%3D1+--", 431);
        try_bad(command, param, "%C3%A9", 431);
        break;
    case PARAMS_BOOL:
        try_bad(command, param, "maybe", 430);
        break;
    case PARAMS_INT:
    case PARAMS_LONG:
        try_bad(command, param, "many", 430);
        try_bad(command, param, "99999999999999999999", 430);
        break;
    case PARAMS_DATE:
        try_bad(command, param, "yesterday", 430);
        break;
    case PARAMS_STRING:
    case PARAMS_TEXT:
        try_bad(command, param, strbuf_text(&longer), 431);
        try_bad(command, param, "a%01b", 431);
        try_bad(command, param, "a%FFb", 430);
        break;
    case PARAMS_MAP:
        try_bad(command, param, "x", 430);
        break;
    case PARAMS_LIST:
    default:
        break;
    }
}

static void
a_malformed_parameter_is_430_or_431_and_named(void)
{
    const struct command_param *shared;

    for (const struct command *c = command_table; c->name != NULL; c++) {
        for (const struct command_param *p = c->params; p->name != NULL; p++)
            try_type(c, p);
        for (size_t i = 0; (shared = command_shared_param(c, i)) != NULL; i++)
            try_type(c, shared);
    }
}

/* Those that are only compared, or that name what is looked for elsewhere. */
static bool
is_not_looked_up(const struct command *command, const char *name)
{
    static const char *const pairs[][2] = {
        {"listEvents", "resourceid"},
        {"restoreBackup", "hostid"},
        {"listApis", "name"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        if (strcmp(command->name, pairs[i][0]) == 0 &&
            strcmp(name, pairs[i][1]) == 0)
            return true;
    }
    return strcmp(command->object->name, "nothing") == 0;
}

static void
an_id_of_nothing_is_431_and_told(void)
{
    AUTO_STRBUF struct strbuf query = STRBUF_INIT;
    const struct command_param *shared;
    unsigned tried = 0;

    for (const struct command *c = command_table; c->name != NULL; c++) {
        for (const struct command_param *p = c->params; p->name != NULL; p++) {
            if ((p->type != PARAMS_UUID && p->type != PARAMS_UUIDS) ||
                needs_no_login(c) || is_not_looked_up(c, p->name))
                continue;
            start_query(&query, c, p->name);
            strbuf_addf(&query, "&%s=%s", p->name, FIXTURE_NOBODY);
            refused("admin", strbuf_text(&query), 431, NULL);
            tried++;
        }
        shared = command_param(c, "domainid");
        if (shared != NULL && !needs_no_login(c) &&
            (c->shared & COMMAND_OWNED) != 0 && !is_not_looked_up(c, "")) {
            start_query(&query, c, "");
            strbuf_addf(&query, "&domainid=%s", FIXTURE_NOBODY);
            refused("admin", strbuf_text(&query), 431, NULL);
        }
    }
    CHECK(tried > 60);
}

/* -- somebody else's, and removed ones ----------------------------------- */

/* The guest asks for what is the worker's (3), the chief for the guest's. */
static const char *const foreign[] = {
    "command=listVirtualMachines&id=" ID("10", "3"),
    "command=listVirtualMachines&ids=" ID("10", "2") "," ID("10", "3"),
    "command=startVirtualMachine&id=" ID("10", "3"),
    "command=stopVirtualMachine&id=" ID("10", "3"),
    "command=rebootVirtualMachine&id=" ID("10", "3"),
    "command=releaseVirtualMachine&id=" ID("10", "3"),
    "command=settleVirtualMachine&id=" ID("10", "3"),
    "command=listVolumes&id=" ID("11", "3"),
    "command=listVolumes&virtualmachineid=" ID("10", "3"),
    "command=scaleVirtualMachine&id=" ID("10", "3") "&serviceofferingid=" ID(
        "23", "1"),
    "command=createSnapshot&volumeid=" ID("11", "3"),
    "command=listSnapshots&id=" ID("22", "3"),
    "command=listSnapshots&volumeid=" ID("11", "3"),
    "command=deleteSnapshot&id=" ID("22", "3"),
    "command=createVMSnapshot&virtualmachineid=" ID("10", "3"),
    "command=listVMSnapshot&vmsnapshotid=" ID("12", "3"),
    "command=listVMSnapshot&virtualmachineid=" ID("10", "3"),
    "command=revertToVMSnapshot&vmsnapshotid=" ID("12", "3"),
    "command=deleteVMSnapshot&vmsnapshotid=" ID("12", "3"),
    "command=assignVirtualMachineToBackupOffering&virtualmachineid=" ID(
        "10", "3") "&backupofferingid=" ID("19", "1"),
    "command=removeVirtualMachineFromBackupOffering&virtualmachineid=" ID("10",
                                                                          "3"),
    "command=createBackup&virtualmachineid=" ID("10", "3"),
    "command=listBackups&id=" ID("15", "3"),
    "command=deleteBackup&id=" ID("15", "3"),
    "command=restoreBackup&id=" ID("15", "3"),
    "command=verifyBackup&id=" ID("15", "3"),
    "command=foldBackup&id=" ID("15", "3"),
    "command=listBackupChanges&id=" ID("15", "3") "&sinceid=" ID("15", "3"),
    "command=queryAsyncJobResult&jobid=" ID("16", "3"),
    "command=cancelAsyncJob&jobid=" ID("16", "3"),
    "command=listEvents&id=" ID("17", "3"),
    "command=listAccounts&id=" ID("07", "3"),
    "command=listUsers&id=" ID("08", "3"),
    "command=getUserKeys&id=" ID("08", "3"),
    "command=registerUserKeys&id=" ID("08", "3"),
    "command=listDomains&id=" ID("06", "2"),
    "command=listBackupOfferings&id=" ID("19", "2"),
};

static void
what_is_somebody_else_s_is_answered_as_what_is_not_there(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        refused("guest", foreign[i], 431, "id");
    refused("chief", "command=listVirtualMachines&id=" ID("10", "2"), 431,
            "id");
    refused("chief", "command=createBackup&virtualmachineid=" ID("10", "1"),
            431, "id");
}

static void
what_was_removed_is_answered_as_what_is_not_there(void)
{
    static const char *const removed[] = {
        "command=listVirtualMachines&id=" ID("20", "1"),
        "command=startVirtualMachine&id=" ID("20", "1"),
        "command=createVMSnapshot&virtualmachineid=" ID("20", "1"),
        "command=listVMSnapshot&vmsnapshotid=" ID("20", "3"),
        "command=revertToVMSnapshot&vmsnapshotid=" ID("20", "3"),
        "command=deleteVMSnapshot&vmsnapshotid=" ID("20", "3"),
        "command=listBackups&id=" ID("20", "2"),
        "command=deleteBackup&id=" ID("20", "2"),
        "command=restoreBackup&id=" ID("20", "2"),
        "command=verifyBackup&id=" ID("20", "2"),
        "command=foldBackup&id=" ID("20", "2"),
        "command=listBackupChanges&id=" ID("20", "2") "&sinceid=" ID("20", "2"),
        "command=listNativeBackupOfferings&id=" ID("18", "2"),
        "command=deleteNativeBackupOffering&id=" ID("18", "2"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(removed); i++)
        refused("admin", removed[i], 431, "id");
}

/* -- the rest ------------------------------------------------------------ */

static const struct {
    const char *who;
    const char *query;
    int status;
    const char *text;
} others[] = {
    {API_ASK_STRANGER, "command=listZones", 401, "credentials"},
    {API_ASK_STRANGER, "command=listZones&sessionkey=x", 401, "credentials"},
    {API_ASK_STRANGER, "command=listZones&apiKey=key-admin", 401,
     "credentials"},
    {API_ASK_STRANGER, "command=listZones&apiKey=key-admin&signature=x", 401,
     "credentials"},
    {API_ASK_STRANGER, "command=listZones&apiKey=nobody&signature=x", 401,
     "credentials"},
    {API_ASK_STRANGER, "command=fly", 401, "credentials"},
    {API_ASK_STRANGER, "command=login&username=admin", 431, "password"},
    {API_ASK_STRANGER, "command=login&password=x", 431, "username"},
    {"admin", "command=fly", 432, "command"},
    {"admin", "x=y", 432, "command"},
    {"admin", "command=listZones&page=1", 431, "pagesize"},
    {"admin", "command=listZones&pagesize=10", 431, "page"},
    {"admin", "command=listZones&page=0&pagesize=10", 431, "page"},
    {"guest", "command=listZones&page=1&pagesize=501", 431, "pagesize"},
    {"guest", "command=listZones&page=1&pagesize=-1", 431, "pagesize"},
    {"admin", "command=listVMSnapshot&state=Flying", 431, "state"},
    {"admin",
     "command=listVMSnapshot&vmsnapshotid=" ID("12", "1") "&vmsnapshotids=" ID(
         "12", "1"),
     431, "exclude"},
    {"admin",
     "command=listVirtualMachines&id=" ID("10", "1") "&ids=" ID("10", "1"), 431,
     "exclude"},
    {"admin", "command=listVMSnapshot&tags[0]=x", 430, "tags"},
    {"admin", "command=listVirtualMachines&projectid=7", 431, "projectid"},
    {"admin", "command=listVirtualMachines&account=nobody", 431, "nobody"},
    {"admin", "command=listApis&name=fly", 431, "name"},
    {"admin", "command=listConfigurations&name=no.such", 431, "name"},
    {"admin", "command=updateConfiguration&name=no.such&value=1", 431, "name"},
    {"admin", "command=updateConfiguration&name=backup.chain.size&value=x", 431,
     "backup.chain.size"},
    {"admin",
     "command=updateConfiguration&name=vmsnapshot.max&value=1&zoneid=" ID("01",
                                                                          "1"),
     431, "vmsnapshot.max"},
    {"admin",
     "command=updateConfiguration&name=backup.chain.size&value=1&zoneid=" ID(
         "01", "1") "&accountid=" ID("07", "1"),
     431, "accountid"},
    {"admin",
     "command=restoreBackup&hostid=" ID("03", "1") "&id=" ID("15", "1"), 431,
     "hostid"},
    {"guest", "command=listHosts", 531, "listHosts"},
};

static void
other_mistakes_have_their_codes(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        refused(others[i].who, others[i].query, others[i].status,
                others[i].text);
}

/* Disable a user or an account by its row's state. */
static void
set_states(const char *user_state, const char *account_state)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_write(fx.state, &err);
    AUTO_STATE(user) user = {0};
    AUTO_STATE(account) account = {0};

    CHECK_OK(state_user_get(tx, 2, &user, &err), &err);
    CHECK_OK(state_account_get(tx, 2, &account, &err), &err);
    state_set_text(&user.state, user_state);
    state_set_text(&account.state, account_state);
    CHECK_OK(state_user_update(tx, &user, &err), &err);
    CHECK_OK(state_account_update(tx, &account, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
}

static void
who_is_disabled_or_locked_is_nobody(void)
{
    AUTO_ANSWER struct answer answer = {0};

    set_states("disabled", "enabled");
    refused("guest", "command=listZones", 401, "credentials");
    set_states("enabled", "disabled");
    refused("guest", "command=listZones", 401, "credentials");
    set_states("locked", "enabled");
    refused("guest", "command=listZones", 401, "credentials");
    set_states("enabled", "enabled");
    fixture_ask(&fx, "guest", "command=listZones", &answer);
    CHECK(answer.status == 200);
}

static void
unknown_parameters_are_ignored(void)
{
    AUTO_ANSWER struct answer answer = {0};

    fixture_ask(
        &fx, "guest",
        "command=listZones&filter=name&showicon=maybe&x[=1&_=", &answer);
    CHECK(answer.status == 200);
}

int
main(void)
{
    if (!fixture_start(&fx, NULL))
        return EXIT_FAILURE;
    engine_double_look(fx.engine);
    RUN(a_required_parameter_that_is_missing_is_431_and_named);
    RUN(a_malformed_parameter_is_430_or_431_and_named);
    RUN(an_id_of_nothing_is_431_and_told);
    RUN(what_is_somebody_else_s_is_answered_as_what_is_not_there);
    RUN(what_was_removed_is_answered_as_what_is_not_there);
    RUN(other_mistakes_have_their_codes);
    RUN(who_is_disabled_or_locked_is_nobody);
    RUN(unknown_parameters_are_ignored);
    fixture_stop(&fx);
    return check_done();
}
