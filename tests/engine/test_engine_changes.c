/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where two backups differ, compared block by block with what the model says
 * that the guest's disks held then.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/fault.h"
#include "base/memory.h"
#include "engine/backup_changes.h"
#include "hv/fake/hv_fake.h"
#include "image/digest.h"

#include <stdio.h>
#include <string.h>

#define BLOCK DIGEST_LEAF_SIZE

/* Of one block of a disk; past its end it is zero. */
static void
block_of(const struct rig_content *content, size_t disk, uint64_t at,
         uint8_t *ret_block)
{
    uint64_t size =
        content->disks[disk] != NULL ? content->sizes[disk] : (uint64_t)0;

    memset(ret_block, 0, BLOCK);
    if (at < size)
        memcpy(ret_block, content->disks[disk] + at, MIN(BLOCK, size - at));
}

/* The ranges are exactly the blocks in which the two contents differ. */
static void
check_ranges(const struct backup_changes_volume *volume, size_t disk,
             const struct rig_content *before, const struct rig_content *after)
{
    static uint8_t a[BLOCK];
    static uint8_t b[BLOCK];
    uint64_t size = MAX(before->sizes[disk], after->sizes[disk]);
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < size; at += BLOCK) {
        bool differs;

        block_of(before, disk, at, a);
        block_of(after, disk, at, b);
        differs = memcmp(a, b, BLOCK) != 0;
        CHECK(extents_has(&volume->ranges, at) == differs);
        bytes += differs ? MIN(BLOCK, size - at) : 0;
    }
    CHECK(volume->bytes == bytes && bytes == extents_bytes(&volume->ranges));
    CHECK(!volume->is_cut);
}

static void
check_pair(struct rig *rig, const char *before, const char *after)
{
    AUTO_BACKUP_CHANGES struct backup_changes changes = {.items = NULL};
    const struct backup_changes_query query = {.before = before,
                                               .after = after};
    struct error err = ERROR_INIT;

    CHECK_OK(
        backup_changes_find(rig->engine, &rig->caller, &query, &changes, &err),
        &err);
    REQUIRE(changes.count == rig->volumes);
    CHECK_TEXT(changes.algorithm, "xxh3-128");
    for (size_t i = 0; i < changes.count; i++) {
        CHECK(changes.items[i].presence == BACKUP_CHANGES_BOTH);
        check_ranges(&changes.items[i], i, &rig_find(rig, before)->content,
                     &rig_find(rig, after)->content);
    }
}

static void
back_up(struct rig *rig, bool isolated, char *uuid)
{
    struct error err = ERROR_INIT;

    CHECK_OK(rig_backup(rig, isolated, uuid, &err), &err);
    rig_learn(rig, RIG_BACKUP, uuid);
}

