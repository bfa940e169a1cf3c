/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a merge promises when it dies, in either direction: the chain reads as
 * before, the file that it changes has leaked clusters at worst, and doing it
 * again completes it.
 *
 * Three ways to die: the process is killed at any fault point; any single
 * call fails; the power goes at any moment, and of what was not synced any
 * sectors are lost.
 */
#include "check.h"
#include "density.h"
#include "images.h"
#include "oracle.h"
#include "powercut.h"

#include "base/fault.h"
#include "base/fd.h"
#include "image/commit.h"

#include <string.h>

static struct scratch scratch;

/* -- a chain, and the file that is changed as it was --------------------- */

struct subject {
    struct image_chain chain;
    bool backward;       /* the top takes, else the base does */
    const char *changed; /* "top" or "base" */
    char *bytes;         /* owned; of that file */
    size_t size;
};

static bool
put_back(const struct subject *subject)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = open(subject->changed, O_RDWR | O_CLOEXEC | O_TRUNC);

    return fd >= 0 && fd_pwrite(fd, subject->bytes, subject->size, 0,
                                subject->changed, &err) == 0;
}

/* "expected" is what the chain reads as. */
static bool
subject_keep(struct subject *subject, bool backward)
{
    struct error err = ERROR_INIT;

    subject->backward = backward;
    subject->changed = backward ? "top" : "base";
    subject->bytes = NULL;
    return image_flatten("top", IMAGE_QCOW2, "expected") &&
           fd_read_file(subject->changed, (size_t)64 << 20, &subject->bytes,
                        &subject->size, &err) == 0;
}

/* The next chain from *seed on that can be merged so. */
static bool
subject_make(struct subject *subject, uint64_t *seed, bool backward)
{
    image_chain_init(&subject->chain, &scratch);
    do {
        if (!image_chain_make(&subject->chain, ++*seed))
            return false;
    } while (backward && subject->chain.made[0].cluster < 4096);
    return subject_keep(subject, backward);
}

static void
subject_release(struct subject *subject)
{
    image_chain_release(&subject->chain);
    free(subject->bytes);
}

static int
merge(const struct subject *subject, struct error *err)
{
    const struct image_chain *chain = &subject->chain;
    enum commit_refusal refusal;

    if (subject->backward)
        return commit_pull(chain->refs, chain->count, NULL, &refusal, err);
    return commit_layer(chain->refs, chain->count, NULL, &refusal, err);
}

static enum image_format
changed_format(const struct subject *subject)
{
    return subject->chain.refs[subject->backward ? 0 : 1].format;
}

/* The chain reads as before, and a check finds leaks at worst. */
static bool
is_unharmed(const struct subject *subject)
{
    return image_is_same("top", IMAGE_QCOW2, "expected") &&
           (changed_format(subject) == IMAGE_RAW ||
            image_check(subject->changed) >= 0);
}

/* The file that takes holds everything, without the one that gives. */
static bool
is_merged(const struct subject *subject)
{
    bool result;

    if (subject->backward && rename("base", "gone") < 0)
        return false;
    result =
        image_is_same(subject->changed, changed_format(subject), "expected");
    return result && (!subject->backward || rename("gone", "base") == 0);
}

/* Doing it again completes it. */
static bool
can_be_redone(const struct subject *subject)
{
    struct error err = ERROR_INIT;

    if (merge(subject, &err) < 0) {
        printf("# again: %s\n", err.message);
        return false;
    }
    return is_merged(subject) && is_unharmed(subject);
}

/* How many fault points a merge passes. */
static uint64_t
count_points(const struct subject *subject)
{
    struct error err = ERROR_INIT;
    uint64_t passes;

    fault_arm("*", 0, FAULT_COUNT);
    CHECK_OK(merge(subject, &err), &err);
    passes = fault_passes();
    fault_disarm();
    return passes;
}

/* Calls `try_one` for all numbers 1 … count, or for a sample of them. */
static uint64_t
try_points(const struct subject *subject, uint64_t count, uint64_t sample,
           bool (*try_one)(const struct subject *subject, uint64_t n))
{
    uint64_t step = density_step(MAX(count / sample, UINT64_C(1)));
    uint64_t tried = 0;

    for (uint64_t n = 1; n <= count; n += step) {
        tried++;
        if (!put_back(subject) || !try_one(subject, n)) {
            printf("# point %llu of %llu\n", (unsigned long long)n,
                   (unsigned long long)count);
            CHECK(false);
            break;
        }
    }
    return tried;
}

static bool
try_kill(const struct subject *subject, uint64_t n)
{
    struct error err = ERROR_INIT;
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        fault_arm("*", n, FAULT_KILL);
        _exit(merge(subject, &err) == 0 ? 0 : 1);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           is_unharmed(subject) && can_be_redone(subject);
}

/*
 * Calls that may fail without the merge: a hole that only saves space, and a
 * look-ahead whose place is looked at again.
 */
static bool
may_be_survived(const char *name)
{
    return name == NULL || strcmp(name, "qcow2-rw.punch") == 0 ||
           strcmp(name, "image.read") == 0;
}

static bool
try_failure(const struct subject *subject, uint64_t n)
{
    struct error err = ERROR_INIT;
    int result;

    fault_arm("*", n, FAULT_FAIL);
    result = merge(subject, &err);
    fault_disarm();
    if (result == 0 &&
        (!may_be_survived(fault_fired_name()) || !is_merged(subject))) {
        printf("# '%s' is not told\n", fault_fired_name());
        return false;
    }
    return is_unharmed(subject) && can_be_redone(subject);
}

