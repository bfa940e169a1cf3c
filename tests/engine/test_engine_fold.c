/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding backups by request: every backup restores as before, the next one
 * is an increment, and whatever dies on the way is settled.
 */
#include "check.h"
#include "density.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "repo/repo.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void
load(struct rig *rig, const char *uuid, struct state_backup *ret_row)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};

    REQUIRE(tx != NULL && state_backup_find(tx, where, 1, ret_row, &err) > 0);
}

static void
check_row(struct rig *rig, const char *uuid, const char *status,
          const char *type, const char *parent)
{
    AUTO_STATE(backup) row = {0};
    AUTO_STATE(backup) below = {0};

    load(rig, uuid, &row);
    CHECK_TEXT(row.status, status);
    if (type != NULL)
        CHECK_TEXT(row.type, type);
    if (parent != NULL)
        load(rig, parent, &below);
    if (type != NULL)
        CHECK(row.parent_id == below.id);
}

/* Ask, run the job, give its error. */
static int
fold(struct rig *rig, const char *backup, const char *oldest, bool verify,
     struct error *err)
{
    const struct request_fold args = {backup, oldest, verify};
    struct ticket ticket;
    const struct state_where where[] = {STATE_TEXT("uuid", ticket.job)};
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(job) row = {0};

    if (request_backup_fold(rig->engine, &rig->caller, &args, &ticket, err) <
            0 ||
        engine_drain(rig->engine, err) < 0)
        return -1;
    tx = state_begin_read(rig->state, err);
    if (tx == NULL || state_job_find(tx, where, 1, &row, err) <= 0)
        return -1;
    if (row.status == 1)
        return 0;
    return error_set(err, ERROR_INTERNAL, "%s", row.result);
}

/* Deleted: neither the model nor a user knows it any more. */
static void
drop(struct rig *rig, const char *uuid)
{
    struct error err = ERROR_INIT;

    CHECK_OK(rig_delete_backup(rig, uuid, &err), &err);
    rig_forget(rig, uuid);
}

static void
make_chain(struct rig *rig, size_t count, char uuids[][UUID_TEXT_SIZE])
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < 6; k++)
            rig_guest_write(rig);
        CHECK_OK(rig_backup(rig, false, uuids[i], &err), &err);
        rig_learn(rig, RIG_BACKUP, uuids[i]);
    }
}

