/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repo.h -- a repository: the folder that holds the points (backups) of many
 * machines, each volume of each point as one qcow2 file.
 *
 *     varve-repository.json                          format and identity
 *     points/<vm uuid>/<point uuid>.json             manifest: the point is
 *     points/<vm uuid>/<point uuid>.stage            it is being made
 *     points/<vm uuid>/<point uuid>.removed          it is being removed
 *     points/<vm uuid>/<point uuid>.fold...          it is being folded
 *     backups/<account>/<volume uuid>/<uuid>.qcow2   one file of a chain
 *     backups/<account>/<volume uuid>/<uuid>.idx     its digest index
 *
 * docs/formats/repository.md has every field.  A point exists if and only if
 * its manifest does, and a manifest is linked only when every file that it
 * names is complete and durable.  A manifest lists the whole chain of each
 * volume, so nothing is ever learned from names inside image headers.
 *
 * Files never change once they are published; a fold replaces a file, and who
 * has the old one open goes on with it.  A removed point's files stay while
 * another point's chain needs them.
 *
 * Threads:    a struct repo may be used by any number at once; stages by one.
 *             Making and removing points whose chains share a volume must not
 *             happen at the same time: that lock is the caller's.
 * Blocks:     on the repository's file system.
 */
#ifndef REPO_REPO_H
#define REPO_REPO_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/uuid.h"
#include "image/blockdev.h"
#include "image/copy.h"
#include "image/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPO_FORMAT_VERSION 1u
#define REPO_MANIFEST_MAX ((size_t)16 << 20) /* bytes of one manifest */
#define REPO_VOLUMES_MAX 256u                /* of one point */
#define REPO_CHAIN_MAX 512u                  /* files of one chain */
#define REPO_NVRAM_MAX ((size_t)4 << 20)

/* -- points ------------------------------------------------------------- */

enum repo_point_type { REPO_FULL, REPO_INCREMENTAL };
enum repo_volume_type { REPO_ROOT, REPO_DATADISK };

/* "FULL", "INCREMENTAL"; "ROOT", "DATADISK". */
const char *repo_point_type_name(enum repo_point_type type);
const char *repo_volume_type_name(enum repo_volume_type type);

/* One volume of a point.  Texts are owned by the point. */
struct repo_volume {
    struct uuid volume;
    uint32_t device_id;
    enum repo_volume_type type;
    char *target;         /* "vda"; may be NULL */
    char *path;           /* where it lay on primary storage; may be NULL */
    uint64_t size;        /* of the guest's disk, bytes */
    uint64_t stored;      /* that the file takes; set by publishing */
    struct uuid *chain;   /* owned; chain[0] is this point's own file */
    size_t chain_count;   /* 1 for a full */
    struct uuid *indexes; /* owned; names of the digest indexes of these files;
                             NULL: as the files', which a fold changes */
    char root[DIGEST_ROOT_TEXT]; /* "" until the volume is done */
    char *full_reason; /* why it is a full, or an incremental for which all
                          of the disk was read; else NULL */
};

/* For what this layer does not interpret: offering, quiesced, labels. */
struct repo_detail {
    char *key;
    char *value;
};

/* What a manifest says.  Everything in it is owned by it. */
struct repo_point {
    struct uuid uuid;
    struct uuid vm;
    char *vm_name;
    char *account;             /* names a folder: a uuid or a plain name */
    int64_t created_ms;        /* wall clock */
    enum repo_point_type type; /* FULL when every volume is */
    char *domain_xml;          /* the machine at that moment; may be NULL */
    uint8_t *nvram;            /* may be NULL */
    size_t nvram_length;
    struct repo_volume *volumes;
    size_t volume_count;
    struct repo_detail *details;
    size_t detail_count;
};

/* An empty point; texts are set by assignment of what xstrdup() gives. */
struct repo_point *repo_point_new(void) MUST_CHECK;
void repo_point_free(struct repo_point *point);
void repo_point_cleanup(struct repo_point **point);
#define AUTO_REPO_POINT CLEANUP(repo_point_cleanup)

