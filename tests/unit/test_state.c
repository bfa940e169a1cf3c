/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of state.h, and the way from older forms. */
#include "state/state.h"

#include "base/fault.h"
#include "base/memory.h"
#include "state/migrations.h"
#include "state/state_driver.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "state_fixture.h"

/* -- transactions ------------------------------------------------------- */

static void
what_is_not_committed_leaves_no_trace(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    state_end(tx);
    CHECK(count_zones(state) == 0);
    tx = writing(state);
    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    CHECK(count_zones(state) == 0); /* a reader does not see it either */
    CHECK_OK(state_commit(tx, &err), &err);
    CHECK(count_zones(state) == 1);
    state_end(tx);
    state_close(state);
    state = open_state();
    CHECK(count_zones(state) == 1);
    state_close(state);
}

static void
a_failed_commit_leaves_no_trace_and_the_next_one_works(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    fault_arm("state.commit.before", 1, FAULT_FAIL);
    CHECK(state_commit(tx, &err) < 0 && err.code == ERROR_IO);
    fault_disarm();
    state_end(tx);
    CHECK(count_zones(state) == 0);
    fault_arm("state.begin", 1, FAULT_FAIL);
    CHECK(state_begin_write(state, &err) == NULL && err.code == ERROR_IO);
    fault_disarm();
    tx = writing(state);
    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    CHECK_OK(state_commit(tx, &err), &err);
    state_end(tx);
    CHECK(count_zones(state) == 1);
    state_close(state);
}

static void
a_commit_whose_reply_is_lost_is_there(void)
{
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    CHECK_OK(add_zone(tx, "a", "a", 1, &err), &err);
    fault_arm("state.commit.after", 1, FAULT_FAIL);
    CHECK(state_commit(tx, &err) < 0);
    fault_disarm();
    state_end(tx);
    CHECK(count_zones(state) == 1);
    state_close(state);
}

/* -- many at once ------------------------------------------------------- */

#define WRITERS 2
#define READERS 3
#define ROUNDS 40

static struct {
    struct state *state;
    _Atomic bool is_over;
    _Atomic unsigned failures;
    _Atomic unsigned seen;
} crowd;

/* Adds two rows in one transaction; no one may ever see an odd number. */
static void *
write_pairs(void *argument)
{
    const char *who = argument;

    for (int i = 0; i < ROUNDS; i++) {
        struct error err = ERROR_INIT;
        struct state_tx *tx = state_begin_write(crowd.state, &err);
        char uuid[32];

        if (tx == NULL) {
            crowd.failures++;
            continue;
        }
        (void)snprintf(uuid, sizeof(uuid), "%s-%d-a", who, i);
        crowd.failures += add_zone(tx, uuid, who, 1, &err) != 0;
        (void)snprintf(uuid, sizeof(uuid), "%s-%d-b", who, i);
        crowd.failures += add_zone(tx, uuid, who, 1, &err) != 0;
        crowd.failures += state_commit(tx, &err) != 0;
        state_end(tx);
    }
    return NULL;
}

static void *
read_pairs(void *argument)
{
    (void)argument;
    do {
        struct error err = ERROR_INIT;
        struct state_tx *tx = state_begin_read(crowd.state, &err);
        AUTO_STATE_LIST(zone) list = {0};
        uint64_t before = 1;
        uint64_t after = 2;

        if (tx == NULL) {
            crowd.failures++;
            continue;
        }
        crowd.failures += state_zone_count(tx, STATE_ALL, &before, &err) != 0;
        crowd.failures += state_zone_list(tx, STATE_ALL, &list, &err) != 0;
        crowd.failures += state_zone_count(tx, STATE_ALL, &after, &err) != 0;
        crowd.failures +=
            before % 2 != 0 || before != after || list.count != before;
        crowd.seen++;
        state_end(tx);
    } while (!crowd.is_over);
    return NULL;
}

