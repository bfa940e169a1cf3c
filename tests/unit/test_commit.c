/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "images.h"
#include "oracle.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/parse.h"
#include "image/commit.h"
#include "image/commit_choice.h"
#include "image/imagelock.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;
static enum commit_refusal refusal;

static uint64_t
disk_size(const struct image_ref *ref)
{
    struct error err = ERROR_INIT;
    struct qcow2_info info;
    uint64_t size = 0;

    if (ref->format == IMAGE_QCOW2)
        return qcow2_read_info(ref->path, &info, &err) == 0 ? info.size : 0;
    {
        AUTO_CLOSE int fd = open(ref->path, O_RDONLY | O_CLOEXEC);

        return fd_size(fd, &size, ref->path, &err) == 0 ? size : 0;
    }
}

/* For longer runs by hand. */
static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    struct error err = ERROR_INIT;
    const char *text = getenv(name);
    uint64_t value;

    if (text == NULL || parse_u64(text, &value, &err) < 0)
        return otherwise;
    return value;
}

static void
print_chain(const struct image_chain *chain, uint64_t seed)
{
    printf("# seed %" PRIu64 "\n", seed);
    for (size_t i = 0; i < chain->count; i++)
        printf("# %s: %s, %" PRIu64 " bytes, %s\n", image_chain_names[i],
               image_format_name(chain->made[i].format), chain->made[i].size,
               chain->made[i].options);
}

/* The base reads as the chain did, and is sound. */
static bool
is_merged(const struct image_chain *chain, const char *expected)
{
    const struct image_ref *base = &chain->refs[1];

    return image_is_same("base", base->format, expected) &&
           image_is_same("top", IMAGE_QCOW2, expected) &&
           disk_size(base) == disk_size(&chain->refs[0]) &&
           (base->format == IMAGE_RAW || image_check("base") == 0);
}

static void
a_base_reads_as_the_chain_did_in_every_flavour(void)
{
    struct image_chain chain;
    uint64_t rounds = from_environment("ROUNDS", 10);
    uint64_t first = from_environment("SEED", 1);

    image_chain_init(&chain, &scratch);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct error err = ERROR_INIT;
        struct copy_progress progress = {.total = 0};
        int before = check_failures;

        CHECK(image_chain_make(&chain, seed));
        CHECK(image_flatten("top", IMAGE_QCOW2, "expected"));
        CHECK_OK(
            commit_layer(chain.refs, chain.count, &progress, &refusal, &err),
            &err);
        CHECK(is_merged(&chain, "expected"));
        CHECK(atomic_load(&progress.done) >= atomic_load(&progress.total));
        /* Doing it again changes nothing. */
        CHECK_OK(commit_layer(chain.refs, chain.count, NULL, &refusal, &err),
                 &err);
        CHECK(is_merged(&chain, "expected"));
        if (check_failures > before) {
            print_chain(&chain, seed);
            break;
        }
    }
    image_chain_release(&chain);
}

/* The top reads as the chain did, without the base, and is sound. */
static bool
is_pulled(const struct image_chain *chain, const char *expected)
{
    struct qcow2_info info;
    struct error err = ERROR_INIT;

    return rename("base", "gone") == 0 &&
           image_is_same("top", IMAGE_QCOW2, expected) &&
           image_check("top") == 0 && rename("gone", "base") == 0 &&
           qcow2_read_info("top", &info, &err) == 0 &&
           info.has_backing == (chain->count == 3) &&
           (!info.has_backing ||
            strcmp(info.backing_name, chain->refs[2].path) == 0);
}

