/* SPDX-License-Identifier: Apache-2.0 */
/*
 * points.h -- a machine with small disks whose points go into a repository,
 * and what each of them must restore to.
 */
#ifndef TESTS_LIB_POINTS_H
#define TESTS_LIB_POINTS_H

#include "oracle.h"
#include "sample.h"

#include "base/fd.h"
#include "base/uuid.h"
#include "image/copy.h"
#include "image/extents.h"
#include "image/qcow2_writer.h"
#include "repo/repo.h"

#include <string.h>

#define POINTS_VOLUMES 2
#define POINTS_SIZE ((size_t)1 << 20)
#define POINTS_MAX 32
#define POINTS_VM "11111111-2222-4333-8444-555555555555"
#define POINTS_ACCOUNT "aaaaaaaa-2222-4333-8444-555555555555"

static const char *const points_volumes[POINTS_VOLUMES] = {
    "dddddddd-0000-4000-8000-000000000000",
    "dddddddd-1111-4000-8000-000000000000"};

/* What a point was made from. */
struct points_made {
    struct uuid uuid;
    uint8_t *disks[POINTS_VOLUMES]; /* owned */
};

struct points {
    struct sample sample;
    uint8_t *disks[POINTS_VOLUMES]; /* owned; as they are now */
    struct points_made made[POINTS_MAX];
    size_t count;
};

static inline void
points_init(struct points *points, uint64_t seed)
{
    *points = (struct points){.sample = {seed}};
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        points->disks[i] = xmalloc(POINTS_SIZE);
        sample_fill(&points->sample, points->disks[i], POINTS_SIZE);
    }
}

static inline void
points_release(struct points *points)
{
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        free(points->disks[i]);
        for (size_t k = 0; k < points->count; k++)
            free(points->made[k].disks[i]);
    }
}

static inline void
points_change(struct points *points)
{
    for (size_t i = 0; i < POINTS_VOLUMES; i++)
        sample_change(&points->sample, points->disks[i], POINTS_SIZE, 3);
}

/* The disks as they are now are what the point `uuid` must restore to. */
static inline void
points_note(struct points *points, const struct uuid *uuid)
{
    struct points_made *made = &points->made[points->count++];

    made->uuid = *uuid;
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        made->disks[i] = xmalloc(POINTS_SIZE);
        memcpy(made->disks[i], points->disks[i], POINTS_SIZE);
    }
}

static inline const struct points_made *
points_find(const struct points *points, const char *uuid)
{
    for (size_t i = 0; i < points->count; i++) {
        if (strcmp(points->made[i].uuid.text, uuid) == 0)
            return &points->made[i];
    }
    return NULL;
}

/* Leaves of the two that differ. */
static inline void
points_diff(const uint8_t *old, const uint8_t *new, struct extents *ret_set)
{
    for (size_t at = 0; at < POINTS_SIZE; at += DIGEST_LEAF_SIZE) {
        if (memcmp(old + at, new + at, DIGEST_LEAF_SIZE) != 0)
            extents_add(ret_set, at, DIGEST_LEAF_SIZE);
    }
}

/* Store one disk as the stage says. */
static inline int
points_store(struct repo_stage *stage, size_t n, const uint8_t *disk,
             const uint8_t *old, char root[DIGEST_ROOT_TEXT], struct error *err)
{
    struct qcow2_writer_options how = {.size = POINTS_SIZE,
                                       .backing_name =
                                           repo_stage_backing(stage, n),
                                       .backing_format = IMAGE_QCOW2,
                                       .compress = n == 0,
                                       .compression = QCOW2_ZSTD};
    struct copy_options options = {.threads = 1};
    AUTO_EXTENTS struct extents only = EXTENTS_INIT;
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
    AUTO_DIGEST_BUILDER struct digest_builder *builder = NULL;
    struct qcow2_writer *writer;
    uint64_t size;
    int result;

    (void)unlink("source.raw");
    sample_store("source.raw", disk, POINTS_SIZE);
    source = blockdev_open_raw("source.raw", 0, err);
    if (repo_stage_parent_index(stage, n) != NULL) {
        points_diff(old, disk, &only);
        parent = digest_index_open(repo_stage_parent_index(stage, n), err);
    }
    builder = digest_builder_new(repo_stage_index(stage, n),
                                 repo_stage_point(stage)->uuid.text,
                                 POINTS_SIZE, DIGEST_XXH3_128, parent, err);
    writer = qcow2_writer_new(repo_stage_image(stage, n), &how, err);
    if (source == NULL || builder == NULL || writer == NULL) {
        qcow2_writer_free(writer);
        return -1;
    }
    result = copy_to_qcow2(source, old != NULL ? &only : NULL, writer, builder,
                           &options, err);
    if (result == 0)
        result = qcow2_writer_finish(writer, &size, err);
    qcow2_writer_free(writer);
    if (result == 0)
        result = digest_builder_finish(builder, root, err);
    return result;
}

