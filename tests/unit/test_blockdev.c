/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/fault.h"
#include "device.h"
#include "flavour.h"
#include "image/qcow2.h"

#include <sys/stat.h>
#include <sys/wait.h>

static struct scratch scratch;

/* -- chains ------------------------------------------------------------- */

struct chain {
    char *paths[3];
    struct image_ref refs[3];
};

static void
chain_init(struct chain *chain, bool raw_base)
{
    static const char *const names[] = {"top", "middle", "base"};

    for (size_t i = 0; i < 3; i++) {
        chain->paths[i] = scratch_file(&scratch, names[i]);
        chain->refs[i] = (struct image_ref){
            .path = chain->paths[i],
            .format = i == 2 && raw_base ? IMAGE_RAW : IMAGE_QCOW2};
    }
}

static void
chain_release(struct chain *chain)
{
    for (size_t i = 0; i < 3; i++)
        free(chain->paths[i]);
}

/* The layer's own ranges, as qemu-img map tells them (depth 0). */
static bool
is_allocated_as_in_map(const char *path, const struct extents *set)
{
    AUTO_FREE char *map =
        oracle_output("qemu-img", "map", "-f", "qcow2", "--output=json", path);
    AUTO_EXTENTS struct extents expected = EXTENTS_INIT;

    if (map == NULL)
        return false;
    for (const char *line = map; line != NULL; line = strchr(line + 1, '{')) {
        unsigned long long start;
        unsigned long long length;
        unsigned depth;

        line = strchr(line, '{');
        if (line == NULL)
            break;
        if (sscanf(line, "{ \"start\": %llu, \"length\": %llu, \"depth\": %u",
                   &start, &length, &depth) != 3)
            return false;
        if (depth == 0)
            extents_add(&expected, start, length);
    }
    return set->count == expected.count &&
           (set->count == 0 || memcmp(set->items, expected.items,
                                      set->count * sizeof(*set->items)) == 0);
}

static void
what_a_layer_decides_is_what_qemu_says(void)
{
    struct sample sample = sample_start("allocated");
    static const size_t chosen[] = {0, 2, 8, 13, 15};

    for (size_t i = 0; i < ARRAY_SIZE(chosen); i++) {
        AUTO_EXTENTS struct extents set = EXTENTS_INIT;
        AUTO_FREE char *path = scratch_file(&scratch, "top");
        struct error err = ERROR_INIT;

        REQUIRE(flavour_make(&flavours[chosen[i]], &sample));
        CHECK_OK(qcow2_allocated(path, &set, &err), &err);
        if (!is_allocated_as_in_map(path, &set)) {
            CHECK(false);
            printf("# flavour '%s'\n", flavours[chosen[i]].name);
        }
        flavour_remove();
    }
}

/* -- a deep chain -------------------------------------------------------- */

#define DEPTH 64

static void
a_deep_chain_reads_right_and_asks_each_table_once(void)
{
    struct sample sample = sample_start("deep");
    struct flavour plain = {.name = "deep", .cluster = 65536};
    struct image_ref refs[DEPTH];
    char *paths[DEPTH];
    struct error err = ERROR_INIT;
    struct blockdev *device;
    uint64_t before;
    AUTO_FREE char *bytes = NULL;
    size_t size = 0;

    for (size_t i = 0; i < DEPTH; i++) {
        AUTO_FREE char *name = xasprintf("layer%zu", i);
        AUTO_FREE char *below = xasprintf("layer%zu", i - 1);
        size_t at = DEPTH - 1 - i;

        if (i == 0)
            REQUIRE(
                oracle("qemu-img", "create", "-q", "-f", "qcow2", name, "6M"));
        else
            CHECK_OK(qcow2_create_overlay(name, (uint64_t)6 << 20, below,
                                          IMAGE_QCOW2, NULL, &err),
                     &err);
        if (i % 8 == 0)
            REQUIRE(flavour_scribble(&plain, &sample, name, "qcow2",
                                     (uint64_t)6 << 20, 0, 6));
        paths[at] = scratch_file(&scratch, name);
        refs[at] = (struct image_ref){.path = paths[at], .format = IMAGE_QCOW2};
    }
    REQUIRE(oracle("qemu-img", "convert", "-t", "unsafe", "-f", "qcow2", "-O",
                   "raw", paths[0], "expected.raw"));
    device = blockdev_open_chain(refs, DEPTH, 0, &err);
    REQUIRE(device != NULL);
    device_check(device, &sample);
    /* All tables are in memory: only data is read from now on. */
    bytes = device_load("expected.raw", &size);
    before = blockdev_bytes_read(device);
    CHECK(device_is_alike(device, bytes, size, (size_t)1 << 20));
    CHECK(blockdev_bytes_read(device) - before <= size);
    blockdev_free(device);
    for (size_t i = 0; i < DEPTH; i++) {
        (void)unlink(paths[i]);
        free(paths[i]);
    }
    (void)unlink("expected.raw");
}

