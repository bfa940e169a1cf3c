/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"
#include "sample.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/memory.h"
#include "image/digest.h"

#include <dirent.h>

#define LEAF ((size_t)DIGEST_LEAF_SIZE)

/* Enough for a third level: 128 * 128 leaves are one node of level 2. */
#define LEAVES_MAX 40000u

static struct scratch scratch;

static const enum digest_algorithm algorithms[] = {DIGEST_XXH3_128,
                                                   DIGEST_SHA256};

/* A disk as a test sees it: digests of leaves. */
struct model {
    uint64_t size;
    struct digest leaves[LEAVES_MAX];
};

static void
random_digest(struct sample *sample, enum digest_algorithm algorithm,
              struct digest *digest)
{
    size_t length = algorithm == DIGEST_SHA256 ? 32 : 16;

    memset(digest, 0, sizeof(*digest));
    sample_fill_noise(sample, digest->bytes, length);
}

static char *
index_name(const struct uuid *uuid)
{
    return xasprintf("%s.idx", uuid->text);
}

static struct digest_index *
open_index(const struct uuid *uuid, struct error *err)
{
    AUTO_FREE char *name = index_name(uuid);

    return digest_index_open(name, err);
}

/* -- the root ----------------------------------------------------------- */

static void
a_leaf_of_zeros_has_the_digest_of_zeros(void)
{
    uint8_t *leaf = xcalloc(1, LEAF);
    struct digest digest;

    for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
        memset(&digest, 1, sizeof(digest));
        digest_leaf(algorithms[i], leaf, &digest);
        CHECK(digest_is_zero(&digest));
        leaf[LEAF - 1] = 1;
        digest_leaf(algorithms[i], leaf, &digest);
        CHECK(!digest_is_zero(&digest));
        leaf[LEAF - 1] = 0;
    }
    free(leaf);
}

static void
root_of_letters(enum digest_algorithm algorithm, char *root)
{
    struct error err = ERROR_INIT;
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(NULL, NULL, 130 * LEAF + 512, algorithm, NULL, &err);
    AUTO_FREE uint8_t *leaf = xmalloc(LEAF);
    struct digest digest;

    REQUIRE(builder != NULL);
    memset(leaf, 'a', LEAF);
    digest_leaf(algorithm, leaf, &digest);
    CHECK_OK(digest_builder_add(builder, 0, &digest, &err), &err);
    memset(leaf, 'b', LEAF);
    digest_leaf(algorithm, leaf, &digest);
    CHECK_OK(digest_builder_add(builder, 129, &digest, &err), &err);
    memset(leaf, 'c', 512);
    memset(leaf + 512, 0, LEAF - 512);
    digest_leaf(algorithm, leaf, &digest);
    CHECK_OK(digest_builder_add(builder, 130, &digest, &err), &err);
    CHECK_OK(digest_builder_finish(builder, root, &err), &err);
}

/* Computed apart from this code, after docs/formats/digest-index.md. */
static void
roots_are_those_of_the_format(void)
{
    struct error err = ERROR_INIT;
    AUTO_DIGEST_BUILDER struct digest_builder *empty =
        digest_builder_new(NULL, NULL, 0, DIGEST_SHA256, NULL, &err);
    char root[DIGEST_ROOT_TEXT] = "";

    root_of_letters(DIGEST_SHA256, root);
    CHECK_TEXT(root, "sha256:825b0ed5f32b4fd5e8f18a3dfafaa717"
                     "28ddab9cf0fcbdb63cb71023790f3c27");
    REQUIRE(empty != NULL);
    CHECK_OK(digest_builder_finish(empty, root, &err), &err);
    CHECK_TEXT(root, "sha256:9f1020cc9773225ae77931534534a5e6"
                     "7380d7af8db2b8c4f6daee60f96099f2");
    root_of_letters(DIGEST_XXH3_128, root);
    CHECK(strncmp(root, "xxh3-128:", 9) == 0 && strlen(root) == 41);
}

