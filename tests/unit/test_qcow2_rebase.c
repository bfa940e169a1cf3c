/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"

#include "base/fault.h"
#include "base/fd.h"
#include "image/imagelock.h"
#include "image/qcow2.h"

#include <fcntl.h>
#include <string.h>

static struct scratch scratch;

/* The image alone, whatever its header says is below it. */
#define ALONE                                                                  \
    "json:{\"driver\":\"qcow2\",\"backing\":null,"                             \
    "\"file\":{\"driver\":\"file\",\"filename\":\"top.qcow2\"}}"

static bool
make(const char *options)
{
    return oracle("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-o",
                  options, "top.qcow2", "1M");
}

static bool
names(const char *name, const char *format)
{
    struct qcow2_info info;
    struct error err = ERROR_INIT;

    if (qcow2_read_info("top.qcow2", &info, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    return strcmp(info.backing_name, name) == 0 &&
           strcmp(info.backing_format, format) == 0;
}

/* QEMU too reads the name. */
static bool
qemu_names(const char *name, const char *format)
{
    AUTO_FREE char *output =
        oracle_output("qemu-img", "info", "--output=json", "top.qcow2");
    AUTO_FREE char *name_field =
        xasprintf("\"backing-filename\": \"%s\"", name);
    AUTO_FREE char *format_field =
        xasprintf("\"backing-filename-format\": \"%s\"", format);

    return output != NULL && strstr(output, name_field) != NULL &&
           strstr(output, format_field) != NULL &&
           oracle("qemu-img", "check", "-q", ALONE);
}

static void
a_new_name_is_what_we_and_qemu_read(void)
{
    static const char *const options[] = {
        "backing_file=a,backing_fmt=qcow2",
        "backing_file=a,backing_fmt=raw,compat=0.10",
        "backing_file=a,backing_fmt=raw,cluster_size=512",
        "backing_file=a,backing_fmt=raw,cluster_size=2M,extended_l2=on",
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512,compat=0.10",
    };
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        (void)unlink("top.qcow2");
        REQUIRE(make(options[i]));
        CHECK_OK(qcow2_rebase_unsafe("top.qcow2", "b", IMAGE_RAW, &err), &err);
        CHECK(names("b", "raw") && qemu_names("b", "raw"));
        CHECK_OK(qcow2_rebase_unsafe("top.qcow2", "some/longer.name",
                                     IMAGE_QCOW2, &err),
                 &err);
        CHECK(names("some/longer.name", "qcow2"));
        CHECK(qemu_names("some/longer.name", "qcow2"));
        CHECK_OK(qcow2_rebase_unsafe("top.qcow2", NULL, IMAGE_RAW, &err), &err);
        CHECK(names("", ""));
        CHECK(oracle("qemu-img", "check", "-q", ALONE));
        CHECK_OK(qcow2_rebase_unsafe("top.qcow2", "c", IMAGE_QCOW2, &err),
                 &err);
        CHECK(names("c", "qcow2") && qemu_names("c", "qcow2"));
    }
}

static void
names_up_to_the_limit_take_turns(void)
{
    struct error err = ERROR_INIT;
    char name[QCOW2_BACKING_NAME_MAX + 2];

    (void)unlink("top.qcow2");
    REQUIRE(make("backing_file=a,backing_fmt=qcow2"));
    for (char c = 'a'; c < 'i'; c++) {
        memset(name, c, QCOW2_BACKING_NAME_MAX);
        name[c % 2 == 0 ? QCOW2_BACKING_NAME_MAX : 7] = '\0';
        CHECK_OK(qcow2_rebase_unsafe("top.qcow2", name, IMAGE_RAW, &err), &err);
        CHECK(names(name, "raw") && qemu_names(name, "raw"));
    }
    memset(name, 'x', QCOW2_BACKING_NAME_MAX + 1);
    name[QCOW2_BACKING_NAME_MAX + 1] = '\0';
    CHECK(qcow2_rebase_unsafe("top.qcow2", name, IMAGE_RAW, &err) == -1);
    CHECK(err.code == ERROR_INVALID);
    CHECK(qcow2_rebase_unsafe("top.qcow2", "", IMAGE_RAW, &err) == -1);
}

static void
a_tiny_cluster_refuses_what_does_not_fit(void)
{
    struct error err = ERROR_INIT;
    char name[600];

    (void)unlink("top.qcow2");
    REQUIRE(make("backing_file=a,backing_fmt=qcow2,cluster_size=512"));
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    CHECK(qcow2_rebase_unsafe("top.qcow2", name, IMAGE_RAW, &err) == -1);
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(names("a", "qcow2"));
}

static void
bitmaps_and_content_stay(void)
{
    struct error err = ERROR_INIT;

    (void)unlink("top.qcow2");
    REQUIRE(make("compat=1.1"));
    CHECK(oracle("qemu-img", "bitmap", "--add", "top.qcow2", "keep"));
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 128k",
                 "top.qcow2"));
    CHECK_OK(qcow2_rebase_unsafe("top.qcow2", "base", IMAGE_RAW, &err), &err);
    CHECK_OK(qcow2_rebase_unsafe("top.qcow2", NULL, IMAGE_RAW, &err), &err);
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "read -P 7 0 128k",
                 "top.qcow2"));
    CHECK(oracle("qemu-img", "bitmap", "--remove", "top.qcow2", "keep"));
}

