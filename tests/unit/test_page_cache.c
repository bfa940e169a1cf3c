/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moves much data leaves the host's page cache to the guests: after a
 * fold or a merge, the files that were read and written are not in it, but for
 * their tables.
 */
#include "check.h"
#include "oracle.h"
#include "sample.h"

#include "image/commit.h"
#include "image/fold.h"
#include "image/qcow2_writer.h"

#include <sys/mman.h>

#define MIB ((size_t)1 << 20)
#define DISK (8 * MIB)

/* Metadata, and what a file's unaligned end takes. */
#define TABLES_MAX (MIB / 2)

static struct scratch scratch;

/* How many bytes of a file the page cache holds. */
static size_t
cached(const char *path)
{
    long page = sysconf(_SC_PAGESIZE);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    size_t length = fd >= 0 ? (size_t)lseek(fd, 0, SEEK_END) : 0;
    size_t pages = (length + (size_t)page - 1) / (size_t)page;
    AUTO_FREE unsigned char *held = xmalloc(pages + 1);
    void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    size_t count = 0;

    if (map == MAP_FAILED || mincore(map, length, held) < 0)
        abort();
    for (size_t i = 0; i < pages; i++)
        count += held[i] & 1u;
    (void)munmap(map, length);
    (void)close(fd);
    return count * (size_t)page;
}

static void
drop(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    CHECK(fd >= 0 && fsync(fd) == 0 &&
          posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    (void)close(fd);
}

/* A layer with noise in every second MiB, from `first` on; not cached. */
static bool
make_layer(struct sample *sample, const char *name, const char *below,
           bool compress, size_t first)
{
    const struct qcow2_writer_options options = {.size = DISK,
                                                 .backing_name = below,
                                                 .backing_format = IMAGE_QCOW2,
                                                 .compress = compress,
                                                 .compression = QCOW2_ZSTD};
    struct error err = ERROR_INIT;
    AUTO_QCOW2_WRITER struct qcow2_writer *writer =
        qcow2_writer_new(name, &options, &err);
    AUTO_FREE uint8_t *bytes = xmalloc(MIB);

    if (writer == NULL)
        return false;
    for (size_t at = first * MIB; at < DISK; at += 2 * MIB) {
        if (compress)
            sample_fill_text(sample, bytes, MIB);
        else
            sample_fill_noise(sample, bytes, MIB);
        if (qcow2_writer_write(writer, bytes, at, MIB, &err) < 0)
            return false;
    }
    if (qcow2_writer_finish(writer, NULL, &err) < 0)
        return false;
    drop(name);
    return true;
}

/* Files that stay cached whatever is done (tmpfs) tell nothing. */
static bool
can_tell(const char *name)
{
    if (cached(name) == 0)
        return true;
    printf("# this file system cannot tell: %zu bytes stay cached\n",
           cached(name));
    return false;
}

static void
check_fold(bool compress)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE char *lower = scratch_file(&scratch, "lower");
    AUTO_FREE char *upper = scratch_file(&scratch, "upper");
    AUTO_FREE char *result = scratch_file(&scratch, "result");
    const struct image_ref refs[] = {{upper, IMAGE_QCOW2},
                                     {lower, IMAGE_QCOW2}};
    const struct fold_options options = {.direct = true};
    struct fold_counts counts;
    struct error err = ERROR_INIT;

    REQUIRE(make_layer(&sample, "lower", NULL, compress, 0));
    REQUIRE(make_layer(&sample, "upper", "lower", compress, 1));
    if (can_tell(lower)) {
        CHECK_OK(fold_layers(refs, 2, 2, result, &options, &counts, &err),
                 &err);
        CHECK(counts.file_bytes > TABLES_MAX || compress);
        CHECK(cached(lower) < TABLES_MAX && cached(upper) < TABLES_MAX);
        CHECK(cached(result) < TABLES_MAX);
        CHECK(unlink(result) == 0);
    }
    CHECK(unlink(lower) == 0 && unlink(upper) == 0);
}

static void
a_fold_leaves_the_page_cache_alone(void)
{
    check_fold(false);
}

static void
a_fold_of_compressed_files_leaves_it_alone(void)
{
    check_fold(true);
}

static void
check_merge(bool pull)
{
    struct sample sample = sample_start(__func__);
    AUTO_FREE char *base = scratch_file(&scratch, "base");
    AUTO_FREE char *top = scratch_file(&scratch, "top");
    const struct image_ref refs[] = {{top, IMAGE_QCOW2}, {base, IMAGE_QCOW2}};
    enum commit_refusal refusal;
    struct error err = ERROR_INIT;

    REQUIRE(make_layer(&sample, "base", NULL, false, 0));
    REQUIRE(make_layer(&sample, "top", "base", false, 1));
    if (can_tell(base)) {
        CHECK_OK(pull ? commit_pull(refs, 2, NULL, &refusal, &err)
                      : commit_layer(refs, 2, NULL, &refusal, &err),
                 &err);
        CHECK(cached(base) < TABLES_MAX && cached(top) < TABLES_MAX);
    }
    CHECK(unlink(base) == 0 && unlink(top) == 0);
}

static void
a_merge_leaves_the_page_cache_alone(void)
{
    check_merge(false);
}

static void
a_merge_backward_leaves_it_alone(void)
{
    check_merge(true);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(a_fold_leaves_the_page_cache_alone);
    RUN(a_fold_of_compressed_files_leaves_it_alone);
    RUN(a_merge_leaves_the_page_cache_alone);
    RUN(a_merge_backward_leaves_it_alone);
    scratch_leave(&scratch);
    return check_done();
}
