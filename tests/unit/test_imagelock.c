/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"

#include "image/imagelock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

static struct scratch scratch;

static int
open_image(const char *name)
{
    int fd = open(name, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        abort();
    return fd;
}

static void
a_writer_of_qemu_is_seen_and_refuses_us(void)
{
    const char *const argv[] = {"qemu-io", "-f", "qcow2", "top.qcow2", NULL};
    struct error err = ERROR_INIT;
    struct holder holder;
    AUTO_CLOSE int top = open_image("top.qcow2");
    AUTO_CLOSE int base = open_image("base.qcow2");

    CHECK(imagelock_probe("top.qcow2", IMAGELOCK_WRITE, &err) == 0);
    REQUIRE(holder_start(&holder, argv));
    CHECK(imagelock_probe("top.qcow2", IMAGELOCK_READ, &err) == 1);
    CHECK(imagelock_probe("top.qcow2", IMAGELOCK_WRITE, &err) == 1);
    CHECK(imagelock_take(top, IMAGELOCK_READ, "top", &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK(imagelock_take(top, IMAGELOCK_WRITE, "top", &err) == -1);
    CHECK(err.code == ERROR_BUSY);

    /* Its backing file is only read: we may read it too, and not write. */
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_READ, &err) == 0);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_WRITE, &err) == 1);
    CHECK_OK(imagelock_take(base, IMAGELOCK_READ, "base", &err), &err);
    CHECK(imagelock_take(base, IMAGELOCK_WRITE, "base", &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    holder_stop(&holder);

    CHECK(imagelock_probe("top.qcow2", IMAGELOCK_WRITE, &err) == 0);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_WRITE, &err) == 0);
    CHECK_OK(imagelock_take(top, IMAGELOCK_WRITE, "top", &err), &err);
}

static void
a_reader_of_qemu_refuses_only_our_writing(void)
{
    const char *const argv[] = {"qemu-io", "-r",        "-f",
                                "qcow2",   "top.qcow2", NULL};
    struct error err = ERROR_INIT;
    struct holder holder;
    AUTO_CLOSE int top = open_image("top.qcow2");

    REQUIRE(holder_start(&holder, argv));
    CHECK(imagelock_probe("top.qcow2", IMAGELOCK_READ, &err) == 0);
    CHECK(imagelock_take(top, IMAGELOCK_WRITE, "top", &err) == -1);
    CHECK(err.code == ERROR_BUSY);
    CHECK_OK(imagelock_take(top, IMAGELOCK_READ, "top", &err), &err);
    holder_stop(&holder);
}

static void
our_writing_lock_keeps_qemu_out(void)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int base = open_image("base.qcow2");

    CHECK_OK(imagelock_take(base, IMAGELOCK_WRITE, "base", &err), &err);
    CHECK(!oracle_quiet("qemu-img", "commit", "-q", "-d", "top.qcow2"));
    CHECK(!oracle_quiet("qemu-io", "-f", "qcow2", "-c", "read 0 512",
                        "base.qcow2"));
    CHECK(!oracle_quiet("qemu-io", "-f", "qcow2", "-c", "write 0 512",
                        "top.qcow2"));
    CHECK(!oracle_quiet("qemu-img", "check", "-q", "base.qcow2"));
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_READ, &err) == 1);
    imagelock_drop(base);
    CHECK(oracle("qemu-img", "commit", "-q", "-d", "top.qcow2"));
}

static void
our_reading_lock_keeps_writers_out_and_lets_readers_in(void)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int base = open_image("base.qcow2");

    CHECK_OK(imagelock_take(base, IMAGELOCK_READ, "base", &err), &err);
    CHECK(oracle("qemu-img", "check", "-q", "base.qcow2"));
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "write 0 512", "top.qcow2"));
    CHECK(!oracle_quiet("qemu-io", "-f", "qcow2", "-c", "write 0 512",
                        "base.qcow2"));
    CHECK(!oracle_quiet("qemu-img", "resize", "-q", "base.qcow2", "2M"));
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_READ, &err) == 0);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_WRITE, &err) == 1);
}

static void
two_of_our_own_descriptors_refuse_each_other(void)
{
    struct error err = ERROR_INIT;
    AUTO_CLOSE int first = open_image("base.qcow2");
    AUTO_CLOSE int second = open_image("base.qcow2");
    int third = open_image("base.qcow2");

    CHECK_OK(imagelock_take(first, IMAGELOCK_WRITE, "base", &err), &err);
    CHECK(imagelock_take(second, IMAGELOCK_WRITE, "base", &err) == -1);
    CHECK(imagelock_take(third, IMAGELOCK_READ, "base", &err) == -1);
    CHECK(close(third) == 0);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_READ, &err) == 1);
    imagelock_drop(first);
    CHECK_OK(imagelock_take(second, IMAGELOCK_READ, "base", &err), &err);
    CHECK_OK(imagelock_take(second, IMAGELOCK_WRITE, "base", &err), &err);
}

static void
a_dead_holder_holds_nothing(void)
{
    struct error err = ERROR_INIT;
    int ready[2];
    char byte = 'x';
    pid_t child;

    REQUIRE(pipe(ready) == 0);
    child = fork();
    if (child == 0) {
        int fd = open_image("base.qcow2");

        if (imagelock_take(fd, IMAGELOCK_WRITE, "base", &err) < 0)
            _exit(1);
        (void)!write(ready[1], &byte, 1);
        for (;;)
            (void)pause();
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_READ, &err) == 1);
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(imagelock_probe("base.qcow2", IMAGELOCK_WRITE, &err) == 0);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void
a_probe_of_nothing_says_so(void)
{
    struct error err = ERROR_INIT;

    CHECK(imagelock_probe("absent", IMAGELOCK_READ, &err) == -1);
    CHECK(err.code == ERROR_NOT_FOUND);
}

int
main(void)
{
    scratch_enter(&scratch);
    if (!oracle("qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2",
                "1M") ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2",
                "-F", "qcow2", "top.qcow2"))
        return EXIT_FAILURE;
    RUN(a_writer_of_qemu_is_seen_and_refuses_us);
    RUN(a_reader_of_qemu_refuses_only_our_writing);
    RUN(our_writing_lock_keeps_qemu_out);
    RUN(our_reading_lock_keeps_writers_out_and_lets_readers_in);
    RUN(two_of_our_own_descriptors_refuse_each_other);
    RUN(a_dead_holder_holds_nothing);
    RUN(a_probe_of_nothing_says_so);
    scratch_leave(&scratch);
    return check_done();
}
