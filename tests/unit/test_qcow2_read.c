/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"
#include "image/qcow2.h"
#include "image/qcow2_format.h"

#include <inttypes.h>
#include <zlib.h>
#include <zstd.h>

/*
 * Where QEMU puts things in a new image with 64 KiB clusters of which the
 * first is written.
 */
#define REFTABLE UINT64_C(0x10000)
#define L1 UINT64_C(0x30000)
#define L2 UINT64_C(0x40000)
#define DATA UINT64_C(0x50000)
#define CLUSTER 65536u

static struct scratch scratch;

/* An image in memory, to be patched. */
struct specimen {
    uint8_t *bytes; /* owned */
    size_t size;
};

static void
specimen_load(struct specimen *specimen, const char *name)
{
    specimen->bytes = (uint8_t *)device_load(name, &specimen->size);
}

static void
specimen_store(const struct specimen *specimen, const char *name, size_t size)
{
    int fd;

    /* A new file: ext4 flushes one that is truncated and written again. */
    (void)unlink(name);
    fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, specimen->bytes, size) != (ssize_t)size)
        abort();
    (void)close(fd);
}

/* How far one gets with an image. */
enum stage { AT_INFO, AT_OPEN, AT_READ, NOWHERE };

static enum stage
refused_at(const char *name, struct error *err)
{
    AUTO_FREE char *path = scratch_file(&scratch, name);
    AUTO_FREE char *buffer = xmalloc((size_t)4 * CLUSTER);
    struct image_ref ref = {.path = path, .format = IMAGE_QCOW2};
    AUTO_BLOCKDEV struct blockdev *device = NULL;
    AUTO_EXTENTS struct extents set = EXTENTS_INIT;
    struct qcow2_info info;

    if (qcow2_read_info(path, &info, err) < 0)
        return AT_INFO;
    device = blockdev_open_chain(&ref, 1, 0, err);
    if (device == NULL)
        return AT_OPEN;
    if (blockdev_read(device, buffer, (size_t)4 * CLUSTER, 0, err) < 0)
        return AT_READ;
    return blockdev_data(device, &set, err) < 0 ? AT_READ : NOWHERE;
}

/* -- numbers that cannot be right ---------------------------------------- */

struct patch {
    const char *name;
    uint64_t at;
    uint64_t value;
    unsigned width; /* bytes */
    enum stage stage;
    enum error_code code;
    const char *reason;
};

#define ENTRY(offset) ((offset) | QCOW2_COPIED)

