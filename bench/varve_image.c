/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varve-image -- one operation of the data plane, as the engine does it, in a
 * process of its own, so that time, memory and system calls can be counted.
 *
 * It calls what the daemon calls, with digests and durability as there; what
 * it leaves out is the database, the hypervisor and the job.  A chain is
 * followed by the names in the headers, which the daemon never does: the
 * files here are the benchmark's own.
 *
 * Every point is of one machine with one disk, whose uuids are fixed.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/path.h"
#include "image/commit.h"
#include "image/qcow2.h"
#include "image/qcow2_writer.h"
#include "repo/repo.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 256u

#define MACHINE "11111111-1111-4111-8111-111111111111"
#define VOLUME "22222222-2222-4222-8222-222222222222"

struct how {
    int level;
    bool compress;
    bool digests;
    struct copy_options copying;
};

struct chain {
    struct image_ref refs[CHAIN_MAX];
    char *paths[CHAIN_MAX]; /* owned */
    size_t count;
};

static void
chain_release(struct chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        free(chain->paths[i]);
}
#define AUTO_CHAIN CLEANUP(chain_release)

/* The chain of `path` and its backing files, which are all qcow2. */
static int
chain_follow(struct chain *chain, const char *path, struct error *err)
{
    char *next = realpath(path, NULL);

    if (next == NULL)
        return error_set(err, ERROR_NOT_FOUND, "no '%s'", path);
    while (next != NULL) {
        struct qcow2_info info;

        if (chain->count == CHAIN_MAX) {
            free(next);
            return error_set(err, ERROR_INVALID, "'%s' is too deep", path);
        }
        chain->paths[chain->count] = next;
        chain->refs[chain->count++] =
            (struct image_ref){.path = next, .format = IMAGE_QCOW2};
        if (qcow2_read_info(next, &info, err) < 0)
            return -1;
        next = info.has_backing ? path_resolve_backing(next, info.backing_name)
                                : NULL;
    }
    return 0;
}

/* -- copying, as backup_store.c does ------------------------------------ */

struct target {
    const char *image;
    const char *index;
    const char *uuid;
    const char *backing;      /* or NULL */
    const char *parent_index; /* or NULL */
};

static int
copy_source(const char *path, const struct target *target,
            const struct how *how, char *ret_root, struct error *err)
{
    AUTO_CHAIN struct chain chain = {.count = 0};
    AUTO_EXTENTS struct extents changed = EXTENTS_INIT;
    AUTO_BLOCKDEV struct blockdev *source = NULL;
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer = NULL;
    AUTO_DIGEST_BUILDER struct digest_builder *builder = NULL;
    struct qcow2_writer_options options = {
        .backing_name = target->backing,
        .backing_format = IMAGE_QCOW2,
        .compress = how->compress,
        .compression = QCOW2_ZSTD,
        .level = how->level,
        .direct = true,
    };

    if (chain_follow(&chain, path, err) < 0)
        return -1;
    /* As the daemon opens a disk: past the page cache. */
    source = blockdev_open_chain(chain.refs, chain.count,
                                 BLOCKDEV_LIVE | BLOCKDEV_DIRECT, err);
    if (source == NULL)
        return -1;
    options.size = blockdev_size(source);
    if (target->backing != NULL) {
        if (qcow2_allocated(chain.paths[0], &changed, err) < 0)
            return -1;
        extents_align(&changed, DIGEST_LEAF_SIZE, options.size);
    }
    if (target->parent_index != NULL) {
        parent = digest_index_open(target->parent_index, err);
        if (parent == NULL)
            return -1;
    }
    writer = qcow2_writer_new(target->image, &options, err);
    if (writer == NULL)
        return -1;
    if (how->digests) {
        builder = digest_builder_new(target->index, target->uuid, options.size,
                                     DIGEST_XXH3_128, parent, err);
        if (builder == NULL)
            return -1;
    }
    if (copy_to_qcow2(source, target->backing != NULL ? &changed : NULL, writer,
                      builder, &how->copying, err) < 0 ||
        qcow2_writer_finish(writer, NULL, err) < 0)
        return -1;
    if (builder == NULL)
        return 0;
    return digest_builder_finish(builder, ret_root, err);
}

