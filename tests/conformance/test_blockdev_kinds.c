/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All kinds of block devices, on the same disks: every flavour of qcow2 that
 * QEMU writes, as a chain of three, as the raw file that qemu-img makes of
 * it, and as an NBD export; through the page cache and past it.
 */
#include "base/fault.h"
#include "density.h"
#include "device.h"
#include "flavour.h"

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>

static struct scratch scratch;
static const struct flavour *flavour;

/* -- kinds --------------------------------------------------------------- */

/* A qemu-nbd in the background. */
struct server {
    int pid_fd; /* owned; -1 for none */
    char *uri;  /* owned */
};

static struct server server = {.pid_fd = -1};

/* It is listening when the program that is started here has ended. */
static bool
server_start(const char *name, const char *image)
{
    AUTO_FREE char *socket = scratch_file(&scratch, "nbd.sock");
    AUTO_FREE char *pid_text = NULL;
    struct error err = ERROR_INIT;
    uint64_t pid;

    server.uri = xasprintf("nbd+unix:///?socket=%s", socket);
    if (!oracle("qemu-nbd", "--fork", "--pid-file", "nbd.pid", "-r", "-t", "-e",
                "8", "-k", socket, "-x", name, "--image-opts", image) ||
        fd_read_file("nbd.pid", 64, &pid_text, NULL, &err) < 0)
        return false;
    pid_text[strcspn(pid_text, "\n")] = '\0';
    if (parse_u64(pid_text, &pid, &err) < 0)
        return false;
    server.pid_fd = pidfd_open((pid_t)pid, 0);
    return server.pid_fd >= 0;
}

static void
server_stop(void)
{
    struct pollfd ended = {.fd = server.pid_fd, .events = POLLIN};

    if (server.pid_fd >= 0) {
        (void)pidfd_send_signal(server.pid_fd, SIGTERM, NULL, 0);
        (void)poll(&ended, 1, 60000);
        (void)close(server.pid_fd);
    }
    free(server.uri);
    server = (struct server){.pid_fd = -1};
    (void)unlink("nbd.sock");
    (void)unlink("nbd.pid");
}

static struct blockdev *
open_chain(unsigned flags, struct error *err)
{
    static const char *const names[] = {"top", "middle", "base"};
    struct image_ref refs[3];
    char *paths[3];
    struct blockdev *device;

    for (size_t i = 0; i < 3; i++) {
        paths[i] = scratch_file(&scratch, names[i]);
        refs[i] = (struct image_ref){
            .path = paths[i],
            .format = i == 2 && flavour->raw_base ? IMAGE_RAW : IMAGE_QCOW2};
    }
    device = blockdev_open_chain(refs, 3, flags, err);
    for (size_t i = 0; i < 3; i++)
        free(paths[i]);
    return device;
}

static struct blockdev *
open_raw(unsigned flags, struct error *err)
{
    return blockdev_open_raw("expected.raw", flags, err);
}

static struct blockdev *
connect_to(const char *image, struct error *err)
{
    if (!server_start("a disk/ä", image)) {
        (void)error_set(err, ERROR_INTERNAL, "qemu-nbd does not start");
        return NULL;
    }
    return blockdev_open_nbd(server.uri, "a disk/ä", err);
}

static struct blockdev *
open_nbd(unsigned flags, struct error *err)
{
    (void)flags;
    return connect_to("driver=qcow2,file.driver=file,file.filename=top", err);
}

/* A server that wants whole sectors. */
static struct blockdev *
open_nbd_sectors(unsigned flags, struct error *err)
{
    (void)flags;
    return connect_to("driver=blkdebug,align=512,image.driver=file,"
                      "image.filename=expected.raw",
                      err);
}

