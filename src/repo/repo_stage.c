/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a point, all or nothing.
 *
 *   1. the marker "<point>.stage" is written, durably: it has all names;
 *   2. images and indexes are written as "….partial" and checked;
 *   3. each gets its final name by link(2), which never replaces anything;
 *      directories are synced;
 *   4. the manifest is linked and its directory synced: now the point is;
 *   5. partial names and the marker go.
 *
 * Whatever dies before 4 leaves a marker without a manifest, and settling
 * unlinks what it names; after 4 there is a manifest, and settling does 5.
 * Final names without a manifest are of no meaning to anybody: nothing looks
 * for files but through manifests and markers.
 *
 * link(2) rather than rename(2): a second writer that lost a race gets
 * EEXIST, on NFS as well.  File systems without hard links (some SMB shares)
 * get renameat2(RENAME_NOREPLACE).
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path.h"
#include "image/qcow2.h"
#include "repo/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct stage_volume {
    char *image; /* owned, as all below; partial names */
    char *index;
    char *backing; /* NULL for a full */
    char *parent_index;
    bool done;
};

struct repo_stage {
    const struct repo *repo;      /* borrowed */
    struct repo_point *point;     /* owned */
    struct stage_volume *volumes; /* owned; one for each of the point */
};

/* -- names -------------------------------------------------------------- */

static char *
file_of(const struct repo_stage *stage, size_t n, size_t link,
        const char *suffix)
{
    const struct repo_volume *volume = &stage->point->volumes[n];

    return repo_volume_file(stage->repo, stage->point->account,
                            volume->volume.text, volume->chain[link].text,
                            suffix);
}

static char *
index_of(const struct repo_stage *stage, size_t n, size_t link)
{
    const struct repo_volume *volume = &stage->point->volumes[n];

    return repo_volume_file(stage->repo, stage->point->account,
                            volume->volume.text,
                            repo_volume_index(volume, link), REPO_INDEX);
}

static char *
mark_of(const struct repo_stage *stage, const char *suffix)
{
    return repo_point_file(stage->repo, stage->point->vm.text,
                           stage->point->uuid.text, suffix);
}

static void
name_volume(struct repo_stage *stage, size_t n)
{
    const struct repo_volume *volume = &stage->point->volumes[n];
    struct stage_volume *named = &stage->volumes[n];

    named->image = file_of(stage, n, 0, REPO_IMAGE REPO_PARTIAL);
    named->index = file_of(stage, n, 0, REPO_INDEX REPO_PARTIAL);
    if (volume->chain_count > 1) {
        named->backing = xasprintf("%s" REPO_IMAGE, volume->chain[1].text);
        named->parent_index = index_of(stage, n, 1);
    }
}

void
repo_stage_free(struct repo_stage *stage)
{
    if (stage == NULL)
        return;
    for (size_t i = 0; i < stage->point->volume_count; i++) {
        free(stage->volumes[i].image);
        free(stage->volumes[i].index);
        free(stage->volumes[i].backing);
        free(stage->volumes[i].parent_index);
    }
    free(stage->volumes);
    repo_point_free(stage->point);
    free(stage);
}

void
repo_stage_cleanup(struct repo_stage **stage)
{
    repo_stage_free(*stage);
    *stage = NULL;
}

const struct repo_point *
repo_stage_point(const struct repo_stage *stage)
{
    return stage->point;
}

const char *
repo_stage_image(const struct repo_stage *stage, size_t n)
{
    return stage->volumes[n].image;
}

const char *
repo_stage_index(const struct repo_stage *stage, size_t n)
{
    return stage->volumes[n].index;
}

const char *
repo_stage_backing(const struct repo_stage *stage, size_t n)
{
    return stage->volumes[n].backing;
}

const char *
repo_stage_parent_index(const struct repo_stage *stage, size_t n)
{
    return stage->volumes[n].parent_index;
}

/* -- beginning ---------------------------------------------------------- */

static int
refuse_existing(const char *path, struct error *err)
{
    if (!fd_exists(path))
        return 0;
    return error_set(err, ERROR_CONFLICT, "'%s' exists already", path);
}

static int
check_point_is_new(const struct repo_stage *stage, struct error *err)
{
    static const char *const suffixes[] = {REPO_MANIFEST, REPO_MARKER,
                                           REPO_TOMBSTONE};

    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        AUTO_FREE char *path = mark_of(stage, suffixes[i]);

        if (refuse_existing(path, err) < 0)
            return -1;
    }
    return 0;
}

static int
check_files_are_new(const struct repo_stage *stage, size_t n, struct error *err)
{
    static const char *const suffixes[] = {REPO_IMAGE, REPO_INDEX,
                                           REPO_IMAGE REPO_PARTIAL,
                                           REPO_INDEX REPO_PARTIAL};

    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        AUTO_FREE char *path = file_of(stage, n, 0, suffixes[i]);

        if (refuse_existing(path, err) < 0)
            return -1;
    }
    return 0;
}