static void
a_top_reads_as_before_without_its_base_in_every_flavour(void)
{
    struct image_chain chain;
    uint64_t rounds = from_environment("ROUNDS", 10);
    uint64_t first = from_environment("SEED", 5000);

    image_chain_init(&chain, &scratch);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct error err = ERROR_INIT;
        int before = check_failures;

        CHECK(image_chain_make(&chain, seed));
        CHECK(image_flatten("top", IMAGE_QCOW2, "expected"));
        CHECK(image_flatten("base", chain.refs[1].format, "untouched"));
        if (chain.made[0].cluster < 4096) {
            CHECK(commit_pull(chain.refs, chain.count, NULL, &refusal, &err) ==
                  -1);
            CHECK(refusal == COMMIT_REFUSAL_HEADER_ROOM);
            continue;
        }
        CHECK_OK(commit_pull(chain.refs, chain.count, NULL, &refusal, &err),
                 &err);
        CHECK(is_pulled(&chain, "expected"));
        CHECK(image_is_same("base", chain.refs[1].format, "untouched"));
        /* Doing it again, with the chain that was, changes nothing. */
        CHECK_OK(commit_pull(chain.refs, chain.count, NULL, &refusal, &err),
                 &err);
        CHECK(is_pulled(&chain, "expected"));
        if (check_failures > before) {
            print_chain(&chain, seed);
            break;
        }
    }
    image_chain_release(&chain);
}

/* The base's disk ends at 1 MiB, so that what is below never shows there. */
static void
a_short_base_hides_what_is_below_also_when_it_is_gone(void)
{
    static const char *const options[] = {"compat=1.1", "compat=0.10",
                                          "extended_l2=on,cluster_size=64k"};
    struct image_chain chain;

    image_chain_init(&chain, &scratch);
    for (size_t i = 0; i < 3; i++)
        chain.refs[i].format = IMAGE_QCOW2;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        struct error err = ERROR_INIT;

        for (size_t k = 0; k < 3; k++)
            (void)unlink(image_chain_names[k]);
        REQUIRE(
            oracle("qemu-img", "create", "-q", "-f", "qcow2", "below", "3M") &&
            oracle("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 3M",
                   "below") &&
            oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "below",
                   "-F", "qcow2", "base", "1052672") &&
            oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o", options[i],
                   "-b", "base", "-F", "qcow2", "top", "2098176") &&
            oracle("qemu-io", "-f", "qcow2", "-c", "write -P 9 1536k 64k",
                   "top"));
        CHECK(image_flatten("top", IMAGE_QCOW2, "expected"));
        CHECK_OK(commit_pull(chain.refs, 3, NULL, &refusal, &err), &err);
        CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
        CHECK(image_check("top") == 0);
    }
    image_chain_release(&chain);
}

/* -- in which direction ------------------------------------------------- */

static void
the_direction_follows_law_first_and_size_then(void)
{
    const uint64_t mib = (uint64_t)1 << 20;
    struct commit_question question = {.forward.bytes = 900 * mib,
                                       .backward.bytes = 10 * mib};
    struct commit_choice choice = commit_choose(&question);

    CHECK(choice.direction == COMMIT_BACKWARD);
    question.backward.bytes = 450 * mib;
    CHECK(commit_choose(&question).direction == COMMIT_FORWARD);
    question.forward.refusal = COMMIT_REFUSAL_SNAPSHOTS; /* for qemu-img */
    CHECK(commit_choose(&question).direction == COMMIT_BACKWARD);
    question.backward.refusal = COMMIT_REFUSAL_HEADER_ROOM;
    choice = commit_choose(&question);
    CHECK(choice.direction == COMMIT_FORWARD);
    CHECK_TEXT(commit_bar_name(choice.backward), "not-in-place");
    question.forward.refusal = COMMIT_REFUSAL_ENCRYPTED;
    CHECK(commit_choose(&question).direction == COMMIT_NEITHER);

    question = (struct commit_question){.forward.bytes = 900 * mib};
    question.parent_is_named = true;
    choice = commit_choose(&question);
    CHECK(choice.direction == COMMIT_FORWARD);
    CHECK_TEXT(commit_bar_name(choice.backward), "file-named");
    CHECK_TEXT(commit_bar_name(choice.forward), "none");
    question.child_is_named = true;
    CHECK(commit_choose(&question).direction == COMMIT_NEITHER);
    question.parent_is_named = false;
    CHECK(commit_choose(&question).direction == COMMIT_BACKWARD);

    question = (struct commit_question){.parent_is_shared = true};
    choice = commit_choose(&question);
    CHECK(choice.direction == COMMIT_NEITHER);
    CHECK_TEXT(commit_bar_name(choice.forward), "parent-shared");
    CHECK_TEXT(commit_bar_name(choice.backward), "parent-shared");
    question = (struct commit_question){.parent_is_foreign = true};
    choice = commit_choose(&question);
    CHECK(choice.direction == COMMIT_NEITHER);
    CHECK_TEXT(commit_bar_name(choice.forward), "parent-foreign");
}

