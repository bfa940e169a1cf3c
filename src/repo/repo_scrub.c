/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pass over the files of a repository, in the order of their names, so that
 * another process finds its place again whatever came and went.
 *
 * Why it is enough.  Let f0 be the full file of a chain and fk the file of the
 * k-th point on it.  A full file is compared with its index everywhere; fk
 * only where it decides the disk.  Elsewhere the point reads what the point
 * before it reads, so there the indexes of the two must agree: that is asked
 * of the indexes, which share their nodes, and costs what changed.  By
 * induction every point is what its own index says.
 *
 * A removed point has no manifest any more, but its file stays while others
 * rest on it.  It is found in their chains, and its index (without a root to
 * compare with) is tied to theirs in the same way.
 */
#include "repo/repo_scrub.h"

#include "base/fault.h"
#include "base/memory.h"
#include "base/vec.h"
#include "image/qcow2.h"
#include "repo/repo_internal.h"
#include "repo/repo_verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One file, and the chain that it is read through. */
struct unit {
    char key[REPO_SCRUB_KEY_SIZE]; /* "<account>/<volume>/<file>" */
    const char *account;           /* borrowed from the list */
    struct repo_volume view;       /* texts and chain borrowed from it */
    uint64_t stored;               /* bytes of the file */
};

struct repo_scrub {
    const struct repo *repo; /* borrowed */
    struct repo_list list;   /* owned */
    struct VEC(struct unit) units;
    size_t current;
    uint64_t offset;       /* of the current one's disk */
    struct extents ranges; /* owned; what the current one decides */
    bool is_open;          /* `ranges` is known */
};

/* -- all files ---------------------------------------------------------- */

static int
compare_units(const void *a, const void *b)
{
    const struct unit *left = a;
    const struct unit *right = b;
    int order = strcmp(left->key, right->key);

    /* A point's own manifest knows the root: it comes first. */
    if (order == 0)
        order = (right->view.root[0] != '\0') - (left->view.root[0] != '\0');
    return order;
}

static void
add_unit(struct repo_scrub *scrub, const struct repo_point *point,
         const struct repo_volume *volume, size_t link)
{
    struct unit unit = {.account = point->account, .view = *volume};
    AUTO_FREE char *path =
        repo_volume_file(scrub->repo, point->account, volume->volume.text,
                         volume->chain[link].text, REPO_IMAGE);
    struct stat about;

    (void)snprintf(unit.key, sizeof(unit.key), "%s/%s/%s", point->account,
                   volume->volume.text, volume->chain[link].text);
    unit.view.chain = volume->chain + link;
    unit.view.chain_count = volume->chain_count - link;
    if (volume->indexes != NULL)
        unit.view.indexes = volume->indexes + link;
    if (link > 0)
        unit.view.root[0] = '\0';
    if (stat(path, &about) == 0)
        unit.stored = (uint64_t)about.st_size;
    vec_push(&scrub->units, unit);
}

static void
find_units(struct repo_scrub *scrub)
{
    size_t kept = 0;

    for (size_t i = 0; i < scrub->list.count; i++) {
        const struct repo_point *point = scrub->list.points[i];

        for (size_t v = 0; v < point->volume_count; v++)
            for (size_t k = 0; k < point->volumes[v].chain_count; k++)
                add_unit(scrub, point, &point->volumes[v], k);
    }
    if (scrub->units.count == 0)
        return;
    qsort(scrub->units.items, scrub->units.count, sizeof(struct unit),
          compare_units);
    for (size_t i = 0; i < scrub->units.count; i++) {
        struct unit *unit = &scrub->units.items[i];

        if (kept == 0 ||
            strcmp(scrub->units.items[kept - 1].key, unit->key) != 0)
            scrub->units.items[kept++] = *unit;
    }
    scrub->units.count = kept;
}

static void
seek(struct repo_scrub *scrub, const struct repo_scrub_position *position)
{
    int order = -1;

    while (scrub->current < scrub->units.count &&
           (order = strcmp(scrub->units.items[scrub->current].key,
                           position->key)) < 0)
        scrub->current++;
    if (scrub->current < scrub->units.count && order == 0)
        scrub->offset = position->offset;
}

struct repo_scrub *
repo_scrub_new(const struct repo *repo,
               const struct repo_scrub_position *position, struct error *err)
{
    AUTO_REPO_SCRUB struct repo_scrub *scrub = xcalloc(1, sizeof(*scrub));

    scrub->repo = repo;
    if (repo_list_points(repo, NULL, &scrub->list, err) < 0)
        return NULL;
    find_units(scrub);
    if (position != NULL)
        seek(scrub, position);
    return steal(&scrub);
}

