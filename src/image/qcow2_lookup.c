/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a place on the guest's disk to a place in the file.
 *
 * A lookup goes piece by piece: a piece lies inside one slice of one L2
 * table, or inside a stretch of L1 entries without any.  Within a slice the
 * first entry says what kind of run it is, and a loop over the entries that
 * follow counts how far it goes: one comparison for each cluster, nothing is
 * allocated and nothing is read once the slice is in memory.  Pieces are put
 * together across slices while kind (and host place) go on.
 *
 * Every entry is checked before its offset is believed; the checks are in the
 * comparisons, since an entry that continues a good run is good itself.
 *
 * With extended L2 entries the unit is the subcluster, a 32nd of a cluster,
 * and runs are counted with bit operations on the two maps of an entry.
 */
#include "image/qcow2_image.h"

#include "image/qcow2_format.h"

#include <assert.h>
#include <inttypes.h>

/* What is being looked up, for messages. */
struct spot {
    struct qcow2_image *image;
    uint64_t offset; /* of the guest's disk */
};

static int
corrupt(const struct spot *spot, const char *reason, uint64_t entry,
        struct error *err)
{
    return error_set(err, ERROR_CORRUPT,
                     "'%s': %s (0x%" PRIx64 ", disk offset %" PRIu64 ")",
                     spot->image->file.path, reason, entry, spot->offset);
}

static bool
overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

/* -- slices ------------------------------------------------------------- */

static int
load_slice(void *context, uint64_t slice, uint64_t *entries, struct error *err)
{
    struct qcow2_image *image = context;
    uint64_t table =
        image->l1[slice >> image->slice_l2_bits] & QCOW2_OFFSET_MASK;
    uint64_t index = slice & (((uint64_t)1 << image->slice_l2_bits) - 1);
    size_t bytes = image->l2.slice_bytes;

    if (image_file_read(&image->file, entries, bytes, table + index * bytes,
                        err) < 0)
        return -1;
    for (size_t i = 0; i < bytes / sizeof(*entries); i++)
        entries[i] = be64toh(entries[i]);
    return 0;
}

/* -- host places -------------------------------------------------------- */

/*
 * Cut a data run at the end of the file; a run of which nothing is in the
 * file, or that lies over a table, cannot be right.
 */
static int
check_data(const struct spot *spot, struct qcow2_run *run, struct error *err)
{
    struct qcow2_image *image = spot->image;
    const struct qcow2_header *header = &image->header;
    uint64_t size;

    if (overlaps(run->host, run->length, header->l1_offset,
                 image->l1_count * sizeof(uint64_t)) ||
        overlaps(run->host, run->length, header->reftable_offset,
                 header->reftable_clusters * image->cluster_size))
        return corrupt(spot, "a data cluster overlaps a table", run->host, err);
    if (image_file_reaches(&image->file, run->host + run->length))
        return 0;
    size = atomic_load_explicit(&image->file.size, memory_order_relaxed);
    if (run->host >= size)
        return corrupt(spot, "a data cluster is past the end of the file",
                       run->host, err);
    run->length = MIN(run->length, size - run->host);
    return 0;
}

static int
find_compressed(const struct spot *spot, uint64_t entry, struct qcow2_run *run,
                struct error *err)
{
    struct qcow2_image *image = spot->image;
    unsigned bits = qcow2_compressed_offset_bits(image->cluster_bits);
    uint64_t descriptor = entry & ~(QCOW2_COPIED | QCOW2_L2_COMPRESSED);
    uint64_t host = descriptor & (((uint64_t)1 << bits) - 1);
    uint64_t sectors = (descriptor >> bits) + 1;
    uint64_t end = (host / QCOW2_SECTOR + sectors) * QCOW2_SECTOR;

    if (host > (uint64_t)INT64_MAX / 2)
        return corrupt(spot, "a compressed cluster's offset is absurd", entry,
                       err);
    if (host < image->cluster_size)
        return corrupt(spot, "a compressed cluster lies in the header", entry,
                       err);
    /* The last sector of a file need not be whole. */
    if (!image_file_reaches(&image->file, end)) {
        end = atomic_load_explicit(&image->file.size, memory_order_relaxed);
        if (host >= end)
            return corrupt(spot,
                           "a compressed cluster is past the end of the file",
                           entry, err);
    }
    run->kind = QCOW2_COMPRESSED;
    run->host = host;
    run->host_length = end - host;
    return 0;
}

