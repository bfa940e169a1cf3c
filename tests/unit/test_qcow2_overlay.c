/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "oracle.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "image/qcow2.h"

#include <sys/stat.h>

static struct scratch scratch;

static bool
is_sound(const char *name)
{
    AUTO_FREE char *said =
        oracle_output("qemu-img", "check", "-f", "qcow2", name);

    return said != NULL && strstr(said, "No errors were found") != NULL;
}

static bool
info_says(const char *name, const char *text)
{
    AUTO_FREE char *said =
        oracle_output("qemu-img", "info", "-U", "-f", "qcow2", name);

    return said != NULL && strstr(said, text) != NULL;
}

static void
an_empty_layer_is_sound_at_any_size(void)
{
    static const uint64_t sizes[] = {0,
                                     512,
                                     65536,
                                     (uint64_t)512 << 20,
                                     ((uint64_t)512 << 20) + 512,
                                     (uint64_t)5 << 40,
                                     QCOW2_SIZE_MAX};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct error err = ERROR_INIT;
        char text[64];

        (void)snprintf(text, sizeof(text), "(%llu bytes)",
                       (unsigned long long)sizes[i]);
        CHECK_OK(qcow2_create_overlay("layer", sizes[i], NULL, IMAGE_RAW, NULL,
                                      &err),
                 &err);
        CHECK(is_sound("layer") && info_says("layer", text));
        CHECK(unlink("layer") == 0);
    }
}

static void
a_layer_reads_as_its_backing_file_until_written(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *base = scratch_file(&scratch, "base");

    CHECK(oracle("qemu-img", "create", "-q", "-f", "raw", "base", "3M"));
    CHECK(oracle("qemu-io", "-f", "raw", "-c", "write -P 7 1M 1M", "base"));
    CHECK_OK(
        qcow2_create_overlay("layer", 3 << 20, base, IMAGE_RAW, NULL, &err),
        &err);
    CHECK_OK(qcow2_create_overlay("upper", 4 << 20, "layer", IMAGE_QCOW2, NULL,
                                  &err),
             &err);
    CHECK(info_says("layer", "backing file format: raw"));
    CHECK(info_says("upper", "backing file format: qcow2"));
    CHECK(info_says("upper", "backing file: layer"));
    CHECK(oracle("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "base",
                 "upper"));
    CHECK(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 9 1500k 64k", "-c",
                 "read -P 7 1M 100k", "-c", "read -P 9 1500k 64k", "-c",
                 "write -P 3 3M 1M", "-c", "read -P 0 2M 1M", "upper"));
    CHECK(is_sound("layer") && is_sound("upper"));
    CHECK(unlink("upper") == 0 && unlink("layer") == 0 && unlink("base") == 0);
}

static void
a_long_backing_name_is_kept_and_a_longer_one_refused(void)
{
    struct error err = ERROR_INIT;
    char name[QCOW2_BACKING_NAME_MAX + 2];

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    CHECK(qcow2_create_overlay("layer", 1 << 20, name, IMAGE_RAW, NULL, &err) ==
          -1);
    CHECK(err.code == ERROR_INVALID && !fd_exists("layer"));
    name[sizeof(name) - 2] = '\0';
    error_clear(&err);
    CHECK_OK(
        qcow2_create_overlay("layer", 1 << 20, name, IMAGE_RAW, NULL, &err),
        &err);
    CHECK(info_says("layer", name));
    CHECK(unlink("layer") == 0);
}

static void
an_existing_file_is_left_alone(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *text = NULL;

    CHECK_OK(fd_replace_file("layer", "kept", 4, 0600, &err), &err);
    CHECK(qcow2_create_overlay("layer", 512, NULL, IMAGE_RAW, NULL, &err) ==
          -1);
    CHECK(err.code == ERROR_CONFLICT);
    CHECK_OK(fd_read_file("layer", 100, &text, NULL, &err), &err);
    CHECK_TEXT(text, "kept");
    CHECK(unlink("layer") == 0);
}

static void
owner_and_mode_are_those_of_the_other_file(void)
{
    struct error err = ERROR_INIT;
    struct stat about;

    CHECK_OK(fd_replace_file("like", "", 0, 0600, &err), &err);
    CHECK(chmod("like", 0660) == 0);
    if (geteuid() == 0)
        CHECK(chown("like", 12345, 23456) == 0);
    CHECK_OK(qcow2_create_overlay("layer", 512, NULL, IMAGE_RAW, "like", &err),
             &err);
    CHECK(stat("layer", &about) == 0 && (about.st_mode & 07777) == 0660);
    if (geteuid() == 0)
        CHECK(about.st_uid == 12345 && about.st_gid == 23456);
    CHECK(unlink("layer") == 0);
    CHECK_OK(qcow2_create_overlay("layer", 512, NULL, IMAGE_RAW, NULL, &err),
             &err);
    CHECK(stat("layer", &about) == 0 && (about.st_mode & 07777) == 0600);
    CHECK(unlink("layer") == 0);
    CHECK(qcow2_create_overlay("layer", 512, NULL, IMAGE_RAW, "none", &err) ==
          -1);
    CHECK(err.code == ERROR_NOT_FOUND && !fd_exists("layer"));
}

static void
any_single_fault_leaves_no_file(void)
{
    struct error err = ERROR_INIT;

    CHECK_OK(fd_replace_file("like", "", 0, 0600, &err), &err);
    for (uint64_t nth = 1;; nth++) {
        int result;

        fault_arm("*", nth, FAULT_FAIL);
        result = qcow2_create_overlay("layer", 1 << 20, "base", IMAGE_QCOW2,
                                      "like", &err);
        fault_disarm();
        CHECK(fd_exists("layer") == !fault_fired());
        CHECK(result == (fault_fired() ? -1 : 0));
        if (!fault_fired()) {
            CHECK(nth > 6);
            break;
        }
    }
    CHECK(unlink("layer") == 0);
}

static void
making_one_takes_no_time_to_speak_of(void)
{
    struct error err = ERROR_INIT;
    int64_t best = INT64_MAX;

    for (int i = 0; i < 10; i++) {
        int64_t start = clock_monotonic_us();

        CHECK_OK(qcow2_create_overlay("layer", (uint64_t)1 << 40, "base",
                                      IMAGE_QCOW2, NULL, &err),
                 &err);
        best = MIN(best, clock_monotonic_us() - start);
        CHECK(unlink("layer") == 0);
    }
    printf("# best of 10: %lld us\n", (long long)best);
    CHECK(best < 50000);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(an_empty_layer_is_sound_at_any_size);
    RUN(a_layer_reads_as_its_backing_file_until_written);
    RUN(a_long_backing_name_is_kept_and_a_longer_one_refused);
    RUN(an_existing_file_is_left_alone);
    RUN(owner_and_mode_are_those_of_the_other_file);
    RUN(any_single_fault_leaves_no_file);
    RUN(making_one_takes_no_time_to_speak_of);
    scratch_leave(&scratch);
    return check_done();
}
