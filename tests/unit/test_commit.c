/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "images.h"
#include "oracle.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/parse.h"
#include "image/commit.h"
#include "image/imagelock.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;

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
        CHECK_OK(commit_layer(chain.refs, chain.count, &progress, &err), &err);
        CHECK(is_merged(&chain, "expected"));
        CHECK(atomic_load(&progress.done) >= atomic_load(&progress.total));
        /* Doing it again changes nothing. */
        CHECK_OK(commit_layer(chain.refs, chain.count, NULL, &err), &err);
        CHECK(is_merged(&chain, "expected"));
        if (check_failures > before) {
            print_chain(&chain, seed);
            break;
        }
    }
    image_chain_release(&chain);
}

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
    CHECK_OK(commit_layer(refs, 2, NULL, &err), &err);
    CHECK_OK(fd_allocated(base, &after, &err), &err);
    CHECK(before > (uint64_t)30 << 20 && after < (uint64_t)2 << 20);
    CHECK(image_check("z-base") == 0);
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "read -P 0 0 64M", "z-base"));
}

/* -- what is refused ---------------------------------------------------- */

static void
expect_refusal(const char *command, const char *arg, enum error_code code)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *top = scratch_file(&scratch, "r-top");
    AUTO_FREE char *base = scratch_file(&scratch, "r-base");
    struct image_ref refs[] = {{top, IMAGE_QCOW2}, {base, IMAGE_QCOW2}};
    int result;

    (void)unlink(top);
    (void)unlink(base);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   strcmp(command, "-o") == 0 ? arg : "compat=1.1", "r-base",
                   "1M"));
    if (strcmp(command, "snapshot") == 0)
        REQUIRE(oracle("qemu-img", "snapshot", "-c", "s", "r-base"));
    if (strcmp(command, "bitmap") == 0)
        REQUIRE(oracle("qemu-img", "bitmap", "--add", arg, "r-base", "b"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "r-base",
                   "-F", "qcow2", "r-top"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "r-top"));
    result = commit_layer(refs, 2, NULL, &err);
    CHECK(result == (code == ERROR_NONE ? 0 : -1));
    CHECK(err.code == code);
    if (err.code != code)
        printf("# %s %s: %s\n", command, arg, err.message);
}

static void
what_cannot_be_changed_in_place_is_refused(void)
{
    expect_refusal("snapshot", "", ERROR_UNSUPPORTED);
    expect_refusal("bitmap", "--enable", ERROR_UNSUPPORTED);
    expect_refusal("bitmap", "--disable", ERROR_NONE);
    expect_refusal("-o", "data_file=r-data", ERROR_UNSUPPORTED);
    expect_refusal("", "", ERROR_NONE);
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
        CHECK(commit_layer(chain.refs, 3, NULL, &err) == -1);
        CHECK(err.code == ERROR_BUSY);
        imagelock_drop(fd);
        CHECK_OK(imagelock_take(fd, IMAGELOCK_READ, names[i], &err), &err);
        /* Readers of what we only read do no harm. */
        CHECK(commit_layer(chain.refs, 3, NULL, &err) == (i == 1 ? -1 : 0));
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
    CHECK(commit_layer(chain.refs, chain.count, &progress, &err) == -1);
    CHECK(err.code == ERROR_CANCELLED);
    CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    image_chain_release(&chain);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_base_reads_as_the_chain_did_in_every_flavour);
    RUN(a_write_is_what_the_guest_reads_afterwards);
    RUN(a_write_outside_the_disk_is_refused);
    RUN(a_resized_disk_keeps_what_stays_and_shows_zeros);
    RUN(a_layer_of_zeros_gives_space_back);
    RUN(what_cannot_be_changed_in_place_is_refused);
    RUN(a_chain_in_use_is_refused);
    RUN(a_request_to_cancel_is_heard);
    scratch_leave(&scratch);
    return check_done();
}