static int
check_standard(const struct spot *spot, uint64_t entry, struct error *err)
{
    const struct qcow2_image *image = spot->image;
    uint64_t reserved = QCOW2_L2_RESERVED;

    if (image->header.info.extended_l2)
        reserved |= QCOW2_L2_ZERO;
    else if (image->header.info.version < 3 && (entry & QCOW2_L2_ZERO))
        return corrupt(spot, "a zero cluster in a version 2 image", entry, err);
    if ((entry & reserved) != 0)
        return corrupt(spot, "an L2 entry has reserved bits set", entry, err);
    if ((entry & QCOW2_OFFSET_MASK) % image->cluster_size != 0)
        return corrupt(spot, "a data cluster's offset is not aligned", entry,
                       err);
    return 0;
}

/* -- runs of standard entries ------------------------------------------- */

/*
 * How many of `entries` continue a run: those that are equal to `expect`
 * under `mask`, where `expect` grows by `step`.
 */
static size_t
count_equal(const uint64_t *entries, size_t count, uint64_t mask,
            uint64_t expect, uint64_t step)
{
    size_t n = 0;

    while (n < count && (entries[n] & mask) == expect) {
        expect += step;
        n++;
    }
    return n;
}

/*
 * The run that starts `skip` bytes into the cluster of entries[0]; `count`
 * entries may be looked at.
 */
static int
find_standard(const struct spot *spot, const uint64_t *entries, size_t count,
              uint64_t skip, struct qcow2_run *run, struct error *err)
{
    uint64_t cluster = spot->image->cluster_size;
    uint64_t entry = entries[0];
    size_t n = 1;

    if (entry & QCOW2_L2_COMPRESSED) {
        run->length = cluster - skip;
        return find_compressed(spot, entry, run, err);
    }
    if (check_standard(spot, entry, err) < 0)
        return -1;
    if (entry & QCOW2_L2_ZERO) {
        uint64_t odd = QCOW2_L2_COMPRESSED | QCOW2_L2_RESERVED |
                       (QCOW2_OFFSET_MASK & (cluster - 1)) | QCOW2_L2_ZERO;

        run->kind = QCOW2_ZERO;
        n = count_equal(entries, count, odd, QCOW2_L2_ZERO, 0);
    } else if ((entry & QCOW2_OFFSET_MASK) == 0) {
        run->kind = QCOW2_UNALLOCATED;
        n = count_equal(entries, count, ~QCOW2_COPIED, 0, 0);
    } else {
        run->kind = QCOW2_DATA;
        run->host = (entry & QCOW2_OFFSET_MASK) + skip;
        n = count_equal(entries, count, ~QCOW2_COPIED,
                        entry & QCOW2_OFFSET_MASK, cluster);
    }
    run->length = n * cluster - skip;
    return 0;
}

/* -- runs of extended entries ------------------------------------------- */

/* Bit n is set where subcluster n is of that kind. */
static uint32_t
subclusters_of(uint64_t bitmap, enum qcow2_kind kind)
{
    uint32_t data = (uint32_t)bitmap;
    uint32_t zero = (uint32_t)(bitmap >> 32);

    if (kind == QCOW2_DATA)
        return data;
    return kind == QCOW2_ZERO ? zero : ~(data | zero);
}

static int
check_extended(const struct spot *spot, uint64_t entry, uint64_t bitmap,
               struct error *err)
{
    if (check_standard(spot, entry, err) < 0)
        return -1;
    if (((uint32_t)bitmap & (uint32_t)(bitmap >> 32)) != 0)
        return corrupt(spot, "a subcluster is both data and zero", bitmap, err);
    if ((entry & QCOW2_OFFSET_MASK) == 0 && (uint32_t)bitmap != 0)
        return corrupt(spot, "a subcluster has data but no place", bitmap, err);
    return 0;
}

/* True when the entry may continue a run of that kind. */
static bool
continues(const struct spot *spot, uint64_t entry, uint64_t bitmap,
          const struct qcow2_run *run, uint64_t host)
{
    struct error ignored = ERROR_INIT;

    if ((entry & QCOW2_L2_COMPRESSED) ||
        check_extended(spot, entry, bitmap, &ignored) < 0)
        return false;
    return run->kind != QCOW2_DATA || (entry & QCOW2_OFFSET_MASK) == host;
}