/* A point with everything, of the volumes as they are now. */
static inline struct repo_point *
points_describe(const struct uuid *uuid, const struct repo_point *parent)
{
    static int64_t now = INT64_C(1772360100000);
    struct repo_point *point = repo_point_new();

    point->uuid = *uuid;
    memcpy(point->vm.text, POINTS_VM, UUID_TEXT_SIZE);
    point->vm_name = xstrdup("web1");
    point->account = xstrdup(POINTS_ACCOUNT);
    point->created_ms = now += 1000;
    point->domain_xml =
        xstrdup("<domain>\n  <name>w\xc3\xa4hb</name>\n</domain>");
    point->nvram = xcalloc(1, 10);
    point->nvram_length = 10;
    repo_point_add_detail(point, "quiesced", "true");
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        struct repo_volume *volume = repo_point_add_volume(
            point, points_volumes[i], POINTS_SIZE,
            parent != NULL ? repo_point_volume(parent, points_volumes[i])
                           : NULL);

        volume->device_id = (uint32_t)i;
        volume->type = i == 0 ? REPO_ROOT : REPO_DATADISK;
        volume->target = xstrdup(i == 0 ? "vda" : "vdb");
        if (parent == NULL)
            volume->full_reason = xstrdup("first");
    }
    return point;
}

/*
 * Make a point of the disks as they are now, on `parent` or (NULL) a full.
 * Its uuid is chosen by the caller.
 */
static inline int
points_make(struct points *points, const struct repo *repo,
            const struct uuid *uuid, const char *parent_uuid, struct error *err)
{
    AUTO_REPO_POINT struct repo_point *parent = NULL;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    const struct points_made *old =
        parent_uuid != NULL ? points_find(points, parent_uuid) : NULL;

    if (parent_uuid != NULL) {
        parent = repo_read_point(repo, POINTS_VM, parent_uuid, err);
        if (parent == NULL)
            return -1;
    }
    point = points_describe(uuid, parent);
    stage = repo_stage_begin(repo, &point, err);
    if (stage == NULL)
        return -1;
    for (size_t i = 0; i < POINTS_VOLUMES; i++) {
        char root[DIGEST_ROOT_TEXT];

        if (points_store(stage, i, points->disks[i],
                         old != NULL ? old->disks[i] : NULL, root, err) < 0 ||
            repo_stage_volume_done(stage, i, root, err) < 0)
            return -1;
    }
    return repo_stage_publish(stage, err);
}

/* The repository in that folder of the scratch directory; flags as of
 * repo_open(). */
static inline struct repo *
points_repo(const struct scratch *scratch, const char *name, unsigned flags)
{
    AUTO_FREE char *path = scratch_file(scratch, name);
    struct error err = ERROR_INIT;
    struct repo *repo = repo_open(path, flags, &err);

    if (repo == NULL)
        printf("# %s\n", err.message);
    return repo;
}

/* One more point on `parent` (NULL: a full) of the disks as they are now, which
 * then change. */
static inline bool
points_push(struct points *points, const struct repo *repo, const char *parent)
{
    struct error err = ERROR_INIT;
    struct uuid uuid;

    uuid_new(&uuid);
    if (points_make(points, repo, &uuid, parent, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    points_note(points, &uuid);
    points_change(points);
    return true;
}

/* `count` points, each an incremental of the one before. */
static inline bool
points_line(struct points *points, const struct repo *repo, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *parent = points->count > 0
                                 ? points->made[points->count - 1].uuid.text
                                 : NULL;

        if (!points_push(points, repo, parent))
            return false;
    }
    return true;
}

/* The point restores to what it was made from. */
static inline bool
points_restores(const struct points *points, const struct repo *repo,
                const struct repo_point *point, enum image_format format)
{
    const struct points_made *made = points_find(points, point->uuid.text);
    struct copy_options options = {.threads = 1};
    struct error err = ERROR_INIT;

    for (size_t i = 0; made != NULL && i < POINTS_VOLUMES; i++) {
        AUTO_BLOCKDEV struct blockdev *device = NULL;
        AUTO_FREE uint8_t *bytes = xmalloc(POINTS_SIZE);
        struct image_ref ref = {.path = "restored", .format = format};

        (void)unlink("restored");
        if (repo_restore_volume(repo, point, &point->volumes[i], "restored",
                                format, NULL, &options, &err) < 0)
            break;
        device = blockdev_open_chain(&ref, 1, 0, &err);
        if (device == NULL ||
            blockdev_read(device, bytes, POINTS_SIZE, 0, &err) < 0)
            break;
        if (blockdev_size(device) != POINTS_SIZE ||
            memcmp(bytes, made->disks[i], POINTS_SIZE) != 0) {
            printf("# volume %zu is not what it was\n", i);
            return false;
        }
    }
    if (made == NULL || err.code != ERROR_NONE)
        printf("# point '%s': %s\n", point->uuid.text, err.message);
    return made != NULL && err.code == ERROR_NONE;
}

#endif
