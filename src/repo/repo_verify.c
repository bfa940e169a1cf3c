/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proving points.
 *
 * What is read are published files alone.  They never change, so that nothing
 * has to be kept away while it is read, however long that takes: a machine can
 * be backed up and its points deleted meanwhile.  A deletion does not wait for
 * a reader; files that vanish below it would look like damage.  So before
 * anything is called damaged the manifest is read again, and if it is not
 * there any more, or says something else, there is no verdict.
 */
#include "repo/repo_verify.h"

#include "base/fault.h"
#include "base/memory.h"
#include "repo/repo_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
repo_verdict_release(struct repo_verdict *verdict)
{
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        free(verdict->wrong[i].file);
        free(verdict->wrong[i].why);
        free(verdict->wrong[i].points);
    }
    free(verdict->wrong);
    *verdict = (struct repo_verdict)REPO_VERDICT_INIT;
}

void
repo_look_release(struct repo_look *look)
{
    repo_list_release(&look->list);
}

char *
repo_look_file(const struct repo_look *look, size_t link, bool is_index)
{
    return repo_volume_file(look->repo, look->account,
                            look->volume->volume.text,
                            is_index ? repo_volume_index(look->volume, link)
                                     : look->volume->chain[link].text,
                            is_index ? REPO_INDEX : REPO_IMAGE);
}

/* -- opening ------------------------------------------------------------ */

static bool
is_damage(const struct error *why)
{
    return why->code == ERROR_CORRUPT || why->code == ERROR_NOT_FOUND ||
           why->code == ERROR_IO;
}

/* 1 open, 0 it is damaged and that is noted, -1 failed. */
static int
open_index(struct repo_look *look, struct digest_index **ret_index,
           struct error *err)
{
    AUTO_FREE char *path = repo_look_file(look, 0, true);
    AUTO_DIGEST_INDEX struct digest_index *index = digest_index_open(path, err);
    struct error why;

    if (index != NULL &&
        (look->volume->root[0] == '\0' ||
         strcmp(digest_index_root(index), look->volume->root) == 0)) {
        *ret_index = steal(&index);
        return 1;
    }
    if (index != NULL)
        (void)error_set(err, ERROR_CORRUPT,
                        "its root is not that of the manifest");
    if (!is_damage(err))
        return -1;
    why = *err;
    error_clear(err);
    return repo_blame_index(look, digest_leaves(look->volume->size), &why, err);
}

/* As open_index(). */
static int
open_chain(struct repo_look *look, struct blockdev **ret_device,
           struct error *err)
{
    struct error why;

    *ret_device = repo_open_chain(look->repo, look->account, look->volume,
                                  BLOCKDEV_DIRECT, err);
    if (*ret_device != NULL)
        return 1;
    if (!is_damage(err))
        return -1;
    why = *err;
    error_clear(err);
    return repo_blame_image(look, &why, err);
}

int
repo_look_run(struct repo_look *look, const struct extents *only,
              const struct copy_options *options, struct error *err)
{
    AUTO_DIGEST_INDEX struct digest_index *index = NULL;
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;
    int found = open_index(look, &index, err);

    if (found > 0)
        found = open_chain(look, &device, err);
    if (found <= 0)
        return found;
    if (fault_here("repo.verify"))
        return error_set_errno(err, errno, "read '%s'", blockdev_name(device));
    if (copy_verify(device, only, index, options, &mismatch, err) < 0)
        return -1;
    look->verdict->bytes +=
        only != NULL ? extents_bytes(only) : blockdev_size(device);
    if (mismatch.found && repo_blame_leaves(look, &mismatch, err) < 0)
        return -1;
    if (mismatch.unproved > 0)
        return repo_blame_index(look, mismatch.unproved,
                                &mismatch.index_problem, err);
    return 0;
}

/* -- points ------------------------------------------------------------- */

/* Before damage is told: is it the point that was read? */
static int
confirm(const struct repo *repo, const struct repo_point *point,
        struct error *err)
{
    AUTO_REPO_POINT struct repo_point *again =
        repo_read_point(repo, point->vm.text, point->uuid.text, err);
    int folding = repo_fold_is_open(repo, point->vm.text, err);

    if (again == NULL || folding < 0)
        return -1;
    if (folding > 0)
        return error_set(err, ERROR_BUSY,
                         "points of machine '%s' are being folded",
                         point->vm.text);
    for (size_t i = 0; i < point->volume_count; i++) {
        const struct repo_volume *volume = &point->volumes[i];
        const struct repo_volume *now =
            repo_point_volume(again, volume->volume.text);

        if (now == NULL || now->chain_count != volume->chain_count ||
            memcmp(now->chain, volume->chain,
                   volume->chain_count * sizeof(*volume->chain)) != 0)
            return error_set(err, ERROR_CONFLICT,
                             "point '%s' was changed while it was read",
                             point->uuid.text);
    }
    return 0;
}

int
repo_verify_point(const struct repo *repo, const struct repo_point *point,
                  const struct copy_options *options,
                  struct repo_verdict *ret_verdict, struct error *err)
{
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

    for (size_t i = 0; i < point->volume_count; i++) {
        AUTO_REPO_LOOK struct repo_look look = {.repo = repo,
                                                .account = point->account,
                                                .volume = &point->volumes[i],
                                                .verdict = &verdict};

        if (repo_look_run(&look, NULL, options, err) < 0)
            return error_prefix(err, "volume '%s'",
                                point->volumes[i].volume.text);
    }
    verdict.good = verdict.wrong_count == 0;
    if (!verdict.good && confirm(repo, point, err) < 0)
        return -1;
    *ret_verdict = verdict;
    verdict = (struct repo_verdict)REPO_VERDICT_INIT;
    return 0;
}
