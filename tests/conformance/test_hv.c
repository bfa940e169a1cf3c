/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cases on the fake, or, when the environment names one, on a machine of
 * a libvirt that may be played with (tests/live/hv-conformance.test):
 *
 *     VARVE_TEST_LIBVIRT_URI   where it is
 *     VARVE_TEST_LIBVIRT_UUID  the machine; two disks, an agent
 *     VARVE_TEST_LIBVIRT_DIR   a folder for overlays
 */
#include "hv_cases.h"

#include "oracle.h"

#include "base/clock.h"
#include "hv/fake/hv_fake.h"
#include "hv/libvirt/hv_libvirt.h"

#include <poll.h>

#define AGENT_MS 60000

static struct scratch scratch;

static int
run_on_the_fake(void)
{
    static const char uuid[] = "11111111-2222-4333-8444-555555555555";
    AUTO_FREE char *first = scratch_file(&scratch, "a.qcow2");
    AUTO_FREE char *second = scratch_file(&scratch, "b.qcow2");
    const struct hv_fake_disk disks[] = {{.target = "vda", .path = first},
                                         {.target = "vdb", .path = second}};
    struct error err = ERROR_INIT;
    AUTO_HV struct hv *hv = hv_fake_open("machines", &err);
    struct hv_bed bed = {
        .hv = hv, .uuid = uuid, .directory = scratch.path, .has_agent = true};

    if (hv == NULL ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M") ||
        !oracle("qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", "4M") ||
        hv_fake_add_machine(hv, uuid, "web1", disks, 2, &err) < 0) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    return hv_cases_run(&bed);
}

/* A guest that boots cannot tell that its agent is up. */
static bool
wait_for_agent(struct hv_bed *bed)
{
    int64_t deadline = clock_monotonic_ms() + AGENT_MS;
    struct error err = ERROR_INIT;

    while (hv_is_frozen(bed->hv, bed->uuid, &err) != 0) {
        if (clock_monotonic_ms() >= deadline) {
            printf("# no agent: %s\n", err.message);
            return false;
        }
        (void)poll(NULL, 0, 100);
    }
    return true;
}

static int
run_on_libvirt(const char *uri)
{
    struct error err = ERROR_INIT;
    AUTO_HV struct hv *hv = hv_libvirt_open(uri, &err);
    struct hv_bed bed = {.hv = hv,
                         .uuid = getenv("VARVE_TEST_LIBVIRT_UUID"),
                         .directory = getenv("VARVE_TEST_LIBVIRT_DIR"),
                         .has_agent = true,
                         .wait_for_agent = wait_for_agent};

    if (hv == NULL || bed.uuid == NULL || bed.directory == NULL) {
        printf("Bail out! %s\n", err.message);
        return EXIT_FAILURE;
    }
    return hv_cases_run(&bed);
}

int
main(void)
{
    const char *uri = getenv("VARVE_TEST_LIBVIRT_URI");
    int status;

    if (uri != NULL)
        return run_on_libvirt(uri);
    scratch_enter(&scratch);
    status = run_on_the_fake();
    scratch_leave(&scratch);
    return status;
}
