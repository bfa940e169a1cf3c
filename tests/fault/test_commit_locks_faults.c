/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two who want one image: a QEMU that comes while we merge is refused at each
 * step, and we are refused whatever file of the chain a QEMU has.  Either way
 * nothing is harmed.
 */
#include "check.h"
#include "density.h"
#include "images.h"
#include "oracle.h"
#include "powercut.h"

#include "image/commit.h"

#include <signal.h>
#include <string.h>

static struct scratch scratch;
static struct image_chain chain;

/* Three images, all qcow2, that both directions can merge. */
static bool
make_chain(uint64_t seed)
{
    do {
        if (!image_chain_make(&chain, ++seed))
            return false;
    } while (chain.count != 3 || chain.made[0].cluster < 4096 ||
             chain.made[1].format != IMAGE_QCOW2 ||
             chain.made[2].format != IMAGE_QCOW2);
    return image_flatten("top", IMAGE_QCOW2, "expected");
}

static int
merge(bool backward, struct error *err)
{
    enum commit_refusal refusal;

    if (backward)
        return commit_pull(chain.refs, chain.count, NULL, &refusal, err);
    return commit_layer(chain.refs, chain.count, NULL, &refusal, err);
}

/* -- a QEMU that comes late --------------------------------------------- */

static uint64_t steps;
static uint64_t stop_at;

static void
stop_there(void)
{
    if (__atomic_add_fetch(&steps, 1, __ATOMIC_SEQ_CST) == stop_at)
        (void)raise(SIGSTOP);
}

static uint64_t
count_steps(bool backward)
{
    struct error err = ERROR_INIT;

    steps = stop_at = 0;
    powercut.hook = stop_there;
    CHECK_OK(merge(backward, &err), &err);
    powercut.hook = NULL;
    return steps;
}

/* Nobody can open the file that is being changed, nor write the chain. */
static void
check_refused(const char *changed)
{
    CHECK(!oracle_quiet("qemu-io", "-f", "qcow2", "-c", "write -P 66 0 512",
                        changed));
    CHECK(!oracle_quiet("qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512",
                        changed));
    CHECK(!oracle_quiet("qemu-io", "-f", "qcow2", "-c", "write -P 66 0 512",
                        "top"));
    CHECK(!oracle_quiet("qemu-img", "commit", "-q", "-d", "top"));
    CHECK(!oracle_quiet("qemu-img", "resize", "-q", changed, "+1M"));
}

static void
check_step(bool backward, uint64_t n)
{
    const char *changed = backward ? "top" : "base";
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        steps = 0;
        stop_at = n;
        powercut.hook = stop_there;
        _exit(merge(backward, &err) == 0 ? 0 : 1);
    }
    REQUIRE(waitpid(child, &status, WUNTRACED) == child);
    if (WIFSTOPPED(status)) {
        check_refused(changed);
        CHECK(kill(child, SIGCONT) == 0);
        CHECK(waitpid(child, &status, 0) == child);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    CHECK(image_is_same(changed, IMAGE_QCOW2, "expected"));
    CHECK(image_check(changed) == 0);
}

static void
check_late_qemu(bool backward)
{
    uint64_t count;
    uint64_t step;
    uint64_t tried = 0;

    REQUIRE(make_chain(20));
    count = count_steps(backward);
    step = density_step(MAX(count / 4, UINT64_C(1)));
    for (uint64_t n = 1; n <= count; n += step) {
        REQUIRE(make_chain(20));
        check_step(backward, n);
        tried++;
    }
    printf("# count lock-steps %" PRIu64 "\n", tried);
    CHECK(tried > 1);
}

static void
a_qemu_that_comes_while_we_merge_is_refused_at_each_step(void)
{
    check_late_qemu(false);
    check_late_qemu(true);
}

/* -- a QEMU that was there first ---------------------------------------- */

/* `writes`: QEMU has it for writing. */
static void
check_first_qemu(const char *name, bool writes, bool forward, bool backward)
{
    const char *const writer[] = {"qemu-io", "-f", "qcow2", name, NULL};
    const char *const reader[] = {"qemu-io", "-r", "-f", "qcow2", name, NULL};
    const bool expected[2] = {forward, backward};

    for (size_t i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        struct holder holder;

        REQUIRE(make_chain(40));
        REQUIRE(holder_start(&holder, writes ? writer : reader));
        CHECK((merge(i == 1, &err) == 0) == expected[i]);
        CHECK(expected[i] || err.code == ERROR_BUSY);
        holder_stop(&holder);
        CHECK(image_is_same("top", IMAGE_QCOW2, "expected"));
    }
}

static void
whatever_file_a_qemu_has_refuses_us(void)
{
    check_first_qemu("top", true, false, false);
    check_first_qemu("top", false, false, false);
    check_first_qemu("base", true, false, false);
    check_first_qemu("below", true, false, false);
    /* Readers of what we only read do no harm. */
    check_first_qemu("base", false, false, true);
    check_first_qemu("below", false, true, true);
}

int
main(void)
{
    scratch_enter(&scratch);
    image_chain_init(&chain, &scratch);
    RUN(a_qemu_that_comes_while_we_merge_is_refused_at_each_step);
    RUN(whatever_file_a_qemu_has_refuses_us);
    image_chain_release(&chain);
    scratch_leave(&scratch);
    return check_done();
}