static void
readers_see_whole_transactions_while_others_write(void)
{
    static char names[WRITERS][4] = {"w0", "w1"};
    pthread_t writers[WRITERS];
    pthread_t readers[READERS];

    crowd.state = fresh_state();
    for (int i = 0; i < READERS; i++)
        REQUIRE(pthread_create(&readers[i], NULL, read_pairs, NULL) == 0);
    for (int i = 0; i < WRITERS; i++)
        REQUIRE(pthread_create(&writers[i], NULL, write_pairs, names[i]) == 0);
    for (int i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    crowd.is_over = true;
    for (int i = 0; i < READERS; i++)
        (void)pthread_join(readers[i], NULL);
    CHECK(crowd.failures == 0);
    CHECK(crowd.seen >= READERS);
    CHECK(count_zones(crowd.state) == (uint64_t)WRITERS * ROUNDS * 2);
    state_close(crowd.state);
}

/* -- what the database says --------------------------------------------- */

static void
a_writer_waits_for_another_process_and_then_says_busy(void)
{
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();
    struct state_tx *tx = writing(state);
    struct state_connection *other = state_sqlite.open(path, false, &err);

    REQUIRE(other != NULL);
    CHECK(state_sqlite.begin(other, true, 20, &err) < 0);
    CHECK(err.code == ERROR_BUSY);
    CHECK_OK(state_sqlite.begin(other, false, 20, &err), &err);
    state_sqlite.rollback(other);
    state_end(tx);
    CHECK_OK(state_sqlite.begin(other, true, 20, &err), &err);
    state_sqlite.rollback(other);
    state_sqlite.close(other);
    state_close(state);
}

static void
a_full_database_is_no_space_and_keeps_what_it_has(void)
{
    struct error err = ERROR_INIT;
    struct state_connection *connection;

    state_close(fresh_state());
    connection = state_sqlite.open(path, false, &err);
    REQUIRE(connection != NULL);
    CHECK_OK(state_sqlite.exec(connection, "pragma max_page_count=1", &err),
             &err);
    CHECK(state_sqlite.exec(connection,
                            "insert into zone (uuid, name) values "
                            "('u', hex(zeroblob(1000000)))",
                            &err) < 0);
    CHECK(err.code == ERROR_NO_SPACE);
    state_sqlite.close(connection);
    connection = state_sqlite.open(path, true, &err);
    REQUIRE(connection != NULL);
    CHECK(state_sqlite.exec(connection, "delete from zone", &err) < 0);
    CHECK(err.code == ERROR_IO); /* a reader */
    state_sqlite.close(connection);
}

/* -- killed ------------------------------------------------------------- */

/* Run `work` in a child that is killed at `point`; true if it was. */
static bool
killed_at(const char *point, void (*work)(void))
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        fault_arm(point, 1, FAULT_KILL);
        work();
        _exit(0);
    }
    (void)waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void
add_one_zone(void)
{
    struct state *state = open_state();
    struct state_tx *tx = writing(state);
    struct error err = ERROR_INIT;

    if (add_zone(tx, "killed", "a", 1, &err) < 0 ||
        add_zone(tx, "killed2", "a", 1, &err) < 0 || state_commit(tx, &err) < 0)
        _exit(1);
}

static void
a_kill_before_the_commit_undoes_all_and_after_it_nothing(void)
{
    struct state *state;

    state_close(fresh_state());
    CHECK(killed_at("state.begin", add_one_zone));
    CHECK(killed_at("state.commit.before", add_one_zone));
    state = open_state();
    CHECK(count_zones(state) == 0);
    state_close(state);
    CHECK(killed_at("state.commit.after", add_one_zone));
    state = open_state();
    CHECK(count_zones(state) == 2);
    state_close(state);
}

/* -- migrations --------------------------------------------------------- */

static void
just_open(void)
{
    state_close(open_state());
}

static void
a_migration_that_was_cut_off_is_done_at_the_next_start(void)
{
    struct error err = ERROR_INIT;
    struct state *state = fresh_state();

    state_close(state);
    CHECK(unlink(path) == 0);
    CHECK(killed_at("state.migrate", just_open));
    state = open_state();
    CHECK(count_zones(state) == 0);
    state_close(state);
    CHECK(unlink(path) == 0);
    fault_arm("state.migrate", 1, FAULT_FAIL);
    CHECK(state_open(path, &err) == NULL && err.code == ERROR_IO);
    fault_disarm();
    state_close(open_state());
}

static void
run_sql(const char *sql)
{
    struct error err = ERROR_INIT;
    struct state_connection *connection = state_sqlite.open(path, false, &err);

    REQUIRE(connection != NULL);
    CHECK_OK(state_sqlite.exec(connection, sql, &err), &err);
    state_sqlite.close(connection);
}

static void
a_database_of_a_newer_version_is_refused(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *sql =
        xasprintf("insert into schema_migration values (%d, 1)",
                  (int)migrations_newest() + 1);

    state_close(fresh_state());
    run_sql(sql);
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
}

static void
a_database_that_lacks_a_column_is_refused(void)
{
    struct error err = ERROR_INIT;

    state_close(fresh_state());
    run_sql("alter table zone drop column name");
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
}

static void
another_programs_database_is_not_touched(void)
{
    struct error err = ERROR_INIT;

    state_close(fresh_state());
    run_sql("pragma application_id=5");
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
}

static void
a_file_that_is_no_database_is_refused(void)
{
    struct error err = ERROR_INIT;
    FILE *file;

    state_close(fresh_state());
    file = fopen(path, "w");
    REQUIRE(file != NULL);
    for (int i = 0; i < 1000; i++)
        (void)fputs("this is a text and not a database\n", file);
    (void)fclose(file);
    CHECK(state_open(path, &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(strstr(err.message, path) != NULL);
}

int
main(void)
{
    fixture_enter();
    RUN(what_is_not_committed_leaves_no_trace);
    RUN(a_failed_commit_leaves_no_trace_and_the_next_one_works);
    RUN(a_commit_whose_reply_is_lost_is_there);
    RUN(readers_see_whole_transactions_while_others_write);
    RUN(a_writer_waits_for_another_process_and_then_says_busy);
    RUN(a_full_database_is_no_space_and_keeps_what_it_has);
    RUN(a_kill_before_the_commit_undoes_all_and_after_it_nothing);
    RUN(a_migration_that_was_cut_off_is_done_at_the_next_start);
    RUN(a_database_of_a_newer_version_is_refused);
    RUN(a_database_that_lacks_a_column_is_refused);
    RUN(another_programs_database_is_not_touched);
    RUN(a_file_that_is_no_database_is_refused);
    fixture_leave();
    return check_done();
}