static const struct patch patches[] = {
    {"magic", 0, 0x514649fa, 4, AT_INFO, ERROR_CORRUPT, "not a qcow2"},
    {"version 1", 4, 1, 4, AT_INFO, ERROR_UNSUPPORTED, "version 1"},
    {"version 4", 4, 4, 4, AT_INFO, ERROR_UNSUPPORTED, "version 4"},
    {"small clusters", 20, 8, 4, AT_INFO, ERROR_CORRUPT, "cluster bits"},
    {"large clusters", 20, 22, 4, AT_INFO, ERROR_CORRUPT, "cluster bits"},
    {"shift", 20, UINT32_MAX, 4, AT_INFO, ERROR_CORRUPT, "cluster bits"},
    {"size", 24, QCOW2_SIZE_MAX + 512, 8, AT_INFO, ERROR_CORRUPT, "absurd"},
    {"huge size", 24, UINT64_MAX, 8, AT_INFO, ERROR_CORRUPT, "absurd"},
    {"cipher", 32, 3, 4, AT_INFO, ERROR_CORRUPT, "encryption method"},
    {"aes", 32, 1, 4, AT_OPEN, ERROR_UNSUPPORTED, "is encrypted"},
    {"luks", 32, 2, 4, AT_OPEN, ERROR_UNSUPPORTED, "is encrypted"},
    {"no L1", 36, 0, 4, AT_INFO, ERROR_CORRUPT, "too small for the disk"},
    {"short L1", 36, 1, 4, AT_INFO, ERROR_CORRUPT, "too small for the disk"},
    {"long L1", 36, 0x400001, 4, AT_INFO, ERROR_CORRUPT, "absurdly large"},
    {"odd L1", 40, L1 + 8, 8, AT_INFO, ERROR_CORRUPT, "L1 table's offset"},
    {"L1 at 0", 40, 0, 8, AT_INFO, ERROR_CORRUPT, "L1 table's offset"},
    {"L1 at 2^63", 40, UINT64_C(1) << 63, 8, AT_INFO, ERROR_CORRUPT,
     "L1 table's offset"},
    {"L1 past the end", 40, UINT64_C(1) << 40, 8, AT_OPEN, ERROR_CORRUPT,
     "past the end of the file"},
    {"L1 over refcounts", 40, REFTABLE, 8, AT_OPEN, ERROR_CORRUPT, "overlap"},
    {"odd refcounts", 48, REFTABLE + 512, 8, AT_INFO, ERROR_CORRUPT,
     "refcount table's offset"},
    {"no refcounts", 56, 0, 4, AT_INFO, ERROR_CORRUPT, "refcount table's size"},
    {"many refcounts", 56, 129, 4, AT_INFO, ERROR_CORRUPT,
     "refcount table's size"},
    {"refcounts past the end", 48, UINT64_C(1) << 41, 8, AT_OPEN, ERROR_CORRUPT,
     "past the end of the file"},
    {"snapshots", 60, 65537, 4, AT_INFO, ERROR_CORRUPT, "snapshots"},
    {"snapshot table", 60, 1, 4, AT_INFO, ERROR_CORRUPT, "snapshot table"},
    {"dirty", 79, 1, 1, AT_OPEN, ERROR_CORRUPT, "not closed cleanly"},
    {"corrupt", 79, 2, 1, AT_OPEN, ERROR_CORRUPT, "marked corrupt"},
    {"data file", 79, 4, 1, AT_OPEN, ERROR_UNSUPPORTED, "another file"},
    {"compression bit", 79, 8, 1, AT_INFO, ERROR_CORRUPT, "do not agree"},
    {"bit 5", 79, 32, 1, AT_INFO, ERROR_UNSUPPORTED, "bit 5"},
    {"bit 63", 72, 0x80, 1, AT_INFO, ERROR_UNSUPPORTED, "bit 63"},
    {"refcount width", 96, 7, 4, AT_INFO, ERROR_CORRUPT, "refcount width"},
    {"short header", 100, 96, 4, AT_INFO, ERROR_CORRUPT, "header's length"},
    {"long header", 100, CLUSTER + 8, 4, AT_INFO, ERROR_CORRUPT,
     "header's length"},
    {"zstd without bit", 104, 1, 1, AT_INFO, ERROR_CORRUPT, "do not agree"},
    {"method 7", 104, 7, 1, AT_INFO, ERROR_UNSUPPORTED, "unknown method 7"},
    {"backing past the cluster", 8, CLUSTER + 1, 8, AT_INFO, ERROR_CORRUPT,
     "backing name's offset"},
    {"backing in the header", 8, 8, 8, AT_INFO, ERROR_CORRUPT,
     "backing name's offset"},
    {"long extension", 116, 0xfffffff0, 4, AT_INFO, ERROR_CORRUPT,
     "extension is too long"},
    {"L2 reserved", L1, ENTRY(L2) | 1, 8, AT_OPEN, ERROR_CORRUPT,
     "reserved bits"},
    {"L2 odd", L1, ENTRY(L2 + 512), 8, AT_OPEN, ERROR_CORRUPT, "not aligned"},
    {"L2 past the end", L1, ENTRY(UINT64_C(1) << 40), 8, AT_OPEN, ERROR_CORRUPT,
     "past the end of the file"},
    {"L2 over L1", L1, ENTRY(L1), 8, AT_OPEN, ERROR_CORRUPT,
     "overlaps the L1 table"},
    {"L2 over refcounts", L1, ENTRY(REFTABLE), 8, AT_OPEN, ERROR_CORRUPT,
     "overlaps the refcount table"},
    {"L2 twice", L1 + 8, ENTRY(L2), 8, AT_OPEN, ERROR_CORRUPT,
     "two L1 entries share"},
    {"data odd", L2, ENTRY(DATA + 512), 8, AT_READ, ERROR_CORRUPT,
     "not aligned"},
    {"data past the end", L2, ENTRY(UINT64_C(1) << 40), 8, AT_READ,
     ERROR_CORRUPT, "past the end of the file"},
    {"data over L1", L2, ENTRY(L1), 8, AT_READ, ERROR_CORRUPT,
     "overlaps a table"},
    {"data over refcounts", L2, ENTRY(REFTABLE), 8, AT_READ, ERROR_CORRUPT,
     "overlaps a table"},
    {"data reserved", L2, ENTRY(DATA) | 2, 8, AT_READ, ERROR_CORRUPT,
     "reserved bits"},
    {"data reserved high", L2, ENTRY(DATA) | UINT64_C(1) << 60, 8, AT_READ,
     ERROR_CORRUPT, "reserved bits"},
    {"zero odd", L2 + 8, 513, 8, AT_READ, ERROR_CORRUPT, "not aligned"},
    {"compressed past the end", L2 + 8, QCOW2_L2_COMPRESSED | UINT64_C(1) << 40,
     8, AT_READ, ERROR_CORRUPT, "past the end of the file"},
    {"compressed far past", L2 + 8, QCOW2_L2_COMPRESSED | UINT64_C(1) << 53, 8,
     AT_READ, ERROR_CORRUPT, "past the end of the file"},
    {"compressed in the header", L2 + 8, QCOW2_L2_COMPRESSED | 100, 8, AT_READ,
     ERROR_CORRUPT, "lies in the header"},
    {"compressed nonsense", L2 + 8, QCOW2_L2_COMPRESSED | DATA, 8, AT_READ,
     ERROR_CORRUPT, "does not inflate"},
};

