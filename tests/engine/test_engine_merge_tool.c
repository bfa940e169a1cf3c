/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fall-back of an offline merge keeps the promises of our own commit.
 */
#include "check.h"
#include "images.h"
#include "oracle.h"

#include "base/fd.h"
#include "engine/merge_tool.h"
#include "image/commit.h"

#include <signal.h>
#include <string.h>

static struct scratch scratch;

static bool
base_is_as_expected(const struct image_chain *chain)
{
    return image_is_same("base", chain->refs[1].format, "expected") &&
           image_is_same("top", IMAGE_QCOW2, "expected") &&
           (chain->refs[1].format == IMAGE_RAW || image_check("base") >= 0);
}

/* Chains in every flavour, growing and shrinking disks among them. */
static void
it_does_what_our_own_commit_does(void)
{
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct image_chain chain;
        struct error err = ERROR_INIT;

        image_chain_init(&chain, &scratch);
        REQUIRE(image_chain_make(&chain, seed) &&
                image_flatten("top", IMAGE_QCOW2, "expected"));
        CHECK_OK(merge_tool_commit(chain.refs, chain.count, NULL, &err), &err);
        CHECK(base_is_as_expected(&chain));
        /* And again, as after a death before the record. */
        CHECK_OK(merge_tool_commit(chain.refs, chain.count, NULL, &err), &err);
        CHECK(base_is_as_expected(&chain));
        if (check_failures > 0)
            printf("# seed %llu\n", (unsigned long long)seed);
        image_chain_release(&chain);
    }
}

/* -- what our own commit refuses ----------------------------------------- */

/* A chain of two: base with 0..2 MiB, top with 1..3 MiB; "expected". */
static bool
make_pair(struct image_chain *chain, const char *options)
{
    image_chain_init(chain, &scratch);
    chain->count = 2;
    chain->refs[0].format = chain->refs[1].format = IMAGE_QCOW2;
    (void)unlink("base");
    (void)unlink("top");
    return oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o", options,
                  "base", "8M") &&
           oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 2M", "base") &&
           oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F",
                  "qcow2", "top") &&
           oracle("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 2M", "top") &&
           image_flatten("top", IMAGE_QCOW2, "expected");
}

static void
refused_by_us_done_by_the_tool(struct image_chain *chain)
{
    struct error err = ERROR_INIT;
    enum commit_refusal refusal;

    CHECK(commit_layer(chain->refs, 2, NULL, &refusal, &err) == -1);
    CHECK(commit_refusal_is_for_qemu(refusal));
    error_clear(&err);
    CHECK_OK(merge_tool_commit(chain->refs, 2, NULL, &err), &err);
    CHECK(base_is_as_expected(chain));
}

static void
internal_snapshots_of_the_base_are_kept(void)
{
    struct image_chain chain;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    REQUIRE(image_flatten("base", IMAGE_QCOW2, "before"));
    REQUIRE(oracle("qemu-img", "snapshot", "-c", "keep", "base"));
    refused_by_us_done_by_the_tool(&chain);
    CHECK(oracle("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", "-l",
                 "snapshot.name=keep", "base", "kept"));
    CHECK(image_is_same("before", IMAGE_RAW, "kept"));
    image_chain_release(&chain);
}

/* What an enabled bitmap of the base says has changed; NULL on failure. */
static void
enabled_bitmaps_of_the_base_record_the_merge(void)
{
    struct image_chain chain;
    AUTO_FREE char *map = NULL;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    REQUIRE(oracle("qemu-img", "bitmap", "--add", "--enable", "base", "b"));
    refused_by_us_done_by_the_tool(&chain);
    map = oracle_output("sh", "-c",
                        "qemu-nbd -f qcow2 -r -B b -k \"$PWD/nbd\" "
                        "--fork --pid-file=nbd.pid base && "
                        "qemu-img map --output=json --image-opts "
                        "driver=nbd,server.type=unix,server.path=$PWD/nbd,"
                        "x-dirty-bitmap=qemu:dirty-bitmap:b; "
                        "kill $(cat nbd.pid)");
    REQUIRE(map != NULL);
    /* Dirty is shown as no data: 1 MiB to 3 MiB. */
    CHECK(strstr(map, "\"start\": 1048576, \"length\": 2097152") != NULL);
    image_chain_release(&chain);
}

/* As QEMU leaves an image with lazy reference counts when it is killed. */
static bool
soil(const char *name)
{
    (void)oracle_quiet("sh", "-c",
                       "ulimit -c 0; exec qemu-io -f qcow2 -c "
                       "'write -P 1 0 64k' -c 'write -P 7 6M 1M' "
                       "-c 'write -P 8 7M 1M' -c abort \"$0\" 2>/dev/null",
                       name);
    return true;
}

static void
an_image_that_was_not_closed_is_repaired(void)
{
    static const char *const names[] = {"base", "top"};
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < 2; i++) {
        struct image_chain chain;
        struct qcow2_info info;

        REQUIRE(make_pair(&chain, "compat=1.1,lazy_refcounts=on"));
        REQUIRE(oracle("qemu-img", "amend", "-f", "qcow2", "-o",
                       "lazy_refcounts=on", "top"));
        CHECK(soil(names[i]));
        CHECK_OK(qcow2_read_info(names[i], &info, &err), &err);
        CHECK(info.dirty);
        REQUIRE(oracle("qemu-img", "convert", "-q", "-U", "-f", "qcow2", "-O",
                       "raw", "top", "expected"));
        refused_by_us_done_by_the_tool(&chain);
        CHECK_OK(qcow2_read_info("base", &info, &err), &err);
        CHECK(!info.dirty);
        CHECK(image_check("base") == 0);
        image_chain_release(&chain);
    }
}