static int
check_there(const char *path, struct error *err)
{
    if (fd_exists(path))
        return 0;
    return error_set(err, ERROR_NOT_FOUND,
                     "'%s', which the new point builds on, is missing", path);
}

static int
check_parents(const struct repo_stage *stage, size_t n, struct error *err)
{
    const struct repo_volume *volume = &stage->point->volumes[n];

    for (size_t i = 1; i < volume->chain_count; i++) {
        AUTO_FREE char *image = file_of(stage, n, i, REPO_IMAGE);
        AUTO_FREE char *index = index_of(stage, n, i);

        if (check_there(image, err) < 0 || check_there(index, err) < 0)
            return -1;
    }
    return 0;
}

/* The parent's chain may be another one when that is finished. */
static int
check_no_fold(const struct repo_stage *stage, struct error *err)
{
    int open = repo_fold_is_open(stage->repo, stage->point->vm.text, err);

    if (open > 0)
        return error_set(err, ERROR_BUSY,
                         "a fold of points of machine '%s' is not finished",
                         stage->point->vm.text);
    return open;
}

static int
make_directories(const struct repo_stage *stage, struct error *err)
{
    const struct repo_point *point = stage->point;
    AUTO_FREE char *points =
        xasprintf("%s/points/%s", stage->repo->path, point->vm.text);

    if (fd_make_directories(points, REPO_DIRECTORY_MODE, err) < 0)
        return -1;
    for (size_t i = 0; i < point->volume_count; i++) {
        AUTO_FREE char *path = repo_volume_directory(
            stage->repo, point->account, point->volumes[i].volume.text);

        if (fd_make_directories(path, REPO_DIRECTORY_MODE, err) < 0)
            return -1;
    }
    return 0;
}

static int
write_marker(const struct repo_stage *stage, struct error *err)
{
    AUTO_FREE char *path = mark_of(stage, REPO_MARKER);
    AUTO_FREE char *text = manifest_encode(stage->point, err);

    if (text == NULL)
        return -1;
    if (fault_here("repo.mark"))
        return error_set_errno(err, errno, "write '%s'", path);
    return fd_replace_file(path, text, strlen(text), REPO_FILE_MODE, err);
}

struct repo_stage *
repo_stage_begin(const struct repo *repo, struct repo_point **point,
                 struct error *err)
{
    AUTO_REPO_STAGE struct repo_stage *stage = xcalloc(1, sizeof(*stage));

    stage->repo = repo;
    stage->point = steal(point);
    stage->volumes =
        xcalloc(stage->point->volume_count + 1, sizeof(*stage->volumes));
    stage->point->type = REPO_FULL;
    for (size_t i = 0; i < stage->point->volume_count; i++) {
        if (stage->point->volumes[i].chain_count > 1)
            stage->point->type = REPO_INCREMENTAL;
    }
    if (manifest_check(stage->point, false, err) < 0 ||
        check_no_fold(stage, err) < 0 || check_point_is_new(stage, err) < 0)
        return NULL;
    for (size_t i = 0; i < stage->point->volume_count; i++) {
        name_volume(stage, i);
        if (check_files_are_new(stage, i, err) < 0 ||
            check_parents(stage, i, err) < 0)
            return NULL;
    }
    if (make_directories(stage, err) < 0 || write_marker(stage, err) < 0)
        return NULL;
    return steal(&stage);
}

/* -- checking what was written ------------------------------------------ */

static int
check_image(const struct repo_stage *stage, size_t n, struct error *err)
{
    const struct stage_volume *named = &stage->volumes[n];
    const char *backing = named->backing != NULL ? named->backing : "";
    uint64_t size = stage->point->volumes[n].size;
    struct qcow2_info info;

    if (qcow2_read_info(named->image, &info, err) < 0)
        return -1;
    if (info.size != (size + 511) / 512 * 512)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' is a disk of %" PRIu64 " bytes, not %" PRIu64,
                         named->image, info.size, size);
    if (strcmp(info.backing_name, backing) != 0 ||
        (backing[0] != '\0' && strcmp(info.backing_format, "qcow2") != 0))
        return error_set(err, ERROR_CORRUPT,
                         "'%s' has the backing file '%.64s' (%s), not '%s'",
                         named->image, info.backing_name, info.backing_format,
                         backing);
    return 0;
}

static bool
has_link(const struct repo_volume *volume, const char *uuid)
{
    for (size_t i = 1; i < volume->chain_count; i++) {
        if (strcmp(repo_volume_index(volume, i), uuid) == 0)
            return true;
    }
    return false;
}

/* The index is of this point and rests only on those that it says. */
static int
check_index(const struct repo_stage *stage, size_t n, const char *root,
            struct error *err)
{
    const struct repo_volume *volume = &stage->point->volumes[n];
    const char *path = stage->volumes[n].index;
    AUTO_DIGEST_INDEX struct digest_index *index = digest_index_open(path, err);
    const struct uuid *references;
    size_t count;

