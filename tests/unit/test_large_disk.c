/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cost of an incremental grows with what changed, not with the disk, with
 * digests on; counted, not timed.  Each measurement is a process of its own,
 * so that its peak memory is its own.
 */
#include "check.h"
#include "oracle.h"
#include "sample.h"

#include "base/fd.h"
#include "base/memory.h"
#include "image/copy.h"
#include "image/qcow2_writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1 /* its own memory would be counted */
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define PLACES 16u

#define FULL_UUID "00000000-0000-4000-8000-000000000001"
#define INCREMENT_UUID "00000000-0000-4000-8000-000000000002"

static struct scratch scratch;

/* What one backup cost; handed from child to parent. */
struct cost {
    uint64_t read;     /* bytes, by all read calls */
    uint64_t written;  /* bytes, by all write calls */
    uint64_t stored;   /* of image and index */
    uint64_t index;    /* of the index alone */
    uint64_t resident; /* peak, bytes; of the whole process */
};

static void
read_io(uint64_t *ret_read, uint64_t *ret_written)
{
    FILE *file = fopen("/proc/self/io", "re");
    char line[128];

    *ret_read = *ret_written = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "rchar: %" SCNu64, ret_read);
        (void)sscanf(line, "wchar: %" SCNu64, ret_written);
    }
    if (file != NULL)
        (void)fclose(file);
}

static uint64_t
size_of(const char *name)
{
    struct stat about;

    return stat(name, &about) == 0 ? (uint64_t)about.st_size : 0;
}

/* Write `length` bytes at PLACES places that are spread over the disk. */
static bool
change(uint64_t disk, size_t length, struct extents *ret_changed)
{
    struct sample sample = {disk};
    AUTO_FREE uint8_t *bytes = xmalloc(length);
    AUTO_CLOSE int fd = open("disk", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct error err = ERROR_INIT;

    if (fd < 0 || ftruncate(fd, (off_t)disk) < 0)
        return false;
    for (uint64_t i = 0; i < PLACES; i++) {
        uint64_t offset = disk / PLACES * i;

        sample_fill_noise(&sample, bytes, length);
        if (fd_pwrite(fd, bytes, length, offset, "disk", &err) < 0)
            return false;
        extents_add(ret_changed, offset, length);
    }
    return true;
}

static int
back_up(const char *name, const char *uuid, const struct extents *only,
        const char *parent_index, struct error *err)
{
    AUTO_FREE char *path = scratch_file(&scratch, "disk");
    AUTO_FREE char *index = xasprintf("%s.idx", uuid);
    AUTO_BLOCKDEV struct blockdev *source = blockdev_open_raw(path, 0, err);
    AUTO_DIGEST_INDEX struct digest_index *parent =
        parent_index != NULL ? digest_index_open(parent_index, err) : NULL;
    struct qcow2_writer_options how = {.compress = true,
                                       .compression = QCOW2_ZSTD,
                                       .backing_name =
                                           only != NULL ? "full" : NULL,
                                       .backing_format = IMAGE_QCOW2};
    struct copy_options copying = {.threads = 2};
    AUTO_QCOW2_WRITER struct qcow2_writer *writer = NULL;
    AUTO_DIGEST_BUILDER struct digest_builder *builder = NULL;
    char root[DIGEST_ROOT_TEXT];

    if (source == NULL || (parent_index != NULL && parent == NULL))
        return -1;
    how.size = blockdev_size(source);
    writer = qcow2_writer_new(name, &how, err);
    builder =
        digest_builder_new(index, uuid, how.size, DIGEST_XXH3_128, parent, err);
    if (writer == NULL || builder == NULL ||
        copy_to_qcow2(source, only, writer, builder, &copying, err) < 0 ||
        qcow2_writer_finish(writer, NULL, err) < 0)
        return -1;
    return digest_builder_finish(builder, root, err);
}

/* In the child: a full of the disk, a change, and what an incremental costs. */
static int
measure_increment(uint64_t disk, struct cost *ret_cost)
{
    AUTO_EXTENTS struct extents first = EXTENTS_INIT;
    AUTO_EXTENTS struct extents changed = EXTENTS_INIT;
    struct error err = ERROR_INIT;
    struct rusage usage;
    uint64_t read;
    uint64_t written;

    if (!change(disk, MIB, &first) ||
        back_up("full", FULL_UUID, NULL, NULL, &err) < 0 ||
        !change(disk, MIB / 4, &changed)) {
        printf("# %s\n", err.message);
        return -1;
    }
    read_io(&read, &written);
    if (back_up("increment", INCREMENT_UUID, &changed, FULL_UUID ".idx", &err) <
        0) {
        printf("# %s\n", err.message);
        return -1;
    }
    read_io(&ret_cost->read, &ret_cost->written);
    ret_cost->read -= read;
    ret_cost->written -= written;
    ret_cost->index = size_of(INCREMENT_UUID ".idx");
    ret_cost->stored = size_of("increment") + ret_cost->index;
    if (getrusage(RUSAGE_SELF, &usage) < 0)
        return -1;
    ret_cost->resident = (uint64_t)usage.ru_maxrss * 1024;
    return 0;
}

static bool
measure(uint64_t disk, struct cost *ret_cost)
{
    int ends[2];
    int status = -1;
    pid_t child;
    bool ok;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        struct cost cost = {.read = 0};
        int result = measure_increment(disk, &cost);

        (void)fflush(stdout);
        if (write(ends[1], &cost, sizeof(cost)) != (ssize_t)sizeof(cost))
            result = -1;
        _exit(result == 0 ? 0 : 1);
    }
    (void)close(ends[1]);
    ok = read(ends[0], ret_cost, sizeof(*ret_cost)) ==
         (ssize_t)sizeof(*ret_cost);
    (void)close(ends[0]);
    ok = waitpid(child, &status, 0) == child && status == 0 && ok;
    printf("# %" PRIu64 " GiB: read %" PRIu64 " written %" PRIu64
           " stored %" PRIu64 " index %" PRIu64 " resident %" PRIu64 "\n",
           disk / GIB, ret_cost->read, ret_cost->written, ret_cost->stored,
           ret_cost->index, ret_cost->resident);
    (void)unlink("disk");
    (void)unlink("full");
    (void)unlink("increment");
    (void)unlink(FULL_UUID ".idx");
    (void)unlink(INCREMENT_UUID ".idx");
    return ok;
}

static void
an_increment_costs_what_changed_whatever_the_disks_size(void)
{
    struct cost small;
    struct cost large;

    REQUIRE(measure(10 * GIB, &small));
    REQUIRE(measure(1024 * GIB, &large));
    /* Only the level-1 table, the map and the path to each leaf may grow. */
    CHECK(large.read <= small.read + small.read / 4 + MIB / 4);
    CHECK(large.written <= small.written + small.written / 4 + 2 * MIB);
    CHECK(large.stored <= small.stored + 2 * MIB);
    /* Nodes: the paths to the changed leaves alone, which share less of
     * their way on a large disk. */
    CHECK(large.index <= 2 * small.index + (MIB / 16));
#if !IS_SANITIZED
    CHECK(small.resident <= 64 * MIB);
    CHECK(large.resident <= 64 * MIB);
#endif
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(an_increment_costs_what_changed_whatever_the_disks_size);
    scratch_leave(&scratch);
    return check_done();
}
