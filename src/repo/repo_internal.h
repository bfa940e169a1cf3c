/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo_internal.h -- what the files of src/repo share.
 */
#ifndef REPO_REPO_INTERNAL_H
#define REPO_REPO_INTERNAL_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/map.h"
#include "repo/repo.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct repo {
    char *path; /* owned */
    struct uuid uuid;
};

/* What a name in points/<vm>/ ends with. */
#define REPO_MANIFEST ".json"
#define REPO_MARKER ".stage"
#define REPO_TOMBSTONE ".removed"
#define REPO_BAD ".bad"
#define REPO_FOLDING ".folding" /* the fold of a point, not decided yet */
#define REPO_FOLD ".fold"       /* decided: it only goes forward */
#define REPO_REFOLD ".refold"   /* a point that rests on the folded one */
#define REPO_FOLDED ".folded"   /* what a point was before */

/* What a name in backups/<account>/<volume>/ ends with. */
#define REPO_IMAGE ".qcow2"
#define REPO_INDEX ".idx"
#define REPO_PARTIAL ".partial"
/* REPO_FOLD behind REPO_IMAGE: what will replace the image of that name. */

#define REPO_DIRECTORY_MODE 0700
#define REPO_FILE_MODE 0600

/* "<repository>/points/<vm>/<point><suffix>"; the caller frees it. */
char *repo_point_file(const struct repo *repo, const char *vm,
                      const char *point, const char *suffix)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* "<repository>/backups/<account>/<volume>"; the caller frees it. */
char *repo_volume_directory(const struct repo *repo, const char *account,
                            const char *volume) MUST_CHECK NONNULL(1, 2, 3);

/* The file `uuid` of a volume; the caller frees it. */
char *repo_volume_file(const struct repo *repo, const char *account,
                       const char *volume, const char *uuid, const char *suffix)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/* The chain of a volume, open for reading; flags are blockdev.h's. */
struct blockdev *repo_open_chain(const struct repo *repo, const char *account,
                                 const struct repo_volume *volume,
                                 unsigned flags, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* ERROR_INVALID unless both are uuids as files are named by. */
int repo_check_names(const char *vm, const char *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* -- reading ------------------------------------------------------------ */

/* Read the file of a manifest (or, not finished, of a marker). */
struct repo_point *repo_read_file(const char *path, bool finished,
                                  struct error *err) MUST_CHECK NONNULL(1, 3);

/* One file below points/ whose name starts with a uuid. */
struct repo_entry {
    struct uuid vm;
    struct uuid point;
    char *suffix; /* owned; all behind the uuid */
};

struct repo_entries {
    struct repo_entry *items; /* owned */
    size_t count;
    size_t capacity;
};

#define REPO_ENTRIES_INIT                                                      \
    {                                                                          \
        .items = NULL                                                          \
    }
void repo_entries_release(struct repo_entries *entries) NONNULL(1);
#define AUTO_REPO_ENTRIES CLEANUP(repo_entries_release)

/* All of them, or those of one machine; in no order. */
int repo_scan(const struct repo *repo, const char *vm,
              struct repo_entries *ret_entries, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/* Names in a directory; an absent one has none.  `each` may stop with -1. */
int repo_walk_directory(const char *path,
                        int (*each)(const char *name, void *context,
                                    struct error *err),
                        void *context, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4);

/*
 * The files that points and stages need: "<account>/<volume>/<uuid><suffix>"
 * is a key of the map, with REPO_IMAGE or REPO_INDEX.  The marker of the point
 * `unmarked` (or NULL) does not count.  When a manifest cannot be read,
 * *ret_blocked (freed by the caller) says which; then nothing may be unlinked.
 */
int repo_collect_needed(const struct repo *repo, const char *unmarked,
                        struct map *needed, char **ret_blocked,
                        struct error *err) MUST_CHECK NONNULL(1, 3, 4, 5);
bool repo_is_needed(const struct map *needed, const char *account,
                    const char *volume, const char *uuid, const char *suffix)
    NONNULL(1, 2, 3, 4, 5);

/* -- removing and folding ------------------------------------------------ */

/*
 * repo_settle.c: the point's tombstone (`suffix`) is the manifest of what went:
 * unlink what nobody needs of it, then the tombstone.
 */
int repo_finish_removal(const struct repo *repo, const char *vm,
                        const char *uuid, const char *suffix,
                        struct repo_removed *removed, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5, 6);

/* repo_fold_settle.c: finish or undo the folds of a machine that nobody is
 * working on.  `removed` is added to. */
int repo_fold_settle(const struct repo *repo, const char *vm,
                     struct repo_removed *removed, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* The same for what the files of one point say: does it stand in a fold? */
bool repo_fold_has_traces(const struct repo *repo, const char *vm,
                          const char *point) NONNULL(1, 2, 3);

/* Is a fold of the machine unfinished? 1 yes, 0 no, -1. */
int repo_fold_is_open(const struct repo *repo, const char *vm,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/*
 * What the point says now, or will when the fold that has got to its images
 * is finished; NULL when there is nothing but what `known` says.  `step` from
 * 0 on.
 */
struct repo_point *repo_fold_other_word(const struct repo *repo,
                                        const struct repo_point *known,
                                        unsigned step) MUST_CHECK NONNULL(1, 2);
#define REPO_FOLD_WORDS 3u

#endif