static void
both_directions_are_measured_by_metadata(void)
{
    struct commit_question question = {.parent_is_shared = true};
    struct image_chain chain;
    struct error err = ERROR_INIT;

    image_chain_init(&chain, &scratch);
    for (size_t i = 0; i < 3; i++) {
        chain.refs[i].format = IMAGE_QCOW2;
        (void)unlink(image_chain_names[i]);
    }
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "below", "64M") &&
            oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "below",
                   "-F", "qcow2", "base") &&
            oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 128k", "-c",
                   "write -P 2 1M 64k", "-c", "write -z 2M 1M", "base") &&
            oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base",
                   "-F", "qcow2", "top") &&
            oracle("qemu-io", "-f", "qcow2", "-c", "write -P 3 64k 20M", "-c",
                   "write -z 30M 2M", "top"));
    CHECK_OK(commit_measure(chain.refs, 3, &question, &err), &err);
    CHECK(question.forward.bytes == 20 << 20);
    CHECK(question.backward.bytes == 64 << 10);
    CHECK(question.parent_is_shared);
    question.parent_is_shared = false;
    CHECK(commit_choose(&question).direction == COMMIT_BACKWARD);
    REQUIRE(oracle("qemu-img", "snapshot", "-c", "s", "top"));
    CHECK_OK(commit_measure(chain.refs, 3, &question, &err), &err);
    CHECK(question.backward.refusal == COMMIT_REFUSAL_SNAPSHOTS);
    CHECK(commit_choose(&question).direction == COMMIT_FORWARD);
    image_chain_release(&chain);
}

/* -- writes ------------------------------------------------------------- */

static void
a_write_is_what_the_guest_reads_afterwards(void)
{
    struct image_chain chain;
    struct image_random random = {77};
    AUTO_FREE uint8_t *bytes = xmalloc(1 << 20);

    image_chain_init(&chain, &scratch);
    for (uint64_t seed = 1000; seed < 1000 + from_environment("ROUNDS", 6);
         seed++) {
        struct error err = ERROR_INIT;
        AUTO_CLOSE int fd = -1;
        int before = check_failures;

        CHECK(image_chain_make(&chain, seed));
        CHECK(image_flatten("top", IMAGE_QCOW2, "expected"));
        fd = open("expected", O_RDWR | O_CLOEXEC);
        for (unsigned i = 0; i < 6; i++) {
            uint64_t size = chain.made[0].size;
            uint64_t offset = image_random(&random, size);
            size_t length = (size_t)image_random(
                &random, MIN(size - offset + 1, (uint64_t)1 << 20));

            memset(bytes, (int)(seed + i), length);
            CHECK_OK(commit_write(chain.refs, chain.count, bytes, offset,
                                  length, &err),
                     &err);
            CHECK_OK(fd_pwrite(fd, bytes, length, offset, "expected", &err),
                     &err);
        }
        CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
        CHECK(image_check("top") == 0);
        if (check_failures > before) {
            print_chain(&chain, seed);
            break;
        }
    }
    image_chain_release(&chain);
}