/* -- building against a model ------------------------------------------- */

/* The root of everything, without files or parents. */
static void
full_root(const struct model *model, enum digest_algorithm algorithm,
          char *root)
{
    struct error err = ERROR_INIT;
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(NULL, NULL, model->size, algorithm, NULL, &err);

    REQUIRE(builder != NULL);
    for (uint64_t i = 0; i < digest_leaves(model->size); i++)
        CHECK_OK(digest_builder_add(builder, i, &model->leaves[i], &err), &err);
    CHECK_OK(digest_builder_finish(builder, root, &err), &err);
}

/* Add what differs between two models, ranges of zeros now and then at once. */
static int
add_differences(struct digest_builder *builder, struct sample *sample,
                const struct model *old, const struct model *new,
                struct error *err)
{
    uint64_t leaves = digest_leaves(new->size);

    for (uint64_t i = 0; i < leaves;) {
        uint64_t count = 0;

        while (i + count < leaves && digest_is_zero(&new->leaves[i + count]))
            count++;
        if (count > 0 && sample_below(sample, 2) == 0) {
            count = 1 + sample_below(sample, count);
            if (digest_builder_add_zero_range(builder, i, count, err) < 0)
                return -1;
            i += count;
            continue;
        }
        /* Unchanged leaves may be given too. */
        if ((old == NULL || !digest_is_same(&old->leaves[i], &new->leaves[i]) ||
             sample_below(sample, 500) == 0) &&
            digest_builder_add(builder, i, &new->leaves[i], err) < 0)
            return -1;
        i++;
    }
    return 0;
}

static int
build(const struct uuid *uuid, enum digest_algorithm algorithm,
      struct sample *sample, struct digest_index *parent,
      const struct model *old, const struct model *new, char *root,
      struct error *err)
{
    AUTO_FREE char *name = index_name(uuid);
    AUTO_DIGEST_BUILDER struct digest_builder *builder =
        digest_builder_new(name, uuid->text, new->size, algorithm, parent, err);

    if (builder == NULL || add_differences(builder, sample, old, new, err) < 0)
        return -1;
    return digest_builder_finish(builder, root, err);
}

/* The index holds exactly the model. */
static bool
holds(struct digest_index *index, const struct model *model, struct error *err)
{
    uint64_t leaves = digest_leaves(model->size);
    AUTO_FREE struct digest *read =
        xcalloc(LEAVES_MAX + 100, sizeof(struct digest));
    uint64_t next = 0;
    uint64_t found = 0;

    if (digest_index_leaves(index, 0, LEAVES_MAX + 100, read, err) < 0)
        return false;
    if (memcmp(read, model->leaves, leaves * sizeof(*read)) != 0)
        return false;
    for (uint64_t i = leaves; i < LEAVES_MAX + 100; i++)
        if (!digest_is_zero(&read[i]))
            return false;
    for (; digest_index_next(index, next, &next, err) == 1; next++, found++)
        if (next >= leaves || digest_is_zero(&model->leaves[next]))
            return false;
    for (uint64_t i = 0; i < leaves; i++)
        found -= !digest_is_zero(&model->leaves[i]);
    return found == 0;
}

/* The diff is exactly where the models differ. */
static bool
differ_where(struct digest_index *a, struct digest_index *b,
             const struct model *model_a, const struct model *model_b,
             struct error *err)
{
    uint64_t size = MAX(model_a->size, model_b->size);
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    static const struct digest zero;

    if (digest_index_diff(a, b, &set, err) < 0)
        return false;
    for (uint64_t i = 0; i < digest_leaves(size); i++) {
        const struct digest *one =
            i < digest_leaves(model_a->size) ? &model_a->leaves[i] : &zero;
        const struct digest *two =
            i < digest_leaves(model_b->size) ? &model_b->leaves[i] : &zero;

        if (extents_has(&set, i * LEAF) == digest_is_same(one, two))
            return false;
    }
    return set.count == 0 ||
           set.items[set.count - 1].offset + set.items[set.count - 1].length <=
               size;
}

