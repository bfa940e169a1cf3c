/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups of the guest while it runs, and what comes back from them.  The
 * guest counts on while a backup is taken: the point must hold a number
 * between the one before it was asked for and the one after.
 */
#include "engine/self_test_internal.h"

#include "base/memory.h"
#include "engine/backup.h"
#include "engine/requests.h"
#include "image/copy.h"

#include <string.h>

/* -- backups --------------------------------------------------------------- */

static int
assign_offering(struct self_test *test, struct error *err)
{
    const struct request_native_offering native = {
        .name = "self-test", .has_chain_size = true, .chain_size = 2};
    struct request_offering_import import = {.name = "self-test",
                                             .description = "self-test"};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(test->state, err);
    AUTO_STATE(zone) zone = {0};
    const struct state_where living[] = {STATE_LIVING};
    char external[UUID_TEXT_SIZE];
    char offering[UUID_TEXT_SIZE];
    struct ticket ticket;

    if (tx == NULL || state_zone_find(tx, living, 1, &zone, err) < 0)
        return -1;
    state_end(steal(&tx));
    if (request_native_offering_create(test->own, &test->caller, &native,
                                       external, err) < 0)
        return -1;
    import.external_id = external;
    import.zone = zone.uuid;
    if (request_offering_import(test->own, &test->caller, &import, &ticket,
                                err) < 0)
        return -1;
    memcpy(offering, ticket.object, sizeof(offering));
    if (self_test_finish(test, &ticket, err) < 0 ||
        request_offering_assign(test->own, &test->caller, test->uuid, offering,
                                &ticket, err) < 0)
        return -1;
    return self_test_finish(test, &ticket, err);
}

static int
backup(struct self_test *test, size_t n, struct error *err)
{
    const struct request_backup args = {.vm = test->uuid};
    struct ticket ticket;

    if (self_test_wait(test, n > 0 ? &test->after[n - 1] : &self_test_no_marks,
                       SELF_TEST_GUEST_MS, &test->before[n], err) < 0 ||
        request_backup_create(test->own, &test->caller, &args, &ticket, err) <
            0)
        return -1;
    memcpy(test->backups[n], ticket.object, sizeof(test->backups[n]));
    if (self_test_finish(test, &ticket, err) < 0)
        return -1;
    return self_test_wait(test, &test->before[n], SELF_TEST_GUEST_MS,
                          &test->after[n], err);
}

/* What was stored, for people. */
static int
say_stored(struct self_test *test, size_t n, const char *type,
           struct strbuf *say, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point =
        repo_read_point(test->own->repo, test->uuid, test->backups[n], err);
    uint64_t stored = 0;

    if (point == NULL)
        return -1;
    if (strcmp(repo_point_type_name(point->type), type) != 0)
        return error_set(err, ERROR_CONFLICT, "the backup is %s, not %s",
                         repo_point_type_name(point->type), type);
    for (size_t i = 0; i < point->volume_count; i++)
        stored += point->volumes[i].stored;
    strbuf_addf(say, "%llu KiB stored", (unsigned long long)stored >> 10);
    return 0;
}

int
self_test_backup_full(struct self_test *test, struct strbuf *say,
                      struct error *err)
{
    if (assign_offering(test, err) < 0 || backup(test, 0, err) < 0)
        return -1;
    return say_stored(test, 0, "FULL", say, err);
}

int
self_test_backup_incremental(struct self_test *test, struct strbuf *say,
                             struct error *err)
{
    if (backup(test, 1, err) < 0)
        return -1;
    return say_stored(test, 1, "INCREMENTAL", say, err);
}

/* What the reading found is on record. */
static int
check_verified(struct self_test *test, const char *uuid, struct error *err)
{
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(test->state, err);
    AUTO_STATE(backup) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};

    if (tx == NULL || state_backup_find(tx, where, 1, &row, err) < 0)
        return -1;
    if (row.verify_status != NULL &&
        strcmp(row.verify_status, BACKUP_GOOD) == 0)
        return 0;
    return error_set(err, ERROR_CORRUPT, "a backup is damaged: %s",
                     row.verify_problem != NULL ? row.verify_problem
                                                : "it could not be read");
}