static void
a_write_outside_the_disk_is_refused(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *path = scratch_file(&scratch, "disk");
    struct image_ref ref = {path, IMAGE_QCOW2};

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "disk", "1M"));
    CHECK(commit_write(&ref, 1, "x", 1 << 20, 1, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
    CHECK(commit_write(&ref, 1, "x", UINT64_MAX, 1, &err) == -1);
    CHECK_OK(commit_write(&ref, 1, "x", (1 << 20) - 1, 1, &err), &err);
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "read -P 120 1048575 1", "-c",
                 "read -P 0 0 1048575", "disk"));
}

/* What resizing shall give, by cutting and lengthening a raw file. */
static void
a_resized_disk_keeps_what_stays_and_shows_zeros(void)
{
    struct image_chain chain;
    struct image_random random = {4711};

    image_chain_init(&chain, &scratch);
    for (uint64_t seed = 2000; seed < 2000 + from_environment("ROUNDS", 5);
         seed++) {
        struct error err = ERROR_INIT;
        int before = check_failures;

        CHECK(image_chain_make(&chain, seed));
        CHECK(image_flatten("top", IMAGE_QCOW2, "expected"));
        for (unsigned i = 0; i < 4; i++) {
            uint64_t size = image_choose_size(&random);

            CHECK_OK(commit_resize(chain.refs, chain.count, size, &err), &err);
            CHECK(truncate("expected", (off_t)size) == 0);
            CHECK(disk_size(&chain.refs[0]) == size);
            CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
            CHECK(image_check("top") == 0);
        }
        if (check_failures > before) {
            print_chain(&chain, seed);
            break;
        }
    }
    image_chain_release(&chain);
}

static void
a_layer_of_zeros_gives_space_back(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *top = scratch_file(&scratch, "z-top");
    AUTO_FREE char *base = scratch_file(&scratch, "z-base");
    struct image_ref refs[] = {{top, IMAGE_QCOW2}, {base, IMAGE_QCOW2}};
    uint64_t before = 0;
    uint64_t after = 0;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "z-base", "64M"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 32M", "z-base"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "z-base",
                   "-F", "qcow2", "z-top"));
    REQUIRE(oracle("qemu-io", "-f", "qcow2", "-c", "write -z 0 32M", "z-top"));
    CHECK_OK(fd_allocated(base, &before, &err), &err);
    CHECK_OK(commit_layer(refs, 2, NULL, &refusal, &err), &err);
    CHECK_OK(fd_allocated(base, &after, &err), &err);
    CHECK(before > (uint64_t)30 << 20 && after < (uint64_t)2 << 20);
    CHECK(image_check("z-base") == 0);
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "read -P 0 0 64M", "z-base"));
}

/* -- what is refused ---------------------------------------------------- */

/* One image, and what stands against changing it. */
struct obstacle {
    const char *options;    /* of qemu-img create, for the base */
    const char *command[6]; /* of qemu-img, then */
    off_t flip_at;          /* of the base's bytes; 0 for none */
    uint8_t flip;
    enum commit_refusal refusal;
    const char *size;     /* of the top, when it is not the base's */
    bool is_top;          /* the obstacle is in the top layer */
    enum error_code code; /* when it is not ERROR_UNSUPPORTED */
};