static void
put(uint8_t *at, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        at[i] = (uint8_t)(value >> 8 * (width - 1 - i));
}

static void
try_patch(const struct specimen *specimen, const struct patch *patch)
{
    struct error err = ERROR_INIT;
    uint8_t old[8];
    enum stage stage;

    memcpy(old, specimen->bytes + patch->at, sizeof(old));
    put(specimen->bytes + patch->at, patch->value, patch->width);
    specimen_store(specimen, "hostile", specimen->size);
    memcpy(specimen->bytes + patch->at, old, sizeof(old));
    stage = refused_at("hostile", &err);
    if (stage == patch->stage && err.code == patch->code &&
        strstr(err.message, patch->reason) != NULL &&
        strstr(err.message, "hostile") != NULL)
        return;
    printf("# '%s': stage %d, %s: %s\n", patch->name, (int)stage,
           error_code_name(err.code), err.message);
    CHECK(false);
}

static void
every_hostile_number_is_refused_with_its_reason(void)
{
    struct specimen specimen;
    struct error err = ERROR_INIT;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "good", "1G"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 255 0 64k", "good"));
    specimen_load(&specimen, "good");
    CHECK(refused_at("good", &err) == NOWHERE);
    REQUIRE(qcow2_get64(specimen.bytes + L1) == ENTRY(L2));
    REQUIRE(qcow2_get64(specimen.bytes + L2) == ENTRY(DATA));
    for (size_t i = 0; i < ARRAY_SIZE(patches); i++)
        try_patch(&specimen, &patches[i]);
    free(specimen.bytes);
}

static void
a_file_cut_short_is_refused(void)
{
    struct specimen specimen;
    struct error err = ERROR_INIT;

    specimen_load(&specimen, "good");
    for (size_t size = 0; size < specimen.size; size += 1021) {
        specimen_store(&specimen, "hostile", size);
        err = (struct error)ERROR_INIT;
        CHECK(refused_at("hostile", &err) != NOWHERE);
        CHECK(err.code == ERROR_CORRUPT);
    }
    free(specimen.bytes);
}