static void
change_model(struct sample *sample, enum digest_algorithm algorithm,
             struct model *model)
{
    uint64_t leaves = digest_leaves(model->size);

    for (uint64_t n = 1 + sample_below(sample, 8); leaves > 0 && n > 0; n--) {
        uint64_t first = sample_below(sample, leaves);
        uint64_t count = 1 + sample_below(sample, 4) * sample_below(sample, 90);
        bool zero = sample_below(sample, 3) == 0;

        if (zero)
            count *= 1 + sample_below(sample, 100);
        for (uint64_t i = first; i < first + count && i < leaves; i++)
            if (zero)
                memset(&model->leaves[i], 0, sizeof(struct digest));
            else
                random_digest(sample, algorithm, &model->leaves[i]);
    }
}

static void
resize_model(struct sample *sample, enum digest_algorithm algorithm,
             struct model *model)
{
    uint64_t old = digest_leaves(model->size);
    uint64_t size = sample_below(sample, LEAVES_MAX * LEAF);
    uint64_t leaves;

    if (sample_below(sample, 2) == 0) /* often near a node's edge */
        size = 128 * LEAF * sample_below(sample, LEAVES_MAX / 128) +
               LEAF * sample_below(sample, 3);
    leaves = digest_leaves(size);
    for (uint64_t i = leaves; i < LEAVES_MAX; i++)
        memset(&model->leaves[i], 0, sizeof(struct digest));
    /* The leaf that the new end cuts is another one now. */
    if (leaves < old && size % LEAF != 0 &&
        !digest_is_zero(&model->leaves[leaves - 1]))
        random_digest(sample, algorithm, &model->leaves[leaves - 1]);
    model->size = size;
}

static void
any_chain_of_changes_and_resizes_has_the_root_of_a_full_one(void)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE struct model *old = xcalloc(1, sizeof(*old));
    AUTO_FREE struct model *new = xcalloc(1, sizeof(*new));
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;

    for (unsigned step = 0; step < 60; step++) {
        enum digest_algorithm algorithm = algorithms[step / 30];
        struct error err = ERROR_INIT;
        char expected[DIGEST_ROOT_TEXT] = "";
        char root[DIGEST_ROOT_TEXT] = "-";
        struct digest_index *index;
        struct uuid uuid;

        if (step % 30 == 0) { /* another algorithm, another chain */
            digest_index_free(steal(&parent));
            memset(new, 0, sizeof(*new));
            new->size = 20000 * LEAF + 512;
        } else if (sample_below(&sample, 3) == 0) {
            resize_model(&sample, algorithm, new);
        }
        change_model(&sample, algorithm, new);
        uuid_new(&uuid);
        CHECK_OK(build(&uuid, algorithm, &sample, parent,
                       parent != NULL ? old : NULL, new, root, &err),
                 &err);
        full_root(new, algorithm, expected);
        CHECK_TEXT(root, expected);

        index = open_index(&uuid, &err);
        REQUIRE(index != NULL);
        CHECK_TEXT(digest_index_root(index), expected);
        CHECK(digest_index_size(index) == new->size);
        CHECK(digest_index_algorithm(index) == algorithm);
        CHECK(holds(index, new, &err));
        if (parent != NULL) {
            const struct uuid *uuids = NULL;

            CHECK(differ_where(parent, index, old, new, &err));
            CHECK(differ_where(index, parent, new, old, &err));
            CHECK(digest_index_references(index, &uuids) == step % 30);
            CHECK_TEXT(uuids[0].text, digest_index_uuid(parent));
        }
        digest_index_free(parent);
        parent = index;
        memcpy(old, new, sizeof(*old));
    }
}