    if (index == NULL)
        return -1;
    if (strcmp(digest_index_root(index), root) != 0 ||
        digest_index_size(index) != volume->size ||
        strcmp(digest_index_uuid(index), repo_volume_index(volume, 0)) != 0)
        return error_set(err, ERROR_CORRUPT,
                         "'%s' is the index of something else", path);
    count = digest_index_references(index, &references);
    for (size_t i = 0; i < count; i++) {
        if (!has_link(volume, references[i].text))
            return error_set(err, ERROR_CORRUPT,
                             "'%s' rests on '%s', which is not in the chain",
                             path, references[i].text);
    }
    return 0;
}

int
repo_stage_volume_done(struct repo_stage *stage, size_t n, const char *root,
                       struct error *err)
{
    struct repo_volume *volume = &stage->point->volumes[n];
    struct stat about;

    if (strlen(root) >= sizeof(volume->root))
        return error_set(err, ERROR_INVALID, "'%s' is no content root", root);
    if (fault_here("repo.volume-done"))
        return error_set_errno(err, errno, "check '%s'",
                               stage->volumes[n].image);
    if (check_image(stage, n, err) < 0 || check_index(stage, n, root, err) < 0)
        return -1;
    if (stat(stage->volumes[n].image, &about) < 0)
        return error_set_errno(err, errno, "stat '%s'",
                               stage->volumes[n].image);
    volume->stored = (uint64_t)about.st_size;
    memcpy(volume->root, root, strlen(root) + 1);
    stage->volumes[n].done = true;
    return 0;
}

/* -- publishing --------------------------------------------------------- */

/* Give a file its final name, which nobody has. */
static int
publish_name(const char *partial, const char *final, struct error *err)
{
    int result;

    if (fault_here("repo.link"))
        return error_set_errno(err, errno, "link '%s'", final);
    result = link(partial, final);
    if (result < 0 &&
        (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS))
        result =
            renameat2(AT_FDCWD, partial, AT_FDCWD, final, RENAME_NOREPLACE);
    return result == 0 ? 0 : error_set_errno(err, errno, "link '%s'", final);
}

/* Content first: a name must never be durable before it. */
static int
sync_file(const char *path, struct error *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (fsync(fd) < 0 || fault_here("repo.sync-file"))
        return error_set_errno(err, errno, "sync '%s'", path);
    return 0;
}

static int
publish_volume(const struct repo_stage *stage, size_t n, struct error *err)
{
    const struct stage_volume *named = &stage->volumes[n];
    AUTO_FREE char *image = file_of(stage, n, 0, REPO_IMAGE);
    AUTO_FREE char *index = file_of(stage, n, 0, REPO_INDEX);

    if (check_parents(stage, n, err) < 0 || sync_file(named->image, err) < 0 ||
        sync_file(named->index, err) < 0 ||
        publish_name(named->image, image, err) < 0 ||
        publish_name(named->index, index, err) < 0)
        return -1;
    return fd_sync_parent(image, err);
}

static int
publish_manifest(const struct repo_stage *stage, struct error *err)
{
    AUTO_FREE char *partial = mark_of(stage, REPO_MANIFEST REPO_PARTIAL);
    AUTO_FREE char *final = mark_of(stage, REPO_MANIFEST);
    AUTO_FREE char *text = manifest_encode(stage->point, err);

    if (text == NULL ||
        fd_replace_file(partial, text, strlen(text), REPO_FILE_MODE, err) < 0 ||
        publish_name(partial, final, err) < 0)
        return -1;
    return fd_sync_parent(final, err);
}

int
repo_stage_publish(struct repo_stage *stage, struct error *err)
{
    struct error ignored = ERROR_INIT;

    for (size_t i = 0; i < stage->point->volume_count; i++) {
        if (!stage->volumes[i].done)
            return error_set(
                err, ERROR_INVALID, "volume '%s' of point '%s' is not done",
                stage->point->volumes[i].volume.text, stage->point->uuid.text);
    }
    if (manifest_check(stage->point, true, err) < 0)
        return -1;
    for (size_t i = 0; i < stage->point->volume_count; i++) {
        if (publish_volume(stage, i, err) < 0)
            return -1;
    }
    if (publish_manifest(stage, err) < 0)
        return -1;
    /* The point is there; what is left over harms nobody. */
    if (repo_settle_point(stage->repo, stage->point->vm.text,
                          stage->point->uuid.text, &ignored) < 0)
        log_debug("repo", "stage-left", "point=%s error='%s'",
                  stage->point->uuid.text, ignored.message);
    return 0;
}

int
repo_stage_discard(struct repo_stage *stage, struct error *err)
{
    AUTO_FREE char *manifest = mark_of(stage, REPO_MANIFEST);

    /* A publishing that failed at its last sync may have left it; the marker
     * is still there then, and without the manifest it undoes the rest. */
    if (fd_unlink(manifest, err) < 0)
        return -1;
    if (repo_settle_point(stage->repo, stage->point->vm.text,
                          stage->point->uuid.text, err) < 0)
        return -1;
    return 0;
}