static void
an_unknown_feature_is_called_by_its_name(void)
{
    struct specimen specimen;
    struct error err = ERROR_INIT;
    uint8_t *entry;

    specimen_load(&specimen, "good");
    entry = memmem(specimen.bytes, 4096, "dirty bit", 9);
    REQUIRE(entry != NULL);
    entry[-1] = 40;
    specimen.bytes[74] = 1;
    specimen_store(&specimen, "hostile", specimen.size);
    CHECK(refused_at("hostile", &err) == AT_INFO);
    CHECK(err.code == ERROR_UNSUPPORTED);
    CHECK(strstr(err.message, "bit 40 ('dirty bit')") != NULL);
    free(specimen.bytes);
}

static void
version_2_has_no_zero_clusters(void)
{
    static const struct patch patch = {"zero in v2",
                                       L2 + 8,
                                       QCOW2_L2_ZERO,
                                       8,
                                       AT_READ,
                                       ERROR_CORRUPT,
                                       "zero cluster in a version 2"};
    struct specimen specimen;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "compat=0.10", "old", "1G"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 255 0 64k", "old"));
    specimen_load(&specimen, "old");
    REQUIRE(qcow2_get64(specimen.bytes + L1) == ENTRY(L2));
    try_patch(&specimen, &patch);
    free(specimen.bytes);
}