/* -- raw ----------------------------------------------------------------- */

static void
a_raw_file_is_read_with_its_holes(void)
{
    struct sample sample = sample_start("raw");
    AUTO_FREE char *path = scratch_file(&scratch, "expected.raw");
    size_t size = ((size_t)3 << 20) + 777;
    AUTO_FREE uint8_t *bytes = xcalloc(1, size);

    sample_change(&sample, bytes, size, 12);
    sample_store(path, bytes, size);
    for (unsigned flags = 0; flags <= BLOCKDEV_DIRECT; flags++) {
        struct error err = ERROR_INIT;
        AUTO_BLOCKDEV struct blockdev *device =
            blockdev_open_raw(path, flags, &err);
        AUTO_EXTENTS struct extents data = EXTENTS_INIT;

        REQUIRE(device != NULL);
        device_check(device, &sample);
        CHECK_OK(blockdev_data(device, &data, &err), &err);
        CHECK(extents_bytes(&data) < size);
    }
    (void)unlink(path);
}

static void
an_empty_disk_can_be_opened(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *path = scratch_file(&scratch, "empty");
    struct image_ref ref = {.path = path, .format = IMAGE_QCOW2};
    char buffer[16] = "xxxxxxxxxxxxxxx";

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", path, "0"));
    for (unsigned raw = 0; raw < 2; raw++) {
        AUTO_BLOCKDEV struct blockdev *device = NULL;
        AUTO_EXTENTS struct extents data = EXTENTS_INIT;

        if (raw)
            REQUIRE(truncate(path, 0) == 0);
        ref.format = raw ? IMAGE_RAW : IMAGE_QCOW2;
        device = blockdev_open_chain(&ref, 1, 0, &err);
        REQUIRE(device != NULL);
        CHECK(blockdev_size(device) == 0);
        CHECK_OK(blockdev_data(device, &data, &err), &err);
        CHECK(data.count == 0);
        CHECK_OK(blockdev_read(device, buffer, 16, 1 << 20, &err), &err);
        CHECK(device_is_zero(buffer, 16));
    }
    (void)unlink(path);
}

