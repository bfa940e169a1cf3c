/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varve against the API as it is, over its socket and over HTTP with keys; the
 * engine behind it writes down what it is asked.
 */
#include "api/server.h"
#include "api_fixture.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "check.h"
#include "cli/cli.h"

#include <unistd.h>

#define WORDS_MAX 16
#define JOB ENGINE_DOUBLE_JOB
#define OBJECT ENGINE_DOUBLE_OBJECT
#define VM FIXTURE_ID("10", "1")
#define SECOND FIXTURE_ID("12", "1")
#define BACKUP FIXTURE_ID("15", "1")
#define OFFERING FIXTURE_ID("19", "1")

static struct fixture fx;
static struct server *server;
static char socket_path[100];
static char key_path[100];
static char url[64];

/* Run varve; what it printed is the caller's. */
static char *
run(const char *line, int *ret_status)
{
    AUTO_FREE char *copy = xstrdup(line);
    char *words[WORDS_MAX + 1];
    int count = 0;
    char *printed = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&printed, &length);

    for (char *next = copy; next != NULL && count < WORDS_MAX;) {
        words[count++] = next;
        next = strchr(next, ' ');
        if (next != NULL)
            *next++ = '\0';
    }
    words[count] = NULL;
    *ret_status = cli_main(count, words, out);
    (void)fclose(out);
    return printed;
}

static void
check_run(const char *line, int expected_status, const char *expected)
{
    int status = -1;
    char *printed = run(line, &status);

    if (status != expected_status)
        printf("# %s: status %d, not %d\n", line, status, expected_status);
    CHECK(status == expected_status);
    CHECK_TEXT(printed, expected);
    free(printed);
}

/* It starts a job, whose id is printed, by this request. */
static void
check_asks(const char *line, const char *request)
{
    AUTO_FREE char *whole = xasprintf("%s --no-wait", line);

    check_run(whole, 0, JOB "\n");
    CHECK_TEXT(engine_double_last(fx.engine), request);
}

/* -- lists --------------------------------------------------------------- */

static void
lists_show_what_the_api_has(void)
{
    check_run("varve vm list -o name", 0, "web\nshop\nmill\n");
    check_run("varve vm list -o name --state Stopped", 0, "");
    check_run("varve vm list -o name --offering daily", 0, "web\nshop\nmill\n");
    check_run("varve snapshot list web -o name", 0, "first\nsecond\n");
    check_run("varve backup list web -o id", 0, BACKUP "\n");
    check_run("varve backup list -o name --offering daily", 0, "b1\nb1\nb1\n");
    check_run("varve offering list -o name", 0, "daily\nprivate\n");
    check_run("varve config get backup.chain.size", 0, "8\n");
    check_run("varve event list --vm web --limit 1 --level ERROR -o id", 0, "");
}

static void
tables_have_what_the_api_has(void)
{
    check_run("varve vm list --offering daily", 0,
              "NAME  STATE    CPUS   MEMORY  OFFERING  ID\n"
              "web   Running     2  512 MiB  daily     " VM "\n"
              "shop  Running     2  512 MiB  daily     " FIXTURE_ID(
                  "10", "2") "\n"
                             "mill  Running     2  512 MiB  daily"
                             "     " FIXTURE_ID("10", "3") "\n");
    check_run("varve snapshot tree web", 0,
              "web\n"
              "`- first  2026-03-01 10:15:00\n"
              "   `- [between]\n"
              "      `- second  2026-03-01 10:15:00  (current)\n");
    check_run(
        "varve offering list", 0,
        "NAME     CHAIN SIZE  COMPRESSES  USERS  MADE                 ID"
        "                                    NATIVE ID"
        "                             DESCRIPTION\n"
        "daily             3  yes         yes    2026-03-01 10:15:00  " OFFERING
        "  " FIXTURE_ID(
            "18",
            "1") "  by day\n"
                 "private                                 2026-03-01 10:15:00  " FIXTURE_ID(
                     "19", "2") "  " FIXTURE_ID("18", "2") "  admin's\n");
}

static void
one_object_is_found_by_name_and_by_id(void)
{
    check_run("varve vm show web -o id", 0, VM "\n");
    check_run("varve vm show " VM " -o name", 0, "web\n");
    check_run("varve vm show we", 4, "");
    check_run("varve vm show " OFFERING, 4, "");
    check_run("varve backup show b1 --vm web -o id", 0, BACKUP "\n");
    check_run("varve backup show b1 -o id", 2, "");
    check_run("varve backup show " BACKUP " -o name", 0, "b1\n");
}

/* -- requests ------------------------------------------------------------ */

static void
machines_are_acted_on(void)
{
    check_asks("varve vm start web", "vm_start user=1 vm=" VM);
    check_asks("varve vm stop web", "vm_stop user=1 vm=" VM " forced=0");
    check_asks("varve vm stop web --forced",
               "vm_stop user=1 vm=" VM " forced=1");
    check_asks("varve vm reboot web", "vm_reboot user=1 vm=" VM);
    check_asks("varve vm release web --yes", "vm_release user=1 vm=" VM);
    check_asks("varve vm settle web", "vm_settle user=1 vm=" VM);
}

static void
snapshots_are_acted_on(void)
{
    check_asks("varve snapshot create web now --description why --quiesce",
               "vm_snapshot_create user=1 vm=" VM
               " name=now description=why memory=0 quiesce=1");
    check_asks("varve snapshot revert second --vm web -y",
               "vm_snapshot_revert user=1 vm_snapshot=" SECOND
               " change_power=0");
    check_asks("varve snapshot revert second --vm web -y --change-power",
               "vm_snapshot_revert user=1 vm_snapshot=" SECOND
               " change_power=1");
    check_asks("varve snapshot create web now --memory",
               "vm_snapshot_create user=1 vm=" VM
               " name=now memory=1 quiesce=0");
    check_asks("varve snapshot delete " SECOND " -y",
               "vm_snapshot_delete user=1 vm_snapshot=" SECOND);
}