static void
subclusters_that_contradict_are_refused(void)
{
    static const struct patch cases[] = {
        {"both", L2 + 8, UINT64_C(0x0000000180000001), 8, AT_READ,
         ERROR_CORRUPT, "both data and zero"},
        {"no place", L2 + 24, 1, 8, AT_READ, ERROR_CORRUPT, "no place"},
        {"bit 0", L2, ENTRY(DATA) | 1, 8, AT_READ, ERROR_CORRUPT,
         "reserved bits"},
    };
    static const struct patch small = {
        "small", 20, 13, 4, AT_INFO, ERROR_CORRUPT, "smaller than a sector"};
    struct specimen specimen;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "extended_l2=on", "good2", "256M"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -P 255 0 64k", "good2"));
    specimen_load(&specimen, "good2");
    REQUIRE(qcow2_get64(specimen.bytes + L2) == ENTRY(DATA));
    REQUIRE(qcow2_get64(specimen.bytes + L2 + 8) == UINT32_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        try_patch(&specimen, &cases[i]);
    try_patch(&specimen, &small);
    free(specimen.bytes);
}

/* -- compressed clusters -------------------------------------------------- */

static size_t
deflate_zeros(uint8_t *to, size_t capacity, size_t length, bool finish)
{
    z_stream zlib = {.next_out = to, .avail_out = (uInt)capacity};
    uint8_t *zeros = xcalloc(1, length);

    zlib.next_in = zeros;
    zlib.avail_in = (uInt)length;
    if (deflateInit2(&zlib, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    (void)deflate(&zlib, finish ? Z_FINISH : Z_SYNC_FLUSH);
    (void)deflateEnd(&zlib);
    free(zeros);
    return capacity - zlib.avail_out;
}

static size_t
zstd_zeros(uint8_t *to, size_t capacity, size_t length)
{
    uint8_t *zeros = xcalloc(1, length);
    size_t size = ZSTD_compress(to, capacity, zeros, length, 1);

    free(zeros);
    if (ZSTD_isError(size))
        abort();
    return size;
}

#define STREAM_MAX 4096u

/* Put a stream in place of an image's only compressed cluster. */
static bool
reads_stream(const struct specimen *specimen, const uint8_t *stream,
             size_t length)
{
    uint64_t entry = qcow2_get64(specimen->bytes + L2);
    uint64_t host = entry & ((UINT64_C(1) << 54) - 1);
    uint64_t sectors = (length + 511) / 512;
    struct error err = ERROR_INIT;
    enum stage stage;

    if (!(entry & QCOW2_L2_COMPRESSED) || host % 512 != 0 ||
        host + STREAM_MAX > specimen->size || length > STREAM_MAX)
        abort();
    put(specimen->bytes + L2, QCOW2_L2_COMPRESSED | (sectors - 1) << 54 | host,
        8);
    memset(specimen->bytes + host, 0xee, STREAM_MAX);
    memcpy(specimen->bytes + host, stream, length);
    specimen_store(specimen, "hostile", specimen->size);
    stage = refused_at("hostile", &err);
    CHECK(stage == NOWHERE ||
          (stage == AT_READ && err.code == ERROR_CORRUPT &&
           strstr(err.message, "does not inflate to a cluster") != NULL));
    return stage == NOWHERE;
}

static void
a_stream_must_give_exactly_one_cluster(void)
{
    struct specimen specimen;
    uint8_t stream[STREAM_MAX];
    size_t length;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "zlib", "1M"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -c -P 1 0 64k", "zlib"));
    REQUIRE(truncate("zlib", 0x60000) == 0);
    specimen_load(&specimen, "zlib");
    length = deflate_zeros(stream, 512, CLUSTER, true);
    CHECK(reads_stream(&specimen, stream, length));
    CHECK(!reads_stream(&specimen, stream, length - 1));
    length = deflate_zeros(stream, 512, CLUSTER - 1, true);
    CHECK(!reads_stream(&specimen, stream, length));
    length = deflate_zeros(stream, 512, CLUSTER + 1, true);
    CHECK(!reads_stream(&specimen, stream, length));
    memset(stream, 0x55, sizeof(stream));
    CHECK(!reads_stream(&specimen, stream, 512));
    free(specimen.bytes);

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "compression_type=zstd", "zstd", "1M"));
    REQUIRE(
        oracle("qemu-io", "-f", "qcow2", "-c", "write -c -P 1 0 64k", "zstd"));
    REQUIRE(truncate("zstd", 0x60000) == 0);
    specimen_load(&specimen, "zstd");
    length = zstd_zeros(stream, 512, CLUSTER);
    CHECK(reads_stream(&specimen, stream, length));
    length = zstd_zeros(stream, 512, CLUSTER / 2);
    length += zstd_zeros(stream + length, 512 - length, CLUSTER / 2);
    CHECK(reads_stream(&specimen, stream, length));
    length = zstd_zeros(stream, 512, CLUSTER - 1);
    CHECK(!reads_stream(&specimen, stream, length));
    length = zstd_zeros(stream, 512, CLUSTER + 1);
    CHECK(!reads_stream(&specimen, stream, length));
    memset(stream, 0, sizeof(stream));
    CHECK(!reads_stream(&specimen, stream, sizeof(stream)));
    free(specimen.bytes);
}

static void
a_stream_without_its_end_mark_is_read_as_qemu_reads_it(void)
{
    static const uint8_t nothing[] = {0, 0, 0, 0xff, 0xff};
    struct specimen specimen;
    uint8_t stream[STREAM_MAX];
    size_t length;

    specimen_load(&specimen, "zlib");
    length = deflate_zeros(stream, sizeof(stream), CLUSTER, false);
    CHECK(!reads_stream(&specimen, stream, length));
    CHECK(!oracle_quiet("qemu-img", "convert", "-O", "raw", "hostile", "out"));
    /* Empty blocks up to the end of a sector: then nothing is missing. */
    while (length % 512 != 0) {
        memcpy(stream + length, nothing, sizeof(nothing));
        length += sizeof(nothing);
    }
    CHECK(reads_stream(&specimen, stream, length));
    CHECK(oracle("qemu-img", "convert", "-O", "raw", "hostile", "out"));
    free(specimen.bytes);
}

/* -- facts ---------------------------------------------------------------- */

static void
a_header_is_told_as_it_is(void)
{
    struct error err = ERROR_INIT;
    struct qcow2_info info;

    REQUIRE(oracle("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-o",
                   "cluster_size=2M,compression_type=zstd", "-b",
                   "a/relative name", "-F", "raw", "facts", "3G"));
    CHECK_OK(qcow2_read_info("facts", &info, &err), &err);
    CHECK(info.version == 3 && info.cluster_bits == 21);
    CHECK(info.size == UINT64_C(3) << 30);
    CHECK(info.compression == QCOW2_ZSTD && !info.extended_l2);
    CHECK(!info.dirty && !info.corrupt && !info.encrypted && !info.data_file);
    CHECK(info.has_backing && !info.has_bitmaps && info.snapshots == 0);
    CHECK_TEXT(info.backing_name, "a/relative name");
    CHECK_TEXT(info.backing_format, "raw");

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "compat=0.10,cluster_size=512", "facts", "1M"));
    REQUIRE(oracle("qemu-img", "snapshot", "-c", "one", "facts"));
    CHECK_OK(qcow2_read_info("facts", &info, &err), &err);
    CHECK(info.version == 2 && info.cluster_bits == 9);
    CHECK(info.size == 1 << 20 && info.snapshots == 1);
    CHECK(!info.has_backing && info.compression == QCOW2_ZLIB);
    CHECK_TEXT(info.backing_name, "");
    CHECK_TEXT(info.backing_format, "");

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "data_file=facts.data", "facts", "1M"));
    CHECK_OK(qcow2_read_info("facts", &info, &err), &err);
    CHECK(info.data_file);
    CHECK(qcow2_read_info("nothing", &info, &err) < 0);
    CHECK(err.code == ERROR_NOT_FOUND);
}