static void
what_is_no_file_is_refused(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *fifo = scratch_file(&scratch, "fifo");
    AUTO_FREE char *none = scratch_file(&scratch, "none");

    CHECK(blockdev_open_raw(none, 0, &err) == NULL);
    CHECK(err.code == ERROR_NOT_FOUND);
    REQUIRE(mkfifo(fifo, 0600) == 0);
    CHECK(blockdev_open_raw(fifo, 0, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(blockdev_open_raw(scratch.path, 0, &err) == NULL);
    CHECK(err.code == ERROR_UNSUPPORTED);
    (void)unlink(fifo);
}

/* -- what the headers say about the chain -------------------------------- */

static bool
refuses(const struct image_ref *refs, size_t count, unsigned flags,
        enum error_code code, const char *reason)
{
    struct error err = ERROR_INIT;
    AUTO_BLOCKDEV struct blockdev *device =
        blockdev_open_chain(refs, count, flags, &err);

    if (device == NULL && err.code == code &&
        strstr(err.message, reason) != NULL)
        return true;
    printf("# %s: %s\n", device == NULL ? error_code_name(err.code) : "opened",
           err.message);
    return false;
}

static void
backing_names_must_lead_to_the_next_layer(void)
{
    struct chain chain;
    struct image_ref refs[3];
    struct error err = ERROR_INIT;
    struct blockdev *device;

    chain_init(&chain, false);
    memcpy(refs, chain.refs, sizeof(refs));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "base", "1M"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base",
                   "-F", "qcow2", "middle"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                   chain.paths[1], "-F", "qcow2", "top"));
    /* An absolute and a relative name, and another name of the same file. */
    REQUIRE(symlink("base", "alias") == 0);
    free(chain.paths[2]);
    chain.paths[2] = scratch_file(&scratch, "alias");
    refs[2].path = chain.paths[2];
    device = blockdev_open_chain(refs, 3, 0, &err);
    CHECK(device != NULL);
    blockdev_free(device);

    CHECK(refuses(refs, 2, 0, ERROR_CORRUPT, "should be the last"));
    CHECK(refuses(refs, 1, 0, ERROR_CORRUPT, "should be the last"));
    refs[1] = refs[2];
    CHECK(refuses(refs, 2, 0, ERROR_CORRUPT, "rests on"));
    refs[1] = (struct image_ref){.path = chain.paths[1], .format = IMAGE_RAW};
    CHECK(refuses(refs, 2, 0, ERROR_CORRUPT, "not 'raw'"));
    CHECK(refuses(refs + 1, 2, 0, ERROR_CORRUPT, "raw and cannot rest on"));
    refs[1] = refs[0];
    CHECK(refuses(refs, 2, 0, ERROR_CORRUPT, "comes back to"));
    refs[0] = (struct image_ref){.path = chain.paths[2], .format = IMAGE_QCOW2};
    CHECK(refuses(refs, 2, 0, ERROR_CORRUPT, "has no backing file"));
    CHECK(refuses(refs, 0, 0, ERROR_UNSUPPORTED, "0 layers"));
    REQUIRE(unlink("middle") == 0);
    CHECK(refuses(chain.refs, 3, 0, ERROR_NOT_FOUND, "middle"));
    (void)unlink("alias");
    chain_release(&chain);
    flavour_remove();
}

static void
names_that_are_no_paths_are_refused(void)
{
    static const char *const names[] = {
        "json:{\"driver\":\"raw\"}", "nbd:localhost:10809", "nbd://localhost/",
        "file:base", "fat:rw:/etc"};
    struct chain chain;

    chain_init(&chain, true);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "raw", "base", "1M"));
    chain.refs[1] = chain.refs[2];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                       names[i], "-F", "raw", "top", "1M"));
        CHECK(refuses(chain.refs, 2, 0, ERROR_CORRUPT, "is not a path"));
    }
    REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                   "gone", "-F", "raw", "top", "1M"));
    CHECK(refuses(chain.refs, 2, 0, ERROR_CORRUPT, "cannot be found"));
    chain_release(&chain);
    flavour_remove();
}

static void
loops_are_refused(void)
{
    struct chain chain;

    chain_init(&chain, false);
    REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "top",
                   "-F", "qcow2", "middle", "1M"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                   "middle", "-F", "qcow2", "top", "1M"));
    chain.refs[2] = chain.refs[0];
    CHECK(refuses(chain.refs, 3, 0, ERROR_CORRUPT, "comes back to"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b",
                   "alias", "-F", "qcow2", "top", "1M"));
    REQUIRE(symlink("top", "alias") == 0);
    chain.refs[1] = chain.refs[0];
    CHECK(refuses(chain.refs, 2, 0, ERROR_CORRUPT, "comes back to"));
    (void)unlink("alias");
    chain_release(&chain);
    flavour_remove();
}

/* Set incompatible feature bits in the header. */
static bool
set_features(const char *path, unsigned char bits)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && pwrite(fd, &bits, 1, 79) == 1;
}