static void
a_change_costs_what_changed(void)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE struct model *model = xcalloc(1, sizeof(*model));
    AUTO_FREE struct model *old = xcalloc(1, sizeof(*old));
    struct error err = ERROR_INIT;
    char root[DIGEST_ROOT_TEXT];
    struct uuid uuids[3];
    uint64_t sizes[3] = {0};

    model->size = LEAVES_MAX * LEAF;
    for (size_t i = 0; i < LEAVES_MAX; i++)
        random_digest(&sample, DIGEST_XXH3_128, &model->leaves[i]);
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
        AUTO_FREE char *name = NULL;
        AUTO_CLOSE int fd = -1;

        uuid_new(&uuids[i]);
        name = index_name(&uuids[i]);
        if (i > 0)
            parent = open_index(&uuids[i - 1], &err);
        if (i == 1)
            random_digest(&sample, DIGEST_XXH3_128, &model->leaves[30000]);
        CHECK_OK(build(&uuids[i], DIGEST_XXH3_128, &sample, parent,
                       i > 0 ? old : NULL, model, root, &err),
                 &err);
        memcpy(old, model, sizeof(*old));
        fd = open(name, O_RDONLY | O_CLOEXEC);
        CHECK_OK(fd_size(fd, &sizes[i], name, &err), &err);
    }
    printf("# full %llu, one leaf %llu, nothing %llu bytes\n",
           (unsigned long long)sizes[0], (unsigned long long)sizes[1],
           (unsigned long long)sizes[2]);
    CHECK(sizes[0] < LEAVES_MAX * 17);
    CHECK(sizes[1] < 8192);
    CHECK(sizes[2] == 256 + 2 * 40); /* header and ancestors */
}

static void
a_vast_disk_costs_nothing(void)
{
    struct sample sample = sample_start(__func__);
    struct error err = ERROR_INIT;
    struct uuid uuids[2];
    struct digest digest;
    char roots[3][DIGEST_ROOT_TEXT];
    uint64_t last = digest_leaves(DIGEST_SIZE_MAX) - 1;

    random_digest(&sample, DIGEST_XXH3_128, &digest);
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
        AUTO_DIGEST_BUILDER struct digest_builder *builder = NULL;
        AUTO_FREE char *name = NULL;

        uuid_new(&uuids[i]);
        name = index_name(&uuids[i]);
        if (i > 0)
            parent = open_index(&uuids[0], &err);
        builder = digest_builder_new(name, uuids[i].text, DIGEST_SIZE_MAX,
                                     DIGEST_XXH3_128, parent, &err);
        REQUIRE(builder != NULL);
        if (i > 0) {
            CHECK_OK(digest_builder_add_zero_range(builder, 0, last, &err),
                     &err);
        } else {
            CHECK_OK(digest_builder_add(builder, 5, &digest, &err), &err);
            CHECK_OK(digest_builder_add(builder, last / 3, &digest, &err),
                     &err);
        }
        CHECK_OK(digest_builder_add(builder, last, &digest, &err), &err);
        CHECK_OK(digest_builder_finish(builder, roots[i], &err), &err);
    }
    {
        AUTO_DIGEST_BUILDER struct digest_builder *builder = digest_builder_new(
            NULL, NULL, DIGEST_SIZE_MAX, DIGEST_XXH3_128, NULL, &err);

        REQUIRE(builder != NULL);
        CHECK_OK(digest_builder_add(builder, last, &digest, &err), &err);
        CHECK_OK(digest_builder_finish(builder, roots[2], &err), &err);
    }
    CHECK_TEXT(roots[1], roots[2]);
    CHECK(strcmp(roots[0], roots[1]) != 0);
}

/* -- damage ------------------------------------------------------------- */