/* -- bitmaps -------------------------------------------------------------- */

static void
bitmaps_are_listed(void)
{
    struct error err = ERROR_INIT;
    AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
    struct qcow2_info info;
    size_t count = 7;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "cluster_size=512", "bitmaps", "100K"));
    CHECK_OK(qcow2_read_bitmaps("bitmaps", &bitmaps, &count, &err), &err);
    CHECK(count == 0 && bitmaps == NULL);
    REQUIRE(oracle("qemu-img", "bitmap", "--add", "-g", "4K", "bitmaps",
                   "first one") &&
            oracle("qemu-img", "bitmap", "--add", "--disable", "-g", "64K",
                   "bitmaps", "second") &&
            oracle("qemu-img", "bitmap", "--add", "-g", "512", "bitmaps", "3"));
    CHECK_OK(qcow2_read_info("bitmaps", &info, &err), &err);
    CHECK(info.has_bitmaps);
    CHECK_OK(qcow2_read_bitmaps("bitmaps", &bitmaps, &count, &err), &err);
    REQUIRE(count == 3);
    CHECK_TEXT(bitmaps[0].name, "first one");
    CHECK(bitmaps[0].granularity_bits == 12 && bitmaps[0].enabled);
    CHECK_TEXT(bitmaps[1].name, "second");
    CHECK(bitmaps[1].granularity_bits == 16 && !bitmaps[1].enabled);
    CHECK_TEXT(bitmaps[2].name, "3");
    CHECK(bitmaps[2].granularity_bits == 9 && !bitmaps[2].in_use);
}

/* Where the bitmap extension's data stands. */
static uint8_t *
find_extension(const struct specimen *specimen)
{
    uint8_t type[4];

    qcow2_put32(type, QCOW2_EXTENSION_BITMAPS);
    return (uint8_t *)memmem(specimen->bytes, 512, type, 4) + 8;
}

static bool
lists(const struct specimen *specimen, const char *reason)
{
    AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
    struct error err = ERROR_INIT;
    size_t count;

    specimen_store(specimen, "hostile", specimen->size);
    if (qcow2_read_bitmaps("hostile", &bitmaps, &count, &err) == 0)
        return true;
    if (err.code != ERROR_CORRUPT || strstr(err.message, reason) == NULL) {
        printf("# %s: %s\n", reason, err.message);
        CHECK(false);
    }
    return false;
}

