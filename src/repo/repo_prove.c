/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of points: open, prove, restore.
 *
 * A chain is opened by the uuids of the manifest; that the headers inside
 * agree is checked by blockdev_open_chain().
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/memory.h"
#include "image/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *
repo_image_path(const struct repo *repo, const struct repo_point *point,
                const struct repo_volume *volume)
{
    return repo_volume_file(repo, point->account, volume->volume.text,
                            volume->chain[0].text, REPO_IMAGE);
}

char *
repo_index_path(const struct repo *repo, const struct repo_point *point,
                const struct repo_volume *volume)
{
    return repo_volume_file(repo, point->account, volume->volume.text,
                            volume->chain[0].text, REPO_INDEX);
}

struct blockdev *
repo_open_volume(const struct repo *repo, const struct repo_point *point,
                 const struct repo_volume *volume, unsigned flags,
                 struct error *err)
{
    size_t count = volume->chain_count;
    char **paths = xcalloc(count, sizeof(*paths));
    AUTO_FREE struct image_ref *refs = xcalloc(count, sizeof(*refs));
    struct blockdev *device;

    for (size_t i = 0; i < count; i++) {
        paths[i] = repo_volume_file(repo, point->account, volume->volume.text,
                                    volume->chain[i].text, REPO_IMAGE);
        refs[i] = (struct image_ref){.path = paths[i], .format = IMAGE_QCOW2};
    }
    device = blockdev_open_chain(refs, count, flags, err);
    for (size_t i = 0; i < count; i++)
        free(paths[i]);
    free(paths);
    return device;
}

struct digest_index *
repo_open_index(const struct repo *repo, const struct repo_point *point,
                const struct repo_volume *volume, struct error *err)
{
    AUTO_FREE char *path = repo_index_path(repo, point, volume);
    AUTO_DIGEST_INDEX struct digest_index *index = digest_index_open(path, err);

    if (index == NULL)
        return NULL;
    if (strcmp(digest_index_root(index), volume->root) != 0) {
        (void)error_set(err, ERROR_CORRUPT,
                        "the root of '%s' is not that of the manifest", path);
        return NULL;
    }
    return steal(&index);
}

/* -- proving ------------------------------------------------------------ */

void
repo_verdict_release(struct repo_verdict *verdict)
{
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        free(verdict->wrong[i].file);
        free(verdict->wrong[i].points);
    }
    free(verdict->wrong);
    *verdict = (struct repo_verdict)REPO_VERDICT_INIT;
}

/* Which file of the chain holds the leaf at `offset`: the first that decides
 * any of it, else the last. */
static int
find_link(const struct repo *repo, const struct repo_point *point,
          const struct repo_volume *volume, uint64_t offset, size_t *ret_link,
          struct error *err)
{
    for (size_t i = 0; i + 1 < volume->chain_count; i++) {
        AUTO_FREE char *path =
            repo_volume_file(repo, point->account, volume->volume.text,
                             volume->chain[i].text, REPO_IMAGE);
        AUTO_EXTENTS struct extents decided = EXTENTS_INIT;

        if (qcow2_allocated(path, &decided, err) < 0)
            return -1;
        for (uint64_t at = offset; at < offset + DIGEST_LEAF_SIZE; at += 512) {
            if (extents_has(&decided, at)) {
                *ret_link = i;
                return 0;
            }
        }
    }
    *ret_link = volume->chain_count - 1;
    return 0;
}

static bool
rests_on(const struct repo_point *point, const char *account,
         const char *volume, const char *uuid)
{
    const struct repo_volume *own = repo_point_volume(point, volume);

    if (own == NULL || strcmp(point->account, account) != 0)
        return false;
    for (size_t i = 0; i < own->chain_count; i++) {
        if (strcmp(own->chain[i].text, uuid) == 0)
            return true;
    }
    return false;
}

static int
find_dependants(const struct repo *repo, const struct repo_point *point,
                const struct repo_volume *volume, const char *uuid,
                struct repo_finding *finding, struct error *err)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;

    if (repo_list_points(repo, NULL, &list, err) < 0)
        return -1;
    finding->points = xcalloc(list.count + 1, sizeof(*finding->points));
    for (size_t i = 0; i < list.count; i++) {
        if (rests_on(list.points[i], point->account, volume->volume.text, uuid))
            finding->points[finding->point_count++] = list.points[i]->uuid;
    }
    return 0;
}

static int
add_finding(const struct repo *repo, const struct repo_point *point, size_t n,
            const struct copy_mismatch *mismatch, struct repo_verdict *verdict,
            struct error *err)
{
    const struct repo_volume *volume = &point->volumes[n];
    struct repo_finding *finding = &verdict->wrong[verdict->wrong_count++];
    size_t link = 0;

