/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of points: open, restore.  repo_verify.c proves it.
 *
 * A chain is opened by the uuids of the manifest; that the headers inside
 * agree is checked by blockdev_open_chain().
 */
#include "repo/repo_internal.h"

#include "base/fault.h"
#include "base/memory.h"

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
                            repo_volume_index(volume, 0), REPO_INDEX);
}

struct blockdev *
repo_open_chain(const struct repo *repo, const char *account,
                const struct repo_volume *volume, unsigned flags,
                struct error *err)
{
    size_t count = volume->chain_count;
    char **paths = xcalloc(count, sizeof(*paths));
    AUTO_FREE struct image_ref *refs = xcalloc(count, sizeof(*refs));
    struct blockdev *device;

    for (size_t i = 0; i < count; i++) {
        paths[i] = repo_volume_file(repo, account, volume->volume.text,
                                    volume->chain[i].text, REPO_IMAGE);
        refs[i] = (struct image_ref){.path = paths[i], .format = IMAGE_QCOW2};
    }
    device = blockdev_open_chain(refs, count, flags, err);
    for (size_t i = 0; i < count; i++)
        free(paths[i]);
    free(paths);
    return device;
}

struct blockdev *
repo_open_volume(const struct repo *repo, const struct repo_point *point,
                 const struct repo_volume *volume, unsigned flags,
                 struct error *err)
{
    struct blockdev *device =
        repo_open_chain(repo, point->account, volume, flags, err);
    struct error ignored = ERROR_INIT;

    if (device == NULL && err->code != ERROR_CORRUPT &&
        err->code != ERROR_NOT_FOUND)
        return NULL;
    /* A fold may have been there first: what does the point say by now? */
    for (unsigned step = 0; device == NULL && step < REPO_FOLD_WORDS; step++) {
        AUTO_REPO_POINT struct repo_point *other =
            repo_fold_other_word(repo, point, step);
        const struct repo_volume *same =
            other != NULL ? repo_point_volume(other, volume->volume.text)
                          : NULL;

        if (same != NULL && same->chain_count < volume->chain_count)
            device =
                repo_open_chain(repo, point->account, same, flags, &ignored);
    }
    if (device != NULL)
        error_clear(err);
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
                                       .direct = true,
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