static void
hostile_bitmap_directories_are_refused(void)
{
    static const struct {
        size_t at; /* of the extension, or of the first entry */
        uint64_t value;
        unsigned width;
        bool in_entry;
        const char *reason;
    } cases[] = {
        {0, 0, 4, false, "number of bitmaps"},
        {0, 65536, 4, false, "number of bitmaps"},
        {0, 4, 4, false, "past the directory's end"},
        {0, 60000, 4, false, "past the directory's end"},
        {0, 2, 4, false, "does not end"},
        {8, UINT64_C(1) << 40, 8, false, "absurdly large"},
        {8, 60000000, 8, false, "past the end of the file"},
        {16, 513, 8, false, "directory's offset"},
        {16, UINT64_C(1) << 50, 8, false, "past the end of the file"},
        {0, 0, 8, true, "wrong table"},
        {0, 77, 8, true, "wrong table"},
        {8, 0, 4, true, "wrong table"},
        {8, 0x8000001, 4, true, "wrong table"},
        {12, 8, 4, true, "unknown flags"},
        {16, 2, 1, true, "unknown type"},
        {17, 8, 1, true, "absurd granularity"},
        {17, 32, 1, true, "absurd granularity"},
        {18, 0, 2, true, "name of wrong length"},
        {18, 1024, 2, true, "name of wrong length"},
        {20, UINT32_MAX, 4, true, "past the directory's end"},
    };
    struct specimen specimen;
    uint8_t *extension;
    uint8_t *entry;

    specimen_load(&specimen, "bitmaps");
    extension = find_extension(&specimen);
    entry = specimen.bytes + qcow2_get64(extension + 16);
    CHECK(lists(&specimen, ""));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t *at = (cases[i].in_entry ? entry : extension) + cases[i].at;
        uint8_t old[8];

        memcpy(old, at, sizeof(old));
        put(at, cases[i].value, cases[i].width);
        CHECK(!lists(&specimen, cases[i].reason));
        memcpy(at, old, sizeof(old));
    }
    /* A writer that does not know bitmaps was here: they are void. */
    specimen.bytes[95] = 0;
    CHECK(lists(&specimen, ""));
    specimen.bytes[95] = 1;
    put(extension - 4, 20, 4);
    CHECK(!lists(&specimen, "extension's length"));
    free(specimen.bytes);
}

/* -- anything ------------------------------------------------------------- */

static void
whatever_the_bytes_are_it_ends_well(void)
{
    struct sample sample = sample_start("mutations");
    struct specimen specimen;
    struct specimen changed;
    unsigned refused = 0;

    REQUIRE(oracle("qemu-img", "create", "-q", "-f", "qcow2", "-o",
                   "cluster_size=512", "small", "128K"));
    REQUIRE(oracle("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 3k", "-c",
                   "write -c -P 2 64k 512", "-c", "write -z 70k 2k", "small"));
    REQUIRE(oracle("qemu-img", "bitmap", "--add", "small", "b"));
    specimen_load(&specimen, "small");
    changed = (struct specimen){.bytes = xmalloc(specimen.size),
                                .size = specimen.size};
    for (unsigned round = 0; round < 1500; round++) {
        AUTO_FREE struct qcow2_bitmap *bitmaps = NULL;
        struct error err = ERROR_INIT;
        size_t count;

        memcpy(changed.bytes, specimen.bytes, specimen.size);
        for (unsigned i = 0; i <= round % 4; i++) {
            uint64_t at = sample_below(&sample, specimen.size);

            if (sample_below(&sample, 3) == 0)
                at = sample_below(&sample, 200);
            changed.bytes[at] ^= (uint8_t)(1u << sample_below(&sample, 8));
        }
        specimen_store(&changed, "hostile", changed.size);
        if (refused_at("hostile", &err) != NOWHERE) {
            CHECK(err.code == ERROR_CORRUPT || err.code == ERROR_UNSUPPORTED);
            CHECK(err.message[0] != '\0');
            refused++;
        }
        if (qcow2_read_bitmaps("hostile", &bitmaps, &count, &err) < 0)
            CHECK(err.code == ERROR_CORRUPT || err.code == ERROR_UNSUPPORTED);
    }
    printf("# %u of 1500 were refused\n", refused);
    free(specimen.bytes);
    free(changed.bytes);
}

int
main(void)
{
    scratch_enter(&scratch);
    RUN(every_hostile_number_is_refused_with_its_reason);
    RUN(a_file_cut_short_is_refused);
    RUN(an_unknown_feature_is_called_by_its_name);
    RUN(version_2_has_no_zero_clusters);
    RUN(subclusters_that_contradict_are_refused);
    RUN(a_stream_must_give_exactly_one_cluster);
    RUN(a_stream_without_its_end_mark_is_read_as_qemu_reads_it);
    RUN(a_header_is_told_as_it_is);
    RUN(bitmaps_are_listed);
    RUN(hostile_bitmap_directories_are_refused);
    RUN(whatever_the_bytes_are_it_ends_well);
    scratch_leave(&scratch);
    return check_done();
}