/* -- killed ---------------------------------------------------------------- */

/* The tool, slow, killed after `ms`; true if it was in the middle. */
static bool
kill_tool_after(unsigned ms)
{
    const char *const argv[] = {"qemu-img", "commit", "-q", "-f",  "qcow2",
                                "-r",       "4M",     "-d", "top", NULL};
    struct error err = ERROR_INIT;

    return spawn_run(argv, ms, NULL, &err) < 0 && err.code == ERROR_TIMEOUT;
}

static void
a_killed_tool_harms_nobody_and_is_run_again(void)
{
    struct error err = ERROR_INIT;
    unsigned killed = 0;

    for (unsigned ms = 20; ms <= 420; ms += 40) {
        struct image_chain chain;

        REQUIRE(make_pair(&chain, "compat=1.1"));
        REQUIRE(oracle("qemu-img", "snapshot", "-c", "keep", "base"));
        killed += kill_tool_after(ms);
        CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
        CHECK(image_check("base") >= 0);
        CHECK_OK(merge_tool_commit(chain.refs, 2, NULL, &err), &err);
        CHECK(base_is_as_expected(&chain));
        image_chain_release(&chain);
    }
    printf("# %u kills of qemu-img commit\n", killed);
    CHECK(killed > 3);
}

static void
a_cancelled_merge_ends_the_tool(void)
{
    struct image_chain chain;
    struct copy_progress progress = {.cancel = true};
    struct error err = ERROR_INIT;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    CHECK(merge_tool_commit(chain.refs, 2, &progress, &err) == -1);
    CHECK(err.code == ERROR_CANCELLED);
    CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    image_chain_release(&chain);
}

/* -- refused by both --------------------------------------------------------
 */

static void
expect_refusal(const struct image_chain *chain, enum error_code code,
               const char *reason)
{
    struct error err = ERROR_INIT;

    CHECK(merge_tool_commit(chain->refs, 2, NULL, &err) == -1);
    CHECK(err.code == code);
    if (strstr(err.message, reason) == NULL) {
        printf("# '%s' is not in: %s\n", reason, err.message);
        CHECK(false);
    }
}

static void
internal_snapshots_of_the_upper_file_are_not_lost(void)
{
    struct image_chain chain;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    REQUIRE(oracle("qemu-img", "snapshot", "-c", "precious", "top"));
    expect_refusal(&chain, ERROR_CONFLICT, "internal snapshot");
    image_chain_release(&chain);
}

static void
encrypted_and_scattered_images_are_refused(void)
{
    struct image_chain chain;
    struct error err = ERROR_INIT;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "--object",
                   "secret,id=s,data=open-sesame", "-o",
                   "encrypt.format=luks,encrypt.key-secret=s,"
                   "encrypt.iter-time=10",
                   "base", "8M"));
    expect_refusal(&chain, ERROR_UNSUPPORTED, "encrypted");
    CHECK(merge_tool_allows(chain.refs, 2, &err) == -1);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "data_file=base-data", "base", "8M"));
    expect_refusal(&chain, ERROR_UNSUPPORTED, "another file");
    image_chain_release(&chain);
}

static void
a_base_that_is_not_sound_is_not_written(void)
{
    struct image_chain chain;
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = -1;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    fd = open("base", O_RDWR | O_CLOEXEC);
    /* The refcount block lies in the third cluster; the data's count is 0. */
    CHECK(fd >= 0 &&
          fd_pwrite(fd, "\0\0\0\0", 4, 2 * 65536 + 10 * 2, "base", &err) == 0);
    expect_refusal(&chain, ERROR_CORRUPT, "not sound");
    CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    image_chain_release(&chain);
}

static void
a_chain_that_leads_elsewhere_is_refused(void)
{
    struct image_chain chain;
    struct error err = ERROR_INIT;

    REQUIRE(make_pair(&chain, "compat=1.1"));
    REQUIRE(oracle("cp", "base", "other"));
    REQUIRE(oracle("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b",
                   "other", "-F", "qcow2", "top"));
    CHECK(merge_tool_commit(chain.refs, 2, NULL, &err) == -1);
    REQUIRE(oracle("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b",
                   "base", "-F", "raw", "top"));
    CHECK(merge_tool_commit(chain.refs, 2, NULL, &err) == -1);
    image_chain_release(&chain);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(it_does_what_our_own_commit_does);
    RUN(internal_snapshots_of_the_base_are_kept);
    RUN(enabled_bitmaps_of_the_base_record_the_merge);
    RUN(an_image_that_was_not_closed_is_repaired);
    RUN(a_killed_tool_harms_nobody_and_is_run_again);
    RUN(a_cancelled_merge_ends_the_tool);
    RUN(internal_snapshots_of_the_upper_file_are_not_lost);
    RUN(encrypted_and_scattered_images_are_refused);
    RUN(a_base_that_is_not_sound_is_not_written);
    RUN(a_chain_that_leads_elsewhere_is_refused);
    scratch_leave(&scratch);
    return check_done();
}