static const struct obstacle obstacles[] = {
    {"compat=1.1", .refusal = COMMIT_REFUSAL_NONE, .code = ERROR_NONE},
    {"compat=1.1",
     {"snapshot", "-c", "s", "r-base"},
     .refusal = COMMIT_REFUSAL_SNAPSHOTS},
    {"compat=1.1",
     {"bitmap", "--add", "--enable", "r-base", "b"},
     .refusal = COMMIT_REFUSAL_BITMAP},
    {"compat=1.1",
     {"bitmap", "--add", "--disable", "r-base", "b"},
     .refusal = COMMIT_REFUSAL_NONE,
     .code = ERROR_NONE},
    {"compat=1.1",
     {"bitmap", "--add", "--disable", "r-base", "b"},
     .refusal = COMMIT_REFUSAL_BITMAP_RESIZE,
     .size = "2M"},
    {"data_file=r-data", .refusal = COMMIT_REFUSAL_DATA_FILE},
    {"data_file=r-data", .refusal = COMMIT_REFUSAL_DATA_FILE, .is_top = true},
    {"encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
     .refusal = COMMIT_REFUSAL_ENCRYPTED},
    /* The last byte of the incompatible features, and the first one. */
    {"compat=1.1", .flip_at = 79, .flip = 1, .refusal = COMMIT_REFUSAL_DIRTY},
    {"compat=1.1", .flip_at = 79, .flip = 1, .refusal = COMMIT_REFUSAL_DIRTY,
     .is_top = true},
    {"compat=1.1", .flip_at = 79, .flip = 2, .refusal = COMMIT_REFUSAL_CORRUPT,
     .code = ERROR_CORRUPT},
    {"compat=1.1", .flip_at = 72, .flip = 1, .refusal = COMMIT_REFUSAL_FEATURE},
    /* The first L2 entry, as QEMU lays out a new file: not "copied". */
    {"compat=1.1", .flip_at = 4 * 65536, .flip = 0x80,
     .refusal = COMMIT_REFUSAL_SHARED},
};

static bool
flip_byte(const char *path, off_t at, uint8_t bits)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    if (pread(fd, &byte, 1, at) != 1)
        return false;
    byte ^= bits;
    return pwrite(fd, &byte, 1, at) == 1;
}

static bool
make_obstacle(const struct obstacle *obstacle)
{
    const char *subject = obstacle->is_top ? "r-top" : "r-base";
    const char *argv[8] = {"qemu-img"};

    (void)unlink("r-top");
    (void)unlink("r-base");
    if (!oracle("qemu-img", "create", "-q", "-f", "qcow2", "--object",
                "secret,id=s,data=secret", "-o",
                obstacle->is_top ? "compat=1.1" : obstacle->options, "r-base",
                "1M") ||
        (obstacle->refusal != COMMIT_REFUSAL_ENCRYPTED &&
         !oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k",
                 "r-base")) ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                obstacle->is_top ? obstacle->options : "compat=1.1", "-u", "-b",
                "r-base", "-F", "qcow2", "r-top",
                obstacle->size != NULL ? obstacle->size : "1M"))
        return false;
    for (size_t i = 0; obstacle->command[i] != NULL; i++)
        argv[i + 1] = obstacle->command[i];
    if ((obstacle->refusal != COMMIT_REFUSAL_ENCRYPTED &&
         !oracle("qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k",
                 "r-top")) ||
        (argv[1] != NULL && !oracle_run(argv, NULL, false)))
        return false;
    return obstacle->flip_at == 0 ||
           flip_byte(subject, obstacle->flip_at, obstacle->flip);
}

static void
expect_refusal(const struct obstacle *obstacle)
{
    AUTO_FREE char *top = scratch_file(&scratch, "r-top");
    AUTO_FREE char *base = scratch_file(&scratch, "r-base");
    const struct image_ref refs[] = {{top, IMAGE_QCOW2}, {base, IMAGE_QCOW2}};
    bool refused = obstacle->refusal != COMMIT_REFUSAL_NONE;
    enum error_code code = refused && obstacle->code == ERROR_NONE
                               ? ERROR_UNSUPPORTED
                               : obstacle->code;
    enum commit_refusal seen = COMMIT_REFUSAL_COUNT;
    struct error err = ERROR_INIT;

    REQUIRE(make_obstacle(obstacle));
    /* Shared clusters are found on the way. */
    CHECK(commit_check(refs, 2, &seen, &err) ==
          (refused && obstacle->refusal != COMMIT_REFUSAL_SHARED ? -1 : 0));
    CHECK(seen == obstacle->refusal ||
          obstacle->refusal == COMMIT_REFUSAL_SHARED);
    error_clear(&err);
    CHECK(commit_layer(refs, 2, NULL, &seen, &err) == (refused ? -1 : 0));
    CHECK(seen == obstacle->refusal);
    CHECK(err.code == code);
    if (err.code != code || seen != obstacle->refusal)
        printf("# wanted %s, got %s: %s\n",
               commit_refusal_name(obstacle->refusal),
               commit_refusal_name(seen), err.message);
    if (!commit_refusal_is_for_qemu(obstacle->refusal) || obstacle->is_top)
        return;
    CHECK(oracle("qemu-img", "commit", "-q", "-d", "-f", "qcow2", "r-top"));
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "read -P 2 0 64k", "r-base"));
}