/**
 * repo_point_add_volume(point, volume, size, parent):
 * Add a volume; its own file gets the point's uuid as name, so point->uuid is
 * set before.  `parent` is this volume in the point that it builds on (copied)
 * or NULL for a full.  The result is valid until the next call.
 */
struct repo_volume *repo_point_add_volume(struct repo_point *point,
                                          const char *volume, uint64_t size,
                                          const struct repo_volume *parent)
    NONNULL(1, 2);

void repo_point_add_detail(struct repo_point *point, const char *key,
                           const char *value) NONNULL(1, 2, 3);

/* The value, or NULL. */
const char *repo_point_detail(const struct repo_point *point, const char *key)
    NONNULL(1, 2);

/* The name of the digest index of chain[link]. */
const char *repo_volume_index(const struct repo_volume *volume, size_t link)
    NONNULL(1);

/* The volume of that uuid, or NULL. */
const struct repo_volume *repo_point_volume(const struct repo_point *point,
                                            const char *volume) NONNULL(1, 2);

/* -- the repository ----------------------------------------------------- */

struct repo;

/* Make an empty directory (or none) into a repository. */
#define REPO_CREATE 0x1u

/**
 * repo_open(path, flags, err):
 * Open the repository in the directory `path` (absolute).
 *
 * Returns:    the repository, or NULL with *err set to
 *               ERROR_NOT_FOUND    there is none (is it mounted?);
 *               ERROR_CONFLICT     REPO_CREATE on a directory that holds
 *                                  something else;
 *               ERROR_UNSUPPORTED  of a newer format; ERROR_CORRUPT; ERROR_IO.
 */
struct repo *repo_open(const char *path, unsigned flags, struct error *err)
    MUST_CHECK NONNULL(1, 3);
void repo_free(struct repo *repo);
void repo_cleanup(struct repo **repo);
#define AUTO_REPO CLEANUP(repo_cleanup)

/* Its identity, made when it was; and its directory. */
const char *repo_uuid(const struct repo *repo) NONNULL(1);
const char *repo_path(const struct repo *repo) NONNULL(1);

/* ERROR_NO_SPACE unless `bytes` more can be stored. */
int repo_require_space(const struct repo *repo, uint64_t bytes,
                       struct error *err) MUST_CHECK NONNULL(1, 3);

/* -- reading points ----------------------------------------------------- */

/* A manifest that cannot be used, and why. */
struct repo_bad {
    char *path; /* owned, as `reason` */
    char *reason;
};

struct repo_list {
    struct repo_point **points; /* owned; by creation, oldest first */
    size_t count;
    struct repo_bad *bad; /* owned */
    size_t bad_count;
};

#define REPO_LIST_INIT                                                         \
    {                                                                          \
        .points = NULL                                                         \
    }
void repo_list_release(struct repo_list *list) NONNULL(1);
#define AUTO_REPO_LIST CLEANUP(repo_list_release)

/**
 * repo_list_points(repo, vm, ret_list, err):
 * All points, or those of one machine (vm not NULL).  A manifest that is
 * damaged is told in ret_list->bad and fails nothing.
 */
int repo_list_points(const struct repo *repo, const char *vm,
                     struct repo_list *ret_list, struct error *err)
    MUST_CHECK NONNULL(1, 3, 4);

/**
 * repo_read_point(repo, vm, point, err):
 * One point's manifest, checksum verified.
 *
 * Returns:    the point (the caller's to free), or NULL with *err set to
 *             ERROR_NOT_FOUND, ERROR_CORRUPT, ERROR_UNSUPPORTED, ERROR_IO.
 */