/* Read all; true when it is right, or refused as damaged. */
static bool
is_right_or_refused(const struct uuid *uuid, const struct model *model)
{
    struct error err = ERROR_INIT;
    AUTO_DIGEST_INDEX struct digest_index *index = open_index(uuid, &err);

    if (index != NULL && holds(index, model, &err))
        return true;
    return err.code == ERROR_CORRUPT || err.code == ERROR_UNSUPPORTED;
}

static void
damage_is_always_found(void)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE struct model *model = xcalloc(1, sizeof(*model));
    AUTO_FREE struct model *old = xcalloc(1, sizeof(*old));
    struct error err = ERROR_INIT;
    char root[DIGEST_ROOT_TEXT];
    struct uuid uuids[2];
    unsigned refused = 0;

    model->size = 300 * LEAF;
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        AUTO_DIGEST_INDEX struct digest_index *parent =
            i > 0 ? open_index(&uuids[0], &err) : NULL;

        for (uint64_t k = i; k < 300; k += 7 + i * 100)
            random_digest(&sample, DIGEST_XXH3_128, &model->leaves[k]);
        uuid_new(&uuids[i]);
        CHECK_OK(build(&uuids[i], DIGEST_XXH3_128, &sample, parent,
                       i > 0 ? old : NULL, model, root, &err),
                 &err);
        memcpy(old, model, sizeof(*old));
    }
    for (size_t i = 0; i < ARRAY_SIZE(uuids); i++) {
        AUTO_FREE char *name = index_name(&uuids[i]);
        AUTO_CLOSE int fd = open(name, O_RDWR | O_CLOEXEC);
        uint64_t size = 0;
        uint8_t byte = 0;

        CHECK_OK(fd_size(fd, &size, name, &err), &err);
        for (uint64_t at = 0; at < size; at += 1 + sample_below(&sample, 4)) {
            uint8_t good;

            CHECK_OK(fd_pread(fd, &good, 1, at, name, &err), &err);
            byte = good ^ (uint8_t)(1 + sample_below(&sample, 255));
            CHECK_OK(fd_pwrite(fd, &byte, 1, at, name, &err), &err);
            CHECK(is_right_or_refused(&uuids[1], model));
            CHECK_OK(fd_pwrite(fd, &good, 1, at, name, &err), &err);
        }
        for (uint64_t cut = 0; cut < size; cut += 1 + size / 60) {
            AUTO_FREE char *kept = NULL;
            size_t length = 0;

            CHECK_OK(fd_read_file(name, 1 << 20, &kept, &length, &err), &err);
            CHECK(ftruncate(fd, (off_t)cut) == 0);
            CHECK(is_right_or_refused(&uuids[1], model));
            refused++;
            CHECK_OK(fd_pwrite(fd, kept, length, 0, name, &err), &err);
        }
    }
    CHECK(refused > 100);
    {
        AUTO_DIGEST_INDEX struct digest_index *index =
            open_index(&uuids[1], &err);

        CHECK(index != NULL && holds(index, model, &err));
    }
}

static void
a_missing_ancestor_is_named(void)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE struct model *model = xcalloc(1, sizeof(*model));
    AUTO_FREE struct model *old = xcalloc(1, sizeof(*old));
    AUTO_DIGEST_INDEX struct digest_index *parent = NULL;
    AUTO_DIGEST_INDEX struct digest_index *index = NULL;
    AUTO_FREE char *name = NULL;
    struct error err = ERROR_INIT;
    char root[DIGEST_ROOT_TEXT];
    struct uuid uuids[2];
    struct digest digest;

    uuid_new(&uuids[0]);
    uuid_new(&uuids[1]);
    name = index_name(&uuids[0]);
    model->size = 1000 * LEAF;
    random_digest(&sample, DIGEST_XXH3_128, &model->leaves[0]);
    CHECK_OK(build(&uuids[0], DIGEST_XXH3_128, &sample, NULL, NULL, model, root,
                   &err),
             &err);
    memcpy(old, model, sizeof(*old));
    random_digest(&sample, DIGEST_XXH3_128, &model->leaves[999]);
    parent = open_index(&uuids[0], &err);
    CHECK_OK(build(&uuids[1], DIGEST_XXH3_128, &sample, parent, old, model,
                   root, &err),
             &err);
    CHECK(unlink(name) == 0);
    index = open_index(&uuids[1], &err);
    REQUIRE(index != NULL);
    CHECK_OK(digest_index_leaves(index, 999, 1, &digest, &err), &err);
    CHECK(digest_index_leaves(index, 0, 1, &digest, &err) == -1);
    CHECK(err.code == ERROR_CORRUPT && strstr(err.message, name) != NULL);
}

