/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose fault damage is, and what rests on it.
 *
 * A wrong leaf belongs to the first file of the chain that decides it.  Its
 * own map says so, and the indexes do: where the index of a link differs from
 * that of the link below, the link must hold the leaf, also if its map has
 * lost it.  Where a map cannot be read the index alone says it, and when there
 * is none either, the file whose map is broken is to blame for all that is
 * left.
 *
 * A later point whose chain has the file reads the damage unless its own,
 * newer files decide every wrong leaf anew; then it is spared.  When that
 * cannot be told it is not.
 *
 * All this reads metadata, and only when there is damage.
 */
#include "repo/repo_verify.h"

#include "base/memory.h"
#include "image/qcow2.h"
#include "repo/repo_internal.h"

#include <stdlib.h>
#include <string.h>

/* -- who rests on it ---------------------------------------------------- */

/* The place of the file in the point's chain of this volume; -1: none. */
static long
place_in(const struct repo_look *look, const struct repo_point *point,
         const char *uuid)
{
    const struct repo_volume *volume =
        repo_point_volume(point, look->volume->volume.text);

    if (volume == NULL || strcmp(point->account, look->account) != 0)
        return -1;
    for (size_t i = 0; i < volume->chain_count; i++) {
        if (strcmp(volume->chain[i].text, uuid) == 0)
            return (long)i;
    }
    return -1;
}

/* Do the files above `place` decide all of `wrong`? */
static bool
is_hidden(const struct repo_look *look, const struct repo_point *point,
          size_t place, const struct extents *wrong)
{
    const struct repo_volume *volume =
        repo_point_volume(point, look->volume->volume.text);
    AUTO_EXTENTS struct extents left = EXTENTS_INIT;

    extents_union(&left, wrong);
    extents_align(&left, DIGEST_LEAF_SIZE, volume->size);
    for (size_t i = place; i-- > 0 && left.count > 0;) {
        AUTO_FREE char *path =
            repo_volume_file(look->repo, look->account, volume->volume.text,
                             volume->chain[i].text, REPO_IMAGE);
        AUTO_EXTENTS struct extents held = EXTENTS_INIT;
        struct error ignored = ERROR_INIT;

        if (qcow2_allocated(path, &held, &ignored) < 0)
            return false;
        extents_subtract(&left, &held);
    }
    return left.count == 0;
}

/* `wrong` NULL: everything that the file says. */
static int
find_dependants(struct repo_look *look, struct repo_finding *finding,
                const struct extents *wrong, struct error *err)
{
    if (!look->is_listed &&
        repo_list_points(look->repo, NULL, &look->list, err) < 0)
        return -1;
    look->is_listed = true;
    finding->points = xcalloc(look->list.count + 1, sizeof(*finding->points));
    for (size_t i = 0; i < look->list.count; i++) {
        const struct repo_point *point = look->list.points[i];
        long place = place_in(look, point, finding->file_uuid.text);

        if (place < 0)
            continue;
        finding->points[finding->point_count++] = (struct repo_dependant){
            .vm = point->vm,
            .point = point->uuid,
            .is_spared =
                wrong != NULL && is_hidden(look, point, (size_t)place, wrong)};
    }
    return 0;
}

/* -- findings ----------------------------------------------------------- */

static struct repo_finding *
find(struct repo_verdict *verdict, const char *file)
{
    for (size_t i = 0; i < verdict->wrong_count; i++) {
        if (strcmp(verdict->wrong[i].file, file) == 0)
            return &verdict->wrong[i];
    }
    return NULL;
}

/* What is said about one file; it may have been said in part before. */
static int
add_finding(struct repo_look *look, size_t link,
            const struct repo_finding *what, const struct extents *wrong,
            struct error *err)
{
    struct repo_verdict *verdict = look->verdict;
    AUTO_FREE char *file = repo_look_file(look, link, what->is_index);
    struct repo_finding *finding = find(verdict, file);

    if (finding != NULL) {
        finding->leaves += what->leaves;
        finding->unreadable += what->unreadable;
        free(steal(&finding->points));
        finding->point_count = 0;
        return find_dependants(look, finding, NULL, err);
    }
    verdict->wrong = xrealloc(verdict->wrong, (verdict->wrong_count + 1) *
                                                  sizeof(*verdict->wrong));
    finding = &verdict->wrong[verdict->wrong_count++];
    *finding = *what;
    finding->volume = look->volume->volume;
    finding->file_uuid = look->volume->chain[link];
    finding->file = steal(&file);
    finding->why = xstrdup(what->why != NULL ? what->why : "");
    return find_dependants(look, finding, wrong, err);
}