void
repo_scrub_free(struct repo_scrub *scrub)
{
    if (scrub == NULL)
        return;
    extents_release(&scrub->ranges);
    vec_release(&scrub->units);
    repo_list_release(&scrub->list);
    free(scrub);
}

void
repo_scrub_cleanup(struct repo_scrub **scrub)
{
    repo_scrub_free(*scrub);
}

const struct repo_list *
repo_scrub_points(const struct repo_scrub *scrub)
{
    return &scrub->list;
}

/* -- one file ----------------------------------------------------------- */

/*
 * Where the index differs from that of the file below although the file does
 * not decide it.  An index that cannot be read is told when it is its turn.
 */
static int
compare_indexes(struct repo_look *look, const struct extents *held,
                struct error *err)
{
    AUTO_FREE char *path = repo_look_file(look, 0, true);
    AUTO_FREE char *below_path = repo_look_file(look, 1, true);
    struct error ignored = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index =
        digest_index_open(path, &ignored);
    AUTO_DIGEST_INDEX struct digest_index *below =
        digest_index_open(below_path, &ignored);
    AUTO_COPY_MISMATCH struct copy_mismatch mismatch = COPY_MISMATCH_INIT;

    if (index == NULL || below == NULL ||
        digest_index_diff(index, below, &mismatch.ranges, &ignored) < 0)
        return 0;
    extents_align(&mismatch.ranges, DIGEST_LEAF_SIZE, digest_index_size(index));
    extents_subtract(&mismatch.ranges, held);
    if (mismatch.ranges.count == 0)
        return 0;
    mismatch.found = true;
    mismatch.offset = mismatch.ranges.items[0].offset;
    mismatch.leaves = digest_leaves(extents_bytes(&mismatch.ranges));
    return repo_blame_leaves(look, &mismatch, err);
}

/* Learn what the file decides: 1, 0 when it is damaged (told), -1 failed. */
static int
open_unit(struct repo_scrub *scrub, struct repo_look *look, struct error *err)
{
    AUTO_FREE char *path = repo_look_file(look, 0, false);
    struct error why = ERROR_INIT;

    extents_release(&scrub->ranges);
    scrub->ranges = (struct extents)EXTENTS_INIT;
    if (qcow2_allocated(path, &scrub->ranges, &why) < 0) {
        if (why.code != ERROR_CORRUPT && why.code != ERROR_NOT_FOUND &&
            why.code != ERROR_IO) {
            *err = why;
            return -1;
        }
        return repo_blame_image(look, &why, err);
    }
    if (look->volume->chain_count > 1) {
        if (compare_indexes(look, &scrub->ranges, err) < 0)
            return -1;
    } else {
        extents_release(&scrub->ranges);
        scrub->ranges = (struct extents)EXTENTS_INIT;
        extents_add(&scrub->ranges, 0, look->volume->size);
    }
    scrub->is_open = true;
    return 1;
}

static void
close_unit(struct repo_scrub *scrub)
{
    scrub->is_open = false;
    scrub->offset = 0;
    scrub->current++;
}

/* What the file decides from the offset on, `length` bytes of it at most.  The
 * end of it, or UINT64_MAX behind the last. */
static uint64_t
cut(const struct repo_scrub *scrub, uint64_t length, struct extents *only)
{
    for (size_t i = 0; i < scrub->ranges.count; i++) {
        const struct extent *range = &scrub->ranges.items[i];
        uint64_t start = MAX(range->offset, scrub->offset);
        uint64_t end = range->offset + range->length;

        if (start >= end)
            continue;
        if (length == 0)
            return start;
        if (end - start > length) {
            extents_add(only, start, length);
            return start + length;
        }
        extents_add(only, start, end - start);
        length -= end - start;
    }
    return UINT64_MAX;
}

/* The next piece of the current file; *ret_end as cut() says. */
static int
look_at(struct repo_scrub *scrub, struct repo_look *look, uint64_t length,
        const struct copy_options *options, uint64_t *ret_end,
        struct error *err)
{
    AUTO_EXTENTS struct extents only = EXTENTS_INIT;
    bool is_new = !scrub->is_open;
    int found = is_new ? open_unit(scrub, look, err) : 1;

    *ret_end = UINT64_MAX;
    if (found <= 0)
        return found;
    *ret_end = cut(scrub, length, &only);
    /* A file that decides nothing has an index and a header all the same. */
    return is_new || only.count > 0 ? repo_look_run(look, &only, options, err)
                                    : 0;
}

