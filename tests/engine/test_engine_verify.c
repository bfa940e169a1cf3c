/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "engine_rig.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "engine/job.h"
#include "repo/repo.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
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

/* The result of a job that has ended; its row's status. */
static int64_t
result_of(struct rig *rig, const char *job, json_t **ret_result)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(job) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", job)};

    if (tx == NULL || state_job_find(tx, where, 1, &row, &err) <= 0)
        return -1;
    *ret_result = row.result != NULL ? json_loads(row.result, 0, NULL) : NULL;
    return row.status;
}

static int64_t
verify(struct rig *rig, const char *uuid, json_t **ret_result)
{
    struct error err = ERROR_INIT;
    struct ticket ticket;

    CHECK_OK(
        request_backup_verify(rig->engine, &rig->caller, uuid, &ticket, &err),
        &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    return result_of(rig, ticket.job, ret_result);
}

/* The first volume's file of a point, which is that machine's or volume's. */
static char *
image_in(struct rig *rig, const char *owner, const char *uuid)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *path = xasprintf("%s/work/repository", rig->directory);
    AUTO_REPO struct repo *repo = repo_open(path, 0, &err);
    AUTO_REPO_POINT struct repo_point *point = NULL;

    if (repo != NULL)
        point = repo_read_point(repo, owner, uuid, &err);
    CHECK_OK(point == NULL ? -1 : 0, &err);
    return point != NULL ? repo_image_path(repo, point, &point->volumes[0])
                         : xstrdup("none");
}

static char *
image_of(struct rig *rig, const char *uuid)
{
    return image_in(rig, RIG_VM, uuid);
}

/* Spoil the guest's data in an image: the second half of the file. */
static void
spoil(const char *path)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    REQUIRE(fd >= 0);
    CHECK_OK(fd_pread(fd, &byte, 1, 65536 + 7, path, &err), &err);
    byte ^= 0x20;
    CHECK_OK(fd_pwrite(fd, &byte, 1, 65536 + 7, path, &err), &err);
}

static void
write_much(struct rig *rig)
{
    rig_power(rig, true);
    for (unsigned i = 0; i < 12; i++)
        rig_guest_write(rig);
}

static void
damage_is_told_recorded_and_not_built_on(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(backup) row = {0};
    AUTO_STATE(backup) after = {0};
    AUTO_FREE char *image = NULL;
    json_t *result = NULL;
    char first[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];

    write_much(rig);
    CHECK_OK(rig_backup(rig, false, first, &err), &err);
    CHECK(verify(rig, first, &result) == 1);
    CHECK(json_is_true(json_object_get(result, "valid")));
    json_decref(result);
    load(rig, first, &row);
    CHECK_TEXT(row.verify_status, "Good");
    CHECK(row.verified > 0 && row.verify_problem == NULL);
    state_backup_release(&row);
    row = (struct state_backup){0};

    image = image_of(rig, first);
    spoil(image);
    /* Read to its end: a result, not a failure. */
    CHECK(verify(rig, first, &result) == 1);
    CHECK(json_is_false(json_object_get(result, "valid")));
    CHECK(json_array_size(json_object_get(result, "mismatches")) == 1);
    json_decref(result);
    load(rig, first, &row);
    CHECK_TEXT(row.verify_status, "Damaged");
    CHECK(strstr(row.verify_problem, image) != NULL);

    CHECK_OK(rig_backup(rig, false, second, &err), &err);
    load(rig, second, &after);
    CHECK_TEXT(after.type, "FULL");
    CHECK(strstr(after.reason, "damaged") != NULL);
    CHECK(verify(rig, second, &result) == 1);
    CHECK(json_is_true(json_object_get(result, "valid")));
    json_decref(result);
    CHECK_OK(rig_delete_backup(rig, first, &err), &err);
    rig_free(rig);
}

static void
a_verification_does_not_stand_in_the_machines_queue(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(job) row = {0};
    char backup[UUID_TEXT_SIZE];
    struct ticket ticket;

    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    CHECK_OK(
        request_backup_verify(rig->engine, &rig->caller, backup, &ticket, &err),
        &err);
    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
        const struct state_where where[] = {STATE_TEXT("uuid", ticket.job)};

        REQUIRE(tx != NULL && state_job_find(tx, where, 1, &row, &err) > 0);
        CHECK_TEXT(row.queue, JOB_QUEUE_READERS);
        /* Nor does settling take its backup for one that is worked on. */
        CHECK(job_is_pending(tx, backup, &err) == 0);
    }
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    rig_free(rig);
}

static void
a_backup_deleted_before_its_verification_has_no_verdict(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_REPO struct repo *repo = NULL;
    AUTO_FREE char *path = xasprintf("%s/work/repository", rig->directory);
    AUTO_STATE(backup) row = {0};
    struct repo_removed removed;
    json_t *result = NULL;
    char backup[UUID_TEXT_SIZE];

    CHECK_OK(rig_backup(rig, false, backup, &err), &err);
    repo = repo_open(path, 0, &err);
    REQUIRE(repo != NULL);
    CHECK_OK(repo_remove_point(repo, RIG_VM, backup, &removed, &err), &err);
    CHECK(verify(rig, backup, &result) == 2);
    CHECK_TEXT(json_string_value(json_object_get(result, "errorname")),
               "CANCELLED");
    json_decref(result);
    load(rig, backup, &row);
    CHECK(row.verify_status == NULL);
    rig_free(rig);
}

