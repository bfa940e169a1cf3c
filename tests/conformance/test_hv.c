/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cases on the fake.
 */
#include "hv_cases.h"

#include "oracle.h"

#include "hv/fake/hv_fake.h"

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

int
main(void)
{
    int status;

    scratch_enter(&scratch);
    status = run_on_the_fake();
    scratch_leave(&scratch);
    return status;
}