/* Does the chain end with that of `view`, file by file and index by index? */
static bool
has_tail(const struct repo_volume *volume, const struct repo_volume *view)
{
    size_t skip;

    if (volume->chain_count < view->chain_count)
        return false;
    skip = volume->chain_count - view->chain_count;
    for (size_t i = 0; i < view->chain_count; i++) {
        if (strcmp(volume->chain[skip + i].text, view->chain[i].text) != 0 ||
            strcmp(repo_volume_index(volume, skip + i),
                   repo_volume_index(view, i)) != 0)
            return false;
    }
    return true;
}

/* Is the file read by some point as it was when the pass began? */
static int
is_current(const struct repo_scrub *scrub, const struct unit *unit,
           struct error *err)
{
    AUTO_REPO_LIST struct repo_list list = REPO_LIST_INIT;

    if (repo_list_points(scrub->repo, NULL, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.count; i++) {
        const struct repo_point *point = list.points[i];
        const struct repo_volume *now =
            repo_point_volume(point, unit->view.volume.text);
        int folding;

        if (now == NULL || strcmp(point->account, unit->account) != 0 ||
            !has_tail(now, &unit->view))
            continue;
        folding = repo_fold_is_open(scrub->repo, point->vm.text, err);
        if (folding <= 0)
            return folding < 0 ? -1 : 1;
    }
    return 0;
}

/*
 * A fold replaces files while a pass goes on: what then looks like damage is
 * that the chain is another one by now.  The next pass reads it.
 */
static int
forgive_fold(const struct repo_scrub *scrub, const struct unit *unit,
             struct repo_verdict *verdict, struct error *err)
{
    int current = verdict->wrong_count > 0 ? is_current(scrub, unit, err) : 1;

    if (current == 0)
        repo_verdict_release(verdict);
    return current < 0 ? -1 : 0;
}

/* A file that no point has any more is nobody's damage. */
static void
drop_unneeded(struct repo_verdict *verdict)
{
    size_t kept = 0;

    for (size_t i = 0; i < verdict->wrong_count; i++) {
        struct repo_finding *finding = &verdict->wrong[i];

        if (finding->point_count > 0) {
            verdict->wrong[kept++] = *finding;
            continue;
        }
        free(finding->file);
        free(finding->why);
        free(finding->points);
    }
    verdict->wrong_count = kept;
}

int
repo_scrub_step(struct repo_scrub *scrub, uint64_t length,
                const struct copy_options *options,
                struct repo_verdict *ret_verdict, struct error *err)
{
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;
    const struct unit *unit;
    AUTO_REPO_LOOK struct repo_look look = {.repo = scrub->repo,
                                            .verdict = &verdict};
    uint64_t unit_length =
        MAX(length - length % DIGEST_LEAF_SIZE, (uint64_t)DIGEST_LEAF_SIZE);
    uint64_t end;

    *ret_verdict = (struct repo_verdict)REPO_VERDICT_INIT;
    if (scrub->current == scrub->units.count)
        return 0;
    unit = &scrub->units.items[scrub->current];
    look.account = unit->account;
    look.volume = &unit->view;
    if (look_at(scrub, &look, unit_length, options, &end, err) < 0)
        return error_prefix(err, "file '%s'", unit->key);
    if (fault_here("repo.scrub"))
        return error_set_errno(err, errno, "file '%s'", unit->key);
    drop_unneeded(&verdict);
    if (forgive_fold(scrub, unit, &verdict, err) < 0)
        return -1;
    verdict.good = verdict.wrong_count == 0;
    if (end == UINT64_MAX)
        close_unit(scrub);
    else
        scrub->offset = end;
    *ret_verdict = verdict;
    verdict = (struct repo_verdict)REPO_VERDICT_INIT;
    return 1;
}

void
repo_scrub_where(const struct repo_scrub *scrub,
                 struct repo_scrub_position *ret_position,
                 struct repo_scrub_progress *ret_progress)
{
    struct repo_scrub_progress progress = {.files_done = scrub->current,
                                           .files_total = scrub->units.count};

    *ret_position = (struct repo_scrub_position){.offset = scrub->offset};
    for (size_t i = 0; i < scrub->units.count; i++) {
        const struct unit *unit = &scrub->units.items[i];

        progress.bytes_total += unit->stored;
        if (i < scrub->current)
            progress.bytes_done += unit->stored;
    }
    if (scrub->current < scrub->units.count) {
        const struct unit *unit = &scrub->units.items[scrub->current];

        memcpy(ret_position->key, unit->key, sizeof(unit->key));
        if (unit->view.size > 0)
            progress.bytes_done +=
                (uint64_t)((double)unit->stored * (double)scrub->offset /
                           (double)unit->view.size);
    }
    *ret_progress = progress;
}