/* copy SOURCE IMAGE INDEX: no point around it. */
static int
run_copy(const struct how *how, char **argv, struct error *err)
{
    const struct target target = {
        .image = argv[1], .index = argv[2], .uuid = VOLUME};
    char root[DIGEST_ROOT_TEXT] = "";

    return copy_source(argv[0], &target, how, root, err);
}

/* -- points ------------------------------------------------------------- */

static struct repo_point *
new_point(const char *uuid, const char *source, const struct repo_point *parent,
          struct error *err)
{
    AUTO_REPO_POINT struct repo_point *point = repo_point_new();
    struct repo_volume *volume;
    struct qcow2_info info;

    if (qcow2_read_info(source, &info, err) < 0)
        return NULL;
    (void)snprintf(point->uuid.text, sizeof(point->uuid.text), "%s", uuid);
    (void)snprintf(point->vm.text, sizeof(point->vm.text), "%s", MACHINE);
    point->vm_name = xstrdup("bench");
    point->account = xstrdup("bench");
    point->created_ms = clock_wall_ms();
    volume = repo_point_add_volume(
        point, VOLUME, info.size,
        parent != NULL ? repo_point_volume(parent, VOLUME) : NULL);
    volume->target = xstrdup("vda");
    volume->path = xstrdup(source);
    if (parent == NULL)
        volume->full_reason = xstrdup("the first of a chain");
    return steal(&point);
}

/* backup REPO SOURCE UUID [PARENT-UUID] */
static int
run_backup(const struct how *how, char **argv, struct error *err)
{
    AUTO_REPO struct repo *repo = repo_open(argv[0], REPO_CREATE, err);
    AUTO_REPO_POINT struct repo_point *parent = NULL;
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_STAGE struct repo_stage *stage = NULL;
    char root[DIGEST_ROOT_TEXT] = "";

    if (repo == NULL)
        return -1;
    if (argv[3] != NULL) {
        parent = repo_read_point(repo, MACHINE, argv[3], err);
        if (parent == NULL)
            return -1;
    }
    point = new_point(argv[2], argv[1], parent, err);
    if (point == NULL)
        return -1;
    stage = repo_stage_begin(repo, &point, err);
    if (stage == NULL)
        return -1;
    {
        const struct target target = {
            .image = repo_stage_image(stage, 0),
            .index = repo_stage_index(stage, 0),
            .uuid = repo_stage_point(stage)->uuid.text,
            .backing = repo_stage_backing(stage, 0),
            .parent_index = repo_stage_parent_index(stage, 0),
        };

        if (copy_source(argv[1], &target, how, root, err) < 0 ||
            repo_stage_volume_done(stage, 0, root, err) < 0)
            return -1;
    }
    return repo_stage_publish(stage, err);
}

/* restore REPO UUID FILE raw|qcow2 */
static int
run_restore(const struct how *how, char **argv, struct error *err)
{
    AUTO_REPO struct repo *repo = repo_open(argv[0], 0, err);
    AUTO_REPO_POINT struct repo_point *point = NULL;
    enum image_format format;

    if (repo == NULL || image_format_parse(argv[3], &format, err) < 0)
        return -1;
    point = repo_read_point(repo, MACHINE, argv[1], err);
    if (point == NULL)
        return -1;
    return repo_restore_volume(repo, point, &point->volumes[0], argv[2], format,
                               NULL, &how->copying, err);
}

/* verify REPO UUID */
static int
run_verify(const struct how *how, char **argv, struct error *err)
{
    AUTO_REPO struct repo *repo = repo_open(argv[0], 0, err);
    AUTO_REPO_POINT struct repo_point *point = NULL;
    AUTO_REPO_VERDICT struct repo_verdict verdict = REPO_VERDICT_INIT;

    if (repo == NULL)
        return -1;
    point = repo_read_point(repo, MACHINE, argv[1], err);
    if (point == NULL ||
        repo_verify_point(repo, point, &how->copying, &verdict, err) < 0)
        return -1;
    return verdict.good ? 0 : error_set(err, ERROR_CORRUPT, "it is wrong");
}