static void
an_image_in_use_is_refused(void)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int fd = -1;

    (void)unlink("top.qcow2");
    REQUIRE(make("compat=1.1"));
    fd = open("top.qcow2", O_RDONLY | O_CLOEXEC);
    CHECK_OK(imagelock_take(fd, IMAGELOCK_READ, "top", &err), &err);
    CHECK(qcow2_rebase_unsafe("top.qcow2", "b", IMAGE_RAW, &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK(names("", ""));
}

/* Killed at any write, one of the two names stands. */
static void
a_kill_leaves_the_old_or_the_new_name(void)
{
    bool done = false;

    for (unsigned n = 1; !done; n++) {
        struct error err = ERROR_INIT;
        int status = -1;
        pid_t child;

        (void)unlink("top.qcow2");
        REQUIRE(make("backing_file=old,backing_fmt=qcow2"));
        child = fork();
        if (child == 0) {
            fault_arm("*", n, FAULT_KILL);
            _exit(qcow2_rebase_unsafe("top.qcow2", "new", IMAGE_RAW, &err));
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        done = WIFEXITED(status);
        CHECK(!done || WEXITSTATUS(status) == 0);
        CHECK(names("new", "raw") || (!done && names("old", "qcow2")));
        CHECK(oracle("qemu-img", "check", "-q", ALONE));
        REQUIRE(n < 100);
    }
}

static void
any_single_fault_leaves_the_old_or_the_new_name(void)
{
    for (unsigned n = 1;; n++) {
        struct error err = ERROR_INIT;
        bool fired;
        int result;

        (void)unlink("top.qcow2");
        REQUIRE(make("backing_file=old,backing_fmt=qcow2"));
        fault_arm("*", n, FAULT_FAIL);
        result = qcow2_rebase_unsafe("top.qcow2", "new", IMAGE_RAW, &err);
        fired = fault_fired();
        fault_disarm();
        CHECK((result == 0) == !fired);
        CHECK(names("new", "raw") || (fired && names("old", "qcow2")));
        if (!fired)
            break;
        REQUIRE(n < 100);
    }
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_new_name_is_what_we_and_qemu_read);
    RUN(names_up_to_the_limit_take_turns);
    RUN(a_tiny_cluster_refuses_what_does_not_fit);
    RUN(bitmaps_and_content_stay);
    RUN(an_image_in_use_is_refused);
    RUN(a_kill_leaves_the_old_or_the_new_name);
    RUN(any_single_fault_leaves_the_old_or_the_new_name);
    scratch_leave(&scratch);
    return check_done();
}