static void
a_folded_backup_is_full_and_all_restore(void)
{
    struct rig *rig = rig_new(2, 0, false);
    struct error err = ERROR_INIT;
    char uuids[5][UUID_TEXT_SIZE];

    rig_power(rig, true);
    make_chain(rig, 4, uuids);
    drop(rig, uuids[0]);
    drop(rig, uuids[1]);
    check_row(rig, uuids[0], "Removed", NULL, NULL);
    CHECK_OK(fold(rig, uuids[2], NULL, true, &err), &err);
    check_row(rig, uuids[0], "Expunged", NULL, NULL);
    check_row(rig, uuids[1], "Expunged", NULL, NULL);
    check_row(rig, uuids[2], "BackedUp", "FULL", NULL);
    check_row(rig, uuids[3], "BackedUp", "INCREMENTAL", uuids[2]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    /* The next one goes on. */
    make_chain(rig, 1, uuids + 4);
    check_row(rig, uuids[4], "BackedUp", "INCREMENTAL", uuids[3]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_power(rig, false);
    CHECK_OK(rig_restore(rig, uuids[3], &err), &err);
    rig_go_back(rig, uuids[3]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    CHECK_OK(rig_restore(rig, uuids[2], &err), &err);
    rig_go_back(rig, uuids[2]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
the_newest_folds_and_the_next_builds_on_it(void)
{
    struct rig *rig = rig_new(1, 4, false);
    struct error err = ERROR_INIT;
    char uuids[6][UUID_TEXT_SIZE];

    rig_power(rig, true);
    make_chain(rig, 3, uuids);
    CHECK_OK(fold(rig, uuids[2], NULL, false, &err), &err);
    check_row(rig, uuids[1], "BackedUp", "INCREMENTAL", uuids[0]);
    /* The chain is as long as if the folded one were its first. */
    make_chain(rig, 3, uuids + 3);
    check_row(rig, uuids[3], "BackedUp", "INCREMENTAL", uuids[2]);
    check_row(rig, uuids[5], "BackedUp", "INCREMENTAL", uuids[4]);
    for (size_t i = 0; i < 2; i++)
        drop(rig, uuids[i]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
a_part_becomes_one_increment(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    char uuids[4][UUID_TEXT_SIZE];

    rig_power(rig, true);
    make_chain(rig, 4, uuids);
    drop(rig, uuids[2]);
    CHECK_OK(fold(rig, uuids[3], uuids[1], false, &err), &err);
    check_row(rig, uuids[3], "BackedUp", "INCREMENTAL", uuids[0]);
    check_row(rig, uuids[2], "Expunged", NULL, NULL);
    check_row(rig, uuids[1], "BackedUp", "INCREMENTAL", uuids[0]);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

static void
what_blocks_a_fold_is_named(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    char uuids[3][UUID_TEXT_SIZE];

    rig_power(rig, true);
    make_chain(rig, 3, uuids);
    CHECK(fold(rig, uuids[0], NULL, false, &err) < 0 &&
          err.code == ERROR_CONFLICT);
    CHECK(strstr(err.message, "full") != NULL);
    CHECK(fold(rig, uuids[1], uuids[2], false, &err) < 0 &&
          err.code == ERROR_INVALID);
    drop(rig, uuids[1]);
    CHECK(fold(rig, uuids[1], NULL, false, &err) < 0);
    error_clear(&err);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* Fold in a child that is killed at the point `n`; true when it was. */
static bool
die_at(struct rig *rig, const char *backup, uint64_t n)
{
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    rig_close(rig);
    child = fork();
    if (child == 0) {
        if (rig_open(rig, &err) < 0)
            _exit(3);
        fault_arm("*", n, FAULT_KILL);
        _exit(fold(rig, backup, NULL, false, &err) < 0);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static void
a_fold_that_dies_anywhere_is_settled_at_the_start(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    char uuids[4][UUID_TEXT_SIZE];
    uint64_t tried = 0;

    rig_power(rig, true);
    make_chain(rig, 4, uuids);
    rig_power(rig, false);
    drop(rig, uuids[0]);
    drop(rig, uuids[1]);
    rig_close(rig);
    rig_save(rig);
    for (uint64_t n = 1; check_failures == 0; n += density_step(5)) {
        rig_load(rig);
        CHECK_OK(rig_open(rig, &err), &err);
        if (!die_at(rig, uuids[2], n))
            break;
        tried++;
        CHECK_OK(rig_open(rig, &err), &err);
        CHECK_OK(rig_check(rig, false, &err), &err);
        (void)fold(rig, uuids[2], NULL, false, &err);
        error_clear(&err);
        check_row(rig, uuids[2], "BackedUp", "FULL", NULL);
        check_row(rig, uuids[1], "Expunged", NULL, NULL);
        CHECK_OK(rig_check(rig, false, &err), &err);
        if (check_failures > 0)
            printf("# point %llu\n", (unsigned long long)n);
        rig_close(rig);
    }
    CHECK(tried > 10);
    printf("# count engine-fold %llu\n", (unsigned long long)tried);
    if (check_failures == 0)
        CHECK_OK(rig_open(rig, &err), &err);
    rig_free(rig);
}

int
main(void)
{
    RUN(a_folded_backup_is_full_and_all_restore);
    RUN(the_newest_folds_and_the_next_builds_on_it);
    RUN(a_part_becomes_one_increment);
    RUN(what_blocks_a_fold_is_named);
    RUN(a_fold_that_dies_anywhere_is_settled_at_the_start);
    return check_done();
}