static bool
try_power_cut(const struct subject *subject, uint64_t moment)
{
    AUTO_CLOSE int fd = open(subject->changed, O_RDWR | O_CLOEXEC);

    return fd >= 0 && powercut_apply(fd, (size_t)moment, moment) &&
           is_unharmed(subject) && (moment % 3 != 0 || can_be_redone(subject));
}

/*
 * Before each sync, and just after each write into the header, most can go
 * wrong: several tries with different losses.
 */
static uint64_t
try_worst_moments(const struct subject *subject, uint64_t sample)
{
    uint64_t tried = 0;
    size_t step = 1;
    size_t worst = 0;

    for (size_t i = 0; i < powercut.events.count; i++)
        worst += powercut_is_worst(i);
    step = density_step(MAX(worst / sample, UINT64_C(1)));
    worst = 0;
    for (size_t i = 0; i < powercut.events.count; i++) {
        if (!powercut_is_worst(i) || worst++ % step != 0)
            continue;
        for (uint64_t luck = 1; luck <= 4; luck++) {
            AUTO_CLOSE int fd = -1;

            CHECK(put_back(subject));
            fd = open(subject->changed, O_RDWR | O_CLOEXEC);
            CHECK(powercut_apply(fd, i + 1, luck * 1000 + i));
            tried++;
            if (is_unharmed(subject) && (luck > 1 || can_be_redone(subject)))
                continue;
            printf("# moment %zu, luck %llu\n", i, (unsigned long long)luck);
            CHECK(false);
            return tried;
        }
    }
    return tried;
}

/* -- the tests ---------------------------------------------------------- */

static void
over_chains(uint64_t seed, uint64_t sample, bool backward, const char *counter,
            bool (*try_one)(const struct subject *subject, uint64_t n))
{
    uint64_t chains = density_is_all() ? 16 : 4;
    uint64_t tried = 0;

    for (uint64_t i = 0; i < chains; i++) {
        struct subject subject;
        struct error err = ERROR_INIT;
        uint64_t count;
        int before = check_failures;

        CHECK(subject_make(&subject, &seed, backward));
        if (try_one == try_power_cut) {
            powercut_start();
            CHECK_OK(merge(&subject, &err), &err);
            powercut_stop();
            count = powercut.events.count;
        } else {
            count = count_points(&subject);
        }
        tried += try_points(&subject, count, sample, try_one);
        if (try_one == try_power_cut)
            tried += try_worst_moments(&subject, sample);
        subject_release(&subject);
        if (check_failures > before) {
            printf("# seed %llu\n", (unsigned long long)seed);
            break;
        }
    }
    powercut_forget();
    printf("# count %s %llu\n", counter, (unsigned long long)tried);
}

static void
a_kill_at_any_point_leaves_the_chain_as_it_was(void)
{
    over_chains(1, 8, false, "commit-kills", try_kill);
}

static void
any_single_failure_leaves_the_chain_as_it_was(void)
{
    over_chains(101, 8, false, "commit-failures", try_failure);
}

static void
a_power_cut_at_any_moment_leaves_the_chain_as_it_was(void)
{
    over_chains(201, 6, false, "commit-power-cuts", try_power_cut);
}

static void
a_kill_while_pulling_leaves_the_chain_as_it_was(void)
{
    over_chains(301, 8, true, "pull-kills", try_kill);
}

static void
any_single_failure_while_pulling_leaves_the_chain_as_it_was(void)
{
    over_chains(401, 8, true, "pull-failures", try_failure);
}

static void
a_power_cut_while_pulling_leaves_the_chain_as_it_was(void)
{
    over_chains(501, 6, true, "pull-power-cuts", try_power_cut);
}

/*
 * Growing tables: tiny clusters and a base that fills up, so that the
 * refcount table and L1 move.
 */
static void
moving_tables_survive_a_power_cut(void)
{
    struct subject subject;
    struct error err = ERROR_INIT;
    uint64_t tried;

    image_chain_init(&subject.chain, &scratch);
    subject.chain.count = 2;
    subject.chain.refs[0].format = subject.chain.refs[1].format = IMAGE_QCOW2;
    (void)unlink("base");
    (void)unlink("top");
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "cluster_size=512", "base", "1M"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 3 0 900k", "base"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base",
                   "-F", "qcow2", "top", "24M"));
    REQUIRE(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 5 700k 20M", "-c",
                   "write -P 6 23M 1M", "top"));
    REQUIRE(subject_keep(&subject, false));
    powercut_start();
    CHECK_OK(merge(&subject, &err), &err);
    powercut_stop();
    CHECK(image_check("base") == 0);
    tried = try_points(&subject, powercut.events.count, 20, try_power_cut);
    tried += try_worst_moments(&subject, 25);
    printf("# count commit-power-cuts %llu\n", (unsigned long long)tried);
    powercut_forget();
    subject_release(&subject);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_kill_at_any_point_leaves_the_chain_as_it_was);
    RUN(any_single_failure_leaves_the_chain_as_it_was);
    RUN(a_power_cut_at_any_moment_leaves_the_chain_as_it_was);
    RUN(a_kill_while_pulling_leaves_the_chain_as_it_was);
    RUN(any_single_failure_while_pulling_leaves_the_chain_as_it_was);
    RUN(a_power_cut_while_pulling_leaves_the_chain_as_it_was);
    RUN(moving_tables_survive_a_power_cut);
    scratch_leave(&scratch);
    return check_done();
}