int
self_test_verify(struct self_test *test, struct strbuf *say, struct error *err)
{
    (void)say;
    for (size_t i = 0; i < ARRAY_SIZE(test->backups); i++) {
        struct ticket ticket;

        if (request_backup_verify(test->own, &test->caller, test->backups[i],
                                  &ticket, err) < 0 ||
            self_test_finish(test, &ticket, err) < 0 ||
            check_verified(test, test->backups[i], err) < 0)
            return -1;
    }
    return 0;
}

/* -- restores -------------------------------------------------------------- */

/* Is the disk, as it is now, what the backup's index says? */
static int
check_root(struct self_test *test, const struct repo_point *point, size_t disk,
           struct error *err)
{
    AUTO_TREE struct tree *tree = NULL;
    AUTO_FREE struct image_ref *refs = NULL;
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    AUTO_DIGEST_INDEX struct digest_index *index = NULL;
    const struct repo_volume *volume = NULL;
    const struct copy_options options = {.threads = 1};
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
    size_t count;

    for (size_t i = 0; i < point->volume_count; i++) {
        if (strcmp(point->volumes[i].target, self_test_targets[disk]) == 0)
            volume = &point->volumes[i];
    }
    if (volume == NULL)
        return error_set(err, ERROR_CORRUPT, "the backup has no disk '%s'",
                         self_test_targets[disk]);
    refs = self_test_chain(test, disk, &tree, &count, err);
    device = refs != NULL ? blockdev_open_chain(refs, count, 0, err) : NULL;
    if (device == NULL)
        return -1;
    index = repo_open_index(test->own->repo, point, volume, err);
    if (index == NULL ||
        copy_verify(device, NULL, index, &options, &mismatch, err) < 0)
        return -1;
    if (mismatch.found || mismatch.unproved > 0)
        return error_set(err, ERROR_CORRUPT,
                         "disk '%s' is not what the backup's content root "
                         "says, from %llu on",
                         self_test_targets[disk],
                         (unsigned long long)mismatch.offset);
    return 0;
}

/* The disks are those of one moment, and that moment is the backup's. */
static int
check_marks(struct self_test *test, size_t n, struct error *err)
{
    struct self_test_marks marks;

    if (self_test_read_marks(test, false, &marks, err) < 0)
        return -1;
    if (marks.count[0] - marks.count[1] > 1)
        return error_set(err, ERROR_CORRUPT,
                         "the restored disks are not of one moment: the guest "
                         "wrote %u to '%s' and %u to '%s'",
                         marks.count[0], self_test_targets[0], marks.count[1],
                         self_test_targets[1]);
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (marks.count[i] < test->before[n].count[i] ||
            marks.count[i] > test->after[n].count[i])
            return error_set(
                err, ERROR_CORRUPT,
                "disk '%s' is not of the backup's moment: it holds %u, not "
                "%u to %u",
                self_test_targets[i], marks.count[i], test->before[n].count[i],
                test->after[n].count[i]);
    }
    return 0;
}

static int
restore(struct self_test *test, size_t n, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point = NULL;
    struct ticket ticket;

    if (request_backup_restore(test->own, &test->caller, test->backups[n],
                               &ticket, err) < 0 ||
        self_test_finish(test, &ticket, err) < 0)
        return -1;
    point = repo_read_point(test->own->repo, test->uuid, test->backups[n], err);
    if (point == NULL || self_test_check_content(test, err) < 0 ||
        check_marks(test, n, err) < 0)
        return -1;
    for (size_t i = 0; i < SELF_TEST_DISKS; i++) {
        if (check_root(test, point, i, err) < 0)
            return -1;
    }
    return 0;
}

int
self_test_restore_full(struct self_test *test, struct strbuf *say,
                       struct error *err)
{
    (void)say;
    return restore(test, 0, err);
}

int
self_test_restore_incremental(struct self_test *test, struct strbuf *say,
                              struct error *err)
{
    (void)say;
    return restore(test, 1, err);
}

int
self_test_boot(struct self_test *test, struct strbuf *say, struct error *err)
{
    struct self_test_marks from;
    struct self_test_marks marks;

    if (self_test_read_marks(test, false, &from, err) < 0 ||
        hv_start(test->engine->hv, test->uuid, err) < 0 ||
        self_test_wait(test, &from, SELF_TEST_GUEST_MS, &marks, err) < 0)
        return -1;
    strbuf_addf(say, "it goes on from %u", from.count[0]);
    return self_test_power_off(test, err);
}