struct repo_point *repo_read_point(const struct repo *repo, const char *vm,
                                   const char *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* Absolute names of a volume's own file and index; the caller's to free. */
char *repo_image_path(const struct repo *repo, const struct repo_point *point,
                      const struct repo_volume *volume)
    MUST_CHECK NONNULL(1, 2, 3);
char *repo_index_path(const struct repo *repo, const struct repo_point *point,
                      const struct repo_volume *volume)
    MUST_CHECK NONNULL(1, 2, 3);

/**
 * repo_open_volume(repo, point, volume, flags, err):
 * The content of one volume as of that point; flags are blockdev.h's.
 */
struct blockdev *repo_open_volume(const struct repo *repo,
                                  const struct repo_point *point,
                                  const struct repo_volume *volume,
                                  unsigned flags, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5);

/* The digest index of one volume; its root is the manifest's, or
 * ERROR_CORRUPT. */
struct digest_index *
repo_open_index(const struct repo *repo, const struct repo_point *point,
                const struct repo_volume *volume, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

/* -- making a point ----------------------------------------------------- */

struct repo_stage;

/**
 * repo_stage_begin(repo, point, err):
 * Start to make `point` (its uuid, vm, account and volumes are set; roots are
 * not).  All names are known from here on, and a durable marker lists them,
 * so that repo_settle() finds what a crash leaves.
 *
 * Ownership:  *point goes to the stage and is left NULL, also on failure.
 * Returns:    the stage, or NULL with *err set to
 *               ERROR_INVALID   a field is missing or malformed;
 *               ERROR_CONFLICT  the point, or a file of it, exists already;
 *               ERROR_BUSY      a fold of the machine's points is not settled;
 *               ERROR_NOT_FOUND a file of a parent chain is not there;
 *               ERROR_NO_SPACE, ERROR_IO.
 */
struct repo_stage *repo_stage_begin(const struct repo *repo,
                                    struct repo_point **point,
                                    struct error *err)
    MUST_CHECK NONNULL(1, 2, 3);

/* Forgets the stage; what is on disk is left for repo_settle(). */
void repo_stage_free(struct repo_stage *stage);
void repo_stage_cleanup(struct repo_stage **stage);
#define AUTO_REPO_STAGE CLEANUP(repo_stage_cleanup)

const struct repo_point *repo_stage_point(const struct repo_stage *stage)
    NONNULL(1);

/*
 * For the volume `n`: where to write image and index ("<uuid>.qcow2.partial",
 * "<uuid>.idx.partial"), and the backing name to put into the header
 * ("<parent uuid>.qcow2", format qcow2; NULL for a full).  Borrowed.
 */
const char *repo_stage_image(const struct repo_stage *stage, size_t n)
    NONNULL(1);
const char *repo_stage_index(const struct repo_stage *stage, size_t n)
    NONNULL(1);
const char *repo_stage_backing(const struct repo_stage *stage, size_t n)
    NONNULL(1);

/* The parent's index, to build on; borrowed.  NULL for a full. */
const char *repo_stage_parent_index(const struct repo_stage *stage, size_t n)
    NONNULL(1);

/**
 * repo_stage_volume_done(stage, n, root, err):
 * Image and index of volume `n` are finished.  The image's header (size,
 * backing name) and the index's root are checked.
 */
int repo_stage_volume_done(struct repo_stage *stage, size_t n, const char *root,
                           struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/**
 * repo_stage_publish(stage, err):
 * Make the point visible.  Every volume is done.
 *
 * Durability: on 0 the point survives a power cut.  Otherwise it either does
 *             not exist or is complete; repo_settle_point() tells which.
 * Returns:    0, or -1 with *err set to ERROR_CONFLICT, ERROR_NO_SPACE,
 *             ERROR_IO.
 */
int repo_stage_publish(struct repo_stage *stage, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* Give the stage up: everything that it put on disk goes. */
int repo_stage_discard(struct repo_stage *stage, struct error *err)
    MUST_CHECK NONNULL(1, 2);

/* -- removing and settling ---------------------------------------------- */

struct repo_removed {
    size_t files;      /* image files that went */
    uint64_t bytes;    /* that they took */
    size_t kept;       /* files that stay because other points need them */
    char blocked[256]; /* "" or the damaged manifest because of which nothing
                          more may be unlinked now; settling goes on later */
};

/**
 * repo_remove_point(repo, vm, point, ret_removed, err):
 * The point is gone when this returns 0; then the files that no other
 * point's chain needs are unlinked, top first.  Idempotent: a point that is
 * not there (any more) is success.
 *
 * Durability: once the manifest is renamed to ".removed" the point is gone
 *             for good; a crash after that leaves files, which
 *             repo_settle() unlinks.
 */
int repo_remove_point(const struct repo *repo, const char *vm,
                      const char *point, struct repo_removed *ret_removed,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * repo_settle_point(repo, vm, point, err):
 * Finish or undo what was begun with this point and is not running any more:
 * a stage without manifest goes, a removal is completed.
 *
 * Returns:    1 the point exists, 0 it does not, -1 with *err set.
 */
int repo_settle_point(const struct repo *repo, const char *vm,
                      const char *point, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4);

struct repo_settled {
    size_t stages;   /* undone */
    size_t removals; /* completed */
    size_t folds;    /* completed or undone */
    size_t strays;   /* files that no manifest or marker explains; left */
};

/* Is that point being worked on?  1, 0, -1 with *err set. */
typedef int repo_is_busy(const char *point, void *context, struct error *err);

/**
 * repo_settle(repo, vm, is_busy, context, ret_settled, err):
 * repo_settle_point() for everything unfinished, of that machine or (NULL) of
 * all, but the points that are being worked on.  `is_busy` is asked after the
 * folders were read, so that a point which is begun meanwhile is not touched;
 * NULL: none is.  Strays are counted when all are settled.
 */
int repo_settle(const struct repo *repo, const char *vm, repo_is_busy *is_busy,
                void *context, struct repo_settled *ret_settled,
                struct error *err) MUST_CHECK NONNULL(1, 5, 6);

struct repo_owners {
    char **items; /* owned; uuids of machines and volumes, each once */
    size_t count;
    size_t capacity;
};
void repo_owners_release(struct repo_owners *owners) NONNULL(1);
#define AUTO_REPO_OWNERS CLEANUP(repo_owners_release)

/* Whose points have something unfinished, be it worked on or not. */
int repo_list_unsettled(const struct repo *repo, struct repo_owners *ret_owners,
                        struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- folding ------------------------------------------------------------ */

struct repo_fold_options {
    const struct copy_options *copy; /* threads, rate, progress */
    bool verify; /* read all of the result before it counts */
};

struct repo_folded {
    uint64_t moved;   /* clusters, byte for byte */
    uint64_t plain;   /* copied, not compressed */
    uint64_t encoded; /* encoded anew */
    uint64_t stored;  /* bytes of the point's files now */
    size_t points;    /* that rest on it and were told */
    size_t kept;      /* files of the part that other points still need */
    struct repo_removed removed;
};

/**
 * repo_fold(repo, vm, point, oldest, options, ret_folded, err):
 * Make one file, for each volume, of the part of the chain from the point's
 * own file down to that of `oldest` (a uuid of the chain; NULL: to the end, a
 * synthetic full).  The point keeps its name, its content and its root; so do
 * all that rest on it.  Files that nobody needs any more go.  Images are
 * folded as by fold_layers() and indexes as by fold_index(): no guest data is
 * read, unless `verify` asks for it.
 *
 * What is promised: whatever was read before is read after, byte for byte.
 * Damage that was there stays, and is found by repo_verify_point() as before;
 * with `verify` a part that is damaged is not folded.
 *
 * Blocks:     as long as reading and writing what is stored takes.
 * Durability: on 0 the fold survives a power cut.  At every moment all points
 *             are there and restore, by qemu-img as well.  A fold that died
 *             is undone or finished by repo_settle_point(), repo_settle(), or
 *             whoever makes, folds or removes a point of the machine next.
 * Returns:    0, or -1 with *err set to
 *               ERROR_NOT_FOUND  there is no such point;
 *               ERROR_INVALID    `oldest` is not in its chain;
 *               ERROR_CONFLICT   nothing to fold; or a manifest of the machine
 *                                cannot be read (named);
 *               ERROR_BUSY       a point of the machine is being made (named);
 *               ERROR_CORRUPT    what is stored is damaged (named);
 *               ERROR_CANCELLED, ERROR_NO_SPACE, ERROR_IO.
 */
int repo_fold(const struct repo *repo, const char *vm, const char *point,
              const char *oldest, const struct repo_fold_options *options,
              struct repo_folded *ret_folded, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6, 7);

/* Finish or undo what a fold of the machine's points has left, which nobody is
 * working on. */
int repo_settle_folds(const struct repo *repo, const char *vm,
                      struct error *err) MUST_CHECK NONNULL(1, 2, 3);

/* -- proving and restoring ---------------------------------------------- */

/* A point whose chain has a damaged file. */
struct repo_dependant {
    struct uuid vm;
    struct uuid point;
    bool is_spared; /* newer layers of its own hide all that is damaged */
};

/* One damaged file. */
struct repo_finding {
    struct uuid volume;
    struct uuid file_uuid;
    char *file;          /* owned; the image's or the index's path */
    bool is_index;       /* the index: content may be good, but is unproved */
    uint64_t offset;     /* of the first wrong leaf, on the guest's disk */
    uint64_t leaves;     /* how many are wrong, or unproved */
    uint64_t unreadable; /* of them: could not be read at all */
    char *why;           /* owned; "" or the first error */
    struct repo_dependant *points; /* owned; every point whose chain has it */
    size_t point_count;
};

struct repo_verdict {
    bool good;
    uint64_t bytes;             /* read and compared */
    struct repo_finding *wrong; /* owned; one for each damaged file */
    size_t wrong_count;
};

#define REPO_VERDICT_INIT                                                      \
    {                                                                          \
        .good = false                                                          \
    }
void repo_verdict_release(struct repo_verdict *verdict) NONNULL(1);
#define AUTO_REPO_VERDICT CLEANUP(repo_verdict_release)

/**
 * repo_verify_point(repo, point, options, ret_verdict, err):
 * Read every volume of the point and compare it with its index, and the
 * index's root with the manifest.  Damage does not end it: the rest is read
 * too, and the verdict names each damaged file and what rests on it.
 *
 * Only published files are read, and these never change: it may run beside
 * anything.  If the point is removed meanwhile there is no verdict.
 *
 * Returns:    0 when all was tried (ret_verdict says whether it is good), -1
 *             when there is no verdict: ERROR_NOT_FOUND (the point is not
 *             there any more), ERROR_UNSUPPORTED, ERROR_CANCELLED, ERROR_IO
 *             (the storage does not answer).
 */
int repo_verify_point(const struct repo *repo, const struct repo_point *point,
                      const struct copy_options *options,
                      struct repo_verdict *ret_verdict, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 5);

/**
 * repo_restore_volume(repo, point, volume, path, format, mode_like, options,
 *                     err):
 * Make the new file `path` (O_EXCL) with the volume's content, without
 * backing file, and prove that its root is the manifest's.  mode_like as in
 * qcow2_create_overlay().
 *
 * Durability: on 0 the content survives a power cut; the name is the
 *             caller's to sync.  Otherwise no file is left.
 * Returns:    0, or -1 with *err set to ERROR_CORRUPT (the root differs),
 *             ERROR_CONFLICT, ERROR_NO_SPACE, ERROR_IO, ERROR_CANCELLED.
 */
int repo_restore_volume(const struct repo *repo, const struct repo_point *point,
                        const struct repo_volume *volume, const char *path,
                        enum image_format format, const char *mode_like,
                        const struct copy_options *options, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 4, 7, 8);

#endif