/* As find_standard; an entry is two words and `count` counts entries. */
static int
find_extended(const struct spot *spot, const uint64_t *entries, size_t count,
              uint64_t skip, struct qcow2_run *run, struct error *err)
{
    uint64_t cluster = spot->image->cluster_size;
    unsigned sub_bits = spot->image->cluster_bits - 5;
    unsigned first = (unsigned)(skip >> sub_bits);
    uint64_t host = entries[0] & QCOW2_OFFSET_MASK;
    uint64_t bitmap = entries[1];
    unsigned total; /* subclusters of the run, from `first` of entry 0 */
    uint32_t rest;

    if (entries[0] & QCOW2_L2_COMPRESSED) {
        run->length = cluster - skip;
        return find_compressed(spot, entries[0], run, err);
    }
    if (check_extended(spot, entries[0], bitmap, err) < 0)
        return -1;
    if (bitmap >> first & 1)
        run->kind = QCOW2_DATA;
    else
        run->kind = bitmap >> (first + 32) & 1 ? QCOW2_ZERO : QCOW2_UNALLOCATED;
    run->host = host + skip;
    rest = ~(subclusters_of(bitmap, run->kind) >> first);
    total = rest != 0 ? (unsigned)__builtin_ctz(rest) : QCOW2_SUBCLUSTERS;
    for (size_t i = 1; i < count && first + total == i * QCOW2_SUBCLUSTERS;
         i++) {
        host += cluster;
        if (!continues(spot, entries[2 * i], entries[2 * i + 1], run, host))
            break;
        rest = ~subclusters_of(entries[2 * i + 1], run->kind);
        total += rest != 0 ? (unsigned)__builtin_ctz(rest) : QCOW2_SUBCLUSTERS;
    }
    run->length = ((uint64_t)(first + total) << sub_bits) - skip;
    return 0;
}

/* -- pieces ------------------------------------------------------------- */

static int
find_in_slice(const struct spot *spot, uint64_t length, struct qcow2_run *run,
              struct error *err)
{
    struct qcow2_image *image = spot->image;
    bool extended = image->header.info.extended_l2;
    uint64_t within = spot->offset & (((uint64_t)1 << image->slice_bits) - 1);
    uint64_t skip = within & (image->cluster_size - 1);
    size_t first = (size_t)(within >> image->cluster_bits);
    size_t last; /* one past the last entry to look at */
    struct l2_pin pin;
    int result;

    if (l2_cache_pin(&image->l2, spot->offset >> image->slice_bits, load_slice,
                     image, &pin, err) < 0)
        return error_prefix(err, "'%s': read an L2 table", image->file.path);
    length = MIN(length, ((uint64_t)1 << image->slice_bits) - within);
    last = (size_t)((within + length + image->cluster_size - 1) >>
                    image->cluster_bits);
    if (extended)
        result = find_extended(spot, pin.entries + 2 * first, last - first,
                               skip, run, err);
    else
        result = find_standard(spot, pin.entries + first, last - first, skip,
                               run, err);
    l2_cache_unpin(&pin);
    run->length = MIN(run->length, length);
    return result;
}

/* Bytes without an L2 table from spot->offset on, at most `length`. */
static uint64_t
length_without_table(const struct spot *spot, uint64_t length)
{
    const struct qcow2_image *image = spot->image;
    uint64_t end = spot->offset + length;
    uint64_t at = spot->offset;

    while (at < end &&
           (image->l1[at >> image->l2_bits] & QCOW2_OFFSET_MASK) == 0)
        at = ((at >> image->l2_bits) + 1) << image->l2_bits;
    return MIN(at, end) - spot->offset;
}

static int
find_piece(const struct spot *spot, uint64_t length, struct qcow2_run *run,
           struct error *err)
{
    *run = (struct qcow2_run){.kind = QCOW2_UNALLOCATED};
    run->length = length_without_table(spot, length);
    if (run->length > 0)
        return 0;
    if (find_in_slice(spot, length, run, err) < 0)
        return -1;
    return run->kind == QCOW2_DATA ? check_data(spot, run, err) : 0;
}

/* Whether `next` goes on where `run` ends. */
static bool
is_continued(const struct qcow2_run *run, const struct qcow2_run *next)
{
    if (run->kind != next->kind)
        return false;
    return run->kind != QCOW2_DATA || run->host + run->length == next->host;
}

int
qcow2_image_lookup(struct qcow2_image *image, uint64_t offset, uint64_t length,
                   struct qcow2_run *ret_run, struct error *err)
{
    struct spot spot = {.image = image, .offset = offset};
    struct qcow2_run run;

    assert(length > 0 && offset < qcow2_image_size(image) &&
           length <= qcow2_image_size(image) - offset);
    if (find_piece(&spot, length, &run, err) < 0)
        return -1;
    /* Only a run that ends with its slice may go on in the next. */
    while (run.kind != QCOW2_COMPRESSED && run.length < length &&
           ((offset + run.length) & (((uint64_t)1 << image->slice_bits) - 1)) ==
               0) {
        struct error later = ERROR_INIT;
        struct qcow2_run next;

        spot.offset = offset + run.length;
        /* What is wrong there is found again by whoever looks there. */
        if (find_piece(&spot, length - run.length, &next, &later) < 0 ||
            !is_continued(&run, &next))
            break;
        run.length += next.length;
    }
    *ret_run = run;
    return 0;
}
