/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of QEMU 7.2 to query-block, shortened.
 */
#include "check.h"

#include "hv/libvirt/libvirt_internal.h"

#define DEVICE(qdev, image)                                                    \
    "{\"io-status\":\"ok\",\"device\":\"\",\"locked\":false,"                  \
    "\"inserted\":{\"ro\":false,\"node-name\":\"libvirt-3-format\","           \
    "\"backing_file_depth\":1,\"drv\":\"qcow2\",\"image\":" image              \
    "},\"qdev\":\"" qdev "\",\"type\":\"unknown\"}"
#define EMPTY(qdev) "{\"device\":\"\",\"locked\":false,\"qdev\":\"" qdev "\"}"
#define REPLY(devices) "{\"return\":[" devices "],\"id\":\"libvirt-42\"}"
#define VDA "/machine/peripheral/virtio-disk0/virtio-backend"

static struct error err;

static bool
chain_is(const char *reply, const char *alias, const char *expected)
{
    AUTO_HV_DISK_VIEW struct hv_disk_view view = {.qemu_chain = NULL};
    char found[256] = "";

    error_clear(&err);
    if (lv_view_parse(reply, alias, &view, &err) < 0) {
        printf("# %s\n", err.message);
        return false;
    }
    for (size_t i = 0; i < view.qemu_count; i++) {
        size_t used = strlen(found);

        (void)snprintf(found + used, sizeof(found) - used, "%s ",
                       view.qemu_chain[i]);
    }
    if (strcmp(found, expected) != 0)
        printf("# found '%s'\n", found);
    return strcmp(found, expected) == 0;
}

static void
the_open_chain_is_followed_top_first(void)
{
    CHECK(chain_is(
        REPLY(EMPTY("sata0-0-0") "," DEVICE(
            VDA, "{\"filename\":\"/p/top\",\"backing-image\":{\"filename\":"
                 "\"/p/middle\",\"backing-image\":{\"filename\":\"/p/base\","
                 "\"format\":\"raw\"}}}")),
        "virtio-disk0", "/p/top /p/middle /p/base "));
}

static void
devices_are_told_apart_by_their_whole_alias(void)
{
    /* clang-format off */
    static const char reply[] = REPLY(
        DEVICE("/machine/peripheral/virtio-disk10/virtio-backend",
               "{\"filename\":\"/p/ten\"}") ","
        DEVICE(VDA, "{\"filename\":\"/p/zero\"}") ","
        DEVICE("scsi0-0-0-1", "{\"filename\":\"/p/scsi\"}"));
    /* clang-format on */

    CHECK(chain_is(reply, "virtio-disk0", "/p/zero "));
    CHECK(chain_is(reply, "virtio-disk10", "/p/ten "));
    CHECK(chain_is(reply, "scsi0-0-0-1", "/p/scsi "));
    CHECK(!chain_is(reply, "virtio-disk1", ""));
    CHECK(err.code == ERROR_IO);
}

static void
names_with_options_lead_to_their_file(void)
{
    CHECK(chain_is(
        REPLY(DEVICE(
            VDA,
            "{\"filename\":\"json:{\\\"driver\\\":\\\"qcow2\\\",\\\"file\\\":"
            "{\\\"driver\\\":\\\"raw\\\",\\\"offset\\\":0,\\\"file\\\":"
            "{\\\"driver\\\":\\\"file\\\",\\\"filename\\\":\\\"/p/top\\\"}}}\""
            ",\"backing-image\":{\"filename\":\"json:{\\\"driver\\\":"
            "\\\"qcow2\\\",\\\"file\\\":{\\\"filename\\\":\\\"/p/base\\\"},"
            "\\\"backing\\\":{\\\"file\\\":{\\\"filename\\\":\\\"/no\\\"}}}\""
            "}}")),
        "virtio-disk0", "/p/top /p/base "));
}

static void
a_filter_counts_with_the_file_below_it(void)
{
    CHECK(
        chain_is(REPLY(DEVICE(VDA, "{\"filename\":\"/p/top\",\"backing-image\":"
                                   "{\"filename\":\"/p/top\",\"backing-image\":"
                                   "{\"filename\":\"/p/base\"}}}")),
                 "virtio-disk0", "/p/top /p/base "));
}

static void
what_is_not_a_file_is_refused(void)
{
    CHECK(!chain_is(REPLY(DEVICE(VDA, "{\"filename\":\"nbd://h/x\"}")),
                    "virtio-disk0", ""));
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(!chain_is(REPLY(DEVICE(VDA, "{\"filename\":\"json:{}\"}")),
                    "virtio-disk0", ""));
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(!chain_is(REPLY(DEVICE(VDA, "{}")), "virtio-disk0", ""));
    CHECK(err.code == ERROR_UNSUPPORTED);
}

static void
answers_that_are_none_are_errors(void)
{
    CHECK(!chain_is("{\"id\":\"libvirt-42\",\"error\":{\"class\":"
                    "\"GenericError\",\"desc\":\"no\"}}",
                    "virtio-disk0", ""));
    CHECK(!chain_is("", "virtio-disk0", ""));
    CHECK(!chain_is("[]", "virtio-disk0", ""));
    CHECK(!chain_is("{\"return\":[1,{\"qdev\":2}]}", "virtio-disk0", ""));
    CHECK(err.code == ERROR_IO);
}

int
main(void)
{
    RUN(the_open_chain_is_followed_top_first);
    RUN(devices_are_told_apart_by_their_whole_alias);
    RUN(names_with_options_lead_to_their_file);
    RUN(a_filter_counts_with_the_file_below_it);
    RUN(what_is_not_a_file_is_refused);
    RUN(answers_that_are_none_are_errors);
    return check_done();
}