    finding->volume = n;
    finding->offset = mismatch->offset;
    finding->leaves = mismatch->leaves;
    if (find_link(repo, point, volume, mismatch->offset, &link, err) < 0)
        return -1;
    finding->file = repo_volume_file(repo, point->account, volume->volume.text,
                                     volume->chain[link].text, REPO_IMAGE);
    return find_dependants(repo, point, volume, volume->chain[link].text,
                           finding, err);
}

static int
verify_volume(const struct repo *repo, const struct repo_point *point, size_t n,
              const struct copy_options *options, struct repo_verdict *verdict,
              struct error *err)
{
    const struct repo_volume *volume = &point->volumes[n];
    AUTO_DIGEST_INDEX struct digest_index *index =
        repo_open_index(repo, point, volume, err);
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    struct copy_mismatch mismatch = {.found = false};

    if (index == NULL)
        return -1;
    device = repo_open_volume(repo, point, volume, 0, err);
    if (device == NULL)
        return -1;
    if (fault_here("repo.verify"))
        return error_set_errno(err, errno, "read '%s'", blockdev_name(device));
    if (copy_verify(device, index, options, &mismatch, err) < 0)
        return -1;
    verdict->bytes += blockdev_size(device);
    if (!mismatch.found)
        return 0;
    return add_finding(repo, point, n, &mismatch, verdict, err);
}

int
repo_verify_point(const struct repo *repo, const struct repo_point *point,
                  const struct copy_options *options,
                  struct repo_verdict *ret_verdict, struct error *err)
{
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

    verdict.wrong = xcalloc(point->volume_count + 1, sizeof(*verdict.wrong));
    for (size_t i = 0; i < point->volume_count; i++) {
        if (verify_volume(repo, point, i, options, &verdict, err) < 0)
            return error_prefix(err, "volume '%s'",
                                point->volumes[i].volume.text);
    }
    verdict.good = verdict.wrong_count == 0;
    *ret_verdict = verdict;
    verdict = (struct repo_verdict)REPO_VERDICT_INIT;
    return 0;
}

/* -- restoring ---------------------------------------------------------- */

/* A builder that computes only the root, by the manifest's algorithm. */
static struct digest_builder *
root_builder(const struct repo_volume *volume, struct error *err)
{
    enum digest_algorithm algorithm;
    AUTO_FREE char *name = xstrndup(volume->root, strcspn(volume->root, ":"));

    if (digest_algorithm_parse(name, &algorithm, err) < 0)
        return NULL;
    return digest_builder_new(NULL, volume->chain[0].text, volume->size,
                              algorithm, NULL, err);
}

static int
copy_as_qcow2(struct blockdev *device, const char *path,
              struct digest_builder *builder,
              const struct copy_options *options, struct error *err)
{
    struct qcow2_writer_options how = {.size = blockdev_size(device),
                                       .mode_like = options->mode_like};
    struct qcow2_writer *writer = qcow2_writer_new(path, &how, err);
    uint64_t size;
    int result;

    if (writer == NULL)
        return -1;
    result = copy_to_qcow2(device, NULL, writer, builder, options, err);
    if (result == 0)
        result = qcow2_writer_finish(writer, &size, err);
    qcow2_writer_free(writer);
    return result;
}

static int
restore(struct blockdev *device, const struct repo_volume *volume,
        const char *path, enum image_format format,
        const struct copy_options *options, char root[DIGEST_ROOT_TEXT],
        struct error *err)
{
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        root_builder(volume, err);

    if (builder == NULL)
        return -1;
    if ((format == IMAGE_RAW
             ? copy_to_raw(device, path, builder, options, err)
             : copy_as_qcow2(device, path, builder, options, err)) < 0)
        return -1;
    if (digest_builder_finish(builder, root, err) == 0) {
        if (!fault_here("repo.restored"))
            return 0;
        (void)error_set_errno(err, errno, "restore to '%s'", path);
    }
    (void)unlink(path); /* the first error is the one to tell */
    return -1;
}

int
repo_restore_volume(const struct repo *repo, const struct repo_point *point,
                    const struct repo_volume *volume, const char *path,
                    enum image_format format, const char *mode_like,
                    const struct copy_options *options, struct error *err)
{
    AUTO_BLOCKDEV struct blockdev *device =
        repo_open_volume(repo, point, volume, 0, err);
    struct copy_options with_mode = *options;
    char root[DIGEST_ROOT_TEXT] = "";

    if (device == NULL)
        return -1;
    with_mode.mode_like = mode_like;
    if (restore(device, volume, path, format, &with_mode, root, err) < 0)
        return -1;
    if (strcmp(root, volume->root) == 0)
        return 0;
    (void)unlink(path); /* nobody must take it for good */
    return error_set(err, ERROR_CORRUPT,
                     "point '%s', volume '%s': what was read has the root %s, "
                     "not %s",
                     point->uuid.text, volume->volume.text, root, volume->root);
}