/* remove REPO UUID */
static int
run_remove(const struct how *how UNUSED, char **argv, struct error *err)
{
    AUTO_REPO struct repo *repo = repo_open(argv[0], 0, err);
    struct repo_removed removed;

    if (repo == NULL)
        return -1;
    return repo_remove_point(repo, MACHINE, argv[1], &removed, err);
}

/* -- layers ------------------------------------------------------------- */

/* commit TOP: into the one below it. */
static int
run_commit(const struct how *how UNUSED, char **argv, struct error *err)
{
    AUTO_CHAIN struct chain chain = {.count = 0};
    enum commit_refusal refusal;

    if (chain_follow(&chain, argv[0], err) < 0)
        return -1;
    return commit_layer(chain.refs, chain.count, NULL, &refusal, err);
}

/* fold REPO UUID [OLDEST] */
static int
run_fold(const struct how *how, char **argv, struct error *err)
{
    AUTO_REPO struct repo *repo = repo_open(argv[0], 0, err);
    const struct repo_fold_options options = {.copy = &how->copying};
    struct repo_folded folded;

    if (repo == NULL)
        return -1;
    return repo_fold(repo, MACHINE, argv[1], argv[2], &options, &folded, err);
}

/* overlay NEW BACKING: what a snapshot makes before the guest is touched. */
static int
run_overlay(const struct how *how UNUSED, char **argv, struct error *err)
{
    struct qcow2_info info;

    if (qcow2_read_info(argv[1], &info, err) < 0)
        return -1;
    return qcow2_create_overlay(argv[0], info.size, argv[1], IMAGE_QCOW2, NULL,
                                err);
}

/* -- the command line --------------------------------------------------- */

static const struct command {
    const char *name;
    int least;
    int most;
    int (*run)(const struct how *how, char **argv, struct error *err);
    const char *arguments;
} commands[] = {
    {"backup", 3, 4, run_backup, "REPO SOURCE UUID [PARENT-UUID]"},
    {"commit", 1, 1, run_commit, "TOP"},
    {"copy", 3, 3, run_copy, "SOURCE IMAGE INDEX"},
    {"fold", 2, 3, run_fold, "REPO UUID [OLDEST-UUID]"},
    {"overlay", 2, 2, run_overlay, "NEW BACKING"},
    {"remove", 2, 2, run_remove, "REPO UUID"},
    {"restore", 4, 4, run_restore, "REPO UUID FILE raw|qcow2"},
    {"verify", 2, 2, run_verify, "REPO UUID"},
};

static int
usage(void)
{
    (void)fprintf(stderr, "usage: varve-image COMMAND [-l LEVEL] [-j THREADS] "
                          "[-p] [-n] ARGUMENT...\n"
                          "  -p  plain, not compressed\n"
                          "  -n  no digests (copy only)\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        (void)fprintf(stderr, "  %-8s %s\n", commands[i].name,
                      commands[i].arguments);
    return 2;
}

static int
parse_options(int argc, char **argv, struct how *how, struct error *err)
{
    int option;
    uint64_t value;

    while ((option = getopt(argc, argv, "+l:j:pn")) != -1) {
        switch (option) {
        case 'l':
        case 'j':
            if (parse_u64(optarg, &value, err) < 0)
                return -1;
            if (option == 'l')
                how->level = (int)value;
            else
                how->copying.threads = (unsigned)value;
            break;
        case 'p':
            how->compress = false;
            break;
        case 'n':
            how->digests = false;
            break;
        default:
            return error_set(err, ERROR_INVALID, "no such option");
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    struct how how = {.compress = true, .digests = true};
    struct error err = ERROR_INIT;
    int left;

    if (argc < 2)
        return usage();
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *command = &commands[i];

        if (strcmp(argv[1], command->name) != 0)
            continue;
        if (parse_options(argc - 1, argv + 1, &how, &err) < 0)
            return usage();
        left = argc - 1 - optind;
        if (left < command->least || left > command->most)
            return usage();
        if (command->run(&how, argv + 1 + optind, &err) == 0)
            return 0;
        (void)fprintf(stderr, "varve-image: %s\n", err.message);
        return 1;
    }
    return usage();
}