static void
dirty_and_corrupt_bits_count_unless_a_qemu_runs(void)
{
    struct chain chain;
    struct error err = ERROR_INIT;
    struct blockdev *device;

    chain_init(&chain, false);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "base", "1M"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base",
                   "-F", "qcow2", "top"));
    chain.refs[1] = chain.refs[2];
    REQUIRE(set_features("top", 1));
    CHECK(refuses(chain.refs, 2, 0, ERROR_CORRUPT, "not closed cleanly"));
    REQUIRE(set_features("top", 2) && set_features("base", 1));
    CHECK(refuses(chain.refs, 2, 0, ERROR_CORRUPT, "marked corrupt"));
    device = blockdev_open_chain(chain.refs, 2, BLOCKDEV_LIVE, &err);
    CHECK(device != NULL);
    blockdev_free(device);
    REQUIRE(set_features("base", 2));
    CHECK(
        refuses(chain.refs, 2, BLOCKDEV_LIVE, ERROR_CORRUPT, "marked corrupt"));
    chain_release(&chain);
    flavour_remove();
}

static void
a_layer_below_a_running_writer_can_be_read(void)
{
    static const char *const argv[] = {"qemu-io", "-f", "qcow2", "top", NULL};
    static const char command[] = "write -P 7 0 512k\nflush\n";
    struct chain chain;
    struct holder holder;
    struct error err = ERROR_INIT;
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    struct blockdev *device;
    struct qcow2_info info;
    char buffer[512];

    chain_init(&chain, false);
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "lazy_refcounts=on", "base", "1M"));
    REQUIRE(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 3 0 64k", "base"));
    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "lazy_refcounts=on", "-b", "base", "-F", "qcow2", "top"));
    REQUIRE(holder_start(&holder, argv));
    REQUIRE(write(holder.input, command, sizeof(command) - 1) ==
            (ssize_t)sizeof(command) - 1);
    chain.refs[1] = chain.refs[2];
    CHECK_OK(qcow2_read_info(chain.paths[0], &info, &err), &err);
    CHECK_TEXT(info.backing_name, "base");
    device = blockdev_open_chain(chain.refs, 2, BLOCKDEV_LIVE, &err);
    CHECK(device != NULL && blockdev_size(device) == 1 << 20);
    blockdev_free(device);
    device = blockdev_open_chain(chain.refs + 1, 1, BLOCKDEV_LIVE, &err);
    REQUIRE(device != NULL);
    CHECK_OK(blockdev_read(device, buffer, 512, 4096, &err), &err);
    CHECK(buffer[0] == 3 && buffer[511] == 3);
    blockdev_free(device);
    holder_stop(&holder);
    CHECK_OK(qcow2_allocated(chain.paths[0], &set, &err), &err);
    CHECK(set.count == 1 && set.items[0].length == 512 << 10);
    chain_release(&chain);
    flavour_remove();
}

static void
a_failing_disk_is_an_error_and_no_data(void)
{
    struct chain chain;
    struct error err = ERROR_INIT;
    struct blockdev *device;
    AUTO_FREE char *buffer = xmalloc(1 << 20);
    struct sample sample = sample_start("faults");
    unsigned opened = 0;

    REQUIRE(flavour_make(&flavours[0], &sample));
    chain_init(&chain, false);
    for (uint64_t nth = 1;; nth++) {
        int result = -1;

        fault_arm("*", nth, FAULT_FAIL);
        err = (struct error)ERROR_INIT;
        device = blockdev_open_chain(chain.refs, 3, 0, &err);
        if (device != NULL)
            result = blockdev_read(device, buffer, 1 << 20, 0, &err);
        opened += device != NULL;
        blockdev_free(device);
        CHECK(fault_fired() ? result < 0 && err.code == ERROR_IO : result == 0);
        if (!fault_fired())
            break;
    }
    fault_disarm();
    CHECK(opened > 1);
    chain_release(&chain);
    flavour_remove();
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(what_a_layer_decides_is_what_qemu_says);
    RUN(a_deep_chain_reads_right_and_asks_each_table_once);
    RUN(a_raw_file_is_read_with_its_holes);
    RUN(an_empty_disk_can_be_opened);
    RUN(what_is_no_file_is_refused);
    RUN(backing_names_must_lead_to_the_next_layer);
    RUN(names_that_are_no_paths_are_refused);
    RUN(loops_are_refused);
    RUN(dirty_and_corrupt_bits_count_unless_a_qemu_runs);
    RUN(a_layer_below_a_running_writer_can_be_read);
    RUN(a_failing_disk_is_an_error_and_no_data);
    scratch_leave(&scratch);
    return check_done();
}