static void
what_cannot_be_changed_in_place_is_refused_by_name(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(obstacles); i++)
        expect_refusal(&obstacles[i]);
}

static void
every_refusal_has_a_name_and_a_text_of_its_own(void)
{
    for (unsigned i = 0; i < COMMIT_REFUSAL_COUNT; i++) {
        for (unsigned k = 0; k < i; k++)
            CHECK(strcmp(commit_refusal_name(i), commit_refusal_name(k)) != 0);
        CHECK(*commit_refusal_text(i) != '\0');
    }
    CHECK(!commit_refusal_is_for_qemu(COMMIT_REFUSAL_NONE));
}

static void
a_chain_in_use_is_refused(void)
{
    static const char *const names[] = {"top", "base", "below"};
    struct image_chain chain;

    image_chain_init(&chain, &scratch);
    for (uint64_t seed = 1;; seed++) {
        REQUIRE(image_chain_make(&chain, seed));
        if (chain.count == 3)
            break;
    }
    for (size_t i = 0; i < 3; i++) {
        struct error err = ERROR_INIT;
        AUTO_CLOSE int fd = open(names[i], O_RDWR | O_CLOEXEC);

        CHECK_OK(imagelock_take(fd, IMAGELOCK_WRITE, names[i], &err), &err);
        CHECK(commit_layer(chain.refs, 3, NULL, &refusal, &err) == -1);
        CHECK(err.code == ERROR_BUSY);
        imagelock_drop(fd);
        CHECK_OK(imagelock_take(fd, IMAGELOCK_READ, names[i], &err), &err);
        /* Readers of what we only read do no harm. */
        CHECK(commit_layer(chain.refs, 3, NULL, &refusal, &err) ==
              (i == 1 ? -1 : 0));
    }
    image_chain_release(&chain);
}

static void
a_request_to_cancel_is_heard(void)
{
    struct copy_progress progress = {.cancel = true};
    struct error err = ERROR_INIT;
    struct image_chain chain;

    image_chain_init(&chain, &scratch);
    REQUIRE(image_chain_make(&chain, 5));
    REQUIRE(image_flatten("top", IMAGE_QCOW2, "expected"));
    CHECK(commit_layer(chain.refs, chain.count, &progress, &refusal, &err) ==
          -1);
    CHECK(err.code == ERROR_CANCELLED);
    CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    image_chain_release(&chain);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_base_reads_as_the_chain_did_in_every_flavour);
    RUN(a_top_reads_as_before_without_its_base_in_every_flavour);
    RUN(a_short_base_hides_what_is_below_also_when_it_is_gone);
    RUN(the_direction_follows_law_first_and_size_then);
    RUN(both_directions_are_measured_by_metadata);
    RUN(a_write_is_what_the_guest_reads_afterwards);
    RUN(a_write_outside_the_disk_is_refused);
    RUN(a_resized_disk_keeps_what_stays_and_shows_zeros);
    RUN(a_layer_of_zeros_gives_space_back);
    RUN(what_cannot_be_changed_in_place_is_refused_by_name);
    RUN(every_refusal_has_a_name_and_a_text_of_its_own);
    RUN(a_chain_in_use_is_refused);
    RUN(a_request_to_cancel_is_heard);
    scratch_leave(&scratch);
    return check_done();
}