/* The layer that the last backup of the machine froze, and its file. */
static char *
frozen_layer(struct rig *rig, const char *uuid)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(backup) backup = {0};
    AUTO_STATE(backup_volume) volume = {0};
    AUTO_STATE(layer) layer = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};
    struct state_where mine[] = {STATE_INT("backup_id", 0)};

    if (tx == NULL || state_backup_find(tx, where, 1, &backup, &err) <= 0)
        return NULL;
    mine[0].number = backup.id;
    if (state_backup_volume_find(tx, mine, 1, &volume, &err) <= 0 ||
        state_layer_get(tx, volume.layer_id, &layer, &err) < 0)
        return NULL;
    return steal(&layer.path);
}

/* Snapshot, backup, back to the snapshot: what the backup froze lies on a
 * branch of its own, and then its file is lost. */
static void
with_the_change_record_lost_only_local_reading_is_repeated(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(backup) row = {0};
    AUTO_FREE char *layer = NULL;
    json_t *result = NULL;
    char snapshot[UUID_TEXT_SIZE];
    char first[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];

    write_much(rig);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    rig_learn(rig, RIG_SNAPSHOT, snapshot);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, first, &err), &err);
    rig_learn(rig, RIG_BACKUP, first);
    rig_power(rig, false);
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    rig_go_back(rig, snapshot);
    rig_power(rig, true);
    rig_guest_write(rig);
    layer = frozen_layer(rig, first);
    REQUIRE(layer != NULL && unlink(layer) == 0);

    CHECK_OK(rig_backup(rig, false, second, &err), &err);
    rig_learn(rig, RIG_BACKUP, second);
    load(rig, second, &row);
    CHECK_TEXT(row.type, "INCREMENTAL");
    CHECK(row.reason != NULL && strstr(row.reason, "lost") != NULL);
    /* Less than the disk was stored; its bytes are those of the guest. */
    CHECK(row.bytes_changed < (int64_t)RIG_DISK_SIZE);
    CHECK(verify(rig, second, &result) == 1);
    CHECK(json_is_true(json_object_get(result, "valid")));
    json_decref(result);
    CHECK_OK(rig_check(rig, false, &err), &err);
    rig_free(rig);
}

static void
a_lost_index_of_the_parent_makes_a_full_and_no_failure(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(backup) row = {0};
    AUTO_FREE char *index = NULL;
    char first[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];

    write_much(rig);
    CHECK_OK(rig_backup(rig, false, first, &err), &err);
    index = image_of(rig, first);
    memcpy(index + strlen(index) - strlen("qcow2"), "idx\0", 4);
    CHECK(unlink(index) == 0);
    rig_guest_write(rig);
    CHECK_OK(rig_backup(rig, false, second, &err), &err);
    load(rig, second, &row);
    CHECK_TEXT(row.status, "BackedUp");
    rig_free(rig);
}

/* -- scrubbing ----------------------------------------------------------- */

static int64_t
scrub(struct rig *rig, struct state_scrub *ret_row)
{
    struct error err = ERROR_INIT;
    AUTO_STATE(image_store) store = {0};
    const struct state_where where[] = {STATE_LIVING};
    struct ticket ticket;
    json_t *result = NULL;
    int64_t status;

    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);

        if (tx == NULL ||
            state_image_store_find(tx, where, 1, &store, &err) <= 0)
            return -1;
    }
    CHECK_OK(
        request_scrub(rig->engine, &rig->caller, store.uuid, &ticket, &err),
        &err);
    CHECK(request_scrub(rig->engine, &rig->caller, store.uuid, &ticket, &err) ==
          -1);
    CHECK(err.code == ERROR_BUSY);
    error_clear(&err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    status = result_of(rig, ticket.job, &result);
    json_decref(result);
    {
        AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);

        state_scrub_release(ret_row);
        *ret_row = (struct state_scrub){0};
        CHECK(tx != NULL && state_scrub_find(tx, NULL, 0, ret_row, &err) > 0);
    }
    return status;
}

static void
a_scrub_marks_every_backup_good_or_damaged(void)
{
    struct rig *rig = rig_new(2, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(scrub) row = {0};
    AUTO_STATE(backup) good = {0};
    AUTO_STATE(backup) bad = {0};
    AUTO_FREE char *image = NULL;
    char uuids[3][UUID_TEXT_SIZE];

    write_much(rig);
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(rig_backup(rig, false, uuids[i], &err), &err);
        rig_guest_write(rig);
    }
    CHECK(scrub(rig, &row) == 1);
    CHECK_TEXT(row.status, "Done");
    CHECK(row.files_done == 6 && row.files_total == 6 && row.findings == 0);
    load(rig, uuids[2], &good);
    CHECK_TEXT(good.verify_status, "Good");
    image = image_of(rig, uuids[0]);
    spoil(image);
    CHECK(scrub(rig, &row) == 1);
    CHECK(row.findings == 1 && strstr(row.problem, image) != NULL);
    load(rig, uuids[0], &bad);
    CHECK_TEXT(bad.verify_status, "Damaged");
    rig_free(rig);
}