static const struct kind {
    const char *name;
    struct blockdev *(*open)(unsigned flags, struct error *err);
    unsigned flags;
    size_t every; /* of so many flavours, one */
} kinds[] = {
    {"chain", open_chain, 0, 1},
    {"chain, direct", open_chain, BLOCKDEV_DIRECT, 1},
    {"raw", open_raw, 0, 6},
    {"raw, direct", open_raw, BLOCKDEV_DIRECT, 6},
    {"nbd", open_nbd, 0, 6},
    {"nbd, sectors", open_nbd_sectors, 0, 6},
};

/* -- cases --------------------------------------------------------------- */

static void
check_kind(const struct kind *kind, struct sample *sample)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device = kind->open(kind->flags, &err);
    size_t size = 0;
    AUTO_FREE char *bytes = device_load("expected.raw", &size);
    uint64_t before;

    if (device == NULL)
        printf("# %s\n", err.message);
    REQUIRE(device != NULL);
    device_check(device, sample);
    device_check_threads(device, sample, bytes, size);
    before = blockdev_bytes_read(device);
    CHECK(device_is_alike(device, bytes, size, (size_t)1 << 20));
    CHECK(blockdev_bytes_read(device) >= before);
    CHECK(blockdev_name(device)[0] != '\0');
}

static void
every_kind_reads_as_qemu_does(void)
{
    struct sample sample = sample_start("flavours");
    size_t start = sample_below(&sample, ARRAY_SIZE(flavours));
    bool all = density_is_all();
    size_t used = 0;

    for (size_t n = 0; n < ARRAY_SIZE(flavours); n++) {
        size_t i = (start + n) % ARRAY_SIZE(flavours);

        /* About five of them, unless everything is asked for. */
        if (!all && n > 0 && sample_below(&sample, ARRAY_SIZE(flavours)) > 4)
            continue;
        flavour = &flavours[i];
        REQUIRE(flavour_make(flavour, &sample));
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
            int failures = check_failures;

            if (used % kinds[k].every != 0)
                continue;
            check_kind(&kinds[k], &sample);
            if (check_failures > failures)
                printf("# flavour '%s', kind '%s'\n", flavour->name,
                       kinds[k].name);
            server_stop();
        }
        used++;
        flavour_remove();
    }
}

static void
a_lost_server_is_an_error(void)
{
    struct sample sample = sample_start("lost");
    struct error err = ERROR_INIT;
    struct block_range range;
    struct blockdev *device;
    char byte;

    flavour = &flavours[0];
    REQUIRE(flavour_make(flavour, &sample));
    device = open_nbd(0, &err);
    REQUIRE(device != NULL);
    CHECK(blockdev_open_nbd(server.uri, "another", &err) == NULL);
    CHECK(err.code == ERROR_UNAVAILABLE);
    fault_arm("nbd.request", 1, FAULT_FAIL);
    CHECK(blockdev_read(device, &byte, 1, 0, &err) < 0);
    fault_disarm();
    CHECK_OK(blockdev_read(device, &byte, 1, 0, &err), &err);
    server_stop();
    CHECK(blockdev_read(device, &byte, 1, 0, &err) < 0);
    CHECK(err.code == ERROR_UNAVAILABLE || err.code == ERROR_IO);
    CHECK(blockdev_read(device, &byte, 1, 0, &err) < 0);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(blockdev_map(device, 0, &range, &err) < 0);
    blockdev_free(device);
    flavour_remove();
}

static void
a_server_that_is_not_there_is_unavailable(void)
{
    AUTO_FREE char *uri =
        xasprintf("nbd+unix:///?socket=%s/none", scratch.path);
    struct error err = ERROR_INIT;

    CHECK(blockdev_open_nbd(uri, NULL, &err) == NULL);
    CHECK(err.code == ERROR_UNAVAILABLE);
    CHECK(blockdev_open_nbd("nonsense", "x", &err) == NULL);
    CHECK(err.code == ERROR_UNAVAILABLE);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(every_kind_reads_as_qemu_does);
    RUN(a_lost_server_is_an_error);
    RUN(a_server_that_is_not_there_is_unavailable);
    scratch_leave(&scratch);
    return check_done();
}