static void
backups_are_acted_on(void)
{
    check_asks("varve backup create web --isolated",
               "backup_create user=1 vm=" VM " quiesce=0 isolated=1");
    check_asks("varve backup restore " BACKUP " --yes",
               "backup_restore user=1 backup=" BACKUP);
    check_asks("varve backup delete b1 --vm web --yes --forced",
               "backup_delete user=1 backup=" BACKUP " forced=1");
    check_asks("varve backup verify b1 --vm web",
               "backup_verify user=1 backup=" BACKUP);
}

static void
offerings_are_acted_on(void)
{
    engine_double_answer(fx.engine, FIXTURE_ID("18", "1"));
    check_asks("varve offering create weekly --chain-size 4 --compress",
               "offering_import user=1 name=weekly description=weekly "
               "external_id=" FIXTURE_ID("18", "1") " zone=" FIXTURE_ID(
                   "01", "1") " user_driven=1");
    check_asks("varve offering assign web daily",
               "offering_assign user=1 vm=" VM " offering=" OFFERING);
    check_asks("varve offering remove web --forced",
               "offering_remove user=1 vm=" VM " forced=1");
}

static void
nothing_is_destroyed_unasked(void)
{
    (void)engine_double_last(fx.engine);
    check_run("varve vm release web", 2, "");
    check_run("varve snapshot delete second --vm web", 2, "");
    check_run("varve backup restore " BACKUP, 2, "");
    CHECK_TEXT(engine_double_last(fx.engine), "");
}

static void
the_exit_status_is_that_of_the_error(void)
{
    static const struct {
        enum error_code code;
        int status;
    } cases[] = {{ERROR_CONFLICT, 5},    {ERROR_NOT_FOUND, 4},
                 {ERROR_INVALID, 2},     {ERROR_TIMEOUT, 124},
                 {ERROR_CORRUPT, 7},     {ERROR_BUSY, 5},
                 {ERROR_UNAVAILABLE, 6}, {ERROR_INTERNAL, 1}};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        engine_double_fail(fx.engine, cases[i].code, "told so");
        check_run("varve vm start web", cases[i].status, "");
    }
}

/* -- over HTTP ----------------------------------------------------------- */

static bool
write_keys(const char *user, const char *secret)
{
    AUTO_FREE char *text = xasprintf("[cloudstack]\nkey = key-%s\n"
                                     "secret = secret-%s\n",
                                     user, secret);
    struct error err = ERROR_INIT;

    return fd_replace_file(key_path, text, strlen(text), 0600, &err) == 0;
}

static void
check_keys(const char *user, const char *line, int status, const char *expected)
{
    AUTO_FREE char *whole =
        xasprintf("varve --url %s --key-file %s %s", url, key_path, line);

    REQUIRE(write_keys(user, user));
    check_run(whole, status, expected);
}

static void
keys_open_what_is_their_user_s(void)
{
    check_keys("admin", "vm list -o name", 0, "web\nshop\nmill\n");
    check_keys("guest", "vm list -o name", 0, "shop\n");
    check_keys("guest", "vm show web", 4, "");
    check_keys("guest", "config list", 6, "");
    check_keys("guest", "vm stop shop --no-wait", 0, JOB "\n");
    CHECK(strstr(engine_double_last(fx.engine), "vm_stop user=2") != NULL);
    check_keys("nobody", "vm list", 6, "");
}

static void
a_wrong_secret_opens_nothing(void)
{
    AUTO_FREE char *line =
        xasprintf("varve --url %s --key-file %s vm list", url, key_path);

    REQUIRE(write_keys("admin", "wrong"));
    check_run(line, 6, "");
}

static void
names_with_every_character_are_signed_right(void)
{
    check_keys("admin", "snapshot create web a+b~c*d[e]f&g=h%i/ü --no-wait", 0,
               JOB "\n");
    CHECK(strstr(engine_double_last(fx.engine), " name=a+b~c*d[e]f&g=h%i/ü ") !=
          NULL);
}

static bool
begin(struct error *err)
{
    struct server_config config = {.address = "127.0.0.1:0",
                                   .socket = socket_path};

    if (!fixture_start(&fx, NULL))
        return false;
    (void)snprintf(socket_path, sizeof(socket_path), "%s/s", fx.directory);
    (void)snprintf(key_path, sizeof(key_path), "%s/keys", fx.directory);
    server = server_start(fx.api, &config, err);
    if (server == NULL)
        return false;
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/",
                   (unsigned)server_port(server));
    (void)setenv("VARVE_SOCKET", socket_path, 1);
    (void)setenv("TZ", "UTC0", 1);
    (void)setenv("NO_PROXY", "*", 1);
    return freopen("/dev/null", "r", stdin) != NULL;
}

int
main(void)
{
    struct error err = ERROR_INIT;

    if (!begin(&err)) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    RUN(lists_show_what_the_api_has);
    RUN(tables_have_what_the_api_has);
    RUN(one_object_is_found_by_name_and_by_id);
    RUN(machines_are_acted_on);
    RUN(snapshots_are_acted_on);
    RUN(backups_are_acted_on);
    RUN(offerings_are_acted_on);
    RUN(nothing_is_destroyed_unasked);
    RUN(the_exit_status_is_that_of_the_error);
    RUN(keys_open_what_is_their_user_s);
    RUN(a_wrong_secret_opens_nothing);
    RUN(names_with_every_character_are_signed_right);
    server_stop(server);
    (void)unlink(key_path);
    fixture_stop(&fx);
    return check_done();
}