static void
verified_as(struct rig *rig, const char *uuid, const char *status,
            const char *problem)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", uuid)};

    REQUIRE(tx != NULL && state_snapshot_find(tx, where, 1, &row, &err) > 0);
    CHECK_TEXT(row.verify_status, status);
    CHECK(problem != NULL ? row.verify_problem != NULL &&
                                strstr(row.verify_problem, problem) != NULL
                          : row.verify_problem == NULL);
    CHECK(row.verified != 0);
}

static void
a_scrub_marks_snapshots_of_volumes_too(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(scrub) row = {0};
    AUTO_FREE char *image = NULL;
    char volume[UUID_TEXT_SIZE];
    char good[UUID_TEXT_SIZE];
    char bad[UUID_TEXT_SIZE];

    write_much(rig);
    CHECK_OK(rig_volume_snapshot(rig, 0, good, &err), &err);
    rig_guest_write(rig);
    CHECK_OK(rig_volume_snapshot(rig, 0, bad, &err), &err);
    CHECK(scrub(rig, &row) == 1);
    CHECK(row.findings == 0);
    verified_as(rig, bad, "Good", NULL);
    rig_volume(rig, 0, volume);
    image = image_in(rig, volume, bad);
    spoil(image);
    CHECK(scrub(rig, &row) == 1);
    CHECK(row.findings == 1);
    verified_as(rig, bad, "Damaged", image);
    verified_as(rig, good, "Good", NULL);
    spoil(image); /* put back */
    CHECK(scrub(rig, &row) == 1);
    verified_as(rig, bad, "Good", NULL);
    rig_free(rig);
}

/* How many events of the repository's scrub say that. */
static unsigned
told(struct rig *rig, const char *text)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE_LIST(event) rows = {0};
    const struct state_where where[] = {
        STATE_TEXT("type", "IMAGE.STORE.SCRUB")};
    unsigned count = 0;

    CHECK(tx != NULL &&
          state_event_list(tx, STATE_QUERY(where), &rows, &err) == 0);
    for (size_t i = 0; i < rows.count; i++)
        count += strstr(rows.items[i].description, text) != NULL;
    return count;
}

static void
a_finding_is_told_before_the_scrub_ends(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    AUTO_STATE(scrub) row = {0};
    AUTO_FREE char *image = NULL;
    char uuid[UUID_TEXT_SIZE];
    int status = 0;
    pid_t child;

    write_much(rig);
    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    image = image_of(rig, uuid);
    spoil(image);
    rig_close(rig);
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (rig_open(rig, &err) < 0)
            _exit(3);
        fault_arm("scrub.end", 1, FAULT_KILL);
        (void)scrub(rig, &row);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK_OK(rig_open(rig, &err), &err);
    CHECK(told(rig, image) == 1);
    rig_free(rig);
}

static void
an_event_has_the_time_at_which_it_happened(void)
{
    struct rig *rig = rig_new(1, 0, false);
    struct error err = ERROR_INIT;
    struct job job = {.engine = rig->engine};
    AUTO_STATE_TX struct state_tx *tx = NULL;
    AUTO_STATE(event) row = {0};
    const struct state_where where[] = {STATE_TEXT("type", "A.TEST")};
    int64_t happened;

    job_event(&job, "A.TEST", "INFO", NULL);
    happened = clock_wall_ms();
    while (clock_wall_ms() <= happened)
        (void)poll(NULL, 0, 1);
    tx = state_begin_write(rig->state, &err);
    REQUIRE(tx != NULL);
    job_record_events(&job, tx);
    job_forget_events(&job);
    CHECK(job.notes.count == 0);
    CHECK(state_event_find(tx, where, 1, &row, &err) == 1);
    CHECK(row.created != 0 && row.created <= happened);
    state_end(steal(&tx));
    vec_release(&job.notes);
    rig_free(rig);
}

int
main(void)
{
    RUN(damage_is_told_recorded_and_not_built_on);
    RUN(a_verification_does_not_stand_in_the_machines_queue);
    RUN(a_backup_deleted_before_its_verification_has_no_verdict);
    RUN(with_the_change_record_lost_only_local_reading_is_repeated);
    RUN(a_lost_index_of_the_parent_makes_a_full_and_no_failure);
    RUN(a_scrub_marks_every_backup_good_or_damaged);
    RUN(a_scrub_marks_snapshots_of_volumes_too);
    RUN(a_finding_is_told_before_the_scrub_ends);
    RUN(an_event_has_the_time_at_which_it_happened);
    return check_done();
}