/* -- the index ---------------------------------------------------------- */

/* Can all of it be read? */
static bool
is_index_whole(const char *path)
{
    struct error ignored = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index =
        digest_index_open(path, &ignored);
    uint64_t leaf = 0;
    int found = index != NULL ? 1 : -1;

    while (found > 0) {
        found = digest_index_next(index, leaf, &leaf, &ignored);
        leaf++;
    }
    return found == 0;
}

int
repo_blame_index(struct repo_look *look, uint64_t leaves,
                 const struct error *why, struct error *err)
{
    struct repo_finding what = {.is_index = true, .leaves = leaves};
    AUTO_FREE char *text = xstrdup(why->message);
    size_t link = look->volume->chain_count - 1;

    /* From the oldest on, so that the one that fails is damaged itself. */
    for (; link > 0; link--) {
        AUTO_FREE char *path = repo_look_file(look, link, true);

        if (!is_index_whole(path))
            break;
    }
    what.why = text;
    return add_finding(look, link, &what, NULL, err);
}

/* -- the images --------------------------------------------------------- */

int
repo_blame_image(struct repo_look *look, const struct error *why,
                 struct error *err)
{
    struct repo_finding what = {.leaves = digest_leaves(look->volume->size)};
    AUTO_FREE char *text = xstrdup(why->message);
    size_t link = 0;

    what.unreadable = what.leaves;
    for (size_t i = look->volume->chain_count; i-- > 0;) {
        AUTO_FREE char *path = repo_look_file(look, i, false);
        AUTO_EXTENTS struct extents held = EXTENTS_INIT;
        struct error ignored = ERROR_INIT;

        if (qcow2_allocated(path, &held, &ignored) == 0)
            continue;
        link = i;
        break;
    }
    what.why = text;
    return add_finding(look, link, &what, NULL, err);
}

/* Where a link's index differs from that of the link below: 0, or -1 when
 * that cannot be told. */
static int
changed_by(const struct repo_look *look, size_t link, struct extents *changed)
{
    AUTO_FREE char *path = repo_look_file(look, link, true);
    AUTO_FREE char *below_path = repo_look_file(look, link + 1, true);
    struct error ignored = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index =
        digest_index_open(path, &ignored);
    AUTO_DIGEST_INDEX struct digest_index *below =
        digest_index_open(below_path, &ignored);

    if (index == NULL || below == NULL)
        return -1;
    return digest_index_diff(index, below, changed, &ignored);
}

/* Keep in `mine` what the file of the link has to say. */
static void
keep_own(const struct repo_look *look, size_t link, struct extents *mine)
{
    AUTO_EXTENTS struct extents held = EXTENTS_INIT;
    AUTO_EXTENTS struct extents changed = EXTENTS_INIT;
    AUTO_FREE char *path = repo_look_file(look, link, false);
    struct error ignored = ERROR_INIT;
    bool mapped = qcow2_allocated(path, &held, &ignored) == 0;
    bool indexed = changed_by(look, link, &changed) == 0;

    if (!mapped && !indexed)
        return;
    extents_union(&held, &changed);
    extents_align(&held, DIGEST_LEAF_SIZE, UINT64_MAX);
    extents_intersect(mine, &held);
}

/* How many leaves the ranges have; only the disk's last one may be short. */
static uint64_t
count_leaves(const struct extents *set)
{
    return digest_leaves(extents_bytes(set));
}

int
repo_blame_leaves(struct repo_look *look, const struct copy_mismatch *mismatch,
                  struct error *err)
{
    size_t count = look->volume->chain_count;
    AUTO_EXTENTS struct extents left = EXTENTS_INIT;
    AUTO_FREE char *why =
        xstrdup(mismatch->unreadable > 0 ? mismatch->why.message : "");
    uint64_t counted = count_leaves(&mismatch->ranges);

    extents_union(&left, &mismatch->ranges);
    for (size_t i = 0; i < count && left.count > 0; i++) {
        AUTO_EXTENTS struct extents mine = EXTENTS_INIT;
        struct repo_finding what = {.why = why};

        extents_union(&mine, &left);
        if (i + 1 < count)
            keep_own(look, i, &mine);
        if (mine.count == 0)
            continue;
        extents_subtract(&left, &mine);
        what.offset = mine.items[0].offset;
        what.leaves = count_leaves(&mine);
        what.unreadable = MIN(mismatch->unreadable, what.leaves);
        /* What is past the bound is told with the last of them. */
        if (left.count == 0)
            what.leaves += mismatch->leaves - counted;
        if (add_finding(look, i, &what, mismatch->is_cut ? NULL : &mine, err) <
            0)
            return -1;
    }
    return 0;
}