/* -- refusals and failures ---------------------------------------------- */

static void
what_cannot_be_is_refused(void)
{
    struct error err = ERROR_INIT;
    enum digest_algorithm algorithm = DIGEST_XXH3_128;

    CHECK(digest_algorithm_parse("sha256", &algorithm, &err) == 0 &&
          algorithm == DIGEST_SHA256);
    CHECK(digest_algorithm_parse("md5", &algorithm, &err) == -1);
    CHECK(digest_builder_new("x.idx", "x", LEAF, algorithm, NULL, &err) ==
          NULL);
    CHECK(err.code == ERROR_INVALID && !fd_exists("x.idx"));
    CHECK(digest_builder_new(NULL, NULL, DIGEST_SIZE_MAX + 1, algorithm, NULL,
                             &err) == NULL);
    CHECK_OK(fd_replace_file("x.idx", "kept", 4, 0600, &err), &err);
    CHECK(digest_builder_new("x.idx", "01234567-89ab-cdef-0123-456789abcdef",
                             LEAF, algorithm, NULL, &err) == NULL);
    CHECK(err.code == ERROR_CONFLICT && fd_exists("x.idx"));
    CHECK(digest_index_open("x.idx", &err) == NULL);
    CHECK(err.code == ERROR_CORRUPT);
    CHECK(unlink("x.idx") == 0);
    CHECK(digest_index_open("x.idx", &err) == NULL);
    CHECK(err.code == ERROR_NOT_FOUND);
}

static unsigned
open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        (void)closedir(directory);
    return count;
}

static void
any_single_fault_leaves_no_file(void)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE struct model *model = xcalloc(1, sizeof(*model));
    AUTO_FREE char *name = NULL;
    unsigned files = open_files();
    struct error err = ERROR_INIT;
    struct uuid uuid;

    uuid_new(&uuid);
    name = index_name(&uuid);
    model->size = LEAVES_MAX * LEAF;
    for (size_t i = 0; i < LEAVES_MAX; i++)
        random_digest(&sample, DIGEST_SHA256, &model->leaves[i]);
    for (uint64_t nth = 1;; nth++) {
        char root[DIGEST_ROOT_TEXT];
        int result;

        fault_arm("*", nth, FAULT_FAIL);
        result =
            build(&uuid, DIGEST_SHA256, &sample, NULL, NULL, model, root, &err);
        fault_disarm();
        CHECK(result == (fault_fired() ? -1 : 0));
        CHECK(fd_exists(name) == !fault_fired());
        CHECK(open_files() == files);
        if (!fault_fired()) {
            CHECK(nth > 10);
            break;
        }
    }
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_leaf_of_zeros_has_the_digest_of_zeros);
    RUN(roots_are_those_of_the_format);
    RUN(any_chain_of_changes_and_resizes_has_the_root_of_a_full_one);
    RUN(a_change_costs_what_changed);
    RUN(a_vast_disk_costs_nothing);
    RUN(damage_is_always_found);
    RUN(a_missing_ancestor_is_named);
    RUN(what_cannot_be_is_refused);
    RUN(any_single_fault_leaves_no_file);
    scratch_leave(&scratch);
    return check_done();
}