static void
any_two_backups_differ_where_their_contents_do(void)
{
    struct rig *rig = rig_new(2, 3, false);
    struct error err = ERROR_INIT;
    char uuids[7][UUID_TEXT_SIZE];
    char snapshot[UUID_TEXT_SIZE];

    rig_power(rig, true);
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        rig_guest_write(rig);
        if (i != 3) /* one backup in which little changed */
            rig_guest_write(rig);
        if (i == 2) {
            CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
            rig_learn(rig, RIG_SNAPSHOT, snapshot);
        }
        if (i == 4) {
            rig_power(rig, false);
            CHECK_OK(rig_revert(rig, snapshot, &err), &err);
            rig_go_back(rig, snapshot);
            rig_power(rig, true);
        }
        back_up(rig, i == 5, uuids[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++)
        for (size_t k = 0; k < ARRAY_SIZE(uuids); k++)
            check_pair(rig, uuids[i], uuids[k]);
    CHECK_OK(rig_fold(rig, uuids[1], NULL, false, &err), &err);
    check_pair(rig, uuids[0], uuids[1]);
    check_pair(rig, uuids[1], uuids[2]);
    rig_free(rig);
}

static void
a_disk_that_grew_differs_in_what_is_not_zero(void)
{
    struct rig *rig = rig_new(1, 3, false);
    char small[UUID_TEXT_SIZE];
    char large[UUID_TEXT_SIZE];

    rig_power(rig, true);
    rig_guest_write(rig);
    back_up(rig, false, small);
    rig_power(rig, false);
    rig_resize(rig, 0, RIG_DISK_SIZE + BLOCK * 5 / 2);
    rig_power(rig, true);
    for (unsigned i = 0; i < 20; i++)
        rig_guest_write(rig);
    back_up(rig, false, large);
    check_pair(rig, small, large);
    check_pair(rig, large, small);
    rig_free(rig);
}

static void
a_volume_that_only_one_has_is_told(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char before[UUID_TEXT_SIZE];
    char after[UUID_TEXT_SIZE];
    char volume[UUID_TEXT_SIZE];
    struct backup_changes_query query = {.before = before, .after = after};
    struct backup_changes changes;

    rig_power(rig, true);
    rig_guest_write(rig);
    back_up(rig, false, before);
    rig_setting(rig, "backup.enable.attach.detach.of.volumes", "true");
    CHECK_OK(rig_create_volume(rig, volume, &err), &err);
    CHECK_OK(rig_attach(rig, volume, &err), &err);
    CHECK_OK(rig_backup(rig, false, after, &err), &err);
    CHECK_OK(
        backup_changes_find(rig->engine, &rig->caller, &query, &changes, &err),
        &err);
    CHECK(changes.count == 2);
    CHECK_TEXT(changes.items[1].volume.text, volume);
    CHECK(changes.items[1].presence == BACKUP_CHANGES_ADDED);
    CHECK(changes.items[1].size_before == 0 &&
          changes.items[1].size_after == RIG_DISK_SIZE);
    CHECK(changes.items[1].bytes == 0); /* nothing was written there */
    backup_changes_release(&changes);

    query = (struct backup_changes_query){
        .before = after, .after = before, .volume = volume};
    CHECK_OK(
        backup_changes_find(rig->engine, &rig->caller, &query, &changes, &err),
        &err);
    CHECK(changes.count == 1 &&
          changes.items[0].presence == BACKUP_CHANGES_REMOVED);
    backup_changes_release(&changes);
    rig_free(rig);
}

/* A disk with something in every second block, more than an answer holds. */
static void
many_ranges_are_told_in_several_answers(void)
{
    const uint64_t count = BACKUP_CHANGES_RANGES_MAX + 100;
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char before[UUID_TEXT_SIZE];
    char after[UUID_TEXT_SIZE];
    struct backup_changes_query query = {.before = before, .after = after};
    AUTO_EXTENTS struct extents all = EXTENTS_INIT;
    unsigned answers = 0;
    bool more = true;

    rig_power(rig, true);
    CHECK_OK(rig_backup(rig, false, before, &err), &err);
    rig_power(rig, false);
    rig_resize(rig, 0, 2 * count * BLOCK);
    rig_power(rig, true);
    for (uint64_t i = 0; i < count; i++)
        CHECK_OK(hv_fake_guest_write(rig->hv, rig->vm, "vda", "something",
                                     2 * i * BLOCK, 8, &err),
                 &err);
    CHECK_OK(rig_backup(rig, false, after, &err), &err);
    while (more && answers < 5) {
        AUTO_BACKUP_CHANGES struct backup_changes changes = {.items = NULL};

        CHECK_OK(backup_changes_find(rig->engine, &rig->caller, &query,
                                     &changes, &err),
                 &err);
        REQUIRE(changes.count == 1);
        CHECK(changes.items[0].ranges.count <= BACKUP_CHANGES_RANGES_MAX);
        extents_union(&all, &changes.items[0].ranges);
        query.offset = changes.items[0].next;
        more = changes.items[0].is_cut;
        answers++;
    }
    CHECK(answers == 2 && all.count == count &&
          extents_bytes(&all) == count * BLOCK);
    rig_free(rig);
}

static void
what_cannot_be_compared_is_refused(void)
{
    struct rig *rig = rig_new(1, 3, false);
    struct error err = ERROR_INIT;
    char a[UUID_TEXT_SIZE];
    char b[UUID_TEXT_SIZE];
    struct backup_changes_query query = {.before = a, .after = b};
    struct backup_changes changes;

    rig_power(rig, true);
    rig_guest_write(rig);
    back_up(rig, false, a);
    back_up(rig, false, b);
    query.volume = RIG_VM; /* no volume's */
    CHECK(backup_changes_find(rig->engine, &rig->caller, &query, &changes,
                              &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
    error_clear(&err);
    query.volume = NULL;
    fault_arm("backup-changes.index", 1, FAULT_FAIL);
    CHECK(backup_changes_find(rig->engine, &rig->caller, &query, &changes,
                              &err) == -1);
    fault_disarm();
    error_clear(&err);
    CHECK_OK(rig_delete_backup(rig, b, &err), &err);
    CHECK(backup_changes_find(rig->engine, &rig->caller, &query, &changes,
                              &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND || err.code == ERROR_CONFLICT);
    CHECK(changes.items == NULL && changes.count == 0);
    rig_free(rig);
}

int
main(void)
{
    RUN(any_two_backups_differ_where_their_contents_do);
    RUN(a_disk_that_grew_differs_in_what_is_not_zero);
    RUN(a_volume_that_only_one_has_is_told);
    RUN(many_ranges_are_told_in_several_answers);
    RUN(what_cannot_be_compared_is_refused);
    return check_done();
}
